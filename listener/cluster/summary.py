"""All that is to be said of a run, as values: what its page shows, and what is kept of it beside its log.

``summarize`` is pure: a PipelineRun and its TaskRuns in, a ``RunSummary`` out, which knows nothing of Kubernetes' objects any more and goes
through JSON and back unchanged. Steps and tasks are called what they are called in the log's prefixes, so that a reader can go from
one to the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from listener.cluster.objects import Attempt, Child, Condition, PipelineRun, StepState, TaskRun
from listener.cluster.outcome import ENDED_FROM_OUTSIDE, IGNORED, outcome, sentence
from notifiers.base import Outcome

_TASK_CANCELLED: Final = frozenset({"TaskRunCancelled", "Cancelled"})
_TASK_TIMED_OUT: Final = frozenset({"TaskRunTimeout"})


class StepSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A step. ``state``: waiting, running, succeeded, failed, continued (failed, and that was allowed), cancelled, skipped."""

    name: str
    state: str
    exit_code: int | None = None
    reason: str = ""  #: only where it says more than the exit code: OOMKilled, StartError, ImagePullBackOff, …
    message: str = ""
    started: str = ""
    finished: str = ""


class AttemptSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a task. ``state``: waiting, running, succeeded, failed, continued (failed, and that was allowed), timed_out, cancelled."""

    number: int
    state: str
    reason: str = ""
    message: str = ""
    started: str = ""
    completed: str = ""
    steps: tuple[StepSummary, ...] = ()


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the run that was begun. ``state``: as an attempt's, or unknown where its object is gone or is not ours to read."""

    label: str  #: as it stands in the log's prefixes
    task: str  #: its name in the pipeline, the same for all of a matrix
    name: str  #: of its TaskRun, CustomRun or PipelineRun
    kind: str
    state: str
    values: dict[str, str] = {}  #: of a matrix: the parameters that tell this one from the others
    finally_: bool = msgspec.field(default=False, name="finally")
    attempts: tuple[AttemptSummary, ...] = ()
    nested: RunSummary | None = None  #: what a PipelineRun within the run is doing

    @property
    def started(self) -> str:
        """When its first attempt began; "" while none has."""
        if self.nested is not None:
            return self.nested.started
        return next((attempt.started for attempt in self.attempts if attempt.started), "")

    @property
    def completed(self) -> str:
        """When its last attempt ended; "" while it has not."""
        if self.nested is not None:
            return self.nested.completed
        return self.attempts[-1].completed if self.attempts else ""


class SkippedSummary(msgspec.Struct, frozen=True):
    """A task that was not run, and why."""

    task: str
    reason: str


class Place(msgspec.Struct, frozen=True):
    """A place in the log."""

    label: str
    step: str = ""
    attempt: int = 1


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A commit that the run reports to, with links back."""

    kind: str  #: of the host: gitlab, github, …
    repository: str
    sha: str
    ref: str = ""
    repository_url: str = ""
    commit_url: str = ""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run. Times are RFC 3339 text as the API server sends them, or ""."""

    namespace: str
    name: str
    uid: str
    pipeline: str
    state: str  #: a value of ``Outcome``
    sentence: str
    reason: str = ""
    message: str = ""
    created: str = ""
    started: str = ""
    completed: str = ""
    tasks: tuple[TaskSummary, ...] = ()  #: in the order in which Tekton began them
    skipped: tuple[SkippedSummary, ...] = ()
    waiting: tuple[str, ...] = ()  #: tasks of the pipeline that may still come
    place: Place | None = None  #: where a run broke, or what it was doing when it was ended
    service: str = ""  #: which service claims it; filled by who knows
    origins: tuple[Origin, ...] = ()  #: as ``service``

    @property
    def final(self) -> bool:
        """True when nothing can follow."""
        return Outcome(self.state).final


def summarize(
    run: PipelineRun,
    task_runs: Iterable[TaskRun],
    *,
    deleted: bool = False,
    nested: Mapping[str, RunSummary] | None = None,
) -> RunSummary:
    """The summary of ``run``. ``nested``: of PipelineRuns within it, by name, where they are known."""
    found = list(task_runs)
    what = Outcome.DELETED if deleted and not run.done else outcome(run)
    condition = run.condition or Condition("Unknown")
    labels, by_name = task_labels(run), {task.name: task for task in found}
    values = _matrix_values(run, by_name)
    tasks = tuple(
        _task(run, child, by_name.get(child.name), labels[child.name], values.get(child.name, {}), nested or {}, what)
        for child in run.children
    )
    seen = {child.task for child in run.children} | {skipped.name for skipped in run.skipped}
    coming = () if what.final else tuple(t for t in (*run.tasks, *run.finally_tasks) if t not in seen)
    return RunSummary(
        namespace=run.namespace,
        name=run.name,
        uid=run.uid,
        pipeline=run.pipeline,
        state=what.value,
        sentence=sentence(run, found, deleted=deleted),
        reason=condition.reason,
        message=condition.message,
        created=run.created,
        started=run.started,
        completed=run.completed,
        tasks=tasks,
        skipped=tuple(SkippedSummary(skipped.name, skipped.reason) for skipped in run.skipped),
        waiting=coming,
        place=_place(what, tasks),
    )


def task_labels(run: PipelineRun) -> dict[str, str]:
    """What to call each child of ``run`` in prefixes: the pipeline task's name; a matrix's tasks get what tells them apart."""
    count = Counter(child.task for child in run.children)
    labels = {}
    for child in run.children:
        own = child.name.removeprefix(f"{run.name}-")
        labels[child.name] = child.task if child.task and count[child.task] == 1 else own
    return labels


