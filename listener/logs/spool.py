"""A spool: what a run printed, appended once and read by any number of readers, each at its own pace.

A file without a name, so that it is gone with the process. It holds frames: which source, how many bytes, then the bytes: whole
lines as the cluster sent them, each with its time before it (the last line of a container may lack its newline). Sources are
described by frames, too, and so is the end; therefore the file says everything that a reader needs, and compressed it is the
archive. A slow reader never holds up the writer; a late one begins at the beginning. What a run may write is bounded; past the bound
the spool says so and takes no more lines. A disk that refuses to take them counts as such a bound.

Promised: what is in the file is in order, whatever was refused: no line under another's name, no gap between a container's lines.
Where the disk refuses even the end, readers get it all the same, and ``whole`` is False.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from listener.cluster.summary import RunSummary

log = logging.getLogger(__name__)

_FRAME: Final = struct.Struct("<HI")
_READ: Final = 64 * 1024  # bytes read at once, and bytes of a frame unless one line is longer
_META: Final = 0xFFFF  # the source of frames that are about sources and the end
_MOST_SOURCES: Final = 0xFFF0
_MOST_NOTES: Final = (
    1024 * 1024
)  # bytes of lines of our own, and at most so many are left for them and for ends in a budget
_INDEX: Final = 1024 * 1024  # bytes read at once to learn what is in a file
DEFAULT_LIMIT: Final = 2 * 1024**3  # bytes per run


class Source(msgspec.Struct, frozen=True):
    """Whose lines they are. Lines of our own (``note``) tell what prints nothing: a skipped task, an exit code, a lost log."""

    task: str = ""  #: as it stands in prefixes; tells a matrix's tasks apart
    step: str = ""  #: or ``sidecar-NAME``, or an init container's name
    attempt: int = 1
    note: bool = False
    pipeline_task: str = ""  #: the task's name in the pipeline, the same for all of a matrix

    @property
    def prefix(self) -> bytes:
        """As ``tkn`` writes it; ``# `` before what is ours."""
        return b"# " if self.note else f"[{self.task} : {self.step}] ".encode()


class End(msgspec.Struct, frozen=True):
    """How the run ended."""

    verdict: str  #: Succeeded, Failed, Cancelled, Deleted
    sentence: str
    message: str = ""  #: the condition's message, reason and status, for ``/status``
    reason: str = ""
    status: str = ""
    summary: RunSummary | None = None  #: what its page shows


class Frame(NamedTuple):
    """Whole lines of one source."""

    source: int
    data: bytes


class _Meta(msgspec.Struct, omit_defaults=True):
    source: Source | None = None  # the next number's
    over: str | None = None  # a task of which nothing more will come
    end: End | None = None


_META_DECODER: Final = msgspec.json.Decoder(_Meta)


