"""A GitLab in memory: its commit status API with the rules of the real one, and a page that shows a commit's pipeline.

The rules are GitLab's own (``lib/api/commit_statuses.rb``, ``Ci::CreateCommitStatusService``): a status updates the running or pending one
of its name in the pipeline, or becomes a new one; a state cannot be entered twice; fields have 255 characters.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

from aiohttp import web

from listener.demo.githost import GitHost, Posted, Project
from listener.demo.gitlab_deployments import Deployments
from listener.demo.gitlab_labels import RequestLabels
from listener.demo.gitlab_merge_requests import MergeRequests
from listener.demo.gitlab_pages import Pages
from listener.demo.kubernetes.store import now

STATES: Final = ("pending", "running", "success", "failed", "canceled", "skipped")
_LIMIT: Final = 255
_EVENTS: Final = {
    "pending": "enqueue",
    "running": "run",
    "success": "success",
    "failed": "drop",
    "canceled": "cancel",
    "skipped": "skip",
}
_OPEN: Final = ("created", "pending", "running")


@dataclass(slots=True)
class _Pipeline:
    id: int
    sha: str
    ref: str


@dataclass(slots=True)
class _Job:
    id: int
    pipeline: _Pipeline
    name: str
    status: str = "created"
    description: str | None = None
    target_url: str | None = None
    retried: bool = False
    created_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class GitLab(GitHost):
    """``strict_finished``: a finished status refuses everything that follows, as some versions do."""

    name = "GitLab"

    def __init__(self, *, strict_finished: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.strict_finished = strict_finished
        self.read_only_tokens: set[str] = set()  #: tokens without the scope ``api``
        self.merge_requests = MergeRequests(self)
        self.labels, self.deployments = RequestLabels(self), Deployments(self)
        self.levels: dict[
            str, int
        ] = {}  #: by project: the user's access level, 40 where nothing is said; 0 for none of his own
        self.invited: dict[str, int] = {}  #: by project: what he has through an invited group
        self.expires_at: str | None = None  #: of all tokens
        self._ids = itertools.count(100)
        self._pipelines: dict[tuple[str, str], list[_Pipeline]] = {}  # by project path and commit
        self._jobs: dict[int, list[_Job]] = {}  # by pipeline

    def routes(self) -> list[web.RouteDef]:
        api = "/api/v4/projects/{project}"
        return [
            web.post(f"{api}/statuses/{{sha}}", self._create),
            web.get(f"{api}/repository/commits/{{sha}}/statuses", self._statuses),
            *self.merge_requests.routes(api),
            *self.labels.routes(api),
            *self.deployments.routes(api),
            web.get("/api/v4/user", self._user),
            web.get("/api/v4/personal_access_tokens/self", self._token),
            web.get(f"{api}/members/all/{{user}}", self._member),
            web.get(api, self._shown_project),
            *Pages(self).routes(),
        ]

    # API

    def token(self, request: web.Request) -> str:
        """What a request shows."""
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return request.headers.get("PRIVATE-TOKEN") or bearer

    def enter(self, request: web.Request) -> Project:
        """Authentication and project, for the host's other parts."""
        self._authenticate(request)
        return self._project(request)

    def fail(self, status: int, body: dict[str, Any]) -> NoReturn:
        """Ends the request with a refusal."""
        _fail(status, body)

    def _authenticate(self, request: web.Request, *, reads: bool = False) -> str:
        token = self.token(request)
        if token in self.read_only_tokens and not reads:
            scopes = "The request requires higher privileges than provided by the access token."
            _fail(403, {"error": "insufficient_scope", "error_description": scopes, "scope": "api"})
        if token not in self.tokens | self.read_only_tokens:
            _fail(401, {"message": "401 Unauthorized"})
        return token

    def _project(self, request: web.Request) -> Project:
        project = self.projects.get(unquote(request.match_info["project"]))
        if project is None:
            _fail(404, {"message": "404 Project Not Found"})
        return project

    async def _create(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        project, sha = self._project(request), request.match_info["sha"]
        is_json = request.content_type == "application/json"
        fields: dict[str, Any] = await request.json() if is_json else dict(await request.post())
        state = fields.get("state")
        if not state:
            _fail(400, {"error": "state is missing"})
        if state not in STATES:
            _fail(400, {"error": "state does not have a valid value"})
        if not project.has(sha):
            _fail(404, {"message": "404 Commit Not Found"})
        self._validate(fields)
        pipeline = self._pipeline(project, sha, fields)
        job = self._job(pipeline, fields)
        self._enter(job, state)
        job.description = fields.get("description", job.description)
        job.target_url = fields.get("target_url", job.target_url)
        self.record(
            Posted(
                path=project.path,
                sha=sha,
                context=job.name,
                state=state,
                description=job.description or "",
                target_url=job.target_url,
                ref=fields.get("ref"),
                pipeline_id=pipeline.id,
            )
        )
        return web.json_response(_shown(job), status=201)

    def _validate(self, fields: dict[str, Any]) -> None:
        for field in ("name", "description", "target_url", "ref"):
            if len(str(fields.get(field) or "")) > _LIMIT:
                _fail(400, {"message": {field: [f"is too long (maximum is {_LIMIT} characters)"]}})
        url = fields.get("target_url")
        if url and urlsplit(url).scheme not in ("http", "https"):
            _fail(400, {"message": {"target_url": ["is blocked: Only allowed schemes are http, https"]}})

    def _pipeline(self, project: Project, sha: str, fields: dict[str, Any]) -> _Pipeline:
        """The newest one of this commit and ref, or a new external one; with an id just that one."""
        pipelines = self._pipelines.setdefault((project.path, sha), [])
        ref, wanted = fields.get("ref"), fields.get("pipeline_id")
        matching = [p for p in pipelines if ref in (None, p.ref)]
        if wanted is not None:
            matching = [p for p in matching if p.id == int(wanted)]
            if not matching:
                _fail(404, {"message": "404 Pipeline for pipeline_id, sha and ref Not Found"})
        if not matching:
            pipelines.append(_Pipeline(next(self._ids), sha, ref or "main"))
            matching = pipelines[-1:]
        return matching[-1]

    def _job(self, pipeline: _Pipeline, fields: dict[str, Any]) -> _Job:
        """The running or pending one of this name, or a new one."""
        name = fields.get("name") or fields.get("context") or "default"
        jobs = self._jobs.setdefault(pipeline.id, [])
        same = [job for job in jobs if job.name == name and not job.retried]
        if same and (same[-1].status in ("pending", "running") or self.strict_finished):
            return same[-1]
        return _Job(next(self._ids), pipeline, name, created_at=now())

    def _enter(self, job: _Job, state: str) -> None:
        jobs = self._jobs[job.pipeline.id]
        allowed = {"pending": ("created",), "running": ("created", "pending")}.get(state, _OPEN)
        if job.status not in allowed:
            event = _EVENTS[state]
            reason = f'Reason(s): Status cannot transition via "{event}"'
            _fail(400, {"message": f"Cannot transition status via :{event} from :{job.status} ({reason})"})
        if job not in jobs:
            for older in jobs:
                older.retried = older.retried or older.name == job.name
            jobs.append(job)
        job.status = state
        if state == "running":
            job.started_at = now()
        elif state != "pending":
            job.finished_at = now()

    async def _statuses(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        project, sha = self._project(request), request.match_info["sha"]
        every = request.query.get("all") == "true"
        jobs = self.jobs_of(project, sha, every=every)
        return web.json_response([_shown(job) for job in jobs if request.query.get("name") in (None, job.name)])

    async def _token(self, request: web.Request) -> web.Response:
        scopes = ["read_api"] if self._authenticate(request, reads=True) in self.read_only_tokens else ["api"]
        body = {"id": 1, "name": "statuses", "revoked": False, "active": True, "scopes": scopes, "user_id": 1}
        return web.json_response(body | {"expires_at": self.expires_at})

    async def _shown_project(self, request: web.Request) -> web.Response:
        self._authenticate(request, reads=True)
        project = self._project(request)
        level = self.levels.get(project.path, 40)
        access = {"access_level": level, "notification_level": 3} if level else None
        body = {"id": 1, "path_with_namespace": project.path, "archived": project.archived}
        return web.json_response(body | {"permissions": {"project_access": access, "group_access": None}})

    async def _member(self, request: web.Request) -> web.Response:
        self._authenticate(request, reads=True)
        path = self._project(request).path
        level = max(self.levels.get(path, 40), self.invited.get(path, 0))
        if not level:
            _fail(404, {"message": "404 Not found"})
        return web.json_response({"id": 1, "username": "tekton", "access_level": level, "expires_at": None})

    async def _user(self, request: web.Request) -> web.Response:
        self._authenticate(request, reads=True)
        return web.json_response(self.merge_requests.person(self.merge_requests.username(request)))

    def jobs_of(self, project: Project, sha: str, *, every: bool = False) -> list[_Job]:
        """What a commit shows, in order of arrival; ``every``: with what was said before."""
        pipelines = self._pipelines.get((project.path, sha), ())
        return [job for p in pipelines for job in self._jobs.get(p.id, ()) if every or not job.retried]


def _shown(job: _Job) -> dict[str, Any]:
    """A status as the API shows it."""
    author = {"id": 1, "username": "tekton", "name": "Tekton", "state": "active", "avatar_url": None, "web_url": ""}
    return {
        "id": job.id,
        "sha": job.pipeline.sha,
        "ref": job.pipeline.ref,
        "status": job.status,
        "name": job.name,
        "target_url": job.target_url,
        "description": job.description,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "allow_failure": False,
        "coverage": None,
        "pipeline_id": job.pipeline.id,
        "author": author,
    }


def _fail(status: int, body: dict[str, Any]) -> NoReturn:
    raise ApiFailure(status, body)


class ApiFailure(web.HTTPException):
    """A JSON answer that ends the request."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        import json

        self.status_code = status
        super().__init__(text=json.dumps(body), content_type="application/json", headers=headers)


async def _main(port: int) -> None:
    async with GitLab(port=port) as host:
        for number in range(1000):
            host.add_project(f"group/service-{number}", any_commit=True)
        print(host.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="a GitLab in memory with projects group/service-N that know any commit"
    )
    parser.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args().port))