def _matrix_values(run: PipelineRun, by_name: Mapping[str, TaskRun]) -> dict[str, dict[str, str]]:
    """Of each task of a matrix, by name, the parameters in which it is not like all others."""
    groups: dict[str, list[TaskRun]] = {}
    for child in run.children:
        if child.task and child.name in by_name:
            groups.setdefault(child.task, []).append(by_name[child.name])
    found = {}
    for group in groups.values():
        names = dict.fromkeys(name for task in group for name in task.params)
        telling = [name for name in names if len({task.params.get(name) for task in group}) > 1]
        for task in group:
            found[task.name] = {name: task.params[name] for name in telling if name in task.params}
    return found


def _task(
    run: PipelineRun,
    child: Child,
    task: TaskRun | None,
    label: str,
    values: dict[str, str],
    nested: Mapping[str, RunSummary],
    what: Outcome,
) -> TaskSummary:
    within = nested.get(child.name)
    attempts: tuple[AttemptSummary, ...] = ()
    if task is not None:
        tries = (*task.retries, task.attempt)
        attempts = tuple(_attempt(one, number, run_is_over=what.final) for number, one in enumerate(tries, start=1))
        state = attempts[-1].state
    elif within is not None:
        state = within.state
    elif what is Outcome.SUCCEEDED:
        state = "succeeded"
    else:
        state = "unknown" if what.final else "running"
    return TaskSummary(
        label=label,
        task=child.task or label,
        name=child.name,
        kind=child.kind,
        state=state,
        values=values,
        finally_=child.task in run.finally_tasks,
        attempts=attempts,
        nested=within,
    )


def _attempt(attempt: Attempt, number: int, *, run_is_over: bool) -> AttemptSummary:
    condition = attempt.condition or Condition("Unknown")
    over = attempt.done or run_is_over  # Tekton ends the run first and its TaskRuns a moment later
    return AttemptSummary(
        number=number,
        state=_attempt_state(attempt, condition, run_is_over=run_is_over),
        reason=condition.reason,
        message=condition.message,
        started=attempt.started,
        completed=attempt.completed,
        steps=tuple(_steps(attempt, over=over)),
    )


def _attempt_state(attempt: Attempt, condition: Condition, *, run_is_over: bool) -> str:
    if condition.status == "True":
        return "succeeded"
    if condition.status == "False":
        if condition.reason in _TASK_CANCELLED:
            return "cancelled"
        if condition.reason == IGNORED:
            return "continued"
        return "timed_out" if condition.reason in _TASK_TIMED_OUT else "failed"
    if run_is_over:
        return "cancelled"
    return "running" if any(step.running or step.terminated for step in attempt.steps) else "waiting"


def _steps(attempt: Attempt, *, over: bool) -> Iterator[StepSummary]:
    """Containers of a pod start together, and all of them say that they run; Tekton lets one step after the other begin."""
    before, begun = "", False
    for step in attempt.steps:
        summary = _step(step, over=over)
        if not step.terminated and step.running:
            if begun:
                summary = msgspec.structs.replace(summary, state="skipped" if over else "waiting", started="")
            else:
                ended = attempt.completed if over else ""
                summary = msgspec.structs.replace(summary, started=max(summary.started, before), finished=ended)
            begun = True
        before = step.finished or before
        yield summary


def _step(step: StepState, *, over: bool) -> StepSummary:
    reason = step.reason if step.terminated else step.waiting_reason
    return StepSummary(
        name=step.name,
        state=_step_state(step, over=over),
        exit_code=step.exit_code,
        reason="" if reason in ("Completed", "Error", "PodInitializing", "Running") else reason,
        message=step.message if step.terminated else step.waiting_message,
        started=step.started,
        finished=step.finished,
    )


def _step_state(step: StepState, *, over: bool) -> str:
    if step.termination_reason in ("Skipped", "Continued"):
        return step.termination_reason.lower()
    if step.reason in ENDED_FROM_OUTSIDE or step.termination_reason in ENDED_FROM_OUTSIDE:
        return "failed" if "ImagePull" in step.reason + step.termination_reason else "cancelled"
    if step.terminated:
        return "failed" if step.exit_code else "succeeded"
    if step.running:
        return "cancelled" if over else "running"
    return "skipped" if over else "waiting"


def _place(what: Outcome, tasks: Iterable[TaskSummary]) -> Place | None:
    """Where to look first. Of several tasks that failed it is the one that ended first, as in the run's sentence."""
    if what in (Outcome.FAILED, Outcome.TIMED_OUT):
        failed = sorted(
            (t for t in tasks if t.state in ("failed", "timed_out")), key=lambda t: (t.completed or "9", t.name)
        )
        places = [place for task in failed if (place := _place_in(task, ("failed",)))]
        if places:
            return next((place for place in places if place.step), places[0])
    if what in (Outcome.CANCELLED, Outcome.TIMED_OUT, Outcome.DELETED):
        ended = [t for t in tasks if t.state in ("cancelled", "timed_out")]
        return next((place for task in ended if (place := _place_in(task, ("cancelled", "failed")))), None)
    return None


def _place_in(task: TaskSummary, states: tuple[str, ...]) -> Place | None:
    if task.nested is not None and task.nested.place is not None:
        inner = task.nested.place
        return Place(f"{task.label}/{inner.label}", inner.step, inner.attempt)
    if not task.attempts:
        return None
    last = task.attempts[-1]
    step = next((step.name for state in states for step in last.steps if step.state == state), "")
    return Place(task.label, step, last.number)
