"""Where a delivery's token comes from, and a token that may be rotated while the service runs.

The file is looked at (one ``stat``) before each delivery and read again when it changed, or when the host refused what it held. While it
cannot be read, the token of before stays in use: rotation replaces files, and there is a moment without one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from notifiers.base import HostSettings
from notifiers.session import OneRequestSession

_MAX_TOKEN: Final = 64 * 1024  # bytes


class Credentials(Protocol):
    """What workers ask for a token before each delivery, on the delivery's thread. Thread-safe."""

    def of(self, repository: str, session: OneRequestSession, permissions: tuple[str, ...] = ()) -> tuple[str, int]:
        """The token for ``repository`` and its generation, a number that no other token has.

        ``permissions``: what it must be able to write, in the host's words, where one can be asked for; by default commit statuses.
        May make requests through ``session``; raises ``NotifierError`` when there is no token to be had.
        """

    def refused(self, generation: int) -> bool:
        """The host answered 401 to the token of ``generation``. True if ``of`` can get another one at once."""


class Token:
    """The token of one host. Thread-safe; never shows its value in ``repr``."""

    def __init__(self, settings: HostSettings, *, check: Callable[[str, str], str] | None = None) -> None:
        """``check``: what the file holds and the file's name → the token in it, or ``ValueError``; without it a line of ASCII.

        Raises ``ValueError`` or ``OSError`` when there is no token.
        """
        self._path, self._fixed = settings.token_file, settings.token
        self._check = one_line_of_ascii if check is None else check
        self._lock = threading.Lock()
        self._signature: tuple[int, int, int] | None = None
        self._value = ""
        self._generation = 0
        self.current()

    def of(self, repository: str, session: OneRequestSession, permissions: tuple[str, ...] = ()) -> tuple[str, int]:
        """The same for every repository and purpose; makes no request."""
        return self.current()

    def current(self) -> tuple[str, int]:
        """The token and its generation, a number that grows whenever clients have to be made anew."""
        with self._lock:
            if self._path is None:
                self._value = self._value or self._check(self._fixed or "", "the token from the environment")
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
            value = self._check(content.decode("ascii", "replace"), str(path))
        except (OSError, ValueError):
            if not self._value:
                raise
            return
        self._generation += value != self._value
        self._value, self._signature = value, signature

    def fingerprint(self) -> str:
        """A text that is another one for another token and does not give it away."""
        return hashlib.sha256(self.current()[0].encode()).hexdigest()[:12]

    def refused(self, generation: int) -> bool:
        """The host answered 401 to the token of ``generation``: read the file anew, and have clients made anew. Somebody has to
        put another token there first, so this is never True."""
        with self._lock:
            if generation == self._generation:  # else another thread has been here, or the file has changed since
                self._signature = None
                self._generation += 1
        return False


def one_line_of_ascii(text: str, origin: str) -> str:
    """The token in ``text``, without white space around it; raises ``ValueError`` that names ``origin``."""
    token = text.strip()
    if not token:
        raise ValueError(f"{origin} is empty: a token is needed, give token_file or token_env")
    if len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{origin} does not hold a token: one line of ASCII without spaces is needed")
    return token
