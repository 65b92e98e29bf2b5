"""One container's log, from its first byte to its last, whatever the connection does.

The log endpoint is followed with plain reads of raw chunks. What it says is not trusted: an end of file counts only when the
container has terminated, for a follow that breaks looks like a clean end; 400 means "not yet", 204 and an empty 200 mean "not
scheduled", and HTTP 200 with kubelet's "unable to retrieve container logs" is no log at all. After a break the log is read again
and what was already passed on is skipped byte by byte, so that nothing is lost or doubled.

Not promised: lines that kubelet rotated away (10 MiB × 5 by default) before they were read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from enum import Enum
from typing import Final, Protocol

from listener.cluster.client import ApiError, Cluster, ClusterError, object_path
from listener.cluster.names import Key, is_namespace

log = logging.getLogger(__name__)

_SILENCE: Final = 300.0  # seconds without a byte until the connection is taken for dead and made anew
_LAG: Final = 3.0  # seconds that the pod's status may come later than the end of its log
_PAUSE: Final = (0.25, 5.0)  # seconds between attempts, first and longest
_GONE: Final = b"unable to retrieve container logs for "


class Phase(Enum):
    """Where a container stands, as its pod's status says."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"
    GONE = "gone"  #: the pod was deleted, or will never start this container


class Watched(Protocol):
    """What ``follow`` is told about the container while it follows it."""

    def phase(self) -> Phase: ...

    async def changed(self, *, timeout: float) -> None:
        """Return when the phase may have changed, or after ``timeout`` seconds."""


class UnavailableError(Exception):
    """The container's log exists no more; the message says why."""


async def follow(cluster: Cluster, pod: Key, container: str, watched: Watched) -> AsyncGenerator[bytes, None]:
    """The container's log as raw chunks, until its true end; close it (``aclosing``) to let go of the connection. Raises ``UnavailableError`` where there is nothing to be had."""
    if not is_namespace(container):
        raise UnavailableError(f"not a container's name: {container!r}")
    path = f"{object_path('pods', pod)}/log"
    passed_on = 0
    pause, longest = _PAUSE
    while True:
        while watched.phase() is Phase.WAITING:
            await watched.changed(timeout=30.0)
        ended_before = watched.phase() in (Phase.TERMINATED, Phase.GONE)
        before = passed_on
        try:
            async with contextlib.aclosing(_read(cluster, path, container, skip=passed_on)) as chunks:
                async for chunk in chunks:
                    passed_on += len(chunk)
                    yield chunk
            clean = True
        except ApiError as error:
            if error.status == 404:
                if passed_on:
                    return  # the pod was deleted after we had read it
                raise UnavailableError("its pod is gone") from None
            clean = False
            log.debug("%s %s: %s", pod, container, error)
        except ClusterError as error:
            clean = False
            log.debug("%s %s: the log broke off, reading on: %s", pod, container, error)
        if clean and (ended_before or await _has_ended(watched)):
            return
        if passed_on > before:
            pause = _PAUSE[0]
        await watched.changed(timeout=pause)
        pause = min(pause * 2, longest)


async def _has_ended(watched: Watched) -> bool:
    """Whether the container's end explains the end of its log; its pod's status may come a little later."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LAG
    while watched.phase() not in (Phase.TERMINATED, Phase.GONE):
        remaining = deadline - loop.time()
        if remaining <= 0:
            return False
        await watched.changed(timeout=remaining)
    return True


async def _read(cluster: Cluster, path: str, container: str, *, skip: int) -> AsyncGenerator[bytes, None]:
    params = {"container": container, "follow": "true"}
    async with cluster.stream(path, params=params, pool="logs", read_timeout=_SILENCE) as response:
        first = True
        async for chunk in response.content.iter_any():
            if first and chunk.startswith(_GONE):
                raise UnavailableError("its log was removed from the node")
            first = False
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            yield chunk[skip:] if skip else chunk
            skip = 0
