"""Lanes: one place on a Git host, one newest state to say there, in order and until it has arrived.

A lane is a (host, repository, commit, context). It holds only the newest desired state; just before sending, that is what is
read. Among runs on one lane the younger wins (creationTimestamp, then UID): an older run never overwrites it. One delivery per lane
at a time, so that no older request can overtake. Each host has its own queue, workers and pauses (``hosts``, ``pacing``): one host's
trouble never delays another. Finals go before intermediates. What is retryable is tried again for as long as the run exists; what is
permanent is told once and tried again when the configuration or a token changes. A run that was overruled is told so on itself (``OVERRULED``
in its ledger), for the younger one may be pruned first, and whoever starts then must not take the older for the newest; and if its ledger
says one day that its state was sent all the same, by a replica that had not seen the younger one, that one is sent again. With several replicas only the one that holds the
lane's shard sends (``permit``); the others keep the lane's state, so that they can take over at any moment.

Not promised: every intermediate state. A run that is done before ``pending`` went out is reported once, as done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from listener.cluster.objects import NOTHING, PipelineRun
from listener.reporting.hosts import Budgets, Host
from listener.reporting.ledger import OVERRULED, LaneKey, Record, read
from listener.reporting.pacing import Budget, Pace
from listener.reporting.routing import Target
from listener.reporting.status import reported_outcome
from notifiers.base import (
    CommitStatus,
    Notifier,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
    TooLateError,
    clock,
    for_ever,
)

log = logging.getLogger(__name__)

_ORPHANED: Final = 60.0  # seconds that another replica's lane is kept after its run was deleted, in case we take over
_NO_RUNS: Final[Mapping[str, PipelineRun]] = {}
_LANES_PER_TURN: Final = 256  # looked at before other tasks get the loop

Compose = Callable[[PipelineRun, Target, bool], Awaitable[CommitStatus]]
Permit = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery's end, for whoever counts and tells: metrics, log, Events."""

    lane: LaneKey
    run: PipelineRun
    state: str  #: the host's word
    final: bool
    result: str  #: delivered, already_there, retry, permanent, late
    error: Exception | None = None
    memo: str | None = None
    waited: float = 0.0  #: seconds from the change that asked for it to its end
    attempts: int = 0  #: failures in a row


