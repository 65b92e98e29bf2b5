"""How a reader wants the log, and what a frame then looks like. Pure functions over bytes.

As text each line carries its prefix and the payload is untouched: whole chunks at once, no decoding, no loop over lines. As NDJSON each line
is an object, and there is no way around looking at each. Offsets count the bytes of the text that the same view gives, without lines that only
pass the time (``# ... ``), so that whoever was cut off can say from where to go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from listener.logs.lines import prefixed, split_time, without_escapes, words
from listener.logs.spool import End, Frame, Source

PASSING: Final = "# ... "  #: begins each line that passes the time and is not part of the log
# tkn's palette: one colour per task, in turn.
_PALETTE: Final = (b"\x1b[91m", b"\x1b[92m", b"\x1b[93m", b"\x1b[94m", b"\x1b[95m", b"\x1b[96m")
_ENCODER: Final = msgspec.json.Encoder()


class _Line(msgspec.Struct, gc=False):
    time: str | None
    task: str | None
    step: str | None
    attempt: int
    text: str
    offset: int


class _Note(msgspec.Struct, gc=False):
    """A line of our own."""

    time: str | None
    task: str | None
    step: str | None
    note: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a reader wants it."""

    colour: str = "auto"  #: auto: bytes as printed; always: coloured prefixes too; never: escapes stripped
    task: str | None = None  #: only this task's lines; of a matrix all, or one
    step: str | None = None
    timestamps: bool = False  #: the time at which each line was printed, before it
    ndjson: bool = False

    def shows(self, source: Source) -> bool:
        """Whether lines of ``source`` are wanted. Lines of our own about the whole run belong to no task."""
        if self.task is not None and self.task not in (source.task, source.pipeline_task):
            return False
        return self.step is None or source.step in (self.step, f"sidecar-{self.step}")


def text(frame: Frame, source: Source, view: View) -> bytes:
    """The frame's lines as text, each with its prefix and a newline."""
    data, prefix = frame.data, source.prefix
    if view.colour == "never":
        data = without_escapes(data)
    elif view.colour == "always" and not source.note:
        prefix = _PALETTE[sum(source.task.encode()) % len(_PALETTE)] + prefix.rstrip() + b"\x1b[0m "
    return prefixed(data, prefix, times=view.timestamps)


def ndjson(frame: Frame, source: Source, view: View, offset: int) -> tuple[bytes, int]:
    """The frame's lines as JSON objects, one per line, and the offset behind the last of them.

    ``text`` has no escapes removed unless asked for; bytes that are no UTF-8 become U+FFFD. ``offset`` is where the text view goes on
    behind this line.
    """
    data = without_escapes(frame.data) if view.colour == "never" else frame.data
    prefix = len(text(Frame(0, b"\n"), source, View(colour=view.colour))) - 1
    task, step, attempt = source.task or None, source.step or None, source.attempt
    objects: list[_Line | _Note] = []
    for line in data.removesuffix(b"\n").split(b"\n"):
        time, payload = split_time(line)
        offset += prefix + len(payload) + 1 + (len(time) + 1 if view.timestamps and time else 0)
        when, said = time.decode() or None, payload.decode("utf-8", "replace")
        if source.note:
            objects.append(_Note(when, task, step, said, offset))
        else:
            objects.append(_Line(when, task, step, attempt, said, offset))
    return _ENCODER.encode_lines(objects), offset


def passing(what: str, view: View) -> bytes:
    """A line that passes the time: what is being waited for. Not part of the log; no offset counts it."""
    said = words(what)
    return _ENCODER.encode({"waiting": said}) + b"\n" if view.ndjson else f"{PASSING}{said}\n".encode()


def verdict(end: End, view: View) -> bytes:
    """The last line."""
    if view.ndjson:
        return _ENCODER.encode({"verdict": end.verdict, "sentence": end.sentence, "reason": end.reason or None}) + b"\n"
    return f"# verdict: {end.verdict} ({words(end.sentence)})\n".encode()
