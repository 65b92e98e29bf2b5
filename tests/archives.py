"""What tests of the archive need: spools with something in them, and an archive in a bucket of the S3 server."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Self

from listener.config import Place
from listener.logs.archive import Entry, Kept, StoredArchive
from listener.logs.archive_cloud import CloudStore, Patience
from listener.logs.archive_store import Store
from listener.logs.spool import DEFAULT_LIMIT, End, Source, Spool

DAY = 86400.0
RUN = Kept("team-a", "build-1", "0b8f7c1e-0000-4000-8000-000000000001", "2026-03-01T12:00:00Z")
QUICK = Patience(connect=5.0, silence=20.0, request=30.0, retries=2, retrying=30.0, listing=40.0, transfer=60.0)


class Shelf:
    """Spools, closed at the end of the test."""

    def __init__(self) -> None:
        self._spools: list[Spool] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for spool in self._spools:
            spool.close()

    def empty(self, *, limit: int = DEFAULT_LIMIT) -> Spool:
        """A spool with nothing in it."""
        self._spools.append(Spool(limit=limit))
        return self._spools[-1]

    def spool_of(self, text: bytes = b"one\ntwo\n", *, size: int = 0, limit: int = DEFAULT_LIMIT) -> Spool:
        """A whole log: ``text`` over and over up to ``size`` bytes, and some that do not compress, of two tasks."""
        spool = self.empty(limit=limit)
        sources = [spool.source(Source(task, "step")) for task in ("compile", "test")]
        noise = random.Random(1)  # noqa: S311 - the same each time
        number = 0
        while number == 0 or spool.size < size:
            line = b"2026-03-01T12:00:00.%09dZ " % number
            spool.append(sources[number % 2], line + text)
            if size:
                spool.append(sources[0], line + noise.randbytes(4096).hex().encode() + b"\n")
            number += 1
        spool.task_over("compile")
        spool.finish(End("Failed", "test failed", "message", "Failed", "False"))
        return spool

    async def reopened(self, archive: StoredArchive, entry: Entry | None) -> Spool:
        """What the archive gives back."""
        assert entry is not None
        spool = self.empty()
        await archive.open(entry, spool)
        return spool


def content(spool: Spool) -> bytes:
    return spool.raw(0, spool.size)


def archive_in(store: Store, *, keep: float = 30 * DAY, keep_bytes: int = 10**12) -> StoredArchive:
    return StoredArchive(store=store, keep_seconds=keep, keep_bytes=keep_bytes)


def bucket_store(
    url: str, bucket: str, folder: Path, *, patience: Patience = QUICK, prefix: str = "logs/ci"
) -> CloudStore:
    """A store in the S3 server at ``url``, with credentials from files in ``folder``."""
    for name in ("id", "key"):
        if not (folder / name).exists():
            (folder / name).write_text(f"{name}-1\n")
    return CloudStore(
        place=Place("s3", bucket, prefix),
        options={"endpoint": url, "region": "us-east-1"},
        secrets={"access_key_id": folder / "id", "secret_access_key": folder / "key"},
        patience=patience,
    )


def age(path: Path, seconds: float) -> None:
    """Make a file look as if it was written so long ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
