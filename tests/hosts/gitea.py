"""A Gitea (or Forgejo) in memory: its commit status API.

Rules from its swagger file, ``models/git/commit_status.go`` and ``services/repository/commitstatus``: a status is always a new one and the
latest of a context counts; a commit that is not there is 500, with words for administrators only. Stricter than the real one, which takes
any word for a state.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, NoReturn

from aiohttp import web

from listener.demo.githost import GitHost, Posted, Project
from listener.demo.gitlab import ApiFailure
from tests.hosts.forge import Forge

STATES: Final = ("pending", "success", "error", "failure", "warning")


class Gitea(GitHost):
    """``weak_tokens``: without the scope write:repository; ``admin_tokens``: of administrators."""

    name = "Gitea"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weak_tokens: set[str] = set()
        self.admin_tokens: set[str] = set()
        self.readers: set[str] = set()  #: tokens of users without write access
        self._ids = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        repository = "/api/v1/repos/{owner}/{repo}"
        return [
            web.post(f"{repository}/statuses/{{sha}}", self._create),
            web.get(repository, self._shown),
            web.get("/api/v1/user", self._user),
        ]

    def _fail(self, status: int, message: str) -> NoReturn:
        raise ApiFailure(status, {"message": message, "url": f"{self.url}/api/swagger"})

    def _enter(self, request: web.Request) -> tuple[str, Project]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or token not in self._known():
            self._fail(401, "invalid username, password or token")
        if token in self.weak_tokens:
            self._fail(403, "token does not have at least one of required scope(s), required=[write:repository]")
        wanted = f"{request.match_info['owner']}/{request.match_info['repo']}".lower()
        project = next((project for path, project in self.projects.items() if path.lower() == wanted), None)
        if project is None:
            self._fail(404, "The target couldn't be found.")
        return token, project

    def _known(self) -> set[str]:
        return self.tokens | self.weak_tokens | self.admin_tokens | self.readers

    async def _user(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").partition(" ")[2]
        if token not in self._known():
            self._fail(401, "invalid username, password or token")
        if token not in self.admin_tokens:
            self._fail(403, "token does not have at least one of required scope(s), required=[read:user]")
        return web.json_response({"id": 1, "login": "tekton", "is_admin": True})

    async def _shown(self, request: web.Request) -> web.Response:
        token, project = self._enter(request)
        permissions = {"admin": token in self.admin_tokens, "push": token not in self.readers, "pull": True}
        body = {"id": 1, "full_name": project.path, "archived": project.archived, "permissions": permissions}
        return web.json_response(body)

    async def _create(self, request: web.Request) -> web.Response:
        (token, project), sha = self._enter(request), request.match_info["sha"]
        fields: dict[str, Any] = await request.json()
        if fields.get("state") not in STATES:
            self._fail(422, "[State]: Invalid")
        if not project.has(sha):
            words = f"GetCommit[{sha}]: object does not exist [id: {sha}, rel_path: ]"
            self._fail(500, words if token in self.admin_tokens else "")
        posted = Posted(
            path=project.path,
            sha=sha,
            context=str(fields.get("context") or "default").strip(),
            state=fields["state"],
            description=str(fields.get("description") or "").strip(),
            target_url=fields.get("target_url"),
        )
        self.record(posted)
        shown = {
            "id": next(self._ids),
            "status": posted.state,
            "context": posted.context,
            "target_url": posted.target_url,
        }
        return web.json_response({**shown, "description": posted.description}, status=201)


FORGE: Final = Forge(
    kind="gitea",
    host=Gitea,
    repository="acme/service-xyz",
    running="pending",
    succeeded="success",
    failed="failure",
    cancelled="error",
    scope="write:repository",
    wrong=({"state": None},),  # it publishes no lengths
    trust=lambda host, token: host.admin_tokens.add(token),
)
