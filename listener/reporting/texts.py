"""What people read: Markdown for comments, check runs and chats, from a run's details. Pure.

Everything that a run brings (names, messages, log lines) is hostile: it may hold Markdown, HTML, mentions and markers of ours. ``escape``
makes plain text of it, ``code`` a code span, ``block`` a code block that its content cannot end, ``link`` an address that ends where it ends.
What Git hosts and chats have in common is used and nothing else: bold, code, links, tables, and ``<details>`` where a Git host shows it.
Not every chat renders Markdown, so as little as possible is marked with what would be seen there: a zero width space does where it can.
"""

from __future__ import annotations

import html
import re
from typing import Final
from urllib.parse import quote

from notifiers.reports import Outcome, RunDetails, TaskDetails
from notifiers.text import cut

TAIL_LINES: Final = 30  #: of a log, in a comment or a check run
CHAT_LINES: Final = 10
_TAIL_CHARACTERS: Final = 6000
_LINE_CHARACTERS: Final = 500  # of a log
_NAME: Final = 120  # characters of a name
_NOTE: Final = 300
_LONG: Final = 120  # characters; hosts that show a sentence as a title cut longer ones
_MAX_TASKS: Final = 100  # rows of a table
_BREAK: Final = "\u200b"  # a zero width space: nothing to see, and no mention
# Control characters, line ends, and the marks that turn the direction of writing: a text that holds one can be shown as another one.
_LINE_END: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
# What Git hosts and chats make something of after it was rendered, so that escaping it does not help: mentions, references to issues, requests,
# labels and milestones, addresses, GitLab's marks of changes. And what would be HTML.
_DRAWN_IN: Final = re.compile(
    r"""[@\#!$%~&^](?=[\w"'-]) | [@\#!~&]$ | &(?=\#) | <(?!\s) | [{\[](?=[-+]) | \b(?:www(?=\.)|(?:https?|ftp)(?=://)|mailto(?=:)|xmpp(?=:)|GH(?=-\d))""",
    re.IGNORECASE | re.VERBOSE,
)
_CALL: Final = re.compile(r"<(?=[@!#])")  # how chats write mentions, in code as well, and comments of HTML begin
_AT_FIRST: Final = re.compile(r"(?:[-+=>#]|\d{1,9}(?=[.)]))")  # what begins a list, a heading or a quotation
_SPECIAL: Final = re.compile(r"""[`*\[\]|~$] | \\(?=[!-/:-@\[-`{-~]|$) | (?<!_)_+(?!_)""", re.VERBOSE)
_NOT_IN_LINKS: Final = re.compile(r"""[^!#$%&+,./:;=?@~\w-]|[^\x21-\x7e]""")
_FENCES: Final = re.compile(r"`{3,}")
ICONS: Final = {
    Outcome.QUEUED: "⏳",
    Outcome.RUNNING: "🔵",
    Outcome.SUCCEEDED: "✅",
    Outcome.FAILED: "❌",
    Outcome.TIMED_OUT: "⌛",
    Outcome.CANCELLED: "🚫",
    Outcome.BROKEN: "💥",
    Outcome.DELETED: "🚫",
}
_ALLOWED: Final = "⚠️"  # what has failed, and may
_TASK_ICONS: Final = {
    "succeeded": "✅", "failed": "❌", "timed_out": "⌛", "cancelled": "🚫", "skipped": "⏭️", "running": "🔵", "waiting": "⏳",
}  # fmt: skip
_TOLD: Final = {Outcome.TIMED_OUT: "timed out", Outcome.BROKEN: "could not run"}  # instead of failed
# Of a task's state; "" where the icon says it all.
_WORDS: Final = {"succeeded": "", "failed": "", "timed_out": "timed out", "unknown": "how it ended is not known"}


def escape(text: str) -> str:
    """``text`` as plain text in Markdown, on one line: no formatting, no HTML, no links, nobody mentioned, nothing referred to."""
    line = _unlinked(_LINE_END.sub(" ", text).strip())
    if (found := _AT_FIRST.match(line)) is not None:
        first = found[0]
        return (f"{first}\\" if first.isdecimal() else f"\\{first}") + _marked(line[len(first) :])
    return _marked(line)


def _unlinked(line: str) -> str:
    return _DRAWN_IN.sub(rf"\g<0>{_BREAK}", line)


def _marked(line: str) -> str:
    def mark(found: re.Match[str]) -> str:
        run = found[0]
        if (
            run[0] == "_"
            and line[found.start() - 1 : found.start()].isalnum()
            and line[found.end() : found.end() + 1].isalnum()
        ):
            return run  # within a word it is no emphasis
        return "".join(f"\\{character}" for character in run)

    return _SPECIAL.sub(mark, line)


def link(url: str) -> str:
    """``url`` for within ``[…](…)``, which it cannot end."""
    return _NOT_IN_LINKS.sub(lambda found: quote(found[0], safe=""), url)


def code(text: str) -> str:
    """``text`` as a code span that stands in a table's cell as well; "" for none."""
    line = cut(_LINE_END.sub(" ", text), _NAME).replace("`", "'").replace("|", "¦")
    return f"`{_uncalled(line)}`" if line else ""


def _uncalled(text: str) -> str:
    return _CALL.sub(f"<{_BREAK}", text)


def block(text: str) -> str:
    """``text`` as a code block; "" for none. Its fence is longer than any within."""
    clean = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    if not clean.strip():
        return ""
    fence = "`" * max(3, *(len(found) + 1 for found in _FENCES.findall(clean)), 3)
    return f"{fence}\n{_uncalled(clean)}\n{fence}"


