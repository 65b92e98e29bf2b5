"""The bench's table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure, from one or several measurements."""

    what: str
    unit: str
    values: Sequence[float]
    aim: str = ""


def table(rows: Sequence[Row]) -> str:
    """Markdown: minimum, median and maximum of each figure, and what was aimed for."""
    lines = ["| what | min | median | max | aim |", "|---|---|---|---|---|"]
    for row in rows:
        low, middle, high = min(row.values), statistics.median(row.values), max(row.values)
        figures = " | ".join(f"{value:.2f} {row.unit}" for value in (low, middle, high))
        lines.append(f"| {row.what} | {figures} | {row.aim} |")
    return "\n".join(lines)
