"""``GET /runs/{namespace}/{run}``: the page behind a status's "Details".

Server-rendered and without JavaScript: what the run is, its tasks, and its log live in a frame. Everything is escaped by the template
engine; the content security policy allows no script and nothing from elsewhere.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from listener.cluster.client import ClusterError
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import duration, outcome, sentence, step_at_fault
from listener.web.requests import key_of, not_found
from listener.web.status import RUNS

if TYPE_CHECKING:
    from jinja2 import Template

log = logging.getLogger(__name__)

TASK_RUNS: Final[web.AppKey[Callable[[PipelineRun], Awaitable[list[TaskRun]]]]] = web.AppKey("task_runs")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self' 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@functools.cache
def _template(name: str) -> Template:
    """A template by its name. Jinja is loaded when the first page is asked for: many services never serve one."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("listener.web", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


async def run_page(request: web.Request) -> web.Response:
    """The page of one run; 404 as everywhere when there is no such run."""
    key = key_of(request)
    run = request.app[RUNS].get(key)
    if run is None:
        not_found(key)
    try:
        task_runs = await request.app[TASK_RUNS](run)
    except ClusterError as error:
        log.warning("%s: page without its tasks: %s", key, error)
        task_runs = []
    text = _template("run.html").render(
        run=run, state=outcome(run).value, sentence=sentence(run, task_runs), tasks=_tasks(run, task_runs)
    )
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)


def _tasks(run: PipelineRun, task_runs: list[TaskRun]) -> list[dict[str, Any]]:
    """A row per task: those that began, then skipped ones, in the words of the page."""
    by_name = {task.name: task for task in task_runs}
    rows = []
    for child in run.children:
        task = by_name.get(child.name)
        rows.append({"name": child.task or child.name, **_state(task)})
    rows.extend({"name": s.name, "state": "skipped", "took": "", "detail": s.reason} for s in run.skipped)
    return rows


def _state(task: TaskRun | None) -> dict[str, str]:
    if task is None:
        return {"state": "unknown", "took": "", "detail": ""}
    condition = task.attempt.condition
    state = {"True": "succeeded", "False": "failed"}.get(condition.status if condition else "", "running")
    step = step_at_fault(task.attempt.steps)
    detail = f"{step.name} exited {step.exit_code}" if step is not None else ""
    if state == "failed" and not detail and condition is not None:
        detail = condition.message
    return {"state": state, "took": duration(task.attempt.started, task.attempt.completed), "detail": detail}
