"""Keeping secrets out of what others say: a receiver, or a library on the way, may repeat what it was sent.

What is hidden are the secrets that we know, and words that look like one. Not promised: to find a secret that was encoded in a new way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

_HIDDEN: Final = "[hidden]"
_SHORTEST: Final = 4  # characters; hiding less would leave no words, and protect nothing
_URLS: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_LOOKS_SECRET: Final = re.compile(r"(?=[^\s]*\d)[A-Za-z0-9+/=_.:~-]{20,}")
_BETWEEN: Final = re.compile(r"[/:@?&=,;#\s]+")


class Hiding:
    """Replaces secrets by ``[hidden]``. Its ``repr`` shows none."""

    def __init__(self, *secrets: str) -> None:
        found = {form for secret in secrets for form in (secret, unquote(secret)) if len(form) >= _SHORTEST}
        longest_first = sorted(found, key=lambda secret: (-len(secret), secret))
        self._known = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if found else None

    def clean(self, text: str) -> str:
        """``text`` without the secrets, without URLs, and without long words that look like a token."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        return _LOOKS_SECRET.sub(_HIDDEN, _URLS.sub("[url]", text))


def pieces_of(url: str, *, shortest: int = _SHORTEST, host: bool = True) -> Iterable[str]:
    """Every part of ``url`` but its scheme that has at least ``shortest`` characters, and what follows the host as a whole.

    ``host``: whether what is before the path is hidden as well, with user and password.
    """
    before, slash, path = url.partition("://")[2].partition("/")
    whole = [url, slash + path, path] if host else [slash + path, path]
    parts = _BETWEEN.split(f"{before}/{path}" if host else path)
    yield from (piece for piece in (*whole, *parts) if len(piece) >= shortest)
