"""One container's log, from its first byte to its last, whatever the connection does.

The log endpoint is followed with plain reads of raw chunks, with ``timestamps=true``: each line comes with the time at which the
container printed it. What the endpoint says is not trusted. A follow that breaks looks like a clean end, so the log is whole only when an
answer has ended that was asked for after the container was known to have terminated; 400 means "not yet", 204 and an empty 200 mean
"not scheduled", HTTP 200 with kubelet's "unable to retrieve container logs" is no log at all, and text without a time after lines
with times is the node's complaint, not the container's output.

Promised: whole lines, each with a time; after a break nothing is lost or doubled, as ``position`` says. A server that does not give times
(some virtual nodes) is taken as it is: its lines get the time at which they were read, and after a break it is read from the
start, where as many bytes are skipped as had been passed on.

Not promised: lines that kubelet rotated away (10 MiB × 5 by default) before they were read. Of a line longer than 16 MiB that a
break tears, the beginning may come twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from enum import Enum
from typing import Final, Protocol

from listener.cluster.client import ApiError, Cluster, ClusterError, object_path
from listener.cluster.names import Key, is_namespace
from listener.logs.lines import Lines, stamped, time_of
from listener.logs.position import Position

log = logging.getLogger(__name__)

_SILENCE: Final = 300.0  # seconds without a byte until the connection is taken for dead and made anew
_PAUSE: Final = (
    0.5,
    5.0,
)  # seconds between attempts, first and longest; the pod's status comes about a second after its log's end
_TRIES: Final = 3  # answers that must agree on the end although what came before is not in them
_GONE: Final = b"unable to retrieve container logs for "
_COMPLAINTS: Final = (
    b"failed to try resolving symlinks in path",
    b"failed to open log file",
    b"failed to create fsnotify",
)


class Phase(Enum):
    """Where a container stands, as its pod's status says."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"
    GONE = "gone"  #: the pod will never start this container, or its end will not be told
    DELETED = "deleted"  #: the pod is not there any more; one that has its name now is another


class Watched(Protocol):
    """What ``follow`` is told about the container while it follows it."""

    def phase(self) -> Phase: ...

    async def changed(self, *, timeout: float) -> None:
        """Return when the phase may have changed, or after ``timeout`` seconds."""


class UnavailableError(Exception):
    """The container's log exists no more; the message says why."""


class _Reader:
    """Takes one container's answers, one after the other, and gives what is new in them."""

    def __init__(self) -> None:
        self.began = False  #: something was passed on
        self._position = Position()
        self._timed = True  # the server gives times, as far as is known
        self._given = 0  # bytes passed on of a log without times
        self.begin()

    def begin(self) -> None:
        """Another answer begins."""
        self._lines, self._finding, self._skip = Lines(), self._position.find(), self._given
        self._first = True
        self.removed = False  #: the answer is no log, though its status is 200
        self.complaint = ""  #: what the node has to say of itself

    def params(self) -> dict[str, str]:
        """What to ask for next."""
        since = self._position.since()
        return {"timestamps": "true"} | ({"sinceTime": since} if since else {})

    def feed(self, chunk: bytes) -> bytes:
        """New whole lines; b"" for none yet."""
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        given = self._lines.given
        lines = self._lines.feed(chunk)
        if not lines or self._is_no_log(lines):
            return b""
        if not self.began:
            self.began, self._timed = True, bool(time_of(lines))
        if not self._timed:
            self._given += self._lines.given - given
            return stamped(lines, _now())
        return self._pass(self._finding.new(lines))

    def _pass(self, lines: bytes) -> bytes:
        # sinceTime may cut off the beginning of a line that was long in the making, and its time with it.
        torn = lines and not time_of(lines)
        start = (self._position.time or _now()) + b" " if torn else b""
        if lines and not self._lines.in_pieces:
            self._position.passed(lines)
        return start + lines

    def _is_no_log(self, data: bytes) -> bool:
        self.removed = self.removed or (self._first and data.startswith(_GONE))
        self._first = False
        return self.removed

    def finish(self) -> bytes:
        """The answer has ended: its unfinished line, if that is the container's; it may lack its time."""
        rest = self._lines.rest()
        if not rest or self._is_no_log(rest) or time_of(rest):
            return b"" if self.removed else rest
        if (self.began and self._timed) or rest.startswith(_COMPLAINTS):
            self.complaint = "the node says: " + rest[:200].decode("utf-8", "replace")
            return b""
        return rest

    def timed(self, rest: bytes) -> bytes:
        """What ``finish`` gave, with a time."""
        return stamped(rest, _now()) if rest and not (self._timed and time_of(rest)) else rest

    @property
    def found(self) -> bool:
        """The answer had in it what was passed on before, and the node had no trouble with it."""
        return self._finding.found and not self._skip and not self.complaint

    def give_up(self) -> bytes:
        """What may be new although what was passed on before was not in the answer."""
        return self._pass(self._finding.end())


