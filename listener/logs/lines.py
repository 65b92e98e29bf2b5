"""Lines as bytes: cut at newlines, told from their times, prefixed; whole chunks at once, never decoded, no loop over lines.

A line here is the time at which it was printed (RFC 3339 with nanoseconds, as kubelet writes it: ``Z`` or an offset), one space, and
what was printed. Every line has its time, so a payload that begins with something like a time is never taken for one.
"""

from __future__ import annotations

import re
from typing import Final

_LIMIT: Final = 16 * 1024 * 1024
_TIME: Final = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(?:Z|[+-][0-9]{2}:[0-9]{2})"
_FIRST_TIME: Final = re.compile(_TIME + rb"(?= )")
_NEXT_TIMES: Final = re.compile(rb"\n(" + _TIME + rb") ")
# kubelet's fixed width in UTC first, for it is nearly always that and takes half the time to match.
_LINE_START: Final = re.compile(rb"\n(?:.{10}T.{18}Z |" + _TIME + rb" |)")
_ESCAPES: Final = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    rb"|\x1b[ -/]*[0-~]?"  # character sets, single shifts, and what is left of a broken one
    rb"|\xc2[\x80-\x9f]"  # one character (C1) that stands for an escape and another one; as a byte alone it is none in UTF-8
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Lines:
    """Cuts a stream of chunks at its last newline, so that lines of parallel containers never tear one another."""

    def __init__(self, *, limit: int = _LIMIT) -> None:
        """``limit``: bytes of one line that are held."""
        self._held: list[bytes] = []
        self._size, self._limit, self._goes_on = 0, limit, False
        self.given = 0  #: bytes of the stream given out so far
        self.in_pieces = False  #: the last line given out was a piece of a longer one

    def feed(self, chunk: bytes) -> bytes:
        """What is complete by now: whole lines, or b"".

        A line longer than the limit comes as several, each with the line's time, as if it had been printed so.
        """
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._held.append(chunk)
            self._size += len(chunk)
            return self._piece() if self._size > self._limit else b""
        complete = b"".join((*self._held, chunk[:end])) if self._held else chunk[:end]
        self.in_pieces = self._goes_on and complete.find(b"\n") == len(complete) - 1
        self._goes_on = False
        rest = chunk[end:]
        self.given += self._size + end
        self._held, self._size = ([rest], len(rest)) if rest else ([], 0)
        return complete

    def _piece(self) -> bytes:
        piece = b"".join(self._held)
        time = time_of(piece)
        self.given += self._size
        self._held, self._size = [time + b" "] if time else [], 0
        self._goes_on = self.in_pieces = True
        return piece + b"\n"

    def rest(self) -> bytes:
        """The unfinished line, at the end."""
        held = b"".join(self._held) if self._size else b""
        self._held, self._size = [], 0
        return held


def time_of(lines: bytes, start: int = 0) -> bytes:
    """The time before the line that begins at ``start``; b"" where there is none."""
    match = _FIRST_TIME.match(lines, start)
    return match[0] if match else b""


def latest_time(lines: bytes) -> bytes:
    """The latest time before any of ``lines``, all of one time zone; b"" where there is none. Takes memory for each line."""
    return max(_NEXT_TIMES.findall(b"\n" + lines), default=b"")


def split_time(line: bytes) -> tuple[bytes, bytes]:
    """A line's time (b"" for none) and its text."""
    time = time_of(line)
    return (time, line[len(time) + 1 :]) if time else (b"", line)


def stamped(lines: bytes, time: bytes) -> bytes:
    """``lines``, which have no times, each with ``time``."""
    start, body = time + b" ", lines.removesuffix(b"\n")
    return start + body.replace(b"\n", b"\n" + start) + lines[len(body) :]


def prefixed(lines: bytes, prefix: bytes, *, times: bool = False) -> bytes:
    """``prefix`` before every line and a newline at the end; the lines' times are taken off unless ``times``."""
    if not lines:
        return b""
    body = b"\n" + lines.removesuffix(b"\n")
    if times:
        return body.replace(b"\n", b"\n" + prefix)[1:] + b"\n"
    return _LINE_START.sub(b"\n" + prefix.replace(b"\\", b"\\\\"), body)[1:] + b"\n"


def words(text: str) -> str:
    """``text`` on one line for lines of our own: what a run says of itself must not speak to a terminal."""
    return " ".join(_CONTROL.sub(" ", text).split())


def without_escapes(lines: bytes) -> bytes:
    """``lines`` without ANSI escape sequences; one that does not end within its line is taken off as far as it can be told."""
    return _ESCAPES.sub(b"", lines)
