"""How a stream begins and ends beside the numbered cases: clients of HTTP/1.0, logs that cannot be had, colours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from listener.demo.kubernetes import Fault
from listener.service import Service
from tests.logs.reading import read, reading, serving
from tests.pipeline import Run, finished
from tests.scene import PASSWORD, USER, Scene, basic

PATH = "/logs/team-a/service-xyz-run-a"


@contextlib.asynccontextmanager
async def http_1_0(service: Service) -> AsyncIterator[asyncio.StreamReader]:
    """What comes from the service for a client that speaks HTTP/1.0, as nginx does to its upstreams by default."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(f"GET {PATH} HTTP/1.0\r\nAuthorization: {basic(USER, PASSWORD)}\r\n\r\n".encode())
    async with asyncio.timeout(20):
        yield reader
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_client_of_http_1_0_gets_the_log_too(scene: Scene) -> None:
    finished(scene.cluster, step="one")
    async with serving(scene) as (service, _), http_1_0(service) as reader:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in head.lower()
    assert body.splitlines()[0] == b"[build : one] hello"
    assert body.splitlines()[-1].startswith(b"# verdict: Succeeded")


async def test_a_client_of_http_1_0_sees_a_reset_when_the_stream_is_cut(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.task("build", "one").say("one", "hello\n")
    async with contextlib.AsyncExitStack() as stack:
        service, _ = await stack.enter_async_context(serving(scene))
        async with http_1_0(service) as reader:
            while await reader.readline() != b"[build : one] hello\n":
                assert not reader.at_eof()
            await stack.aclose()
            with pytest.raises(ConnectionResetError):
                await reader.read()


async def test_a_task_whose_last_word_comes_after_the_runs_is_read_all_the_same(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "one")
    scene.cluster.patch("taskruns", "team-a", task.name, {"status": {"podName": None}})
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        await scene.cluster.wait_watchers("taskruns", 1)
        run.succeed()
        async with session.get(PATH.replace("logs", "status")) as answer:
            assert answer.status == 200  # the service has seen that the run is over
        scene.cluster.patch("taskruns", "team-a", task.name, {"status": {"podName": task.pod}})
        task.say("one", "late\n")
        task.complete()
        assert "[build : one] late" in await reader.rest()


async def test_a_log_that_cannot_be_had_is_cut_and_says_why(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("listener.logs.recorder._PATIENCE", 0.5)
    finished(scene.cluster, step="one")
    scene.cluster.faults.add(Fault(resource="pods", status=403, body=b'{"reason":"Forbidden","message":"not you"}'))
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.05
        async with reading(session, PATH) as reader:
            with pytest.raises(aiohttp.ClientPayloadError):
                await reader.rest()
    assert "# ... the cluster cannot be watched: 403 Forbidden: not you" in reader.passing


async def test_escapes_stay_as_they_are_or_are_stripped_or_prefixes_are_coloured_too(scene: Scene) -> None:
    finished(scene.cluster, "\x1b[31mred\x1b[0m\x1b]0;title\x07\n", step="one")
    async with serving(scene) as (_, session):
        assert (await read(session, PATH))[0] == "[build : one] \x1b[31mred\x1b[0m\x1b]0;title\x07"
        assert (await read(session, PATH, color="never"))[0] == "[build : one] red"
        assert (await read(session, PATH, color="always"))[0].endswith(
            "[build : one]\x1b[0m \x1b[31mred\x1b[0m\x1b]0;title\x07"
        )
        assert await read(session, PATH, task="other") == (await read(session, PATH))[-1:]
