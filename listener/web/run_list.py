"""``GET /runs``: the newest runs of the namespaces that the user may read, by service, with filters for service, state and text.

Made by the service; its script only asks for it again now and then. With very many runs only the newest few
thousand are looked through, some at a time, so that one who looks does not hold up everything else.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from listener.cluster.objects import PipelineRun
from listener.cluster.outcome import outcome, sentence
from listener.web.html import page
from listener.web.requests import check_parameters, refuse, user_of
from listener.web.run_view import age
from listener.web.status import RUNS

#: Which service claims a run, or None.
SERVICE_OF: Final[web.AppKey[Callable[[PipelineRun], str | None]]] = web.AppKey("service_of")
_SHOWN: Final = 60  # runs on a page
_LOOKED_AT: Final = 5_000  # of the newest
_AT_ONCE: Final = 500  # before others get their turn
_LONGEST: Final = 200  # characters of a filter
_STATES: Final = {
    "going": "Queued or running",
    "succeeded": "Passed",
    "broke": "Failed, timed out or could not run",
    "cancelled": "Cancelled",
}
_OUTCOMES: Final = {
    "going": ("queued", "running"),
    "succeeded": ("succeeded",),
    "broke": ("failed", "timed_out", "broken"),
    "cancelled": ("cancelled", "deleted"),
}
_REFS: Final = ("branch", "git-branch", "source-branch")
_COMMITS: Final = ("revision", "git-revision", "commit", "sha")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filters."""

    service: str = ""
    state: str = ""
    text: str = ""
    before: str = ""

    @property
    def any(self) -> bool:
        return bool(self.service or self.state or self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A run in the list."""

    namespace: str
    name: str
    pipeline: str
    state: str
    sentence: str
    sha: str
    ref: str
    created: str
    age: str


async def runs_page(request: web.Request) -> web.Response:
    """The list."""
    user = await user_of(request)
    check_parameters(request, {"service": "a name", "state": ", ".join(_STATES), "q": "text", "before": "a time"})
    wanted = Wanted(*(request.query.get(name, "")[:_LONGEST] for name in ("service", "state", "q", "before")))
    if wanted.state and wanted.state not in _STATES:
        refuse(web.HTTPBadRequest, f"state: give {', '.join(_STATES)}")
    service_of = request.app[SERVICE_OF]
    visible = (run for run in request.app[RUNS] if user.may_read(run.namespace))
    newest = heapq.nlargest(_LOOKED_AT, visible, key=lambda run: run.order)
    services: set[str] = set()
    found: list[tuple[str, PipelineRun]] = []
    for number, run in enumerate(newest):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        service = service_of(run) or ""
        services.add(service)
        if len(found) <= _SHOWN and _fits(run, service, wanted):
            found.append((service, run))
    more = ""
    if len(found) > _SHOWN:
        found.pop()
        query = {"service": wanted.service, "state": wanted.state, "q": wanted.text, "before": found[-1][1].created}
        more = urlencode({name: value for name, value in query.items() if value})
    return page(
        "runs.html",
        root=".",
        wanted=wanted,
        services=sorted(services - {""} | ({wanted.service} if wanted.service else set())),
        states=_STATES,
        groups=_groups(found),
        more=more,
        troubles=""
        if request.app[RUNS].ready
        else "The cluster has not told all its runs yet; the list may be incomplete.",
    )


def _fits(run: PipelineRun, service: str, wanted: Wanted) -> bool:
    if wanted.before and run.created >= wanted.before:
        return False
    if wanted.service and service != wanted.service:
        return False
    if wanted.state and outcome(run).value not in _OUTCOMES[wanted.state]:
        return False
    if not wanted.text:
        return True
    text = wanted.text.casefold()
    return any(
        text in place.casefold() for place in (run.name, run.pipeline, run.namespace, service, *run.params.values())
    )


def _groups(found: list[tuple[str, PipelineRun]]) -> list[tuple[str, list[Listed]]]:
    """By service, the one with the newest run first; runs without a service last."""
    now = datetime.now(UTC)
    groups: dict[str, list[Listed]] = {}
    for service, run in found:
        groups.setdefault(service, []).append(_listed(run, now))
    return sorted(groups.items(), key=lambda group: group[0] == "")


def _listed(run: PipelineRun, now: datetime) -> Listed:
    return Listed(
        namespace=run.namespace,
        name=run.name,
        pipeline=run.pipeline,
        state=outcome(run).value,
        sentence=sentence(run).partition(": Tasks Completed:")[
            0
        ],  # Tekton's tally; which task failed is on the run's page
        sha=next((run.params[name] for name in _COMMITS if name in run.params), ""),
        ref=next((run.params[name] for name in _REFS if name in run.params), ""),
        created=run.created,
        age=age(run.created, now),
    )
