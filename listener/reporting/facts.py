"""The facts of a run at the moment that something is told of it: the details that notifiers get, and the values of ``$(…)`` in texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import duration
from listener.cluster.summary import RunSummary, StepSummary, TaskSummary
from listener.reporting import texts
from listener.reporting.target import Rule, Target
from listener.reporting.tasks import told_state, took, trouble_of, why_skipped
from listener.reporting.values import Values
from listener.template import Reference, Template
from notifiers.reports import Outcome, RunDetails, TaskDetails

Escape = Callable[[str], str]
_FAILED: Final = ("failed", "timed_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of ``run``, for one target."""

    run: PipelineRun
    target: Target
    outcome: Outcome
    sentence: str
    details: RunDetails
    event: str = ""
    rule: Rule | None = None  #: of a message: why it is sent

    def fill(self, template: Template, *, escape: Escape, markdown: bool) -> str:
        """``template`` with its values through ``escape``; with ``markdown`` tables and logs as such, and links as links."""
        lookup = Values(self.run, self.target.service)

        def value(reference: Reference) -> str | None:
            if reference.source in ("run", "commit", "failed", "log") and reference.name not in _OF_RUN:
                return self._fact(reference, escape=escape, markdown=markdown)
            found = lookup(reference)
            return escape(found) if found else None

        return template.fill(value).strip("\n") if markdown else template.fill(value)

    def _fact(self, reference: Reference, *, escape: Escape, markdown: bool) -> str:
        details, target = self.details, self.target
        if reference.source == "run":
            if reference.name == "tasks":
                return _apart(texts.table(details.tasks)) if markdown else escape(str(len(details.tasks) or ""))
            if reference.name == "url":
                return texts.link(target.url or "") if markdown else escape(target.url or "")
            condition = self.run.condition
            found = {
                "state": self.outcome.value,
                "event": self.event or self.outcome.value,
                "sentence": self.sentence,
                "duration": details.duration,
                "created": details.created,
                "started": details.started,
                "completed": details.completed,
                "reason": details.reason,
                "message": condition.message if condition is not None else "",
            }[reference.name]
        elif reference.source == "commit":
            if reference.name == "url":
                return texts.link(details.commit_url) if markdown else escape(details.commit_url)
            found = {
                "sha": target.sha, "short": target.sha[:8], "ref": target.ref or "", "repository": target.repository,
            }[reference.name]  # fmt: skip
        elif reference.source == "failed":
            code = "" if details.exit_code is None else str(details.exit_code)
            found = {"task": details.failed_task, "step": details.failed_step, "exit_code": code}[reference.name]
        else:
            tail = texts.last_lines(details.log_tail, texts.TAIL_LINES)
            return _apart(texts.block(tail)) if markdown else escape(tail)
        return escape(found)


def _apart(block: str) -> str:
    """Wherever a template names it: a code block and a table are ones only on lines of their own."""
    return f"\n\n{block}\n\n" if block else ""


_OF_RUN: Final = frozenset({"name", "namespace", "pipeline"})


def wants_log(template: Template | None) -> bool:
    """Whether ``template`` says what was printed last."""
    return template is not None and any(reference.source == "log" for reference in template.references)


def is_json(template: Template) -> bool:
    """Whether a message's text is JSON, so that its values stand within JSON's strings."""
    return template.text.lstrip()[:1] in ("{", "[")


def in_json(text: str) -> str:
    """``text`` for within a JSON string."""
    return json.dumps(text)[1:-1]


@dataclass(frozen=True, slots=True)
class Fault:
    """Where to look: the step that broke, and the TaskRun and container that have its log."""

    label: str = ""  #: of the task, as the log's prefixes and the page call it
    step: str = ""
    exit_code: int | None = None
    task_run: TaskRun | None = None
    container: str = ""


def fault_of(summary: RunSummary, task_runs: list[TaskRun], *, task: str = "") -> Fault:
    """Where the run broke; with ``task``, where that task did. Of a task that is tried again: its last try."""
    label, name = (summary.place.label, summary.place.step) if summary.place is not None else ("", "")
    if task:
        of_task = [one for one in summary.tasks if one.task == task]
        broken = next((one for one in of_task if told_state(one, summary) in _FAILED), None)
        label = broken.label if broken is not None else ""
        name = next((step.name for step in _steps(broken) if step.state in ("failed", "cancelled")), "")
    found = next((one for one in summary.tasks if one.label == label), None)
    if not name:  # it never began: its image could not be pulled
        name = next((step.name for step in _steps(found) if step.reason), "")
    step = next((step for step in _steps(found) if step.name == name), None)
    task_run = next((one for one in task_runs if found is not None and one.name == found.name), None)
    state = next((one for one in task_run.attempt.steps if one.name == name), None) if task_run is not None else None
    container = state.container if state is not None and (state.running or state.terminated) else ""
    exit_code = step.exit_code if step is not None and step.state == "failed" else None  # not of what was ended
    return Fault(label, name, exit_code, task_run, container)


def details_of(
    run: PipelineRun,
    target: Target,
    summary: RunSummary,
    fault: Fault,
    *,
    log_tail: str = "",
    commit_url: str | None = None,
    repository_url: str | None = None,
) -> RunDetails:
    """What a notifier may show of ``run``; of one of its tasks, where ``target`` is about one."""
    tasks = [_task(task, target, summary) for task in summary.tasks if target.task in ("", task.task)]
    if not target.task:
        tasks += [
            TaskDetails(name=skipped.task, state="skipped", note=why_skipped(skipped.reason))
            for skipped in summary.skipped
        ]
        tasks += [TaskDetails(name=name, state="waiting") for name in summary.waiting]
    return RunDetails(
        namespace=run.namespace,
        name=run.name,
        uid=run.uid,
        pipeline=run.pipeline,
        service=target.service,
        created=run.created,
        started=run.started,
        completed=run.completed,
        duration=duration(run.started or run.created, run.completed),
        reason=summary.reason,
        tasks=tuple(tasks),
        failed_task=fault.label,
        failed_step=fault.step,
        exit_code=fault.exit_code,
        log_tail=log_tail,
        commit_url=commit_url or "",
        repository_url=repository_url or "",
    )


def _steps(task: TaskSummary | None) -> tuple[StepSummary, ...]:
    return task.attempts[-1].steps if task is not None and task.attempts else ()


def _task(task: TaskSummary, target: Target, summary: RunSummary) -> TaskDetails:
    name = task.task
    if task.values:
        name += f" ({', '.join(f'{key}={value}' for key, value in task.values.items())})"
    tries = f"{len(task.attempts)} attempts" if len(task.attempts) > 1 else ""
    optional = target.policy.optional
    return TaskDetails(
        name=name,
        state="failed" if task.state == "continued" else told_state(task, summary),
        duration=took(task, summary),
        note=", ".join(filter(None, (trouble_of(task, summary), tries))),
        optional=task.state == "continued" or (optional is not None and optional.match(task.task) is not None),
    )
