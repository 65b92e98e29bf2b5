"""An archive's objects as files in a folder.

A file is written under a name of its own, synced, then renamed: whoever finds it finds it whole, also after a power cut. Files are for this
user only (0600). Symbolic links inside the folder are not followed. Several processes may share the folder (a volume).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from listener.logs.archive_store import BLOCK, ArchiveError, Blob, step

_TRIES: Final = 20  # a folder may be removed, for it is empty, between its making and its use
_LEFT_BEHIND: Final = 24 * 3600.0  # seconds after which an unfinished file has no writer any more
_UNFINISHED: Final = re.compile(r"\.[-0-9A-Za-z_.]+\.[0-9a-f]{16}\.part")


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A ``Store`` in ``root``, which is made when it is needed."""

    root: Path

    async def put(self, name: str, blocks: AsyncGenerator[bytes, None]) -> None:
        """See ``Store``."""
        target = self._path(name)
        path = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        try:
            try:
                async with _opened(lambda: self._create(path)) as file:
                    async for block in blocks:
                        await step(_write, file, block)
                    await step(_sync, file)
                await step(self._rename, path, target)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ArchiveError(f"cannot write {name} in {self.root}: {_reason(error)}") from None

    def _create(self, path: Path) -> BinaryIO:
        tries = _TRIES
        while True:
            tries -= 1
            try:
                self._make_folder(path.parent)
                self._check(path.parent)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
            except (FileNotFoundError, FileExistsError):  # pathlib says either of a folder that is gone again
                if not tries:
                    raise

    def _make_folder(self, folder: Path) -> None:
        """With parents, which for ``Path.mkdir`` would be for everybody."""
        if folder != self.root:
            self._make_folder(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _rename(self, path: Path, target: Path) -> None:
        path.replace(target)
        for folder in target.parents:  # the new name, and the folders that were made for it, outlast a power cut, too
            with contextlib.suppress(FileNotFoundError):  # deleted again by another process
                _sync_folder(folder)
            if folder == self.root:
                return

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        """See ``Store``."""
        try:
            async with _opened(lambda: self._open(name)) as file:
                while block := await step(file.read, BLOCK):
                    yield block
        except OSError as error:
            raise ArchiveError(f"cannot read {name} in {self.root}: {_reason(error)}") from None

    def _open(self, name: str) -> BinaryIO:
        path = self._path(name)
        self._check(path.parent)
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0)

    async def listing(self, prefix: str) -> AsyncIterator[Sequence[Blob]]:
        """See ``Store``."""
        try:
            folders = [prefix.rstrip("/")]
            while folders:
                found, inner = await step(self._scan, folders.pop())
                folders += inner
                if found:
                    yield found
        except OSError as error:
            raise ArchiveError(f"cannot list {self.root}: {_reason(error)}") from None

    def _scan(self, folder: str) -> tuple[list[Blob], list[str]]:
        """The files and the folders in ``folder``; files that a writer left behind are deleted on the way."""
        files: list[Blob] = []
        folders: list[str] = []
        for entry in _entries(self.root / folder):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not _UNFINISHED.fullmatch(entry.name):
                        files.append(Blob(name, status.st_size, status.st_mtime))
                    elif time.time() - status.st_mtime > _LEFT_BEHIND:
                        Path(entry.path).unlink(missing_ok=True)
        return files, folders

    async def delete(self, names: Sequence[str]) -> None:
        """See ``Store``."""
        try:
            await step(self._delete, names)
        except OSError as error:
            raise ArchiveError(f"cannot delete in {self.root}: {_reason(error)}") from None

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._path(name)
            path.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent):
                if folder != self.root:
                    with contextlib.suppress(OSError):  # not empty
                        folder.rmdir()

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ArchiveError(f"not a name in an archive: {name!r}")
        return self.root.joinpath(*parts)

    def _check(self, folder: Path) -> None:
        """No symbolic link leads out of the root, whoever made it."""
        if folder.resolve() != self.root.resolve() / folder.relative_to(self.root):
            raise ArchiveError(f"{folder} leads out of {self.root}")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


@contextlib.asynccontextmanager
async def _opened(function: Callable[[], BinaryIO]) -> AsyncIterator[BinaryIO]:
    """The file that ``function`` opens in a thread; closed also when nobody waited for it any more."""
    files: list[BinaryIO] = []
    try:
        await step(lambda: files.append(function()))
        yield files[0]
    finally:
        for file in files:
            file.close()


def _write(file: BinaryIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:  # a raw file may take less than it is given
        rest = rest[file.write(rest) :]


def _sync(file: BinaryIO) -> None:
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
