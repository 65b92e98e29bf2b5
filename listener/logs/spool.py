"""A spool: what a run printed, appended once and read by any number of readers, each at its own pace.

A file without a name, so that it is gone with the process. It holds frames: which source (container), how many bytes, then the bytes
as they were printed, always whole lines (the last line of a container may lack its newline). A slow reader never holds up
the writer; a late one begins at the beginning. What a run may write is bounded; past the bound the spool says so and takes no more.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_FRAME: Final = struct.Struct("<HI")
_READ: Final = 256 * 1024  # bytes read at once
DEFAULT_LIMIT: Final = 2 * 1024**3  # bytes per run


class Frame(NamedTuple):
    """Bytes of one source: whole lines, but for the last of a source."""

    source: int
    data: bytes


class Spool:
    """Append-only, many readers. Everything happens on the event loop's thread; reads and writes hit the page cache."""

    def __init__(self, *, folder: Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0, prefix="run-log-")  # noqa: SIM115 - closed by close()
        self.size = 0
        self.truncated = False
        self.ended = False
        self._limit = limit
        self._grown: set[asyncio.Event] = set()

    def append(self, source: int, data: bytes) -> None:
        """Add ``data`` of ``source``. Past the limit nothing is added and ``truncated`` is set."""
        if not data or self.ended:
            return
        if self.size + len(data) + _FRAME.size > self._limit:
            self.truncated = True
            return
        frame = _FRAME.pack(source, len(data)) + data
        written = 0
        while written < len(frame):
            written += os.pwrite(self._file.fileno(), memoryview(frame)[written:], self.size + written)
        self.size += len(frame)
        self._notify()

    def end(self) -> None:
        """Nothing follows."""
        self.ended = True
        self._notify()

    def close(self) -> None:
        """Free the disk space. Readers get nothing more."""
        self.ended = True
        self._file.close()
        self._notify()

    def read(self, offset: int) -> tuple[list[Frame], int]:
        """Frames from ``offset`` on, as far as they are there, and the offset to go on from. Start at 0."""
        if self._file.closed or offset >= self.size:
            return [], offset
        block = os.pread(self._file.fileno(), min(_READ, self.size - offset), offset)
        frames = list(_frames(block))
        if not frames:  # one frame larger than a block
            _, length = _FRAME.unpack_from(block)
            block = os.pread(self._file.fileno(), _FRAME.size + length, offset)
            frames = list(_frames(block))
        return frames, offset + sum(_FRAME.size + len(frame.data) for frame in frames)

    async def grown(self, offset: int, *, timeout: float) -> bool:
        """Wait until there is something at ``offset`` or the spool has ended; False if ``timeout`` seconds passed first."""
        if offset < self.size or self.ended:
            return True
        event = asyncio.Event()
        self._grown.add(event)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            self._grown.discard(event)
        return True

    def _notify(self) -> None:
        for event in self._grown:
            event.set()


def _frames(block: bytes) -> Iterator[Frame]:
    at = 0
    while at + _FRAME.size <= len(block):
        source, length = _FRAME.unpack_from(block, at)
        end = at + _FRAME.size + length
        if end > len(block):
            return
        yield Frame(source, block[at + _FRAME.size : end])
        at = end


class Lines:
    """Cuts a stream of chunks at its last newline, so that lines of parallel containers never tear one another."""

    def __init__(self, *, limit: int = 16 * 1024 * 1024) -> None:
        self._held: list[bytes] = []
        self._size, self._limit = 0, limit

    def feed(self, chunk: bytes) -> bytes:
        """What is complete by now: whole lines, or b"". A line longer than ``limit`` bytes is passed on as it is."""
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._held.append(chunk)
            self._size += len(chunk)
            return self.rest() if self._size > self._limit else b""
        complete = b"".join((*self._held, chunk[:end])) if self._held else chunk[:end]
        rest = chunk[end:]
        self._held, self._size = ([rest], len(rest)) if rest else ([], 0)
        return complete

    def rest(self) -> bytes:
        """The unfinished line, at the end."""
        held, self._held, self._size = b"".join(self._held), [], 0
        return held
