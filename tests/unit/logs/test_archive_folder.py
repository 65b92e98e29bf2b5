"""The archive in a folder: names, permissions, order of going, and what disks and other people do."""

from __future__ import annotations

import asyncio
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from listener.cluster.names import Key
from listener.logs import archive as archive_module
from listener.logs.archive import ArchiveError, Kept, StoredArchive, entry_of, object_name
from listener.logs.archive_folder import FolderStore
from listener.logs.archive_store import Blob
from tests.archives import DAY, RUN, Shelf, age, archive_in, content

NAME = "team-a/build-1/20260301T120000Z_0b8f7c1e-0000-4000-8000-000000000001.log.gz"
MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "some" / "folder"


@pytest.fixture
def archive(root: Path) -> StoredArchive:
    return archive_in(FolderStore(root))


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def link(path: Path, *, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


def test_a_name_says_what_the_log_is_and_sorts_by_time() -> None:
    assert object_name(RUN) == NAME
    entry = entry_of(Blob(NAME, 7, 1.5))
    assert entry is not None
    assert Kept(entry.namespace, entry.name, entry.uid, entry.created) == RUN
    assert (entry.size, entry.modified) == (7, 1.5)
    later = replace(RUN, created="2026-11-30T09:00:00.123456Z", uid="0")
    assert object_name(later) > object_name(RUN)


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, namespace=".."),
        replace(RUN, namespace=""),
        replace(RUN, namespace="a/b"),
        replace(RUN, name="../../etc"),
        replace(RUN, name=".hidden"),
        replace(RUN, name="build\n"),
        replace(RUN, uid=""),
        replace(RUN, uid="../x"),
        replace(RUN, uid="a" * 65),
        replace(RUN, created=""),
        replace(RUN, created="2026-03-01"),
        replace(RUN, created="2026-03-01T12:00:00Z/../x"),
    ],
    ids=lambda run: repr((run.namespace, run.name, run.uid[:8], run.created)),
)
async def test_what_is_no_run_is_not_kept(shelf: Shelf, archive: StoredArchive, root: Path, run: Kept) -> None:
    with pytest.raises(ArchiveError):
        await archive.keep(run, shelf.spool_of())
    assert files(root) == []


@pytest.mark.parametrize(
    "name",
    [
        NAME.removesuffix(".gz"),
        f"x/{NAME}",
        NAME.replace("team-a", "Team"),
        NAME.replace("build-1", ".."),
        NAME.replace("_", "-"),
        NAME + "\n",
        f"team-a/build-1/.{NAME.rpartition('/')[2]}.0123456789abcdef.part",
    ],
)
def test_what_is_not_named_so_is_no_log(name: str) -> None:
    assert entry_of(Blob(name, 1, 1.0)) is None


async def test_files_are_for_this_user_only(shelf: Shelf, archive: StoredArchive, root: Path) -> None:
    await archive.keep(RUN, shelf.spool_of())
    assert files(root) == [NAME]
    assert stat.S_IMODE((root / NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "team-a").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "team-a" / "build-1").stat().st_mode) == 0o700


async def test_the_oldest_go_first(shelf: Shelf, archive: StoredArchive, root: Path) -> None:
    paths = {}
    for number in range(5):
        run = replace(RUN, name=f"build-{number}")
        await archive.keep(run, shelf.spool_of(size=50_000))
        paths[number] = root / object_name(run)
        age(paths[number], DAY * {0: 3, 1: 40, 2: 1, 3: 5, 4: 2}[number])
    size = paths[0].stat().st_size
    expired = await archive.expire()
    assert expired == (1, size, 4 * size)  # 1, by age
    archive.keep_bytes = 2 * size + size // 2
    assert await archive.expire() == (2, 2 * size, 2 * size)  # 3 and 0, by size
    assert files(root) == sorted(str(paths[number].relative_to(root)) for number in (2, 4))
    assert not (root / "team-a" / "build-1").exists()


