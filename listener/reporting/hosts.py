"""A host's queue: lanes that are ready, finals first, and lanes that wait for their time, apart for each account.

``next`` gives a lane when its host and its account may be asked; all the waiting of all lanes happens there, in a heap and one
wake-up, and never in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import time
from collections import OrderedDict
from typing import Final

from listener.reporting.lane import Lane
from listener.reporting.pacing import Budget, Circuit, Pace
from listener.reporting.status import reported_outcome
from notifiers.base import Notifier, RetryableError, UnauthorizedError

_MAX_BUDGETS: Final = 4096
_MAX_ACCOUNTS: Final = 64
_LIMITED: Final = (403, 429)  # statuses that are about the account, not about the host


class Budgets:
    """The budgets of all accounts: two entries of ``hosts:`` with one token share what the host allows it."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def of(self, notifier: Notifier, repository: str) -> tuple[str, Budget]:
        """The account that a delivery to ``repository`` is counted for, and its budget."""
        account = notifier.account(repository)
        budget = self._budgets.get(account)
        if budget is None:
            budget = self._budgets[account] = Budget(self._pace, interval=notifier.write_interval)
            while len(self._budgets) > _MAX_BUDGETS:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(account)
        return account, budget


class _Queue:
    """The lanes of one account."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.ready: list[tuple[int, int, Lane]] = []
        self.later: list[tuple[float, int, Lane]] = []

    def put(self, lane: Lane) -> None:
        if lane.not_before > asyncio.get_running_loop().time():
            heapq.heappush(self.later, (lane.not_before, lane.ticket, lane))
        else:
            self._make_ready(lane, lane.ticket)

    def _make_ready(self, lane: Lane, ticket: int) -> None:
        final = reported_outcome(lane.run, deleted=lane.deleted).final
        heapq.heappush(self.ready, (0 if final else 1, ticket, lane))

    def turn(self, now: float, circuit: Circuit) -> float:
        """When the first lane may go: a loop time, infinite for never unless something changes."""
        while self.later and (self.later[0][0] <= now or self.later[0][2].ticket != self.later[0][1]):
            _, ticket, lane = heapq.heappop(self.later)
            if lane.ticket == ticket:
                self._make_ready(lane, ticket)
        while self.ready and self.ready[0][2].ticket != self.ready[0][1]:
            heapq.heappop(self.ready)  # outdated: it was put again since, or is done
        if self.ready:
            final = self.ready[0][0] == 0
            return max(circuit.earliest(final=final), self.budget.earliest(final=final))
        return self.later[0][0] if self.later else math.inf

    def lanes(self) -> list[Lane]:
        """All that wait here."""
        entries = [(ticket, lane) for _, ticket, lane in (*self.ready, *self.later)]
        return [lane for ticket, lane in entries if lane.ticket == ticket]

    def hurry(self) -> None:
        """What was in the way is gone: nobody waits any longer for their own time."""
        waiting, self.later = self.later, []
        for _, ticket, lane in waiting:
            if lane.ticket == ticket:
                lane.not_before = 0.0
                self._make_ready(lane, ticket)


class Host:
    """One entry of ``hosts:``: its notifier, its circuit, its queues."""

    def __init__(self, name: str, notifier: Notifier, *, workers: int, budgets: Budgets, pace: Pace) -> None:
        self.name, self.notifier, self.workers = name, notifier, workers
        self.circuit = Circuit(pace)
        self.waiting: dict[object, float] = {}  #: lanes not delivered yet, and since when (time.monotonic())
        self._budgets = budgets
        self._queues: dict[str, _Queue] = {}
        self._accounts: OrderedDict[str, Budget] = OrderedDict()  # used lately, for whoever asks how they are
        self._tickets = itertools.count(1)
        self._wake = asyncio.Event()
        self._retired = False

    # Queueing

    def put(self, lane: Lane) -> None:
        """Queue ``lane`` for ``lane.not_before``; an earlier entry of it no longer counts."""
        lane.ticket = next(self._tickets)
        account, budget = self._budgets.of(self.notifier, lane.key.repository)
        queue = self._queues.get(account)
        if queue is None:
            queue = self._queues[account] = _Queue(budget)
            budget.listeners.add(self._wake.set)
            self._used(account, budget)
        queue.put(lane)
        self._wake.set()

    def _used(self, account: str, budget: Budget) -> None:
        self._accounts[account] = budget
        self._accounts.move_to_end(account)
        while len(self._accounts) > _MAX_ACCOUNTS:
            self._accounts.popitem(last=False)

    def refresh(self) -> None:
        """The token may be another one: those who wait for the old one's budget wait for the new one's."""
        queues, self._queues = self._queues, {}
        self._accounts.clear()
        for queue in queues.values():
            queue.budget.listeners.discard(self._wake.set)
            for lane in queue.lanes():
                self.put(lane)

    def retire(self) -> None:
        """Give out no more lanes; whoever waits for one gets None."""
        self._retired = True
        self._wake.set()

    async def next(self) -> tuple[Lane, Budget] | None:
        """The next lane to deliver; waits until there is one that may go. Answer with ``end``. None after ``retire``."""
        while not self._retired:
            at, queue = self._first()
            if queue is not None and at <= asyncio.get_running_loop().time():
                _, _, lane = heapq.heappop(queue.ready)
                lane.ticket = 0
                self._rotate(queue)
                self.circuit.begin()
                queue.budget.begin()
                return lane, queue.budget
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if at == math.inf else at):
                    await self._wake.wait()
        return None

    def _rotate(self, queue: _Queue) -> None:
        """To the end, so that each account has its turn."""
        account = next(name for name, other in self._queues.items() if other is queue)
        self._queues[account] = self._queues.pop(account)

    def earliest(self) -> float:
        """Loop time at which something may be sent; infinite for never unless something changes."""
        return self._first()[0]

    def _first(self) -> tuple[float, _Queue | None]:
        now = asyncio.get_running_loop().time()
        best, found = math.inf, None
        for account, queue in list(self._queues.items()):
            at = queue.turn(now, self.circuit)
            if not queue.ready and not queue.later:
                queue.budget.listeners.discard(self._wake.set)
                del self._queues[account]
            elif at < best or found is None:
                best, found = at, queue
        if found is not None and not found.ready:
            return best, None
        return best, found

    # What became of it

    def end(self, budget: Budget, *, asked: bool) -> None:
        """The delivery of a lane from ``next`` has ended."""
        self.circuit.end(asked=asked)
        budget.end(asked=asked)
        self._wake.set()

    def answered(self, budget: Budget, *, accepted: bool) -> None:
        """The host answered sensibly: it works. ``accepted``: and the account's token is good for something."""
        if self.circuit.answered():
            for queue in self._queues.values():
                queue.hurry()
        if accepted and budget.answered():
            for queue in self._queues.values():
                if queue.budget is budget:
                    queue.hurry()

    def failed(self, lane: Lane, budget: Budget, error: RetryableError) -> None:
        """Close what the failure is about: the account's budget, or the host's circuit."""
        if isinstance(error, UnauthorizedError) or error.status in _LIMITED:
            self.answered(budget, accepted=False)
            budget.close(error)
        else:
            self.circuit.lane_failed(lane.key, error)

    @property
    def problem(self) -> tuple[str, float] | None:
        """What keeps statuses from arriving and since when (``time.time()``), or None."""
        problems = [gate.problem for gate in (self.circuit, *self.budgets()) if gate.problem is not None]
        return min(problems, key=lambda problem: problem[1], default=None)

    def budgets(self) -> list[Budget]:
        """The budgets of the accounts that were used lately."""
        return list(self._accounts.values())

    @property
    def held(self) -> float:
        """Seconds until the host's circuit and all its accounts are open."""
        opens = max(gate.opens for gate in (self.circuit, *self.budgets()))
        return max(0.0, opens - asyncio.get_running_loop().time())

    @property
    def oldest(self) -> float:
        """Seconds that the oldest undelivered status has been waiting; 0 with none."""
        since = next(iter(self.waiting.values()), None)
        return 0.0 if since is None else time.monotonic() - since
