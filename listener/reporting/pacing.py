"""Whether one more request may begin: budgets per account, circuits per host. Nothing here sleeps; it says when.

A gate is open, or closed until a time. What closed it was a failure, so the first request after that time goes alone, and only its
success lets the others follow: a host that is down is asked once per pause, however many statuses wait. A budget is the gate of one
account (a token, a GitHub App's installation): it knows the host's rate limit, and the pause that the host wants between writes. A
circuit is the gate of one host: it closes when several lanes fail in a row, so that one repository's trouble is not everybody's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter
from tenacity.wait import wait_base

from notifiers.base import RateLimit, RetryableError, UnauthorizedError

LONGEST_HOLD: Final = 3600.0  # seconds a host may ask us to wait
_SEVERAL: Final = 3  # lanes that fail in a row until their host is taken to be down
_SAME_PERIOD: Final = 5.0  # seconds that two answers may differ in when a limit begins anew
_RESERVE: Final = 0.05  # of a rate limit, kept for final states


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to wait after failures: tenacity's rules, all in seconds."""

    lane: wait_base = field(
        default_factory=lambda: wait_exponential_jitter(initial=1, max=300, jitter=1)
    )  #: one status
    host: wait_base = field(default_factory=lambda: wait_exponential_jitter(initial=1, max=60, jitter=1))  #: a gate
    unauthorized: float = 30.0  #: at least, until a refused token is tried again unchanged

    def after(self, attempt: int, error: RetryableError, rule: wait_base) -> float:
        """Seconds until the next attempt after ``attempt`` failures; the waiting itself is the queue's."""
        policy = Retrying(retry=retry_if_exception_type(RetryableError), wait=rule)
        state = RetryCallState(policy, None, (), {})
        state.attempt_number = attempt
        state.set_exception((type(error), error, error.__traceback__))
        return policy.wait(state) if policy.retry(state) else LONGEST_HOLD


class Gate:
    """Open, or closed until a time on the loop's clock."""

    def __init__(self, pace: Pace, *, interval: float = 0.0) -> None:
        """``interval``: seconds between the end of one request and the beginning of the next; 0 for any number at once."""
        self.pace, self.interval = pace, interval
        self.opens = 0.0  #: loop time
        self.cautious = False  #: the next request goes alone
        self.closings = 0  #: in a row
        self.in_flight = 0
        self.problem: tuple[str, float] | None = None  #: the first failure in a row, and since when (time.time())
        self.refused = False  #: the last failure was a refused token
        self.listeners: set[Callable[[], None]] = set()  #: told when a request has ended

    def earliest(self, *, final: bool) -> float:
        """Loop time at which a request may begin; infinite while it depends on one in flight."""
        if self.in_flight and (self.cautious or self.interval):
            return math.inf
        return self.opens

    def begin(self) -> None:
        self.in_flight += 1

    def end(self, *, asked: bool) -> None:
        """``asked``: a request was made, and not just thought of."""
        self.in_flight -= 1
        if asked and self.interval:
            self.opens = max(self.opens, asyncio.get_running_loop().time() + self.interval)
        for tell in self.listeners:
            tell()

    def close(self, error: RetryableError) -> None:
        """The host does not want to be asked: wait as long as it says; where it does not say, or says so again and again, as
        long as the failures in a row ask for."""
        now, said = asyncio.get_running_loop().time(), error.retry_after or 0.0
        self.problem = self.problem or (str(error), time.time())
        self.refused = isinstance(error, UnauthorizedError)
        pause = said
        if not self.cautious or now >= self.opens:  # else it was on its way already when another one closed the gate
            self.closings += 1
            attempt = self.closings - 1 if said else self.closings
            pause = max(said, self.pace.after(attempt, error, self.pace.host) if attempt else 0.0)
        if self.refused:
            pause = max(pause, self.pace.unauthorized)
        self.opens = max(self.opens, now + min(pause, LONGEST_HOLD))
        self.cautious = True

    def answered(self) -> bool:
        """The host answered as it should. True if that opened the gate for those that wait."""
        opened, self.cautious, self.closings, self.problem = self.cautious, False, 0, None
        self.refused = False
        return opened


class Budget(Gate):
    """What one account may ask of its host."""

    rate: RateLimit | None = None  #: as of the last answer that told
    _resets: float = 0.0  # loop time

    def earliest(self, *, final: bool) -> float:
        at = super().earliest(final=final)
        if not final and self.rate is not None and self.rate.remaining <= self.rate.limit * _RESERVE:
            at = max(at, self._resets)  # the rest is for those that must not wait
        return at

    def learned(self, rate: RateLimit) -> None:
        """The host said what is left. Nothing left: wait, rather than be refused."""
        resets = asyncio.get_running_loop().time() + min(rate.resets_in, LONGEST_HOLD)
        if self.rate is not None and abs(resets - self._resets) < _SAME_PERIOD and self.rate.remaining < rate.remaining:
            rate = self.rate  # answers of requests that were made together come in any order
        self.rate, self._resets = rate, resets
        if not rate.remaining:
            self.opens = max(self.opens, self._resets)

    @property
    def left(self) -> int | None:
        """Requests left, None where the host does not say or its period is over."""
        if self.rate is None or self._resets <= asyncio.get_running_loop().time():
            return None
        return self.rate.remaining


class Circuit(Gate):
    """Whether a host answers at all."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(pace)
        self._failing: set[object] = set()

    def lane_failed(self, lane: object, error: RetryableError) -> None:
        """``lane`` got no answer that makes sense: no connection, a time-out, 5xx."""
        self.problem = self.problem or (str(error), time.time())
        # Without a status there was no answer: that is the host's trouble, or the network's, and never one repository's.
        self._failing.add(lane if error.status is not None else len(self._failing))
        if self.cautious or len(self._failing) >= _SEVERAL or error.retry_after is not None:
            self.close(error)

    def answered(self) -> bool:
        self._failing.clear()
        return super().answered()
