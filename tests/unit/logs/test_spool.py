"""What is put into a spool comes out of it, for every reader, as far as there is room, and as far as the disk plays along."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.logs.spool import Budget, End, Frame, Source, Spool

READ = 64 * 1024
END = End("Failed", "build failed", "Tasks Completed: 1", "Failed", "False")
BUILD, TEST = Source("build", "compile"), Source("test", "unit", 2, pipeline_task="tests")
NOTE = Source("build", note=True)


@contextlib.contextmanager
def opened(**options: object) -> Iterator[Spool]:
    spool = Spool(**options)  # type: ignore[arg-type]  # passed on
    try:
        yield spool
    finally:
        spool.close()


@pytest.fixture
def spool() -> Iterator[Spool]:
    with opened() as spool:
        yield spool


def frames_of(spool: Spool, offset: int = 0) -> list[Frame]:
    """Everything from ``offset`` on."""
    found: list[Frame] = []
    while True:
        more, after = spool.read(offset)
        found += more
        if after == offset:
            return found
        offset = after


def data_of(spool: Spool, source: int) -> bytes:
    return b"".join(frame.data for frame in frames_of(spool) if frame.source == source)


def raw_of(spool: Spool, piece: int = 1 << 20) -> bytes:
    return b"".join(spool.raw(at, piece) for at in range(0, spool.size, piece))[: spool.size]


def loaded(raw: bytes, pieces: int = 1 << 20, **options: int) -> contextlib.AbstractContextManager[Spool]:
    """``raw`` as it comes from an archive, indexed."""

    @contextlib.contextmanager
    def load() -> Iterator[Spool]:
        with opened(**options) as spool:
            for at in range(0, len(raw), pieces):
                spool.load(raw[at : at + pieces])
            spool.index()
            yield spool

    return load()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more than ``size`` bytes of a file: what is written past them fails, with a part of it written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Writing and reading


LINES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"\r") + b"\n"), min_size=1).map(b"".join)
PIECES = (
    st.binary(max_size=100)
    | LINES
    | st.builds(lambda line, number: line * number, LINES, st.integers(1, 3000))
    | st.builds(lambda size, end: b"x" * size + end, st.integers(READ - 8, READ + 8), st.sampled_from([b"", b"\n"]))
)


@given(appended=st.lists(st.tuples(st.integers(0, 3), PIECES), max_size=12))
def test_what_was_appended_is_read_in_its_order_whatever_it_is(appended: list[tuple[int, bytes]]) -> None:
    with opened() as spool:
        for number in range(4):
            spool.source(Source(f"task-{number}"))
        expected: list[tuple[int, bytes]] = []
        for number, data in appended:
            spool.append(number, data)
            if expected and expected[-1][0] == number:
                expected[-1] = (number, expected[-1][1] + data)
            elif data:
                expected.append((number, data))
        read: list[tuple[int, bytes]] = []
        for number, data in frames_of(spool):
            if read and read[-1][0] == number:
                read[-1] = (number, read[-1][1] + data)
            else:
                read.append((number, data))
        assert read == expected
        assert not spool.truncated


@given(data=LINES, times=st.integers(1, 4000))
def test_frames_are_whole_lines_of_about_a_block(data: bytes, times: int) -> None:
    with opened() as spool:
        number = spool.source(BUILD)
        spool.append(number, data * times)
        for frame in frames_of(spool):
            assert frame.data.endswith(b"\n")
            assert len(frame.data) <= READ


@pytest.mark.parametrize("size", [READ - 1, READ, READ + 1, 3 * READ, 5_000_000])
def test_a_line_longer_than_a_block_is_one_frame_and_its_neighbours_are_not_in_it(spool: Spool, size: int) -> None:
    number = spool.source(BUILD)
    long = b"y" * (size - 1) + b"\n"
    spool.append(number, b"before\n" + long + b"after\n" * 20_000 + b"unfinished")
    frames = [frame.data for frame in frames_of(spool)]
    assert frames[0] == b"before\n"
    assert frames[1].startswith(long)
    assert frames[1] == long or len(frames[1]) <= READ
    assert b"".join(frames[1:]) == long + b"after\n" * 20_000 + b"unfinished"


def test_each_reader_has_a_pace_of_its_own(spool: Spool) -> None:
    number = spool.source(BUILD)
    places = [0] * 50
    read = [b""] * 50
    written = b""
    for step in range(200):
        data = b"%d " % step * 300 + b"\n"
        written += data
        spool.append(number, data)
        for reader in range(50):
            if step % (reader + 1) == 0:
                frames, places[reader] = spool.read(places[reader])
                read[reader] += b"".join(frame.data for frame in frames)
                assert written.startswith(read[reader])
    for reader in range(50):
        rest = b"".join(frame.data for frame in frames_of(spool, places[reader]))
        assert read[reader] + rest == written


def test_sources_are_numbered_in_their_order_and_have_prefixes(spool: Spool) -> None:
    assert [spool.source(BUILD), spool.source(TEST), spool.source(NOTE)] == [0, 1, 2]
    assert spool.sources == [BUILD, TEST, NOTE]
    assert [source.prefix for source in spool.sources] == [b"[build : compile] ", b"[test : unit] ", b"# "]


def test_nothing_is_read_where_nothing_is(spool: Spool) -> None:
    assert spool.read(0) == ([], 0)
    spool.source(BUILD)
    frames, place = spool.read(0)
    assert (frames, place) == ([], spool.size)
    assert spool.read(place) == ([], place)


# The end


def test_finish_says_how_the_run_ended_once_and_nothing_comes_after(spool: Spool) -> None:
    number = spool.source(BUILD)
    spool.append(number, b"a\n")
    spool.finish(END)
    size = spool.size
    spool.append(number, b"late\n")
    spool.note(number, b"late\n")
    spool.task_over("late")
    spool.finish(End("Succeeded", "no"))
    spool.source(TEST)
    assert spool.size == size
    assert (spool.ended, spool.end_of_run, spool.whole) == (True, END, True)
    assert frames_of(spool) == [Frame(0, b"a\n")]


def test_stop_without_finish_is_an_end_without_a_verdict(spool: Spool) -> None:
    spool.append(spool.source(BUILD), b"a\n")
    spool.stop()
    spool.finish(END)
    assert spool.ended
    assert spool.end_of_run is None
    assert not spool.whole
    assert data_of(spool, 0) == b"a\n"


def test_tasks_that_are_over_are_told_once(spool: Spool) -> None:
    spool.task_over("build")
    size = spool.size
    spool.task_over("build")
    assert spool.over == {"build"}
    assert spool.size == size


def test_whatever_is_done_to_a_closed_spool_does_nothing() -> None:
    spool = Spool()
    number = spool.source(BUILD)
    spool.append(number, b"a\n")
    spool.close()
    spool.close()
    spool.append(number, b"b\n")
    spool.note(number, b"b\n")
    spool.source(TEST)
    spool.task_over("x")
    spool.finish(END)
    with pytest.raises(ValueError, match="room"):
        spool.load(b"x")
    assert spool.closed
    assert spool.ended
    assert spool.end_of_run is None
    assert spool.read(0) == ([], 0)


# Being woken


async def waiting_on(spool: Spool, offset: int) -> asyncio.Task[bool]:
    task = asyncio.create_task(spool.grown(offset, timeout=20))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_all_readers_are_woken_by_what_comes(spool: Spool) -> None:
    number = spool.source(BUILD)
    waiting = [await waiting_on(spool, spool.size) for _ in range(20)]
    spool.append(number, b"x\n")
    assert await asyncio.gather(*waiting) == [True] * 20
    assert not spool._grown


@pytest.mark.parametrize("how", ["finish", "stop", "close", "task_over", "note"])
async def test_a_reader_is_woken_by_every_kind_of_news(spool: Spool, how: str) -> None:
    number = spool.source(BUILD)
    task = await waiting_on(spool, spool.size)
    match how:
        case "finish":
            spool.finish(END)
        case "task_over":
            spool.task_over("build")
        case "note":
            spool.note(number, b"n\n")
        case _:
            getattr(spool, how)()
    assert await task


async def test_a_reader_waits_no_longer_than_it_wants(spool: Spool) -> None:
    assert not await spool.grown(0, timeout=0.01)
    assert not spool._grown


async def test_a_reader_does_not_wait_for_what_is_there_or_will_never_be(spool: Spool) -> None:
    spool.source(BUILD)
    assert await spool.grown(0, timeout=0)
    spool.stop()
    assert await spool.grown(spool.size, timeout=0)


async def test_a_reader_that_goes_away_leaves_nothing_behind(spool: Spool) -> None:
    task = await waiting_on(spool, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not spool._grown


# Room


def test_past_its_limit_a_spool_takes_no_more_lines_and_says_so() -> None:
    with opened(limit=1000) as spool:
        number, note = spool.source(BUILD), spool.source(NOTE)
        spool.append(number, b"x" * 800 + b"\n")
        spool.append(number, b"y" * 800 + b"\n")
        assert spool.truncated
        spool.append(number, b"z\n")  # would fit, and would hide the gap
        assert data_of(spool, number) == b"x" * 800 + b"\n"
        spool.note(note, b"the rest is missing\n")
        spool.finish(END)
        assert data_of(spool, note) == b"the rest is missing\n"
        assert spool.whole


def test_of_what_does_not_fit_whole_frames_are_kept() -> None:
    with opened(limit=3 * READ) as spool:
        number = spool.source(BUILD)
        data = b"0123456\n" * READ
        spool.append(number, data)
        kept = data_of(spool, number)
        assert spool.truncated
        assert data.startswith(kept)
        assert kept.endswith(b"\n")
        assert len(kept) > READ


def test_notes_have_a_limit_too() -> None:
    with opened() as spool:
        number = spool.source(NOTE)
        for _ in range(3000):
            spool.note(number, b"n" * 1023 + b"\n")
        assert 900_000 < spool.size < 1_100_000
        assert not spool.truncated


def test_all_spools_share_a_budget_and_give_back_what_they_took() -> None:
    budget = Budget(16_000)
    first, second = Spool(budget=budget), Spool(budget=budget)
    first.append(first.source(BUILD), b"x" * 9000)
    assert budget.used == first.size
    number = second.source(BUILD)
    second.append(number, b"y" * 9000)
    assert second.truncated
    first.close()
    first.close()
    assert budget.used == second.size
    second.close()
    assert budget.used == 0


def test_who_has_no_room_asks_for_as_much_as_is_missing() -> None:
    asked: list[int] = []
    spools: list[Spool] = []

    def make_room(size: int) -> None:
        asked.append(size)
        spools.pop().close()

    budget = Budget(16_000, make_room=make_room)
    spools.append(old := Spool(budget=budget))
    old.append(old.source(BUILD), b"x" * 12_000)
    with opened(budget=budget) as new:
        before = budget.used
        new.append(new.source(BUILD), b"y" * 12_000)
        assert not new.truncated
        assert len(asked) == 1
        assert before + 12_000 - 16_000 < asked[0] < 16_000
        assert budget.used == new.size


def test_when_lines_have_used_up_the_budget_there_is_room_for_notes_and_ends() -> None:
    with opened(budget=Budget(100_000)) as spool:
        number, note = spool.source(BUILD), spool.source(NOTE)
        while not spool.truncated:
            spool.append(number, b"x" * 99 + b"\n")
        spool.note(note, b"the rest is missing" * 10 + b"\n")
        spool.note(note, b"the rest is missing\n")
        spool.task_over("build")
        spool.finish(END)
        assert spool.whole
        with loaded(raw_of(spool)) as again:
            assert data_of(again, note) == b"the rest is missing" * 10 + b"\nthe rest is missing\n"


def test_nothing_of_a_source_is_written_while_there_is_no_room_to_describe_it() -> None:
    budget = Budget(1000)
    other = Spool(budget=budget)
    with opened(budget=budget) as spool:
        other.note(0, b"x" * 974)
        number = spool.source(BUILD)
        spool.note(number, b"n\n")  # would fit
        assert spool.size == 0
        other.close()
        spool.note(number, b"m\n")
        assert frames_of(spool) == [Frame(number, b"m\n")]


def test_a_source_for_which_there_was_no_room_is_described_before_anything_of_it_is_written() -> None:
    budget = Budget(1000)
    other = Spool(budget=budget)
    other.note(0, b"x" * 990)
    with opened(budget=budget) as spool:
        build = spool.source(BUILD)  # no room
        test = spool.source(TEST)
        assert spool.size == 0
        other.close()
        spool.append(test, b"t\n")
        spool.append(build, b"b\n")
        spool.finish(END)
        assert spool.whole
        with loaded(raw_of(spool)) as again:
            assert again.sources == [BUILD, TEST]
            assert frames_of(again) == [Frame(test, b"t\n"), Frame(build, b"b\n")]


# A disk that refuses


def test_a_disk_that_takes_no_more_truncates_the_spool_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    budget = Budget(10_000_000)
    with opened(budget=budget) as spool:
        number, note = spool.source(BUILD), spool.source(NOTE)
        with largest_file(100_000):
            for step in range(5):
                spool.append(number, b"%d" % step * 39_999 + b"\n")
            assert spool.truncated
            assert data_of(spool, number) == b"0" * 39_999 + b"\n" + b"1" * 39_999 + b"\n"
            assert budget.used == spool.size
            spool.note(note, b"n" * 30_000 + b"\n")
            spool.finish(END)
        assert spool.end_of_run == END, "readers get their verdict all the same"
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "cannot be written to disk" in caplog.text
    assert budget.used == 0


def test_after_lines_were_refused_what_is_smaller_still_gets_in_and_the_file_is_in_order() -> None:
    with opened() as spool:
        number = spool.source(BUILD)
        with largest_file(100_000):
            spool.append(number, b"x" * 60_000 + b"\n" + b"y" * 60_000 + b"\n")
            spool.append(number, b"small, and it would hide the gap\n")
            note = spool.source(NOTE)
            spool.note(note, b"the rest is missing\n")
            spool.finish(END)
        assert spool.truncated
        assert spool.whole
        with loaded(raw_of(spool)) as again:
            assert again.end_of_run == END
            assert frames_of(again) == [Frame(number, b"x" * 60_000 + b"\n"), Frame(note, b"the rest is missing\n")]


def test_a_spool_whose_end_could_not_be_written_is_not_whole_and_its_file_is_not_taken_for_one() -> None:
    with opened() as spool:
        number = spool.source(BUILD)
        with largest_file(spool.size):
            spool.append(number, b"x\n")
            spool.finish(END)
        assert spool.truncated
        assert spool.end_of_run == END
        assert not spool.whole
        with pytest.raises(ValueError, match="whole"), loaded(raw_of(spool)):
            pass


def test_a_source_that_the_disk_refused_is_described_when_it_takes_something_again() -> None:
    with opened() as spool:
        with largest_file(1):
            build, test = spool.source(BUILD), spool.source(TEST)
        spool.append(test, b"t\n")
        spool.append(build, b"b\n")
        spool.finish(END)
        with loaded(raw_of(spool)) as again:
            assert again.sources == [BUILD, TEST]
            assert frames_of(again) == [Frame(test, b"t\n"), Frame(build, b"b\n")]


async def test_readers_of_a_truncated_spool_are_woken_by_its_end() -> None:
    with opened() as spool:
        number = spool.source(BUILD)
        task = await waiting_on(spool, spool.size)
        with largest_file(spool.size):
            spool.append(number, b"x\n")
            spool.finish(END)
        assert await task


# The archive


@given(
    appended=st.lists(st.tuples(st.integers(0, 2), PIECES), max_size=8),
    pieces=st.integers(1, 200_000),
)
def test_raw_loaded_and_indexed_is_the_same_spool(appended: list[tuple[int, bytes]], pieces: int) -> None:
    with opened() as spool:
        for source in (BUILD, TEST, NOTE):
            spool.source(source)
        for number, data in appended:
            spool.append(number, data)
        spool.note(2, b"note\n")
        spool.task_over("build")
        spool.finish(END)
        pieces = max(pieces, spool.size // 50)
        with loaded(raw_of(spool, pieces), pieces) as again:
            assert again.sources == spool.sources
            assert again.over == spool.over
            assert again.end_of_run == spool.end_of_run
            assert (again.ended, again.whole, again.size) == (True, True, spool.size)
            assert frames_of(again) == frames_of(spool)


def finished() -> bytes:
    with opened() as spool:
        number = spool.source(BUILD)
        for _ in range(3):
            spool.append(number, b"some\nlines\n")
        spool.finish(END)
        return raw_of(spool)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        b"<html>no spool at all</html>",
        b"\0" * 100,
        b"\xff" * 100,
        b"\xff\xff\x02\0\0\0[]",
        b"\xff\xff\x02\0\0\0{}",
        b'\xff\xff\x0c\0\0\0{"source":12}'[:20],
        b"\0\0\x01\0\0\0x",
        finished() + b"\0\0\x01\0\0\0x",
        finished() + b"\0\0",
        finished()[6:],
    ],
)
def test_what_is_no_spool_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a run's log"), loaded(raw):
        pass


def test_a_spool_that_was_cut_anywhere_is_refused() -> None:
    whole = finished()
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="not a run's log"), loaded(whole[:size]):
            pass


def test_a_spool_without_an_end_is_refused(spool: Spool) -> None:
    spool.append(spool.source(BUILD), b"a\n")
    with pytest.raises(ValueError, match="not a whole one"), loaded(raw_of(spool)):
        pass


@given(at=st.integers(0, 10_000), what=st.integers(0, 255))
def test_a_byte_that_was_changed_is_refused_or_harmless(at: int, what: int) -> None:
    raw = bytearray(finished())
    raw[at % len(raw)] = what
    with contextlib.suppress(ValueError), loaded(bytes(raw)) as spool:
        for frame in frames_of(spool):
            assert frame.source < len(spool.sources)


def test_an_archived_spool_that_is_longer_than_there_is_room_for_is_refused() -> None:
    with opened(limit=1000) as spool:
        for _ in range(20):
            spool.load(b"x" * 100_000)
        with pytest.raises(ValueError, match="room"):
            spool.load(b"x" * 1_000_000)
    budget = Budget(1000)
    with opened(budget=budget) as spool, pytest.raises(ValueError, match="room"):
        spool.load(b"x" * 2000)
    assert budget.used == 0


def test_whatever_fitted_into_a_spool_fits_again() -> None:
    with opened(limit=10_000) as spool:
        number, note = spool.source(BUILD), spool.source(NOTE)
        while not spool.truncated:
            spool.append(number, b"x\n")
        for _ in range(200_000):
            spool.note(note, b"n\n")
        spool.finish(END)
        with loaded(raw_of(spool), limit=10_000) as again:
            assert again.size == spool.size


def test_the_file_is_in_the_folder_that_was_named_and_has_no_name_there(tmp_path: Path) -> None:
    with opened(folder=tmp_path) as spool:
        spool.append(spool.source(BUILD), b"x\n")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="nowhere"):
        Spool(folder=tmp_path / "nowhere")
