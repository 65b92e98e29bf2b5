"""From a ``RunSummary`` to what the page's template writes: rows, bars, words. Pure; the template decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from listener.cluster.objects import parse_time
from listener.cluster.outcome import duration
from listener.cluster.summary import AttemptSummary, Origin, RunSummary, StepSummary, TaskSummary

_TITLE_MARKS: Final = {
    "succeeded": "✓",
    "failed": "✕",
    "timed_out": "✕",
    "broken": "✕",
    "cancelled": "⊘",
    "deleted": "⊘",
}
# What a developer needs to know of Tekton's and Kubernetes' words.
_REASONS: Final = {
    "CouldntGetTask": "The pipeline uses a task that does not exist in the cluster.",
    "CouldntGetPipeline": "The run asks for a pipeline that does not exist in the cluster.",
    "PipelineValidationFailed": "The pipeline's definition is not valid.",
    "PipelineInvalidGraph": "The pipeline's tasks wait for each other in a circle, or for tasks that do not exist.",
    "FailedValidation": "The run's definition is not valid.",
    "ParameterMissing": "The run does not give a parameter that the pipeline needs.",
    "ParameterTypeMismatch": "A parameter does not have the type that the pipeline wants.",
    "InvalidWorkspaceBindings": "The run does not give a workspace that the pipeline needs.",
    "CreateRunFailed": "The cluster refused to create the run's tasks.",
    "ResourceVerificationFailed": "The pipeline or a task does not carry a signature that is trusted here.",
    "OOMKilled": "It used more memory than it may have, and was stopped by the cluster.",
    "StartError": "Its command could not be started: it does not exist in the image, or may not be executed.",
    "ContainerCannotRun": "Its command could not be started: it does not exist in the image, or may not be executed.",
    "TaskRunImagePullFailed": "The image it runs in could not be fetched: its name is wrong, or the cluster may not read it.",
    "ImagePullBackOff": "The image it runs in could not be fetched: its name is wrong, or the cluster may not read it.",
    "ErrImagePull": "The image it runs in could not be fetched: its name is wrong, or the cluster may not read it.",
    "Evicted": "The machine it ran on needed the room; this has nothing to do with the code.",
    "PipelineRunTimeout": "It took longer than it may take.",
}
_EXITS: Final = {
    126: "Exit code 126: the command is not executable.",
    127: "Exit code 127: the command was not found.",
    137: "Exit code 137: it was killed, most often for using too much memory.",
    143: "Exit code 143: it was told to stop.",
}


@dataclass(frozen=True, slots=True)
class Took:
    """How long something took; ``since`` while it goes on."""

    text: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a row's time line, in percent of its width."""

    x: str
    width: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    name: str
    state: str
    said: str
    took: Took
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A row of the time line."""

    name: str
    state: str
    label: str = ""
    values: dict[str, str] = field(default_factory=dict)
    tag: str = ""
    detail: str = ""
    took: Took = Took()
    bars: tuple[Bar, ...] = ()
    steps: tuple[StepRow, ...] = ()
    address: str = ""
    open: bool = False
    depth: int = 0
    group: str = ""  #: set on the first row of a matrix: its name
    count: int = 0  #: rows of that group
    inside: bool = False  #: one of a matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The page's values."""

    title: str
    detail: str
    hint: str
    address: str  #: of the place in the log to look at
    took: Took
    rows: tuple[TaskRow, ...]
    span: str
    never_ran: bool
    window_title: str


def view_of(run: RunSummary, now: datetime) -> RunView:
    """What the page shows of ``run``."""
    title, _, detail = run.sentence.partition(": ")
    never_ran = run.state == "broken"
    axis = _Axis.of(run, now)
    mark = _TITLE_MARKS.get(run.state, "●")
    return RunView(
        title=title,
        detail="" if never_ran else detail,
        hint=_REASONS.get(run.reason, "") if never_ran else _hint(run),
        address=_address(run.place.label, run.place.step, run.place.attempt) if run.place is not None else "",
        took=_took(run.started or run.created, run.completed, now, running=not run.final),
        rows=tuple(_rows(run, axis, now)),
        span=_seconds(axis.length) if run.tasks else "",
        never_ran=never_ran,
        window_title=f"{mark} {title} · {run.service or run.name}",
    )


def age(moment: str, now: datetime) -> str:
    """``3 minutes ago``; "" for no time."""
    at = parse_time(moment)
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = round(seconds / size)
        if count >= 1 and seconds >= 45:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def safe_origins(origins: tuple[Origin, ...]) -> list[Origin]:
    """Those whose links, if they have any, are web addresses."""
    return [
        o
        for o in origins
        if all(not u or u.startswith(("https://", "http://")) for u in (o.repository_url, o.commit_url))
    ]


def title_of(run: RunSummary, label: str) -> str:
    """What to call a task: its label, or of a matrix the task's name and what tells this one from the others."""
    task = next((task for task in run.tasks if task.label == label), None)
    return f"{task.task} ({' · '.join(task.values.values())})" if task is not None and task.values else label


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time line's scale."""

    start: datetime
    length: float  # seconds

    @classmethod
    def of(cls, run: RunSummary, now: datetime) -> _Axis:
        times = [
            t
            for task in _all_tasks(run)
            for t in (parse_time(task.started), parse_time(task.completed))
            if t is not None
        ]
        begin = [t for t in (parse_time(run.started) or parse_time(run.created), *times) if t is not None]
        start = min(begin, default=now)
        end = max([*times, parse_time(run.completed) or (now if not run.final else start)], default=now)
        return cls(start, max(1.0, (end - start).total_seconds()))

    def bar(self, started: str, completed: str, state: str, now: datetime) -> Bar | None:
        begin = parse_time(started)
        if begin is None:
            return None
        end = parse_time(completed) or (
            now if state in ("running", "waiting") else self.start + timedelta(seconds=self.length)
        )
        x = min(99.0, max(0.0, (begin - self.start).total_seconds() / self.length * 100))
        width = max(0.8, (end - begin).total_seconds() / self.length * 100)
        return Bar(f"{x:.2f}%", f"{min(width, 100 - x):.2f}%", state)


