"""Point 12: nothing that somebody sends or prints makes the service take more than it may."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from listener.cluster import events
from listener.config import Config
from listener.logs.lines import Lines
from listener.service import Service
from listener.web import connections
from listener.web.access_log import AccessLog
from listener.web.connections import Connections
from tests.logs.reading import read, reading, serving
from tests.pipeline import Run
from tests.scene import Scene, basic
from tests.security.wire import answer, ask, connection, request

GOOD = b"Authorization: " + basic("ci", "correct horse").encode()


@contextlib.asynccontextmanager
async def guarded(*, most: int = 100, head: float = 60.0, idle: float = 60.0) -> AsyncIterator[tuple[int, Connections]]:
    """A small application behind the guard: ``/`` answers, ``/wait`` does so when the request is cut."""
    app = web.Application()

    async def root(_: web.Request) -> web.Response:
        return web.Response(text="x")

    async def big(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 50_000_000)

    async def wait(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app.add_routes([web.get("/", root), web.get("/wait", wait), web.get("/big", big)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    guard = Connections(
        runner.server,
        most=lambda: most,
        access_log=AccessLog,
        logger=logging.getLogger("x"),
        head=head,
        idle=idle,
    )
    server = await asyncio.get_running_loop().create_server(guard, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], guard
    finally:
        server.close()
        await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side ends the connection."""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_point_12_who_does_not_finish_a_requests_head_is_cut(sent: bytes) -> None:
    async with guarded(head=0.2) as (port, guard), connection(port) as (reader, writer):
        writer.write(sent)
        dribble = asyncio.create_task(_dribble(writer)) if sent else None
        assert await ended(reader) == b""
        if dribble is not None:
            dribble.cancel()
        assert not len(guard)


async def _dribble(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.02)


async def test_point_12_a_second_request_must_come_in_time_too() -> None:
    async with guarded(idle=0.2) as (port, guard), connection(port) as (reader, writer):
        writer.write(request(b"/"))
        assert (await answer(reader))[0] == 200
        writer.write(b"GET /")
        dribble = asyncio.create_task(_dribble(writer))
        assert await ended(reader) == b""
        dribble.cancel()
        assert not len(guard)


async def test_point_12_who_takes_no_answer_is_cut() -> None:
    async with guarded(idle=0.3) as (port, guard), connection(port) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can
        writer.write(request(b"/big"))
        await until(lambda: len(guard) == 1)
        await until(lambda: not len(guard))


async def test_point_12_a_request_that_is_being_answered_is_not_cut() -> None:
    async with guarded(head=0.05, idle=0.05, most=1) as (port, _), connection(port) as (reader, writer):
        writer.write(request(b"/wait"))
        with pytest.raises(TimeoutError):
            await answer(reader, timeout=0.4)
        async with connection(port) as (other, _):
            status, headers, _ = await answer(other)
        assert (status, headers["retry-after"]) == (503, "5")
        with pytest.raises(TimeoutError):
            await answer(reader, timeout=0.1)


async def test_point_12_who_only_waits_makes_room_for_who_asks() -> None:
    async with guarded(most=5) as (port, guard), contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connection(port)) for _ in range(5)]
        for _ in range(20):
            assert (await ask(port, request(b"/")))[0] == 200
        assert len(guard) <= 5
        assert await ended(idle[0][0]) == b""


async def test_point_12_the_service_itself_is_guarded(scene: Scene) -> None:
    async with scene.serve() as service, connection(service.port) as (_, writer):
        writer.write(b"GET /health HT")
        assert (await ask(service.port, request(b"/health")))[0] == 200
        assert len(service.connections) >= 1
        (timer,) = list(service.connections._waiting.values())[:1]
        left = timer.when() - asyncio.get_running_loop().time()
        assert 0 < left <= connections.HEAD


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (request(b"/" + b"a" * 70_000), {400}),
        (request(b"/health", b"X-A: " + b"a" * 70_000), {400}),
        (request(b"/health", *(b"X-%d: a" % n for n in range(5000))), {400}),
        (request(b"/health", b"Content-Length: 99999999999", method=b"POST"), {405}),
        (request(b"/health", b"Content-Length: 5", b"Expect: 200-ok", method=b"GET"), {417, 200}),
        (request(b"/logs/x", b"Authorization: Basic " + b"A" * 6000), {401}),
    ],
)
async def test_point_12_a_request_has_a_size(scene: Scene, head: bytes, statuses: set[int]) -> None:
    async with scene.serve() as service, connection(service.port) as (reader, writer):
        writer.write(head)
        assert (await answer(reader))[0] in statuses
        assert (await ask(service.port, request(b"/health")))[0] == 200


