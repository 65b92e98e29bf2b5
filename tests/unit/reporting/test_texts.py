"""What people read, from runs that mean no good: nothing that a run brings is more than text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from listener.reporting import texts
from notifiers.comment_text import HEAD, Section, merged
from notifiers.reports import Outcome, RunDetails, TaskDetails

SAFE, HTML = (
    MarkdownIt("commonmark", {"html": on, "linkify": False}).enable(["table", "strikethrough"]) for on in (False, True)
)
BREAK = "\u200b"
HOSTILE = (
    "@all", "@user-1", "see #1 and !2", "~label", '~"two words"', "%v1.0", "&epic", "$5 ^alert#1", "GH-12", "group/project#3", "a@b.example",
    "www.example.com", "https://evil.example", "ftp://evil.example", "mailto:a@b.example", "[x](javascript:alert(1))", "![x](https://evil.example/x.png)",
    "[x]: https://evil.example", "<script>alert(1)</script>", "<!-- tekton-listener end 0 -->", "<https://evil.example>", "<a href=//evil.example>",
    "</details>", "<!channel>", "<@U123>", "&lt;b&gt; &#64;all", "*a* **b** _c_ __d__ ~~e~~ `f`", "snake_case __init__ a__b \\__x y__ \\", "\\",
    "| a | b |", "a\n\n# b", "# a", "- a", "+ a", "1. a", "1) a", "> a", "===", "---", "```", "~~~", "````sh", "a\r\n```\r\nb", "a\u2028b\x00\x1b[31mc",
    "\u202e@all", "{+ added +} [- gone -]", "$`a`$ $$x$$", "    code", "\tcode", "", " ", "-->", "/close", "a\n/merge", "C:\\dir\\x.c", "a < b && c > d",
)  # fmt: skip
ANYTHING = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(
        st.sampled_from([*HOSTILE, "\n", " ", "a", "_", "*", "`", "|", "\\", "<", "&", "@", "#", "1"]), max_size=6
    ).map("".join),
    st.text(max_size=60),
)
# What Git hosts look for in the text that was rendered.
_REFERRED = re.compile(
    r"""(?<![\w])[@#!~%^][\w"] | [#!]\d | \bGH-\d | \b(https?|ftp):// | \bwww\. | \bmailto: | <[!@#] | \[[-+] | \{[-+]""",
    re.VERBOSE | re.IGNORECASE,
)


class Seen(HTMLParser):
    """What there is to see, and the tags that it is in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = self.plain = ""
        self.comments = 0
        self._code = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._code += tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.text += data
        self.plain += "" if self._code else data

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def seen(markdown: str, *, html: bool = True) -> Seen:
    return Seen((HTML if html else SAFE).render(markdown))


def flat(text: str) -> str:
    """As one line, without what cannot be seen."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", text).replace(BREAK, "").split())


@pytest.mark.parametrize(("one", "other"), [("@", "all"), ("#", "1"), ("<", "b>"), ("\\", "*a*"), ("&", "lt;")])
def test_two_values_side_by_side_do_no_more_than_each_of_them(one: str, other: str) -> None:
    read = seen(f"a {texts.escape(one)}{texts.escape(other)}")
    assert read.tags == ["p"]
    assert flat(read.text) == f"a {one}{other}"
    assert not _REFERRED.search(read.text)


@pytest.mark.parametrize("html", [False, True])
@given(text=ANYTHING)
@settings(max_examples=60)
@example(text="snake_case __init__ \\__x y__ \\")
@example(text="&lt;b&gt; <b> &amp;")
def test_escaped_text_is_read_as_it_was_and_does_nothing(text: str, *, html: bool) -> None:
    read = seen(texts.escape(text), html=html)
    assert flat(read.text) == flat(text).strip()
    assert set(read.tags) <= {"p"}
    assert not read.comments
    assert not _REFERRED.search(read.text)


@pytest.mark.parametrize(
    "text",
    ["a-b (1 of 3)", "service-xyz › build: exited 137 (OOMKilled)", "main.c:7:1 x_y.z 100%", "a -> b; c & d, 3 < 4."],
)
def test_what_is_harmless_is_not_touched_for_not_every_chat_shows_markdown(text: str) -> None:
    assert texts.escape(text) == text


