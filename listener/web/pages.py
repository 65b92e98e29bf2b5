"""``GET /runs/{namespace}/{run}``: the page behind a status's "Details", and ``…/state``, by which it keeps itself up to date.

The page comes whole from the service: what the run is, its tasks on a time line, and where it broke the last lines of the log. Its scripts
then read the log itself from ``/logs``; without them it is shown as text. ``state`` is JSON: the run's summary, and the two parts of the page
that change, as the page has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from listener.cluster.summary import Place, RunSummary
from listener.web.html import HEADERS, page, render, wants_html
from listener.web.logs import LOGS
from listener.web.readers import Reader, reader_of
from listener.web.requests import check_parameters, not_found
from listener.web.run_view import RunView, age, safe_origins, title_of, view_of
from listener.web.static_files import version
from listener.web.summaries import Summaries

log = logging.getLogger(__name__)

SUMMARIES: Final = web.AppKey("summaries", Summaries)
_TAIL: Final = 100  # lines that stand in the page itself
_LONGEST: Final = 2000  # characters of each
_MOST: Final = 4 * 1024 * 1024  # bytes that are looked at for them
_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) ")
_TAIL_PATIENCE: Final = 1.5  # seconds; without them the page's scripts show the lines a moment later
_ICONS: Final = {"queued": "running", "timed_out": "failed", "deleted": "cancelled"}


@dataclass(frozen=True, slots=True)
class Tail:
    """The last lines of the step where a run broke."""

    title: str
    step: str
    state: str
    lines: tuple[str, ...]


async def run_page(request: web.Request) -> web.Response:
    """The page of one run; 404 as everywhere when there is no such run."""
    try:
        reader = await reader_of(request)
        run = await request.app[SUMMARIES].of(reader.key)
        if run is None:
            not_found(reader.key)
    except web.HTTPException as refusal:
        if wants_html(request) and refusal.status in (404, 410):
            return _refused(request, refusal.status)
        raise
    values = _values(reader, run)
    return page(
        "run.html",
        root=_root(reader),
        json=msgspec.json.encode(run).decode(),
        tail=await _tail(request, reader, run),
        log=f"../../logs/{run.namespace}/{run.name}",
        icon=_icon(run),
        **values,
    )


async def run_state(request: web.Request) -> web.Response:
    """What the page of one run asks for again and again while the run goes on."""
    check_parameters(request, {})
    reader = await reader_of(request)
    run = await request.app[SUMMARIES].of(reader.key)
    if run is None:
        not_found(reader.key)
    values = _values(reader, run)
    view: RunView = values["view"]
    body = {
        "run": run,
        "look": run.state,
        "final": run.final,
        "title": view.window_title,
        "icon": f"{_root(reader)}/static/{version()}/{_icon(run)}",
        "head": render("run_head.html", **values),
        "tasks": render("run_tasks.html", **values),
    }
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=HEADERS)


def _values(reader: Reader, run: RunSummary) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "run": run,
        "view": view_of(run, now),
        "origins": safe_origins(run.origins),
        "started": age(run.started or run.created, now),
        "list_url": "" if reader.signed else "../../runs",
    }


def _root(reader: Reader) -> str:
    return "../../../.." if reader.signed else "../.."


def _icon(run: RunSummary) -> str:
    return f"{_ICONS.get(run.state, run.state)}.svg"


def _refused(request: web.Request, status: int) -> web.Response:
    signed = "token" in request.match_info
    namespace, name = request.match_info["namespace"], request.match_info["run"]
    root = "../../../.." if signed else "../.."
    if status == 410:
        text = "It was good for a while only. With a user name and a password you can still see the run."
        url = f"{root}/runs/{namespace}/{name}"
        return page(
            "message.html",
            root=root,
            status=status,
            heading="This link has expired",
            text=text,
            url=url,
            link="Open it",
        )
    text = "It does not exist (any more), its log was not kept, or it is not for you to see."
    url, link = ("", "") if signed else ("../../runs", "All runs")
    return page("message.html", root=root, status=status, heading="There is no such run", text=text, url=url, link=link)


async def _tail(request: web.Request, reader: Reader, run: RunSummary) -> Tail | None:
    """The last lines of the place to look at, where the run is over and they are to be had at once."""
    place = run.place
    if not run.final or place is None or not place.step or request.app[LOGS].refusal():
        return None
    # As text, for of a large log that is much quicker to be had. Without the step, so that marks between attempts are there, too.
    wishes: dict[str, Any] = {"wait": None, "follow": False, "tail": _TAIL * 2, "start": 0, "by_task": False}
    wishes |= {
        "uid": run.uid,
        "exit_status": False,
        "colour": "never",
        "task": place.label,
        "step": None,
        "timestamps": True,
    }
    found = bytearray()
    try:
        async with (
            asyncio.timeout(_TAIL_PATIENCE),
            contextlib.aclosing(request.app[LOGS].stream(reader.key, **wishes, ndjson=False)) as stream,
        ):
            async for piece in stream:
                found += piece
                if len(found) > _MOST:  # of lines as long as that, the page's scripts show as much as is good
                    return None
    except TimeoutError:
        return None
    except Exception as error:  # the log's own request will tell
        log.info("%s: page without its last lines: %s", reader.key, error)
        return None
    lines = _lines_of(place, bytes(found).decode("utf-8", "replace").split("\n"))
    if not lines:
        return None
    state = "failed" if run.state in ("failed", "timed_out") else "cancelled"
    return Tail(title_of(run, place.label), place.step, state, tuple(lines[-_TAIL:]))


def _lines_of(place: Place, lines: list[str]) -> list[str]:
    """What the step at ``place`` printed, in its last attempt, without prefixes and times."""
    prefix, another = f"[{place.label} : {place.step}] ", f" {place.label}: attempt {place.attempt}"
    found: list[str] = []
    for line in lines:
        if line.startswith(prefix):
            text = _TIME.sub("", line.removeprefix(prefix), count=1).removesuffix("\r")
            found.append(text.rpartition("\r")[2][:_LONGEST])
        elif line.startswith("# ") and line.endswith(another):
            found.clear()
    return found
