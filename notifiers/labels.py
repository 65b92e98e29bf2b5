"""Which labels are to be added and removed, whatever the host is, and which names cannot be labels at all. Pure.

A name is never cut or changed: that would be another label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from notifiers.base import PermanentError
from notifiers.reports import Labels
from notifiers.text import cut, one_line


@dataclass(frozen=True, slots=True)
class Changes:
    """Each label once, and none in both: what is to be added is not removed."""

    add: tuple[str, ...]
    remove: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def wanted(report: Labels, *, host: str, limit: int, why_not: Callable[[str], str | None]) -> Changes:
    """What ``report`` asks for. Raises ``PermanentError`` for a name that the host could not take as it is: empty, on more than one line,
    with spaces at an end, longer than ``limit``, or what ``why_not`` says."""
    for name in (*report.add, *report.remove):
        if (reason := _why_not(name, limit) or why_not(name)) is not None:
            raise PermanentError(f"{host}: {cut(name, 60)!r} cannot be a label: {reason}")
    return Changes(tuple(dict.fromkeys(report.add)), tuple(dict.fromkeys(report.remove)))


def changes(asked: Changes, has: Iterable[str], *, same: Callable[[str], str] = str) -> Changes:
    """What of ``asked`` is left to do on a request that ``has`` these labels; ``same``: what two names have in common that are one to the host."""
    present, kept = {same(name) for name in has}, {same(name) for name in asked.add}
    return Changes(
        tuple(name for name in asked.add if same(name) not in present),
        tuple(name for name in asked.remove if same(name) in present and same(name) not in kept),
    )


def _why_not(name: str, limit: int) -> str | None:
    if not name.strip():
        return "it is empty"
    if one_line(name) != name:
        return "it has spaces at an end, or control characters"
    return f"it has more than {limit} characters" if len(name) > limit else None
