"""A TCP proxy before the cluster, for what networks do to connections: they freeze, and they cut bytes where they like."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Self
from urllib.parse import urlsplit

from tests.scene import Scene


class Proxy:
    """``async with Proxy(scene) as proxy`` listens; ``proxy.env()`` leads a service through it."""

    def __init__(
        self, scene: Scene, *, pieces: Sequence[int] = (65536,), replace: tuple[bytes, bytes] = (b"", b"")
    ) -> None:
        """``pieces``: the sizes in which answers are passed on, over and over; ``replace``: what it puts for what into requests."""
        self._scene, self._pieces, self._replace = scene, pieces, replace
        self.cut = b""  #: a connection on which this is asked for is closed without an answer
        self.watches = 0  #: connections that have carried a watch
        self.frozen = 0  #: connections frozen
        self.held = asyncio.Event()  #: an answer is being held back
        self._hold = b""
        self._released = asyncio.Event()
        self._watching: set[asyncio.Event] = set()  # set: the connection passes bytes on
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def env(self) -> dict[str, str]:
        """The scene's environment, with the proxy where the cluster was."""
        path = self._scene.cluster.kubeconfig(self._scene.folder / "kubeconfig-proxy")
        port = self._server.sockets[0].getsockname()[1]
        path.write_text(path.read_text().replace(self._scene.cluster.url, f"http://127.0.0.1:{port}"))
        return {"KUBECONFIG": str(path)}

    def freeze(self) -> None:
        """From now on nothing passes on connections that carry a watch, and nobody is told. New ones work."""
        self.frozen = len(self._watching)
        for passes in self._watching:
            passes.clear()

    def thaw(self) -> None:
        """What was frozen passes on."""
        for passes in self._watching:
            passes.set()

    def hold(self, request: bytes) -> None:
        """From now on answers to requests with ``request`` in them are held back when they have come; ``held`` tells of it."""
        self._hold = request
        self.held.clear()
        self._released.clear()

    def release(self) -> None:
        """Hold nothing back any more."""
        self._hold = b""
        self._released.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        parts = urlsplit(self._scene.cluster.url)
        passes = asyncio.Event()
        passes.set()
        to_hold = asyncio.Event()  # the answer that comes next
        far: asyncio.StreamWriter | None = None
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            try:
                answers, far = await asyncio.open_connection(parts.hostname, parts.port)
                async with asyncio.TaskGroup() as group:
                    back = group.create_task(self._back(answers, writer, passes, to_hold))
                    await self._forth(reader, far, passes, to_hold)
                    back.cancel()
            except* ConnectionError:
                pass
            finally:
                self._watching.discard(passes)
                self._tasks.discard(task)
                for end in (writer, far):
                    if end is not None:
                        end.transport.abort()

    async def _forth(
        self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, passes: asyncio.Event, to_hold: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if self.cut and self.cut in data:
                raise ConnectionResetError
            if b"watch=true" in data and passes not in self._watching:
                self._watching.add(passes)
                self.watches += 1
            if self._hold and self._hold in data:
                to_hold.set()
            await passes.wait()
            far.write(data.replace(*self._replace) if self._replace[0] else data)
            await far.drain()

    async def _back(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event, to_hold: asyncio.Event
    ) -> None:
        sizes = itertools.cycle(self._pieces)
        while data := await answers.read(65536):
            if to_hold.is_set():
                self.held.set()
                await self._released.wait()
                to_hold.clear()
            at = 0
            while at < len(data):
                await passes.wait()
                size = next(sizes)
                writer.write(data[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)  # so that the reader gets this piece alone
                at += size
        writer.close()
