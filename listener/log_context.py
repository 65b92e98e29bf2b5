"""What a log line is about: the run, the repository, the host, the attempt. Set where the work begins, found on every line within.

Kept in a context variable, so it follows ``await`` and new tasks by itself, and to worker threads where these are given the context
(``notifiers.blocking``, ``asyncio.to_thread``). It costs one dictionary per delivery and is read only when a line is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Final

FIELDS: Final = ("run", "host", "repository", "report", "attempt")  # in the order in which they are shown
_NOTHING: Final[Mapping[str, str | int]] = {}
_about: ContextVar[Mapping[str, str | int]] = ContextVar("log_context", default=_NOTHING)


def fields() -> Mapping[str, str | int]:
    """What is being worked on here; see ``FIELDS``."""
    return _about.get()


@contextlib.contextmanager
def about(**found: str | int) -> Iterator[None]:
    """Lines that are written within are about this, too. Not for an async generator: leave it where it was entered."""
    token = _about.set({**_about.get(), **found})
    try:
        yield
    finally:
        _about.reset(token)
