"""What became of a run, in one word and one sentence: the rules that reporting, logs and pages share.

Pure functions over ``objects``. The classification follows Tekton's documented reasons of the condition ``Succeeded``
(docs/pipelineruns.md, "Monitoring execution status"); a reason this table does not know is decided by the condition's
status alone. The step at fault is the first non-zero exit that is neither ``Skipped`` (it only ran into an earlier
failure) nor ``Continued`` (``onError: continue``), nor ended from outside by a cancellation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from listener.cluster.objects import Attempt, PipelineRun, StepState, TaskRun, parse_time
from notifiers.base import Outcome

_CANCELLED: Final = frozenset(
    {"Cancelled", "PipelineRunCancelled", "CancelledRunningFinally", "StoppedRunningFinally", "PipelineRunStopping"}
)
_TIMED_OUT: Final = frozenset({"PipelineRunTimeout", "PipelineRunTimedOut"})
# Reasons that mean that the run never really ran: Tekton could not make TaskRuns of it. Beside these, all that begin with
# one of ``_NEVER_RAN_PREFIXES``.
_NEVER_RAN: Final = frozenset(
    {
        "CreateRunFailed",
        "ObjectParameterMissKeys",
        "ParamArrayIndexingInvalid",
        "ParameterMissing",
        "ParameterTypeMismatch",
        "PipelineInvalidGraph",
        "PipelineValidationFailed",
        "RequiredWorkspaceMarkedOptional",
        "ResourceVerificationFailed",
        "TaskRunResolutionFailed",
    }
)
_NEVER_RAN_PREFIXES: Final = ("CouldntGet", "Invalid", "FailedValidation", "FailedToResolve")
_QUEUED: Final = frozenset({"PipelineRunPending", "Started", "Pending"})
#: A TaskRun's reason where the pipeline says of its task ``onError: continue``.
IGNORED: Final = "FailureIgnored"
# Steps that did not fail by themselves: their pod was taken away.
ENDED_FROM_OUTSIDE: Final = frozenset({"TaskRunCancelled", "TaskRunTimeout", "TaskRunImagePullFailed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where a run broke."""

    task: str
    step: str | None = None
    exit_code: int | None = None
    reason: str = ""  #: OOMKilled, StartError, …: only where it says more than the exit code
    attempts: int = 1

    def __str__(self) -> str:
        where = f"{self.task} › {self.step}" if self.step else self.task
        if self.exit_code is None:
            what = f"{where}: {self.reason}" if self.reason else f"{where} failed"
        else:
            what = f"{where} exited {self.exit_code}"
            if self.reason:
                what += f" ({self.reason})"
        return f"{what} after {self.attempts} attempts" if self.attempts > 1 else what


def outcome(run: PipelineRun) -> Outcome:
    """The run's state. A run without a condition is queued: Tekton has not looked at it yet."""
    condition = run.condition
    if condition is None:
        return Outcome.QUEUED
    if condition.status == "True":
        return Outcome.SUCCEEDED
    if condition.status == "False":
        return _failure(condition.reason)
    if condition.reason in _QUEUED and not run.references:
        return Outcome.QUEUED
    return Outcome.RUNNING


def _failure(reason: str) -> Outcome:
    if reason in _CANCELLED:
        return Outcome.CANCELLED
    if reason in _TIMED_OUT:
        return Outcome.TIMED_OUT
    if reason in _NEVER_RAN or reason.startswith(_NEVER_RAN_PREFIXES):
        return Outcome.BROKEN
    return Outcome.FAILED


def fault(run: PipelineRun, task_runs: Iterable[TaskRun]) -> Fault | None:
    """Where a failed or timed-out run broke, from its TaskRuns; None where no TaskRun failed by itself.

    Of several failed tasks the one that ended first is named: what came after may have failed because of it.
    """
    failed = [
        task
        for task in task_runs
        if (condition := task.attempt.condition) and condition.status == "False" and condition.reason != IGNORED
    ]
    names = {child.name: child.task for child in run.children}
    candidates = [
        found for task in sorted(failed, key=_ended) if (found := _task_fault(task, names.get(task.name) or task.task))
    ]
    with_step = [found for found in candidates if found.exit_code is not None]
    return next(iter(with_step or candidates), None)


def _ended(task: TaskRun) -> tuple[str, str]:
    return (task.attempt.completed or "9", task.name)


def _task_fault(task: TaskRun, name: str) -> Fault | None:
    condition = task.attempt.condition
    attempts = len(task.retries) + 1
    step = step_at_fault(task.attempt.steps)
    if step is not None:
        reason = step.reason if step.reason not in ("", "Error", "Completed") else ""
        return Fault(task=name, step=step.name, exit_code=step.exit_code, reason=reason, attempts=attempts)
    if condition is None or condition.reason in ("TaskRunCancelled", "Cancelled"):
        return None
    return Fault(task=name, reason=condition.reason, attempts=attempts)


def step_at_fault(steps: Sequence[StepState]) -> StepState | None:
    """The first step that failed by itself, or None."""
    for step in steps:
        if step.exit_code in (None, 0) or step.termination_reason in ("Skipped", "Continued"):
            continue
        if step.reason in ENDED_FROM_OUTSIDE or step.termination_reason in ENDED_FROM_OUTSIDE:
            continue
        return step
    return None


