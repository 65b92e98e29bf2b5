"""A token that may be rotated while the service runs.

The file is looked at (one ``stat``) before each delivery and read again when it changed, or when the host refused what it held. While it
cannot be read, the token of before stays in use: rotation replaces files, and there is a moment without one.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Final

from notifiers.base import HostSettings

_MAX_TOKEN: Final = 64 * 1024  # bytes


class Token:
    """The token of one host. Thread-safe; never shows its value in ``repr``."""

    def __init__(self, settings: HostSettings) -> None:
        """Raises ``ValueError`` or ``OSError`` when there is no token."""
        self._path, self._fixed = settings.token_file, settings.token
        self._lock = threading.Lock()
        self._signature: tuple[int, int, int] | None = None
        self._value = ""
        self._generation = 0
        self.current()

    def current(self) -> tuple[str, int]:
        """The token and its generation, a number that grows whenever clients have to be made anew."""
        with self._lock:
            if self._path is None:
                self._value = self._value or _checked(self._fixed or "", "the token from the environment")
            else:
                self._look(self._path)
            return self._value, self._generation

    def _look(self, path: Path) -> None:
        try:
            stat = path.stat()
            signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if signature == self._signature:
                return
            with path.open("rb") as file:
                content = file.read(_MAX_TOKEN + 1)
            value = _checked(content.decode("ascii", "replace"), str(path))
        except (OSError, ValueError):
            if not self._value:
                raise
            return
        self._generation += value != self._value
        self._value, self._signature = value, signature

    def fingerprint(self) -> str:
        """A text that is another one for another token and does not give it away."""
        return hashlib.sha256(self.current()[0].encode()).hexdigest()[:12]

    def refused(self, generation: int) -> None:
        """The host answered 401 to the token of ``generation``: read the file anew, and have clients made anew."""
        with self._lock:
            if generation == self._generation:  # else another thread has been here, or the file has changed since
                self._signature = None
                self._generation += 1


def _checked(text: str, origin: str) -> str:
    token = text.strip()
    if not token:
        raise ValueError(f"{origin} is empty: a token is needed, give token_file or token_env")
    if len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{origin} does not hold a token: one line of ASCII without spaces is needed")
    return token
