"""One place that a run reports to, and the policy of the service that says so. Values; ``routing`` and ``aspects`` make them."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from listener.config_reports import Event, LabelledState
from listener.reporting.ledger import DEPLOYMENT, MESSAGE, LaneKey
from listener.template import Template


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """On which events a channel is told, and with which words."""

    on: frozenset[Event]
    text: Template | None


@dataclass(frozen=True, eq=False)
class Policy:
    """What a service tells beyond a status. All runs of the service share one."""

    checks: bool = False
    tasks: bool = False
    optional: re.Pattern[str] | None = None  #: names of tasks whose failure must not block
    description: Template | None = None
    comment: str | None = None  #: on-failure, always
    comment_text: Template | None = None
    labels: Mapping[LabelledState, str] = field(default_factory=dict)
    environment: Template | None = None
    environment_url: Template | None = None
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)  #: by channel

    @cached_property
    def plain(self) -> bool:
        """Nothing is told but statuses or check runs."""
        return self.comment is None and not self.labels and self.environment is None and not self.rules

    @cached_property
    def simple(self) -> bool:
        """One status, and nothing else."""
        return self.plain and not self.checks

    @cached_property
    def tells_more(self) -> bool:
        """Something is told beside the run's own status or check run."""
        return self.tasks or not self.plain

    @cached_property
    def remembers(self) -> bool:
        """Something depends on how the run before ended."""
        news = {"broken", "fixed"}
        return self.comment == "on-failure" or any(news & rule.on for rules in self.rules.values() for rule in rules)


PLAIN: Final = Policy()


@dataclass(frozen=True, slots=True)
class Target:
    """One place that a run reports to."""

    host: str
    repository: str
    sha: str
    context: str
    url: str | None = None
    ref: str | None = None
    service: str = ""
    commit_from: str = ""  #: where the commit was found, for explanations
    guaranteed: bool = False  #: the run must stay until its final status has arrived
    fallback: Target | None = (
        None  #: the same on another repository of the host, to try when this one has not the commit
    )
    no_fallback: str = ""  #: why there is none although the service names one
    policy: Policy = PLAIN
    page: bool = False  #: ``url`` is the run's page of ours
    aspect: str = ""  #: what of the run is told there, see ``ledger``
    task: str = ""  #: whose state is told, where it is not the run's
    place: str = ""  #: what else the lane is about: the environment of a deployment, the run that a message is about

    @property
    def lane(self) -> LaneKey:
        context = self.place if self.aspect in (MESSAGE, DEPLOYMENT) else self.context.casefold()
        return LaneKey(self.host, self.repository, self.sha, sys.intern(context), self.aspect)
