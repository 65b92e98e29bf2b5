"""What an archive promises, in a folder and in a real S3 server alike."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from listener.cluster.names import Key
from listener.logs import archive as archive_module
from listener.logs.archive import ArchiveError, Expired, StoredArchive, object_name
from listener.logs.archive_folder import FolderStore
from listener.logs.archive_store import Store
from listener.logs.spool import Source
from tests.archives import RUN, Shelf, archive_in, bucket_store, content

KEY = Key(RUN.namespace, RUN.name)
MIB = 1024 * 1024


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "logs")
    s3 = request.getfixturevalue("s3")
    return bucket_store(s3.url, s3.bucket(), tmp_path)


async def blocks_of(*blocks: bytes) -> AsyncGenerator[bytes, None]:
    for block in blocks:
        yield block


async def bytes_in(store: Store, name: str) -> bytes:
    return b"".join([block async for block in store.get(name)])


async def names_in(store: Store) -> list[str]:
    return sorted([blob.name async for blobs in store.listing("") for blob in blobs])


@pytest.mark.parametrize("size", [0, 5 * MIB, 40 * MIB], ids=["small", "in one part", "in several parts"])
async def test_a_kept_log_comes_back_as_it_was(shelf: Shelf, store: Store, size: int) -> None:
    kept = shelf.spool_of(size=size)
    await archive_in(store).keep(RUN, kept)
    after_restart = archive_in(store)  # nothing is remembered but what the store holds
    entry = await after_restart.find(KEY)
    spool = await shelf.reopened(after_restart, entry)
    assert content(spool) == content(kept)
    assert (spool.end_of_run, spool.sources, spool.over) == (kept.end_of_run, kept.sources, kept.over)
    assert spool.ended
    assert entry is not None
    assert (entry.namespace, entry.name, entry.uid, entry.created) == (RUN.namespace, RUN.name, RUN.uid, RUN.created)
    assert 0 < entry.size < max(kept.size, 500)


async def test_a_name_created_again_is_another_log_and_the_newest_is_found(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    later = replace(RUN, uid="later", created="2026-03-02T01:00:00Z")
    await archive.keep(later, shelf.spool_of(b"later\n"))
    await archive.keep(RUN, shelf.spool_of(b"earlier\n"))
    await archive.keep(replace(later, name="build-10"), shelf.spool_of(b"another\n"))
    newest = await archive.find(KEY)
    assert newest is not None
    assert newest.uid == "later"
    assert b"later" in content(await shelf.reopened(archive, newest))
    first = await archive.find(KEY, uid=RUN.uid)
    assert first is not None
    assert b"earlier" in content(await shelf.reopened(archive, first))


async def test_nothing_is_found_of_what_was_not_kept(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    assert await archive.find(KEY) is None
    await archive.keep(RUN, shelf.spool_of())
    assert await archive.find(KEY, uid="other") is None
    assert await archive.find(Key("team-a", "build")) is None
    assert await archive.find(Key("team-b", "build-1")) is None


@pytest.mark.parametrize(
    "key", [Key("..", "x"), Key("team-a", ".."), Key("team-a", "a/b"), Key("", "build-1"), Key("team-a", "")]
)
async def test_what_is_no_name_is_not_looked_for(shelf: Shelf, store: Store, key: Key) -> None:
    archive = archive_in(store)
    await archive.keep(RUN, shelf.spool_of())
    assert await archive.find(key) is None


async def test_of_two_replicas_that_keep_the_same_run_at_once_one_whole_log_stays(shelf: Shelf, store: Store) -> None:
    archives = [archive_in(store), archive_in(store)]
    spools = [shelf.spool_of(text, size=10 * MIB) for text in (b"first\n", b"second\n")]
    await asyncio.gather(*(archive.keep(RUN, spool) for archive, spool in zip(archives, spools, strict=True)))
    assert await names_in(store) == [object_name(RUN)]
    found = content(await shelf.reopened(archives[0], await archives[1].find(KEY)))
    assert found in [content(spool) for spool in spools]


async def test_keeping_again_replaces(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    await archive.keep(RUN, shelf.spool_of(b"first\n"))
    await archive.keep(RUN, shelf.spool_of(b"second\n"))
    assert b"second" in content(await shelf.reopened(archive, await archive.find(KEY)))
    assert len(await names_in(store)) == 1


async def test_a_log_without_its_end_is_not_kept(shelf: Shelf, store: Store) -> None:
    spool = shelf.empty()
    spool.append(spool.source(Source("a", "b")), b"half\n")
    with pytest.raises(ValueError, match="whole"):
        await archive_in(store).keep(RUN, spool)
    spool.stop()
    with pytest.raises(ValueError, match="whole"):
        await archive_in(store).keep(RUN, spool)
    assert await names_in(store) == []


async def test_a_spool_that_was_closed_leaves_nothing(shelf: Shelf, store: Store) -> None:
    spool = shelf.spool_of(size=20 * MIB)
    spool.close()
    with pytest.raises(ArchiveError):
        await archive_in(store).keep(RUN, spool)
    assert await names_in(store) == []


async def test_a_spool_that_breaks_in_the_middle_leaves_nothing(store: Store) -> None:
    async def breaks() -> AsyncGenerator[bytes, None]:
        for _ in range(20):
            yield bytes(MIB)
        raise ArchiveError("the spool broke")

    with pytest.raises(ArchiveError, match="the spool broke"):
        await store.put("a/b/c", breaks())
    assert await names_in(store) == []


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-8],
        lambda data: data[: len(data) // 2],
        lambda data: data[:5],
        lambda data: b"",
        lambda data: flipped(data, len(data) // 2),
        lambda data: flipped(data, len(data) - 6),
        lambda data: data + b"x",
        lambda data: data + data,
        lambda data: b"not gzip at all" + data,
    ],
    ids=["last byte", "trailer", "half", "header", "empty", "bit", "checksum", "more", "twice", "no gzip"],
)
async def test_a_damaged_log_is_refused(shelf: Shelf, store: Store, damage: Callable[[bytes], bytes]) -> None:
    archive = archive_in(store)
    await archive.keep(RUN, shelf.spool_of(size=200_000))
    name = object_name(RUN)
    await store.put(name, blocks_of(damage(await bytes_in(store, name))))
    with pytest.raises(ArchiveError, match="damaged"):
        await shelf.reopened(archive, await archive.find(KEY))


async def test_half_a_log_well_packed_is_refused(shelf: Shelf, store: Store) -> None:
    spool = shelf.spool_of(size=200_000)
    for size in (spool.size // 2, spool.size - 1):
        deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
        await store.put(object_name(RUN), blocks_of(deflate.compress(spool.raw(0, size)) + deflate.flush()))
        archive = archive_in(store)
        with pytest.raises(ArchiveError, match="not a"):
            await shelf.reopened(archive, await archive.find(KEY))


async def test_a_log_that_grows_beyond_what_a_spool_takes_is_refused(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    await archive.keep(RUN, shelf.spool_of(b"0" * 1000 * 1000 + b"\n", size=30 * MIB))
    spool = shelf.empty(limit=4 * MIB)
    entry = await archive.find(KEY)
    assert entry is not None
    with pytest.raises(ArchiveError, match="room"):
        await archive.open(entry, spool)
    assert spool.size < 8 * MIB  # of 30


async def test_a_log_deleted_between_finding_and_opening_is_an_error(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    await archive.keep(RUN, shelf.spool_of())
    entry = await archive.find(KEY)
    await store.delete([object_name(RUN)])
    with pytest.raises(ArchiveError):
        await shelf.reopened(archive, entry)


async def test_what_is_too_old_goes_and_foreign_names_stay(shelf: Shelf, store: Store) -> None:
    await archive_in(store).keep(RUN, shelf.spool_of())
    foreign = [
        "README",
        "team-a/build-1/notes.txt",
        "team-a/build-1/20260301T120000Z_x.log",
        "Team/build/20260301T120000Z_x.log.gz",
    ]
    for name in foreign:
        await store.put(name, blocks_of(b"precious"))
    assert (await archive_in(store, keep=60.0).expire()).logs == 0
    expired = await archive_in(store, keep=-60.0).expire()  # all are "too old", whatever the store's clock rounds to
    assert (expired.logs, expired.left) == (1, 0)
    assert await names_in(store) == sorted(foreign)


async def test_when_all_take_too_much_some_go_until_they_fit(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    for number in range(6):
        await archive.keep(replace(RUN, uid=f"run-{number}"), shelf.spool_of(size=100_000))
    sizes = [blob.size async for blobs in store.listing("") for blob in blobs]
    bound = sum(sizes) - max(sizes) - 1
    expired = await archive_in(store, keep_bytes=bound).expire()
    assert expired.logs == 2
    assert expired.left <= bound
    assert len(await names_in(store)) == 4
    assert (await archive_in(store, keep_bytes=bound).expire()).logs == 0


async def test_more_logs_than_are_remembered_at_once_all_go(
    shelf: Shelf, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_AT_ONCE", 3)
    monkeypatch.setattr(archive_module, "_BATCH", 2)
    archive = archive_in(store)
    for number in range(8):
        await archive.keep(replace(RUN, uid=f"run-{number}"), shelf.spool_of())
    expired = await archive_in(store, keep=-60.0).expire()
    assert (expired.logs, expired.left) == (8, 0)
    assert await names_in(store) == []


async def test_two_replicas_may_delete_at_the_same_time(shelf: Shelf, store: Store) -> None:
    archive = archive_in(store)
    for number in range(5):
        await archive.keep(replace(RUN, uid=f"run-{number}"), shelf.spool_of())
    await asyncio.gather(*(archive_in(store, keep=-60.0).expire() for _ in range(3)))
    assert await names_in(store) == []


async def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    await store.put("a/b/c", blocks_of(b"x"))
    await store.delete(["a/b/never", "a/b/c", "a/b/neither"])
    assert await names_in(store) == []


async def test_the_archive_expires_at_once_and_again(shelf: Shelf, store: Store) -> None:
    """Also after a time when it could not."""
    looks = asyncio.Queue[int]()

    class Looking(StoredArchive):
        async def expire(self) -> Expired:
            expired = await StoredArchive.expire(self)
            looks.put_nowait(expired.logs)
            if looks.qsize() == 1:
                raise ArchiveError("a bad day")
            return expired

    archive = Looking(store=store, keep_seconds=-60.0, keep_bytes=0, every=0.001)
    await archive.keep(RUN, shelf.spool_of())
    task = asyncio.create_task(archive.run())
    async with asyncio.timeout(20):
        assert [await looks.get(), await looks.get()] == [1, 0]
    task.cancel()
    await asyncio.wait([task])
