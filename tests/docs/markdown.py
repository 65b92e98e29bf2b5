"""Reading our Markdown: its fenced blocks, headings, links and code spans. Line by line, for what we write, not for all of CommonMark."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FENCE: Final = re.compile(r"( *)```(\w*)(.*)")
_MARK: Final = re.compile(r"<!-- (needs|run by): ([^ ]+) -->")
_HEADING: Final = re.compile(r"#{1,6} (.*)")
_SPAN: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences."""

    page: Page
    line: int  #: of its first fence, from 1
    language: str
    text: str  #: without the indentation of the fence
    needs: str = ""  #: what it cannot be run without: cluster, docker, network
    run_by: str = ""  #: the test that runs it

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Page:
    """One file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return _text(self.path)

    @property
    def blocks(self) -> list[Block]:
        return list(_blocks(self))

    @property
    def prose(self) -> str:
        """Without fenced blocks and comments."""
        lines, inside = [], False
        for line in self.text.splitlines():
            if _FENCE.match(line):
                inside = not inside
            elif not inside:
                lines.append(line)
        return re.sub(r"<!--.*?-->", "", "\n".join(lines), flags=re.DOTALL)

    @property
    def spans(self) -> list[str]:
        """Code within the text."""
        return [found.replace(r"\|", "|") for found in _SPAN.findall(self.prose)]

    @property
    def links(self) -> list[str]:
        """Where links and pictures lead."""
        return [first or second for first, second in _LINK.findall(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """What ``#…`` may say."""
        found: set[str] = set()
        for line in self.prose.splitlines():
            if heading := _HEADING.fullmatch(line):
                name = slug = anchor(heading[1])
                number = 0
                while name in found:
                    number += 1
                    name = f"{slug}-{number}"
                found.add(name)
        return found


def pages() -> list[Page]:
    """All that users read."""
    charts = (ROOT / "helm").glob("*/README.md")
    tops = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")
    return [Page(path) for path in (*tops, *sorted((ROOT / "docs").glob("*.md")), *charts)]


def page(name: str) -> Page:
    """By its path from the repository's top."""
    return Page(ROOT / name)


def anchor(heading: str) -> str:
    """As GitHub and GitLab make it of a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip()
    kept = "".join(letter for letter in text.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _blocks(page: Page) -> Iterator[Block]:
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    needs = run_by = ""
    for number, line in enumerate(page.text.splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence is not None:
                opened, lines = (number, fence[1], fence[2]), []
            elif mark := _MARK.fullmatch(line.strip()):
                needs, run_by = (mark[2], "") if mark[1] == "needs" else ("", mark[2])
            elif line.strip():
                needs = run_by = ""
        elif fence is not None and fence[1] == opened[1] and not fence[2]:
            yield Block(page, opened[0], opened[2], "".join(f"{one}\n" for one in lines), needs, run_by)
            opened, needs, run_by = None, "", ""
        else:
            lines.append(line.removeprefix(opened[1]))
    assert opened is None, f"{page}:{opened}: a fence that is not closed"
