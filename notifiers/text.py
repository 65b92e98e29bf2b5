"""Cutting texts to a host's limits, and telling whether a link or a commit id is one: the one place that does it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

# With the marks that turn the direction of writing: a text that holds one can be shown as another one.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\s]")
_ELLIPSIS: Final = "…"
_SHA: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def one_line(text: str) -> str:
    """``text`` on one line: control characters and line breaks become single spaces, lone surrogates question marks."""
    return _CONTROL.sub(" ", text).strip().encode("utf-8", "replace").decode()


def cut(text: str, limit: int, *, units: Callable[[str], int] = len) -> str:
    """``text`` on one line and with at most ``limit`` characters; cut at a word where one ends near, with an ellipsis.

    ``units``: how the host counts a text's length, where it does not count characters.
    """
    return _fitting(_cut, one_line(text), limit, units)


def distinct(text: str, limit: int, *, units: Callable[[str], int] = len) -> str:
    """As ``cut``, for what names something: two long texts that begin alike stay two.

    What is too long ends with eight digits of its hash. ``limit`` is 10 or more.
    """
    return _fitting(_hashed, one_line(text), limit, units)


def utf16(text: str) -> int:
    """The length of ``text`` as Java and .NET count it: an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


def _fitting(shorten: Callable[[str, int], str], line: str, limit: int, units: Callable[[str], int]) -> str:
    room, short = limit, shorten(line, limit)
    while room > 0 and (over := units(short) - limit) > 0:
        room -= (over + 1) // 2  # a character is two units at most
        short = shorten(line, room)
    return short


def _cut(line: str, limit: int) -> str:
    if len(line) <= limit:
        return line
    if limit < 1:
        return ""
    room = line[: limit - 1]
    space = room.rfind(" ")
    if line[limit - 1] != " " and space >= limit * 2 // 3:
        room = room[:space]
    return room.rstrip() + _ELLIPSIS


def _hashed(line: str, limit: int) -> str:
    if len(line) <= limit:
        return line
    return f"{line[: max(limit - 9, 0)].rstrip()}-{hashlib.sha256(line.encode()).hexdigest()[:8]}"


def usable_url(url: str | None, limit: int) -> str | None:
    """``url`` if a host will take it, else None: http or https, no user in it, at most ``limit`` characters.

    A link that was cut leads nowhere, so it is all or none.
    """
    if not url or len(url) > limit or _NOT_IN_URLS.search(url):
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return url if usable and "@" not in parts.netloc else None


def is_sha(text: str) -> bool:
    """True for 40 or 64 lower-case hex digits."""
    return _SHA.fullmatch(text) is not None
