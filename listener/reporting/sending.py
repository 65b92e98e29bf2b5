"""Sending: for each Git host its workers, who take lanes from its queue and deliver what these want, one request at a time per lane.

What a lane wants, and what follows from an answer, is decided elsewhere (``Desk``, see ``lanes``). Here is the order of the work: asking just
before sending, telling the host's gates how it went, pausing after failures, and ending in an orderly way when hosts come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from listener.cluster.objects import PipelineRun
from listener.log_context import about
from listener.reporting.hosts import Budgets, Host
from listener.reporting.lane import Compose, Delivery, Lane, Permit
from listener.reporting.ledger import LaneKey
from listener.reporting.pacing import Budget, Pace
from listener.reporting.target import Target
from notifiers.base import Notifier, Outcome, PermanentError, Receipt, RetryableError, TooLateError

log = logging.getLogger(__name__)


class Desk(Protocol):
    """Who decides. All of it is quick and raises nothing."""

    def wish(self, lane: Lane) -> tuple[Outcome, str] | None:
        """What the host should show on the lane, and its word for that; None when there is nothing to say, or not by us."""

    def refuse(self, lane: Lane, run: PipelineRun, word: str) -> None:
        """The host will never take ``word`` for ``run``."""

    def divert(self, lane: Lane, target: Target, error: PermanentError) -> bool:
        """True if that was a refusal after which the fallback repository has its turn, and it has been given it."""

    def arrived(self, lane: Lane, run: PipelineRun, word: str, receipt: Receipt) -> None:
        """The host shows ``word`` for ``run``."""

    def ended(self, lane: Lane) -> None:
        """The lane is free again: look at it."""


class Senders:
    """All hosts and their workers. ``run()`` delivers, in a task that you own."""

    def __init__(
        self,
        hosts: Mapping[str, Notifier],
        desk: Desk,
        *,
        compose: Compose,
        on_delivery: Callable[[Delivery], None],
        retarget: Callable[[PipelineRun, LaneKey], Target | None],
        workers: Mapping[str, int],
        pace: Pace,
        permit: Permit,
    ) -> None:
        """All of it: see ``Lanes``."""
        self.hosts: dict[str, Host] = {}
        self.changed = asyncio.Event()  #: something was sent, or there is less to send
        self._desk, self._compose, self._on_delivery, self._retarget = desk, compose, on_delivery, retarget
        self._pace, self._permit = pace, permit
        self._budgets = Budgets(pace)
        self._staff: dict[str, list[asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self.hire(hosts, workers)

    async def run(self) -> None:
        """Deliver until cancelled."""
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
                    self.changed.clear()
                    if end is not None and all(self._stuck(host, end) for host in self.hosts.values()):
                        return False
                    await self.changed.wait()
        return not any(host.waiting for host in self.hosts.values())

    def _stuck(self, host: Host, end: float) -> bool:
        return not host.circuit.in_flight and host.earliest() > end

    # Hosts that come and go

    def others(self, hosts: Mapping[str, Notifier]) -> list[str]:
        """Our hosts that ``hosts`` does not have, or has another notifier for."""
        return [name for name, host in self.hosts.items() if hosts.get(name) is not host.notifier]

    async def retire(self, hosts: Mapping[str, Notifier]) -> None:
        """Send nothing more to ``others(hosts)``; deliveries that are under way end first."""
        old = self.others(hosts)
        for name in old:
            self.hosts[name].retire()
        if staff := [task for name in old for task in self._staff.pop(name, ())]:
            await asyncio.wait(staff)

    def hire(self, hosts: Mapping[str, Notifier], workers: Mapping[str, int]) -> None:
        """Deliver to these too."""
        for name, notifier in hosts.items():
            host = Host(name, notifier, workers=workers.get(name, 4), budgets=self._budgets, pace=self._pace)
            self.hosts[name] = host
            if self._group is not None:
                self._staff[name] = [self._group.create_task(self._work(host)) for _ in range(host.workers)]

    # Delivering

    async def _work(self, host: Host) -> None:
        while True:
            turn = await host.next()
            if turn is None:
                return
            lane, budget = turn
            lane.sending, asked = True, False
            try:
                with _about(lane), lane.trace.attempt(lane.attempts + 1) if lane.trace else contextlib.nullcontext():
                    asked = await self._deliver(host, budget, lane)
            finally:
                lane.sending = False
                host.end(budget, asked=asked)
                self._desk.ended(lane)  # queues it again first, so that nobody takes a retry for the end
                self.changed.set()

    async def _deliver(self, host: Host, budget: Budget, lane: Lane) -> bool:
        """Send what the lane wants. False if nothing was sent."""
        run, deleted = lane.run, lane.deleted
        wish = self._desk.wish(lane)
        if wish is None:
            return False
        what, word = wish
        target = lane.target = lane.target or self._retarget(run, lane.key)
        if target is None:  # the configuration leads elsewhere by now
            self._desk.refuse(lane, run, word)
            return False
        try:
            status = await self._compose(run, target, deleted)
            receipt = await host.notifier.deliver(status, memo=lane.memo, until=lambda: self._permit(lane.home))
        except PermanentError as error:
            host.answered(budget, accepted=True)
            diverted = self._desk.divert(lane, target, error)
            if not diverted:
                self._desk.refuse(lane, run, word)
            self._tell(lane, run, word, "elsewhere" if diverted else "permanent", final=what.final, error=error)
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
            if receipt.rate_limit is not None:
                budget.learned(receipt.rate_limit)
            self._desk.arrived(lane, run, word, receipt)
            self._tell(lane, run, word, "already_there" if receipt.already_there else "delivered", final=what.final)
        return True

    def _failed(self, lane: Lane, error: RetryableError) -> None:
        lane.attempts += 1
        pause = self._pace.after(lane.attempts, error, self._pace.lane)
        lane.not_before = asyncio.get_running_loop().time() + pause

    def _tell(
        self, lane: Lane, run: PipelineRun, word: str, result: str, *, final: bool, error: Exception | None = None
    ) -> None:
        waited = time.monotonic() - lane.since
        ended = result not in ("retry", "late")
        if ended:
            lane.since = 0.0
            self.hosts[lane.key.host].waiting.pop(lane.key, None)
        trace = lane.trace
        if trace is not None:
            trace.told(result, error)
        self._on_delivery(
            Delivery(
                lane.key, run, word, final, result, error=error, memo=lane.memo, waited=waited, attempts=lane.attempts,
            )
        )  # fmt: skip
        if trace is not None and ended:
            trace.end(result)
            lane.trace = None


def _about(lane: Lane) -> contextlib.AbstractContextManager[None]:
    """For the log: what is being delivered."""
    key = lane.key
    beyond = {"report": key.aspect} if key.aspect else {}  # nothing for the status itself
    return about(run=str(lane.run.key), host=key.host, repository=key.repository, attempt=lane.attempts + 1, **beyond)
