"""How far a log was passed on, and where that is in what the endpoint sends after a break.

The endpoint can be asked for a log from a whole second on only, and sends the lines in the order in which they were written, whatever
their times. So it is asked from some seconds before the last line on, and everything up to and including that line is dropped: the
line is known by its time and text, and by how many of the same there were before it.

Promised, for whatever the log holds: no line is lost or doubled as long as (a) times run back by less than ``SLACK`` seconds, and not at
all within a line that was printed in pieces, which one writer makes, and (b) rotation does not fall between lines that are the same to
the nanosecond. What kubelet has rotated away before it was read is lost; the rest follows without doubling. Memory: 64 KiB, and while a
place is looked for 1 MiB and what a chunk's times take.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from listener.logs.lines import latest_time, time_of

SLACK: Final = 2  # seconds that a line's time may be before that of an earlier one: stdout and stderr are timed apart
_TAIL: Final = 64 * 1024  # bytes that are remembered
_MARK: Final = 1024  # bytes by which a line is known
_HELD: Final = 1024 * 1024  # bytes that may be new although their times are old


class Position:
    """The place after the last line that was passed on."""

    def __init__(self) -> None:
        self._tail = self._mark = self._time = self._latest = b""
        self._copies = 0  # lines like the last one, where there may be more than the tail has

    @property
    def time(self) -> bytes:
        """The last line's; b"" before the first line."""
        return self._time

    def passed(self, lines: bytes) -> None:
        """``lines``, whole and as they were sent, were passed on."""
        start = lines.rfind(b"\n", 0, -1) + 1
        if time := time_of(lines, start):
            mark = lines[start : start + _MARK]
            self._copies = self._count(lines, mark, time)
            self._time, self._mark = time, mark
            self._latest = max(self._latest, time)
        self._tail = lines[-_TAIL:] if len(lines) >= _TAIL else (self._tail + lines)[-_TAIL:]

    def _count(self, lines: bytes, mark: bytes, time: bytes) -> int:
        """How many lines like the last one there were, where a tail full of lines of one time cannot tell; else 0."""
        begin = max(0, len(lines) - _TAIL)
        if time_of(lines, lines.find(b"\n", begin) + 1 if begin else 0) != time:
            return 0
        before = 0
        if time == self._time:
            known = self._copies if mark == self._mark else 0
            before = known or len(_starts(mark).findall(b"\n" + self._tail))
        return before + len(_starts(mark).findall(b"\n" + lines))

    def since(self) -> str:
        """From when on to ask, for ``sinceTime``; "" for everything."""
        try:
            second = datetime.fromisoformat(re.sub(rb"\.[0-9]+", b"", self._time).decode("ascii")).astimezone(UTC)
            return (second - timedelta(seconds=SLACK)).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (ValueError, OverflowError):  # no line yet, or a year that no calendar has
            return ""

    def find(self) -> Finding:
        """A search for this place in what is sent anew."""
        if not self._mark:
            return Finding(mark=b"", copies=0, latest=b"")
        whole = self._tail if len(self._tail) < _TAIL else self._tail[self._tail.find(b"\n") + 1 :]
        copies = len(_starts(self._mark).findall(b"\n" + whole)) or 1  # a line longer than the tail is not in it
        copies = max(copies, self._copies)
        return Finding(mark=self._mark, copies=copies, latest=max(self._latest, latest_time(whole)))


class Finding:
    """Drops what had been passed on before, of one answer."""

    def __init__(self, *, mark: bytes, copies: int, latest: bytes) -> None:
        """``mark``: the beginning of the last line passed on, ``copies``: how many such there were; ``latest``: the latest time."""
        self._pattern, self._missing, self._latest = _starts(mark), copies, latest
        self._held: list[bytes] = []
        self._size = 0

    @property
    def found(self) -> bool:
        return not self._missing

    def new(self, lines: bytes) -> bytes:
        """What of ``lines``, which are whole, is new. May come later: what could be either is held until that is known."""
        if not self._missing:
            return lines
        matches = list(islice(self._pattern.finditer(b"\n" + lines), self._missing))
        if matches:
            self._missing -= len(matches)
            self._hold_nothing()
            lines = lines[lines.index(b"\n", matches[-1].end() - 1) + 1 :]
            if not self._missing:
                return lines
        self._held.append(lines)
        self._size += len(lines)
        if latest_time(lines) > self._latest:
            return self.end()  # the line would have come by now: it was rotated away, with all before it
        if self._size > _HELD:
            self._hold_nothing()  # so much that is older than what was passed on can only be a repetition
        return b""

    def end(self) -> bytes:
        """Nothing is dropped from here on; what was held is new."""
        held, self._missing = b"".join(self._held), 0
        self._hold_nothing()
        return held

    def _hold_nothing(self) -> None:
        self._held, self._size = [], 0


def _starts(mark: bytes) -> re.Pattern[bytes]:
    """Finds the lines that begin with ``mark``, or are ``mark`` if that ends a line, in lines with a newline before the first."""
    line = mark.removesuffix(b"\n")
    return re.compile(rb"\n" + re.escape(line) + (rb"(?=\n)" if line != mark else b""))
