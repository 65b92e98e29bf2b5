"""An Azure DevOps in memory, with the organization ``acme``: its commit status API.

Rules from Microsoft's REST reference 7.1: the version must be asked for, a status is named by its context's name and genre and the latest of a
context counts, success is 200. A token that is no good leads to the sign-in page, unless the request says that it does not want that. The
lengths are ours, counted as .NET does: none is published.
"""

from __future__ import annotations

import base64
import itertools
from typing import Any, Final, NoReturn

from aiohttp import web

from listener.demo.githost import GitHost, Posted, Project
from listener.demo.gitlab import ApiFailure
from tests.hosts.forge import Forge

ORGANIZATION: Final = "acme"
STATES: Final = ("notSet", "pending", "succeeded", "failed", "error", "notApplicable")


class AzureDevOps(GitHost):
    """``weak_tokens``: without the scope Code (status)."""

    name = "Azure DevOps"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weak_tokens: set[str] = set()
        self._ids = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        path = f"/{ORGANIZATION}/{{project}}/_apis/git/repositories/{{repo}}/commits/{{sha}}/statuses"
        return [
            web.post(path, self._create),
            web.get(path, self._listed),
            web.get(f"/{ORGANIZATION}/_apis/connectionData", self._connection),
        ]

    def _fail(self, status: int, message: str, kind: str) -> NoReturn:
        body = {"$id": "1", "innerException": None, "message": message, "typeKey": kind, "errorCode": 0}
        raise ApiFailure(status, body)

    def _token(self, request: web.Request) -> str:
        scheme, _, packed = request.headers.get("Authorization", "").partition(" ")
        token = base64.b64decode(packed).decode().partition(":")[2] if scheme == "Basic" else ""
        if token not in self.tokens | self.weak_tokens:
            if request.headers.get("X-TFS-FedAuthRedirect") != "Suppress":
                raise web.HTTPFound(f"{self.url}/_signin")
            raise web.HTTPUnauthorized
        return token

    def _enter(self, request: web.Request) -> Project:
        token = self._token(request)
        if not request.query.get("api-version"):
            self._fail(400, 'No api-version was supplied for the "POST" request.', "VssVersionNotSpecifiedException")
        if token in self.weak_tokens:
            self._fail(403, "The token has not the permission that is needed.", "UnauthorizedRequestException")
        project = self.projects.get(f"{request.match_info['project']}/{request.match_info['repo']}")
        if project is None:
            message = (
                f"TF401019: The Git repository with name or identifier {request.match_info['repo']} does not exist."
            )
            self._fail(404, message, "GitRepositoryNotFoundException")
        return project

    async def _connection(self, request: web.Request) -> web.Response:
        self._token(request)
        return web.json_response({"authenticatedUser": {"id": "1", "providerDisplayName": "Tekton"}})

    async def _listed(self, request: web.Request) -> web.Response:
        project, sha = self._enter(request), request.match_info["sha"]
        if not project.has(sha):
            self._fail(
                404, f"TF401175: The version descriptor <Commit: {sha} > could not be resolved.", "GitUnresolvable"
            )
        return web.json_response({"count": 0, "value": []})

    async def _create(self, request: web.Request) -> web.Response:
        project, sha = self._enter(request), request.match_info["sha"]
        fields: dict[str, Any] = await request.json()
        context = fields.get("context") or {}
        if not context.get("name"):
            self._fail(400, "The context's name is missing.", "ArgumentException")
        lengths = {"name": context["name"], "genre": context.get("genre"), "description": fields.get("description")}
        for name, limit in {"name": 128, "genre": 128, "description": 255}.items():
            if len(str(lengths[name] or "").encode("utf-16-le")) // 2 > limit:
                self._fail(400, f"{name} is too long.", "ArgumentException")
        if fields.get("state") not in STATES:
            self._fail(400, "The state is none.", "ArgumentException")
        if not project.has(sha):
            self._fail(
                404, f"TF401175: The version descriptor <Commit: {sha} > could not be resolved.", "GitUnresolvable"
            )
        posted = Posted(
            path=project.path,
            sha=sha,
            context="/".join(filter(None, (context.get("genre"), context["name"]))),
            state=fields["state"],
            description=fields.get("description") or "",
            target_url=fields.get("targetUrl"),
        )
        self.record(posted)
        return web.json_response({"id": next(self._ids), **fields}, status=200)


FORGE: Final = Forge(
    kind="azure-devops",
    host=AzureDevOps,
    repository="shop/service-xyz",
    running="pending",
    succeeded="succeeded",
    failed="failed",
    cancelled="error",
    scope="'Code (status)'",
    wrong=({"description": "d" * 256}, {"context": {"name": "n" * 129}}, {"context": None}),
    below=f"/{ORGANIZATION}",
)
