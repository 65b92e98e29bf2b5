"""The GitHub in memory's deployments: the rules of the real one, for who makes them and who says what became of them.

Rules from GitHub's REST documentation ("Deployments", "Deployment statuses"): a deployment merges the default branch into what it deploys unless it is told not
to, and is refused while a check of the commit is not green unless it is told which ones matter; a status has one of seven states and 140
characters of description; a success makes the earlier successful deployments to its environment inactive.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from listener.demo.kubernetes.store import now

if TYPE_CHECKING:
    from listener.demo.github import GitHub

STATES: Final = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
_DESCRIPTION: Final = 140
_ENVIRONMENT: Final = 255
_PAGE: Final = 30
_LARGEST_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One status of a deployment."""

    number: int
    state: str
    description: str
    log_url: str
    environment_url: str
    at: str


@dataclass(slots=True, kw_only=True)
class Deployed:
    """One deployment with its statuses, oldest first."""

    number: int
    path: str
    sha: str
    ref: str
    environment: str
    description: str
    task: str
    payload: Any
    production: bool
    transient: bool
    at: str
    statuses: list[Said] = field(default_factory=list)

    @property
    def state(self) -> str:
        return self.statuses[-1].state if self.statuses else "pending"

    @property
    def latest(self) -> Said | None:
        return self.statuses[-1] if self.statuses else None


class Deployments:
    """All deployments of one host."""

    def __init__(self, host: GitHub) -> None:
        self._host = host
        self.all: list[Deployed] = []
        self._ids = itertools.count(1)

    def routes(self, prefix: str) -> list[web.RouteDef]:
        deployments = f"{prefix}/repos/{{owner}}/{{repo}}/deployments"
        return [
            web.post(deployments, self._create),
            web.get(deployments, self._list),
            web.post(f"{deployments}/{{deployment:[0-9]+}}/statuses", self._say),
            web.get(f"{deployments}/{{deployment:[0-9]+}}/statuses", self._statuses),
        ]

    def of(self, path: str, sha: str) -> list[Deployed]:
        """A commit's, oldest first."""
        return [deployed for deployed in self.all if deployed.path == path and deployed.sha == sha]

    async def _create(self, request: web.Request) -> web.Response:
        project = self._host.enter(request)
        fields: dict[str, Any] = await request.json()
        ref, environment = fields.get("ref"), fields.get("environment", "production")
        if not isinstance(ref, str):
            self._invalid("ref", "missing_field", "ref wasn't supplied.")
        if not project.has(ref):  # this one has no branches
            self._host.fail(422, f"No ref found for: {ref}")
        if not environment or len(environment) > _ENVIRONMENT:
            self._invalid("environment", "invalid", "environment is invalid")
        if fields.get("auto_merge", True):
            return self._json({"message": f"Auto-merged main into {ref} on deployment."}, status=202)
        wanted = fields.get("required_contexts")
        checks = [p for p in self._host.latest(project.path, ref).values() if wanted is None or p.context in wanted]
        if red := [posted.context for posted in checks if posted.state != "success"]:
            self._host.fail(409, f"Conflict: Commit status checks failed for {ref}.", errors=[{"contexts": red}])
        deployed = Deployed(
            number=next(self._ids),
            path=project.path,
            sha=ref,
            ref=ref,
            environment=environment,
            description=fields.get("description") or "",
            task=fields.get("task", "deploy"),
            payload=fields.get("payload", {}),
            production=fields.get("production_environment", environment == "production"),
            transient=fields.get("transient_environment", False),
            at=now(),
        )
        self.all.append(deployed)
        return self._json(_shown(request, deployed), status=201)

    async def _list(self, request: web.Request) -> web.Response:
        project = self._host.enter(request)
        wanted = {name: request.query[name] for name in ("sha", "ref", "task", "environment") if name in request.query}
        found = [
            deployed
            for deployed in reversed(self.all)
            if deployed.path == project.path and all(getattr(deployed, name) == value for name, value in wanted.items())
        ]
        size = min(int(request.query.get("per_page", _PAGE)), _LARGEST_PAGE)
        first = (int(request.query.get("page", 1)) - 1) * size
        return self._json([_shown(request, deployed) for deployed in found[first : first + size]])

    async def _say(self, request: web.Request) -> web.Response:
        deployed = self._deployed(request)
        fields: dict[str, Any] = await request.json()
        state, description = fields.get("state"), fields.get("description") or ""
        if state not in STATES:
            self._invalid("state", "invalid", f"state must be one of {', '.join(STATES)}")
        if len(description) > _DESCRIPTION:
            self._invalid("description", "custom", "description is too long (maximum is 140 characters)")
        for name in ("log_url", "target_url", "environment_url"):
            if fields.get(name) and urlsplit(fields[name]).scheme not in ("http", "https"):
                self._invalid(name, "custom", f"{name} must use http(s) scheme")
        if state == "success" and fields.get("auto_inactive", True):
            self._retire(deployed)
        said = self._append(
            deployed,
            state,
            description,
            log_url=fields.get("log_url") or fields.get("target_url") or "",
            environment_url=fields.get("environment_url") or "",
        )
        return self._json(_shown_status(request, deployed, said), status=201)

    async def _statuses(self, request: web.Request) -> web.Response:
        deployed = self._deployed(request)
        return self._json([_shown_status(request, deployed, said) for said in reversed(deployed.statuses)])

    def _retire(self, by: Deployed) -> None:
        for older in self.all:
            if older is by or (older.path, older.environment) != (by.path, by.environment):
                continue
            if older.state == "success" and not older.transient and not older.production:
                self._append(older, "inactive", "")

    def _append(
        self, deployed: Deployed, state: str, description: str, *, log_url: str = "", environment_url: str = ""
    ) -> Said:
        said = Said(
            number=next(self._ids),
            state=state,
            description=description,
            log_url=log_url,
            environment_url=environment_url,
            at=now(),
        )
        deployed.statuses.append(said)
        return said

    def _deployed(self, request: web.Request) -> Deployed:
        project, number = self._host.enter(request), int(request.match_info["deployment"])
        found = next((d for d in self.all if d.number == number and d.path == project.path), None)
        if found is None:
            self._host.fail(404, "Not Found")
        return found

    def _invalid(self, name: str, code: str, message: str) -> NoReturn:
        error = {"resource": "Deployment", "code": code, "field": name, "message": message}
        self._host.fail(422, "Validation Failed", errors=[error])

    def _json(self, body: Any, *, status: int = 200) -> web.Response:
        return web.json_response(body, status=status, headers=self._host.headers())


