"""Shortening Markdown so that what follows it is not drawn into it: code fences and ``<details>`` that were opened get closed.

Pure. Of a code block, which is mostly a log, the last lines are kept; of everything else the first ones. It knows fences at the beginning of a
line, as the listener writes them; not promised: fences within lists and quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_DETAILS: Final = re.compile(r"<(/?)details\b", re.IGNORECASE)
_LEFT_OUT: Final = "…"
_NOTE: Final = "\n\n*… shortened*"


@dataclass(slots=True)
class _Block:
    """A fenced block: the numbers of the lines within are ``first`` to ``end - 1``."""

    fence: str
    first: int
    end: int


@dataclass(slots=True)
class _Shape:
    """What is open where a text ends."""

    blocks: list[_Block]
    fence: str = ""  #: of the block that has no end
    details: int = 0


def _shape(lines: Sequence[str]) -> _Shape:
    shape = _Shape([])
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if shape.fence:
            if match and match[1].startswith(shape.fence) and not match[2].strip():
                shape.blocks[-1].end, shape.fence = number, ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            shape.fence = match[1]
            shape.blocks.append(_Block(match[1], number + 1, len(lines)))
        else:
            for tag in _DETAILS.finditer(line):
                shape.details = max(0, shape.details + (-1 if tag[1] else 1))
    return shape


def closed(text: str) -> str:
    """``text`` with an end to each code block and each ``<details>`` that it opens."""
    shape = _shape(text.split("\n"))
    fence = f"\n{shape.fence}" if shape.fence else ""
    return text + fence + "\n\n</details>" * shape.details


def shorten(text: str, room: int) -> str:
    """``text`` in ``room`` characters: the longest code block loses its first lines, and if that does not do, the text its last ones."""
    if len(text) <= room:
        return text
    lines = _without_log(text.split("\n"), len(text) - room)
    if len(shorter := "\n".join(lines)) <= room:
        return shorter
    low, high = 0, len(lines)  # so many lines fit, and so many do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(_ended(lines[:middle])) <= room else (low, middle)
    if low:
        return _ended(lines[:low])
    ended = _ended([lines[0][: max(0, room - len(_NOTE))]])
    return ended if len(ended) <= room else _LEFT_OUT[: max(room, 0)]


def _ended(lines: Sequence[str]) -> str:
    return closed("\n".join(lines).rstrip()) + _NOTE


def _without_log(lines: list[str], over: int) -> list[str]:
    """``lines`` without so many of the longest block's first lines that ``over`` characters are saved; its last line stays."""
    blocks = _shape(lines).blocks
    if not blocks:
        return lines
    block = max(blocks, key=lambda block: sum(map(len, lines[block.first : block.end])))
    saved, begin = -len(_LEFT_OUT) - 1, block.first
    while saved < over and begin < block.end - 1:
        saved += len(lines[begin]) + 1
        begin += 1
    return lines if begin == block.first else [*lines[: block.first], _LEFT_OUT, *lines[begin:]]


def fit(texts: Sequence[str], room: int) -> list[str]:
    """``texts`` in ``room`` characters all in all: the longest are shortened, to one length, the others stay."""
    if sum(map(len, texts)) <= room:
        return list(texts)
    left, cap = room, 0
    for number, length in enumerate(sorted(map(len, texts))):
        cap = left // (len(texts) - number)
        if length > cap:
            break
        left -= length
    return [shorten(text, cap) for text in texts]
