"""Lanes: one place on a Git host, one newest state to say there, in order and until it has arrived.

A lane is a (host, repository, commit, context). It holds only the newest desired state; just before sending, that is what is
read. Among runs on one lane the younger wins (creationTimestamp, then UID): an older run never overwrites it. One delivery per lane
at a time, so that no older request can overtake. Each host has its own queue, workers and pauses: one host's trouble never delays
another. Finals go before intermediates. What is retryable is tried again for as long as the run exists, waiting in the
queue and never in a thread; what is permanent is logged once and not tried again for the same state.

Not promised: every intermediate state. A run that is done before ``pending`` went out is reported once, as done.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter
from tenacity.wait import wait_base

from listener.cluster.objects import PipelineRun
from listener.reporting.ledger import LaneKey, Record
from listener.reporting.routing import Target
from listener.reporting.status import reported_outcome
from notifiers.base import (
    CommitStatus,
    Notifier,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
    UnauthorizedError,
)

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 1.0  # seconds
_LAST_RETRY: Final = 300.0  # seconds; a host that was down for the weekend is asked every five minutes
_MAX_HOLD: Final = 3600.0  # seconds a host may ask us to wait
_UNAUTHORIZED_HOLD: Final = 30.0  # seconds until a refused token is tried again

Compose = Callable[[PipelineRun, Target, bool], Awaitable[CommitStatus]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery's end, for whoever counts and tells: metrics, log, Events."""

    lane: LaneKey
    run: PipelineRun
    state: str  #: the host's word
    final: bool
    result: str  #: delivered, already_there, retry, permanent
    error: Exception | None = None
    memo: str | None = None
    waited: float = 0.0  #: seconds from the change that asked for it to its end


class Lane:
    """The state of one lane. Only ``Lanes`` touches it."""

    __slots__ = (
        "attempts",
        "deleted",
        "key",
        "memo",
        "not_before",
        "order",
        "refused",
        "run",
        "runs",
        "sending",
        "shown",
        "since",
        "target",
        "ticket",
    )

    def __init__(self, key: LaneKey, target: Target, run: PipelineRun) -> None:
        self.key, self.target, self.run = key, target, run
        self.order = run.order
        self.runs: set[str] = set()  # UIDs of the runs in the cluster that lead here
        self.deleted = False
        self.shown: str | None = None  # the host's word that it shows for ``run``, as far as we know
        self.refused: str | None = None  # the word that it refused for good
        self.memo: str | None = None
        self.attempts = 0  # failures since the last success
        self.not_before = 0.0  # loop time of the next attempt
        self.sending = False
        self.since = 0.0  # time.monotonic() when the undelivered state was asked for
        self.ticket = 0  # the queue entry that counts


