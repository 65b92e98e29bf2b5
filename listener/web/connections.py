"""Connections: how many there may be, how long one may take for a request's head, and how long it may do nothing.

aiohttp waits for an hour for a head, so whoever opens connections and says nothing, or a byte a minute, would have them all (slowloris).
Here a new connection must have sent a whole head within ``HEAD`` seconds, and one that has had its answer must have taken it and sent
the next within ``IDLE``. When there are as many as there may be, the one that has waited longest for its request makes room; when
all are at work, a new one is told 503. A request that is being answered is not touched: log streams have limits of their own.

Errors that are answered before there is a request (a malformed head) carry the headers that every answer carries.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

HEAD: Final = 15.0  #: seconds for a new connection's first request to have come
IDLE: Final = (
    90.0  #: seconds for an answer to be taken and the next request to have come: longer than proxies keep connections
)
OTHERS: Final = 2000  #: connections beyond those of log streams
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}  #: of every answer that has none of its own
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    b'Content-Length: 42\r\nConnection: close\r\n\r\n{"message": "too many connections; retry"}'
)
_LEAST: Final = 64
_CONTINUE: Final = "100-continue"


async def secure(_: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that it lacks; for ``on_response_prepare``."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def most_connections(streams: int) -> int:
    """How many there may be for so many log streams: half of the files that the process may open are for other things."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + OTHERS
    return wanted if soft == resource.RLIM_INFINITY else max(_LEAST, min(wanted, soft // 2))


class Connections:
    """Makes a protocol for each new connection: what ``loop.create_server`` is given."""

    def __init__(
        self,
        server: web.Server,
        *,
        most: Callable[[], int],
        access_log: type[AbstractAccessLogger],
        logger: logging.Logger,
        head: float = HEAD,
        idle: float = IDLE,
    ) -> None:
        """``most``: connections at once, asked each time; ``head``, ``idle``: seconds."""
        self.refused = 0
        self._server, self._most, self._head, self._idle = server, most, head, idle
        self._options: dict[str, Any] = {"access_log_class": access_log, "logger": logger, "keepalive_timeout": idle}
        self._all: set[_Connection] = set()
        self._waiting: dict[_Connection, asyncio.TimerHandle] = {}  # for a request, the one that waits longest first
        self._answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = server.request_handler
        server.request_handler = self._handle

    def __len__(self) -> int:
        return len(self._all)

    def __call__(self) -> asyncio.Protocol:
        return _Connection(self, self._server, loop=asyncio.get_running_loop(), **self._options)

    def opened(self, connection: _Connection) -> bool:
        """Whether there is room for ``connection``."""
        if len(self._all) >= self._most():
            longest = next(iter(self._waiting), None)
            self.refused += 1
            if longest is None:
                return False
            self._end(longest)
        self._all.add(connection)
        self._wait(connection, self._head)
        return True

    def closed(self, connection: _Connection) -> None:
        """``connection`` is gone."""
        self._all.discard(connection)
        self._stop_waiting(connection)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if not isinstance(connection, _Connection):
            return await self._answer(request)
        self._stop_waiting(connection)
        try:
            if request.headers.get("Expect", _CONTINUE).lower() != _CONTINUE:
                # aiohttp would repeat it in its answer, and stumble over what is no text.
                return web.Response(status=417, text="only 100-continue can be expected here\n", headers=HEADERS)
            return await self._answer(request)
        finally:
            if connection in self._all:
                self._wait(connection, self._idle)

    def _wait(self, connection: _Connection, seconds: float) -> None:
        self._stop_waiting(connection)
        self._waiting[connection] = asyncio.get_running_loop().call_later(seconds, self._end, connection)

    def _stop_waiting(self, connection: _Connection) -> None:
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _end(self, connection: _Connection) -> None:
        self.closed(connection)
        if connection.transport is not None:
            connection.transport.abort()


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_keeper", "_refused")

    def __init__(self, keeper: Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._keeper = keeper
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._keeper.opened(self):
            super().connection_made(transport)
            return
        self._refused = True
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server's transports are
        transport.write(_FULL)
        transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._keeper.closed(self)
        if not self._refused:
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, message)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
