"""The GitLab in memory's deployments and environments, with the rules of the real one.

They are GitLab's own (``lib/api/deployments.rb``, the models ``Deployment`` and ``Environment``): four states, of which none is entered twice and
running only first; a ref that names a commit; an environment that is made on the way, whose name has a charset; who may not deploy to a protected one.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from listener.demo.githost import Project
from listener.demo.kubernetes.store import now

if TYPE_CHECKING:
    from listener.demo.gitlab import GitLab

STATES: Final = ("running", "success", "failed", "canceled")
_EVENTS: Final = {"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}
_NAME: Final = re.compile(r"[a-zA-Z0-9_${}. -]([a-zA-Z0-9_/${}. -]*[a-zA-Z0-9_${}. -])?")
_LONGEST: Final = 255
_PAGE: Final = 20
_LARGEST_PAGE: Final = 100


@dataclass(slots=True, kw_only=True)
class Environment:
    number: int
    path: str
    name: str
    external_url: str | None = None


@dataclass(slots=True, kw_only=True)
class Deployed:
    """One deployment."""

    number: int
    path: str
    sha: str
    ref: str
    tag: bool
    environment: Environment
    at: str
    status: str = "created"


class Deployments:
    """All deployments of one host."""

    def __init__(self, host: GitLab) -> None:
        self._host = host
        self.all: list[Deployed] = []
        self.environments: list[Environment] = []
        self.protected: set[str] = set()  #: names of environments to which nobody may deploy
        self.refs = {"main"}  #: branches and tags of every project
        self._ids = itertools.count(500)

    def routes(self, api: str) -> list[web.RouteDef]:
        return [
            web.post(f"{api}/deployments", self._create),
            web.get(f"{api}/deployments", self._list),
            web.put(f"{api}/deployments/{{deployment}}", self._update),
            web.put(f"{api}/environments/{{environment}}", self._edit),
        ]

    def of(self, path: str, sha: str) -> list[Deployed]:
        """A commit's, oldest first."""
        return [deployed for deployed in self.all if deployed.path == path and deployed.sha == sha]

    async def _create(self, request: web.Request) -> web.Response:
        project = self._host.enter(request)
        fields: dict[str, Any] = await request.json()
        for name in ("environment", "sha", "ref", "tag", "status"):
            if name not in fields:
                self._host.fail(400, {"error": f"{name} is missing"})
            if fields[name] == "":
                self._host.fail(400, {"error": f"{name} is empty"})
        self._check_status(fields["status"])
        environment = self._environment(project, fields["environment"])
        if environment.name in self.protected:
            self._host.fail(403, {"message": "403 Forbidden"})
        wanted = tuple(fields[name] for name in ("ref", "tag", "sha", "status"))
        done = [d for d in self.all if d.environment is environment and d.status == "success"]
        if done and (done[-1].ref, done[-1].tag, done[-1].sha, done[-1].status) == wanted:
            return web.json_response(_shown(done[-1]), status=201)  # the last one again
        if not project.has(fields["sha"]):
            self._host.fail(400, {"message": {"sha": ["The commit does not exist"]}})
        if fields["ref"] not in self.refs and not project.has(fields["ref"]):
            self._host.fail(400, {"message": {"ref": ["The branch or tag does not exist"]}})
        deployed = Deployed(
            number=next(self._ids),
            path=project.path,
            sha=fields["sha"],
            ref=fields["ref"],
            tag=fields["tag"],
            environment=environment,
            at=now(),
            status=fields["status"],
        )
        self.all.append(deployed)
        return web.json_response(_shown(deployed), status=201)

    async def _list(self, request: web.Request) -> web.Response:
        project, wanted = self._host.enter(request), request.query.get("environment")
        found = [d for d in self.all if d.path == project.path and wanted in (None, d.environment.name)]
        if request.query.get("sort") == "desc":
            found.reverse()
        size = min(int(request.query.get("per_page", _PAGE)), _LARGEST_PAGE)
        return web.json_response([_shown(deployed) for deployed in found[:size]])

    async def _update(self, request: web.Request) -> web.Response:
        project = self._host.enter(request)
        number, status = request.match_info["deployment"], (await request.json()).get("status")
        self._check_status(status)
        found = next((d for d in self.all if str(d.number) == number and d.path == project.path), None)
        if found is None:
            self._host.fail(404, {"message": "404 Not found"})
        if found.environment.name in self.protected:
            self._host.fail(403, {"message": "403 Forbidden"})
        if found.status == status or (status == "running" and found.status != "created"):
            self._host.fail(400, {"message": {"status": [f'cannot transition via "{_EVENTS[status]}"']}})
        found.status = status
        return web.json_response(_shown(found))

    async def _edit(self, request: web.Request) -> web.Response:
        project, number = self._host.enter(request), request.match_info["environment"]
        url = (await request.json()).get("external_url")
        found = next((e for e in self.environments if str(e.number) == number and e.path == project.path), None)
        if found is None:
            self._host.fail(404, {"message": "404 Not found"})
        if url is not None and (len(url) > _LONGEST or urlsplit(url).scheme not in ("http", "https")):
            self._host.fail(400, {"message": {"external_url": ["is blocked: Only allowed schemes are http, https"]}})
        found.external_url = url
        return web.json_response(_shown_environment(found))

    def _check_status(self, status: object) -> None:
        if status not in STATES:
            self._host.fail(400, {"error": "status does not have a valid value"})

    def _environment(self, project: Project, name: str) -> Environment:
        found = next((e for e in self.environments if e.name == name and e.path == project.path), None)
        if found is None:
            if len(name) > _LONGEST:
                self._host.fail(400, {"message": {"name": [f"is too long (maximum is {_LONGEST} characters)"]}})
            if not _NAME.fullmatch(name):
                allowed = "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces"
                self._host.fail(400, {"message": {"name": [f"{allowed}, but it cannot start or end with '/'"]}})
            found = Environment(number=next(self._ids), path=project.path, name=name)
            self.environments.append(found)
        return found


def _shown_environment(environment: Environment) -> dict[str, Any]:
    return {
        "id": environment.number,
        "name": environment.name,
        "slug": re.sub("[^a-z0-9]+", "-", environment.name.lower())[:24],
        "external_url": environment.external_url,
    }


def _shown(deployed: Deployed) -> dict[str, Any]:
    """A deployment as the API shows it."""
    return {
        "id": deployed.number,
        "iid": deployed.number,
        "ref": deployed.ref,
        "sha": deployed.sha,
        "created_at": deployed.at,
        "updated_at": deployed.at,
        "user": {"id": 1, "username": "tekton", "name": "Tekton"},
        "environment": _shown_environment(deployed.environment),
        "deployable": None,
        "status": deployed.status,
    }
