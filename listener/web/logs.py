"""``GET /logs/{namespace}/{run}``: the run's log as chunked text, live.

Headers go out at once. The response ends cleanly only after a verdict; otherwise the connection is cut without the last chunk, so that
``curl`` exits 18 and no job takes half a log for a whole one. Everything sent is ``text/plain`` with ``nosniff``: a log may hold
anything and must never be taken for a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import HttpVersion11, web

from listener.cluster.names import Key
from listener.web.probes import STOPPING
from listener.web.readers import reader_of
from listener.web.requests import (
    check_parameters,
    choice_of,
    flag_of,
    number_of,
    refuse,
    seconds_of,
)

log = logging.getLogger(__name__)

_PARAMETERS: Final = {
    "wait": "seconds to wait for a run that does not exist yet",
    "follow": "0: only what there is now",
    "tail": "only so many of the last lines",
    "from": "bytes of this stream that you have",
    "task": "only this task",
    "step": "only this step",
    "order": "time or task",
    "timestamps": "1: the time before each line",
    "color": "never, always or auto",
    "exit-status": "1: end properly only if the run succeeded",
}
_MOST_LINES: Final = 10_000_000
_AT_ONCE: Final = 32 * 1024  # bytes that a connection takes without waiting when it holds none: half of its bound
_FAREWELL: Final = 1.0  # seconds for a reader to take the last words
_STOPPED: Final = "the listener is stopping, the run goes on; ask again for its log"
_OVERDUE: Final = "this stream was open for as long as is allowed here; ask again, with ?from= if you like"
_NDJSON: Final = "application/x-ndjson"
_HEADERS: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Accel-Buffering": "no",  # nginx would collect the stream otherwise
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
}


class LogSource(Protocol):
    """What this handler needs of ``listener.logs``."""

    def refusal(self) -> str | None:
        """Why no further reader can be served right now, or None."""

    def stream(
        self,
        key: Key,
        *,
        uid: str | None,
        wait: float | None,
        follow: bool,
        tail: int | None,
        start: int,
        by_task: bool,
        exit_status: bool,
        colour: str,
        task: str | None,
        step: str | None,
        timestamps: bool,
        ndjson: bool,
    ) -> AsyncGenerator[bytes, None]:
        """The log. Ends normally only after its verdict; an exception means that there is none, or not the one asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What readers may take."""

    streams: int = 1000  #: open at once
    per_user: int = 200  #: of one user
    idle: float = 120.0  #: seconds for a reader to take what it was sent
    longest: float = 24 * 3600.0  #: seconds that a stream may be open


@dataclass(frozen=True, slots=True)
class _Open:
    """A stream that is open."""

    request: web.Request
    response: web.StreamResponse
    user: str


class Streams:
    """The streams that are open, and how many there may be."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.closed = asyncio.Event()  #: set whenever a stream ends
        self._open: dict[int, _Open] = {}  # by the request's id: a request is a mapping and has no hash

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[_Open]:
        return iter(list(self._open.values()))

    def of(self, user: str) -> int:
        """How many this user reads."""
        return sum(1 for one in self._open.values() if one.user == user)

    @contextlib.contextmanager
    def open(self, request: web.Request, response: web.StreamResponse, user: str) -> Iterator[None]:
        self._open[id(request)] = _Open(request, response, user)
        try:
            yield
        finally:
            del self._open[id(request)]
            self.closed.set()


STREAMS: Final = web.AppKey("streams", Streams)
LOGS: Final = web.AppKey("logs", LogSource)


async def logs(request: web.Request) -> web.StreamResponse:
    """The handler of both path forms."""
    reader = await reader_of(request)
    key = reader.key
    wishes = _wishes(request) | {"uid": reader.uid}
    _refuse_too_many(request, reader.name)
    response = web.StreamResponse(headers=_HEADERS | ({"Content-Type": _NDJSON} if wishes["ndjson"] else {}))
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    else:  # nginx asks its upstreams with HTTP/1.0 unless told otherwise: the end of the connection is the end of the body
        response.force_close()
    await response.prepare(request)
    with request.app[STREAMS].open(request, response, reader.name):
        await _send(request, response, key, wishes)
    return response


