"""The archive: finished logs, compressed, for when the pods, the run or this service are gone.

One object per run, ``NAMESPACE/RUN/CREATED_UID.log.gz``: one listing finds the newest run of a name, and a name that was created again
is another object. Its content is the spool, as it is, in gzip form. Replicas may write the same run at the same time: both objects
would be whole, and the last one stays. Nothing is shared between replicas but the objects; deleting at the same time is harmless.

Promised: what comes out is what went in, or an ``ArchiveError``; half a log is never taken for a whole one (gzip's checksum and length, and
the spool's own end). Memory is bounded by a few blocks, whatever a log's size. What does not carry such a name is left alone.
Not promised: that a log is still there; retention is by age and by the size of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import random
import re
import time
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from listener.cluster.names import Key, is_name, is_namespace
from listener.logs.archive_store import BLOCK, ArchiveError, Blob, Store, step
from listener.logs.spool import Spool

__all__ = ["Archive", "ArchiveError", "Entry", "Expired", "Kept", "StoredArchive"]

log = logging.getLogger(__name__)

_LEVEL: Final = 2  # of zlib: as fast as 1, more costs more than it saves (``make bench``, part ``archive``)
_GZIP: Final = 31  # zlib's wbits for the gzip format with the largest window
_EVERY: Final = 3600.0  # seconds between looks for what is too old
_AT_ONCE: Final = 50_000  # objects remembered in one look; more take another one
_BATCH: Final = 200  # objects deleted with one request
_CREATED: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z")
_UID: Final = re.compile(r"[0-9a-zA-Z][-0-9a-zA-Z]{0,63}")
_FILE: Final = re.compile(r"(\d{8}T\d{6}Z)_([0-9a-zA-Z][-0-9a-zA-Z]{0,63})\.log\.gz")


@dataclass(frozen=True, slots=True)
class Kept:
    """The run whose log is to be kept."""

    namespace: str
    name: str
    uid: str
    created: str  #: its creationTimestamp


@dataclass(frozen=True, slots=True)
class Entry:
    """One archived log."""

    namespace: str
    name: str
    uid: str
    created: str  #: the run's creationTimestamp, in whole seconds
    size: int  #: bytes, compressed
    modified: float  #: when it was kept; seconds since 1970


class Expired(NamedTuple):
    """What was deleted, and what is left."""

    logs: int
    bytes: int
    left: int  #: bytes of all logs that stay


class Archive(Protocol):
    """Keeps finished logs and finds them again. Every method raises ``ArchiveError``."""

    async def keep(self, run: Kept, spool: Spool) -> None:
        """Keep a spool that holds its run's end. May be done again, by anybody: the last one stays."""

    async def find(self, key: Key, *, uid: str | None = None) -> Entry | None:
        """The newest log of a name, or that of the run with this UID."""

    async def open(self, entry: Entry, spool: Spool) -> None:
        """Load a log into an empty spool and index it. After an error the spool is of no use: close it."""

    async def expire(self) -> Expired:
        """Delete what is too old, then the oldest until all fit."""

    async def run(self) -> None:
        """Expire at once, then from time to time, until cancelled. Does not raise ``ArchiveError``."""