async def test_point_12_a_body_is_not_read_into_memory(scene: Scene) -> None:
    async with scene.serve() as service, connection(service.port) as (reader, writer):
        writer.write(request(b"/status/x", GOOD, b"Content-Length: 2000000000"))
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.5):
                while sent < 60_000_000:
                    writer.write(b"x" * 65536)
                    await writer.drain()
                    sent += 65536
        assert (await answer(reader))[0] == 404
        assert (await ask(service.port, request(b"/health")))[0] == 200


async def test_point_12_requests_ahead_of_their_answers_are_bounded(scene: Scene) -> None:
    played = Run(scene.cluster)
    played.task("build").say("s", "hello\n")
    async with serving(scene) as (service, _), connection(service.port) as (reader, writer):
        writer.write(request(played.path.encode(), GOOD))
        await reader.readuntil(b"hello")
        ahead = request(b"/health") * 2000
        stuck = False
        for _ in range(500):
            writer.write(ahead)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                stuck = True
                break
        assert stuck, "nobody takes them any more"
        (busy,) = [one for one in service.connections._all if one._current_request is not None]
        assert len(busy._messages) <= 1000


async def test_point_12_streams_are_counted_for_each_user_and_in_all(scene: Scene) -> None:
    scene.more = "\nlogs: {streams: 3, streams_per_user: 2}\n"
    played = Run(scene.cluster)
    played.task("build").say("s", "hello\n")
    async with (
        serving(scene, environment_user=("admin", "x")) as (service, session),
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(2):
            await stack.enter_async_context(reading(session, played.path))
        path = played.path.encode()
        assert (await ask(service.port, request(path, GOOD)))[0] == 429
        admin = b"Authorization: " + basic("admin", "x").encode()
        _, writer = await stack.enter_async_context(connection(service.port))
        writer.write(request(path, admin))
        await until(lambda: len(service.streams) == 3)
        status, headers, body = await ask(service.port, request(path, admin))
        assert (status, headers["retry-after"]) == (503, "10")
        assert "message" in json.loads(body)


def test_point_12_a_line_has_a_length() -> None:
    lines = Lines(limit=1000)
    given = [lines.feed(b"2026-11-23T11:00:00Z " + b"x" * 600 if not n else b"x" * 600) for n in range(50)]
    assert max(map(len, given)) <= 1000 + 600 + 1
    assert sum(map(len, given)) > 50 * 500
    assert lines._size <= 1000
    assert Lines()._limit <= 16 * 1024**2


async def test_point_12_a_runs_spool_and_all_spools_have_a_size(scene: Scene) -> None:
    scene.more = "\nlogs: {spool_bytes: 1MiB, spool_total: 2MiB}\n"
    runs = []
    for name in "abc":
        played = Run(scene.cluster, f"service-xyz-run-{name}")
        task = played.task("build")
        task.say("s", ("x" * 999 + "\n") * 3000)
        task.complete()
        played.succeed()
        runs.append(played)
    async with serving(scene) as (service, session):
        for played in runs:
            lines = await read(session, played.path)
            assert len(lines) < 2000
            assert "more" in lines[-2] or "missing" in lines[-2]
            assert service.recordings.size <= 2 * 1024**2


def test_point_12_queues_have_a_length() -> None:
    assert 0 < events._MAX_QUEUED <= 10_000
    assert events.Events(None)._queue.maxsize == events._MAX_QUEUED  # type: ignore[arg-type]  # it asks nobody
    limits = Config.model_validate({}).logs
    assert limits.streams_per_user < limits.streams <= 1000
    assert limits.spool_bytes < limits.spool_total
    assert connections.most_connections(limits.streams) <= limits.streams + connections.OTHERS


async def test_point_12_a_wait_has_an_end(scene: Scene) -> None:
    from listener.web.requests import MAX_WAIT

    async with scene.serve() as service:
        await service.runs.synced()
        for text in (b"999999999", b"1e9", b"inf", b"nan", b"9999h99999m9999999s", b"-1", "٣".encode()):
            status, *_ = await ask_or_wait(service, b"/status/x?wait=" + text)
            assert status in (None, 400), text
    assert MAX_WAIT <= 86400


async def ask_or_wait(service: Service, path: bytes) -> tuple[int | None, ...]:
    try:
        async with connection(service.port) as (reader, writer):
            writer.write(request(path, GOOD))
            return await answer(reader, timeout=0.1)  # type: ignore[return-value]  # its status is looked at only
    except TimeoutError:
        return (None,)
