"""The GitLab in memory's merge requests and the notes on them.

Rules from GitLab's API documentation ("Commits", "Notes") and source (``lib/api/notes.rb``, ``NotePolicy``): a commit's merge requests are
those that contain it, of any state unless one is asked for, and those of forks are the target project's; a note has at most 1,000,000
characters; somebody else's may be edited by maintainers only; system notes are listed among the others.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from listener.demo.kubernetes.store import now

if TYPE_CHECKING:
    from listener.demo.gitlab import GitLab

BODY_LIMIT: Final = 1_000_000


@dataclass(slots=True)
class Note:
    """A comment on a merge request."""

    id: int
    username: str
    body: str
    system: bool = False
    created_at: str = field(default_factory=now)
    updated: int = 0  #: the larger, the later
    edits: int = 0


@dataclass(slots=True, kw_only=True)
class MergeRequest:
    """A merge request to ``path``, whose head is ``sha``; ``older``: the other commits in it."""

    iid: int
    path: str
    sha: str
    older: tuple[str, ...] = ()
    title: str = "Add a feature"
    branch: str = "feature"
    state: str = "opened"
    locked: bool = False
    labels: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


class MergeRequests:
    """All of one host. ``usernames``: token → whose it is, else ``tekton``; ``maintainers``: tokens that may edit anybody's notes."""

    def __init__(self, host: GitLab) -> None:
        self._host = host
        self.all: list[MergeRequest] = []
        self.usernames: dict[str, str] = {}
        self.maintainers: set[str] = set()
        self._iids, self._ids, self._clock = itertools.count(7), itertools.count(2001), itertools.count(1)

    def open(self, path: str, sha: str, **fields: Any) -> MergeRequest:
        """A new one."""
        merge_request = MergeRequest(iid=next(self._iids), path=path, sha=sha, **fields)
        self.all.append(merge_request)
        return merge_request

    def comment(self, merge_request: MergeRequest, username: str, body: str, *, system: bool = False) -> Note:
        """Somebody says something."""
        note = Note(next(self._ids), username, body, system, updated=next(self._clock))
        merge_request.notes.append(note)
        return note

    def with_head(self, path: str, sha: str) -> list[MergeRequest]:
        """For a commit's page."""
        return [found for found in self.all if found.path == path and found.sha == sha]

    def routes(self, api: str) -> list[web.RouteDef]:
        notes = f"{api}/merge_requests/{{iid}}/notes"
        return [
            web.get(f"{api}/repository/commits/{{sha}}/merge_requests", self._of_commit),
            web.get(notes, self._list),
            web.post(notes, self._create),
            web.get(f"{notes}/{{id}}", self._read),
            web.put(f"{notes}/{{id}}", self._update),
        ]

    async def _of_commit(self, request: web.Request) -> web.Response:
        project, sha = self._host.enter(request), request.match_info["sha"]
        if not project.has(sha):
            self._host.fail(404, {"message": "404 Commit Not Found"})
        state = request.query.get("state")
        found = [
            merge_request
            for merge_request in reversed(self.all)
            if merge_request.path == project.path
            and sha in (merge_request.sha, *merge_request.older)
            and state in (None, "all", merge_request.state)
        ]
        return self._page(request, [self.shown(merge_request) for merge_request in found])

    def _page(self, request: web.Request, entries: list[dict[str, Any]]) -> web.Response:
        size, page = min(int(request.query.get("per_page", "20")), 100), int(request.query.get("page", "1"))
        headers = {"x-page": str(page), "x-per-page": str(size)}
        return web.json_response(entries[(page - 1) * size : page * size], headers=headers)

    def find(self, request: web.Request) -> MergeRequest:
        """The one that is asked about."""
        project = self._host.enter(request)
        iids = {str(found.iid): found for found in self.all if found.path == project.path}
        if (found := iids.get(request.match_info["iid"])) is None:
            self._host.fail(404, {"message": "404 Not found"})
        return found

    def _note(self, request: web.Request) -> Note:
        notes = {str(note.id): note for note in self.find(request).notes}
        if (note := notes.get(request.match_info["id"])) is None:
            self._host.fail(404, {"message": "404 Note Not Found"})
        return note

    async def _list(self, request: web.Request) -> web.Response:
        found = self.find(request)
        notes = [
            note
            for note in found.notes
            if not (note.system and request.query.get("activity_filter") == "only_comments")
        ]
        by_update = request.query.get("order_by") == "updated_at"
        notes.sort(key=lambda note: note.updated if by_update else note.id, reverse=request.query.get("sort") != "asc")
        return self._page(request, [self._said(note) for note in notes])

    async def _read(self, request: web.Request) -> web.Response:
        return web.json_response(self._said(self._note(request)))

    async def _create(self, request: web.Request) -> web.Response:
        found = self.find(request)
        if found.locked:
            self._host.fail(403, {"message": "403 Forbidden"})
        note = self.comment(found, self.username(request), await self._body(request))
        return web.json_response(self._said(note), status=201)

    async def _update(self, request: web.Request) -> web.Response:
        note = self._note(request)
        if note.username != self.username(request) and self._host.token(request) not in self.maintainers:
            self._host.fail(403, {"message": "403 Forbidden"})
        note.body, note.updated, note.edits = await self._body(request), next(self._clock), note.edits + 1
        return web.json_response(self._said(note))

    async def _body(self, request: web.Request) -> str:
        fields = await request.json() if request.content_type == "application/json" else await request.post()
        body = fields.get("body")
        if body is None:
            self._host.fail(400, {"error": "body is missing"})
        if not str(body).strip():
            self._host.fail(400, {"message": {"note": ["can't be blank"]}})
        if len(str(body)) > BODY_LIMIT:
            self._host.fail(400, {"message": {"note": [f"is too long (maximum is {BODY_LIMIT} characters)"]}})
        return str(body)

    def username(self, request: web.Request) -> str:
        return self.usernames.get(self._host.token(request), "tekton")

    # How the API shows things

    def person(self, username: str) -> dict[str, Any]:
        number = sum(username.encode())
        return {
            "id": number,
            "username": username,
            "name": username,
            "state": "active",
            "avatar_url": None,
            "web_url": "",
        }

    def _said(self, note: Note) -> dict[str, Any]:
        return {
            "id": note.id,
            "type": None,
            "body": note.body,
            "author": self.person(note.username),
            "created_at": note.created_at,
            "updated_at": note.created_at,
            "system": note.system,
            "noteable_type": "MergeRequest",
            "resolvable": False,
            "confidential": False,
            "internal": False,
        }

    def shown(self, found: MergeRequest) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": 10_000 + found.iid,
            "iid": found.iid,
            "title": found.title,
            "description": "",
            "state": found.state,
            "sha": found.sha,
            "source_branch": found.branch,
            "target_branch": "main",
            "labels": list(found.labels),
            "author": self.person("author"),
            "discussion_locked": found.locked,
            "web_url": f"{self._host.url}/{found.path}/-/merge_requests/{found.iid}",
        }
