"""The archive, the disk, and where people reach the service."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from secrets import token_hex
from typing import Final

import aiohttp

from listener.assembly import Settings, StartError, build_archive
from listener.doctor.findings import OK, PROBLEM, UNKNOWN, WARNING, one
from listener.logs.archive import ArchiveError, StoredArchive
from notifiers.base import Finding

_TIMEOUT: Final = 10.0  # seconds
_OURS: Final = "tekton-listener-doctor"  # no name of a log, which has three parts
_GIB: Final = 1024**3


async def examine_archive(settings: Settings) -> list[Finding]:
    """Can it be listed and written? Leaves nothing behind. Raises nothing."""
    try:
        archive = build_archive(settings)
    except StartError as error:
        return [one("settings", PROBLEM, str(error))]
    if archive is None:
        return [one("settings", OK, "none is configured: logs are gone with this process")]
    if not isinstance(archive, StoredArchive):
        return [one("settings", UNKNOWN, "not one that can be looked into")]
    place = settings.config.logs.archive or "the default folder"
    name, found = f"{_OURS}/{token_hex(8)}", []
    for what, done, work in (("list", "listed", _list), ("write", "written", _write)):
        try:
            async with asyncio.timeout(_TIMEOUT):
                await work(archive, name)
        except ArchiveError as error:
            found.append(one(what, PROBLEM, str(error), "logs.archive and logs.archive_options, and who may use them"))
        except TimeoutError:
            found.append(one(what, PROBLEM, f"no answer within {_TIMEOUT:g} s", "is logs.archive reachable from here?"))
        else:
            found.append(one(what, OK, f"{place} can be {done}"))
    return found


async def _list(archive: StoredArchive, _: str) -> None:
    async for _page in archive.store.listing(_OURS):
        return


async def _write(archive: StoredArchive, name: str) -> None:
    async def content() -> AsyncGenerator[bytes, None]:
        yield b"tekton-listener doctor was here\n"

    await archive.store.put(name, content())
    await archive.store.delete([name])


async def examine_disk(settings: Settings) -> list[Finding]:
    """Where logs are spooled: can it be written, is there the room that the configuration speaks of?"""
    logs = settings.config.logs
    folder = settings.folder / logs.spool_folder if logs.spool_folder else Path(tempfile.gettempdir())
    return [await asyncio.to_thread(_room, folder, logs.spool_total)]


def _room(folder: Path, wanted: int) -> Finding:
    advice = "mount a volume there, or set logs.spool_folder"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return one("spool", PROBLEM, f"{folder} cannot be written: {error.strerror or type(error).__name__}", advice)
    said = f"{free / _GIB:.1f} GiB free in {folder}, logs.spool_total is {wanted / _GIB:.1f} GiB"
    if free < wanted:
        return one("spool", WARNING, said, "logs are cut when the disk is full: make room, or lower logs.spool_total")
    return one("spool", OK, said)


async def examine_public_url(url: str | None) -> list[Finding]:
    """Is it this service that answers there? Seen from here it need not be, so it is a warning only."""
    if url is None:
        return [
            one("links", WARNING, "public_url is not set: statuses carry no link", "set it to where people reach this")
        ]
    advice = "fine if it cannot be reached from here but from people's browsers; else correct public_url or the Ingress"
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(f"{url}/health", allow_redirects=False) as answer,
        ):
            body = await answer.content.read(1024)
            ours = answer.status == 200 and json.loads(body) == {"status": 1}
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return [
            one("links", WARNING, f"{url} cannot be reached from here: {str(error) or 'no answer in time'}", advice)
        ]
    except ValueError:
        ours = False
    if not ours:
        return [one("links", WARNING, f"{url}/health is not answered by this service (status {answer.status})", advice)]
    return [one("links", OK, f"{url} leads to this service")]
