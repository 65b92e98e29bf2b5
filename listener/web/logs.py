"""``GET /logs/{namespace}/{run}``: the run's log as chunked text, live.

Headers go out at once. The response ends cleanly only after a verdict; otherwise the connection is cut without the last chunk, so that
``curl`` exits 18 and no job takes half a log for a whole one. Everything sent is ``text/plain`` with ``nosniff``: a log may hold
anything and must never be taken for a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from aiohttp import HttpVersion11, web

from listener.cluster.names import Key
from listener.web.probes import STOPPING
from listener.web.requests import check_parameters, key_of, refuse, seconds_of

log = logging.getLogger(__name__)

_STUCK: Final = 120.0  # seconds for a reader to take what it was sent
_DEFAULT_WAIT: Final = 60.0  # seconds for a run that does not exist yet
_PARAMETERS: Final = {
    "wait": "seconds to wait for a run that does not exist yet",
    "color": "never, always or auto",
    "task": "only this task",
    "step": "only this step",
}
_PLANNED: Final = frozenset({"follow", "from", "order", "tail", "timestamps", "exit-status"})
_FAREWELL: Final = 1.0  # seconds for a reader to take the last words
_STOPPED: Final = b"# interrupted: the listener is stopping, the run goes on; ask again for its log\n"
_HEADERS: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would collect the stream otherwise
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
}


class LogSource(Protocol):
    """What this handler needs of ``listener.logs``."""

    def refusal(self) -> str | None:
        """Why no further reader can be served right now, or None."""

    def stream(
        self, key: Key, *, wait: float, colour: str, task: str | None, step: str | None
    ) -> AsyncGenerator[bytes, None]:
        """The log. Ends normally only after its verdict; an exception means that there is none."""


# Requests whose stream is open, by id: a request is a mapping and has no hash.
READING: Final[web.AppKey[dict[int, tuple[web.Request, web.StreamResponse]]]] = web.AppKey("reading")
LOGS: Final = web.AppKey("logs", LogSource)


async def logs(request: web.Request) -> web.StreamResponse:
    """The handler of both path forms."""
    key = key_of(request)
    check_parameters(request, _PARAMETERS, planned=_PLANNED)
    wait = seconds_of(request, "wait", default=_DEFAULT_WAIT)
    colour = request.query.get("color", "auto")
    if colour not in ("auto", "always", "never"):
        refuse(web.HTTPBadRequest, "color: give never, always or auto")
    source = request.app[LOGS]
    if request.app[STOPPING].is_set():
        refuse(web.HTTPServiceUnavailable, "the listener is stopping; ask again", headers={"Retry-After": "2"})
    if why := source.refusal():
        refuse(web.HTTPServiceUnavailable, why, headers={"Retry-After": "10"})
    response = web.StreamResponse(headers=_HEADERS)
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    else:  # nginx asks its upstreams with HTTP/1.0 unless told otherwise: the end of the connection is the end of the body
        response.force_close()
    await response.prepare(request)
    request.app[READING][id(request)] = (request, response)
    stream = source.stream(
        key, wait=wait, colour=colour, task=request.query.get("task"), step=request.query.get("step")
    )
    try:
        async with contextlib.aclosing(stream):
            async for piece in stream:
                async with asyncio.timeout(_STUCK):
                    await response.write(piece)
    except ConnectionError:
        log.debug("%s: the reader went away", key)
    except Exception as error:  # whatever it was, the reader must not take it for the end
        log.warning("%s: log stream cut without a verdict: %s", key, error)
        _cut(request)
    else:
        await response.write_eof()
    finally:
        request.app[READING].pop(id(request), None)
    return response


async def cut_all(app: web.Application) -> None:
    """The service stops: tell every reader and cut the streams, before aiohttp would close their connections properly."""
    await asyncio.gather(*(_tell_and_cut(*reading) for reading in list(app[READING].values())))


async def _tell_and_cut(request: web.Request, response: web.StreamResponse) -> None:
    # What is written is whole lines, each piece at once, so this one cannot come into the middle of another.
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_FAREWELL):
            await response.write(_STOPPED)
    transport = request.transport
    if transport is not None and not transport.get_write_buffer_size() and request.version >= HttpVersion11:
        transport.close()  # as good as cut, for the last chunk is missing; what was sent still arrives
    else:
        _cut(request)


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