class Budget:
    """Bytes that all spools together may take."""

    def __init__(self, limit: int, *, make_room: Callable[[int], None] = lambda _: None) -> None:
        """``make_room`` is asked to close spools when so many bytes are wanted and there are fewer."""
        self.limit, self.used = limit, 0
        self._make_room = make_room
        self._reserve = min(_MOST_NOTES, limit // 16)

    def take(self, size: int, *, lines: bool = False) -> bool:
        """Take ``size`` bytes; False when there are not so many. A few are not for ``lines`` that runs print: they are for what must be
        said when there is no more room for those."""
        limit = self.limit - self._reserve if lines else self.limit
        if self.used + size > limit:
            self._make_room(self.used + size - limit)
            if self.used + size > limit:
                return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        """``size`` bytes that were taken are free again."""
        self.used -= size


class Spool:
    """Append-only, many readers. Everything happens on the event loop's thread; reads and writes hit the page cache."""

    def __init__(self, *, folder: Path | None = None, limit: int = DEFAULT_LIMIT, budget: Budget | None = None) -> None:
        """``limit``: bytes of this one; ``budget``: of all."""
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0, prefix="run-log-")  # noqa: SIM115 - closed by close()
        self.size = 0
        self.truncated = False
        self.ended = False  #: nothing follows
        self.sources: list[Source] = []
        self.over: set[str] = set()  #: tasks of which nothing more will come
        self.end_of_run: End | None = None  #: with it the spool is whole
        self._limit, self._budget = limit, budget or Budget(limit + 4 * _MOST_NOTES)
        self._notes = 0  # bytes
        self._owed: deque[_Meta] = deque()  # what the file does not say yet, because it could not be written
        self._complained = False
        self._grown: set[asyncio.Future[bool]] = set()

    # Writing

    def source(self, source: Source) -> int:
        """A number to append under."""
        if len(self.sources) >= _MOST_SOURCES:
            raise ValueError("too many containers for one run")
        self.sources.append(source)
        self._describe(_Meta(source=source))
        return len(self.sources) - 1

    def append(self, source: int, data: bytes) -> None:
        """Add ``data`` of ``source``: whole lines. Past the limit, and once the disk refuses, nothing is added and ``truncated`` is set."""
        start = 0
        while start < len(data) and not self.ended and not self.truncated:
            end = start + _READ if len(data) - start > _READ else len(data)
            if end < len(data):  # readers hold a frame in memory, so it is cut between lines where it can be
                end = data.rfind(b"\n", start, end) + 1 or data.find(b"\n", end) + 1 or len(data)
            fits = self.size + end - start + _FRAME.size <= self._limit
            if not fits or not self._write(source, data[start:end], lines=True):
                self.truncated = True
                return
            start = end

    def note(self, source: int, line: bytes) -> None:
        """Add a line of our own: there is room for these when there is none for the run's."""
        size = _FRAME.size + len(line)
        if not self.ended and self._notes + size <= _MOST_NOTES and self._write(source, line):
            self._notes += size

    def task_over(self, task: str) -> None:
        """Nothing more will come of ``task``."""
        if task not in self.over and not self.ended:
            self.over.add(task)
            self._describe(_Meta(over=task))

    def finish(self, end: End) -> None:
        """The run has ended so, and everything is here."""
        if not self.ended:
            self.end_of_run = end
            self._describe(_Meta(end=end))
            self.stop()

    def stop(self) -> None:
        """Nothing follows; without ``finish`` before, something is missing: no reader may be told that this was the end."""
        self.ended = True
        self._notify()

    def close(self) -> None:
        """Free the disk space. Readers get nothing more."""
        self.ended = True
        if not self._file.closed:
            self._budget.give_back(self.size)
        self._file.close()
        self._notify()

    @property
    def closed(self) -> bool:
        return self._file.closed

    @property
    def whole(self) -> bool:
        """The file says everything, and how it ended: it may be archived."""
        return self.end_of_run is not None and not self._owed

    def _describe(self, meta: _Meta) -> None:
        """Write ``meta``, or owe it: sources are numbered by their order in the file."""
        if not self.ended:
            self._owed.append(meta)
            self._pay()

    def _pay(self) -> bool:
        while self._owed:
            data = msgspec.json.encode(self._owed[0])
            if not self._put(_FRAME.pack(_META, len(data)) + data):
                return False
            self._owed.popleft()
        return True

    def _write(self, source: int, data: bytes, *, lines: bool = False) -> bool:
        return self._pay() and self._put(_FRAME.pack(source, len(data)) + data, lines=lines)

    def _put(self, data: bytes, *, lines: bool = False) -> bool:
        """Write ``data`` at the end, all of it or nothing."""
        if self._file.closed or not self._budget.take(len(data), lines=lines):
            return False
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file.fileno(), memoryview(data)[written:], self.size + written)
        except OSError as error:  # what was written of it lies behind the end, where nobody reads
            self._budget.give_back(len(data))
            if not self._complained:
                log.error("a run's log cannot be written to disk, the rest of it will be missing: %s", error)
                self._complained = True
            return False
        self.size += len(data)
        self._notify()
        return True

    # From the archive

    def load(self, block: bytes) -> None:
        """Put a piece of another spool's ``raw`` in; when all are in, ``index`` makes it readable. Raises ``ValueError`` when there
        is no room for it."""
        if self.size + len(block) > self._limit + 2 * _MOST_NOTES or not self._put(block, lines=True):
            raise ValueError("longer than this service has room for")

    def index(self) -> None:
        """Learn sources and end from the file. Raises ``ValueError`` for what is no spool. Looks at every frame, so it takes its time
        for a large one; callable from any thread as long as nobody else uses the spool."""
        offset = 0
        while offset < self.size:
            block = os.pread(self._file.fileno(), min(_INDEX, self.size - offset), offset)
            at = 0
            while at + _FRAME.size <= len(block):
                source, length = _FRAME.unpack_from(block, at)
                if self.end_of_run is not None:
                    raise ValueError("not a run's log: something follows its end")
                if source == _META:
                    start = offset + at + _FRAME.size
                    self._learn(os.pread(self._file.fileno(), min(length, _MOST_NOTES), start))
                elif source >= len(self.sources):
                    raise ValueError("not a run's log: bytes of an unknown source")
                at += _FRAME.size + length
            if at == 0:
                break  # not even the head of a frame
            offset += at
        if offset != self.size or self.end_of_run is None:
            raise ValueError("not a run's log, or not a whole one")
        self.ended = True

    def _learn(self, data: bytes) -> None:
        try:
            meta = _META_DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a run's log: {error}") from None
        if meta.source is not None:
            self.sources.append(meta.source)
        if meta.over is not None:
            self.over.add(meta.over)
        if meta.end is not None:
            self.end_of_run = meta.end

    # Reading

    def raw(self, offset: int, size: int) -> bytes:
        """Bytes of the file, for the archive. Callable from any thread."""
        return os.pread(self._file.fileno(), size, offset)

    def read(self, offset: int) -> tuple[list[Frame], int]:
        """Frames from ``offset`` on, as far as they are there, and the offset to go on from. Start at 0."""
        if self._file.closed or offset >= self.size:
            return [], offset
        block = os.pread(self._file.fileno(), min(_READ, self.size - offset), offset)
        frames, used = _frames(block)
        if not used:  # one frame larger than a block
            _, length = _FRAME.unpack_from(block)
            block = os.pread(self._file.fileno(), _FRAME.size + length, offset)
            frames, used = _frames(block)
        return frames, offset + used

    async def grown(self, offset: int, *, timeout: float) -> bool:
        """Wait until there is something at ``offset`` or the spool has ended; False if ``timeout`` seconds passed first."""
        if offset < self.size or self.ended:
            return True
        loop = asyncio.get_running_loop()
        grown: asyncio.Future[bool] = (
            loop.create_future()
        )  # a future and a timer: hundreds of readers wait like this, many times a second
        timer = loop.call_later(timeout, _settle, grown, False)
        self._grown.add(grown)
        try:
            return await grown
        finally:
            timer.cancel()
            self._grown.discard(grown)

    def _notify(self) -> None:
        for grown in self._grown:
            _settle(grown, True)


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


def _frames(block: bytes) -> tuple[list[Frame], int]:
    """The whole frames in ``block`` that are lines, and how many bytes they and the others take."""
    found = list(_walk(block))
    return [frame for frame, _ in found if frame.source != _META], found[-1][1] if found else 0


def _walk(block: bytes) -> Iterator[tuple[Frame, int]]:
    at = 0
    while at + _FRAME.size <= len(block):
        source, length = _FRAME.unpack_from(block, at)
        end = at + _FRAME.size + length
        if end > len(block):
            return
        yield Frame(source, block[at + _FRAME.size : end]), end
        at = end
