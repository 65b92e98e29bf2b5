"""Reading what belongs to a run: its TaskRuns, when somebody needs them.

The listener does not keep TaskRuns: they are asked for when a failed run's description, a log or a page needs them. Tekton labels
each with its run's name (``tekton.dev/pipelineRun``) and writes a TaskRun's verdict before its run's, so a list made after
the run's verdict was seen holds the verdicts of its tasks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from listener.cluster.client import Cluster, UnreachableError, collection_path
from listener.cluster.decode import decode_task_run
from listener.cluster.objects import MalformedError, PipelineRun, TaskRun
from listener.cluster.wire import PAGE_SIZE, read_page

log = logging.getLogger(__name__)

_MAX_TASK_RUNS: Final = 2000


def run_selector(run_name: str) -> str:
    """The label selector of everything that belongs to a run of this name."""
    return f"tekton.dev/pipelineRun={run_name}"


async def read_task_runs(cluster: Cluster, run: PipelineRun, *, timeout: float = 5.0) -> list[TaskRun]:
    """The TaskRuns of ``run``, in the order of its child references. Raises ``ClusterError``.

    TaskRuns of an earlier run with the same name are left out, one that cannot be read is skipped.
    """
    path = collection_path("taskruns", run.namespace)
    params = {"labelSelector": run_selector(run.name), "limit": str(PAGE_SIZE)}
    items: list[msgspec.Raw] = []
    try:
        async with asyncio.timeout(timeout):
            while True:
                page = read_page(await cluster.get(path, params=params, timeout=timeout), where=path)
                items += page.items or ()
                if not page.metadata.continue_ or len(items) >= _MAX_TASK_RUNS:
                    break
                params["continue"] = page.metadata.continue_
    except TimeoutError:
        raise UnreachableError(f"{path}: no answer in time") from None
    found: dict[str, TaskRun] = {}
    for raw in items:
        try:
            task = decode_task_run(raw)
        except MalformedError as error:
            log.warning("skipped TaskRun %s of %s: %s", error.name, run.key, error)
        else:
            found[task.name] = task
    ours = [found[child.name] for child in run.children if child.name in found]
    return ours or [task for task in found.values() if task.created >= run.created]