class Host:
    """A host's queue: lanes that are ready, finals first, and lanes that wait for their time."""

    def __init__(self, name: str, notifier: Notifier, *, workers: int) -> None:
        self.name, self.notifier, self.workers = name, notifier, workers
        self.hold_until = 0.0  # loop time before which the host wants no request
        self.problem: tuple[str, float] | None = (
            None  #: the last failure since the last success, and since when (time.time())
        )
        self._ready: list[tuple[int, int, Lane]] = []
        self._later: list[tuple[float, int, Lane]] = []
        self._tickets = itertools.count(1)
        self._wake = asyncio.Event()

    def put(self, lane: Lane, *, final: bool, not_before: float = 0.0) -> None:
        """Queue ``lane``; an earlier entry of it no longer counts."""
        lane.ticket = next(self._tickets)
        if not_before > asyncio.get_running_loop().time():
            heapq.heappush(self._later, (not_before, lane.ticket, lane))
        else:
            heapq.heappush(self._ready, (0 if final else 1, lane.ticket, lane))
        self._wake.set()

    async def next(self) -> Lane:
        """The next lane to deliver; waits until there is one and the host may be asked."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._later and self._later[0][0] <= now:
                _, ticket, lane = heapq.heappop(self._later)
                if lane.ticket == ticket:
                    final = reported_outcome(lane.run, deleted=lane.deleted).final
                    heapq.heappush(self._ready, (0 if final else 1, ticket, lane))
            if self.hold_until <= now:
                while self._ready:
                    _, ticket, lane = heapq.heappop(self._ready)
                    if lane.ticket == ticket:
                        lane.ticket = 0
                        return lane
            times = [self.hold_until] if self.hold_until > now else []
            times += [self._later[0][0]] if self._later else []
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(times, default=None)):
                    await self._wake.wait()

    def hold(self, seconds: float) -> None:
        """Ask the host nothing for ``seconds``."""
        until = asyncio.get_running_loop().time() + min(max(seconds, 0.0), _MAX_HOLD)
        self.hold_until = max(self.hold_until, until)


class Lanes:
    """All lanes of all hosts. ``offer`` and ``withdraw`` come from run events; ``run()`` delivers, in a task that you own."""

    def __init__(
        self,
        hosts: Mapping[str, Notifier],
        *,
        compose: Compose,
        on_delivery: Callable[[Delivery], None],
        workers: Mapping[str, int] | None = None,
        wait: wait_base | None = None,
    ) -> None:
        """``compose`` makes the status of a run; ``on_delivery`` hears of each attempt's end, must be quick and not raise;
        ``workers``: deliveries at once per host; ``wait``: tenacity's rule for the pause after a retryable failure."""
        self.hosts = {
            name: Host(name, notifier, workers=(workers or {}).get(name, 4)) for name, notifier in hosts.items()
        }
        self._compose, self._on_delivery = compose, on_delivery
        self._policy = Retrying(
            retry=retry_if_exception_type(RetryableError),
            wait=wait or wait_exponential_jitter(initial=_FIRST_RETRY, max=_LAST_RETRY, jitter=_FIRST_RETRY),
        )
        self._lanes: dict[LaneKey, Lane] = {}
        self._unfinished = 0  # lanes queued or being sent
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._lanes)

    # What runs want

    def offer(self, key: LaneKey, target: Target, run: PipelineRun, *, known: Record | None) -> None:
        """``run`` wants its state shown on ``key``. ``known``: what the ledger says the host shows for this run."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, target, run)
            self._adopt(lane, target, run, known)
        elif run.uid != lane.run.uid:
            if run.order < lane.order:
                lane.runs.add(run.uid)
                return
            self._adopt(lane, target, run, known)
        lane.runs.add(run.uid)
        lane.run, lane.target = run, target
        self._consider(lane)

    def withdraw(self, key: LaneKey, run: PipelineRun) -> None:
        """``run`` is gone from the cluster, this is its last known object; or it no longer leads to ``key``."""
        lane = self._lanes.get(key)
        if lane is None:
            return
        lane.runs.discard(run.uid)
        if lane.run.uid == run.uid and not lane.deleted:
            lane.run, lane.deleted = run, True
            self._consider(lane)
        self._forget_if_done(lane)

    def _adopt(self, lane: Lane, target: Target, run: PipelineRun, known: Record | None) -> None:
        """``run`` is the youngest on this lane: from now on the lane is its."""
        lane.run, lane.target, lane.order, lane.deleted = run, target, run.order, False
        lane.shown, lane.refused = (known.state if known else None), None
        lane.attempts, lane.not_before = 0, 0.0
        lane.memo = known.memo if known and known.memo else lane.memo

    def _consider(self, lane: Lane) -> None:
        """Queue the lane if the host does not show what it should."""
        if lane.sending:
            return  # looked at again when the delivery has ended
        what, word = self._wanted(lane)
        queued = lane.ticket != 0
        if word in (lane.shown, lane.refused):
            if queued:
                lane.ticket = 0
                self._finished()
            return
        if queued and not what.final:
            return  # its turn will read the newest state
        if not queued:
            lane.since = lane.since or time.monotonic()
            self._unfinished += 1
            self._idle.clear()
        self.hosts[lane.key.host].put(lane, final=what.final, not_before=lane.not_before)

    def _wanted(self, lane: Lane) -> tuple[Outcome, str]:
        what = reported_outcome(lane.run, deleted=lane.deleted)
        return what, self.hosts[lane.key.host].notifier.state(what)

    # Delivering

    async def run(self) -> None:
        """Deliver until cancelled. Start it only when every run is known: an older run must not go first because it came first."""
        async with asyncio.TaskGroup() as group:
            for host in self.hosts.values():
                for _ in range(host.workers):
                    group.create_task(self._work(host))

    async def drained(self) -> None:
        """Return when nothing is queued and nothing is being sent."""
        await self._idle.wait()

    async def _work(self, host: Host) -> None:
        while True:
            lane = await host.next()
            lane.sending = True
            try:
                await self._deliver(host, lane)
            finally:
                lane.sending = False
                self._consider(lane)  # queues it again first, so that nobody takes a retry for the end
                self._finished()
                self._forget_if_done(lane)

    async def _deliver(self, host: Host, lane: Lane) -> None:
        run, target, deleted = lane.run, lane.target, lane.deleted
        what, word = self._wanted(lane)
        if word in (lane.shown, lane.refused):
            return
        try:
            status = await self._compose(run, target, deleted)
            receipt = await host.notifier.deliver(status, memo=lane.memo)
        except PermanentError as error:
            if lane.run.uid == run.uid:
                lane.refused = word
                self._settled(lane)
            self._tell(lane, run, word, "permanent", final=what.final, error=error)
        except Exception as error:
            if not isinstance(error, RetryableError):  # a notifier's defect must cost one status, not the worker
                log.exception("%s: the notifier of %s failed in a way it must not", run.key, host.name)
                error = RetryableError(f"{type(error).__name__}: {error}")
            self._failed(host, lane, error)
            self._tell(lane, run, word, "retry", final=what.final, error=error)
        else:
            self._arrived(host, lane, run, word, receipt)
            self._tell(lane, run, word, "already_there" if receipt.already_there else "delivered", final=what.final)

    def _arrived(self, host: Host, lane: Lane, run: PipelineRun, word: str, receipt: Receipt) -> None:
        host.problem = None
        lane.memo = receipt.memo or lane.memo
        if lane.run.uid == run.uid:
            lane.shown, lane.refused = word, None
            self._settled(lane)

    def _settled(self, lane: Lane) -> None:
        lane.attempts, lane.not_before = 0, 0.0

    def _failed(self, host: Host, lane: Lane, error: RetryableError) -> None:
        lane.attempts += 1
        lane.not_before = asyncio.get_running_loop().time() + self._pause(lane.attempts, error)
        if host.problem is None:
            host.problem = (str(error), time.time())
        if isinstance(error, UnauthorizedError):
            host.hold(_UNAUTHORIZED_HOLD)
        elif error.retry_after is not None:
            host.hold(error.retry_after)

    def _tell(
        self, lane: Lane, run: PipelineRun, word: str, result: str, *, final: bool, error: Exception | None = None
    ) -> None:
        waited = time.monotonic() - lane.since
        if result != "retry":
            lane.since = 0.0
        self._on_delivery(Delivery(lane.key, run, word, final, result, error=error, memo=lane.memo, waited=waited))

    def _pause(self, attempt: int, error: RetryableError) -> float:
        """Seconds until the next attempt, by the policy; the waiting itself is the queue's."""
        state = RetryCallState(self._policy, None, (), {})
        state.attempt_number = attempt
        state.set_exception((type(error), error, error.__traceback__))
        return self._policy.wait(state) if self._policy.retry(state) else _LAST_RETRY

    def _finished(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._idle.set()

    def _forget_if_done(self, lane: Lane) -> None:
        if not lane.runs and not lane.sending and not lane.ticket:
            self._lanes.pop(lane.key, None)
