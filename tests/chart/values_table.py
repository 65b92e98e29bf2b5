"""``python -m tests.chart.values_table`` writes the table of values into the chart's README, from the comments of values.yaml.

A key's comment is what stands right above it. Keys without one are found by a test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from tests.chart.rendering import CHART

README: Final = CHART / "README.md"
_BEGIN, _END = "<!-- values, from values.yaml by: make schema -->\n", "<!-- end of the values -->\n"
#: Kubernetes' own structures: their keys are not ours to explain.
WHOLE: Final = (
    "deployment.resources",
    "deployment.podSecurityContext",
    "deployment.securityContext",
    "autoscaling.behavior",
    "metrics.dashboard.labels",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of values.yaml."""

    name: str  #: with the keys around it: ingress.enabled
    comment: str  #: "" for none
    default: Any
    section: bool  #: it has keys of its own, which are explained one by one


def entries() -> Iterator[Entry]:
    """All keys, in their order."""
    text = (CHART / "values.yaml").read_text()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _entries(root, text.splitlines(), yaml.safe_load(text), "")


def _entries(node: yaml.MappingNode, lines: list[str], values: dict[str, Any], prefix: str) -> Iterator[Entry]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        default = values[key.value]
        section = bool(isinstance(value, yaml.MappingNode) and value.value) and name not in WHOLE
        yield Entry(name, _comment(lines, key.start_mark.line), default, section)
        if section:
            yield from _entries(value, lines, default, f"{name}.")


def _comment(lines: list[str], line: int) -> str:
    """The comment above a line, without examples: lines of YAML that are commented out."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").removeprefix(" "))
    prose = [text for text in found if not text.startswith("nginx.")]
    return " ".join(prose)


def table() -> str:
    """The values as Markdown."""
    rows = ["| Key | Default | |", "|---|---|---|"]
    for entry in entries():
        if entry.section:
            rows.append(f"| **{entry.name}** | | {_cell(entry.comment)} |")
        else:
            rows.append(
                f"| `{entry.name}` | `{json.dumps(entry.default, ensure_ascii=False)}` | {_cell(entry.comment)} |"
            )
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def written() -> str:
    """What the README is to hold."""
    before, _, rest = README.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{table()}{_END}{after}"


if __name__ == "__main__":
    README.write_text(written())
