"""What a run tells beyond its commit status: to whom, and when there is something to tell. Pure.

A service's configuration becomes a ``Policy``. ``expand`` makes of one commit that a run reports to all the places where something about it is
told, each a lane of its own: the status or the check run, the comment, the labels, the deployment, one lane per channel. ``speaks`` says whether
a lane has anything to say for a state. What is not a status speaks only of what is news: when this process first sees a run that ended
more than ``STALE`` ago, it is history, and whoever switches comments or messages on is not flooded with it.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import quote

from listener.cluster.objects import PipelineRun, parse_time
from listener.config import Service
from listener.config_reports import Event, LabelledState
from listener.reporting import ledger as ledgers
from listener.reporting.ledger import CHECK, COMMENT, DEPLOYMENT, LABELS, MESSAGE, STATUS, TASK, TASK_CHECK
from listener.reporting.target import Policy, Rule, Target
from listener.template import Missing, Reference, Template
from notifiers.base import Notifier
from notifiers.reports import CheckRun, Comment, CommitStatus, Deployment, Labels, Message, Outcome

STALE: Final = 3600.0  #: seconds
#: The kind of report that each aspect of a run becomes.
REPORTS: Final[Mapping[str, type[CommitStatus]]] = {
    STATUS: CommitStatus,
    CHECK: CheckRun,
    TASK: CommitStatus,
    TASK_CHECK: CheckRun,
    COMMENT: Comment,
    LABELS: Labels,
    DEPLOYMENT: Deployment,
    MESSAGE: Message,
}
_LABELLED: Final[Mapping[Outcome, LabelledState]] = {
    Outcome.RUNNING: "running",
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "failed",
    Outcome.BROKEN: "failed",
    Outcome.CANCELLED: "cancelled",
    Outcome.DELETED: "cancelled",
}


def policy_of(service: Service) -> Policy:
    """The configuration of one service, ready to be asked."""
    rules: dict[str, list[Rule]] = {}
    for rule in service.notify:
        rules.setdefault(rule.channel, []).append(Rule(frozenset(rule.on), _parsed(rule.text)))
    optional = "|".join(fnmatch.translate(pattern) for pattern in service.optional_tasks)
    return Policy(
        checks="checks" in service.report,
        tasks="tasks" in service.report,
        optional=re.compile(optional) if optional else None,
        description=_parsed(service.description),
        comment=service.comment.when if service.comment is not None else None,
        comment_text=_parsed(service.comment.text) if service.comment is not None else None,
        labels=dict(service.labels),
        environment=Template.parse(service.environment) if service.environment else None,
        environment_url=Template.parse(service.environment_url) if service.environment_url else None,
        rules={channel: tuple(found) for channel, found in rules.items()},
    )


def _parsed(text: str | None) -> Template | None:
    return Template.parse(text, facts=True) if text else None


def expand(
    target: Target, run: PipelineRun, notifier: Notifier, values: Callable[[Reference], str | None], *, first: bool
) -> Iterator[Target]:
    """All that is told of ``run`` because it reports to ``target``, that first. ``first``: messages are sent once for all repositories."""
    policy = target.policy
    if policy.checks and CheckRun in notifier.reports:
        target = _with_aspect(target, CHECK)
    yield target
    if policy.plain:
        return
    alone = dataclasses.replace(target, aspect=STATUS, fallback=None, no_fallback="")
    if policy.comment is not None and Comment in notifier.reports:
        yield dataclasses.replace(alone, aspect=COMMENT)
    if policy.labels and Labels in notifier.reports:
        yield dataclasses.replace(alone, aspect=LABELS)
    if policy.environment is not None and Deployment in notifier.reports:
        environment = policy.environment.render(values)
        if not isinstance(environment, Missing):
            yield dataclasses.replace(alone, aspect=DEPLOYMENT, place=environment)
    if first:
        for channel in policy.rules:
            yield dataclasses.replace(alone, aspect=MESSAGE, host=channel, place=run.uid)


def task_target(target: Target, task: str, *, label: str) -> Target:
    """Where the state of one task is told, below that of its run; ``label``: how the run's page calls it."""
    url = target.url
    if url is not None and target.page:
        url = f"{url}#{quote(label, safe='')}"
    return dataclasses.replace(
        target,
        aspect=TASK_CHECK if target.aspect == CHECK else TASK,
        context=f"{target.context}/{task}",
        task=task,
        url=url,
        fallback=None,
        no_fallback="",
    )


def _with_aspect(target: Target, aspect: str) -> Target:
    fallback = dataclasses.replace(target.fallback, aspect=aspect) if target.fallback is not None else None
    return dataclasses.replace(target, aspect=aspect, fallback=fallback)


def is_history(run: PipelineRun, *, now: float) -> bool:
    """Whether ``run`` ended long before ``now`` (``time.time()``), when this process first saw it or was told to tell more of it."""
    ended = parse_time(run.completed)
    return run.done and ended is not None and now - ended.timestamp() > STALE


def speaks(target: Target, what: Outcome, previous: Callable[[], Outcome | None]) -> bool:
    """Whether ``target``, which is no status, has anything to say of a run that is ``what``; ``previous``: how the run before it on
    its branch ended, asked only where it matters."""
    policy = target.policy
    match target.aspect:
        case ledgers.COMMENT:
            if policy.comment == "always":
                return what.final
            return what.failure or (what is Outcome.SUCCEEDED and previous() is not Outcome.SUCCEEDED)
        case ledgers.LABELS:
            return what.final or _LABELLED.get(what) in policy.labels
        case ledgers.DEPLOYMENT:
            return what is not Outcome.QUEUED
        case ledgers.MESSAGE:
            return rule_for(target, what, previous) is not None
        case _:
            return True


def rule_for(target: Target, what: Outcome, previous: Callable[[], Outcome | None]) -> tuple[Rule, Event] | None:
    """The first rule of ``target``'s channel that wants to hear of this, and what the event is called; None if none does."""
    rules = target.policy.rules.get(target.host, ())
    events = _events(what, previous) if rules else ()
    for rule in rules:
        for event in events:
            if event in rule.on:
                return rule, events[-1] if event == "finished" else event
    return None


def _events(what: Outcome, previous: Callable[[], Outcome | None]) -> tuple[Event, ...]:
    """What a state is called, what says most first; ``finished`` is told by the word after it."""
    if what is Outcome.QUEUED:
        return ()
    if what is Outcome.RUNNING:
        return ("started",)
    if what in (Outcome.CANCELLED, Outcome.DELETED):
        return ("cancelled", "finished", "cancelled")
    before = previous()
    failed_before = before is not None and before.failure
    if what is Outcome.SUCCEEDED:
        return ("fixed", *_PASSED) if failed_before else _PASSED
    return _FAILED if failed_before else ("broken", *_FAILED)


_PASSED: Final[tuple[Event, ...]] = ("succeeded", "finished", "succeeded")
_FAILED: Final[tuple[Event, ...]] = ("failed", "finished", "failed")


def labels_of(target: Target, what: Outcome) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels to add and those to remove."""
    labels = target.policy.labels
    wanted = labels.get(_LABELLED.get(what, "running"))
    others = dict.fromkeys(name for name in labels.values() if name != wanted)
    return ((wanted,) if wanted is not None else ()), tuple(others)
