"""The states of a run's tasks, where a service reports each of them: read when the run changes, kept while the run is there.

Tekton touches a PipelineRun whenever one of its tasks begins or ends, so that is when its TaskRuns are listed anew: one request, however
many tasks there are. Level-triggered: of changes that come while one list is on its way only the last counts. What cannot be read is tried again.
Not told: tasks that have not begun, and such as their run ended before; a check that never comes is not a check that waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from listener.cluster.client import ClusterError
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import duration, image_trouble
from listener.cluster.summary import RunSummary, StepSummary, TaskSummary, summarize
from listener.reporting.status import ReadTaskRuns
from notifiers.reports import Outcome

log = logging.getLogger(__name__)

_READERS: Final = 4
_TRIES: Final = 8
_PAUSE: Final = (0.5, 30.0)  # seconds after the first failure, and at most
_MAX_WAITING: Final = 20_000
_MAX_GONE: Final = 2_000
_STATES: Final = {
    "waiting": Outcome.RUNNING,
    "running": Outcome.RUNNING,
    "queued": Outcome.RUNNING,
    "succeeded": Outcome.SUCCEEDED,
    "failed": Outcome.FAILED,
    "continued": Outcome.FAILED,
    "timed_out": Outcome.TIMED_OUT,
    "cancelled": Outcome.CANCELLED,
    "deleted": Outcome.CANCELLED,
    "broken": Outcome.BROKEN,
    "unknown": Outcome.CANCELLED,
}
_WORST: Final = (
    Outcome.BROKEN, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.RUNNING, Outcome.SUCCEEDED,
)  # fmt: skip
_HEADS: Final = {
    Outcome.SUCCEEDED: "Passed in",
    Outcome.FAILED: "Failed in",
    Outcome.BROKEN: "Failed in",
    Outcome.TIMED_OUT: "Timed out after",
    Outcome.CANCELLED: "Cancelled after",
}
# Tekton's skippingReason (docs/pipelineruns.md) where the pipeline is written so …
_BY_DESIGN: Final = {
    "When Expressions evaluated to false": "its conditions do not hold",
    "Parent Tasks were skipped": "a task before it was skipped",
    "Matrix Parameters have an empty array": "its matrix is empty",
}
# … and where the run ended before.
_ENDED: Final = {
    "PipelineRun was stopping": "a task had failed",
    "PipelineRun was gracefully cancelled": "the run was cancelled",
    "PipelineRun was gracefully stopped": "the run was stopped",
    "Results were missing": "a result that it needs is missing",
    "PipelineRun timeout has been reached": "the run's time was up",
    "PipelineRun Tasks timeout has been reached": "the tasks' time was up",
    "PipelineRun Finally timeout has been reached": "the time for finally was up",
    "None": "",
}
_ENDS: Final = ("failed", "timed_out", "cancelled")


@dataclass(frozen=True, slots=True)
class TaskState:
    """What became of one task of a pipeline: of a matrix, of all of it."""

    outcome: Outcome
    sentence: str
    label: str  #: how the run's page calls it
    optional: bool = False  #: the pipeline says that its failure does not count


class Tasks:
    """States by run. Run it with ``run()``, in a task that you own."""

    def __init__(self, read: ReadTaskRuns, *, on_read: Callable[[PipelineRun], None]) -> None:
        """``on_read`` hears of a run whose tasks are known anew; it must be quick."""
        self._read, self._on_read = read, on_read
        self._states: dict[str, dict[str, TaskState]] = {}
        self._gone: OrderedDict[str, dict[str, TaskState]] = OrderedDict()
        self._wanted: dict[str, PipelineRun] = {}  # by UID, to be read
        self._reading: set[str] = set()
        self._woken = asyncio.Event()
        self.idle = asyncio.Event()  #: set while nothing is wanted and nothing is being read
        self.idle.set()

    def look(self, run: PipelineRun) -> None:
        """Read the tasks of ``run``, soon. With too many waiting the oldest wish is dropped; its run's next change brings it again."""
        self._wanted.pop(run.uid, None)
        self._wanted[run.uid] = run
        if len(self._wanted) > _MAX_WAITING:
            del self._wanted[next(iter(self._wanted))]
        self.idle.clear()
        self._woken.set()

    def of(self, uid: str) -> dict[str, TaskState]:
        """The states of a run's tasks by their names in the pipeline; none where they were not read yet."""
        return self._states.get(uid) or self._gone.get(uid, {})

    def forget(self, uid: str) -> None:
        """The run is gone. What its tasks were is known for a while yet: how they ended may have to be told."""
        if (states := self._states.pop(uid, None)) is not None:
            self._gone[uid] = states
            if len(self._gone) > _MAX_GONE:
                self._gone.popitem(last=False)
        self._wanted.pop(uid, None)
        self._rest()

    def _rest(self) -> None:
        if not self._wanted and not self._reading:
            self.idle.set()

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_READERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            run = self._next()
            if run is None:
                self._woken.clear()
                await self._woken.wait()
                continue
            self._reading.add(run.uid)
            try:
                await self._look(run)
            finally:
                self._reading.discard(run.uid)
                self._rest()
                if run.uid in self._wanted:
                    self._woken.set()

    def _next(self) -> PipelineRun | None:
        uid = next((uid for uid in self._wanted if uid not in self._reading), None)
        return self._wanted.pop(uid) if uid is not None else None

    async def _look(self, run: PipelineRun) -> None:
        pause = _PAUSE[0]
        for attempt in range(1, _TRIES + 1):
            try:
                found = await self._read(run)
                break
            except ClusterError as error:
                if run.uid in self._wanted:
                    return  # a newer wish is there
                if attempt == _TRIES:
                    log.warning("%s: its tasks are not reported, its TaskRuns cannot be read: %s", run.key, error)
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE[1])
        self._states[run.uid] = task_states(run, found)
        self._on_read(run)