async def _send(request: web.Request, response: web.StreamResponse, key: Key, wishes: dict[str, Any]) -> None:
    limits = request.app[STREAMS].limits
    stream = request.app[LOGS].stream(key, **wishes)
    try:
        async with asyncio.timeout(limits.longest) as whole, contextlib.aclosing(stream):
            async for piece in stream:
                if _fits(request, piece):  # nearly always, and then a time limit would be a good part of the cost
                    await response.write(piece)
                else:
                    async with asyncio.timeout(limits.idle):
                        await response.write(piece)
    except ConnectionError:
        log.debug("%s: the reader went away", key)
    except TimeoutError:
        if whole.expired():
            await _tell_and_cut(request, response, _OVERDUE)
        else:
            log.info("%s: a reader that took nothing for %g s was cut", key, limits.idle)
            _cut(request)
    except Exception as error:  # whatever it was, the reader must not take it for the end
        log.warning("%s: log stream cut: %s", key, error)
        _cut_when_sent(request, within=limits.idle)
    else:
        await response.write_eof()


def _fits(request: web.Request, piece: bytes) -> bool:
    """Whether ``piece`` can be written without waiting for the reader: there is nothing that it has not taken."""
    transport = request.transport
    return transport is not None and len(piece) <= _AT_ONCE and not transport.get_write_buffer_size()


def _refuse_too_many(request: web.Request, user: str) -> None:
    """429 or 503 where one more stream would be too many."""
    streams = request.app[STREAMS]
    limits = streams.limits
    if request.app[STOPPING].is_set():
        refuse(web.HTTPServiceUnavailable, "the listener is stopping; ask again", headers={"Retry-After": "2"})
    if len(streams) >= limits.streams:
        why: str | None = f"{limits.streams} logs are being read already (logs.streams); try again later"
    else:
        why = request.app[LOGS].refusal()
    if why:
        refuse(web.HTTPServiceUnavailable, why, headers={"Retry-After": "10"})
    if streams.of(user) >= limits.per_user:
        why = f"you are reading {limits.per_user} logs already (logs.streams_per_user); end one, or try again later"
        refuse(web.HTTPTooManyRequests, why, headers={"Retry-After": "10"})


def _wishes(request: web.Request) -> dict[str, Any]:
    """The parameters as ``LogSource.stream`` takes them; 400 for what cannot be."""
    check_parameters(request, _PARAMETERS)
    tail = number_of(request, "tail", most=_MOST_LINES)
    by_task = choice_of(request, "order", ("time", "task")) == "task"
    start = number_of(request, "from", most=2**63)
    if tail is not None and (by_task or start):
        refuse(web.HTTPBadRequest, "tail: goes neither with order=task nor with from")
    return {
        "wait": seconds_of(request, "wait"),
        "follow": flag_of(request, "follow", default=True),
        "tail": tail,
        "start": start or 0,
        "by_task": by_task,
        "exit_status": flag_of(request, "exit-status", default=False),
        "colour": choice_of(request, "color", ("auto", "always", "never")),
        "task": request.query.get("task"),
        "step": request.query.get("step"),
        "timestamps": flag_of(request, "timestamps", default=False),
        "ndjson": _NDJSON in request.headers.get("Accept", ""),
    }


async def cut_all(app: web.Application) -> None:
    """The service stops: tell every reader and cut the streams, before aiohttp would close their connections properly."""
    await asyncio.gather(*(_tell_and_cut(one.request, one.response, _STOPPED) for one in app[STREAMS]))


async def _tell_and_cut(request: web.Request, response: web.StreamResponse, why: str) -> None:
    ndjson = response.headers["Content-Type"] == _NDJSON
    words = json.dumps({"interrupted": why}) if ndjson else f"# interrupted: {why}"
    # What is written is whole lines, each piece at once, so this one cannot come into the middle of another.
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_FAREWELL):
            await response.write(f"{words}\n".encode())
    transport = request.transport
    if transport is not None and transport.get_write_buffer_size():
        _cut(request)
    else:
        _cut_when_sent(request, within=_FAREWELL)


def _cut_when_sent(request: web.Request, *, within: float) -> None:
    """Cut, but let what was written arrive first; a reader that does not take it ``within`` so many seconds is cut all the same."""
    transport = request.transport
    if transport is None or request.version < HttpVersion11:
        _cut(request)
        return
    transport.close()  # as good as cut, for the last chunk is missing
    asyncio.get_running_loop().call_later(within, transport.abort)


def _cut(request: web.Request) -> None:
    """Close the connection in the middle of the body, so that nobody takes this for its end.

    With HTTP/1.1 the final chunk is missing, which is enough (curl: exit 18). With HTTP/1.0 the end of the connection is the
    end of the body, so it must not be a proper one: the connection is reset, and a proxy in between cuts its own answer.
    """
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if request.version < HttpVersion11 and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