def _shown(request: web.Request, deployed: Deployed) -> dict[str, Any]:
    """A deployment as the API shows it."""
    base = f"{request.url.origin()}/repos/{deployed.path}"
    return {
        "url": f"{base}/deployments/{deployed.number}",
        "id": deployed.number,
        "node_id": f"DE_{deployed.number}",
        "sha": deployed.sha,
        "ref": deployed.ref,
        "task": deployed.task,
        "payload": deployed.payload,
        "original_environment": deployed.environment,
        "environment": deployed.environment,
        "description": deployed.description,
        "creator": None,
        "created_at": deployed.at,
        "updated_at": deployed.at,
        "statuses_url": f"{base}/deployments/{deployed.number}/statuses",
        "repository_url": base,
        "transient_environment": deployed.transient,
        "production_environment": deployed.production,
    }


def _shown_status(request: web.Request, deployed: Deployed, said: Said) -> dict[str, Any]:
    """A deployment's status as the API shows it."""
    base = f"{request.url.origin()}/repos/{deployed.path}"
    return {
        "url": f"{base}/deployments/{deployed.number}/statuses/{said.number}",
        "id": said.number,
        "node_id": f"DES_{said.number}",
        "state": said.state,
        "creator": None,
        "description": said.description,
        "environment": deployed.environment,
        "target_url": said.log_url,
        "created_at": said.at,
        "updated_at": said.at,
        "deployment_url": f"{base}/deployments/{deployed.number}",
        "repository_url": base,
        "environment_url": said.environment_url,
        "log_url": said.log_url,
    }
