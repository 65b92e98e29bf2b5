"""``/health``, ``/livez``, ``/readyz`` and ``/metrics``: for machines that ask whether all is well, without credentials.

``/health`` is the original's. ``/livez`` says that the process answers. ``/readyz`` is 503 until every PipelineRun is known, and from the
moment the service is told to stop; in between it stays 200, for logs can be served while a Git host is down, and names what is
ill, why and since when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from listener.web.status import RUNS


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not work right now."""

    what: str  #: a host's name or a watch's path
    why: str
    since: float  #: time.time()


TROUBLES: Final[web.AppKey[Callable[[], list[Trouble]]]] = web.AppKey("troubles")
STOPPING: Final = web.AppKey("stopping", asyncio.Event)  #: set when the service is about to end
METRICS: Final[web.AppKey[Callable[[], bytes]]] = web.AppKey("metrics")


async def health(_: web.Request) -> web.Response:
    """As the original answered."""
    return web.Response(text='{"status":1}', content_type="application/json")


async def livez(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """Ready or not, with a line per trouble."""
    stopping = request.app[STOPPING].is_set()
    ready = request.app[RUNS].ready and not stopping
    troubles = [
        {"what": t.what, "why": t.why, "since": datetime.fromtimestamp(t.since, UTC).isoformat(timespec="seconds")}
        for t in request.app[TROUBLES]()
    ]
    body = {"ready": ready, "troubles": troubles} | ({"stopping": True} if stopping else {})
    return web.json_response(body, status=200 if ready else 503)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format."""
    return web.Response(
        body=request.app[METRICS](), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )
