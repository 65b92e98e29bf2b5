"""Messages to people, through Apprise: Slack, Teams, Discord, Matrix, e-mail, PagerDuty and a hundred more, each named by one URL.

``token_file`` holds Apprise URLs, one per line (``#`` begins a comment), for they hold the services' tokens; it is read again when it changes. There
is no ``url``, and there are no options. The package is an extra: ``pip install 'tekton-pipeline-listener[chat]'``; with its services it takes 23 MB
and 0.2 s of start-up. What a service allows in length and form is Apprise's to know: text is Markdown, and cut where it is too long.

Several URLs are several receivers, and a message has arrived when all of them have it. Whoever has it, and whoever refused it for good, is not asked again when
others are; this is remembered by this process, so after a restart in between, or when another replica goes on, a receiver may get a message
twice. Where that matters, give each receiver a channel of its own. An URL's ``retry``, ``wait``, ``optional``, ``tag``, ``cto``, ``rto`` and ``redirect``
do not count. Number of requests: Apprise's; for most services one, for several targets in one URL one each, for some a login before.

Promised: the loop waits for no socket; at most ``threads`` threads; no request begins after its deadline, and one under way is cut off
(``apprise_leash.py``); URLs never get into logs, errors or ``repr``. Not promised: a bound on the length of answers, and ``Retry-After``, which
Apprise keeps to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from notifiers.apprise_leash import Leash
from notifiers.apprise_sending import Note, UnclearError, send
from notifiers.apprise_urls import Receiver, receivers
from notifiers.base import (
    Channel,
    CommitStatus,
    HostSettings,
    NotifierError,
    PermanentError,
    Receipt,
    RetryableError,
    TooLateError,
    clock,
    for_ever,
)
from notifiers.credentials import Token
from notifiers.deadline import Scopes
from notifiers.reports import Message
from notifiers.session import verify_option

MAX_TRIES: Final = 12  # of what fails without saying why; with the listener's pauses some 25 minutes
_MAX_PROGRESS: Final = 1000  # messages that have arrived in part
_OVERALL: Final = 3.0  # times the request timeout, as for other hosts
_WRITE_INTERVAL: Final = 1.0  # seconds; what Slack asks for, and nobody's limit is below


class _Progress:
    """How far one message has come."""

    def __init__(self) -> None:
        self.settled: dict[str, PermanentError | None] = {}  #: by receiver: None has it
        self.tries: dict[str, int] = {}

    def note(self, receiver: Receiver, error: NotifierError | None) -> NotifierError | None:
        """What came of trying ``receiver``; gives the error that counts."""
        if isinstance(error, UnclearError):
            tries = self.tries[receiver.digest] = self.tries.get(receiver.digest, 0) + 1
            if tries >= MAX_TRIES:
                error = PermanentError(f"{error}; given up after {tries} tries", status=error.status)
        if error is None or isinstance(error, PermanentError):
            self.settled[receiver.digest] = error
        return error


class AppriseChannel(Channel):
    """Sends messages to every URL of one file."""

    kind = "apprise"

    def __init__(self, settings: HostSettings) -> None:
        try:
            import apprise  # noqa: F401 - an extra, and 23 MB for those who use it
        except ImportError:
            raise ValueError("kind apprise needs a package: pip install 'tekton-pipeline-listener[chat]'") from None
        if settings.url:
            raise ValueError("kind apprise takes no url: put Apprise URLs into token_file, one per line")
        if settings.options:
            raise ValueError(f"options: {', '.join(sorted(settings.options))}: kind apprise has none")
        verify = verify_option(settings)
        self._ca_file = verify if isinstance(verify, str) else None
        self._token = Token(settings, check=_checked)
        self._name, self._timeout = settings.name, settings.request_timeout
        self.write_interval = (
            _WRITE_INTERVAL if settings.seconds_between_writes is None else settings.seconds_between_writes
        )
        self._receivers: tuple[int, list[Receiver]] = (-1, [])
        self._progress: OrderedDict[str, _Progress] = OrderedDict()
        self._turns = asyncio.Semaphore(settings.threads)
        self._scopes = Scopes(settings.name)
        self._running: dict[Leash, threading.Thread] = {}
        self._changed = asyncio.Event()

    def account(self, repository: str) -> str:
        return f"{self.kind} {self._token.fingerprint()}"

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        if not isinstance(status, Message):
            raise PermanentError(f"{self._name}: apprise takes messages, and no {type(status).__name__}")
        everybody, note = self._current(), Note.of(status)
        key = _key(status)
        progress = self._progress.setdefault(key, _Progress())
        self._progress.move_to_end(key)
        while len(self._progress) > _MAX_PROGRESS:
            self._progress.popitem(last=False)
        left = [receiver for receiver in everybody if receiver.digest not in progress.settled]
        outcomes = await asyncio.gather(*(self._one(receiver, note, until) for receiver in left))
        errors = [progress.note(receiver, outcome) for receiver, outcome in zip(left, outcomes, strict=True)]
        if again := [error for error in errors if isinstance(error, RetryableError)]:
            raise _first_of(again)
        self._progress.pop(key, None)
        if refused := [progress.settled[r.digest] for r in everybody if progress.settled.get(r.digest)]:
            raise _all_of([error for error in refused if error is not None])
        return Receipt()

    async def close(self) -> None:
        end = clock() + self._timeout
        await self._scopes.close(within=self._timeout)
        for leash in self._running:
            leash.cut()
        with contextlib.suppress(
            TimeoutError
        ):  # what is left ends by its sockets' timeouts, and keeps no process from its end
            async with asyncio.timeout(max(end - clock(), 1.0)):
                while self._running:
                    self._changed.clear()
                    await self._changed.wait()

    def _current(self) -> list[Receiver]:
        text, generation = self._token.current()
        if self._receivers[0] != generation:
            self._receivers = generation, receivers(text, "token_file")
        return self._receivers[1]

    async def _one(self, receiver: Receiver, note: Note, until: Callable[[], float]) -> NotifierError | None:
        """Give the error, so that one receiver's does not end the others'."""
        leash = Leash(clock() + self._timeout * _OVERALL, until)
        try:
            async with self._scopes.within(self._timeout * _OVERALL, until):
                await self._turns.acquire()
                return await self._on_a_thread(receiver, note, leash)
        except NotifierError as error:
            error.args = (f"{receiver.name}, {error}",)
            return error
        finally:
            leash.cut()

    def _on_a_thread(self, receiver: Receiver, note: Note, leash: Leash) -> asyncio.Future[NotifierError | None]:
        """On one of its own that nobody has to wait for: a pool's would keep the process from its end."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[NotifierError | None] = loop.create_future()

        def end(error: NotifierError | None) -> None:
            self._running.pop(leash).join()  # it has nothing more to do
            self._turns.release()
            self._changed.set()
            if not ended.done():
                ended.set_result(error)

        def work() -> None:
            error = send(receiver, note, leash, timeout=self._timeout, ca_file=self._ca_file)
            with contextlib.suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(end, error)

        thread = threading.Thread(target=work, name=f"notify-{self._name}", daemon=True)
        self._running[leash] = thread
        try:
            thread.start()
        except RuntimeError:
            del self._running[leash]
            self._turns.release()
            raise RetryableError(f"{self._name}: there is no room for another thread") from None
        return ended


def _checked(text: str, origin: str) -> str:
    receivers(text, origin)
    return text


def _key(message: Message) -> str:
    """One per message, however often it is tried."""
    details = message.details
    parts = (details.uid, message.repository, message.sha, message.context, message.event, message.outcome.value)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def _first_of(errors: list[RetryableError]) -> RetryableError:
    """One error for all: what they say, and the longest wait that one of them asks for."""
    late = next((error for error in errors if isinstance(error, TooLateError)), None)
    if late is not None:
        return TooLateError(str(late))
    waits = [error.retry_after for error in errors if error.retry_after is not None]
    text = "; ".join(map(str, errors))
    return RetryableError(text, retry_after=max(waits, default=None), status=errors[0].status)


def _all_of(errors: list[PermanentError]) -> PermanentError:
    return PermanentError("; ".join(map(str, errors)), status=errors[0].status)
