"""Running a blocking client library beside an event loop, one HTTP request at a time.

python-gitlab and PyGithub block, and their objects are not thread-safe: so each notifier has a few threads of its own and as many clients,
each used by one thread at a time and made anew when the token changes or is another's. What is promised: the loop never waits for a socket;
a delivery ends within a bound even if the host drips its answer, and its thread with it; none begins after its deadline; a cancelled
delivery gives its thread back as soon as its request has ended. Not promised: that a cancelled or timed out request did not reach the host.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Generic, TypeVar

from notifiers.base import (
    HostSettings,
    NotifierError,
    RetryableError,
    TooLateError,
    UnauthorizedError,
    clock,
    for_ever,
)
from notifiers.credentials import Credentials
from notifiers.session import OneRequestSession

_OVERALL: Final = 3.0  # times the request timeout: connecting, sending and an answer that drips, all in all
_AFTER_ABORT: Final = 1.0  # seconds for a request that was cut off to notice

C = TypeVar("C")
T = TypeVar("T")


class _RevokedError(Exception):
    """401 to a token that can be replaced at once."""

    def __init__(self, error: UnauthorizedError) -> None:
        super().__init__()
        self.error = error


class _Slot(Generic[C]):
    """A client and its session. Whoever holds the slot may use them; nobody else does."""

    def __init__(self, session: OneRequestSession) -> None:
        self.session = session
        self.client: C | None = None
        self.generation = -1  # of the token that the client was made with


class _Watchdog:
    """Cuts a request off when its time is over: the thread must come back even when nobody waits for it any more."""

    def __init__(
        self, session: OneRequestSession, work: asyncio.Future[Any], *, limit: float, until: Callable[[], float]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.barked: asyncio.Future[None] = loop.create_future()
        self._loop, self._session, self._limit, self._until = loop, session, limit, until
        self._timer = loop.call_soon(self._look)
        work.add_done_callback(lambda _: self._timer.cancel())

    def _look(self) -> None:
        left = min(self._limit, self._until()) - clock()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self._session.abort()
        self.barked.set_result(None)


class Workers(Generic[C]):
    """As many requests at once as ``settings.threads`` says, each with a client of its own."""

    def __init__(
        self, settings: HostSettings, *, url: str, token: Credentials, make: Callable[[str, OneRequestSession], C]
    ) -> None:
        """``token`` is asked before each call; ``make`` builds a client from a token and a session to ``url``, and makes no request."""
        self._settings, self._token, self._make = settings, token, make
        self._limit = settings.request_timeout * _OVERALL
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix=f"notify-{settings.name}")
        self._slots: list[_Slot[C]] = [
            _Slot(OneRequestSession(url, timeout=settings.request_timeout)) for _ in range(settings.threads)
        ]
        self._idle: asyncio.LifoQueue[_Slot[C]] = asyncio.LifoQueue()  # last in, first out: its connection is warm
        for slot in self._slots:
            self._idle.put_nowait(slot)
        self._in_flight: dict[asyncio.Future[Any], _Slot[C]] = {}
        self._closed = False

    async def call(
        self,
        function: Callable[[C, OneRequestSession], T],
        *,
        repository: str = "",
        permissions: tuple[str, ...] = (),
        until: Callable[[], float] = for_ever,
    ) -> T:
        """``function`` on a thread, with a client and its session; the client has the token for ``repository`` and ``permissions``.

        Raises what it raises, or ``RetryableError`` when there was no turn, or no end, within three request timeouts, and
        ``TooLateError`` when there was none before ``until()``, see ``Notifier.deliver``.
        """
        slot = await self._take()
        slot.session.rearm()
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()  # so that lines which are logged over there say what they are about
        work = loop.run_in_executor(
            self._pool, context.run, self._run, slot, function, (repository, permissions), until
        )
        self._in_flight[work] = slot
        watchdog = _Watchdog(slot.session, work, limit=clock() + self._limit, until=until)
        work.add_done_callback(self._give_back)
        both: list[asyncio.Future[Any]] = [work, watchdog.barked]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():  # cut off: the status of an answer that dripped may have come all the same
            await asyncio.wait([work], timeout=_AFTER_ABORT)
        if not watchdog.barked.done() or (work.done() and work.exception() is None):
            return work.result()
        if until() <= clock():
            raise TooLateError(f"{self._settings.name}: no answer before the deadline")
        raise RetryableError(f"{self._settings.name}: no complete answer within {self._limit:g} s")

    async def _take(self) -> _Slot[C]:
        try:
            async with asyncio.timeout(self._limit):
                slot = await self._idle.get()
        except TimeoutError:
            busy = f"{self._settings.name}: all {len(self._slots)} connections were busy for {self._limit:g} s"
            raise RetryableError(busy) from None
        if self._closed:
            self._idle.put_nowait(slot)
            raise RetryableError(f"{self._settings.name}: shutting down")
        return slot

    def _give_back(self, work: asyncio.Future[Any]) -> None:
        if not work.cancelled():
            work.exception()  # seen: nobody may be waiting any more, and asyncio would complain
        self._idle.put_nowait(self._in_flight.pop(work))

    def _run(
        self,
        slot: _Slot[C],
        function: Callable[[C, OneRequestSession], T],
        purpose: tuple[str, tuple[str, ...]],
        until: Callable[[], float],
    ) -> T:
        """On a thread. Where a new token can be had at once, a revoked one is no reason to wait: once more with the new one."""
        try:
            return self._attempt(slot, function, purpose, until)
        except _RevokedError:
            pass  # not from in here, or the first error would be told with the second one
        try:
            return self._attempt(slot, function, purpose, until)
        except _RevokedError as error:
            refused = error.error
        raise refused

    def _attempt(
        self,
        slot: _Slot[C],
        function: Callable[[C, OneRequestSession], T],
        purpose: tuple[str, tuple[str, ...]],
        until: Callable[[], float],
    ) -> T:
        """Raises ``_RevokedError`` instead of ``UnauthorizedError`` where another token can be had at once."""
        token, generation = "", -1
        try:
            slot.session.hide("")  # what is fetched now may be the token itself
            repository, permissions = purpose
            token, generation = self._token.of(repository, slot.session, permissions)
            slot.session.hide(token)
            if slot.client is None or slot.generation != generation:
                slot.client, slot.generation = self._make(token, slot.session), generation
            # The last look before the request, for the process may have been stopped since it was decided on.
            if clock() >= until():
                raise TooLateError(f"{self._settings.name}: too late to begin")
            return function(slot.client, slot.session)
        except NotifierError as error:
            if token:
                # A host, or a proxy on the way, may repeat in its answer what it was sent.
                error.args = tuple(str(part).replace(token, "[token]") for part in error.args)
                if isinstance(error, UnauthorizedError) and self._token.refused(generation):
                    raise _RevokedError(error) from None
            raise
        except Exception as error:  # a defect: the message must not be trusted, the type may help to find it
            raise RetryableError(f"{self._settings.name}: {type(error).__name__} in the client library") from None

    async def close(self) -> None:
        """Wait for requests in flight, at most one request timeout, then cut them off. May be called twice."""
        self._closed = True
        try:
            if self._in_flight:
                await asyncio.wait(list(self._in_flight), timeout=self._settings.request_timeout)
            for slot in self._in_flight.values():
                slot.session.abort()
            if self._in_flight:
                await asyncio.wait(list(self._in_flight), timeout=_AFTER_ABORT)
        finally:
            self._pool.shutdown(wait=not self._in_flight, cancel_futures=True)
            for slot in self._slots:
                if slot not in self._in_flight.values():
                    slot.session.close()