async def test_the_oldest_go_first_when_there_are_more_than_are_remembered(
    shelf: Shelf, archive: StoredArchive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_AT_ONCE", 2)
    for number in range(6):
        run = replace(RUN, name=f"build-{number}")
        await archive.keep(run, shelf.spool_of())
        age(root / object_name(run), DAY * (1 + number * 5 % 6))
    archive.keep_bytes = 3 * (root / object_name(run)).stat().st_size
    assert (await archive.expire()).logs == 3
    assert [name.split("/")[1] for name in files(root)] == ["build-0", "build-4", "build-5"]


async def test_the_last_log_takes_its_folders_along_but_not_the_root(
    shelf: Shelf, archive: StoredArchive, root: Path
) -> None:
    await archive.keep(RUN, shelf.spool_of())
    archive.keep_seconds = -1.0
    await archive.expire()
    assert [path.name for path in sorted(root.parent.rglob("*"))] == [root.name]


async def test_keeping_goes_on_while_another_removes_empty_folders(
    shelf: Shelf, archive: StoredArchive, root: Path
) -> None:
    other = archive_in(FolderStore(root), keep=-1.0)

    async def keep(number: int) -> None:
        for _ in range(20):
            await archive.keep(replace(RUN, uid=f"run-{number}"), shelf.spool_of())

    async with asyncio.TaskGroup() as group:
        keeping = [group.create_task(keep(number)) for number in range(2)]
        while not all(task.done() for task in keeping):
            await other.expire()


async def test_links_are_not_followed(shelf: Shelf, archive: StoredArchive, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    await archive_in(FolderStore(outside)).keep(RUN, shelf.spool_of())
    link(root / "team-a", to=outside / "team-a")
    with pytest.raises(ArchiveError, match="leads out"):
        await archive.keep(replace(RUN, uid="other"), shelf.spool_of())
    entry = await archive_in(FolderStore(outside)).find(Key(RUN.namespace, RUN.name))
    with pytest.raises(ArchiveError, match="leads out"):
        await shelf.reopened(archive, entry)
    archive.keep_seconds = -1.0
    assert (await archive.expire()).logs == 0
    assert files(outside) == [NAME]


async def test_a_file_that_is_a_link_is_not_read_and_is_replaced(
    shelf: Shelf, archive: StoredArchive, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    await archive_in(FolderStore(outside)).keep(RUN, shelf.spool_of(b"secret\n"))
    link(root / NAME, to=outside / NAME)
    entry = await archive_in(FolderStore(outside)).find(Key(RUN.namespace, RUN.name))
    with pytest.raises(ArchiveError, match="symbolic"):
        await shelf.reopened(archive, entry)
    assert await archive.find(Key(RUN.namespace, RUN.name)) is None
    before = (outside / NAME).read_bytes()
    await archive.keep(RUN, shelf.spool_of(b"ours\n"))
    assert (outside / NAME).read_bytes() == before
    assert not (root / NAME).is_symlink()


async def test_the_root_may_be_a_link(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    archive = archive_in(FolderStore(tmp_path / "link"))
    spool = shelf.spool_of()
    await archive.keep(RUN, spool)
    found = await archive.find(Key(RUN.namespace, RUN.name))
    assert content(await shelf.reopened(archive, found)) == content(spool)


async def test_a_folder_that_cannot_be_made_is_an_error(shelf: Shelf, archive: StoredArchive, root: Path) -> None:
    link(root, to=Path(__file__))
    with pytest.raises(ArchiveError, match="cannot write"):
        await archive.keep(RUN, shelf.spool_of())
    assert await archive.find(Key(RUN.namespace, RUN.name)) is None


async def test_a_full_disk_is_an_error_and_leaves_nothing(shelf: Shelf, archive: StoredArchive, root: Path) -> None:
    spool = shelf.spool_of(size=20 * MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(ArchiveError, match="cannot write"):
            await archive.keep(RUN, spool)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(root) == []


async def test_keeping_that_is_cancelled_leaves_nothing(shelf: Shelf, root: Path) -> None:
    reached = asyncio.Event()

    async def blocks() -> AsyncGenerator[bytes, None]:
        yield bytes(MIB)
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(FolderStore(root).put(NAME, blocks()))
    await reached.wait()
    assert len(files(root)) == 1  # it is being written
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(root) == []


def test_a_process_killed_while_it_writes_leaves_nothing_to_be_found(root: Path) -> None:
    script = f"""
        import asyncio, os, signal
        from pathlib import Path
        from listener.logs.archive_folder import FolderStore

        async def blocks():
            yield b"half of it"
            os.kill(os.getpid(), signal.SIGKILL)
            yield b"the rest"

        asyncio.run(FolderStore(Path({str(root)!r})).put({NAME!r}, blocks()))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    (left,) = files(root)
    archive = archive_in(FolderStore(root))
    assert asyncio.run(archive.find(Key(RUN.namespace, RUN.name))) is None
    assert asyncio.run(archive.expire()) == (0, 0, 0)
    assert files(root) == [left]  # perhaps somebody still writes it
    age(root / left, 2 * DAY)
    asyncio.run(archive.expire())
    assert files(root) == []
