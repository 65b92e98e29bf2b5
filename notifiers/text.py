"""Cutting texts to a host's limits: the one place that does it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ELLIPSIS: Final = "…"
_SHA: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def one_line(text: str) -> str:
    """``text`` on one line: control characters and line breaks become single spaces, lone surrogates question marks."""
    return _CONTROL.sub(" ", text).strip().encode("utf-8", "replace").decode()


def cut(text: str, limit: int) -> str:
    """``text`` on one line and with at most ``limit`` characters; cut at a word where one ends near, with an ellipsis."""
    line = one_line(text)
    if len(line) <= limit:
        return line
    if limit < 1:
        return ""
    room = line[: limit - 1]
    space = room.rfind(" ")
    if space >= limit * 2 // 3:
        room = room[:space]
    return room.rstrip() + _ELLIPSIS


def usable_url(url: str | None, limit: int) -> str | None:
    """``url`` if a host will take it: http or https and at most ``limit`` characters. A cut link leads nowhere, so: all or none."""
    if not url or len(url) > limit or _CONTROL.search(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def is_sha(text: str) -> bool:
    """True for 40 or 64 lower-case hex digits."""
    return _SHA.fullmatch(text) is not None
