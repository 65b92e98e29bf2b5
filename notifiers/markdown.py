"""Cutting Markdown to a host's limit so that what is left is still what was meant.

Cut at the end of a line; a code fence and ``<details>`` that are open there are closed. Promised: never longer than the limit, in the host's own way
to count. Not promised: that a table, a list or a link that spans lines is whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_UNWANTED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_FENCE: Final = re.compile(r" {0,3}(`{3,}+|~{3,}+)(.*)", re.DOTALL)


def utf8(text: str) -> int:
    """The length of ``text`` in bytes, for hosts that count these."""
    return len(text.encode("utf-8", "replace"))


def cut_bytes(text: str, limit: int) -> str:
    """``text`` with at most ``limit`` bytes of UTF-8, never half a character; lone surrogates become question marks."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def cut_markdown(text: str, limit: int, *, units: Callable[[str], int] = len, end: str = "") -> str:
    """``text`` with at most ``limit`` units, without control characters; ``end`` is put below it when something had to go.

    ``units``: how the host counts a text's length; a text of two parts is as long as both of them.
    """
    text = _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).encode("utf-8", "replace").decode()
    if units(text) <= limit:
        return text
    end = f"\n{end}" if end else ""
    room = limit - units(end)
    if room < 0:
        return _beginning(end, limit, units)
    kept, closing, size = 0, "", 0
    lines, opened = text.split("\n"), _Opened()
    for number, line in enumerate(lines, start=1):
        size += units(line) + units("\n")
        if size > room:
            break
        opened.after(line)
        if size + units(opened.closing) <= room:
            kept, closing = number, opened.closing
    if kept:
        return "".join(f"{line}\n" for line in lines[:kept]) + closing + end
    piece = _beginning(lines[0], room, units)
    return end.lstrip("\n") if _FENCE.match(piece) else piece + end


class _Opened:
    """What is open after some lines."""

    def __init__(self) -> None:
        self._fence = ""
        self._details = 0

    @property
    def closing(self) -> str:
        """The lines that close it."""
        return (f"{self._fence}\n" if self._fence else "") + "\n</details>\n" * self._details

    def after(self, line: str) -> None:
        fence = _FENCE.match(line)
        if self._fence:
            if fence is not None and fence[1].startswith(self._fence) and not fence[2].strip():
                self._fence = ""
        elif fence is not None and not (fence[1].startswith("`") and "`" in fence[2]):
            self._fence = fence[1]
        else:
            self._details = max(0, self._details + line.count("<details") - line.count("</details"))


def _beginning(text: str, limit: int, units: Callable[[str], int]) -> str:
    """As many characters as fit."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if units(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low]
