"""``$(…)``, Tekton's own notation, for values that a run brings: substitution and nothing else.

No expressions, no attributes, no nesting: a value that itself holds ``$(…)`` stays text. A template is parsed once, when the configuration
is read, so that a typing error is found there and with its position.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SOURCES: Final = ("params", "results", "labels", "annotations")
RUN_FIELDS: Final = ("name", "namespace", "pipeline")

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
    def parse(cls, text: str) -> Template:
        """Raises ``ValueError`` that says at which character and what was perhaps meant."""
        parts: list[str | Reference] = []
        at = 0
        while (start := text.find("$(", at)) >= 0:
            end = text.find(")", start)
            if end < 0:
                raise ValueError(f"'$(' at character {start + 1} is not closed with ')'")
            if start > at:
                parts.append(text[at:start])
            parts.append(_reference(text[start + 2 : end], start + 1))
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

    def __str__(self) -> str:
        return self.text


def _reference(inside: str, position: int) -> Reference:
    if inside == "service":
        return Reference("service")
    if match := _BRACKET.fullmatch(inside):
        return Reference(match[1], match[2] or match[3])
    source, dot, name = inside.partition(".")
    where = f"$({inside}) at character {position}"
    if source == "run" and name in RUN_FIELDS:
        return Reference("run", name)
    if source in SOURCES and dot and _NAME.fullmatch(name):
        return Reference(source, name)
    if source in SOURCES:
        raise ValueError(f"{where}: write $({source}.NAME)")
    known = [f"run.{field}" for field in RUN_FIELDS] if source == "run" else [*SOURCES, "run", "service"]
    close = difflib.get_close_matches(inside if source == "run" else source, known, n=1)
    everything = (
        "params.NAME, results.NAME, labels.KEY, annotations.KEY, run.name, run.namespace, run.pipeline, service"
    )
    hint = f"did you mean {close[0]}?" if close else f"known are {everything}"
    raise ValueError(f"{where} is unknown; {hint}")
