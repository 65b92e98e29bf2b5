"""What people read: Markdown for comments, check runs and chats, from a run's details. Pure.

Everything that a run brings (names, messages, log lines) is hostile: it may hold Markdown, HTML, mentions and markers of ours. ``escape``
makes plain text of it, ``code`` a code span, ``block`` a code block that its content cannot end. What Git hosts and chats have in common is
used and nothing else: bold, code, links, tables, and ``<details>`` where a Git host shows it.
"""

from __future__ import annotations

import re
from typing import Final

from notifiers.reports import Outcome, RunDetails, TaskDetails

TAIL_LINES: Final = 30  #: of a log, in a comment or a check run
CHAT_LINES: Final = 10
_TAIL_CHARACTERS: Final = 6000
_MAX_TASKS: Final = 100  # rows of a table
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+!|~^=$-])")
_LINK: Final = re.compile(r"([@#!$%~&][\w-])|\b(www\.|https?:)", re.IGNORECASE)  # mentions, references, addresses
_BREAK: Final = "\u200b"  # a zero width space: nothing to see, and no mention
_LINE_END: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
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
_TASK_ICONS: Final = {
    "succeeded": "✅", "failed": "❌", "timed_out": "⌛", "cancelled": "🚫", "skipped": "⏭️", "running": "🔵", "waiting": "⏳",
}  # fmt: skip


def escape(text: str) -> str:
    """``text`` as plain text in Markdown, on one line: no formatting, no HTML, no links, nobody mentioned, nothing referred to."""
    line = _LINE_END.sub(" ", text).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _LINK.sub(
        lambda found: (found[1][0] + _BREAK + found[1][1]) if found[1] else found[2][0] + _BREAK + found[2][1:], line
    )
    return _SPECIAL.sub(r"\\\1", line)


def code(text: str) -> str:
    """``text`` as a code span that stands in a table's cell as well; "" for none."""
    line = _LINE_END.sub(" ", text).strip().replace("`", "'").replace("|", "¦")
    return f"`{line}`" if line else ""


def block(text: str) -> str:
    """``text`` as a code block; "" for none. Its fence is longer than any within."""
    clean = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip("\n")
    if not clean.strip():
        return ""
    fence = "`" * max(3, *(len(found) + 1 for found in _FENCES.findall(clean)), 3)
    return f"{fence}text\n{clean}\n{fence}"


def last_lines(text: str, lines: int, *, characters: int = _TAIL_CHARACTERS) -> str:
    """The last ``lines`` of ``text``, at most so many characters; what is cut begins with a whole line."""
    kept = "\n".join(text.rstrip("\n").rsplit("\n", lines)[-lines:]) if text else ""
    if len(kept) <= characters:
        return kept
    return kept[-characters:].partition("\n")[2] or kept[-characters:]


def table(tasks: tuple[TaskDetails, ...]) -> str:
    """A Markdown table of tasks; "" for none."""
    if not tasks:
        return ""
    rows = [
        f"| {_TASK_ICONS.get(task.state, '▫️')} | {code(task.name)} | {task.duration or '–'} | {_note(task)} |"
        for task in tasks[:_MAX_TASKS]
    ]
    if len(tasks) > _MAX_TASKS:
        rows.append(f"| | … and {len(tasks) - _MAX_TASKS} more | | |")
    return "\n".join(("| | Task | Duration | |", "|---|---|---|---|", *rows))


def _note(task: TaskDetails) -> str:
    parts = (task.state.replace("_", " ") if task.state not in ("succeeded", "failed") else "", task.note)
    note = escape(": ".join(part for part in parts if part))
    return f"{note} (optional)".strip() if task.optional else note


def where(details: RunDetails) -> str:
    """``build › compile``, or ""."""
    return " › ".join(filter(None, (details.failed_task, details.failed_step)))


def _tail(details: RunDetails, *, lines: int, folded: bool) -> str:
    shown = block(last_lines(details.log_tail, lines))
    if not shown:
        return ""
    head = f"Last lines of {where(details)}"
    if folded:
        summary = head.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return f"<details><summary>{summary}</summary>\n\n{shown}\n\n</details>"
    return f"{escape(head)}:\n\n{shown}"


def summary(details: RunDetails) -> str:
    """Of a check run: tasks, and what the step that broke printed last."""
    run = f"PipelineRun {code(f'{details.namespace}/{details.name}')}"
    return _joined(table(details.tasks), _tail(details, lines=TAIL_LINES, folded=False), run)


def comment(details: RunDetails, *, outcome: Outcome, context: str, sentence: str, url: str | None) -> str:
    """A section of the comment on a merge or pull request."""
    name = f"[{escape(context)}]({url})" if url else escape(context)
    head = f"{ICONS[outcome]} **{name}** {escape(sentence)}"
    run = f"<sub>PipelineRun {code(f'{details.namespace}/{details.name}')}</sub>"
    tail = _tail(details, lines=TAIL_LINES, folded=True) if outcome.failure else ""
    return _joined(head, table(details.tasks) if outcome.failure else "", tail, run)


def title(event: str, *, outcome: Outcome, service: str, context: str, ref: str | None) -> str:
    """Of a message, in plain text: ``❌ service-xyz broken on main (tekton/build)``."""
    on = f" on {ref}" if ref else ""
    return _LINE_END.sub(" ", f"{ICONS[outcome]} {service or context} {event}{on} ({context})")


def message(details: RunDetails, *, outcome: Outcome, sentence: str, commit: str, url: str | None) -> str:
    """Of a message: the sentence, the commit, the log's end, the link."""
    at = f"[{commit[:8]}]({details.commit_url})" if details.commit_url else code(commit[:8])
    tail = _tail(details, lines=CHAT_LINES, folded=False) if outcome.failure else ""
    return _joined(f"{escape(sentence)} · {at}", tail, f"[Log]({url})" if url else "")


def _joined(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))