class Lane:
    """The state of one lane. Only ``Lanes`` and its hosts touch it."""

    __slots__ = (
        "attempts", "deleted", "home", "key", "memo", "not_before", "older", "order", "others", "overruled", "present", "refused", "run", "said", "sending", "sent",
        "shown", "since", "target", "ticket", "urgent",
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


class Lanes:
    """All lanes of all hosts. ``offer`` and ``withdraw`` come from run events; ``run()`` delivers, in a task that you own."""

    def __init__(
        self,
        hosts: Mapping[str, Notifier],
        *,
        compose: Compose,
        on_delivery: Callable[[Delivery], None],
        on_overruled: Callable[[Lane, PipelineRun], None] = lambda *_: None,
        retarget: Callable[[PipelineRun, LaneKey], Target | None] = lambda *_: None,
        workers: Mapping[str, int] | None = None,
        pace: Pace | None = None,
        permit: Permit | None = None,
    ) -> None:
        """``compose`` makes the status of a run; ``on_delivery`` hears of each attempt's end, ``on_overruled`` of a lane and a run that a younger
        one has overtaken there, before it hears of the younger one's delivery; both must be quick and not raise; ``retarget``
        says again what ``offer`` said, for it is forgotten once a state has arrived;
        ``workers``: deliveries at once per host; ``permit``: until when on ``clock()`` this process may report what belongs
        to a home, see ``offer``; without it for ever."""
        self.hosts: dict[str, Host] = {}
        self._compose, self._on_delivery, self._on_overruled = compose, on_delivery, on_overruled
        self._retarget = retarget
        self._pace = pace or Pace()
        self._permit: Permit = permit or (lambda _: for_ever())
        self._budgets = Budgets(self._pace)
        self._lanes: dict[LaneKey, Lane] = {}
        self._orphans: deque[tuple[float, LaneKey]] = deque()
        self._changed = asyncio.Event()  # something was sent, or there is less to send
        self._staff: dict[str, list[asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._hire(hosts, workers or {})

    def __len__(self) -> int:
        return len(self._lanes)

    # What runs want

    def offer(
        self, key: LaneKey, target: Target, run: PipelineRun, *, known: Record | None, home: str | None = None
    ) -> None:
        """``run`` wants its state shown on ``key``. ``known``: what the ledger says the host shows for this run.

        ``home``: what decides which replica reports it; by default the commit, so that all runs on a lane have one reporter.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, target, run, home or key.sha)
            self._adopt(lane, target, run, known)
        elif run.uid != lane.run.uid:
            if run.order < lane.order:
                lane.others = {**lane.others, run.uid: run}
                self._doubt(lane, run, known)
                self._believe(lane)
                self._consider(lane)
                return
            self._adopt(lane, target, run, known)
        elif known is not None and not self._mine(lane):
            lane.shown, lane.memo = known.state, known.memo or lane.memo  # another replica's work
        lane.run, lane.target, lane.present = run, target, True
        self._believe(lane)
        self._consider(lane)

    def withdraw(self, key: LaneKey, run: PipelineRun, target: Target | None = None, *, said: bool = False) -> None:
        """``run`` is gone from the cluster, this is its last known object; or it no longer leads to ``key``, which was ``target``.

        ``said``: somebody else has told the host how it ended.
        """
        self._drop_orphans()
        lane = self._lanes.get(key)
        if lane is None:
            return
        if run.uid in lane.others:
            lane.others = {uid: other for uid, other in lane.others.items() if uid != run.uid}
        if run.uid == lane.run.uid:
            lane.present = False
        lane.overruled -= {run.uid}
        if run.uid in lane.older:
            lane.older = {uid: state for uid, state in lane.older.items() if uid != run.uid}
        if lane.run.uid == run.uid and not lane.deleted:
            lane.run, lane.deleted, lane.target = run, True, target or lane.target
            lane.said = said
            self._consider(lane)
        self._forget_if_done(lane)

    def settled(self, key: LaneKey, run: PipelineRun) -> bool:
        """True when nothing more will be sent to ``key`` for ``run`` as it is: it arrived, was refused, or a younger run rules."""
        lane = self._lanes.get(key)
        if lane is None or lane.run.uid != run.uid:
            return True
        what, word = self._wanted(lane)
        return what.final and self._nothing_to_say(lane, word)

    def _doubt(self, lane: Lane, run: PipelineRun, known: Record | None) -> None:
        """An older run: was its state sent, by whomever, after the younger one's? Then the host does not show that any more."""
        if known is None or known.state == lane.older.get(run.uid, OVERRULED):
            return
        lane.older = {**lane.older, run.uid: known.state}
        if known.state != OVERRULED:
            lane.shown = None
            lane.overruled -= {run.uid}

    def _believe(self, lane: Lane) -> None:
        """While another replica reports the lane, the ledgers of its runs are all that we know of what the host shows."""
        if lane.others and not self._mine(lane):
            known = read(lane.run).get(lane.key.digest)
            trusted = known is not None and all(state == OVERRULED for state in lane.older.values())
            lane.shown = known.state if known is not None and trusted else None

    def _adopt(self, lane: Lane, target: Target, run: PipelineRun, known: Record | None) -> None:
        """``run`` is the youngest on this lane: from now on the lane is its."""
        if run.uid != lane.run.uid:
            if lane.present:
                lane.others = {**lane.others, lane.run.uid: lane.run}
                lane.older = {**lane.older, lane.run.uid: lane.shown or OVERRULED}
            if lane.sent:  # over whatever the ledger of ``run`` remembers
                known = None
        lane.sent = lane.said = False
        lane.run, lane.target, lane.order, lane.deleted = run, target, run.order, False
        lane.shown, lane.refused = (known.state if known else None), None
        lane.attempts, lane.not_before, lane.ticket = 0, 0.0, 0
        lane.memo = known.memo if known and known.memo else lane.memo

    def _mine(self, lane: Lane) -> bool:
        return self._permit(lane.home) > clock()

    def _consider(self, lane: Lane) -> None:
        """Queue the lane if the host does not show what it should and we are to see to it."""
        if lane.sending:
            return  # looked at again when the delivery has ended
        what, word = self._wanted(lane)
        host, queued = self.hosts[lane.key.host], lane.ticket != 0
        if self._nothing_to_say(lane, word) or not self._mine(lane):
            if queued:
                lane.ticket = 0
            if word == lane.shown:
                lane.target = None
            self._done(host, lane)
            if self._mine(lane):
                self._overrule(lane)
            return
        if queued and (lane.urgent or not what.final):
            return  # its turn will read the newest state
        if lane.key not in host.waiting:
            lane.since = lane.since or time.monotonic()
            host.waiting[lane.key] = lane.since
        lane.urgent = what.final
        host.put(lane)

    def _overrule(self, lane: Lane) -> None:
        """Once the host shows the younger run, the older ones must be silent for ever."""
        if not lane.others or lane.shown is None:
            return
        for uid, run in lane.others.items():
            if uid not in lane.overruled and run.order < lane.order:
                lane.overruled |= {uid}
                self._on_overruled(lane, run)

    def _nothing_to_say(self, lane: Lane, word: str) -> bool:
        return lane.said or word in (lane.shown, lane.refused) or lane.shown == OVERRULED

    def _wanted(self, lane: Lane) -> tuple[Outcome, str]:
        what = reported_outcome(lane.run, deleted=lane.deleted)
        return what, self.hosts[lane.key.host].notifier.state(what)

    # What changes around them

    async def reconsider(self, hosts: Iterable[str] | None = None) -> None:
        """Look at every lane again: a shard was gained or lost; or, for ``hosts``, what they refused may be taken now."""
        again = set(hosts or ())
        for name in again:
            self.hosts[name].refresh()
        for number, lane in enumerate(list(self._lanes.values()), start=1):
            if lane.key.host in again:
                lane.refused = None
            if lane.key.host in self.hosts:
                self._consider(lane)
            if not number % _LANES_PER_TURN:
                await asyncio.sleep(0)

    async def retire(self, hosts: Mapping[str, Notifier]) -> None:
        """Send nothing more to hosts that ``hosts`` does not have, or has another notifier for; deliveries that are under way
        end first, so that no older state arrives after a newer one."""
        old = self._old(hosts)
        for name in old:
            self.hosts[name].retire()
        if staff := [task for name in old for task in self._staff.pop(name, ())]:
            await asyncio.wait(staff)

    def employ(self, hosts: Mapping[str, Notifier], workers: Mapping[str, int]) -> None:
        """Go on with these, after ``retire``. Lanes to a host that is gone are forgotten; call ``reconsider`` for the others."""
        old = self._old(hosts)
        for name in old:
            del self.hosts[name]
        for key in [key for key in self._lanes if key.host in old and key.host not in hosts]:
            del self._lanes[key]
        for lane in self._lanes.values():
            if lane.key.host in old:
                lane.ticket, lane.attempts, lane.not_before = 0, 0, 0.0
        self._hire({name: hosts[name] for name in hosts if name not in self.hosts}, workers)
        self._changed.set()

    def _old(self, hosts: Mapping[str, Notifier]) -> list[str]:
        return [name for name, host in self.hosts.items() if hosts.get(name) is not host.notifier]

    def _hire(self, hosts: Mapping[str, Notifier], workers: Mapping[str, int]) -> None:
        for name, notifier in hosts.items():
            host = Host(name, notifier, workers=workers.get(name, 4), budgets=self._budgets, pace=self._pace)
            self.hosts[name] = host
            if self._group is not None:
                self._staff[name] = [self._group.create_task(self._work(host)) for _ in range(host.workers)]

    # Delivering

    async def run(self) -> None:
        """Deliver until cancelled. Start it only when every run is known: an older run must not go first because it came first."""
        async with asyncio.TaskGroup() as self._group:
            for name, host in self.hosts.items():
                self._staff[name] = [self._group.create_task(self._work(host)) for _ in range(host.workers)]
            await asyncio.Event().wait()  # hosts may come and go

    async def drained(self, *, within: float | None = None) -> bool:
        """Return when nothing is queued and nothing is being sent. With ``within``: after so many seconds at most, and at
        once when nothing that waits may be sent in that time. True if everything arrived."""
        end = None if within is None else asyncio.get_running_loop().time() + within
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while any(host.waiting for host in self.hosts.values()):
                    self._changed.clear()
                    if end is not None and all(self._stuck(host, end) for host in self.hosts.values()):
                        return False
                    await self._changed.wait()
        return not any(host.waiting for host in self.hosts.values())

    def _stuck(self, host: Host, end: float) -> bool:
        return not host.circuit.in_flight and host.earliest() > end

    async def _work(self, host: Host) -> None:
        while True:
            turn = await host.next()
            if turn is None:
                return
            lane, budget = turn
            lane.sending, asked = True, False
            try:
                asked = await self._deliver(host, budget, lane)
            finally:
                lane.sending = False
                host.end(budget, asked=asked)
                self._consider(lane)  # queues it again first, so that nobody takes a retry for the end
                self._forget_if_done(lane)
                self._changed.set()

    async def _deliver(self, host: Host, budget: Budget, lane: Lane) -> bool:
        """Send what the lane wants. False if nothing was sent."""
        run, deleted = lane.run, lane.deleted
        what, word = self._wanted(lane)
        if self._nothing_to_say(lane, word) or not self._mine(lane):
            return False
        target = lane.target = lane.target or self._retarget(run, lane.key)
        if target is None:  # the configuration leads elsewhere by now
            lane.refused = word
            return False
        try:
            status = await self._compose(run, target, deleted)
            receipt = await host.notifier.deliver(status, memo=lane.memo, until=lambda: self._permit(lane.home))
        except PermanentError as error:
            host.answered(budget, accepted=True)
            if lane.run.uid == run.uid:
                lane.refused = word
                self._arrived_or_refused(lane)
            self._tell(lane, run, word, "permanent", final=what.final, error=error)
        except TooLateError as error:
            self._tell(lane, run, word, "late", final=what.final, error=error)
        except Exception as error:
            if not isinstance(error, RetryableError):  # a notifier's defect must cost one status, not the worker
                log.exception("%s: the notifier of %s failed in a way it must not", run.key, host.name)
                error = RetryableError(f"{type(error).__name__}: {error}")
            else:
                host.failed(lane, budget, error)
            self._failed(lane, error)
            self._tell(lane, run, word, "retry", final=what.final, error=error)
        else:
            host.answered(budget, accepted=True)
            self._arrived(budget, lane, run, word, receipt)
            self._tell(lane, run, word, "already_there" if receipt.already_there else "delivered", final=what.final)
        return True

    def _arrived(self, budget: Budget, lane: Lane, run: PipelineRun, word: str, receipt: Receipt) -> None:
        if receipt.rate_limit is not None:
            budget.learned(receipt.rate_limit)
        lane.memo = receipt.memo or lane.memo
        if lane.run.uid == run.uid:
            lane.shown, lane.refused, lane.sent = word, None, True
            self._arrived_or_refused(lane)
            self._overrule(lane)
        else:
            lane.shown = None  # a younger run has come meanwhile, and this was put on top of what it may have had
            if run.uid in lane.others:
                lane.older = {**lane.older, run.uid: word}  # its ledger will say so, and that is no news

    def _arrived_or_refused(self, lane: Lane) -> None:
        lane.attempts, lane.not_before = 0, 0.0

    def _failed(self, lane: Lane, error: RetryableError) -> None:
        lane.attempts += 1
        pause = self._pace.after(lane.attempts, error, self._pace.lane)
        lane.not_before = asyncio.get_running_loop().time() + pause

    def _tell(
        self, lane: Lane, run: PipelineRun, word: str, result: str, *, final: bool, error: Exception | None = None
    ) -> None:
        waited = time.monotonic() - lane.since
        if result not in ("retry", "late"):
            lane.since = 0.0
            self.hosts[lane.key.host].waiting.pop(lane.key, None)
        self._on_delivery(
            Delivery(
                lane.key, run, word, final, result, error=error, memo=lane.memo, waited=waited, attempts=lane.attempts,
            )
        )  # fmt: skip

    def _done(self, host: Host, lane: Lane) -> None:
        lane.since = 0.0
        if host.waiting.pop(lane.key, None) is not None:
            self._changed.set()

    def _forget_if_done(self, lane: Lane) -> None:
        if lane.present or lane.others or lane.sending or lane.ticket:
            return
        if self._mine(lane) or self._nothing_to_say(lane, self._wanted(lane)[1]):
            self._lanes.pop(lane.key, None)
        else:
            self._orphans.append((time.monotonic(), lane.key))

    def _drop_orphans(self) -> None:
        while self._orphans and self._orphans[0][0] < time.monotonic() - _ORPHANED:
            lane = self._lanes.get(self._orphans.popleft()[1])
            if lane is not None and not (lane.present or lane.others or lane.sending or lane.ticket):
                del self._lanes[lane.key]
