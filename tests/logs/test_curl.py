"""What a CI job's ``curl`` is told by its exit code, directly and through nginx."""

from __future__ import annotations

import asyncio

import pytest

from tests.logs.curl import curl
from tests.logs.nginx import binary, nginx
from tests.logs.reading import serving
from tests.pipeline import Run, finished
from tests.scene import Scene

PATH = "/logs/team-a/service-xyz-run-a"
STATUS = "/status/team-a/service-xyz-run-a"
through_nginx = pytest.mark.skipif(binary() is None, reason="needs nginx: apt-get install nginx-light")


@pytest.mark.parametrize(
    ("code", "path", "expected"),
    [
        (0, PATH, 0),
        (1, PATH, 0),  # a log that ends with a verdict is a whole log
        (0, f"{PATH}?exit-status=1", 0),
        (1, f"{PATH}?exit-status=1", 18),
        (0, STATUS, 0),
        (1, STATUS, 22),
        (0, f"{STATUS}x", 22),
        (0, f"{PATH}?tail=x", 22),
    ],
)
async def test_the_exit_code_of_curl_with_f(scene: Scene, code: int, path: str, expected: int) -> None:
    finished(scene.cluster, code=code)
    async with serving(scene) as (service, _), curl(service.port, path, "-f") as reader:
        lines, exit_code = await reader.end()
    assert exit_code == expected
    if path.startswith(f"{PATH}") and expected != 22:
        assert lines[-1].startswith(b"# verdict: " + (b"Failed" if code else b"Succeeded"))


async def test_the_verdict_arrives_before_the_cut_however_long_the_log(scene: Scene) -> None:
    finished(scene.cluster, ("y" * 99 + "\n") * 50_000, code=1)
    async with serving(scene) as (service, _), curl(service.port, f"{PATH}?exit-status=1") as reader:
        lines, exit_code = await reader.end()
    assert exit_code == 18
    assert lines[-1].startswith(b"# verdict: Failed")


async def test_status_answers_the_moment_the_run_ends(scene: Scene) -> None:
    run = Run(scene.cluster)
    async with serving(scene) as (service, _), curl(service.port, f"{STATUS}?wait=30m", "-f") as reader:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        run.succeed()
        lines, exit_code = await reader.end()
    assert exit_code == 0
    assert lines == [b'{"message":"Tasks Completed: 1","reason":"Succeeded","type":"Succeeded","status":"True"}']


async def test_one_connection_serves_status_and_log_one_after_the_other(scene: Scene) -> None:
    finished(scene.cluster, code=0)
    async with serving(scene) as (service, _):
        url = f"http://127.0.0.1:{service.port}{STATUS}"
        async with curl(service.port, PATH, url, "-w", "%{num_connects}\n") as reader:
            lines, exit_code = await reader.end()
    assert exit_code == 0
    assert lines[0].endswith(b"}1")  # /status came first, with a new connection
    assert lines[-1] == b"0"  # and the log over the same


@through_nginx
async def test_through_nginx_the_log_is_live_and_ends_with_its_verdict(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with serving(scene) as (service, _), nginx(scene.folder, service.port) as port, curl(port, PATH) as reader:
        task.say("s", "hello\n")
        while await reader.line() != b"[build : s] hello":
            pass
        task.complete()
        run.succeed()
        lines, exit_code = await reader.end()
    assert exit_code == 0
    assert lines[-1].startswith(b"# verdict: Succeeded")


@through_nginx
async def test_case_21_through_nginx_a_step_may_be_silent_for_longer_than_the_proxy_waits(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "before\n")
    async with serving(scene) as (service, _):
        service.logs._keep_alive = 0.25
        async with (
            nginx(
                scene.folder, service.port, settings="proxy_read_timeout 1s;"
            ) as port,  # a minute, unless one says so
            curl(port, PATH) as reader,
        ):
            passing = 0
            while passing < 12:  # three times as long as nginx waits
                passing += (await reader.line()).startswith(b"# ... ")
            task.say("s", "after\n")
            task.complete()
            run.succeed()
            lines, exit_code = await reader.end()
    assert exit_code == 0
    assert b"[build : s] after" in lines


@through_nginx
async def test_through_nginx_a_stream_that_is_cut_is_seen_to_be_cut(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with serving(scene) as (service, _), nginx(scene.folder, service.port) as port, curl(port, PATH) as reader:
        task.say("s", "hello\n")
        while await reader.line() != b"[build : s] hello":
            pass
        recording = service.recordings._recordings[run.uid]
        assert recording.task is not None
        recording.task.cancel()
        await asyncio.wait([recording.task])
        _, exit_code = await reader.end()
    assert exit_code == 18


@through_nginx
async def test_through_nginx_a_failed_run_is_a_failed_curl_when_asked_for(scene: Scene) -> None:
    finished(scene.cluster, code=1)
    async with (
        serving(scene) as (service, _),
        nginx(scene.folder, service.port) as port,
        curl(port, f"{PATH}?exit-status=1") as reader,
    ):
        _, exit_code = await reader.end()
    assert exit_code == 18
