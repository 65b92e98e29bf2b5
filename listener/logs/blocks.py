"""A recording as blocks that a reader is shown one after another: from where to read, what is shown, how far one has come.

Several readers of a live log come to the same place with the same wishes at the same time, so the last few blocks are kept for them. A block
has about 64 KiB (more only where one line is longer), which is what a slow reader may hold in memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec

from listener.logs.recording import Recording
from listener.logs.view import View, ndjson, text

_RENDERED: Final = 4  # blocks kept per recording


class _Offset(msgspec.Struct):
    offset: int


_OFFSET: Final = msgspec.json.Decoder(_Offset)


class Place(NamedTuple):
    """How far a reader has come."""

    spool: int = 0  #: bytes of the spool
    text: int = 0  #: bytes of the text that its view gives


START: Final = Place()


@dataclass(frozen=True, slots=True)
class Block:
    """What a reader is shown next."""

    data: bytes
    began: Place
    ended: Place
    view: View

    def after(self, offset: int) -> bytes:
        """What of it lies behind ``offset`` bytes of the text."""
        if self.began.text >= offset:
            return self.data
        if self.ended.text <= offset:
            return b""
        if not self.view.ndjson:
            return self.data[offset - self.began.text :]
        lines = self.data.splitlines(keepends=True)
        return b"".join(line for line in lines if _OFFSET.decode(line).offset > offset)

    def without_lines(self, number: int) -> Block:
        """The block without its first ``number`` lines; it begins behind them."""
        at, text = 0, self.began.text
        for _ in range(number):
            start, at = at, self.data.index(b"\n", at) + 1
            text = _OFFSET.decode(self.data[start:at]).offset if self.view.ndjson else text + at - start
        return replace(self, data=self.data[at:], began=Place(self.began.spool, text))


def block(recording: Recording, view: View, place: Place, *, task: str | None = None) -> Block:
    """What comes at ``place``; nothing (``ended`` is ``place``) where there is nothing yet. ``task``: only its lines, by the name in prefixes."""
    wanted = (view, task, place if view.ndjson else place.spool)
    if (kept := recording.rendered.get(wanted)) is not None:
        data, spool, size = kept
    else:
        data, spool, size = _render(recording, view, place, task)
        if spool > place.spool:
            recording.rendered[wanted] = (data, spool, size)
            if len(recording.rendered) > _RENDERED:
                recording.rendered.popitem(last=False)
    return Block(data, place, Place(spool, place.text + size), view)


def _render(recording: Recording, view: View, place: Place, task: str | None) -> tuple[bytes, int, int]:
    """The bytes, where the spool goes on, and how many bytes of text they are."""
    spool = recording.spool
    frames, ended = spool.read(place.spool)
    parts: list[bytes] = []
    offset = place.text
    for frame in frames:
        source = spool.sources[frame.source]
        if not view.shows(source) or task not in (None, source.task):
            continue
        if view.ndjson:
            part, offset = ndjson(frame, source, view, offset)
        else:
            part = text(frame, source, view)
            offset += len(part)
        parts.append(part)
    return b"".join(parts), ended, offset - place.text


async def tail_of(recording: Recording, view: View, lines: int) -> tuple[Place, int]:
    """Where the last ``lines`` lines begin that are there now: a place, and how many lines to leave out of the block there."""
    last: deque[tuple[Place, int]] = deque()
    place, counted = START, 0
    while (found := block(recording, view, place)).ended != place:
        number = found.data.count(b"\n")
        last.append((place, number))
        counted += number
        while len(last) > 1 and counted - last[0][1] >= lines:
            counted -= last.popleft()[1]
        place = found.ended
        await asyncio.sleep(0)  # others want to go on, too
    if not last:
        return START, 0
    return last[0][0], max(0, counted - lines)
