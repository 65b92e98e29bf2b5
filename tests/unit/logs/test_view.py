"""How frames look to readers: prefixes, colours, times, filters, and the same as JSON with the same offsets."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.logs.spool import End, Frame, Source
from listener.logs.view import PASSING, View, ndjson, passing, text, verdict
from tests.unit.logs.printed import LINE, SOURCES, Line, sent

BUILD, DB, LINUX, MAC, NOTE, WHOLE = SOURCES
VIEWS = [
    View(colour=colour, timestamps=timestamps)
    for colour, timestamps in itertools.product(["auto", "always", "never"], [False, True])
]


def as_json(view: View) -> View:
    return View(colour=view.colour, timestamps=view.timestamps, ndjson=True)


@given(
    lines=st.lists(LINE, min_size=1), finished=st.booleans(), source=st.sampled_from(SOURCES), timestamps=st.booleans()
)
def test_each_line_has_its_prefix_and_its_bytes_as_they_were_printed(
    lines: list[Line], finished: bool, source: Source, timestamps: bool
) -> None:
    shown = text(Frame(0, sent(lines, finished=finished)), source, View(timestamps=timestamps))
    assert shown == b"".join(source.prefix + line.shown(timestamps=timestamps) + b"\n" for line in lines)


@given(lines=st.lists(LINE, min_size=1), source=st.sampled_from(SOURCES))
def test_without_colour_there_is_no_escape_and_nothing_else_is_missing(lines: list[Line], source: Source) -> None:
    shown = text(Frame(0, sent(lines)), source, View(colour="never"))
    assert b"\x1b" not in shown
    assert shown == b"".join(source.prefix + line.shown(escapes=False) + b"\n" for line in lines)


def test_with_colour_a_task_has_one_and_lines_of_ours_have_none() -> None:
    frame, view = Frame(0, b"2026-11-23T11:00:00Z said\n"), View(colour="always")
    shown = text(frame, BUILD, view)
    assert shown.startswith(b"\x1b[9")
    assert shown.endswith(b"m[build : compile]\x1b[0m said\n")
    assert text(frame, DB, view)[:5] == shown[:5]
    assert len({text(frame, Source(f"task-{number}", "s"), view)[:5] for number in range(6)}) == 6
    assert text(frame, NOTE, view) == b"# said\n"


@pytest.mark.parametrize("view", VIEWS, ids=str)
@given(
    lines=st.lists(LINE, min_size=1),
    finished=st.booleans(),
    source=st.sampled_from(SOURCES),
    before=st.integers(0, 1000),
)
def test_as_json_every_line_is_an_object_with_the_offset_of_its_end_in_the_text(
    view: View, lines: list[Line], finished: bool, source: Source, before: int
) -> None:
    frame = Frame(0, sent(lines, finished=finished))
    data, after = ndjson(frame, source, as_json(view), before)
    objects = [json.loads(line) for line in data.split(b"\n")[:-1]]
    shown = text(frame, source, view).split(b"\n")[:-1]
    assert len(objects) == len(shown) == len(lines)
    ends = list(itertools.accumulate((len(line) + 1 for line in shown), initial=before))[1:]
    assert [one["offset"] for one in objects] == ends
    assert after == ends[-1]
    for one, line in zip(objects, lines, strict=True):
        said = line.shown(escapes=view.colour != "never").decode("utf-8", "replace")
        assert one["note" if source.note else "text"] == said
        assert one["time"] == line.time.decode()
        assert (one["task"], one["step"]) == (source.task or None, source.step or None)
        assert one.get("attempt") == (None if source.note else source.attempt)


def test_a_json_line_is_one_line_to_everybody_who_splits_lines() -> None:
    data, _ = ndjson(Frame(0, b"2026-11-23T11:00:00Z a\rb\x0bc\x0cd\x1ce\x00\n"), BUILD, View(ndjson=True), 0)
    assert len(data.splitlines()) == 1
    assert json.loads(data)["text"] == "a\rb\x0bc\x0cd\x1ce\x00"


def test_a_line_without_a_time_has_none() -> None:
    data, _ = ndjson(Frame(0, b"no time\n"), BUILD, View(ndjson=True, timestamps=True), 0)
    assert json.loads(data)["time"] is None
    assert json.loads(data)["offset"] == len(text(Frame(0, b"no time\n"), BUILD, View(timestamps=True)))


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        (View(), SOURCES),
        (View(task="build"), [BUILD, DB, NOTE]),
        (View(task="test"), [LINUX, MAC]),
        (View(task="test-mac"), [MAC]),
        (View(step="unit"), [LINUX, MAC]),
        (View(step="db"), [DB]),
        (View(step="sidecar-db"), [DB]),
        (View(task="test", step="unit"), [LINUX, MAC]),
        (View(task="test-mac", step="compile"), []),
        (View(task="nobody"), []),
    ],
    ids=str,
)
def test_a_reader_gets_the_task_and_step_that_it_asks_for(view: View, shown: list[Source]) -> None:
    assert [source for source in SOURCES if view.shows(source)] == shown


def test_lines_that_pass_the_time_are_one_line_and_tell_themselves_apart() -> None:
    assert passing("waits\nfor\r\n a  node", View()) == f"{PASSING}waits for a node\n".encode()
    assert json.loads(passing("waits\nfor", View(ndjson=True))) == {"waiting": "waits for"}


def test_the_verdict_is_one_line() -> None:
    end = End("Failed", "build\nfailed", "Tasks", "Failed", "False")
    assert verdict(end, View()) == b"# verdict: Failed (build failed)\n"
    assert json.loads(verdict(end, View(ndjson=True))) == {
        "verdict": "Failed",
        "sentence": "build\nfailed",
        "reason": "Failed",
    }
    assert json.loads(verdict(End("Unknown", ""), View(ndjson=True)))["reason"] is None


@given(lines=st.lists(LINE, min_size=1))
def test_no_line_that_a_step_prints_can_be_taken_for_one_of_ours(lines: list[Line]) -> None:
    for view in VIEWS:
        for line in text(Frame(0, sent(lines)), BUILD, view).split(b"\n")[:-1]:
            assert not line.startswith(b"#")
