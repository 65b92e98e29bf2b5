"""Blocks: every reader gets the whole text from where it was, whatever it asked for, whoever else reads, while it is written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.cluster.names import Key
from listener.logs.blocks import START, Block, Place, block, tail_of
from listener.logs.recording import Recording
from listener.logs.spool import Frame, Source, Spool
from listener.logs.view import View, text
from tests.unit.logs.printed import LINE, SOURCES, Line, sent


class Piece(NamedTuple):
    """What is appended at once: ``lines``, so many times."""

    source: int
    lines: list[Line]
    finished: bool = True  #: whether the last one has its newline
    times: int = 1

    @property
    def sent(self) -> bytes:
        return sent(self.lines * self.times, finished=self.finished)


Appended = Sequence[Piece]

NUMBERS = st.integers(0, len(SOURCES) - 1)
APPENDED = st.lists(
    st.builds(Piece, NUMBERS, st.lists(LINE, min_size=1, max_size=4), st.booleans(), st.just(1)), max_size=12
)
LONG = st.lists(  # several blocks
    st.builds(
        Piece, NUMBERS, st.lists(LINE, min_size=1, max_size=1), st.just(value=True), st.sampled_from([1, 700, 2500])
    ),
    min_size=1,
    max_size=3,
)
VIEWS = st.builds(
    View,
    colour=st.sampled_from(["auto", "always", "never"]),
    task=st.sampled_from([None, None, "build", "test", "test-mac", "nobody"]),
    step=st.sampled_from([None, None, "unit", "db"]),
    timestamps=st.booleans(),
)


@contextlib.contextmanager
def recorded(appended: Appended = ()) -> Iterator[Recording]:
    spool = Spool()
    try:
        for source in SOURCES:
            spool.source(source)
        recording = Recording(spool, key=Key("team-a", "run"), created="", recorder=None)
        for piece in appended:
            append(recording, piece)
        yield recording
    finally:
        spool.close()


def append(recording: Recording, piece: Piece) -> None:
    recording.spool.append(piece.source, piece.sent)


def text_of(appended: Appended, view: View, task: str | None = None) -> bytes:
    """What a reader is to get, made piece by piece."""
    view = replace(view, ndjson=False)
    return b"".join(
        text(Frame(piece.source, piece.sent), SOURCES[piece.source], view)
        for piece in appended
        if view.shows(SOURCES[piece.source]) and task in (None, SOURCES[piece.source].task)
    )


def blocks(recording: Recording, view: View, place: Place = START, task: str | None = None) -> list[Block]:
    found = []
    while (one := block(recording, view, place, task=task)).ended != place:
        found.append(one)
        place = one.ended
    return found


def objects(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


# Offsets


@settings(max_examples=60)
@given(appended=APPENDED | LONG, view=VIEWS, where=st.floats(0, 1.1))
def test_who_was_cut_off_anywhere_goes_on_exactly_there(appended: Appended, view: View, where: float) -> None:
    whole = text_of(appended, view)
    offset = int(len(whole) * where)
    with recorded(appended) as recording:
        found = blocks(recording, view)
        assert b"".join(one.data for one in found) == whole
        assert b"".join(one.after(offset) for one in found) == whole[offset:]


@given(appended=APPENDED, view=VIEWS)
def test_every_single_offset_is_a_place_to_go_on_from(appended: Appended, view: View) -> None:
    whole = text_of(appended[:3], view)
    with recorded(appended[:3]) as recording:
        found = blocks(recording, view)
        for offset in range(len(whole) + 1):
            assert b"".join(one.after(offset) for one in found) == whole[offset:]


@settings(max_examples=60)
@given(appended=APPENDED | LONG, view=VIEWS, where=st.floats(0, 1.1))
def test_json_lines_carry_the_offsets_of_the_text_and_go_on_with_the_line_that_is_not_whole(
    appended: Appended, view: View, where: float
) -> None:
    whole = text_of(appended, view)
    somewhere = int(len(whole) * where)
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 0x0A]
    with recorded(appended) as recording:
        found = blocks(recording, replace(view, ndjson=True))
        assert [one["offset"] for piece in found for one in objects(piece.data)] == ends
        for offset in (somewhere, *ends[:3]):
            rest = b"".join(one.after(offset) for one in found)
            assert [one["offset"] for one in objects(rest)] == [end for end in ends if end > offset]


@settings(max_examples=60)
@given(appended=APPENDED | LONG, view=VIEWS, task=st.sampled_from(["build", "test-linux", ""]))
def test_of_one_task_only_its_lines_come_with_offsets_that_go_on_from_where_the_reader_was(
    appended: Appended, view: View, task: str
) -> None:
    whole = text_of(appended, view, task)
    with recorded(appended) as recording:
        found = blocks(recording, view, Place(0, 1000), task)
        assert b"".join(one.data for one in found) == whole
        assert not found or found[-1].ended.text == 1000 + len(whole)
        as_json = blocks(recording, replace(view, ndjson=True), Place(0, 1000), task)
        ends = [1000 + at + 1 for at, byte in enumerate(whole) if byte == 0x0A]
        assert [one["offset"] for piece in as_json for one in objects(piece.data)] == ends


# The last lines


@settings(max_examples=60)
@given(appended=APPENDED | LONG, view=VIEWS, ndjson=st.booleans(), data=st.data())
async def test_the_last_lines_are_the_last_lines_of_the_whole(
    appended: Appended, view: View, ndjson: bool, data: st.DataObject
) -> None:
    view = replace(view, ndjson=ndjson)
    with recorded(appended) as recording:
        whole = b"".join(one.data for one in blocks(recording, view)).split(b"\n")[:-1]
        for number in {0, 1, 2, len(whole), len(whole) + 1, data.draw(st.integers(0, len(whole) + 5))}:
            place, leave_out = await tail_of(recording, view, number)
            found = blocks(recording, view, place)
            if leave_out:
                found[0] = found[0].without_lines(leave_out)
            tail = b"".join(one.data for one in found).split(b"\n")[:-1]
            assert tail == whole[max(0, len(whole) - number) :]


@given(appended=APPENDED, view=VIEWS, number=st.integers(0, 10), where=st.floats(0, 1))
def test_lines_that_are_left_out_do_not_shift_offsets(
    appended: Appended, view: View, number: int, where: float
) -> None:
    whole = text_of(appended, view)
    offset = int(len(whole) * where)
    with recorded(appended) as recording:
        for one in blocks(recording, view)[:1]:
            number = min(number, one.data.count(b"\n"))
            left = sum(len(line) + 1 for line in one.data.split(b"\n")[:number])
            rest = one.without_lines(number)
            assert rest.began.text == left
            assert rest.after(offset) == whole[max(offset, left) : one.ended.text]
            as_json = block(recording, replace(view, ndjson=True), START).without_lines(number)
            assert as_json.began.text == left


async def test_what_was_printed_after_the_tail_was_looked_for_is_not_left_out() -> None:
    line = Line(b"2026-11-23T11:00:00Z", b"x")
    with recorded([Piece(0, [line] * 5)]) as recording:
        place, leave_out = await tail_of(recording, View(), 2)
        recording.rendered.clear()
        append(recording, Piece(0, [line] * 3))
        found = blocks(recording, View(), place)
        found[0] = found[0].without_lines(leave_out)
        assert sum(one.data.count(b"\n") for one in found) == 5


# What readers share


READERS = st.lists(
    st.tuples(VIEWS, st.booleans(), st.sampled_from([None, None, "build", "test-mac"])), min_size=1, max_size=6
)


@settings(max_examples=100)
@given(appended=APPENDED, readers=READERS, order=st.lists(st.integers(0, 20), max_size=60))
def test_readers_of_a_live_log_share_blocks_and_each_gets_all_of_its_own_text(
    appended: Appended, readers: list[tuple[View, bool, str | None]], order: list[int]
) -> None:
    with recorded() as recording:
        places = [START] * len(readers)
        got = [b""] * len(readers)

        def read(reader: int) -> bool:
            view, ndjson, task = readers[reader]
            one = block(recording, replace(view, ndjson=ndjson), places[reader], task=task)
            moved, places[reader] = one.ended != places[reader], one.ended
            got[reader] += one.data
            assert len(recording.rendered) <= 4
            return moved

        coming = iter(appended)
        for what in order:
            if what < len(readers):
                read(what)
            elif (piece := next(coming, None)) is not None:
                append(recording, piece)
        for piece in coming:
            append(recording, piece)
        for reader, (view, ndjson, task) in enumerate(readers):
            while read(reader):
                pass
            whole = text_of(appended, view, task)
            if ndjson:
                ends = [at + 1 for at, byte in enumerate(whole) if byte == 0x0A]
                assert [one["offset"] for one in objects(got[reader])] == ends
            else:
                assert got[reader] == whole


def test_a_block_is_rendered_once_for_all_who_come_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(b"2026-11-23T11:00:00Z", b"x")
    with recorded([Piece(0, [line])]) as recording:
        reads: list[int] = []
        read = recording.spool.read

        def counted(offset: int) -> tuple[list[Frame], int]:
            reads.append(offset)
            return read(offset)

        monkeypatch.setattr(recording.spool, "read", counted)
        shown = [block(recording, View(), START).data for _ in range(500)]
        assert set(shown) == {b"[build : compile] x\n"}
        assert len(reads) == 1


def test_a_json_block_is_not_shared_with_who_has_come_another_way_and_counts_otherwise() -> None:
    with recorded([Piece(0, [Line(b"2026-11-23T11:00:00Z", b"x")])]) as recording:
        view = View(ndjson=True)
        for text_before in (0, 1000, 0, 500):
            one = block(recording, view, Place(0, text_before))
            assert objects(one.data)[0]["offset"] == one.ended.text == text_before + len(b"[build : compile] x\n")


WISHES = [
    (View(), None),
    (View(), "build"),
    (View(), ""),
    (View(task="build"), None),
    (View(step="unit"), None),
    (View(timestamps=True), None),
    (View(colour="never"), None),
    (View(colour="always"), None),
    (View(ndjson=True), None),
    (View(ndjson=True, timestamps=True), None),
]


@pytest.mark.parametrize(("view", "task"), WISHES, ids=str)
def test_what_one_reader_was_shown_is_not_shown_to_one_with_other_wishes(view: View, task: str | None) -> None:
    pieces = [Piece(number, [Line(b"2026-11-23T11:00:00Z", b"\x1b[31mred\x1b[0m")]) for number, _ in enumerate(SOURCES)]
    with recorded(pieces) as recording:
        shown = set()
        for other, others_task in WISHES:
            recording.rendered.clear()
            block(recording, other, START, task=others_task)
            shown.add(block(recording, view, START, task=task).data)
        assert len(shown) == 1
        with recorded(pieces) as fresh:
            assert shown == {block(fresh, view, START, task=task).data}


def test_where_nothing_is_yet_nothing_is_kept_and_what_comes_is_shown() -> None:
    with recorded() as recording:
        place = blocks(recording, View())[-1].ended
        kept = dict(recording.rendered)
        for _ in range(3):
            assert block(recording, View(), place).ended == place
        assert recording.rendered == kept
        append(recording, Piece(0, [Line(b"2026-11-23T11:00:00Z", b"x")]))
        assert block(recording, View(), place).data == b"[build : compile] x\n"


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_a_block_is_no_larger_than_its_longest_line_makes_it(size: int) -> None:
    long = Line(b"2026-11-23T11:00:00Z", b"y" * size)
    short = Line(b"2026-11-23T11:00:00Z", b"x" * 50)
    with recorded([Piece(0, [short] * 3000), Piece(1, [long]), Piece(0, [short] * 3000)]) as recording:
        sizes = [len(one.data) for one in blocks(recording, View())]
        assert sum(size > 80_000 for size in sizes) <= 1
        assert max(sizes) <= max(80_000, size + 1000)


def test_source_of_a_note_of_the_whole_run_is_read_task_by_task_last() -> None:
    line = Line(b"2026-11-23T11:00:00Z", b"x")
    whole = SOURCES.index(Source(note=True))
    with recorded([Piece(whole, [line]), Piece(0, [line])]) as recording:
        assert [one.data for one in blocks(recording, View(), task="")] == [b"# x\n"]
