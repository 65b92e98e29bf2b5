"""What readers may take, and what they are told when it is too much."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.hearing import hearing
from tests.logs.curl import curl
from tests.logs.reading import Reader, read, reading, serving
from tests.logs.test_survival import recorded
from tests.pipeline import Run
from tests.scene import Scene

PATH = "/logs/team-a/service-xyz-run-a"


@pytest.mark.parametrize(
    ("limits", "status", "words"),
    [
        ("streams: 2", 503, "2 logs are being read already (logs.streams); try again later"),
        (
            "streams_per_user: 2",
            429,
            "you are reading 2 logs already (logs.streams_per_user); end one, or try again later",
        ),
    ],
)
async def test_one_stream_too_many_is_refused_with_a_clear_line(
    scene: Scene, limits: str, status: int, words: str
) -> None:
    scene.more = f"\nlogs: {{{limits}}}\n"
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "hello\n")
    async with serving(scene) as (service, session):
        first, second = await session.get(PATH), await session.get(PATH)
        async with session.get(PATH) as response:
            assert response.status == status
            assert int(response.headers["Retry-After"]) > 0
            assert json.loads(await response.text()) == {"message": words}
        async with curl(service.port, PATH, "-f") as reader:
            assert (await reader.end())[1] == 22
        task.complete()
        run.succeed()
        for response in (first, second):
            assert (await Reader(response).rest())[-1].startswith("# verdict: Succeeded")
        assert (await read(session, PATH))[0] == "[build : s] hello"


async def test_a_stream_that_is_open_for_too_long_is_told_so_and_cut(scene: Scene) -> None:
    scene.more = "\nlogs: {longest: 1s}\n"
    run = Run(scene.cluster)
    run.task("build").say("s", "hello\n")
    async with serving(scene) as (service, _), curl(service.port, PATH) as reader:
        lines, code = await reader.end()
    assert code == 18
    assert b"[build : s] hello" in lines
    assert lines[-1].startswith(b"# interrupted: this stream was open for as long as is allowed here")


async def test_a_reader_of_ndjson_is_told_so_in_an_object(scene: Scene) -> None:
    scene.more = "\nlogs: {longest: 1s}\n"
    run = Run(scene.cluster)
    run.task("build").say("s", "hello\n")
    as_json = ("-H", "Accept: application/x-ndjson")
    async with serving(scene) as (service, _), curl(service.port, PATH, *as_json) as reader:
        lines, code = await reader.end()
    assert code == 18
    assert json.loads(lines[-1])["interrupted"].startswith("this stream was open for as long as is allowed here")


async def test_a_run_that_prints_more_than_is_kept_says_so_and_still_has_its_verdict(scene: Scene) -> None:
    scene.more = "\nlogs: {spool_bytes: 1MiB}\n"
    run = Run(scene.cluster)
    task = run.task("build")
    for _ in range(20):
        task.say("s", ("x" * 99 + "\n") * 1000)
    task.complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert 1000 < len(lines) < 20_000
    assert lines[-2] == "# the log is longer than this service has room for; the rest is missing here"
    assert lines[-1].startswith("# verdict: Succeeded")


async def test_finished_logs_that_nobody_reads_make_room_for_others(scene: Scene) -> None:
    scene.more = "\nlogs: {spool_bytes: 2MiB, spool_total: 4MiB}\n"
    runs = []
    for number in range(4):
        run = Run(scene.cluster, f"service-xyz-run-{number}")
        task = run.task("build")
        for _ in range(15):
            task.say("s", ("x" * 99 + "\n") * 1000)
        task.complete()
        run.succeed()
        runs.append(run)
    async with serving(scene) as (service, session):
        for run in runs:
            assert len(await read(session, run.path)) == 15_001
        assert service.recordings._budget.used <= 4 * 1024**2


async def test_a_recording_that_nobody_wants_any_more_ends(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "hello\n")
    async with serving(scene) as (service, session):
        async with reading(session, PATH) as reader:
            assert await reader.line() == "[build : s] hello"
        await until_closed(service)
        service.recordings.linger = 0.0
        service.recordings._tidy()
        recording = service.recordings._recordings[run.uid].task
        assert recording is not None
        await asyncio.wait([recording])
        assert recording.cancelled()
        async with reading(session, PATH) as reader:  # and begins anew when somebody comes
            assert await reader.line() == "[build : s] hello"


async def until_closed(service: Any) -> None:
    while len(service.streams):
        service.streams.closed.clear()
        service.logs._keep_alive = 0.01
        await service.streams.closed.wait()


async def test_limits_and_recording_change_with_the_configuration(scene: Scene) -> None:
    kept = "where logs are kept changes with the next start"
    scene.more = "\nlogs: {streams: 5, archive: logs}\n"
    run = Run(scene.cluster)
    run.task("build").say("s", "hello\n")
    async with serving(scene) as (service, _):
        with hearing() as heard:
            assert run.uid not in service.recordings._recordings
            scene.more = "\nlogs: {streams: 7, archive: logs, record: true}\n"
            scene.write_config()
            service.reloader.ask()
            await recorded(service, run, b"hello")
            assert service.streams.limits.streams == 7
            assert not heard.count(kept)
            scene.more = "\nlogs: {archive: elsewhere, record: true}\n"
            scene.write_config()
            service.reloader.ask()
            await heard.logged(kept)


async def test_a_log_for_which_the_disk_has_no_room_is_cut_and_says_why(scene: Scene, tmp_path: Path) -> None:
    run = Run(scene.cluster)
    run.task("build").complete()
    run.succeed()
    scene.more = "logs: {spool_folder: spool}\n"
    (tmp_path / "spool").mkdir()
    async with serving(scene) as (_, session):
        (tmp_path / "spool").rmdir()
        async with reading(session, run.path) as reader:
            with pytest.raises(aiohttp.ClientPayloadError):
                await reader.rest()
    assert len(reader.passing) == 1
    assert reader.passing[0].startswith("# ... interrupted: there is no room for its log here: ")
