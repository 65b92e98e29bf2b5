"""What the doctor says: findings by area, as lines for people or as JSON for machines. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from listener import __version__
from notifiers.base import Finding

OK, WARNING, PROBLEM, UNKNOWN = "ok", "warning", "problem", "unknown"
_WORDS: Final = {OK: "ok", WARNING: "warning", PROBLEM: "problem", UNKNOWN: "could not tell"}


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one area: ``cluster``, ``host gitlab``, …"""

    area: str
    findings: Sequence[Finding]


def one(what: str, state: str, said: str, advice: str = "") -> Finding:
    return Finding(what=what, state=state, said=_line(said), advice=_line(advice))


def lines(found: Found) -> list[str]:
    """For people: one line each, and one more with what to do."""
    shown = []
    for finding in found.findings:
        state = _WORDS.get(finding.state, finding.state)
        shown.append(f"{state:<15}{found.area}: {finding.what}: {_line(finding.said)}")
        if finding.advice and finding.state != OK:
            shown.append(f"{'':<15}-> {_line(finding.advice)}")
    return shown


def summary(everything: Iterable[Found]) -> str:
    """``12 ok, 1 problem``."""
    counted = Counter(finding.state for found in everything for finding in found.findings)
    words = {OK: "ok", WARNING: "warnings", PROBLEM: "problems", UNKNOWN: "could not be told"}
    singular = {WARNING: "warning", PROBLEM: "problem"}
    parts = [f"{n} {singular.get(s, w) if n == 1 else w}" for s, w in words.items() if (n := counted[s])]
    return ", ".join(parts) or "nothing was checked"


def is_well(everything: Iterable[Found]) -> bool:
    """No problem was found; what could not be told is none."""
    return not any(finding.state == PROBLEM for found in everything for finding in found.findings)


def as_json(everything: Sequence[Found]) -> str:
    """For machines."""
    entries = [
        {"area": found.area, "what": f.what, "state": f.state, "said": f.said, "advice": f.advice}
        for found in everything
        for f in found.findings
    ]
    return json.dumps({"version": __version__, "well": is_well(everything), "findings": entries}, indent=2)


def _line(text: str) -> str:
    """Hosts and clusters are quoted: what they say stays on its line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
