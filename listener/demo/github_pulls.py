"""The GitHub in memory's pull requests and the comments on them.

Rules from GitHub's REST documentation ("Commits", "Pulls", "Issue comments") and from what users of it report: a commit's list of pull
requests is empty in the base repository when the commit came from a fork; comments are listed in ascending order, at most 100 on a page, with a
``Link`` to the last one; a comment has at most 65,536 characters; who may not write to the repository may not edit a stranger's comment.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from listener.demo.kubernetes.store import now

if TYPE_CHECKING:
    from listener.demo.github import GitHub

BODY_LIMIT: Final = 65_536
_USER: Final = "avatar events followers following gists html organizations received_events repos starred subscriptions"
_REPOSITORY: Final = (
    "archive assignees blobs branches collaborators comments commits compare contents contributors deployments downloads events forks git_commits"
    " git_refs git_tags hooks html issue_comment issue_events issues keys labels languages merges milestones notifications pulls releases"
    " stargazers statuses subscribers subscription tags teams trees clone git ssh svn mirror"
)
_FLAGS: Final = "fork private archived disabled has_downloads has_issues has_projects has_wiki has_pages"
_COUNTS: Final = "forks forks_count open_issues open_issues_count size stargazers_count watchers watchers_count"
_PULL: Final = "diff patch issue commits review_comments review_comment comments statuses html"
_LINKS: Final = "comments commits statuses html issue review_comments review_comment self"


@dataclass(slots=True)
class IssueComment:
    """A comment on a pull request."""

    id: int
    login: str
    body: str
    kind: str = "User"
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    edits: int = 0


@dataclass(slots=True, kw_only=True)
class Pull:
    """A pull request to ``path`` from a branch of ``head_path``, which is another repository where it comes from a fork."""

    number: int
    path: str
    sha: str
    head_path: str
    title: str = "Add a feature"
    branch: str = "feature"
    state: str = "open"
    locked: bool = False
    labels: list[str] = field(default_factory=list)
    comments: list[IssueComment] = field(default_factory=list)
    updated: int = 0  #: the larger, the later


class Pulls:
    """All of one host. ``logins``: token → whose it is, else ``tekton``; ``moderators``: tokens that may edit anybody's comments."""

    def __init__(self, host: GitHub) -> None:
        self._host = host
        self.all: list[Pull] = []
        self.logins: dict[str, str] = {}
        self.moderators: set[str] = set()
        self._numbers, self._ids, self._clock = itertools.count(7), itertools.count(1001), itertools.count(1)

    def open(self, path: str, sha: str, *, fork: str | None = None, **fields: Any) -> Pull:
        """A new one; ``fork``: the repository that it comes from."""
        pull = Pull(number=next(self._numbers), path=path, sha=sha, head_path=fork or path, **fields)
        pull.updated = next(self._clock)
        self.all.append(pull)
        return pull

    def comment(self, pull: Pull, login: str, body: str, *, kind: str = "User") -> IssueComment:
        """Somebody says something."""
        comment = IssueComment(next(self._ids), login, body, kind)
        pull.comments.append(comment)
        pull.updated = next(self._clock)
        return comment

    def with_head(self, path: str, sha: str) -> list[Pull]:
        """For a commit's page."""
        return [pull for pull in self.all if pull.path == path and pull.sha == sha]

    def routes(self, prefix: str) -> list[web.RouteDef]:
        repository = f"{prefix}/repos/{{owner}}/{{repo}}"
        return [
            web.get(f"{repository}/commits/{{sha}}/pulls", self._of_commit),
            web.get(f"{repository}/pulls", self._list),
            web.get(f"{repository}/issues/{{number}}/comments", self._comments),
            web.post(f"{repository}/issues/{{number}}/comments", self._create),
            web.get(f"{repository}/issues/comments/{{id}}", self._comment),
            web.patch(f"{repository}/issues/comments/{{id}}", self._update),
            web.get(f"{prefix}/user", self._user),
        ]

    async def _of_commit(self, request: web.Request) -> web.Response:
        project, sha = self._host.enter(request), request.match_info["sha"]
        if not project.has(sha):
            self._host.fail(422, f"No commit found for SHA: {sha}")
        found = [pull for pull in self.all if pull.head_path == project.path and pull.sha == sha]
        return self._page(request, [self._shown(pull) for pull in found])

    async def _list(self, request: web.Request) -> web.Response:
        project, state = self._host.enter(request), request.query.get("state", "open")
        found = [pull for pull in self.all if pull.path == project.path and state in ("all", pull.state)]
        if request.query.get("sort") == "updated":
            found.sort(key=lambda pull: pull.updated, reverse=request.query.get("direction") == "desc")
        return self._page(request, [self._shown(pull) for pull in found])

    def _page(self, request: web.Request, entries: list[dict[str, Any]]) -> web.Response:
        size, page = min(int(request.query.get("per_page", "30")), 100), int(request.query.get("page", "1"))
        last = max(1, -(-len(entries) // size))
        links = [("next", page + 1), ("last", last)] if page < last else []
        headers = self._host.headers()
        if links:
            url = request.url.with_scheme("http")
            headers["Link"] = ", ".join(f'<{url.update_query(page=to)}>; rel="{name}"' for name, to in links)
        return web.json_response(entries[(page - 1) * size : page * size], headers=headers)

    def _pull(self, request: web.Request) -> Pull:
        project = self._host.enter(request)
        numbers = {str(pull.number): pull for pull in self.all if pull.path == project.path}
        if (pull := numbers.get(request.match_info["number"])) is None:
            self._host.fail(404, "Not Found")
        return pull

    def _find(self, request: web.Request) -> tuple[Pull, IssueComment]:
        project = self._host.enter(request)
        every = {str(said.id): (pull, said) for pull in self.all if pull.path == project.path for said in pull.comments}
        if (found := every.get(request.match_info["id"])) is None:
            self._host.fail(404, "Not Found")
        return found

    async def _comments(self, request: web.Request) -> web.Response:
        pull = self._pull(request)
        return self._page(request, [self._said(pull, comment) for comment in pull.comments])

    async def _comment(self, request: web.Request) -> web.Response:
        return web.json_response(self._said(*self._find(request)), headers=self._host.headers())

    async def _create(self, request: web.Request) -> web.Response:
        pull, (login, kind) = self._pull(request), self._who(request)
        if pull.locked:
            self._host.fail(403, "Unable to create comment because issue is locked.")
        comment = self.comment(pull, login, await self._body(request), kind=kind)
        return web.json_response(self._said(pull, comment), status=201, headers=self._host.headers())

    async def _update(self, request: web.Request) -> web.Response:
        (pull, comment), (login, _) = self._find(request), self._who(request)
        if comment.login != login and _token(request) not in self.moderators:
            self._host.fail(403, "Must have admin rights to Repository.")
        comment.body, comment.updated_at, comment.edits = await self._body(request), now(), comment.edits + 1
        pull.updated = next(self._clock)
        return web.json_response(self._said(pull, comment), headers=self._host.headers())

    async def _body(self, request: web.Request) -> str:
        body = (await request.json()).get("body")
        what = (
            "is too long (maximum is 65536 characters)" if isinstance(body, str) and body.strip() else "can't be blank"
        )
        if not isinstance(body, str) or not body.strip() or len(body) > BODY_LIMIT:
            error = {"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": f"Body {what}"}
            self._host.fail(422, "Validation Failed", errors=[error])
        return body

    async def _user(self, request: web.Request) -> web.Response:
        login, kind = self._who(request)
        if kind == "Bot":
            self._host.fail(403, "Resource not accessible by integration")
        if _token(request) not in self._host.tokens | self._host.weak_tokens:
            self._host.fail(401, "Bad credentials")
        return web.json_response(self._person(login), headers=self._host.headers_for(_token(request)))

    def _who(self, request: web.Request) -> tuple[str, str]:
        """Login and type of who asks."""
        if self._host.apps.owner_of(_token(request)) is not None:
            return "tekton-listener[bot]", "Bot"
        return self.logins.get(_token(request), "tekton"), "User"

    # How the API shows things

    def _person(self, login: str, kind: str = "User") -> dict[str, Any]:
        url = f"{self._host.url}/users/{login}"
        urls = dict.fromkeys(["url", *(f"{what}_url" for what in _USER.split())], url)
        number = sum(login.encode())
        return {
            "login": login,
            "id": number,
            "node_id": f"U_{number}",
            "gravatar_id": "",
            "type": kind,
            "site_admin": False,
            **urls,
        }

    def _said(self, pull: Pull, comment: IssueComment) -> dict[str, Any]:
        base = f"{self._host.url}/repos/{pull.path}/issues"
        return {
            "id": comment.id,
            "node_id": f"IC_{comment.id}",
            "url": f"{base}/comments/{comment.id}",
            "html_url": f"{self._host.url}/{pull.path}/pull/{pull.number}#issuecomment-{comment.id}",
            "issue_url": f"{base}/{pull.number}",
            "body": comment.body,
            "user": self._person(comment.login, comment.kind),
            "created_at": comment.created_at,
            "updated_at": comment.updated_at,
            "author_association": "NONE",
        }

    def _repository(self, path: str) -> dict[str, Any]:
        owner, _, name = path.partition("/")
        url = f"{self._host.url}/repos/{path}"
        flags = dict.fromkeys(_FLAGS.split(), False)
        counts = dict.fromkeys(_COUNTS.split(), 0)
        more = {"description": None, "homepage": None, "language": None, "license": None, "default_branch": "main"}
        times = dict.fromkeys(("pushed_at", "created_at", "updated_at"), now())
        urls = dict.fromkeys(["url", *(f"{what}_url" for what in _REPOSITORY.split())], url)
        number = sum(path.encode())
        who = {"id": number, "node_id": f"R_{number}", "name": name, "full_name": path, "owner": self._person(owner)}
        return {**who, **flags, **counts, **more, **times, **urls}

    def _shown(self, pull: Pull) -> dict[str, Any]:
        url = f"{self._host.url}/repos/{pull.path}/pulls/{pull.number}"

        def end(path: str, ref: str, sha: str) -> dict[str, Any]:
            owner = path.partition("/")[0]
            return {
                "label": f"{owner}:{ref}",
                "ref": ref,
                "sha": sha,
                "user": self._person(owner),
                "repo": self._repository(path),
            }

        return {
            "id": 10_000 + pull.number,
            "node_id": f"PR_{pull.number}",
            "number": pull.number,
            "state": pull.state,
            "locked": pull.locked,
            "title": pull.title,
            "body": None,
            "user": self._person("author"),
            "labels": [self._label(pull, name) for name in pull.labels],
            "head": end(pull.head_path, pull.branch, pull.sha),
            "base": end(pull.path, "main", "1" * 40),
            "_links": {name: {"href": url} for name in _LINKS.split()},
            "author_association": "NONE",
            **dict.fromkeys(("assignee", "auto_merge", "merge_commit_sha", "merged_at", "milestone", "closed_at")),
            **dict.fromkeys(("created_at", "updated_at"), now()),
            **dict.fromkeys(["url", *(f"{what}_url" for what in _PULL.split())], url),
        }

    def _label(self, pull: Pull, name: str) -> dict[str, Any]:
        number = sum(name.encode())
        url = f"{self._host.url}/repos/{pull.path}/labels/{number}"
        return {
            "id": number,
            "node_id": f"L_{number}",
            "url": url,
            "name": name,
            "color": "ededed",
            "default": False,
            "description": "",
        }


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").partition(" ")[2]
