"""Lists of comments are read in pages that are worth reading, and never for ever."""

from __future__ import annotations

from notifiers.comment_pages import MAX_LISTS, Answer, Listing
from notifiers.session import AnswerTooLongError


class Conversation:
    """``lengths``: of the comments in the order of the list. An answer longer than 100 is too long."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths, self.asked = lengths, list[tuple[int, int]]()

    def fetch(self, page: int, size: int) -> Answer:
        self.asked.append((page, size))
        begin = (page - 1) * size
        if sum(self.lengths[begin : begin + size]) > 100:
            raise AnswerTooLongError
        entries: list[dict[str, object]] = [{"id": begin + n} for n in range(len(self.lengths[begin : begin + size]))]
        return Answer(entries, -(-len(self.lengths) // size))


def seen(entries: object) -> list[object]:
    return [entry["id"] for entry in entries]  # type: ignore[attr-defined] # an iterator of entries


def test_a_short_conversation_is_one_request() -> None:
    host = Conversation([1] * 29)
    assert seen(Listing(host.fetch).forwards()) == list(range(29))
    assert seen(Listing(host.fetch).first_then_backwards()) == list(range(29))
    assert host.asked == [(1, 30), (1, 30)]


def test_no_more_is_read_than_the_reader_wants() -> None:
    host = Conversation([1] * 90)
    assert next(Listing(host.fetch).forwards()) == {"id": 0}
    assert host.asked == [(1, 30)]


def test_the_first_page_is_followed_by_the_last_ones() -> None:
    host = Conversation([1] * 95)
    found = seen(Listing(host.fetch).first_then_backwards())
    assert host.asked == [(1, 30), (4, 30), (3, 30), (2, 30)]
    assert sorted(map(str, found)) == sorted(map(str, range(95)))


def test_the_requests_have_a_bound() -> None:
    for length in (1, 101):
        host = Conversation([length] * 10_000)
        seen(Listing(host.fetch).forwards())
        assert len(host.asked) == MAX_LISTS
        seen(Listing(host.fetch).first_then_backwards())
        assert len(host.asked) == 2 * MAX_LISTS


def test_a_page_that_is_too_long_is_read_in_parts_and_nothing_is_left_out() -> None:
    host = Conversation([9] * 25)
    assert seen(Listing(host.fetch).forwards()) == list(range(25))
    assert host.asked == [(1, 30), (1, 10), (2, 10), (3, 10)]


def test_a_comment_that_is_too_long_alone_is_left_out() -> None:
    host = Conversation([101, 1])
    assert seen(Listing(host.fetch).forwards()) == [1]


def test_the_last_pages_are_found_after_a_first_one_in_parts() -> None:
    host = Conversation([9] * 10 + [1] * 50)
    found = seen(Listing(host.fetch).first_then_backwards())
    assert set(found) >= set(range(20)) | {59}
