"""One lane: a place on a Git host that shows one state. What is known of it, and how a delivery to it ended. Decides nothing."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from listener.cluster.objects import NOTHING, PipelineRun
from listener.reporting.ledger import LaneKey
from listener.reporting.target import Target
from listener.reporting.traces import Cause, LaneTrace
from notifiers.base import CommitStatus

_NO_RUNS: Final[Mapping[str, PipelineRun]] = {}

Compose = Callable[[PipelineRun, Target, bool], Awaitable[CommitStatus]]
Permit = Callable[[str], float]


class Place(enum.Enum):
    """Whether a lane's repository takes its statuses; asked only where there is a second one to try."""

    UNKNOWN = "unknown"
    HERE = "here"  #: it has taken one: what it refuses from now on is for the operator to mend
    ELSEWHERE = "elsewhere"  #: it refused the first one: the commit is in the fallback repository


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery's end, for whoever counts and tells: metrics, log, Events."""

    lane: LaneKey
    run: PipelineRun
    state: str  #: the host's word
    final: bool
    result: str  #: delivered, already_there, retry, permanent, elsewhere (refused, the fallback is next), late
    error: Exception | None = None
    memo: str | None = None
    waited: float = 0.0  #: seconds from the change that asked for it to its end
    attempts: int = 0  #: failures in a row


class Lane:
    """The state of one lane. Only ``Lanes``, its ``Senders`` and their hosts touch it."""

    __slots__ = (
        "attempts", "cause", "deleted", "home", "key", "memo", "not_before", "older", "order", "others", "overruled", "place", "present", "refused", "run", "said",
        "sending", "sent", "shown", "since", "target", "ticket", "trace", "urgent",
    )  # fmt: skip

    def __init__(self, key: LaneKey, target: Target, run: PipelineRun, home: str) -> None:
        self.key, self.run, self.home = key, run, home
        self.target: Target | None = target  # None once it has arrived: there may be very many of these
        self.order = run.order
        self.present = True  # ``run`` is in the cluster and leads here
        self.others: Mapping[str, PipelineRun] = _NO_RUNS  # other runs in the cluster that lead here, by UID
        self.overruled: frozenset[str] = frozenset()  # UIDs of those that were told that a younger one rules
        self.older: Mapping[str, str] = (
            NOTHING  # by UID: what the ledgers of older runs say that the host was sent for them
        )
        self.place = Place.UNKNOWN
        self.sent = False  # by us, for ``run``
        self.deleted = False
        self.said = False  # somebody else has told the host how ``run`` ended before it was deleted
        self.shown: str | None = None  # the host's word that it shows for ``run``, as far as we know
        self.refused: str | None = None  # the word that it refused for good
        self.memo: str | None = None
        self.attempts = 0  # failures since the last success
        self.not_before = 0.0  # loop time of the next attempt
        self.sending = False
        self.since = 0.0  # time.monotonic() when the undelivered state was asked for
        self.ticket = 0  # the queue entry that counts
        self.urgent = False  # queued with a final state
        self.trace: LaneTrace | None = None  # of the state that is queued, where traces are drawn
        self.cause: Cause | None = None  # what changed while it was being sent
