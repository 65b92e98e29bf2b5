"""Requests on the event loop that end when their time is over, whatever the other side does: the counterpart of ``blocking.py``'s watchdog.

Promised: none begins after its deadline, one that is under way is cut off then, also when the deadline moved meanwhile; and ``close`` lets those under way
end, but not for longer than it was told. Not promised: that a request that was cut off did not arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from notifiers.base import RetryableError, TooLateError, clock

_AFTER_CUT: Final = 1.0  # seconds for a request that was cut off to notice


class Scopes:
    """The requests of one notifier that are under way."""

    def __init__(self, name: str) -> None:
        """``name``: of the notifier, for messages."""
        self._name = name
        self._open: set[asyncio.Timeout] = set()
        self._ended = asyncio.Event()
        self._closed = False

    @contextlib.asynccontextmanager
    async def within(self, seconds: float, until: Callable[[], float]) -> AsyncIterator[None]:
        """What is awaited inside ends after ``seconds``, or at ``until()``.

        Raises ``TooLateError`` at ``until()``, and ``RetryableError`` after ``seconds`` or when everything is being closed.
        """
        if self._closed:
            raise RetryableError(f"{self._name}: shutting down")
        if clock() >= until():
            raise TooLateError(f"{self._name}: too late to begin")
        loop, limit = asyncio.get_running_loop(), clock() + seconds
        scope = asyncio.timeout(None)
        timers: list[asyncio.Handle] = []

        def look() -> None:
            left = min(limit, until()) - clock()
            if left > 0:
                timers[:] = [loop.call_later(left, look)]
            else:
                scope.reschedule(loop.time())

        try:
            async with scope:
                self._open.add(scope)
                look()
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            if until() <= clock():
                raise TooLateError(f"{self._name}: no answer before the deadline") from None
            raise RetryableError(f"{self._name}: {self._cut_off_after(seconds)}") from None
        finally:
            for timer in timers:
                timer.cancel()
            self._open.discard(scope)
            self._ended.set()

    def _cut_off_after(self, seconds: float) -> str:
        return "shutting down" if self._closed else f"no complete answer within {seconds:g} s"

    async def close(self, *, within: float) -> None:
        """Begin nothing more; wait for what is under way, at most ``within`` seconds, then cut it off. May be called twice."""
        self._closed = True
        if not await self._all_ended(within):
            for scope in self._open:
                scope.reschedule(asyncio.get_running_loop().time())
            await self._all_ended(_AFTER_CUT)

    async def _all_ended(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._open:
                    self._ended.clear()
                    await self._ended.wait()
        return not self._open
