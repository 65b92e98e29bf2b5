"""An archive's objects in S3-compatible, Google Cloud or Azure storage, through obstore (the extra ``archive``).

Imported only where such a place is configured. Every request has a time limit and a bounded number of retries, and every operation one for
all of it. Secrets come from files, which are read again when they change, or from the provider's usual environment variables.

Not promised: that an upload which broke off leaves nothing behind. It is never visible as an object, but its parts may stay in the bucket
until a life-cycle rule for incomplete multipart uploads removes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from listener.config import Place, read_secret
from listener.logs.archive_store import BLOCK, ArchiveError, Blob

_STORES: Final[Mapping[str, type[S3Store] | type[GCSStore] | type[AzureStore]]] = {
    "s3": S3Store,
    "gs": GCSStore,
    "az": AzureStore,
}
_PART: Final = 8 * 1024 * 1024  # bytes of a part of an upload; S3 asks for 5 MiB at least
_PARTS: Final = 2  # sent at the same time
_LISTED: Final = 1000  # names of a page


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, in seconds, and how often is tried."""

    connect: float = 5.0
    silence: float = 30.0  #: without a byte of an answer; for a part of an upload, until its answer begins
    request: float = 300.0  #: one request with its body
    retries: int = 3  #: of one request
    retrying: float = 60.0  #: after this no retry begins
    listing: float = 120.0  #: a whole operation without a body
    transfer: float = 1800.0  #: a whole upload or download


@dataclass(slots=True, kw_only=True)
class CloudStore:
    """A ``Store`` in a bucket, or in Azure's words a container."""

    place: Place
    options: Mapping[str, str]  #: obstore's own names and values, nothing secret
    secrets: Mapping[str, Path] = field(default_factory=dict)  #: obstore's own names and the files with their values
    ca_file: Path | None = None
    patience: Patience = field(default_factory=Patience)
    _read: Mapping[str, str] | None = field(default=None, repr=False)  # what the files held when ``_made`` was made
    _made: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises ``ArchiveError`` for settings that cannot be used."""
        self._store()

    async def put(self, name: str, blocks: AsyncGenerator[bytes, None]) -> None:
        """See ``Store``. What fits into one part is sent with one request."""
        try:
            async with asyncio.timeout(self.patience.transfer):
                first = b"".join([block async for block in _up_to(_PART, blocks)])
                if len(first) <= _PART:
                    await obstore.put_async(self._store(), name, first, use_multipart=False)
                    return
                feed = _Feed(first, blocks)
                try:
                    await obstore.put_async(self._store(), name, feed, chunk_size=_PART, max_concurrency=_PARTS)
                finally:
                    await feed.close()
        except (BaseError, OSError, ValueError) as error:
            raise self._error(f"cannot write {name}", error) from None

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """See ``Store``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience.transfer
        try:
            async with asyncio.timeout_at(end):
                result = await obstore.get_async(self._store(), name)
            chunks = aiter(result.stream(min_chunk_size=BLOCK))
            while True:
                async with asyncio.timeout_at(end):
                    chunk = await anext(chunks, b"")
                if not chunk:
                    return
                yield bytes(chunk)
        except (BaseError, OSError, ValueError) as error:
            raise self._error(f"cannot read {name}", error) from None

    async def listing(self, prefix: str) -> AsyncIterator[Sequence[Blob]]:
        """See ``Store``."""
        try:
            pages = aiter(obstore.list(self._store(), prefix or None, chunk_size=_LISTED))
            while True:
                async with asyncio.timeout(self.patience.listing):
                    page = await anext(pages, None)
                if page is None:
                    return
                yield [Blob(meta["path"], meta["size"], meta["last_modified"].timestamp()) for meta in page]
        except (BaseError, OSError, ValueError) as error:
            raise self._error("cannot list", error) from None

    async def delete(self, names: Sequence[str]) -> None:
        """See ``Store``."""
        try:
            async with asyncio.timeout(self.patience.listing):
                try:
                    await obstore.delete_async(self._store(), list(names))
                except FileNotFoundError:  # some stores say so, and may have stopped there
                    await self._delete_each(names)
        except (BaseError, OSError, ValueError) as error:
            raise self._error("cannot delete", error) from None

    async def _delete_each(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                await obstore.delete_async(self._store(), name)
            except FileNotFoundError:
                continue

    def _store(self) -> Any:
        """obstore's store, made anew when a secret has changed."""
        secrets: dict[str, str] = {}
        for key, path in self.secrets.items():
            try:
                secrets[key] = read_secret(path)
            except (OSError, ValueError) as error:
                raise ArchiveError(f"{path}: {error}") from None
        if secrets != self._read:
            self._made = self._make(secrets)
            self._read = secrets
        return self._made

    def _make(self, secrets: Mapping[str, str]) -> Any:
        patience = self.patience
        client: dict[str, Any] = {
            "allow_http": any(value.startswith("http://") for value in self.options.values()),
            "connect_timeout": timedelta(seconds=patience.connect),
            "read_timeout": timedelta(seconds=patience.silence),
            "timeout": timedelta(seconds=patience.request),
        }
        retry = {
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.retrying),
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        }
        try:
            if self.ca_file is not None:
                client["root_certificate"] = self.ca_file.read_bytes()
            make: Any = _STORES[self.place.scheme]
            return make(
                self.place.bucket,
                prefix=self.place.prefix or None,
                config={**self.options, **secrets},
                client_options=client,
                retry_config=retry,
            )
        except (BaseError, OSError, ValueError) as error:
            raise self._error("these settings cannot be used", error) from None

    def _error(self, what: str, error: Exception) -> ArchiveError:
        """obstore's messages go on for pages; the first line says it."""
        if isinstance(error, TimeoutError) and not str(error):
            return ArchiveError(f"{self.place}: {what}: it takes too long")
        return ArchiveError(f"{self.place}: {what}: {str(error).partition(chr(10))[0][:300]}")


async def _up_to(size: int, blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The first blocks, until they are more than ``size`` bytes."""
    async for block in blocks:
        yield block
        size -= len(block)
        if size < 0:
            return


class _Feed:
    """What obstore takes an upload from. It asks from a task of its own, which goes on when the upload is given up: ``close`` waits for it."""

    def __init__(self, first: bytes, blocks: AsyncGenerator[bytes, None]) -> None:
        self._first, self._blocks = first, blocks
        self._turn = asyncio.Lock()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        async with self._turn:
            if self._closed:
                raise ArchiveError("the upload was given up")
            if self._first:
                first, self._first = self._first, b""
                return first
            return await anext(self._blocks)

    async def close(self) -> None:
        async with self._turn:
            self._closed = True
