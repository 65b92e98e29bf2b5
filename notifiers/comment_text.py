"""The one comment on a merge/pull request: sections between hidden markers, one for each context, merged and cut. Pure.

    <!-- tekton-listener comment -->
    <!-- tekton-listener begin 0d9c…e1 2026-01-31T12:00:00Z 5a1f… final -->
    …what is said of this context…
    <!-- tekton-listener end 0d9c…e1 -->

A marker carries a digest of the context, when the run was created, its uid, and whether it was over. Sections of others are kept as they are, unless
all of them together are too long for the host. What a section says cannot end it, begin another, or draw in what follows: there is no ``<!`` in it
that counts, and its code blocks are closed. What somebody writes between the sections by hand is lost with the next report.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from notifiers.comment_cut import closed, fit
from notifiers.reports import Comment

HEAD: Final = "<!-- tekton-listener comment -->"
MAX_SECTIONS: Final = 100  # the youngest are kept
_BEGIN: Final = re.compile(
    r"^<!-- tekton-listener begin ([0-9a-f]{16}) ([0-9T:.Z+-]{1,40}) ([0-9A-Za-z-]{1,64}) (final|going) -->$",
    re.MULTILINE,
)
_NONE: Final = "0"  # in a marker: not known
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_UID: Final = re.compile(r"[0-9A-Za-z]+(?:-[0-9A-Za-z]+)*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DECLARATION: Final = re.compile(r"<(?=[!?])")
# GitLab's quick actions, and Prow's on GitHub: a line such as "/merge" in a comment would be obeyed.
_COMMAND: Final = re.compile(r"^([ \t>]*)/(?=[A-Za-z_-]+(?:[ \t]|$))", re.MULTILINE)
_INVISIBLE: Final = "\u200b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one context has to say."""

    key: str  #: digest of the context
    created: str  #: RFC 3339 or "0"
    uid: str
    final: bool
    text: str

    @property
    def age(self) -> tuple[float, str]:
        """The larger, the younger its run."""
        try:
            moment = datetime.fromisoformat(self.created)
        except ValueError:
            return 0.0, self.uid
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), self.uid

    def yields_to(self, other: Section) -> bool:
        """True when ``other`` may replace it: said of a younger run, or of the same one and not before its end."""
        return other.age > self.age or (other.age == self.age and (other.final or not self.final))


def section_of(report: Comment) -> Section:
    """What ``report`` has to say, safe between markers."""
    created, uid = report.details.created, report.details.uid
    if not (len(uid) <= 64 and _UID.fullmatch(uid)):
        uid = hashlib.sha256(uid.encode("utf-8", "replace")).hexdigest()[:32] if uid else _NONE
    return Section(
        key=hashlib.sha256(report.context.encode("utf-8", "replace")).hexdigest()[:16],
        created=created if _TIME.fullmatch(created) else _NONE,
        uid=uid,
        final=report.outcome.final,
        text=closed(harmless(report.text)),
    )


def harmless(text: str) -> str:
    """``text`` without control characters, markers, declarations that hide what follows, and lines that are commands to a host or a bot."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    text = _DECLARATION.sub(f"<{_INVISIBLE}", _CONTROL.sub(" ", text))
    return _COMMAND.sub(rf"\1{_INVISIBLE}/", text).strip("\n").rstrip()


def is_ours(body: str) -> bool:
    """True for a comment that begins with the marker; who wrote it is not to be told from the text. A quotation begins otherwise."""
    return body.lstrip().startswith(HEAD)


def merged(body: str | None, section: Section, *, limit: int, only_update: bool = False) -> str | None:
    """The comment with ``section`` in it, in at most ``limit`` characters; None when there is nothing to write: it says so already, or
    something younger, or ``only_update`` and nothing of this context. ``body``: the comment as it is, None for a new one."""
    sections = {} if body is None else _parsed(body)
    known = sections.get(section.key)
    if (known is None and only_update) or (known is not None and not known.yields_to(section)):
        return None
    wanted = _fitted(_bounded({**sections, section.key: section}, section.key), limit)
    return None if wanted == list(sections.values()) else _rendered(wanted)


def _bounded(sections: dict[str, Section], fresh: str) -> list[Section]:
    keys = sorted(sections, key=lambda key: (key == fresh, sections[key].age), reverse=True)[:MAX_SECTIONS]
    return [section for key, section in sections.items() if key in keys]


def _fitted(sections: list[Section], limit: int) -> list[Section]:
    room = limit - len(_rendered([replace(section, text="") for section in sections]))
    texts = fit([section.text for section in sections], room)
    return [replace(section, text=text) for section, text in zip(sections, texts, strict=True)]


def _rendered(sections: list[Section]) -> str:
    return "\n\n".join([HEAD, *map(_between_markers, sections)])


def _between_markers(section: Section) -> str:
    word = "final" if section.final else "going"
    begin = f"<!-- tekton-listener begin {section.key} {section.created} {section.uid} {word} -->"
    return f"{begin}\n\n{section.text}\n\n<!-- tekton-listener end {section.key} -->"


def _parsed(body: str) -> dict[str, Section]:
    """The sections of a comment in their order. One that lost its end, by somebody's hand, ends where the next one begins."""
    body = body.replace("\r\n", "\n")
    begins = [*_BEGIN.finditer(body)]
    ends = [*(begin.start() for begin in begins[1:]), len(body)]
    found: dict[str, Section] = {}
    for begin, end in zip(begins, ends, strict=False):
        text = body[begin.end() : end].partition(f"\n<!-- tekton-listener end {begin[1]} -->")[0].strip("\n")
        section = Section(key=begin[1], created=begin[2], uid=begin[3], final=begin[4] == "final", text=text)
        if begin[1] not in found or found[begin[1]].yields_to(section):
            found[begin[1]] = section
    return found
