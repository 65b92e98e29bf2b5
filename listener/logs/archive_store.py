"""What an archive needs of a place for its objects: whole objects put, read, listed and deleted, by names like ``a/b/c``.

Implemented by ``archive_folder`` (a directory) and ``archive_cloud`` (S3-compatible, Google Cloud, Azure). A store promises that an object
is there whole or not at all, and that whatever goes wrong is an ``ArchiveError``. It does not promise an order, or that two
writers of one name see each other: the last one wins.

``step`` runs short blocking work in threads of the archive's own, so that a disk that hangs holds up nothing else.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, ParamSpec, Protocol, TypeVar

BLOCK: Final = 1024 * 1024  # bytes handled at once
_THREADS: Final = ThreadPoolExecutor(4, thread_name_prefix="archive")
_SETTLE: Final = 5.0  # seconds that a cancelled step may take to end
P = ParamSpec("P")
T = TypeVar("T")


class ArchiveError(Exception):
    """The archive cannot do it: not reachable, refused, or what is there is damaged. One sentence says which."""


class Blob(NamedTuple):
    """One object in a listing."""

    name: str
    size: int  #: bytes
    modified: float  #: seconds since 1970


class Store(Protocol):
    """A place for objects."""

    async def put(self, name: str, blocks: AsyncGenerator[bytes, None]) -> None:
        """Make an object of ``blocks``, or nothing at all if they raise."""

    def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """The object's bytes in blocks. Close it (``aclosing``)."""

    def listing(self, prefix: str) -> AsyncIterator[Sequence[Blob]]:
        """What is there under ``prefix`` (whole segments; "" for everything), some at a time."""

    async def delete(self, names: Sequence[str]) -> None:
        """Delete; what is not there is no error."""


async def step(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``function`` in a thread. Whoever is cancelled meanwhile waits for its end: nothing that it uses is closed under it."""
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(_THREADS, functools.partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if not work.done():
            await asyncio.wait([work], timeout=_SETTLE)
        if work.done() and not work.cancelled():
            work.exception()  # seen, for nobody else will ask
        raise
