"""Cut Markdown: within the limit, at a line, nothing left open."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.markdown import cut_bytes, cut_markdown, utf8
from notifiers.text import utf16

PIECES = st.sampled_from(
    [
        "```",
        "~~~",
        "````",
        "    ```",
        "```sh",
        "<details>",
        "</details>",
        "| a | b |",
        "wörd 💥",
        "\n",
        "\n",
        "\x00",
        "x" * 30,
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=5)).map("".join)


@given(TEXTS, st.integers(0, 200), st.sampled_from([len, utf8, utf16]), st.sampled_from(["", "_Cut here._", "e" * 300]))
def test_it_fits_and_can_be_sent(text: str, limit: int, units: Callable[[str], int], end: str) -> None:
    result = cut_markdown(text, limit, units=units, end=end)
    assert units(result) <= limit
    result.encode()
    assert not any(ord(c) < 32 and c not in "\t\n" for c in result)


@given(TEXTS, st.integers(0, 200))
def test_what_fits_is_left_as_it_is(text: str, limit: int) -> None:
    whole = cut_markdown(text, 10_000)
    assert cut_markdown(whole, len(whole) + limit, end="_Cut here._") == whole


TABLE = "| task | took |\n|---|---|\n| build | 41s |\n| test | 2m |\n"
FENCED = "Failed.\n```sh\nline 1\nline 2\nline 3\n```\nThe end."
DETAILS = "Failed.\n<details><summary>Log</summary>\n\n````\n```\nline 1\nline 2\n````\n</details>\n"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        (TABLE, 41, "| task | took |\n|---|---|\n"),
        (FENCED, 38, "Failed.\n```sh\nline 1\nline 2\n```\n"),
        (FENCED, 42, "Failed.\n```sh\nline 1\nline 2\nline 3\n```\n"),
        (DETAILS, 79, "Failed.\n<details><summary>Log</summary>\n\n````\n```\nline 1\n````\n\n</details>\n"),
        ("Failed.\n~~~ a`b\n```\nline 1\nline 2\n~~~", 30, "Failed.\n~~~ a`b\n```\n~~~\n"),
        ("Use ``` `x` ``` here\nmore\nand more", 26, "Use ``` `x` ``` here\nmore\n"),
        ("x" * 50, 10, "x" * 10),
        ("```" + "x" * 50 + "\ny", 10, ""),
        ("a\r\nb\rc", 100, "a\nb\nc"),
        ("\ud800", 5, "?"),
    ],
)
def test_where_it_is_cut(text: str, limit: int, expected: str) -> None:
    assert cut_markdown(text, limit) == expected


def test_that_it_was_cut_is_said_outside_of_what_was_open() -> None:
    assert cut_markdown(FENCED, 38, end="_Cut._") == "Failed.\n```sh\nline 1\n```\n\n_Cut._"


@given(st.text(), st.integers(0, 50))
def test_bytes_are_cut_between_characters(text: str, limit: int) -> None:
    cut = cut_bytes(text, limit)
    assert utf8(cut) <= limit
    assert text.encode("utf-8", "replace").decode().startswith(cut)
    assert utf8(cut) > limit - 4 or utf8(text) == utf8(cut)