@dataclass(slots=True, kw_only=True)
class StoredArchive:
    """An archive in a store."""

    store: Store
    keep_seconds: float  #: how long a log is kept
    keep_bytes: int  #: how large all of them may be together, compressed
    level: int = _LEVEL
    every: float = _EVERY  #: seconds

    async def keep(self, run: Kept, spool: Spool) -> None:
        """See ``Archive``. Raises ``ValueError`` for a spool without its run's end."""
        if spool.end_of_run is None:
            raise ValueError("only a whole log is archived")
        name = object_name(run)
        async with contextlib.aclosing(_compressed(spool, spool.size, self.level)) as blocks:
            await self.store.put(name, blocks)

    async def find(self, key: Key, *, uid: str | None = None) -> Entry | None:
        """See ``Archive``."""
        if not (is_namespace(key.namespace) and is_name(key.name)):
            return None
        newest: Entry | None = None
        async for blobs in self.store.listing(f"{key.namespace}/{key.name}/"):
            for blob in blobs:
                entry = entry_of(blob)
                if entry is None or (entry.namespace, entry.name) != key or uid not in (None, entry.uid):
                    continue
                if newest is None or (entry.created, entry.modified) > (newest.created, newest.modified):
                    newest = entry
        return newest

    async def open(self, entry: Entry, spool: Spool) -> None:
        """See ``Archive``."""
        name = object_name(Kept(entry.namespace, entry.name, entry.uid, entry.created))
        try:
            async with contextlib.aclosing(self.store.get(name)) as blocks:
                await self._load(blocks, spool)
            await step(spool.index)
        except (zlib.error, ValueError, OSError) as error:
            raise ArchiveError(f"{name}: damaged: {error}") from None

    async def _load(self, blocks: AsyncGenerator[bytes, None], spool: Spool) -> None:
        inflate = zlib.decompressobj(_GZIP)
        async for block in blocks:
            rest = block
            while True:  # a little may become a lot: never more than one block at once
                data = await step(inflate.decompress, rest, BLOCK)
                rest = inflate.unconsumed_tail
                if data:  # the spool takes no more than it may hold
                    spool.load(data)
                if not rest:  # what is still to come of this block comes with the next one, the checksum at the latest
                    break
            if inflate.unused_data:
                raise ValueError("something follows its end")
        if not inflate.eof:
            raise ValueError("it is cut off")

    async def expire(self) -> Expired:
        """See ``Archive``."""
        gone = Expired(0, 0, 0)
        while True:
            oldest, known, total = await self._oldest()
            doomed, left = self._doomed(oldest, total)
            for start in range(0, len(doomed), _BATCH):
                await self.store.delete([blob.name for blob in doomed[start : start + _BATCH]])
            gone = Expired(gone.logs + len(doomed), gone.bytes + sum(blob.size for blob in doomed), left)
            if not doomed or len(doomed) < len(oldest) or known == len(oldest):
                return gone

    async def _oldest(self) -> tuple[list[Blob], int, int]:
        """The logs that were kept first, oldest first and not more than are remembered; how many there are, and their bytes."""
        heap: list[tuple[float, Blob]] = []  # the youngest of the oldest in front
        known = total = 0
        async for blobs in self.store.listing(""):
            for blob in blobs:
                if entry_of(blob) is None:
                    continue
                known += 1
                total += blob.size
                if len(heap) < _AT_ONCE:
                    heapq.heappush(heap, (-blob.modified, blob))
                else:
                    heapq.heappushpop(heap, (-blob.modified, blob))
        return sorted((blob for _, blob in heap), key=lambda blob: blob.modified), known, total

    def _doomed(self, oldest: list[Blob], total: int) -> tuple[list[Blob], int]:
        """Those of ``oldest`` that go, and the bytes that are left."""
        doomed: list[Blob] = []
        too_old = time.time() - self.keep_seconds
        for blob in oldest:
            if blob.modified >= too_old and total <= self.keep_bytes:
                break
            doomed.append(blob)
            total -= blob.size
        return doomed, total

    async def run(self) -> None:
        """See ``Archive``."""
        while True:
            try:
                expired = await self.expire()
                if expired.logs:
                    log.info("archive: %d logs (%d bytes) deleted, %d bytes left", *expired)
            except ArchiveError as error:
                log.warning("archive: cannot delete what is too old: %s", error)
            except Exception:
                log.exception("archive: deleting what is too old failed")
            await asyncio.sleep(self.every * random.uniform(0.9, 1.1))  # noqa: S311 - only spreads replicas


def object_name(run: Kept) -> str:
    """Where a run's log is. Raises ``ArchiveError`` for what cannot be a run's name."""
    created = _CREATED.fullmatch(run.created)
    if not (is_namespace(run.namespace) and is_name(run.name) and _UID.fullmatch(run.uid) and created):
        raise ArchiveError(f"not a run that can be archived: {run!r}")
    year, month, day, hour, minute, second = created.groups()
    return f"{run.namespace}/{run.name}/{year}{month}{day}T{hour}{minute}{second}Z_{run.uid}.log.gz"


def entry_of(blob: Blob) -> Entry | None:
    """What an object of the store is; None for what is no log of ours."""
    parts = blob.name.split("/")
    if len(parts) != 3 or not is_namespace(parts[0]) or not is_name(parts[1]):
        return None
    file = _FILE.fullmatch(parts[2])
    if file is None:
        return None
    at = file[1]
    created = f"{at[:4]}-{at[4:6]}-{at[6:8]}T{at[9:11]}:{at[11:13]}:{at[13:]}"
    return Entry(parts[0], parts[1], file[2], created, blob.size, blob.modified)


async def _compressed(spool: Spool, size: int, level: int) -> AsyncGenerator[bytes, None]:
    deflate = zlib.compressobj(level, zlib.DEFLATED, _GZIP)

    def squeeze(offset: int) -> bytes:
        wanted = min(BLOCK, size - offset)
        data = spool.raw(offset, wanted)
        if len(data) != wanted:
            raise ArchiveError("the spool is shorter than it was")
        return deflate.compress(data)

    try:
        for offset in range(0, size, BLOCK):
            if data := await step(squeeze, offset):
                yield data
        yield await step(deflate.flush)
    except (OSError, ValueError) as error:
        raise ArchiveError(f"the spool cannot be read: {error}") from None
