"""Object storage on bad days: down, silent, refusing, breaking off. Every time an answer within bounds, never half a log."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from listener.cluster.names import Key
from listener.logs.archive import ArchiveError, Entry, StoredArchive
from tests.archives import QUICK, RUN, Shelf, archive_in, bucket_store, content
from tests.s3 import PAGE, BadDay, S3Server

KEY = Key(RUN.namespace, RUN.name)
ENTRY = Entry(RUN.namespace, RUN.name, RUN.uid, RUN.created, 1, 0.0)
MIB = 1024 * 1024
DOES = ("keep", "keep much", "find", "open", "expire")
BOUND = 120.0  # seconds: what all retries and limits of QUICK come to, and more


@pytest.fixture
async def day(s3: S3Server) -> AsyncIterator[BadDay]:
    async with BadDay(s3.url) as day:
        yield day


@pytest.fixture
def archive(day: BadDay, s3: S3Server, tmp_path: Path) -> StoredArchive:
    return archive_in(bucket_store(day.url, s3.bucket(), tmp_path))


async def do(what: str, archive: StoredArchive, shelf: Shelf) -> None:
    """One of ``DOES``."""
    async with asyncio.timeout(BOUND):
        match what:
            case "keep":
                await archive.keep(RUN, shelf.spool_of())
            case "keep much":
                await archive.keep(RUN, shelf.spool_of(size=50 * MIB))
            case "find":
                await archive.find(KEY)
            case "open":
                await shelf.reopened(archive, ENTRY)
            case "expire":
                await archive.expire()


def refusal(status: int) -> web.Response:
    return web.Response(status=status, text="<Error><Code>Trouble</Code><Message>a bad day</Message></Error>")


@pytest.mark.parametrize("what", DOES)
async def test_a_server_that_is_down_is_an_error(shelf: Shelf, tmp_path: Path, what: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and nobody listens
        archive = archive_in(bucket_store(f"http://127.0.0.1:{nobody.getsockname()[1]}", "bucket", tmp_path))
        with pytest.raises(ArchiveError, match=r"^s3://bucket/logs/ci: cannot") as caught:
            await do(what, archive, shelf)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", DOES)
async def test_a_server_that_fails_is_asked_a_bounded_number_of_times(
    shelf: Shelf, archive: StoredArchive, day: BadDay, what: str
) -> None:
    day.trouble = lambda _: refusal(500)
    with pytest.raises(ArchiveError):
        await do(what, archive, shelf)
    assert len(day.requests) == 1 + QUICK.retries


@pytest.mark.parametrize("what", DOES)
async def test_a_server_that_never_answers_is_given_up(
    shelf: Shelf, day: BadDay, s3: S3Server, tmp_path: Path, what: str
) -> None:
    patience = replace(QUICK, silence=0.3)
    archive = archive_in(bucket_store(day.url, s3.bucket(), tmp_path, patience=patience))
    day.trouble = lambda _: "silence"
    with pytest.raises(ArchiveError):
        await do(what, archive, shelf)
    assert 1 <= len(day.requests) <= 1 + QUICK.retries


@pytest.mark.parametrize("what", DOES)
async def test_a_refusal_is_an_error_at_once(shelf: Shelf, archive: StoredArchive, day: BadDay, what: str) -> None:
    day.trouble = lambda _: refusal(403)
    with pytest.raises(ArchiveError):
        await do(what, archive, shelf)
    assert len(day.requests) == 1


@pytest.mark.parametrize("what", DOES)
async def test_a_server_that_recovers_is_tried_again(
    shelf: Shelf, archive: StoredArchive, day: BadDay, what: str
) -> None:
    if what == "open":
        await archive.keep(RUN, shelf.spool_of())
    asked: Counter[tuple[str, str]] = Counter()

    def first_time(request: web.Request) -> web.Response | None:
        asked[request.method, request.path_qs] += 1
        return refusal(503) if asked[request.method, request.path_qs] == 1 else None

    day.trouble = first_time
    await do(what, archive, shelf)
    assert set(asked.values()) >= {2}


@pytest.mark.parametrize("what", ["keep", "find"])
async def test_a_bucket_that_is_not_there_is_an_error(shelf: Shelf, s3: S3Server, tmp_path: Path, what: str) -> None:
    archive = archive_in(bucket_store(s3.url, "nowhere", tmp_path))
    with pytest.raises(ArchiveError):
        await do(what, archive, shelf)


async def test_a_download_that_breaks_off_goes_on_where_it_was(
    shelf: Shelf, archive: StoredArchive, day: BadDay
) -> None:
    kept = shelf.spool_of(size=30 * MIB)
    await archive.keep(RUN, kept)
    entry = await archive.find(KEY)
    cuts = iter(["cut"])
    day.trouble = lambda _: next(cuts, None)
    day.requests.clear()
    assert content(await shelf.reopened(archive, entry)) == content(kept)
    assert len(day.requests) == 2


async def test_a_download_that_always_breaks_off_is_an_error(shelf: Shelf, archive: StoredArchive, day: BadDay) -> None:
    await archive.keep(RUN, shelf.spool_of(size=30 * MIB))
    entry = await archive.find(KEY)
    day.trouble = lambda _: "cut"
    day.requests.clear()
    with pytest.raises(ArchiveError):
        await shelf.reopened(archive, entry)
    assert len(day.requests) <= 1 + QUICK.retries


async def test_an_upload_whose_last_part_fails_leaves_no_object(
    shelf: Shelf, archive: StoredArchive, day: BadDay
) -> None:
    day.trouble = lambda request: refusal(500) if request.query.get("partNumber") == "2" else None
    with pytest.raises(ArchiveError):
        await do("keep much", archive, shelf)
    day.trouble = lambda _: None
    assert await archive.find(KEY) is None
    uploading = [method for method, path in day.requests if "uploadId" in path]
    assert uploading[-1] == "DELETE"  # its parts are gone, too


async def test_keeping_that_is_cancelled_leaves_no_object_and_lets_go_of_the_spool(
    shelf: Shelf, archive: StoredArchive, day: BadDay
) -> None:
    reached = asyncio.Event()

    def second_part(request: web.Request) -> str | None:
        if request.query.get("partNumber") != "2":
            return None
        reached.set()
        return "silence"

    day.trouble = second_part
    spool = shelf.spool_of(size=50 * MIB)
    task = asyncio.create_task(archive.keep(RUN, spool))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    spool.close()
    day.trouble = lambda _: None
    assert await archive.find(KEY) is None


async def test_a_small_log_is_one_request_and_a_large_one_an_upload_in_parts(
    shelf: Shelf, archive: StoredArchive, day: BadDay
) -> None:
    await do("keep", archive, shelf)
    assert [method for method, _ in day.requests] == ["PUT"]
    day.requests.clear()
    await do("keep much", archive, shelf)
    parts = {path.partition("partNumber=")[2].partition("&")[0] for method, path in day.requests if method == "PUT"}
    assert parts >= {"1", "2", "3"}


async def test_finding_is_one_request(shelf: Shelf, archive: StoredArchive, day: BadDay) -> None:
    for number in range(5):
        await archive.keep(replace(RUN, uid=f"run-{number}"), shelf.spool_of())
    day.requests.clear()
    assert await archive.find(KEY)
    assert len(day.requests) == 1


async def test_more_logs_than_a_page_holds_are_all_seen(shelf: Shelf, archive: StoredArchive, day: BadDay) -> None:
    spool = shelf.spool_of()
    for number in range(2 * PAGE + 1):
        await archive.keep(replace(RUN, uid=f"run-{number}", created=f"2026-03-01T12:00:{number:02}Z"), spool)
    day.requests.clear()
    newest = await archive.find(KEY)
    assert len(day.requests) == 3
    assert newest is not None
    assert newest.uid == f"run-{2 * PAGE}"
    archive.keep_seconds = -60.0
    assert (await archive.expire()).logs == 2 * PAGE + 1


async def test_new_credentials_in_the_files_are_used(
    shelf: Shelf, archive: StoredArchive, day: BadDay, tmp_path: Path
) -> None:
    await do("keep", archive, shelf)
    (tmp_path / "id").write_text("id-2\n")
    await do("find", archive, shelf)
    assert day.key_ids == ["id-1", "id-2"]
    (tmp_path / "id").unlink()
    with pytest.raises(ArchiveError, match="id: "):
        await do("find", archive, shelf)


async def test_a_bad_day_does_not_end_the_archives_task(
    shelf: Shelf, archive: StoredArchive, day: BadDay, caplog: pytest.LogCaptureFixture
) -> None:
    await archive.keep(RUN, shelf.spool_of())
    archive.keep_seconds, archive.every = -time.time(), 0.01
    deleted = asyncio.Event()

    def refuse_the_first(request: web.Request) -> web.Response | None:
        if request.method == "POST":
            deleted.set()
        return refusal(403) if len(day.requests) == 1 else None

    day.trouble = refuse_the_first
    day.requests.clear()
    task = asyncio.create_task(archive.run())
    async with asyncio.timeout(BOUND):
        await deleted.wait()
    task.cancel()
    await asyncio.wait([task])
    assert "cannot delete what is too old" in caplog.text
