"""Lines are cut, prefixed and stripped as bytes: whatever they hold, in whatever chunks they come."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.logs.lines import (
    Lines,
    latest_time,
    prefixed,
    split_time,
    stamped,
    time_of,
    without_escapes,
)
from listener.logs.position import Position

TIME = b"2026-11-23T10:00:00.123456789Z"
TIMES = (TIME, b"2026-11-23T12:00:00.000000000+02:00", b"2026-11-23T04:30:00.5-05:30", b"2026-11-23T10:00:00Z")
PREFIX = b"[build : compile] "
PAYLOADS = st.binary(max_size=30).map(lambda payload: payload.replace(b"\n", b"")) | st.sampled_from(
    [
        b"",
        b"\r",
        b"50%\r100%\r",
        b"\xff\xfe\x00",
        b"text\r",
        TIME + b" text",
        TIME + b" ",
        b"\\1 \\g<0>",
        b" ",
        b"x" * 5000,
    ]
)
CHUNKS = st.lists(
    st.binary(max_size=30) | st.sampled_from([b"\n", b"\r", b"\xff\xfe", b"a\nb\n", b"\n\n"]), max_size=20
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [*chunks, data]


@given(chunks=CHUNKS)
def test_whole_lines_come_out_and_no_byte_is_lost(chunks: list[bytes]) -> None:
    lines, pieces = Lines(), []
    for chunk in chunks:
        pieces.append(lines.feed(chunk))
        assert lines.given == len(b"".join(pieces))
    assert all(piece.endswith(b"\n") for piece in pieces if piece)
    assert b"".join(pieces) + lines.rest() == b"".join(chunks)
    assert lines.rest() == b""


@given(
    printed=st.lists(st.tuples(st.sampled_from(TIMES), PAYLOADS), max_size=20),
    sizes=st.lists(st.integers(0, 100), max_size=30),
    unfinished=st.booleans(),
    prefix=st.sampled_from([PREFIX, b"", b"[\\1 : \\g<0>\\n] ", b"\x1b[36m[a : b]\x1b[0m "]),
)
def test_each_line_gets_one_prefix_at_its_start_and_its_payload_is_unchanged(
    printed: list[tuple[bytes, bytes]], sizes: list[int], unfinished: bool, prefix: bytes
) -> None:
    data = b"".join(time + b" " + payload + b"\n" for time, payload in printed)
    if unfinished:
        data = data.removesuffix(b"\n")
    lines, without, with_times = Lines(), b"", b""
    for chunk in cut(data, sizes):
        whole = lines.feed(chunk)
        without += prefixed(whole, prefix)
        with_times += prefixed(whole, prefix, times=True)
    rest = lines.rest()
    assert without + prefixed(rest, prefix) == b"".join(prefix + payload + b"\n" for _, payload in printed)
    assert with_times + prefixed(rest, prefix, times=True) == b"".join(
        prefix + time + b" " + payload + b"\n" for time, payload in printed
    )


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_a_line_too_long_to_hold_comes_in_pieces_each_with_its_time_and_nothing_of_the_next_is_touched(
    size: int,
) -> None:
    long, then = bytes(range(11, 256)) * 4, TIME + b" " + TIME + b" quoted\n"
    lines, out = Lines(limit=100), b""
    data = TIME + b" " + long + b"\n" + then
    for start in range(0, len(data), size):
        out += lines.feed(data[start : start + size])
    pieces = out.removesuffix(then)
    assert out.endswith(b"\n" + then)
    assert {split_time(piece)[0] for piece in pieces.splitlines() if piece.startswith(b"2")} == {TIME}
    assert b"".join(split_time(piece)[1] for piece in pieces.removesuffix(b"\n").split(b"\n")) == long
    assert lines.given == len(data)
    assert lines.rest() == b""
    assert not lines.in_pieces


def test_whether_the_last_line_is_a_piece_is_told() -> None:
    lines = Lines(limit=40)
    assert lines.feed(TIME + b" " + b"x" * 20) == TIME + b" " + b"x" * 20 + b"\n"
    assert lines.in_pieces
    assert lines.feed(b"yy\n") == TIME + b" yy\n"
    assert lines.in_pieces
    assert lines.feed(TIME + b" next\n") == TIME + b" next\n"
    assert not lines.in_pieces


def test_times_are_told_from_payloads() -> None:
    for time in TIMES:
        assert split_time(time + b" text\n") == (time, b"text\n")
        assert time_of(b"before\n" + time + b" text\n", 7) == time
    for no_time in (
        b"",
        b"text",
        b"2026-11-23",
        TIME,
        TIME + b"text",
        b" " + TIME + b" text",
        b"2026-11-23 10:00:00Z x",
    ):
        assert split_time(no_time) == (b"", no_time)


def test_the_latest_time_is_that_of_a_line_and_not_of_a_payload() -> None:
    early, late = b"2026-11-23T10:00:00.000000001Z", b"2026-11-23T10:00:00.000000002Z"
    assert latest_time(early + b" a\n" + late + b" b\n" + early + b" \xff" + TIME + b" c\n") == late
    assert latest_time(b"no\ntimes\n") == b""


def test_lines_without_times_are_given_one() -> None:
    assert stamped(b"a\n\nb", TIME) == TIME + b" a\n" + TIME + b" \n" + TIME + b" b"
    assert prefixed(stamped(TIME + b" mine\n", TIME), PREFIX) == PREFIX + TIME + b" mine\n"


def test_nothing_gets_no_prefix() -> None:
    assert prefixed(b"", PREFIX) == prefixed(b"", PREFIX, times=True) == b""


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (b"\x1b[31;1mred\x1b[0m and \x1b[38;5;196mmore\x1b[m\n", b"red and more\n"),
        (b"\x1b[2K\x1b[1G50%\r\x1b[?25l\x1b[>4;2m\n", b"50%\r\n"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", b"alink\n"),
        (b"\x1b(Bsgr0 \x1b7\x1b8\x1b=\x1bcreset\n", b"sgr0 reset\n"),
        (b"\x1bPq#0\x1b\\sixel\n", b"sixel\n"),
        (b"cut \x1b[\nnext \x1b]0;tit\nlast \x1b\n", b"cut \nnext 0;tit\nlast \n"),
        (b"\x9b \xc2\x9b31m caf\xc3\xa9 \xc5\x9b [31m\n", b"\x9b 31m caf\xc3\xa9 \xc5\x9b [31m\n"),
    ],
)
def test_escape_sequences_are_taken_off_and_nothing_else(line: bytes, plain: bytes) -> None:
    assert without_escapes(line) == plain


@given(
    data=st.lists(st.sampled_from([b"\x1b", b"[", b"]", b"0;1", b"m", b"\n", b"\x07", b"\\", b"a", b"("]), max_size=30)
)
def test_taking_off_escapes_leaves_every_line_end_and_no_escape(data: list[bytes]) -> None:
    text = b"".join(data)
    plain = without_escapes(text)
    assert b"\x1b" not in plain
    assert plain.count(b"\n") == text.count(b"\n")


def calls_during(work: Callable[[], object]) -> int:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_no_work_in_python_grows_with_the_number_of_lines() -> None:
    few, many = (b"".join(TIME + b" line %d\n" % number for number in range(size)) for size in (100, 100_000))

    def work(data: bytes) -> None:
        lines, position = Lines(), Position()
        position.passed(lines.feed(data))
        prefixed(data, PREFIX)
        prefixed(data, PREFIX, times=True)
        without_escapes(data)
        stamped(data, TIME)
        position.find().new(data)

    assert calls_during(lambda: work(many)) < calls_during(lambda: work(few)) + 1000
