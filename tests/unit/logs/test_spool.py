"""Bytes go in as they were printed and come out as they were printed: any chunks, any lines, any bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.logs.spool import Frame, Lines, Spool
from listener.logs.stream import prefixed

CHUNKS = st.lists(
    st.binary(max_size=30) | st.sampled_from([b"\n", b"\r", b"\xff\xfe", b"a\nb\n", b"\n\n"]), max_size=20
)


@pytest.fixture
def spool() -> Iterator[Spool]:
    spool = Spool()
    yield spool
    spool.close()


@given(chunks=CHUNKS)
def test_lines_loses_nothing_and_lets_out_whole_lines_only(chunks: list[bytes]) -> None:
    lines = Lines()
    pieces = [lines.feed(chunk) for chunk in chunks]
    assert all(piece.endswith(b"\n") for piece in pieces if piece)
    assert b"".join(pieces) + lines.rest() == b"".join(chunks)


@given(chunks=CHUNKS)
def test_each_line_gets_one_prefix_at_its_start_and_its_payload_is_unchanged(chunks: list[bytes]) -> None:
    lines, out = Lines(), b""
    for chunk in chunks:
        if piece := lines.feed(chunk):
            out += prefixed(piece, b"[a : s] ")
    if rest := lines.rest():
        out += prefixed(rest, b"[a : s] ")
    whole = b"".join(chunks)
    expected = [b"[a : s] " + line for line in whole.removesuffix(b"\n").split(b"\n")] if whole else []
    assert out.split(b"\n")[:-1] == expected


def test_a_line_without_end_is_passed_on_when_it_is_too_long_to_hold() -> None:
    lines = Lines(limit=10)
    assert lines.feed(b"x" * 8) == b""
    assert lines.feed(b"y" * 8) == b"x" * 8 + b"y" * 8
    assert lines.feed(b"z\n") == b"z\n"


def test_what_was_appended_is_read_from_the_beginning_or_from_where_one_was(spool: Spool) -> None:
    frames = [Frame(number % 3, bytes([number]) * size) for number, size in enumerate((1, 70_000, 300_000, 5, 262_144))]
    for frame in frames:
        spool.append(*frame)
    read: list[Frame] = []
    offset = 0
    while True:
        more, offset = spool.read(offset)
        if not more:
            break
        read += more
    assert read == frames
    spool.append(1, b"later")
    assert spool.read(offset)[0] == [Frame(1, b"later")]


async def test_a_reader_is_woken_by_what_comes_and_by_the_end(spool: Spool) -> None:
    waiting = asyncio.create_task(spool.grown(0, timeout=20))
    await asyncio.sleep(0)
    spool.append(0, b"x")
    assert await waiting
    waiting = asyncio.create_task(spool.grown(spool.size, timeout=20))
    await asyncio.sleep(0)
    spool.end()
    assert await waiting


async def test_a_reader_waits_no_longer_than_it_wants(spool: Spool) -> None:
    assert not await spool.grown(0, timeout=0.01)


def test_past_its_bound_a_spool_takes_no_more_and_says_so() -> None:
    spool = Spool(limit=100)
    spool.append(0, b"x" * 50)
    spool.append(0, b"y" * 50)
    assert spool.truncated
    assert spool.read(0)[0] == [Frame(0, b"x" * 50)]
    spool.close()