def last_lines(text: str, lines: int, *, characters: int = _TAIL_CHARACTERS) -> str:
    """The last ``lines`` of ``text``, at most so many characters. What is cut begins with a whole line; of a line that was written over, as
    progress bars are, what was seen last is kept, and of a long one its beginning."""
    kept = [_seen(line) for line in text.rstrip().rsplit("\n", lines)[-lines:]] if text else []
    size = 0
    for number, line in enumerate(reversed(kept)):
        size += len(line) + 1
        if size > characters + 1:
            return "\n".join(kept[len(kept) - number :]) or kept[-1][:characters]
    return "\n".join(kept)


def _seen(line: str) -> str:
    shown = line.rstrip("\r").rpartition("\r")[2]
    return shown if len(shown) <= _LINE_CHARACTERS else f"{shown[: _LINE_CHARACTERS - 1]}…"


def table(tasks: tuple[TaskDetails, ...]) -> str:
    """A Markdown table of tasks; "" for none. Its last column is there if there is a note."""
    if not tasks:
        return ""
    shown = [
        (
            _ALLOWED if task.optional and task.state in ("failed", "timed_out") else _TASK_ICONS.get(task.state, "▫️"),
            code(task.name) or "–",
            escape(cut(task.duration, _NAME)) or "–",
            _note(task),
        )
        for task in tasks[:_MAX_TASKS]
    ]
    if len(tasks) > _MAX_TASKS:
        shown.append(("", f"… and {len(tasks) - _MAX_TASKS} more", "", ""))
    columns = 4 if any(note for *_, note in shown) else 3
    rows = [("", "Task", "Duration", "Note"), ("---",) * 4, *shown]
    return "\n".join(f"| {' | '.join(row[:columns])} |" for row in rows)


def _note(task: TaskDetails) -> str:
    word = _WORDS.get(task.state, task.state)
    said = ": ".join(filter(None, (word, cut(task.note, _NOTE))))
    return escape(f"{said} (allowed to fail)".strip() if task.optional else said)


def where(details: RunDetails) -> str:
    """``build › compile``, or ""."""
    return " › ".join(cut(name, _NAME) for name in (details.failed_task, details.failed_step) if name)


def _tail(details: RunDetails, *, lines: int, folded: bool) -> str:
    shown = block(last_lines(details.log_tail, lines))
    if not shown:
        return ""
    head = " of ".join(filter(None, ("Last lines", where(details))))
    if folded:
        summary = html.escape(_unlinked(_LINE_END.sub(" ", head)), quote=False)
        return f"<details><summary>{summary}</summary>\n\n{shown}\n\n</details>"
    return f"{escape(head)}:\n\n{shown}"


def _run(details: RunDetails) -> str:
    return f"PipelineRun {code(f'{details.namespace}/{details.name}')}"


def summary(details: RunDetails, *, sentence: str, task: str = "") -> str:
    """Of a check run: tasks, and what the step that broke printed last. The title says the sentence; it is repeated where a title is too short.
    ``task``: of a check run that is about one task, which needs no table unless it is a matrix."""
    said = escape(sentence) if len(sentence) > _LONG else ""
    tasks = table(details.tasks) if not task or len(details.tasks) > 1 else ""
    return _joined(said, tasks, _tail(details, lines=TAIL_LINES, folded=False), _run(details))


def comment(details: RunDetails, *, outcome: Outcome, context: str, sentence: str, commit: str, url: str | None) -> str:
    """A section of the comment on a merge or pull request."""
    name = _linked(escape(context), url)
    head = f"{ICONS[outcome]} **{name}** {escape(sentence)}"
    tail = _tail(details, lines=TAIL_LINES, folded=True) if outcome.failure else ""
    about = f"<sub>{_run(details)} · commit {_commit(details, commit)}</sub>"
    return _joined(head, table(details.tasks) if outcome.failure else "", tail, about)


def _commit(details: RunDetails, commit: str) -> str:
    return _linked(escape(commit[:8]), details.commit_url) if details.commit_url else code(commit[:8])


def _linked(text: str, url: str | None) -> str:
    usable = url is not None and url.startswith(("https://", "http://"))
    return f"[{text}]({link(url or '')})" if usable else text


def title(event: str, *, outcome: Outcome, service: str, context: str, ref: str | None) -> str:
    """Of a message, in plain text: ``❌ service-xyz broken on main (tekton/build)``."""
    on = f" on {ref}" if ref else ""
    word = _TOLD.get(outcome, event) if event == "failed" else event
    return _unlinked(_LINE_END.sub(" ", f"{ICONS[outcome]} {service or context} {word}{on} ({context})"))


def message(details: RunDetails, *, outcome: Outcome, sentence: str, commit: str, url: str | None) -> str:
    """Of a message: the sentence, the commit, the log's end, the link."""
    tail = _tail(details, lines=CHAT_LINES, folded=False) if outcome.failure else ""
    why = "" if tail else escape(_unsaid(details))
    return _joined(f"{escape(sentence)} · {_commit(details, commit)}", why, tail, _linked("Log", url) if url else "")


def _unsaid(details: RunDetails) -> str:
    """Why a step could not even begin, which no log tells."""
    notes = [task.note.partition("): ")[2] for task in details.tasks if task.state == "failed" and not task.optional]
    return cut(next(filter(None, notes), ""), _NOTE)


def _joined(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))
