"""``$(…)``, Tekton's own notation, for values that a run brings: substitution and nothing else.

No expressions, no attributes, no nesting: a value that itself holds ``$(…)`` stays text. A template is parsed once, when the configuration
is read, so that a typing error is found there and with its position. Texts for people (descriptions, comments, messages) may name more, for
when they are written it is known what became of the run: ``FACTS``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SOURCES: Final = ("params", "results", "labels", "annotations")
RUN_FIELDS: Final = ("name", "namespace", "pipeline")
#: What texts may say beyond: what became of the run, its commit, where it broke and what was printed last there.
FACTS: Final = {
    "run": (
        "state", "event", "sentence", "duration", "created", "started", "completed", "reason", "message", "url", "tasks",
    ),
    "commit": ("sha", "short", "ref", "repository", "url"),
    "failed": ("task", "step", "exit_code"),
    "log": ("tail",),
}  # fmt: skip

_BRACKET: Final = re.compile(r"""(params|results|labels|annotations)\[(?:"([^"\]]+)"|'([^'\]]+)')\]""")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """One ``$(…)``: ``params.revision`` has the source ``params`` and the name ``revision``; ``service`` has no name."""

    source: str
    name: str = ""

    def __str__(self) -> str:
        return f"$({self.source}.{self.name})" if self.name else f"$({self.source})"


@dataclass(frozen=True, slots=True)
class Missing:
    """What rendering gives when a reference has no value."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class Template:
    """Text with references. Make it with ``Template.parse``."""

    text: str
    parts: tuple[str | Reference, ...]

    @classmethod
    def parse(cls, text: str, *, facts: bool = False) -> Template:
        """Raises ``ValueError`` that says at which character and what was perhaps meant. ``facts``: ``FACTS`` may be named, too."""
        parts: list[str | Reference] = []
        at = 0
        while (start := text.find("$(", at)) >= 0:
            end = text.find(")", start)
            if end < 0:
                raise ValueError(f"'$(' at character {start + 1} is not closed with ')'")
            if start > at:
                parts.append(text[at:start])
            parts.append(_reference(text[start + 2 : end], start + 1, facts=facts))
            at = end + 1
        if at < len(text):
            parts.append(text[at:])
        return cls(text, tuple(parts))

    @property
    def references(self) -> tuple[Reference, ...]:
        """All references, in order."""
        return tuple(part for part in self.parts if isinstance(part, Reference))

    def render(self, lookup: Callable[[Reference], str | None]) -> str | Missing:
        """The text with every reference replaced by what ``lookup`` gives; ``Missing`` for the first that gives None or ""."""
        rendered = []
        for part in self.parts:
            if isinstance(part, str):
                rendered.append(part)
            elif value := lookup(part):
                rendered.append(value)
            else:
                return Missing(part)
        return "".join(rendered)

    def fill(self, lookup: Callable[[Reference], str | None]) -> str:
        """The text for people: a reference without a value leaves nothing behind."""
        return "".join(part if isinstance(part, str) else lookup(part) or "" for part in self.parts)

    def __str__(self) -> str:
        return self.text


def _reference(inside: str, position: int, *, facts: bool) -> Reference:
    if inside == "service":
        return Reference("service")
    if match := _BRACKET.fullmatch(inside):
        return Reference(match[1], match[2] or match[3])
    source, dot, name = inside.partition(".")
    where = f"$({inside}) at character {position}"
    fields = _fields(facts=facts)
    if name in fields.get(source, ()):
        return Reference(source, name)
    if source in SOURCES and dot and _NAME.fullmatch(name):
        return Reference(source, name)
    if source in SOURCES:
        raise ValueError(f"{where}: write $({source}.NAME)")
    known = [f"{source}.{field}" for field in fields.get(source, ())] or [*SOURCES, *fields, "service"]
    close = difflib.get_close_matches(inside if source in fields else source, known, n=1)
    names = [f"{source}.{field}" for source, found in fields.items() for field in found]
    everything = ", ".join(("params.NAME, results.NAME, labels.KEY, annotations.KEY", *names, "service"))
    hint = f"did you mean {close[0]}?" if close else f"known are {everything}"
    if not facts and name in FACTS.get(source, ()):
        hint = "that is known only in descriptions, comments and messages"
    raise ValueError(f"{where} is unknown; {hint}")


def _fields(*, facts: bool) -> dict[str, tuple[str, ...]]:
    """What may stand behind the dot, by what stands before it, where that is a closed list."""
    if not facts:
        return {"run": RUN_FIELDS}
    return {**FACTS, "run": (*RUN_FIELDS, *FACTS["run"])}
