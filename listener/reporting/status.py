"""From a run to what its commit should say.

The state comes from ``cluster.outcome``; here the sentence is completed with what only the TaskRuns know (which step broke, with
which exit code) and the link is made. Nothing here knows a Git host: words and lengths are the notifier's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from listener.cluster.client import ClusterError
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import outcome, sentence
from listener.reporting.target import Target
from notifiers.base import CommitStatus, Outcome

log = logging.getLogger(__name__)

ReadTaskRuns = Callable[[PipelineRun], Awaitable[list[TaskRun]]]

_NEEDS_TASK_RUNS = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED})


def reported_outcome(run: PipelineRun, *, deleted: bool) -> Outcome:
    """What to report of ``run``: a run that is gone, or going, before it finished is never left pending."""
    what = outcome(run)
    return Outcome.DELETED if (deleted or run.deleting) and not what.final else what


async def commit_status(
    run: PipelineRun, target: Target, *, deleted: bool, read_task_runs: ReadTaskRuns
) -> CommitStatus:
    """The status for ``target``. Asks for TaskRuns only where the sentence needs them; without an answer it says less."""
    what = reported_outcome(run, deleted=deleted)
    task_runs = await try_task_runs(run, read_task_runs) if what in _NEEDS_TASK_RUNS else []
    return CommitStatus(
        repository=target.repository,
        sha=target.sha,
        context=target.context,
        outcome=what,
        description=sentence(run, task_runs, deleted=deleted or run.deleting),
        target_url=target.url,
        ref=target.ref,
    )


async def try_task_runs(run: PipelineRun, read: ReadTaskRuns) -> list[TaskRun]:
    """The TaskRuns of ``run``, or none where the cluster does not give them: a report that says less is better than none."""
    attempts = AsyncRetrying(
        retry=retry_if_exception_type(ClusterError),
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        reraise=True,
    )
    try:
        return await attempts(read, run)
    except ClusterError as error:
        log.warning("%s: reported without naming the step at fault, its TaskRuns cannot be read: %s", run.key, error)
        return []