def sentence(run: PipelineRun, task_runs: Iterable[TaskRun] = (), *, deleted: bool = False) -> str:
    """The sentence a developer needs: ``Passed in 2m 14s · 5 tasks``, ``Failed in 41s: build › compile exited 2``.

    At full length and on one line; whoever sends it to a host cuts it. ``task_runs`` are needed only for runs that failed,
    were cancelled or timed out; without them the sentence names less.
    """
    what = Outcome.DELETED if deleted and not run.done else outcome(run)
    return " ".join(_SENTENCES[what](run, list(task_runs)).split())


def duration(started: str, completed: str) -> str:
    """``2m 14s`` between two of the API server's times; "" where one of them is missing."""
    start, end = parse_time(started), parse_time(completed)
    if start is None or end is None:
        return ""
    seconds = max(0, round((end - start).total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"


def _took(run: PipelineRun, word: str, *, between: str = "in") -> str:
    took = duration(run.started or run.created, run.completed)
    return f"{word} {between} {took}" if took else word


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _queued(run: PipelineRun, _: list[TaskRun]) -> str:
    if run.requested == "PipelineRunPending" or (run.condition and run.condition.reason == "PipelineRunPending"):
        return "Pending: waiting to be started"
    return "Queued"


def _running(run: PipelineRun, _: list[TaskRun]) -> str:
    total = len(run.tasks) + len(run.finally_tasks)
    begun = list(dict.fromkeys(child.task for child in run.children if child.task))
    reason = run.condition.reason if run.condition else ""
    if reason in _CANCELLED:
        return f"Being cancelled: running {', '.join(run.finally_tasks)}" if run.finally_tasks else "Being cancelled"
    if not begun:
        return f"Running: {reason}" if reason not in ("", "Running", "Started") else "Running"
    names = ", ".join(begun[-3:])
    return f"Running: {names} ({len(begun)} of {total})" if total else f"Running: {names}"


def _succeeded(run: PipelineRun, _: list[TaskRun]) -> str:
    tasks = len({child.task or child.name for child in run.children})
    parts = [_took(run, "Passed")]
    if tasks:
        parts.append(_count(tasks, "task"))
    if run.skipped:
        parts.append(f"{len(run.skipped)} skipped")
    return " · ".join(parts)


def _failed(run: PipelineRun, task_runs: list[TaskRun]) -> str:
    found = fault(run, task_runs)
    detail = str(found) if found else (run.condition.message if run.condition else "")
    return f"{_took(run, 'Failed')}: {detail}" if detail else _took(run, "Failed")


def _timed_out(run: PipelineRun, task_runs: list[TaskRun]) -> str:
    detail = fault(run, task_runs) or unfinished(run, task_runs)
    head = _took(run, "Timed out", between="after")
    return f"{head}: {detail}" if detail else head


def _cancelled(run: PipelineRun, task_runs: list[TaskRun]) -> str:
    detail = unfinished(run, task_runs)
    head = _took(run, "Cancelled", between="after")
    return f"{head}: {detail}" if detail else head


def _broken(run: PipelineRun, _: list[TaskRun]) -> str:
    reason, message = (run.condition.reason, run.condition.message) if run.condition else ("", "")
    return f"Could not run: {message or reason}"


def _deleted(run: PipelineRun, _: list[TaskRun]) -> str:
    return "Run deleted before it finished"


_SENTENCES: Final = {
    Outcome.QUEUED: _queued,
    Outcome.RUNNING: _running,
    Outcome.SUCCEEDED: _succeeded,
    Outcome.FAILED: _failed,
    Outcome.TIMED_OUT: _timed_out,
    Outcome.CANCELLED: _cancelled,
    Outcome.BROKEN: _broken,
    Outcome.DELETED: _deleted,
}


def unfinished(run: PipelineRun, task_runs: Iterable[TaskRun]) -> str:
    """What was still under way when the run was ended from outside, and the reason it hung where there is one; or "".

    Tekton ends the run first and its TaskRuns a moment later, so a TaskRun may still say that it is running.
    """
    names = {child.name: child.task for child in run.children}
    for task in task_runs:
        condition = task.attempt.condition
        ended = condition is not None and condition.status in ("True", "False")
        if condition is not None and ended and condition.reason not in ("TaskRunCancelled", "TaskRunTimeout"):
            continue
        where = names.get(task.name) or task.task
        step = _interrupted_step(task.attempt)
        if step is not None:
            where = f"{where} › {step.name}"
        trouble = image_trouble(f"{condition.reason} {condition.message}") if condition is not None else ""
        return f"{where}: {trouble}" if trouble else f"{where} was still running"
    waiting = next((child for child in run.children if child.kind == "CustomRun"), None)
    return f"{waiting.task or waiting.name} (custom task) had not finished" if waiting else ""


def _interrupted_step(attempt: Attempt) -> StepState | None:
    for step in attempt.steps:
        if step.reason in ENDED_FROM_OUTSIDE or step.termination_reason in ENDED_FROM_OUTSIDE or not step.terminated:
            return step
    return None


def image_trouble(message: str) -> str:
    """What a TaskRun's reason and message say about an image that could not be pulled, without Tekton's wrapping; or ""."""
    if "PullImageFailed" not in message and "ImagePull" not in message:
        return ""
    _, found, rest = message.partition('is pending with reason "')
    return rest.rstrip().removesuffix('"').replace('\\"', '"') if found else "image cannot be pulled"
