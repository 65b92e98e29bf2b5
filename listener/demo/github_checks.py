"""The GitHub in memory's check runs: for Apps with the permission, and refused for what the real one refuses.

Rules from GitHub's REST documentation ("Check runs") and from answers that its users report: only an App with ``checks: write`` may write, and
change what it has made itself; a conclusion completes a check run; a summary has at most 65,535 bytes, 50 annotations fit in a request and are added
to those that are there, each from line 1 on, with both columns or none; of 1,000 with one name the oldest goes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from listener.demo.kubernetes.store import now

if TYPE_CHECKING:
    from listener.demo.github import GitHub

_STATUSES: Final = ("queued", "in_progress", "completed")
_CONCLUSIONS: Final = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out")
_LEVELS: Final = ("notice", "warning", "failure")
_MOST_ANNOTATIONS: Final = 50
_MOST_OF_ONE_NAME: Final = 1000
_LONGEST: Final = 65_535
_STATES: Final = {"success": "success", "neutral": "neutral", "skipped": "neutral", "cancelled": "error"}


@dataclass(slots=True, kw_only=True)
class Check:
    """One check run, as its App has made it."""

    id: int
    app_id: int
    path: str
    sha: str
    name: str
    status: str = "queued"
    conclusion: str | None = None
    details_url: str | None = None
    external_id: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """For the icon on a commit's page."""
        return "pending" if self.conclusion is None else _STATES.get(self.conclusion, "failure")


