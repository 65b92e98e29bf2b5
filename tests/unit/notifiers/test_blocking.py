"""A blocking library beside an event loop: bounds, cancellation, rotation, closing."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from notifiers.base import HostSettings, Notifier, NotifierError, RetryableError, TooLateError, UnauthorizedError, clock
from notifiers.blocking import Workers
from notifiers.credentials import Token
from notifiers.session import OneRequestSession
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import TOKEN, URL, Connect, context_of, status, token_of

REFUSED = Answer(401, {"message": "401 Unauthorized"})


@pytest.fixture
def kind(sender: type[Notifier]) -> type[Notifier]:
    """One for each way of sending."""
    return sender


def tokens(host: Host) -> list[str]:
    """The tokens of all requests, in order."""
    return [token_of(asked) for asked in host.asked]


async def test_as_many_at_once_as_threads_and_the_loop_goes_on(
    host: Host, connect: Connect, kind: type[Notifier]
) -> None:
    host.default = Answer(how="hang")
    notifier = connect(kind, threads=3)
    async with asyncio.TaskGroup() as group:
        for _ in range(9):
            group.create_task(notifier.deliver(status()))
        await host.has(requests=3)  # this loop serves the host, too: it would not get here if it were blocked
        assert (len(host.asked), host.open) == (3, 3)
        host.default = Answer()
        host.release()
    assert len(host.asked) == 9


@pytest.mark.parametrize("how", ["drip", "drip_head", "hang"])
async def test_a_host_without_end_holds_neither_delivery_nor_thread(
    host: Host, connect: Connect, kind: type[Notifier], how: str
) -> None:
    host.script.append(Answer(200, how=how))
    notifier = connect(kind, threads=1, request_timeout=0.25)
    with pytest.raises(RetryableError):
        await notifier.deliver(status())
    await notifier.deliver(status())
    assert len(host.asked) == 2


async def test_a_dripping_host_is_named_with_the_bound(host: Host, connect: Connect, kind: type[Notifier]) -> None:
    host.default = Answer(200, how="drip")
    notifier = connect(kind, request_timeout=0.2)
    with pytest.raises(RetryableError, match=r"here: no complete answer within 0\.6 s"):
        await notifier.deliver(status())


async def test_a_delivery_without_a_turn_ends(host: Host, connect: Connect, kind: type[Notifier]) -> None:
    host.default = Answer(200, how="drip")
    notifier = connect(kind, threads=1, request_timeout=0.2)
    results = await asyncio.gather(*(notifier.deliver(status()) for _ in range(6)), return_exceptions=True)
    assert all(isinstance(result, RetryableError) for result in results)
    assert any("were busy" in str(result) for result in results)


async def test_a_cancelled_delivery_gives_its_thread_back(host: Host, connect: Connect, kind: type[Notifier]) -> None:
    host.script.append(Answer(how="hang"))
    notifier = connect(kind, threads=1)
    task = asyncio.create_task(notifier.deliver(status()))
    await host.has(requests=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    host.release()
    await notifier.deliver(status())
    assert len(host.asked) == 2


async def test_a_cancelled_delivery_to_a_dripping_host_ends_on_the_wire_and_quietly(
    host: Host, connect: Connect, kind: type[Notifier], caplog: pytest.LogCaptureFixture
) -> None:
    host.default = Answer(200, how="drip")
    notifier = connect(kind, threads=1, request_timeout=0.2)
    task = asyncio.create_task(notifier.deliver(status()))
    await host.has(requests=1)
    task.cancel()
    await host.has_no_connection()
    await notifier.close()
    gc.collect()  # asyncio complains of an exception that nobody saw when its future goes
    assert not caplog.records


async def test_no_watchdog_outlives_its_delivery(
    host: Host, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    later = loop.call_later

    def call_later(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        handle = later(delay, callback, *args, **options)
        if getattr(callback, "__name__", "") == "_look":
            handles.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    await notifier.deliver(status())
    assert [handle.cancelled() for handle in handles] == [True]


async def test_a_delivery_cancelled_before_its_turn_makes_no_request(
    host: Host, connect: Connect, kind: type[Notifier]
) -> None:
    host.script.append(Answer(how="hang"))
    notifier = connect(kind, threads=1)
    first = asyncio.create_task(notifier.deliver(status()))
    await host.has(requests=1)
    second = asyncio.create_task(notifier.deliver(status(context="second")))
    await asyncio.sleep(0)
    second.cancel()
    host.release()
    await first
    await notifier.deliver(status(context="third"))
    assert [context_of(asked) for asked in host.asked] == ["tekton/build", "third"]


async def test_close_waits_for_what_is_in_flight(host: Host, connect: Connect, kind: type[Notifier]) -> None:
    host.default = Answer(how="hang")
    notifier = connect(kind)
    task = asyncio.create_task(notifier.deliver(status()))
    await host.has(requests=1)
    closing = asyncio.create_task(notifier.close())
    await asyncio.sleep(0)
    assert not closing.done()
    host.release()
    await closing
    await task
    await host.has_no_connection()
    with pytest.raises(RetryableError, match="shutting down"):
        await notifier.deliver(status())


async def test_close_cuts_off_what_does_not_end(host: Host, connect: Connect, kind: type[Notifier]) -> None:
    host.default = Answer(200, how="drip")
    notifier = connect(kind, threads=1, request_timeout=0.3)
    first, second = (asyncio.create_task(notifier.deliver(status())) for _ in range(2))
    await host.has(requests=1)
    await notifier.close()
    await host.has_no_connection()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [RetryableError, RetryableError]
    assert len(host.asked) == 1


async def test_close_leaves_no_thread_and_may_be_called_twice(
    host: Host, connect: Connect, kind: type[Notifier]
) -> None:
    notifier = connect(kind, name="leaver", threads=3)
    await asyncio.gather(*(notifier.deliver(status()) for _ in range(3)))
    await notifier.close()
    await notifier.close()
    assert not [thread.name for thread in threading.enumerate() if "leaver" in thread.name]
    await host.has_no_connection()


async def test_a_rotated_token_is_used_at_once(
    host: Host, connect: Connect, kind: type[Notifier], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    notifier = connect(kind, token_file=file, token="from-the-environment", threads=2)
    await notifier.deliver(status())
    fresh = tmp_path / "fresh"
    fresh.write_text("second-token")
    fresh.replace(file)  # as Kubernetes does it
    await asyncio.gather(*(notifier.deliver(status()) for _ in range(4)))
    file.unlink()
    await notifier.deliver(status())
    file.write_text("")
    await notifier.deliver(status())
    assert tokens(host) == ["first-token", *["second-token"] * 6]


async def test_a_refused_token_is_read_again(
    host: Host, connect: Connect, kind: type[Notifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("old-token")
    seen = file.stat()
    notifier = connect(kind, token_file=file)
    monkeypatch.setattr(Path, "stat", lambda self, **_: seen)  # a file system whose stat shows no change
    file.write_text("new-token")
    host.script.append(REFUSED)
    with pytest.raises(UnauthorizedError, match=r"answered 401: 401 Unauthorized; the token is refused"):
        await notifier.deliver(status())
    await notifier.deliver(status())
    assert tokens(host) == ["old-token", "new-token"]


@pytest.mark.parametrize("content", ["", "  \n", "two words", "two\nlines", "tökén", "x" * 70_000])
async def test_a_file_without_a_token_is_told_at_the_start(kind: type[Notifier], tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(ValueError, match=str(file)) as raised:
        kind(HostSettings(name="x", url=URL, token_file=file))
    assert not content.strip() or content not in str(raised.value)


def test_no_token_at_all_is_told_at_the_start(kind: type[Notifier], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give token_file or token_env"):
        kind(HostSettings(name="x", url=URL))
    with pytest.raises(FileNotFoundError):
        kind(HostSettings(name="x", url=URL, token_file=tmp_path / "none"))


async def test_a_client_is_never_used_by_two_threads_at_once_and_made_once_per_token() -> None:
    made: list[str] = []

    def make(token: str, session: OneRequestSession) -> threading.Lock:
        made.append(token)
        return threading.Lock()

    def use(client: threading.Lock, session: OneRequestSession) -> bool:
        if not client.acquire(blocking=False):
            return False
        threading.Event().wait(0.001)
        client.release()
        return True

    settings = HostSettings(name="x", url=None, token=TOKEN, threads=4)
    workers = Workers(settings, url="https://x.example.com", token=Token(settings), make=make)
    assert all(await asyncio.gather(*(workers.call(use) for _ in range(200))))
    await workers.close()
    assert 1 <= len(made) <= 4


async def test_whatever_a_library_raises_becomes_an_error_of_ours() -> None:
    def use(client: object, session: OneRequestSession) -> Any:
        raise KeyError(TOKEN)

    settings = HostSettings(name="x", url=None, token=TOKEN)
    workers = Workers(settings, url="https://x.example.com", token=Token(settings), make=lambda *_: object())
    with pytest.raises(NotifierError) as raised:
        await workers.call(use)
    assert TOKEN not in str(raised.value)
    await workers.close()


async def test_no_request_begins_after_its_deadline(host: Host, notifier: Notifier) -> None:
    with pytest.raises(TooLateError):
        await notifier.deliver(status(), until=lambda: 0.0)
    await notifier.deliver(status())
    assert len(host.asked) == 1


async def test_a_request_is_cut_off_at_its_deadline(host: Host, connect: Connect, kind: type[Notifier]) -> None:
    host.default = Answer(200, how="drip")
    notifier = connect(kind, threads=1)
    deadline = clock() + 0.2
    with pytest.raises(TooLateError):
        await notifier.deliver(status(), until=lambda: deadline)
    await host.has_no_connection()


async def test_a_deadline_that_moves_on_lets_the_request_end(
    host: Host, connect: Connect, kind: type[Notifier]
) -> None:
    host.script.append(Answer(how="hang"))
    notifier = connect(kind, threads=1)
    deadlines = [clock() + 0.1, clock() + 0.2, clock() + 60]
    looked = asyncio.Event()

    def until() -> float:
        if len(deadlines) == 1:
            looked.set()
            return deadlines[0]
        return deadlines.pop(0)

    task = asyncio.create_task(notifier.deliver(status(), until=until))
    await host.has(requests=1)
    await looked.wait()
    host.release()
    await asyncio.wait([task])
    assert not isinstance(task.exception(), TooLateError)