def task_states(run: PipelineRun, task_runs: list[TaskRun]) -> dict[str, TaskState]:
    """The state of each task of ``run`` that has begun or was skipped, by its name in the pipeline. Pure."""
    summary = summarize(run, task_runs)
    groups: dict[str, list[TaskSummary]] = {}
    for task in summary.tasks:
        groups.setdefault(task.task, []).append(task)
    states = {name: _state(group, summary) for name, group in groups.items()}
    for skipped in summary.skipped:
        if skipped.reason in _BY_DESIGN:
            sentence = f"Skipped: {_BY_DESIGN[skipped.reason]}"
            states.setdefault(skipped.task, TaskState(Outcome.SUCCEEDED, sentence, skipped.task))
    return states


def _state(group: list[TaskSummary], summary: RunSummary) -> TaskState:
    found = [_STATES.get(told_state(task, summary), Outcome.RUNNING) for task in group]
    what = next(state for state in _WORST if state in found)
    if any(not state.final for state in found):  # of a matrix: not before all of it has ended
        what = Outcome.RUNNING if not summary.final else what
    worst = next(task for task, state in zip(group, found, strict=True) if state is what or not state.final)
    optional = what.failure and all(task.state in ("continued", "succeeded") for task in group)
    return TaskState(what, _sentence(group, worst, what, summary), worst.label, optional)


def _sentence(group: list[TaskSummary], worst: TaskSummary, what: Outcome, summary: RunSummary) -> str:
    if what is Outcome.RUNNING:
        done = sum(task.state == "succeeded" for task in group)
        return f"Running: {done} of {len(group)} done" if len(group) > 1 else "Running"
    begun = min((task.started for task in group if task.started), default="")
    time = duration(begun, max(task.completed or summary.completed for task in group))
    head = _HEADS[what]
    text = f"{head} {time}" if time else head.rpartition(" ")[0]
    if len(group) > 1:
        passed = f"{sum(task.state == 'succeeded' for task in group)} of {len(group)}"
        text += f" · {passed}" if what is Outcome.SUCCEEDED else f" · {passed} passed"
    trouble = trouble_of(worst, summary)
    if what is Outcome.SUCCEEDED:
        return f"{text} · {trouble}" if trouble else text
    tries = f" after {len(worst.attempts)} attempts" if len(worst.attempts) > 1 else ""
    return f"{text}: {trouble}{tries}" if trouble else f"{text}{tries}"


# What is told of one task, in its own status and in tables


def told_state(task: TaskSummary, summary: RunSummary) -> str:
    """The state of a task for people: one of a matrix, if it is one.

    Whether a pod is being started or a step runs is not known in time, for the run changes only when a task begins or ends: both is
    running. Tekton cancels what runs when the run's time is up: that is what has timed out. How a custom task ended is not known, but
    where all others are well it is why the run is not.
    """
    if not summary.final:
        return "running" if task.state in ("waiting", "queued") else task.state
    if task.state == "cancelled" and summary.state == "timed_out":
        return summary.state
    alone = all(one is task or one.state == "succeeded" for one in summary.tasks)
    return summary.state if task.state == "unknown" and alone and summary.state in _ENDS else task.state


def took(task: TaskSummary, summary: RunSummary) -> str:
    """``2m 14s``; "" where it is not known, as of custom tasks. A task that the end of its run took by surprise ended then."""
    return duration(task.started, task.completed or summary.completed)


def trouble_of(task: TaskSummary, summary: RunSummary) -> str:
    """What went wrong within a task: ``compile exited 2``, ``sleep was still running``, ``s1 exited 3 (allowed to fail)``; or ""."""
    state = told_state(task, summary)
    if not task.attempts:
        return (
            "custom task had not finished" if task.kind == "CustomRun" and state in ("timed_out", "cancelled") else ""
        )
    last = task.attempts[-1]
    if state in ("failed", "continued", "timed_out", "cancelled"):
        broke = next((step for step in last.steps if step.state == "failed"), None)
        if broke is not None and broke.exit_code is not None:
            return _exited(broke)
        if pull := image_trouble(f"{last.reason} {last.message}"):
            return pull
        if broke is not None:
            return f"{broke.name}: {broke.reason}" if broke.reason else f"{broke.name} failed"
        if state in ("failed", "continued"):
            return last.message or last.reason
        hung = next((step for step in last.steps if step.state == "cancelled"), None)
        return f"{hung.name} was still running" if hung is not None else ""
    allowed = [f"{_exited(step)} (allowed to fail)" for step in last.steps if step.state == "continued"]
    return ", ".join(allowed) if state == "succeeded" else ""


def _exited(step: StepSummary) -> str:
    """What the runtime says belongs to it where the step never began; what a step itself left as a message are its results."""
    why = f" ({step.reason})" if step.reason else ""
    message = step.message if step.reason and not step.message.startswith(("[", "{")) else ""
    return f"{step.name} exited {step.exit_code}{why}{f': {message}' if message else ''}"


def why_skipped(reason: str) -> str:
    """Tekton's reason in plain words; its own where it is none that is known."""
    return {**_BY_DESIGN, **_ENDED}.get(reason, reason)
