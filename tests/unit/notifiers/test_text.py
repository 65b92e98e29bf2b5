"""Cutting texts, and what is a link or a commit id."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.text import cut, distinct, is_sha, one_line, usable_url, utf16


@given(st.text(), st.integers(min_value=0, max_value=300))
def test_a_cut_text_fits_on_one_line_and_can_be_sent(text: str, limit: int) -> None:
    result = cut(text, limit)
    assert len(result) <= limit
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in result)
    result.encode()
    assert cut(result, limit) == result


@given(st.text(alphabet=st.characters(categories=["L", "N", "Z"]), max_size=400), st.integers(1, 200))
def test_a_cut_text_is_the_beginning_of_it_with_an_ellipsis(text: str, limit: int) -> None:
    line, result = one_line(text), cut(text, limit)
    if len(line) <= limit:
        assert result == line
    else:
        assert result.endswith("…")
        assert line.startswith(result[:-1])
        assert len(result) >= min(limit, 1)


@pytest.mark.parametrize(
    ("text", "limit", "result"),
    [
        ("Failed in 41s: build › compile exited 2", 39, "Failed in 41s: build › compile exited 2"),
        ("Failed in 41s: build › compile exited 2", 38, "Failed in 41s: build › compile exited…"),
        ("Failed in 41s: build › compile exited 2", 36, "Failed in 41s: build › compile…"),
        ("one two", 4, "one…"),
        ("x" * 20, 5, "xxxx…"),
        ("a " + "x" * 20, 10, "a xxxxxxx…"),
        ("line\r\n\x1b[31mred\x00", 40, "line [31mred"),
        ("\ud800", 5, "?"),
    ],
)
def test_it_is_cut_between_words_where_one_ends_near(text: str, limit: int, result: str) -> None:
    assert cut(text, limit) == result


@pytest.mark.parametrize(
    "url",
    ["https://x.example.com/runs/ci/a?x=1#L3", "http://127.0.0.1:8080/", "https://[::1]/"],
)
def test_a_link_is_taken_whole(url: str) -> None:
    assert usable_url(url, 255) == url
    assert usable_url(url, len(url)) == url
    assert usable_url(url, len(url) - 1) is None


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "javascript:alert(1)",
        "ftp://x/",
        "//x/y",
        "https://",
        "https:///path",
        "/runs",
        "https://x/a b",
        "https://x/\n",
        "https://u:p@x/",
        "https://[x/",
        "https://x:99999/",
    ],
)
def test_what_is_no_link_is_left_out(url: str | None) -> None:
    assert usable_url(url, 255) is None


@given(st.text())
def test_any_text_may_be_asked_whether_it_is_a_link(text: str) -> None:
    assert usable_url(text, 100) in (None, text)
    assert usable_url(f"http://{text}", 100) in (None, f"http://{text}")


def test_a_commit_is_40_or_64_hex_digits() -> None:
    assert is_sha("0123456789abcdef" * 4)
    assert is_sha("a" * 40)
    assert not any(
        is_sha(text) for text in ("a" * 39, "a" * 41, "a" * 63, "A" * 40, "g" * 40, "a" * 40 + "\n", "١" * 40)
    )


@given(st.text(max_size=60), st.integers(10, 50), st.sampled_from([len, utf16]))
def test_whatever_is_cut_fits_as_the_host_counts(text: str, limit: int, units: Callable[[str], int]) -> None:
    for shorten in (cut, distinct):
        short = shorten(text, limit, units=units)
        assert units(short) <= limit
        assert units(one_line(text)) > limit or short == one_line(text)


def test_java_counts_an_emoji_as_two() -> None:
    assert utf16("aü💥") == 4
    assert cut("💥" * 20, 10, units=utf16) == "💥💥💥💥…"


def test_long_names_that_begin_alike_stay_two() -> None:
    first, second = distinct("tekton/" + "x" * 50 + "1", 40), distinct("tekton/" + "x" * 50 + "2", 40)
    assert first != second
    assert first.startswith("tekton/xxx")
    assert (len(first), len(second)) == (40, 40)
    assert distinct("tekton/" + "x" * 50 + "1", 40) == first
    assert distinct("tekton/build", 40) == "tekton/build"
