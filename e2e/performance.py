"""What is played: all runs at once, read from before they exist, with somebody who cancels, releases and deletes some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from e2e.api import ApiError
from e2e.catalogue import OTHERS, RECORDED, Expected
from e2e.mirror import done
from e2e.reading import Follower, client
from e2e.stage import FINAL, Stage

_STATUS_WAIT: Final = "30m"


@dataclass
class Performance:
    """What was seen while it went on."""

    logs: dict[str, Follower] = field(default_factory=dict)  #: by the run's name in the catalogue
    refused: dict[str, str] = field(default_factory=dict)  #: why the cluster would not have it
    trouble: dict[str, str] = field(default_factory=dict)  #: what did not happen to it in time
    waited: tuple[int, str] | None = None  #: the answer of ``/status?wait=`` that was asked for before the run existed
    midway: tuple[int, str] | None = None  #: of ``/status?wait=0`` while it ran
    held: tuple[int, str] | None = None  #: of a run that is pending


def chosen(settings_only: tuple[str, ...], catalogue: tuple[Expected, ...] = RECORDED + OTHERS) -> list[Expected]:
    """The runs that ``E2E_RUNS`` leaves."""
    return [expected for expected in catalogue if not settings_only or expected.name in settings_only]


async def perform(stage: Stage) -> Performance:
    """Play everything, until every run is over and what follows from that has arrived, or the time is over."""
    seen = Performance()
    cast = chosen(stage.settings.only)
    for expected in cast:
        seen.logs[expected.name] = Follower(stage.listener.port, stage.path("logs", expected.run) + "?wait=10m")
    for log in seen.logs.values():
        await log.until(b"# ... waiting", timeout=stage.settings.timeout)
    waiting = asyncio.create_task(_ask(stage, RECORDED[0].run, wait=_STATUS_WAIT))
    for expected in cast:
        try:
            await stage.create(stage.manifests.of(expected))
        except ApiError as error:
            seen.refused[expected.name] = str(error)
    await asyncio.gather(*(_tend(stage, seen, expected) for expected in cast if expected.name not in seen.refused))
    if RECORDED[0].name in seen.logs and RECORDED[0].name not in seen.refused:
        await asyncio.wait([waiting], timeout=stage.settings.arrive)
        seen.waited = waiting.result() if waiting.done() and not waiting.cancelled() else None
    waiting.cancel()
    await asyncio.gather(waiting, *(log.close() for log in seen.logs.values()), return_exceptions=True)
    return seen


async def _tend(stage: Stage, seen: Performance, expected: Expected) -> None:
    """From the run's creation to the last that is to come of it."""
    try:
        if (act := _ACTS.get(expected.name)) is not None:
            await act(stage, seen, expected)
        if expected.name != "deleted":
            timeout, what = stage.settings.timeout, f"the end of {expected.run}"
            await stage.runs.until(lambda: done(stage.runs.objects.get(expected.run)), timeout=timeout, what=what)
        await seen.logs[expected.name].end(timeout=stage.settings.arrive)
        await stage.witness.settled(expected.run, timeout=stage.settings.arrive)
        if expected.reported:
            await stage.until_shown(expected.run, *FINAL, timeout=stage.settings.arrive)
    except (AssertionError, ApiError) as error:
        seen.trouble[expected.name] = str(error)


async def _cancel(stage: Stage, seen: Performance, expected: Expected) -> None:
    await _until_it_runs(stage, seen, expected)
    await stage.api.patch("pipelineruns", stage.namespace, expected.run, {"spec": {"status": "CancelledRunFinally"}})


async def _delete(stage: Stage, seen: Performance, expected: Expected) -> None:
    await _until_it_runs(stage, seen, expected)
    await stage.api.delete("pipelineruns", stage.namespace, expected.run)


async def _until_it_runs(stage: Stage, seen: Performance, expected: Expected) -> None:
    await seen.logs[expected.name].until(b"[slow : sleep] start\n", timeout=stage.settings.timeout)
    await stage.until_shown(expected.run, "pending", "running", timeout=stage.settings.timeout)


async def _release(stage: Stage, seen: Performance, expected: Expected) -> None:
    await stage.until_shown(expected.run, "pending", timeout=stage.settings.timeout)
    seen.held = await _ask(stage, expected.run, wait="0")
    await stage.api.patch("pipelineruns", stage.namespace, expected.run, {"spec": {"status": ""}})


async def _look_midway(stage: Stage, seen: Performance, expected: Expected) -> None:
    await seen.logs[expected.name].until(b"[build : compile] compiling module 2\n", timeout=stage.settings.timeout)
    seen.midway = await _ask(stage, expected.run, wait="0")


_ACTS: Final[dict[str, Callable[[Stage, Performance, Expected], Awaitable[None]]]] = {
    "cancel": _cancel,
    "deleted": _delete,
    "pending": _release,
    "r68g8": _look_midway,
}


async def _ask(stage: Stage, run: str, *, wait: str) -> tuple[int, str]:
    """``/status``."""
    path = f"{stage.path('status', run)}?wait={wait}"
    async with client(stage.listener.port, timeout=None) as session, session.get(path) as response:
        return response.status, await response.text()
