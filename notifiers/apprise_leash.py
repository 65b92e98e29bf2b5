"""What a deadline can do to a thread that somebody else's library blocks: no request begins after it, and one under way is cut off.

Before each request apprise asks its service's ``throttle``, which is where the leash holds it back. For a request that is under way there is no such place;
but Python tells an audit hook of every connection before it is made. So the hook, which is there once for the process and looks at
nothing else, keeps a second handle on each socket that a leashed thread connects, and a thread whose time is over finds its connections
shut. Not promised: cutting short a name lookup, or connections that a service makes on threads of its own (XMPP does).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from notifiers.base import NotifierError, RetryableError, TooLateError, clock


class LeashError(OSError):
    """No request may begin any more. To the libraries a failed connection like others: they close the socket then."""


class Leash:
    """Of one sending. Thread-safe."""

    def __init__(self, limit: float, until: Callable[[], float]) -> None:
        """``limit``: a time on ``clock()``; ``until`` gives another one, which may move."""
        self._limit, self._until = limit, until
        self._cut = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.held = False  #: whether it kept a request from being made

    def left(self) -> float:
        """Seconds until nothing may begin."""
        return 0.0 if self._cut.is_set() else min(self._limit, self._until()) - clock()

    @property
    def late(self) -> bool:
        """The deadline that may move is over."""
        return self._until() <= clock()

    def wait(self, seconds: float) -> None:
        """Before a request: wait, if that leaves time for it afterwards. Raises ``LeashError`` when it may not begin."""
        if 0 < seconds < self.left():
            self._cut.wait(seconds)
            seconds = 0.0
        if self.left() <= max(seconds, 0.0):
            self.held = True
            raise LeashError

    def cut(self) -> None:
        """Shut what is open, and let nothing begin any more."""
        with self._lock:
            self._cut.set()
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def error(self, name: str) -> NotifierError:
        """Why nothing more was sent to ``name``."""
        if self.late:
            return TooLateError(f"{name}: too late for another request")
        return RetryableError(f"{name}: it takes too long")

    @contextlib.contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """Until the end of the block, what this thread connects is on the leash."""
        _watch_connections()
        token = _leash.set(self)
        try:
            yield
        finally:
            _leash.reset(token)
            with self._lock:
                for sock in self._sockets:
                    sock.close()
                self._sockets.clear()

    def hold(self, sock: socket.socket) -> None:
        """``sock`` is about to be connected. Raises ``LeashError`` when it may not be."""
        with self._lock:
            if self._cut.is_set():
                self.held = True
                raise LeashError
            # TLS takes the descriptor from this object, and its number may soon be another connection's.
            with contextlib.suppress(OSError):
                self._sockets.append(sock.dup())


_leash: contextvars.ContextVar[Leash | None] = contextvars.ContextVar("notifiers_apprise_leash", default=None)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and (leash := _leash.get()) is not None and isinstance(arguments[0], socket.socket):
        leash.hold(arguments[0])


@functools.cache
def _watch_connections() -> None:
    sys.addaudithook(_hook)  # for good: there is no way to take one back
