"""``GET /status/{namespace}/{run}``: a run's condition, so that ``curl -f`` is right in a CI job.

As the original had it: ``{"message":…,"reason":…,"type":"Succeeded","status":"True"}``, 200 only for success, 400 for failed and for not
finished after ``?wait=`` (30 s when nothing is said), 404 for a run that does not exist. A run that is gone and whose log was recorded is
answered for from there. A run that is asked for with ``?wait=``
before it was created gets a minute of that to appear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from listener.cluster.names import Key
from listener.cluster.objects import Condition, PipelineRun
from listener.cluster.runs import Runs
from listener.web.requests import check_parameters, condition_json, key_of, not_found, refuse, seconds_of, user_of

RUNS: Final = web.AppKey("runs", Runs)
#: How a run ended that is no longer in the cluster, or None where nobody knows.
PAST: Final[web.AppKey[Callable[[Key], Awaitable[Condition | None]]]] = web.AppKey("past")
_DEFAULT_WAIT: Final = 30.0  # seconds, as the original
_APPEAR: Final = 60.0  # seconds that a run which does not exist yet is waited for, if the request waits that long


async def status(request: web.Request) -> web.Response:
    """The handler of both path forms."""
    check_parameters(request, {"wait": "seconds, or 30m"})
    key = key_of(request, await user_of(request))
    asked = seconds_of(request, "wait")
    wait, patience = (_DEFAULT_WAIT, 0.0) if asked is None else (asked, min(asked, _APPEAR))
    runs = request.app[RUNS]
    await _until_ready(runs, key.namespace, patience=max(patience, 5.0))
    run = await _finished(runs, key, wait=wait, appear=patience)
    condition = run.condition if run is not None else await request.app[PAST](key)
    if condition is None and run is None:
        not_found(key)
    condition = condition or Condition("Unknown", "Pending", "Tekton has not started this run yet")
    body = condition_json(condition.message, condition.reason, condition.status)
    code = 200 if condition.status == "True" else 400
    return web.Response(text=body, status=code, content_type="application/json", headers={"Cache-Control": "no-store"})


async def _until_ready(runs: Runs, namespace: str, *, patience: float) -> None:
    """503 while it is not known yet which runs exist: a 404 would be a lie."""
    try:
        async with asyncio.timeout(patience):
            await runs.synced(namespace)
    except TimeoutError:
        why = "; ".join(problem for _, problem, _ in runs.problems) or "the list of PipelineRuns is still being read"
        refuse(web.HTTPServiceUnavailable, f"the cluster cannot be asked: {why}", headers={"Retry-After": "5"})


async def _finished(runs: Runs, key: Key, *, wait: float, appear: float) -> PipelineRun | None:
    """The run once it is done, or as it is when ``wait`` seconds are over; None when it is not there (any more)."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    deadline, appear_by = now + wait, now + appear
    known = False
    with runs.watching(key) as changed:
        while True:
            changed.clear()
            run = runs.get(key)
            known = known or run is not None
            if run is None and (known or loop.time() >= appear_by):
                return None
            if run is not None and (run.done or loop.time() >= deadline):
                return run
            try:
                async with asyncio.timeout_at(deadline if run is not None else appear_by):
                    await changed.wait()
            except TimeoutError:
                continue