class Checks:
    """All check runs of one host."""

    def __init__(self, host: GitHub) -> None:
        self._host, self._ids = host, itertools.count(3001)
        self.all: dict[int, Check] = {}

    def of(self, path: str, sha: str, name: str | None = None) -> list[Check]:
        """A commit's check runs, oldest first."""
        return [c for c in self.all.values() if c.path == path and c.sha == sha and name in (None, c.name)]

    def latest(self, path: str, sha: str) -> list[Check]:
        """What a commit shows: the youngest of each App and name."""
        return list({(check.app_id, check.name): check for check in self.of(path, sha)}.values())

    def routes(self, prefix: str) -> list[web.RouteDef]:
        repository = f"{prefix}/repos/{{owner}}/{{repo}}"
        one = f"{repository}/check-runs/{{number:[0-9]+}}"
        return [
            web.post(f"{repository}/check-runs", self._create),
            web.patch(one, self._update),
            web.get(one, self._get),
            web.get(f"{one}/annotations", self._annotations),
            web.get(f"{repository}/commits/{{sha}}/check-runs", self._list),
        ]

    # API

    async def _create(self, request: web.Request) -> web.Response:
        app_id, path = self._enter(request)
        fields: dict[str, Any] = await request.json()
        missing = [f'"{name}"' for name in ("name", "head_sha") if not fields.get(name)]
        if missing:
            self._host.fail(422, f"Invalid request.\n\n{', '.join(missing)} weren't supplied.")
        if not self._host.projects[path].has(fields["head_sha"]):
            self._host.fail(422, f"No commit found for SHA: {fields['head_sha']}")
        self._check(fields)
        check = Check(id=next(self._ids), app_id=app_id, path=path, sha=fields["head_sha"], name=fields["name"])
        self.all[check.id] = check
        same = self.of(path, check.sha, check.name)
        for old in same[: max(0, len(same) - _MOST_OF_ONE_NAME)]:
            del self.all[old.id]
        self._set(check, fields)
        return web.json_response(self._shown(check), status=201, headers=self._host.headers())

    async def _update(self, request: web.Request) -> web.Response:
        app_id, path = self._enter(request)
        check = self._find(request, path)
        if check.app_id != app_id:
            message = f"Invalid app_id `{app_id}` - check run can only be modified by the GitHub App that created it."
            self._host.fail(403, message)
        fields: dict[str, Any] = await request.json()
        self._check(fields)
        self._set(check, fields)
        return web.json_response(self._shown(check), headers=self._host.headers())

    async def _get(self, request: web.Request) -> web.Response:
        path = self._host.enter(request).path
        return web.json_response(self._shown(self._find(request, path)), headers=self._host.headers())

    async def _annotations(self, request: web.Request) -> web.Response:
        path = self._host.enter(request).path
        return web.json_response(self._find(request, path).annotations, headers=self._host.headers())

    async def _list(self, request: web.Request) -> web.Response:
        path, sha, query = self._host.enter(request).path, request.match_info["sha"], request.query
        found = self.of(path, sha) if query.get("filter") == "all" else self.latest(path, sha)
        found = [check for check in found if query.get("check_name", check.name) == check.name]
        found = [check for check in found if query.get("status", check.status) == check.status]
        size, page = min(int(query.get("per_page", "30")), 100), int(query.get("page", "1"))
        shown = [self._shown(check) for check in found[::-1][(page - 1) * size : page * size]]
        return web.json_response({"total_count": len(found), "check_runs": shown}, headers=self._host.headers())

    # Rules

    def _enter(self, request: web.Request) -> tuple[int, str]:
        """The App that writes and the repository."""
        path = self._host.enter(request).path
        issued = self._host.apps.issued(request.headers["Authorization"].partition(" ")[2])
        if issued is None:
            self._host.fail(403, "You must authenticate via a GitHub App.")
        if issued.permissions.get("checks") != "write":
            self._host.fail(403, "Resource not accessible by integration")
        return issued.app_id, path

    def _find(self, request: web.Request, path: str) -> Check:
        check = self.all.get(int(request.match_info["number"]))
        if check is None or check.path != path:
            self._host.fail(404, "Not Found")
        return check

    def _check(self, fields: dict[str, Any]) -> None:
        """Refuses what may not be in a request."""
        for name, allowed in (("status", _STATUSES), ("conclusion", _CONCLUSIONS)):
            if fields.get(name) not in (None, *allowed):
                listed = ", ".join(allowed)
                problem = f'"{fields[name]}" is not a possible value. Must be one of the following: {listed}.'
                self._host.fail(422, f"Invalid request.\n\n{problem}")
        if (fields.get("status") == "completed" or fields.get("completed_at")) and not fields.get("conclusion"):
            self._host.fail(422, 'Invalid request.\n\n"conclusion" wasn\'t supplied.')
        if fields.get("details_url") and urlsplit(fields["details_url"]).scheme not in ("http", "https"):
            self._invalid("details_url", code="custom", message="details_url must use http(s) scheme")
        if "output" in fields:
            self._check_output(fields["output"])

    def _check_output(self, output: dict[str, Any]) -> None:
        missing = [f'"{name}"' for name in ("title", "summary") if not output.get(name)]
        if missing:
            self._host.fail(422, f"Invalid request.\n\n{', '.join(missing)} weren't supplied.")
        for name in ("summary", "text"):
            if len((output.get(name) or "").encode()) > _LONGEST:
                self._invalid(name, code="custom", message=f"{name} exceeds a maximum bytesize of {_LONGEST}")
        annotations = output.get("annotations", [])
        if len(annotations) > _MOST_ANNOTATIONS:
            given = f"No more than {_MOST_ANNOTATIONS} items are allowed; {len(annotations)} were supplied."
            self._host.fail(422, f"Invalid request.\n\n{given}")
        if not all(map(_acceptable, annotations)):
            self._invalid("annotations", code="invalid")

    def _invalid(self, name: str, **what: str) -> None:
        self._host.fail(422, "Validation Failed", errors=[{"resource": "CheckRun", **what, "field": name}])

    def _set(self, check: Check, fields: dict[str, Any]) -> None:
        check.name = fields.get("name", check.name)
        check.details_url = fields.get("details_url", check.details_url)
        check.external_id = fields.get("external_id", check.external_id)
        check.started_at = fields.get("started_at") or check.started_at or now()
        check.conclusion = fields.get("conclusion")
        check.status = "completed" if check.conclusion else fields.get("status", check.status)
        check.completed_at = (fields.get("completed_at") or now()) if check.conclusion else None
        output = fields.get("output", {})
        check.title, check.summary = output.get("title", check.title), output.get("summary", check.summary)
        check.text = output.get("text", check.text)
        check.annotations += output.get("annotations", [])

    def _shown(self, check: Check) -> dict[str, Any]:
        """A check run as the API shows it."""
        base, web_page = f"{self._host.url}/repos/{check.path}/check-runs/{check.id}", f"{self._host.url}/{check.path}"
        output = {"title": check.title, "summary": check.summary, "text": check.text}
        return {
            "id": check.id,
            "node_id": f"CR_{check.id}",
            "head_sha": check.sha,
            "name": check.name,
            "url": base,
            "html_url": f"{web_page}/runs/{check.id}",
            "details_url": check.details_url,
            "external_id": check.external_id or "",
            "status": check.status,
            "conclusion": check.conclusion,
            "started_at": check.started_at,
            "completed_at": check.completed_at,
            "output": {**output, "annotations_count": len(check.annotations), "annotations_url": f"{base}/annotations"},
            "check_suite": {"id": check.app_id},
            "app": None,
            "pull_requests": [],
        }


def _acceptable(annotation: dict[str, Any]) -> bool:
    """Whether GitHub takes it. It does not look whether there is such a file."""
    start, end = annotation.get("start_line"), annotation.get("end_line")
    columns = [annotation[name] for name in ("start_column", "end_column") if name in annotation]
    return (
        bool(annotation.get("path"))
        and annotation.get("annotation_level") in _LEVELS
        and 0 < len((annotation.get("message") or "").encode()) <= _LONGEST + 1
        and isinstance(start, int)
        and isinstance(end, int)
        and 1 <= start <= end
        and len(columns) in (0, 2)
        and (not columns or (start == end and 1 <= columns[0] <= columns[-1]))
    )