class _End:
    """Whether the log's end has been seen: whoever asks again gets what had been passed on and nothing more."""

    def __init__(self) -> None:
        self.whole = False  #: the last answer ended as if that were the log's end
        self.torn = b""  #: the unfinished line after what was passed on
        self._same = 0  # answers without anything new, in a row
        self._more = 0  # answers after the end that had something new: one, or the server repeats itself
        self._agree = False

    def answered(self, rest: bytes, *, found: bool, progress: bool, clean: bool, over: bool) -> None:
        """An answer has ended, ``clean`` or broken, with ``rest`` as its unfinished line.

        ``found``: what had been passed on was in it; ``progress``: more, too; ``over``: it was asked for when the container had ended.
        """
        self._more += progress and clean and over
        self._same = 0 if progress else self._same + (clean and over)
        self._agree = found and rest == self.torn
        self.whole = clean and found
        if progress or (not self.torn.startswith(rest) and (found or self._same >= _TRIES)):
            self.torn = rest  # it comes again, whole, with the next answer, if there is one

    @property
    def seen(self) -> bool:
        return self._more > _TRIES or (self._same > 0 and (self._agree or self._same >= _TRIES))


async def follow(cluster: Cluster, pod: Key, container: str, watched: Watched) -> AsyncGenerator[bytes, None]:
    """The container's log in whole lines with their times, until its true end, where a line may lack its newline.

    Close it (``aclosing``) to let go of the connection. Raises ``UnavailableError`` where there is nothing to be had, or when what had
    come before a break cannot be gone on with.
    """
    if not is_namespace(container):
        raise UnavailableError(f"not a container's name: {container!r}")
    path, params = f"{object_path('pods', pod)}/log", {"container": container, "follow": "true"}
    reader, end, pause = _Reader(), _End(), _PAUSE[0]
    while True:
        while watched.phase() is Phase.WAITING:
            await watched.changed(timeout=30.0)
        phase = watched.phase()
        over = phase is not Phase.RUNNING
        progress = clean = refused = False
        lost = ""
        reader.begin()
        try:
            if phase is Phase.DELETED:  # not asked for, for another pod may have the name by now
                raise ApiError(404, "NotFound", "the pod is deleted")
            async with contextlib.aclosing(_read(cluster, path, params | reader.params())) as chunks:
                async for chunk in chunks:
                    if lines := reader.feed(chunk):
                        progress = True
                        yield lines
            clean = True
        except ApiError as error:
            refused = True
            if error.status == 404:
                lost = "its pod is gone"
            elif watched.phase() is Phase.GONE or (over and error.status == 403):
                lost = str(error)
            log.debug("%s %s: %s", pod, container, error)
        except ClusterError as error:
            log.debug("%s %s: the log broke off, reading on: %s", pod, container, error)
        rest = reader.finish()
        if reader.removed:
            lost = "its log was removed from the node"
        if lost:
            if end.torn:
                yield reader.timed(end.torn)
            if end.whole:
                return  # it was deleted after we had read it
            raise UnavailableError(f"{lost}, and the end of its log was not read" if reader.began else lost)
        if not refused:
            end.answered(rest, found=reader.found, progress=progress, clean=clean, over=over)
        if clean and end.seen:
            if reader.complaint and not reader.began:
                raise UnavailableError(reader.complaint)
            held = reader.give_up()
            if last := held + reader.timed(rest if held else end.torn):
                yield last
            return
        if progress:
            pause = _PAUSE[0]
        if not (progress and clean and over):
            await _wait(watched, phase, pause)
            pause = min(pause * 2, _PAUSE[1])


async def _wait(watched: Watched, phase: Phase, seconds: float) -> None:
    """Until the phase is another one than ``phase``, at most so many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while watched.phase() is phase and (remaining := deadline - loop.time()) > 0:
        await watched.changed(timeout=remaining)


async def _read(cluster: Cluster, path: str, params: dict[str, str]) -> AsyncGenerator[bytes, None]:
    """One answer, in chunks cut anywhere."""
    async with cluster.stream(path, params=params, pool="logs", read_timeout=_SILENCE) as response:
        async for chunk in response.content.iter_any():
            yield chunk


def _now() -> bytes:
    """The time as kubelet writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{nanoseconds:09d}Z", time.gmtime(seconds)).encode()
