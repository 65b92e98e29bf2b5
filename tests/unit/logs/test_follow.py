"""A container's log is passed on once, whole and in order, whatever breaks: the rules, without sockets, in every order of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.demo.kubernetes.podlogs import LogOptions
from listener.logs import follow as module
from listener.logs.follow import follow
from listener.logs.lines import prefixed, split_time
from tests.unit.logs.node import CONTAINER, POD, Break, Node, Print, Rotate, Step

STAMP = b"2026-11-23T10:01:00.000000000Z "  # of what is printed at START
PREFIX = b"[build : one] "


async def followed(node: Node) -> list[bytes]:
    blocks = []
    with mock.patch.object(module, "_PAUSE", (0.0, 0.0)):
        async with asyncio.timeout(20), contextlib.aclosing(follow(node, POD, CONTAINER, node)) as chunks:  # type: ignore[arg-type]  # what it needs of a Cluster
            async for chunk in chunks:
                blocks.append(chunk)
                node.received += chunk
    return blocks


def check(node: Node) -> None:
    """Nothing is lost or doubled; blocks are whole lines; prefixes go exactly at line starts, payloads stay as they are."""
    blocks = asyncio.run(followed(node))
    expected = node.readable()
    assert b"".join(blocks) == expected
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    lines = expected.removesuffix(b"\n").split(b"\n") if expected else []
    shown = b"".join(prefixed(block, PREFIX) for block in blocks)
    assert shown == b"".join(PREFIX + split_time(line)[1] + b"\n" for line in lines)


TEXTS = (
    st.lists(
        st.binary(max_size=12)
        | st.sampled_from(
            [b"\n", b"\n\n", b"same\n", b"same\n", b"same\nsame\n", b"\r", b"\r\n", b"\xff\x00", STAMP, b"x" * 90]
        ),
        min_size=1,
        max_size=4,
    )
    .map(b"".join)
    .filter(bool)
)
PRINTS = st.builds(
    Print,
    data=TEXTS,
    after=st.sampled_from([0, 0, 1, 10**6, 4 * 10**8, 10**9, 30 * 10**9]),
    late=st.sampled_from([0, 0, 0, 1, 10**6, 7 * 10**8, 19 * 10**8]),
)
ROTATIONS = st.builds(Rotate, keep=st.integers(1, 6))
SCRIPTS = st.lists(
    PRINTS
    | PRINTS
    | ROTATIONS
    | st.builds(Break, clean=st.booleans(), then=st.lists(PRINTS | ROTATIONS, max_size=3).map(tuple)),
    max_size=12,
)
CUTS = st.lists(st.integers(1, 200), max_size=5)
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple)


@settings(max_examples=200, deadline=None)
@given(script=SCRIPTS, cuts=CUTS, sizes=SIZES)
def test_nothing_is_lost_or_doubled_whatever_is_printed_and_wherever_it_breaks_and_rotates(
    script: list[Step], cuts: list[int], sizes: tuple[int, ...]
) -> None:
    check(Node(script=script, cuts=cuts, sizes=sizes))


@settings(max_examples=60, deadline=None)
@given(script=SCRIPTS, cuts=CUTS, sizes=SIZES)
def test_a_server_that_does_not_know_since_time_makes_no_difference(
    script: list[Step], cuts: list[int], sizes: tuple[int, ...]
) -> None:
    check(Node(script=script, cuts=cuts, sizes=sizes, ignored=("sinceTime",)))


@settings(max_examples=60, deadline=None)
@given(script=SCRIPTS, cuts=CUTS, sizes=SIZES)
def test_of_a_server_that_gives_no_times_the_bytes_are_counted_and_its_lines_get_the_time_of_reading(
    script: list[Step], cuts: list[int], sizes: tuple[int, ...]
) -> None:
    steps = [Print(b"untimed\n"), *(step for step in script if not isinstance(step, Rotate))]
    steps = [replace(step, then=()) if isinstance(step, Break) else step for step in steps]
    node = Node(script=list(steps), cuts=cuts, sizes=sizes, ignored=("timestamps", "sinceTime"))
    out = b"".join(asyncio.run(followed(node)))
    lines = out.removesuffix(b"\n").split(b"\n")
    assert all(split_time(line)[0] for line in lines)
    raw = b"".join(step.data for step in steps if isinstance(step, Print))
    assert b"\n".join(split_time(line)[1] for line in lines) == raw.removesuffix(b"\n")
    assert out.endswith(b"\n") == raw.endswith(b"\n")


A_WHILE = 10 * 10**9


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            [Print(b"same\n" * 3), Break(), Print(b"same\nsame\n")], id="the-same-line-in-the-same-nanosecond"
        ),
        pytest.param(
            [Print(b"same\n"), Break(), Print(b"same\n", after=5), Break(), Print(b"same\n")], id="in-one-second"
        ),
        pytest.param([Print(b"a\nunfini"), Break(), Print(b"shed\n", after=A_WHILE)], id="an-unfinished-line"),
        pytest.param([Print(b"no newline"), Break()], id="no-newline-at-the-end"),
        pytest.param([Print(b"a\nno newline"), Break(clean=False)], id="nor-after-an-error"),
        pytest.param([Print(b"a\n"), Break(), Print(b"b\n", late=10**9), Print(b"c\n")], id="times-that-run-back"),
        pytest.param(
            [Print(b"a\nb\n"), Break(then=(Print(b"c\n", after=9), Rotate(1)))], id="rotation-of-all-that-was-read"
        ),
        pytest.param(
            [Print(b"a\n"), Break(then=(Print(b"b\n", late=9), Rotate(1))), Print(b"c\n")], id="and-times-that-run-back"
        ),
        pytest.param([Print(b"a\n"), Rotate(1), Print(b"b\n", after=1), Break(), Print(b"c\n")], id="rotation-before"),
        pytest.param(
            [Print(b"x" * 1_000_000 + b"\n"), Break(), Print(b"x" * 1_000_000, after=1), Break()], id="long-lines"
        ),
        pytest.param([Print(b"1%\r2%\r"), Break(), Print(b"3%\r\n\xff\x00\n\n\n")], id="progress-bars-and-odd-bytes"),
        pytest.param(
            [Print(STAMP + b"x\n"), Break(), Print(b"x\n" + STAMP + b"x\n")], id="text-that-looks-like-a-line"
        ),
        pytest.param([Print(b"a\n"), Break(then=(Print(b"b\nc", late=9), Rotate(2)))], id="to-the-end"),
        pytest.param(
            [Print(b"a\n"), Print(b"unfini", late=1), Rotate(1), Break(then=(Print(b"shed\n"),))],
            id="in-an-unfinished-line",
        ),
        pytest.param([Print(b"x"), Break(then=(Print(b"\nx", after=1), Rotate(1)))], id="of-an-unfinished-line"),
        pytest.param([Break(), Break(clean=False), Print(b"late\n")], id="nothing-at-first"),
        pytest.param([Break()], id="nothing-at-all"),
    ],
)
def test_a_break_is_not_seen_in_the_log(script: list[Step]) -> None:
    for sizes in ((1 << 20,), (7, 31, 1 << 16)):
        check(Node(script=list(script), sizes=sizes))


def test_what_was_rotated_away_before_it_was_read_is_lost_and_nothing_else() -> None:
    node = Node(script=[Print(b"a\n"), Break(then=(Print(b"b\nc\n", after=1), Print(b"d\n", after=1), Rotate(1)))])
    check(node)
    assert node.lost == {1, 2}


def test_after_a_break_it_is_asked_only_for_the_last_seconds() -> None:
    node = Node(script=[Print(b"a\n"), Print(b"b\n", after=A_WHILE), Break()])
    check(node)
    assert node.asked[0] == {"container": CONTAINER, "follow": "true", "timestamps": "true"}
    assert {query["sinceTime"] for query in node.asked[1:]} == {"2026-11-23T10:01:08Z"}


def test_the_rest_of_a_line_whose_beginning_was_cut_off_gets_a_time() -> None:
    node = Node(script=[Print(b"a\n"), Break()])
    original = node._answer

    async def answer(options: LogOptions) -> AsyncIterator[bytes]:
        if options.since:
            yield b"f of a line\n2026-11-23T10:02:00.000000000Z b\n"
        async for chunk in original(options):
            yield chunk

    node._answer = answer  # type: ignore[method-assign]  # a stranger's server
    out = b"".join(asyncio.run(followed(node)))
    assert out.startswith(STAMP + b"a\n" + STAMP + b"f of a line\n2026-11-23T10:02:00.000000000Z b\n")
