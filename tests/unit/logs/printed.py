"""What containers print, as kubelet sends it: lines with their times; strategies for hypothesis and a plain reading to compare with."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import strategies as st

from listener.logs.spool import Source

ESCAPE = re.compile(rb"\x1b\[[0-9;]*m|\xc2[\x80-\x9f]")

TIMES = st.sampled_from(
    [
        b"2026-11-23T11:00:00Z",
        b"2026-11-23T11:00:00.123456789Z",
        b"2026-11-23T13:00:00.5+02:00",
        b"1999-01-01T00:00:00Z",
    ]
)
PAYLOADS = st.lists(
    st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"\r").replace(b"\x1b", b"?"))
    | st.sampled_from(
        [
            b"",
            b"\x1b[31mred\x1b[0m",
            b"\r",
            b"\xff\xfe",
            b"\xc3\xa9",
            b"\xe2\x80\xa8",
            b"\x85",
            b"\\1",
            b'"}{',
            b"# verdict: Succeeded",
            b"[a : b] ",
            b"2026-11-23T11:00:00Z not its time",
        ]
    ),
    max_size=3,
).map(b"".join)


class Line(NamedTuple):
    time: bytes
    payload: bytes

    @property
    def sent(self) -> bytes:
        return self.time + b" " + self.payload

    def shown(self, *, timestamps: bool = False, escapes: bool = True) -> bytes:
        payload = self.payload if escapes else ESCAPE.sub(b"", self.payload)
        return self.time + b" " + payload if timestamps else payload


LINE = st.builds(Line, TIMES, PAYLOADS)
SOURCES = [
    Source("build", "compile", pipeline_task="build"),
    Source("build", "sidecar-db", pipeline_task="build"),
    Source("test-linux", "unit", 2, pipeline_task="test"),
    Source("test-mac", "unit", pipeline_task="test"),
    Source("build", note=True, pipeline_task="build"),
    Source(note=True),
]


def sent(lines: list[Line], *, finished: bool = True) -> bytes:
    """A chunk of ``lines``; the last one may lack its newline."""
    data = b"".join(line.sent + b"\n" for line in lines)
    return data if finished else data.removesuffix(b"\n")
