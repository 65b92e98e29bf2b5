"""A Bitbucket Data Center in memory: its builds API.

Rules from Atlassian's "Updating build status for commits" and its OpenAPI description: key, state and url must be there, the answer is 204 and
empty, an existing build of the key is replaced, ``ref`` is fully qualified. The lengths are those that Jenkins' plug-in found (the
description's is ours), counted as Java does.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from aiohttp import web

from listener.demo.githost import GitHost, Posted, Project
from listener.demo.gitlab import ApiFailure
from tests.hosts.forge import Forge

STATES: Final = ("SUCCESSFUL", "FAILED", "INPROGRESS", "CANCELLED", "UNKNOWN")
_LENGTHS: Final = {"key": 255, "name": 255, "description": 255, "url": 450}


class BitbucketServer(GitHost):
    """Who has a weak token may not see the repository, which is 401 there."""

    name = "Bitbucket Data Center"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weak_tokens: set[str] = set()
        self.version = "9.4.1"

    def routes(self) -> list[web.RouteDef]:
        repository = "/rest/api/latest/projects/{project}/repos/{slug}"
        return [
            web.post(f"{repository}/commits/{{sha}}/builds", self._create),
            web.get(repository, self._shown),
            web.get("/rest/api/latest/application-properties", self._properties),
        ]

    def _fail(self, status: int, message: str, context: str | None = None) -> NoReturn:
        raise ApiFailure(status, {"errors": [{"context": context, "message": message, "exceptionName": None}]})

    def _enter(self, request: web.Request) -> Project:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            self._fail(401, "You are not permitted to access this resource")
        path = f"{request.match_info['project']}/{request.match_info['slug']}"
        project = self.projects.get(path)
        if project is None:
            self._fail(404, f"Repository {path} does not exist.")
        return project

    async def _properties(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").partition(" ")[2]
        if token and token not in self.tokens | self.weak_tokens:
            self._fail(401, "You are not permitted to access this resource")
        headers = {"X-AUSERNAME": "tekton"} if token else {}
        return web.json_response({"version": self.version, "displayName": "Bitbucket"}, headers=headers)

    async def _shown(self, request: web.Request) -> web.Response:
        project = self._enter(request)
        key, _, slug = project.path.partition("/")
        return web.json_response({"slug": slug, "project": {"key": key}, "archived": project.archived})

    async def _create(self, request: web.Request) -> web.Response:
        project, sha = self._enter(request), request.match_info["sha"]
        fields: dict[str, Any] = await request.json()
        for name in ("key", "state", "url"):
            if not fields.get(name):
                self._fail(400, f"{name} is required", name)
        for name, limit in _LENGTHS.items():
            if len(str(fields.get(name) or "").encode("utf-16-le")) // 2 > limit:
                self._fail(400, f"{name} must be shorter than {limit + 1} characters", name)
        if fields["state"] not in STATES:
            self._fail(400, f"{fields['state']} is not a build state", "state")
        if fields.get("ref") and not fields["ref"].startswith("refs/"):
            self._fail(400, "ref must be fully qualified", "ref")
        if not project.has(sha):
            self._fail(404, f"Commit '{sha}' does not exist in repository '{project.path}'.")
        self.record(
            Posted(
                path=project.path,
                sha=sha,
                context=fields["key"],
                state=fields["state"],
                description=fields.get("description") or "",
                target_url=fields["url"],
                ref=fields.get("ref"),
            )
        )
        return web.Response(status=204)


FORGE: Final = Forge(
    kind="bitbucket-server",
    host=BitbucketServer,
    repository="ACME/service-xyz",
    running="INPROGRESS",
    succeeded="SUCCESSFUL",
    failed="FAILED",
    cancelled="CANCELLED",
    scope="",
    wrong=(
        {"description": "d" * 256},
        {"key": "k" * 256},
        {"url": None},
        {"url": f"https://x.example.com/{'x' * 430}"},
    ),
)
