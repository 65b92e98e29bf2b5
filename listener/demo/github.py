"""A GitHub in memory: its commit status API with the limits of the real one, and a page that shows a commit's checks.

Serves the API below ``/`` (as api.github.com) and below ``/api/v3`` (as GitHub Enterprise). Rules from GitHub's REST documentation: 140
characters of description, 1,000 statuses per commit and context, contexts compared without case, primary and secondary rate limits.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from listener.demo.githost import GitHost, Posted, Project
from listener.demo.github_app import App, Apps
from listener.demo.github_checks import Checks
from listener.demo.github_deployments import Deployments
from listener.demo.github_labels import IssueLabels
from listener.demo.github_pages import Pages
from listener.demo.github_pulls import Pulls
from listener.demo.gitlab import ApiFailure
from listener.demo.kubernetes.store import now

STATES: Final = ("error", "failure", "pending", "success")
_DOCS: Final = "https://docs.github.com/rest/commits/statuses#create-a-commit-status"
_MAX_STATUSES: Final = 1000


class GitHub(GitHost):
    """``limit``: requests per hour; ``write_gap``: seconds between writes below which the secondary limit answers."""

    name = "GitHub"

    def __init__(self, *, limit: int = 5000, write_gap: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.limit, self.used, self.reset = limit, 0, int(time.time()) + 3600
        self.write_gap = write_gap
        self.weak_tokens: set[str] = set()  #: tokens that may read but not write statuses
        self.scopes: dict[
            str, str | None
        ] = {}  #: by token: of a classic one, None for a fine-grained one; else repo:status
        self.apps = Apps()
        self.checks = Checks(self)
        self.pulls = Pulls(self)
        self.labels, self.deployments = IssueLabels(self), Deployments(self)
        self._last_write = -math.inf  # on the monotonic clock, which may have begun a minute ago
        self._ids = itertools.count(1)

    def add_app(
        self, app_id: int, public_key_pem: str, installations: dict[str, int], *, lifetime: float = 3600
    ) -> App:
        """A GitHub App; ``installations``: owner → number of the installation, ``lifetime``: seconds that its tokens last."""
        app = App(app_id=app_id, public_key=public_key_pem, installations=dict(installations), lifetime=lifetime)
        return self.apps.add(app)

    def routes(self) -> list[web.RouteDef]:
        routes = []
        for prefix in ("", "/api/v3"):
            repository = f"{prefix}/repos/{{owner}}/{{repo}}"
            routes += [
                *self.apps.routes(prefix),
                *self.checks.routes(prefix),
                *self.pulls.routes(prefix),
                *self.labels.routes(prefix),
                *self.deployments.routes(prefix),
                web.get(repository, self._shown_repository),
                web.post(f"{repository}/statuses/{{sha}}", self._create),
                web.get(f"{repository}/commits/{{sha}}/statuses", self._statuses),
                web.get(f"{repository}/commits/{{sha}}/status", self._combined),
            ]
        return [
            *routes,
            *Pages(self).routes(),
        ]

    # For the host's other parts

    def enter(self, request: web.Request) -> Project:
        """The repository that is asked about; raises for who may not ask."""
        return self._enter(request)

    def headers(self) -> dict[str, str]:
        """What each answer has."""
        return self._headers()

    def fail(self, status: int, message: str, **more: Any) -> NoReturn:
        """Ends the request with a refusal."""
        self._fail(status, message, **more)

    # API

    def _headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(0, self.limit - self.used)),
            "x-ratelimit-used": str(min(self.used, self.limit)),
            "x-ratelimit-reset": str(self.reset),
            "x-ratelimit-resource": "core",
            "x-github-request-id": f"{random.getrandbits(64):X}",
            "x-oauth-scopes": "repo:status",
        }

    def _fail(self, status: int, message: str, *, headers: dict[str, str] | None = None, **more: Any) -> NoReturn:
        body = {"message": message, **more, "documentation_url": _DOCS, "status": str(status)}
        raise ApiFailure(status, body, {**self._headers(), **(headers or {})})

    def _enter(self, request: web.Request) -> Project:
        """Authentication, limits, repository: in the order in which the real one looks at them."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        owner = self.apps.owner_of(token)
        known = owner is not None or token in self.tokens | self.weak_tokens
        if scheme.lower() not in ("token", "bearer") or not known:
            self._fail(401, "Bad credentials")
        if self.used >= self.limit:
            self._fail(403, "API rate limit exceeded for user ID 1.")
        self.used += 1
        if request.method != "GET":
            since, self._last_write = time.monotonic() - self._last_write, time.monotonic()
            if since < self.write_gap:
                message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
                self._fail(403, message, headers={"Retry-After": "60"})
        project = self.projects.get(f"{request.match_info['owner']}/{request.match_info['repo']}")
        if project is None:
            self._fail(404, "Not Found")
        if token in self.weak_tokens and request.method != "GET":
            self._fail(403, "Resource not accessible by personal access token")
        if owner not in (None, project.path.partition("/")[0].lower()):
            self._fail(403, "Resource not accessible by integration")
        return project

    def headers_for(self, token: str) -> dict[str, str]:
        """With what GitHub says of a classic token's scopes."""
        headers, scopes = self._headers(), self.scopes.get(token, None if token in self.weak_tokens else "repo:status")
        if scopes is None or self.apps.owner_of(token) is not None:
            del headers["x-oauth-scopes"]
            return headers
        return headers | {"x-oauth-scopes": scopes}

    async def _shown_repository(self, request: web.Request) -> web.Response:
        project = self._enter(request)
        token = request.headers.get("Authorization", "").partition(" ")[2]
        permissions = {"admin": False, "push": token not in self.weak_tokens, "pull": True}
        body = {"id": 1, "full_name": project.path, "archived": project.archived, "permissions": permissions}
        return web.json_response(body, headers=self.headers_for(token))

    async def _create(self, request: web.Request) -> web.Response:
        project, sha = self._enter(request), request.match_info["sha"]
        issued = self.apps.issued(request.headers["Authorization"].partition(" ")[2])
        if issued is not None and issued.permissions.get("statuses") != "write":
            self._fail(403, "Resource not accessible by integration")
        fields: dict[str, Any] = await request.json()
        state, context = fields.get("state"), fields.get("context") or "default"
        description, url = fields.get("description") or "", fields.get("target_url")
        if state not in STATES:
            self._invalid("state", "state is not included in the list")
        if len(description) > 140:
            self._invalid("description", "description is too long (maximum is 140 characters)")
        if url and urlsplit(url).scheme not in ("http", "https"):
            self._invalid("target_url", "target_url must use http(s) scheme")
        if not project.has(sha):
            self._fail(422, f"No commit found for SHA: {sha}")
        if len([p for p in self.statuses(project.path, sha) if p.context.lower() == context.lower()]) >= _MAX_STATUSES:
            self._invalid("context", "This SHA and context has reached the maximum number of statuses.")
        posted = Posted(
            path=project.path, sha=sha, context=context, state=state, description=description, target_url=url
        )
        self.record(posted)
        return web.json_response(self._shown(posted, next(self._ids)), status=201, headers=self._headers())

    def _invalid(self, field: str, message: str) -> NoReturn:
        error = {"resource": "Status", "code": "custom", "field": field, "message": message}
        self._fail(422, "Validation Failed", errors=[error])

    async def _statuses(self, request: web.Request) -> web.Response:
        project, sha = self._enter(request), request.match_info["sha"]
        found = [self._shown(p, number) for number, p in enumerate(self.statuses(project.path, sha), start=1)]
        return web.json_response(found[::-1], headers=self._headers())

    async def _combined(self, request: web.Request) -> web.Response:
        project, sha = self._enter(request), request.match_info["sha"]
        latest = list(self.latest(project.path, sha).values())
        states = [posted.state for posted in latest]
        state = "failure" if {"failure", "error"} & set(states) else "pending" if "pending" in states else "success"
        body = {
            "state": state if states else "pending",
            "sha": sha,
            "total_count": len(latest),
            "statuses": [self._shown(posted, number) for number, posted in enumerate(latest, start=1)],
        }
        return web.json_response(body, headers=self._headers())

    def latest(self, path: str, sha: str) -> dict[str, Posted]:
        """As the host compares contexts: without case."""
        return {posted.context.lower(): posted for posted in self.statuses(path, sha)}

    def _shown(self, posted: Posted, number: int) -> dict[str, Any]:
        """A status as the API shows it."""
        base = f"{self.url}/repos/{posted.path}"
        creator = {"login": "tekton", "id": 1, "node_id": "U_1", "type": "User", "site_admin": False, "gravatar_id": ""}
        of_user = (
            "avatar followers following gists starred subscriptions organizations repos events received_events html"
        )
        urls = ["url", *(f"{what}_url" for what in of_user.split())]
        return {
            "url": f"{base}/statuses/{posted.sha}",
            "avatar_url": f"{self.url}/avatar.png",
            "id": number,
            "node_id": f"SC_{number}",
            "state": posted.state,
            "description": posted.description,
            "target_url": posted.target_url,
            "context": posted.context,
            "created_at": now(),
            "updated_at": now(),
            "creator": creator | dict.fromkeys(urls, f"{self.url}/users/tekton"),
        }

    # Pages

    def states(self, project: Project, sha: str) -> list[str]:
        runs = [check.state for check in self.checks.latest(project.path, sha)]
        return [*super().states(project, sha), *("success" if state == "neutral" else state for state in runs)]
