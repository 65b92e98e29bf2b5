"""The web application: which path leads where. What it needs comes in as values; it starts nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from listener.cluster.names import Key
from listener.cluster.objects import Condition, PipelineRun, TaskRun
from listener.cluster.runs import Runs
from listener.cluster.summary import Origin, RunSummary
from listener.links import Signer
from listener.web import about, connections, logs, pages, probes, readers, requests, run_list, static_files, status
from listener.web.probes import Trouble
from listener.web.requests import Access
from listener.web.summaries import Summaries

_MAX_BODY: Final = 1024  # bytes; nothing here takes one


def create_app(
    *,
    access: Access,
    runs: Runs,
    log_source: logs.LogSource,
    streams: logs.Streams,
    past: Callable[[Key], Awaitable[Condition | None]],
    past_summary: Callable[[Key], Awaitable[RunSummary | None]],
    read_task_runs: Callable[[PipelineRun], Awaitable[list[TaskRun]]],
    describe: Callable[[PipelineRun], tuple[str, tuple[Origin, ...]]],
    service_of: Callable[[PipelineRun], str | None],
    signer: Callable[[], Signer | None],
    troubles: Callable[[], list[Trouble]],
    metrics: Callable[[], bytes],
) -> web.Application:
    """The application with all its routes. ``describe``: which service claims a run, and its commits with links to them;
    ``signer``: what checks signed links, asked each time."""
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[about.about_run])
    app.on_response_prepare.append(connections.secure)
    app[requests.ACCESS] = access
    app[status.RUNS] = runs
    app[status.PAST] = past
    app[logs.LOGS] = log_source
    app[logs.STREAMS] = streams
    app[probes.STOPPING] = asyncio.Event()
    app[readers.SIGNER] = signer
    app[readers.PAST_SUMMARY] = past_summary
    app[pages.SUMMARIES] = Summaries(runs, read_task_runs=read_task_runs, past=past_summary, describe=describe)
    app[run_list.SERVICE_OF] = service_of
    app[probes.TROUBLES] = troubles
    app[probes.METRICS] = metrics
    app.add_routes(
        [
            web.get("/health", probes.health),
            web.get("/livez", probes.livez),
            web.get("/readyz", probes.readyz),
            web.get("/metrics", probes.metrics),
            web.get("/status/{run}", status.status),
            web.get("/status/{namespace}/{run}", status.status),
            web.get("/logs/{run}", logs.logs, allow_head=False),
            web.get("/logs/{namespace}/{run}", logs.logs, allow_head=False),
            web.get("/runs", run_list.runs_page),
            web.get("/runs/{namespace}/{run}", pages.run_page),
            web.get("/runs/{namespace}/{run}/state", pages.run_state),
            web.get("/s/{token}/runs/{namespace}/{run}", pages.run_page),
            web.get("/s/{token}/runs/{namespace}/{run}/state", pages.run_state),
            web.get("/s/{token}/logs/{namespace}/{run}", logs.logs, allow_head=False),
            web.get("/static/{version}/{name}", static_files.static_file),
        ]
    )
    return app


async def stop_streams(app: web.Application) -> None:
    """The service stops: not ready from now on, no new streams, and whoever reads one is told."""
    app[probes.STOPPING].set()
    await logs.cut_all(app)
