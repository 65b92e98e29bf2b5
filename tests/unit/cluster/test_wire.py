"""Pages, events and errors as the wire has them; lines from chunks cut anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.cluster.client import UnreachableError
from listener.cluster.wire import Event, error_of, read_bookmark, read_events, read_page, split_lines


async def chunks_of(data: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for cut in sorted(cut % (len(data) + 1) for cut in cuts):
        yield data[at:cut]
        at = cut
    yield data[at:]


@given(
    lines=st.lists(st.binary(min_size=1).map(lambda b: b.replace(b"\n", b"\xc3"))), cuts=st.lists(st.integers(0, 999))
)
def test_lines_survive_any_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)

    async def split() -> list[bytes | None]:
        return [line async for line in split_lines(chunks_of(data, cuts), limit=1 << 20)]

    assert asyncio.run(split()) == lines


@given(length=st.integers(1, 60), cuts=st.lists(st.integers(0, 999)))
def test_a_line_over_the_limit_is_dropped_whole_and_the_next_one_is_not(length: int, cuts: list[int]) -> None:
    data = b"x" * length + b"\nnext\n"

    async def split() -> list[bytes | None]:
        return [line async for line in split_lines(chunks_of(data, cuts), limit=30)]

    assert asyncio.run(split()) == [b"x" * length if length <= 30 else None, b"next"]


async def test_an_unfinished_last_line_is_dropped() -> None:
    assert [line async for line in split_lines(chunks_of(b"whole\nha", [3]), limit=30)] == [b"whole"]


async def test_what_is_no_event_is_told_of_and_the_next_one_is_read() -> None:
    lines = b'{"type":"ADDED","object":{"a":1}}\n<html>\n\xff\xfe\n{"type":7}\n{"type":"DELETED","object":{}}\n'
    skipped: list[str] = []
    events = [event async for event in read_events(chunks_of(lines, [5, 40]), on_skip=skipped.append)]
    assert [event.type for event in events] == ["ADDED", "DELETED"]
    assert bytes(events[0].object) == b'{"a":1}'
    assert len(skipped) == 3


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b'{"items":[{"a":', b"[]", b"\xff"])
def test_what_is_no_list_counts_as_no_answer_and_says_from_where(body: bytes) -> None:
    with pytest.raises(UnreachableError, match="the list of /pods on there"):
        read_page(body, where="/pods on there")


def test_a_page_gives_its_items_unread_and_where_it_goes_on() -> None:
    page = read_page(
        b'{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"abc"},"items":[{"x":1},2]}', where="x"
    )
    assert [bytes(item) for item in page.items or ()] == [b'{"x":1}', b"2"]
    assert (page.metadata.resource_version, page.metadata.continue_) == ("7", "abc")
    assert read_page(b'{"metadata":{},"items":null}', where="x").items is None


def test_an_error_event_says_what_the_server_said() -> None:
    error = error_of(Event("ERROR", msgspec.Raw(b'{"code":410,"reason":"Expired","message":"too old"}')))
    assert (error.status, error.reason) == (410, "Expired")
    assert "too old" in str(error)


def test_an_error_event_that_is_no_status_is_an_error_all_the_same() -> None:
    assert error_of(Event("ERROR", msgspec.Raw(b'"gone"'))).status == 500


def test_a_bookmark_that_cannot_be_read_is_a_value_error() -> None:
    good = Event("BOOKMARK", msgspec.Raw(b'{"metadata":{"resourceVersion":"12"}}'))
    assert read_bookmark(good).resource_version == "12"
    with pytest.raises(ValueError, match="resourceVersion"):
        read_bookmark(Event("BOOKMARK", msgspec.Raw(b'{"metadata":{"resourceVersion":12}}')))
