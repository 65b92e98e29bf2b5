"""A Bitbucket Cloud in memory: its build status API.

Rules from Atlassian's "Commit statuses" and "Change notice - Updating commit status permissions": key, state and url must be there, a key has 40
characters, an existing status is overwritten, and by who created it only. The lengths of name and url are those that Jenkins' plug-in
found, the description's is ours.
"""

from __future__ import annotations

import base64
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from listener.demo.githost import GitHost, Posted, Project
from listener.demo.gitlab import ApiFailure
from tests.hosts.forge import Forge

STATES: Final = ("INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED")
_LENGTHS: Final = {"key": 40, "name": 255, "description": 255, "url": 450, "refname": 255}


class BitbucketCloud(GitHost):
    """``weak_tokens``: without the scope repository."""

    name = "Bitbucket"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weak_tokens: set[str] = set()
        self._creators: dict[tuple[str, str, str], str] = {}  # by path, commit and key

    def routes(self) -> list[web.RouteDef]:
        repository = "/2.0/repositories/{workspace}/{slug}"
        return [
            web.post(f"{repository}/commit/{{sha}}/statuses/build", self._create),
            web.get(repository, self._shown),
            web.get("/2.0/user", self._user),
        ]

    def _fail(self, status: int, message: str, fields: dict[str, list[str]] | None = None) -> NoReturn:
        more = {"fields": fields} if fields else {}
        raise ApiFailure(status, {"type": "error", "error": {"message": message, **more}})

    def _token(self, request: web.Request) -> tuple[str, str]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            token = base64.b64decode(token).decode().partition(":")[2]
        if scheme not in ("Bearer", "Basic") or token not in self.tokens | self.weak_tokens:
            self._fail(401, "Token is invalid, expired, or not supported for this endpoint.")
        return scheme, token

    def _enter(self, request: web.Request) -> tuple[str, Project]:
        _, token = self._token(request)
        if token in self.weak_tokens:
            self._fail(403, "Your credentials lack one or more required privilege scopes.")
        project = self.projects.get(f"{request.match_info['workspace']}/{request.match_info['slug']}")
        if project is None:
            self._fail(404, "Repository not found")
        return token, project

    async def _user(self, request: web.Request) -> web.Response:
        scheme, token = self._token(request)
        headers = {"X-OAuth-Scopes": "account" if token in self.weak_tokens else "repository"}
        if scheme == "Bearer":  # an access token is nobody's
            error = {"type": "error", "error": {"message": "This API is only accessible to users."}}
            return web.json_response(error, status=403, headers=headers)
        return web.json_response({"type": "user", "display_name": "Tekton"}, headers=headers)

    async def _shown(self, request: web.Request) -> web.Response:
        _, project = self._enter(request)
        return web.json_response({"type": "repository", "full_name": project.path})

    def _validate(self, fields: dict[str, Any]) -> None:
        wrong: dict[str, list[str]] = {}
        for name in ("key", "state", "url"):
            if not fields.get(name):
                wrong[name] = ["This field is required."]
        for name, limit in _LENGTHS.items():
            length = len(str(fields.get(name) or ""))
            if length > limit:
                wrong[name] = [f"Ensure this value has at most {limit} characters (it has {length})."]
        if fields.get("state") and fields["state"] not in STATES:
            wrong["state"] = [f"{fields['state']} is not one of the available choices."]
        if fields.get("url") and urlsplit(fields["url"]).scheme not in ("http", "https"):
            wrong["url"] = ["Enter a valid URL."]
        for name, messages in wrong.items():
            self._fail(400, f"{name}: {messages[0]}", wrong)

    async def _create(self, request: web.Request) -> web.Response:
        (token, project), sha = self._enter(request), request.match_info["sha"]
        fields: dict[str, Any] = await request.json()
        self._validate(fields)
        if not project.has(sha):
            self._fail(404, "Commit not found")
        there = (project.path, sha, fields["key"])
        creator = self._creators.setdefault(there, token)
        if creator != token:
            self._fail(403, "Only the creator of this build status may change it.")
        existed = bool(self.statuses(project.path, sha, fields["key"]))
        posted = Posted(
            path=project.path,
            sha=sha,
            context=fields["key"],
            state=fields["state"],
            description=fields.get("description") or "",
            target_url=fields["url"],
            ref=fields.get("refname"),
        )
        self.record(posted)
        return web.json_response({"type": "build", **fields}, status=200 if existed else 201)


FORGE: Final = Forge(
    kind="bitbucket",
    host=BitbucketCloud,
    repository="acme/service-xyz",
    running="INPROGRESS",
    succeeded="SUCCESSFUL",
    failed="FAILED",
    cancelled="STOPPED",
    scope="'repository'",
    wrong=({"description": "d" * 256}, {"key": "k" * 41}, {"url": None}, {"url": f"https://x.example.com/{'x' * 430}"}),
)
