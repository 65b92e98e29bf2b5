"""From a run and a place that it reports to, to the report: what ``deliver`` of a notifier is called with.

A plain status needs at most the TaskRuns. What shows more is given the run's details, and where something broke the end of that step's
log, which several reports of one run share. What cannot be read is left out: a report says less then, and is not late.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import sentence
from listener.cluster.summary import RunSummary, summarize
from listener.reporting import ledger as ledgers
from listener.reporting import texts
from listener.reporting.aspects import labels_of, rule_for
from listener.reporting.facts import Facts, details_of, fault_of, in_json, is_json, wants_log
from listener.reporting.history import Branch, History
from listener.reporting.ledger import CHECK, COMMENT, MESSAGE, STATUS, TASK, TASK_CHECK
from listener.reporting.status import ReadTaskRuns, commit_status, reported_outcome, try_task_runs
from listener.reporting.target import Target
from listener.reporting.tasks import Tasks, TaskState
from listener.reporting.values import Values
from listener.template import Missing
from notifiers.base import Notifier
from notifiers.reports import CheckRun, Comment, CommitStatus, Deployment, Labels, Message, Outcome, RunDetails

#: The end of the log of a TaskRun's container, without escape sequences; "" where it cannot be had. Raises nothing.
ReadLogTail = Callable[[PipelineRun, TaskRun, str], Awaitable[str]]

_TAILS: Final = 64  # runs whose log's end is kept for their other reports
_WITH_LOG: Final = frozenset({CHECK, TASK_CHECK, COMMENT, MESSAGE})


async def no_log(_: PipelineRun, __: TaskRun, ___: str) -> str:
    """For who has no logs."""
    return ""


class Composer:
    """Writes all reports."""

    def __init__(
        self,
        *,
        read_task_runs: ReadTaskRuns,
        read_log_tail: ReadLogTail,
        notifier_of: Callable[[str], Notifier | None],
        first_target: Callable[[PipelineRun], Target | None],
        tasks: Tasks,
        history: History,
    ) -> None:
        """``first_target``: of a run, which says on which branch it is; ``notifier_of``: by the name of a host."""
        self._read_task_runs, self._read_log_tail = read_task_runs, read_log_tail
        self._notifier_of, self._first_target = notifier_of, first_target
        self._tasks, self._history = tasks, history
        self._tails: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def compose(self, run: PipelineRun, target: Target, deleted: bool) -> CommitStatus:
        """The report of ``run`` for ``target``. Raises nothing."""
        if target.aspect == TASK:
            return self._task_status(run, target, deleted=deleted)
        if target.aspect == STATUS and target.policy.description is None:
            return await commit_status(run, target, deleted=deleted, read_task_runs=self._read_task_runs)
        facts = await self._facts(run, target, deleted=deleted)
        described = _described(facts)
        match target.aspect:
            case ledgers.CHECK | ledgers.TASK_CHECK:
                optional = bool(target.task) and is_optional(target, self._tasks.of(run.uid).get(target.task))
                text = texts.summary(facts.details, sentence=facts.sentence, task=target.task)
                return self._report(CheckRun, facts, described, text=text, details=facts.details, optional=optional)
            case ledgers.COMMENT:
                only_update = target.policy.comment != "always" and not facts.outcome.failure
                text = self._comment(facts)
                return self._report(
                    Comment, facts, described, text=text, details=facts.details, only_update=only_update
                )
            case ledgers.LABELS:
                add, remove = labels_of(target, facts.outcome)
                return self._report(Labels, facts, described, add=add, remove=remove)
            case ledgers.DEPLOYMENT:
                url = self._environment_url(facts)
                more = {"environment": target.place, "environment_url": url, "details": facts.details}
                return self._report(Deployment, facts, described, **more)
            case ledgers.MESSAGE:
                return self._message(facts, described)
            case _:
                return self._report(CommitStatus, facts, described)

    @staticmethod
    def _report(kind: Any, facts: Facts, description: str, **more: Any) -> CommitStatus:
        target = facts.target
        report: CommitStatus = kind(
            repository=target.repository,
            sha=target.sha,
            context=target.context,
            outcome=facts.outcome,
            description=description,
            target_url=target.url,
            ref=target.ref,
            **more,
        )
        return report

    def _task_status(self, run: PipelineRun, target: Target, *, deleted: bool) -> CommitStatus:
        what, said = self._of_task(run, target, deleted=deleted)
        return CommitStatus(
            repository=target.repository,
            sha=target.sha,
            context=target.context,
            outcome=what,
            description=said,
            target_url=target.url,
            ref=target.ref,
            optional=is_optional(target, self._tasks.of(run.uid).get(target.task)),
        )

    def _of_task(self, run: PipelineRun, target: Target, *, deleted: bool) -> tuple[Outcome, str]:
        """What became of the task that ``target`` is about, and its sentence."""
        state = self._tasks.of(run.uid).get(target.task)
        what = task_outcome(run, target, state, deleted=deleted) or Outcome.RUNNING
        return what, _task_sentence(target, what, state)

    # What is known

    async def _facts(self, run: PipelineRun, target: Target, *, deleted: bool) -> Facts:
        gone = deleted or run.deleting
        task_runs = await try_task_runs(run, self._read_task_runs) if run.references else []
        summary = summarize(run, task_runs, deleted=gone)
        what, said = reported_outcome(run, deleted=deleted), sentence(run, task_runs, deleted=gone)
        if target.task:
            what, said = self._of_task(run, target, deleted=deleted)
        details = await self._details(run, target, summary, task_runs, what)
        facts = Facts(run=run, target=target, outcome=what, sentence=said, details=details)
        if target.aspect == MESSAGE and (found := rule_for(target, what, lambda: self.previous(run))) is not None:
            return dataclasses.replace(facts, rule=found[0], event=found[1])
        return facts

    async def _details(
        self, run: PipelineRun, target: Target, summary: RunSummary, task_runs: list[TaskRun], what: Outcome
    ) -> RunDetails:
        fault = fault_of(summary, task_runs, task=target.task)
        tail = ""
        if fault.task_run is not None and fault.container and what.failure and self._shows_log(target):
            tail = await self._tail(run, fault.task_run, fault.container)
        at = target
        if target.aspect == MESSAGE:  # a channel knows no commits
            at = self._first_target(run) or target
        host = self._notifier_of(at.host)
        return details_of(
            run,
            target,
            summary,
            fault,
            log_tail=tail,
            commit_url=host.commit_url(at.repository, at.sha) if host is not None else None,
            repository_url=host.repository_url(at.repository) if host is not None else None,
        )

    @staticmethod
    def _shows_log(target: Target) -> bool:
        return target.aspect in _WITH_LOG or wants_log(target.policy.description)

    async def _tail(self, run: PipelineRun, task_run: TaskRun, container: str) -> str:
        key = (task_run.uid, container)
        if key not in self._tails:
            self._tails[key] = await self._read_log_tail(run, task_run, container)
            while len(self._tails) > _TAILS:
                self._tails.popitem(last=False)
        return self._tails.get(key, "")

    def previous(self, run: PipelineRun) -> Outcome | None:
        """How the run before on its branch ended."""
        first = self._first_target(run)
        return self._history.before(Branch.of(run, first), run) if first is not None else None

    # What is said

    @staticmethod
    def _comment(facts: Facts) -> str:
        target = facts.target
        if (template := target.policy.comment_text) is not None:
            return facts.fill(template, escape=texts.escape, markdown=True)
        return texts.comment(
            facts.details,
            outcome=facts.outcome,
            context=target.context,
            sentence=facts.sentence,
            commit=target.sha,
            url=target.url,
        )

    def _message(self, facts: Facts, described: str) -> CommitStatus:
        target = facts.target
        template = facts.rule.text if facts.rule is not None else None
        if template is None:
            text = texts.message(
                facts.details, outcome=facts.outcome, sentence=facts.sentence, commit=target.sha, url=target.url
            )
        elif is_json(template):
            text = facts.fill(template, escape=in_json, markdown=False)
        else:
            text = facts.fill(template, escape=texts.escape, markdown=True)
        title = texts.title(
            facts.event, outcome=facts.outcome, service=target.service, context=target.context, ref=target.ref
        )
        more = {"event": facts.event, "title": title, "text": text, "templated": template is not None}
        return self._report(Message, facts, described, details=facts.details, **more)

    @staticmethod
    def _environment_url(facts: Facts) -> str | None:
        template = facts.target.policy.environment_url
        rendered = template.render(Values(facts.run, facts.target.service)) if template is not None else None
        return None if rendered is None or isinstance(rendered, Missing) else rendered


def _described(facts: Facts) -> str:
    template = facts.target.policy.description
    if template is None or facts.target.task:
        return facts.sentence
    last = texts.last_lines(facts.details.log_tail, 1)
    plain = dataclasses.replace(facts, details=dataclasses.replace(facts.details, log_tail=last))
    return " ".join(plain.fill(template, escape=str, markdown=False).split())


def is_optional(target: Target, state: TaskState | None) -> bool:
    """Whether the task that ``target`` is about may fail without blocking: the service or the pipeline says so."""
    optional = target.policy.optional
    said = optional is not None and optional.match(target.task) is not None
    return said or (state is not None and state.optional)


def task_outcome(run: PipelineRun, target: Target, state: TaskState | None, *, deleted: bool) -> Outcome | None:
    """What is told of a task: None where nothing is known. A status has no word for a failure that does not block: it passes."""
    if state is None:
        return None
    what = state.outcome
    if not what.final and (deleted or run.deleting):
        return Outcome.DELETED
    return Outcome.SUCCEEDED if what.failure and target.aspect == TASK and is_optional(target, state) else what


def _task_sentence(target: Target, what: Outcome, state: TaskState | None) -> str:
    if what is Outcome.DELETED or state is None:
        return "Run deleted before it finished"
    optional = state.outcome.failure and is_optional(target, state)
    return f"Optional: {state.sentence[0].lower()}{state.sentence[1:]}" if optional else state.sentence
