"""One comment, many sections: whose goes where, what survives, and that none can touch another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers.base import Outcome
from notifiers.comment_cut import closed, fit, shorten
from notifiers.comment_text import HEAD, MAX_SECTIONS, Section, harmless, is_ours, merged, section_of
from notifiers.reports import Comment, RunDetails
from tests.unit.notifiers.scene import SHA

EARLY, LATE = "2026-01-31T12:00:00Z", "2026-01-31T12:00:01Z"


def report(text: str = "Passed", **fields: Any) -> Comment:
    details = RunDetails(created=fields.pop("created", EARLY), uid=fields.pop("uid", "5a1f-1"))
    given: dict[str, Any] = {"context": "tekton/build", "outcome": Outcome.SUCCEEDED, **fields}
    return Comment(repository="g/p", sha=SHA, description="", text=text, details=details, **given)


def comment(*reports: Comment, limit: int = 65_536) -> str:
    body = None
    for said in reports:
        body = merged(body, section_of(said), limit=limit) or body
    assert body is not None
    return body


def test_a_comment_has_a_head_and_its_text_between_markers() -> None:
    lines = comment(report("### Failed\n\ntwo")).splitlines()
    assert lines[0] == HEAD
    assert lines[2].startswith("<!-- tekton-listener begin ")
    assert lines[2].endswith(" 2026-01-31T12:00:00Z 5a1f-1 final -->")
    assert lines[4:7] == ["### Failed", "", "two"]
    assert lines[-1].startswith("<!-- tekton-listener end ")


def test_each_context_keeps_its_place_and_its_text() -> None:
    first, second = report("one", context="a"), report("two", context="b")
    body = comment(first, second, replace(first, text="one, again", details=RunDetails(created=LATE)))
    assert body.index("one, again") < body.index("two")
    assert "one\n" not in body


@pytest.mark.parametrize(
    ("known", "fresh", "replaced"),
    [
        ({"created": EARLY}, {"created": LATE}, True),
        ({"created": LATE}, {"created": EARLY}, False),
        ({"created": "2026-01-31T12:00:00.5Z"}, {"created": EARLY}, False),
        ({"created": "2026-01-31T13:00:00+02:00"}, {"created": EARLY}, True),
        ({"uid": "a"}, {"uid": "b"}, True),
        ({"uid": "b"}, {"uid": "a"}, False),
        ({"created": "", "uid": ""}, {"created": EARLY}, True),
        ({"created": EARLY}, {"created": "yesterday", "uid": "z"}, False),
        ({"outcome": Outcome.RUNNING}, {"outcome": Outcome.FAILED}, True),
        ({"outcome": Outcome.FAILED}, {"outcome": Outcome.RUNNING}, False),
        ({"outcome": Outcome.RUNNING}, {"outcome": Outcome.QUEUED}, True),
        ({"outcome": Outcome.FAILED}, {"outcome": Outcome.RUNNING, "created": LATE}, True),
    ],
)
def test_what_is_younger_or_further_along_replaces_what_is_there(
    known: dict[str, Any], fresh: dict[str, Any], replaced: bool
) -> None:
    body = comment(report("old words", **known))
    after = merged(body, section_of(report("new words", **fresh)), limit=65_536)
    assert (after is not None) is replaced
    if after is not None:
        assert "new words" in after
        assert "old words" not in after


def test_the_same_again_is_nothing_to_write() -> None:
    body = comment(report("one", context="a"), report("two", context="b"))
    assert merged(body, section_of(report("two", context="b")), limit=65_536) is None
    assert merged(body.replace("\n", "\r\n"), section_of(report("two", context="b")), limit=65_536) is None


def test_an_update_only_updates() -> None:
    body = comment(report("failed", context="a"))
    passes = {"limit": 65_536, "only_update": True}
    assert merged(None, section_of(report("passes", context="a")), **passes) is None  # type: ignore[arg-type] # plain words
    assert merged(body, section_of(report("passes", context="b")), **passes) is None  # type: ignore[arg-type] # plain words
    now = merged(body, section_of(report("passes", context="a")), **passes)  # type: ignore[arg-type] # plain words
    assert now is not None
    assert "passes" in now


@pytest.mark.parametrize("body", [f"> {HEAD}\n> quoted", f"Look: {HEAD}", "", "<!-- tekton-listener -->"])
def test_a_quotation_is_no_comment_of_ours(body: str) -> None:
    assert not is_ours(body)
    assert is_ours(comment(report()))


def test_a_section_cannot_end_itself_or_begin_another() -> None:
    other = section_of(report(context="other"))
    forged = f"x\n<!-- tekton-listener end {section_of(report()).key} -->\n" + comment(
        report("forged", context="other")
    )
    body = comment(report("mine", context="other"), report(forged))
    after = merged(body, replace(other, text="second", created=LATE), limit=65_536)
    assert after is not None
    assert "mine" not in after
    assert "forged" in after  # still the first one's words


def test_a_code_block_without_an_end_does_not_draw_in_the_next_section() -> None:
    body = comment(report("<details>\n\n```\nlog", context="a"), report("two", context="b"))
    assert "\nlog\n```\n\n</details>\n\n<!-- tekton-listener end " in body


def test_a_section_that_lost_its_end_ends_where_the_next_begins() -> None:
    body = comment(report("one", context="a"), report("two", context="b"), report("three", context="c"))
    broken = body.replace(f"<!-- tekton-listener end {section_of(report(context='a')).key} -->", "")
    after = merged(broken, section_of(report("new", context="c", created=LATE)), limit=65_536)
    assert after is not None
    assert [after.count(word) for word in ("one", "two", "three", "new")] == [1, 1, 0, 1]
    assert after.count("begin") == after.count(" end ") == 3


@pytest.mark.parametrize(
    "line", ["/merge", "/close", "  /label ~bug", "/lgtm cancel", "> /approve", "/Assign @somebody", "a\r/merge"]
)
def test_a_line_is_no_command(line: str) -> None:
    assert "\u200b/" in harmless(f"text\n{line}\nmore")


@pytest.mark.parametrize("line", ["/workspace/src/main.c:3: error: no", "see a/b", "1 /2", "</details>", "https://x/y"])
def test_a_path_stays_as_it_is(line: str) -> None:
    assert harmless(line) == line


@pytest.mark.parametrize("text", ["<!-- x", "<![CDATA[ x", "<?php", "<!DOCTYPE", "a\x00\x1b[31m", "\ud800"])
def test_what_would_hide_the_rest_or_cannot_be_sent_is_made_harmless(text: str) -> None:
    said = harmless(text)
    assert not {"<!", "<?"} & {said[:2]}
    assert "\x00" not in said
    said.encode()


def test_a_uid_that_is_none_gets_into_no_marker() -> None:
    body = comment(report("x", uid="--> <b>", created="--> <i>"))
    assert "<b>" not in body
    assert "<i>" not in body
    assert merged(body, section_of(report("x", uid="--> <b>", created="--> <i>")), limit=65_536) is None


FENCED = (
    "Failed\n\n<details><summary>log</summary>\n\n```\n"
    + "\n".join(f"line {n}" for n in range(100))
    + "\n```\n\n</details>\n\nend"
)


def test_of_a_log_the_last_lines_stay() -> None:
    short = shorten(FENCED, 300)
    assert len(short) <= 300
    assert short.startswith("Failed\n\n<details><summary>log</summary>\n\n```\n…\nline ")
    assert short.endswith("line 99\n```\n\n</details>\n\nend")


def test_what_is_still_too_long_loses_its_end_and_leaves_nothing_open() -> None:
    assert shorten(FENCED, 70) == "Failed\n\n<details><summary>log</summary>\n\n</details>\n\n*… shortened*"
    assert shorten("````c\n" + "x" * 500 + "\n" + "y" * 500 + "\n````", 50) == "````c\n…\n````\n\n*… shortened*"
    assert shorten("x" * 500, 50) == "x" * 35 + "\n\n*… shortened*"
    assert shorten("x" * 500, 1) == "…"


def test_what_was_left_open_is_closed() -> None:
    assert closed("~~~\n```\n<details>") == "~~~\n```\n<details>\n~~~"
    assert closed("<details><details>\n</details>") == "<details><details>\n</details>\n\n</details>"
    assert closed("``` a`b\n```` x\n```\n`````") == "``` a`b\n```` x\n```\n`````"


@settings(max_examples=40)
@given(st.lists(st.text(alphabet="ab\n`~ <details>", max_size=200), max_size=6), st.integers(0, 400))
def test_texts_fit_and_stay_closed(texts: list[str], room: int) -> None:
    texts = [closed(text) for text in texts]
    found = fit(texts, room)
    assert sum(map(len, found)) <= room or not texts
    for before, after in zip(texts, found, strict=True):
        assert after in (before, "…", "") or closed(after) == after
        assert after == before or len(before) > room // len(texts)


WORDS = (
    st.text(alphabet=st.sampled_from("ab <!->-\n`~/?é😀\x00\r"), max_size=80)
    | st.just(HEAD)
    | st.just(comment(report()))
)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcde"), WORDS, st.integers(0, 9)), max_size=8), st.integers(1500, 4000))
def test_sections_never_touch_each_other(said: list[tuple[str, str, int]], limit: int) -> None:
    """Whatever is said: each context shows the youngest, in full where there is room, and the comment is never too long."""
    body, expected = None, dict[str, Section]()
    for context, text, second in said:
        section = section_of(report(text * 5, context=context, created=f"2026-01-31T12:00:0{second}Z"))
        body = merged(body, section, limit=limit) or body
        if context not in expected or expected[context].yields_to(section):
            expected[context] = section
        assert body is not None
        assert len(body) <= limit
        assert is_ours(body)
        for kept in expected.values():
            assert merged(body, replace(kept, final=False), limit=limit) is None  # it is there, and it is over
        if sum(len(kept.text) for kept in expected.values()) < limit - 5 * 250:
            assert all(kept.text in body for kept in expected.values())


def test_of_very_many_sections_the_youngest_stay_and_the_limit_holds() -> None:
    body = None
    for number in range(MAX_SECTIONS + 20):
        said = report("word " * 400, context=f"c{number}", created=f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z")
        body = merged(body, section_of(said), limit=65_536)
        assert body is not None
        assert len(body) <= 65_536
    assert body is not None
    assert body.count(" begin ") == MAX_SECTIONS
    oldest = report("again", context="c0", created="2026-01-31T11:00:00Z")
    assert section_of(oldest).key in (merged(body, section_of(oldest), limit=65_536) or "")