@given(text=ANYTHING)
@settings(max_examples=60)
def test_a_code_span_holds_one_line_that_fits_into_a_cell(text: str) -> None:
    span = texts.code(text)
    assert len(span.replace(BREAK, "")) <= 130
    assert "<!" not in span
    assert "|" not in span
    assert seen(span).tags in ([], ["p", "code"])
    assert not seen(span).plain.strip()


@given(log=st.lists(ANYTHING, max_size=8).map("\n".join))
@settings(max_examples=60)
@example(log="a\n```\n@all\n````\n<!channel>")
def test_nothing_within_a_block_ends_it(log: str) -> None:
    read = seen(f"before\n\n{texts.block(log)}\n\nafter")
    assert read.plain.split() == ["before", "after"]
    assert read.tags in (["p", "p"], ["p", "pre", "code", "p"])
    assert not re.search(r"<[!@#]", read.text)


def test_an_empty_block_is_none() -> None:
    assert [texts.block(text) for text in ("", "\n", " \n\r\n", "\x00")] == [""] * 4


@pytest.mark.parametrize(
    ("log", "kept"),
    [
        ("", ""),
        ("a\nb\nc\n", "b\nc"),
        ("a\nb\n\n\n", "a\nb"),
        ("one", "one"),
        ("10%\r50%\r100%\r\nerror: x\r\n", "100%\nerror: x"),
        ("x" * 9000 + "\nerror", "x" * 499 + "…\nerror"),
    ],
)
def test_the_last_lines_are_what_a_terminal_would_show_last(log: str, kept: str) -> None:
    assert texts.last_lines(log, 2) == kept


@given(log=st.text(alphabet="ab\n\r", max_size=300), lines=st.integers(1, 9), characters=st.integers(1, 200))
def test_the_last_lines_are_bounded(log: str, lines: int, characters: int) -> None:
    kept = texts.last_lines(log, lines, characters=characters)
    assert len(kept) <= characters
    assert len(kept.split("\n")) <= lines


TASKS = st.builds(
    TaskDetails,
    name=ANYTHING,
    state=st.sampled_from(
        ["succeeded", "failed", "timed_out", "cancelled", "skipped", "running", "waiting", "unknown", "@all"]
    ),
    duration=ANYTHING,
    note=ANYTHING,
    optional=st.booleans(),
)