def _all_tasks(run: RunSummary) -> Iterator[TaskSummary]:
    for task in run.tasks:
        yield task
        if task.nested is not None:
            yield from _all_tasks(task.nested)


def _rows(run: RunSummary, axis: _Axis, now: datetime, *, prefix: str = "", depth: int = 0) -> Iterator[TaskRow]:
    count = Counter(task.task for task in run.tasks)
    # A matrix's tasks stand together, where its first one began.
    first = {task.task: number for number, task in reversed(list(enumerate(run.tasks)))}
    named = set()
    place = run.place
    for task in sorted(run.tasks, key=lambda task: first[task.task]):
        matrix = count[task.task] > 1
        group = task.task if matrix and task.task not in named else ""
        named.add(task.task)
        at_fault = place is not None and place.label == task.label
        yield _task_row(
            task, axis, now, prefix=prefix, depth=depth, group=group, count=count[task.task], at_fault=at_fault
        )
        if task.nested is not None:
            yield from _rows(task.nested, axis, now, prefix=f"{prefix}{task.label}/", depth=depth + 1)
    for skipped in run.skipped:
        yield TaskRow(
            name=skipped.task, state="skipped", label=prefix + skipped.task, detail=skipped.reason, depth=depth
        )
    for waiting in run.waiting:
        yield TaskRow(name=waiting, state="waiting", label=prefix + waiting, depth=depth)


def _task_row(
    task: TaskSummary, axis: _Axis, now: datetime, *, prefix: str, depth: int, group: str, count: int, at_fault: bool
) -> TaskRow:
    label = prefix + task.label
    bars = [axis.bar(a.started, a.completed, a.state, now) for a in task.attempts]
    if task.nested is not None:
        bars = [axis.bar(task.nested.started, task.nested.completed, task.state, now)]
    last = task.attempts[-1] if task.attempts else None
    steps = tuple(_step_rows(label, last, now)) if last is not None else ()
    tags = ["finally"] if task.finally_ else []
    if task.kind == "CustomRun":
        tags.append("custom task")
    if len(task.attempts) > 1:
        tags.append(f"{len(task.attempts)} attempts")
    alone = len(steps) == 1
    return TaskRow(
        name=" · ".join(task.values.values()) or (task.label if count > 1 else task.task),
        state=task.state,
        label=label,
        values=task.values,
        tag=" · ".join(tags),
        detail=_detail(task, last, alone=alone),
        took=_took(task.started, task.completed, now, running=task.state in ("running", "waiting")),
        bars=tuple(bar for bar in bars if bar is not None),
        steps=() if alone else steps,
        address=steps[0].address if alone else f"#{label}" if steps else "",
        open=not alone and (at_fault or task.state == "running"),
        depth=depth + (1 if count > 1 else 0),
        group=group,
        count=count,
        inside=count > 1,
    )


def _step_rows(label: str, attempt: AttemptSummary, now: datetime) -> Iterator[StepRow]:
    for step in attempt.steps:
        yield StepRow(
            name=step.name,
            state=step.state,
            said=_said(step),
            took=_took(step.started, step.finished, now, running=step.state == "running")
            if step.state != "skipped"
            else Took(),
            address=_address(label, step.name, attempt.number),
        )


def _said(step: StepSummary) -> str:
    if step.state in ("failed", "continued") and step.exit_code:
        return f"exit {step.exit_code}"
    return "did not run" if step.state == "skipped" else ""


def _detail(task: TaskSummary, attempt: AttemptSummary | None, *, alone: bool) -> str:
    """One line below the task's name: what went wrong, or what it waits for, where its steps do not say it."""
    if attempt is None:
        return ""
    for step in attempt.steps:
        if step.state == "failed":
            return step.reason or (_said(step) if alone else "")
        if step.state == "waiting" and step.reason:
            return f"{step.reason}: {step.message}" if step.message else step.reason
    if task.state in ("failed", "timed_out"):
        return attempt.message
    return attempt.message if task.state == "waiting" and attempt.reason not in ("Pending", "Started") else ""


def _hint(run: RunSummary) -> str:
    """What the reason of the step at fault means, where it is not plain."""
    if run.place is None:
        return ""
    for task in _all_tasks(run):
        if task.label == run.place.label.rpartition("/")[2] and task.attempts:
            steps = task.attempts[-1].steps
            step = next((step for step in steps if step.name == run.place.step), None)
            if step is not None:
                return _REASONS.get(step.reason) or _EXITS.get(step.exit_code or 0, "")
    return ""


def _address(label: str, step: str, attempt: int) -> str:
    where = f"{label}/{step}" if step else label
    return f"#{where}~{attempt}" if attempt > 1 else f"#{where}"


def _took(started: str, completed: str, now: datetime, *, running: bool) -> Took:
    if not started:
        return Took()
    if completed:
        return Took(duration(started, completed))
    return Took(duration(started, now.isoformat()), started) if running else Took()


def _seconds(length: float) -> str:
    start = datetime.fromtimestamp(0).astimezone()
    return duration(start.isoformat(), (start + timedelta(seconds=length)).isoformat())
