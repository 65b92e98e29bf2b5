"""After a break, the place up to which a log was passed on is found again in what is sent anew."""

from __future__ import annotations

import pytest

from listener.logs.lines import latest_time
from listener.logs.position import Position


def at(seconds: float, text: bytes = b"x", zone: bytes = b"Z") -> bytes:
    return b"2026-11-23T10:00:%012.9f%s %s\n" % (seconds, zone, text)


def after(*passed: bytes) -> Position:
    position = Position()
    for lines in passed:
        position.passed(lines)
    return position


def new(position: Position, *blocks: bytes) -> list[bytes]:
    finding = position.find()
    return [finding.new(block) for block in blocks]


def test_before_the_first_line_everything_is_asked_for_and_everything_is_new() -> None:
    position = Position()
    assert position.since() == ""
    assert position.find().found
    assert new(position, at(1)) == [at(1)]


@pytest.mark.parametrize(
    ("line", "since"),
    [
        (at(5.999), "2026-11-23T10:00:03Z"),
        (at(1), "2026-11-23T09:59:59Z"),
        (at(5, zone=b"+02:00"), "2026-11-23T08:00:03Z"),
        (at(5, zone=b"-05:30"), "2026-11-23T15:30:03Z"),
        (b"2026-11-23T10:00:05Z x\n", "2026-11-23T10:00:03Z"),
        (b"2026-13-23T10:00:05Z no such month\n", ""),
        (b"0001-01-01T00:00:00Z nothing is before it\n", ""),
    ],
)
def test_it_is_asked_for_from_two_seconds_before_the_last_lines_second(line: bytes, since: str) -> None:
    assert after(at(0) + line).since() == since


def test_what_comes_up_to_the_last_line_is_dropped_in_whatever_blocks_it_comes() -> None:
    passed, fresh = [at(1, b"a"), at(2, b"b"), at(2, b"c")], [at(2, b"d"), at(3, b"e")]
    for size in range(1, 6):
        lines = passed + fresh
        blocks = [b"".join(lines[start : start + size]) for start in range(0, 5, size)]
        assert b"".join(new(after(*passed), *blocks)) == b"".join(fresh)


def test_lines_that_are_the_same_are_counted() -> None:
    same = at(2, b"same")
    passed = after(at(1) + same + at(2, b"other") + same, same)
    assert new(passed, same + at(2, b"other") + same + same + same) == [same]
    assert new(passed, *[same] * 4) == [b"", b"", b"", same]


def test_a_line_that_only_begins_like_the_last_one_or_quotes_it_is_another() -> None:
    last = at(2, b"50%")
    blocks = [at(2, b"50% and more"), at(2, at(2, b"50%").removesuffix(b"\n")), last, at(2, b"50% and more")]
    assert new(after(b"".join(blocks[:3])), *blocks) == [b"", b"", b"", blocks[3]]


def test_a_line_that_only_begins_like_the_last_one_is_not_counted() -> None:
    passed = after(at(2, b"50% and more") + at(2, b"50%"))
    assert new(passed, at(2, b"50%"), at(2, b"new")) == [b"", at(2, b"new")]


def test_a_line_of_a_megabyte_is_known_by_its_beginning() -> None:
    long, other = at(2, b"x" * 1_000_000), at(3, b"x" * 1_000_000)
    assert new(after(at(1), long), at(1), long + other) == [b"", other]


def test_when_the_last_line_was_rotated_away_all_that_is_there_is_new() -> None:
    assert new(after(at(1, b"a"), at(2, b"b")), at(4, b"d"), at(5)) == [at(4, b"d"), at(5)]


def test_lines_that_are_no_later_than_the_last_are_held_until_it_is_known_whether_they_are_new() -> None:
    position = after(at(2, b"a") + at(1.5, b"b"))
    assert new(position, at(2, b"a"), at(1.9, b"c"), at(2.1, b"d")) == [
        b"",
        b"",
        at(2, b"a") + at(1.9, b"c") + at(2.1, b"d"),
    ]
    assert new(position, at(2, b"a"), at(1.5, b"b") + at(1.9, b"c")) == [b"", at(1.9, b"c")]
    finding = position.find()
    assert finding.new(at(1.9, b"c")) == b""
    assert not finding.found
    assert finding.end() == at(1.9, b"c")
    assert finding.new(at(1)) == at(1)


def test_what_rotation_has_left_of_lines_that_are_the_same_is_not_repeated() -> None:
    same = at(2, b"same")
    assert new(after(same * 3), same * 2, at(3)) == [b"", at(3)]


def test_of_what_must_be_a_repetition_no_more_than_a_megabyte_is_held() -> None:
    block = b"".join(at(1, b"%08d" % number + b"x" * 100) for number in range(2000))
    finding = after(block, at(2)).find()
    for _ in range(20):
        assert finding.new(block) == b""
        assert len(b"".join(finding._held)) <= 1024 * 1024
    assert finding.new(at(2) + at(2, b"new")) == at(2, b"new")


def test_a_line_a_little_ahead_of_its_time_long_before_the_last_is_no_sign_of_rotation() -> None:
    ahead, rest = at(5, b"ahead"), [at(4, b"%08d" % number + b"x" * 100) for number in range(2000)]
    position = after(ahead, *rest)
    assert b"".join(new(position, ahead, b"".join(rest), at(4, b"new"))) == at(4, b"new")


def test_no_more_than_the_tail_is_remembered() -> None:
    position = after(*(at(1, b"x" * 1000) for _ in range(1000)), at(2, b"y" * 5_000_000))
    assert sum(len(value) for value in vars(position).values() if isinstance(value, bytes)) < 100_000
    assert latest_time(at(1)) == at(1).split()[0]


@pytest.mark.parametrize("size", [1, 7, 500, 3000])
def test_lines_that_are_the_same_to_the_nanosecond_are_counted_beyond_the_tail(size: int) -> None:
    """Chunks begin and end anywhere among them; the answer after a break is cut elsewhere."""
    other, same = at(1, b"x" * 90), at(2, b"y" * 90)
    whole = [other] * 40 + [same] * 3000
    chunks = [b"".join(whole[start : start + size]) for start in range(0, len(whole), size)]
    finding = after(*chunks).find()
    assert finding.new(b"".join(whole[:2000])) == b""
    assert finding.new(b"".join(whole[2000:])) == b""
    assert finding.new(same) == same