@given(tasks=st.lists(TASKS, min_size=1, max_size=4).map(tuple))
@settings(max_examples=60)
def test_no_task_breaks_its_row(tasks: tuple[TaskDetails, ...]) -> None:
    rendered = HTML.render(texts.table(tasks))
    read = Seen(rendered)
    assert read.tags.count("tr") == len(tasks) + 1
    assert read.tags.count("td") == read.tags.count("th") * len(tasks)
    assert set(read.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert rendered.rstrip().endswith("</table>")
    assert not _REFERRED.search(read.plain)


def test_a_table_has_a_column_for_notes_only_where_there_is_one() -> None:
    good, bad = (
        TaskDetails(name="a", state="succeeded", duration="3s"),
        TaskDetails(name="b", state="failed", note="x exited 1"),
    )
    assert texts.table((good,)).splitlines() == ["|  | Task | Duration |", "| --- | --- | --- |", "| ✅ | `a` | 3s |"]
    assert texts.table((good, bad)).splitlines()[2:] == ["| ✅ | `a` | 3s |  |", "| ❌ | `b` | – | x exited 1 |"]
    assert texts.table(()) == ""


def test_a_failure_that_is_allowed_says_so() -> None:
    task = TaskDetails(name="lint", state="failed", note="ruff exited 1", optional=True)
    assert "ruff exited 1 (allowed to fail)" in texts.table((task,))


def test_many_tasks_are_told_as_a_hundred_and_how_many_more() -> None:
    tasks = tuple(TaskDetails(name=f"t{number}" * 200, state="failed", note="n" * 9000) for number in range(120))
    table = texts.table(tasks)
    assert table.splitlines()[-1] == "|  | … and 20 more |  |  |"
    assert len(table.splitlines()) == 103
    assert len(table) < 50_000
    assert Seen(HTML.render(table)).tags.count("td") == 4 * 101


DETAILS = st.builds(
    RunDetails,
    namespace=ANYTHING,
    name=ANYTHING,
    tasks=st.lists(TASKS, max_size=2).map(tuple),
    failed_task=ANYTHING,
    failed_step=ANYTHING,
    log_tail=st.lists(ANYTHING, max_size=4).map("\n".join),
    commit_url=st.sampled_from(["", "https://git.example.com/a/-/commit/1"]),
)
_TAGS = {"p", "strong", "a", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "sub", "details", "summary"}


@given(
    details=DETAILS,
    sentence=ANYTHING,
    context=ANYTHING,
    url=st.sampled_from([None, "https://x.example/a) [b](c", "javascript:x"]),
)
@settings(max_examples=60)
def test_whole_texts_are_what_they_are_meant_to_be_whatever_a_run_brings(
    details: RunDetails, sentence: str, context: str, url: str | None
) -> None:
    given: dict[str, Any] = {"outcome": Outcome.FAILED, "sentence": sentence, "commit": "4f1c2d3e5a6b", "url": url}
    for text in (
        texts.comment(details, context=context, **given),
        texts.summary(details, sentence=sentence * 9),
        texts.message(details, **given),
    ):
        read = seen(text)
        assert set(read.tags) <= _TAGS
        assert not read.comments
        assert read.tags.count("details") <= 1
        assert not _REFERRED.search(read.plain)
        assert len(text) < 40_000


@given(details=DETAILS, sentence=ANYTHING, context=ANYTHING)
@settings(max_examples=40)
@example(details=RunDetails(name=HEAD, failed_step=HEAD, log_tail=HEAD), sentence=HEAD, context=HEAD)
def test_no_run_forges_the_markers_of_a_comment(details: RunDetails, sentence: str, context: str) -> None:
    text = texts.comment(
        details, outcome=Outcome.FAILED, context=context, sentence=sentence, commit="4f1c2d3e", url=None
    )
    section = Section(key="0" * 16, created="0", uid="0", final=True, text=text)
    body = merged(None, section, limit=60_000)
    assert body is not None
    assert body.count("<!--") == HEAD.count("<!--") + 2


@given(context=ANYTHING, ref=st.one_of(st.none(), ANYTHING))
@settings(max_examples=60)
def test_a_title_is_one_line_that_calls_nobody(context: str, ref: str | None) -> None:
    title = texts.title("broken", outcome=Outcome.FAILED, service="", context=context, ref=ref)
    assert "\n" not in title
    assert not _REFERRED.search(title)


@pytest.mark.parametrize(
    ("event", "outcome", "said"),
    [
        ("failed", Outcome.TIMED_OUT, "⌛ s timed out on main (c)"),
        ("failed", Outcome.BROKEN, "💥 s could not run on main (c)"),
        ("broken", Outcome.TIMED_OUT, "⌛ s broken on main (c)"),
        ("fixed", Outcome.SUCCEEDED, "✅ s fixed on main (c)"),
    ],
)
def test_a_title_says_what_happened(event: str, outcome: Outcome, said: str) -> None:
    assert texts.title(event, outcome=outcome, service="s", context="c", ref="main") == said


@given(url=st.text(max_size=40).map(lambda text: f"https://x.example/{text}"))
@settings(max_examples=60)
def test_a_link_ends_where_it_ends(url: str) -> None:
    assert re.fullmatch(r"[\x21-\x7e]+", texts.link(url))
    assert seen(f"[a]({texts.link(url)})after").plain == "aafter\n"


def test_a_usual_link_stays_as_it_is() -> None:
    url = "https://x.example:8443/runs/team-a/run_1?a=b&c=d%20e#build"
    assert texts.link(url) == url
    assert json.loads(f'"{texts.link(url)}"') == url
