"""A TCP proxy between the service and its cluster that freezes, or cuts what passes into odd pieces."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """``async with Proxy(url) as proxy``: ``proxy.url`` leads to ``url``."""

    def __init__(self, target: str, *, pieces: int | None = None) -> None:
        """``pieces``: bytes at most in each piece of an answer."""
        parts = urlsplit(target)
        self._target, self._pieces = (parts.hostname, parts.port), pieces
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """From now on nothing passes on the connections that are open; nobody is told. New ones work."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(*self._target)
        pumps = [
            asyncio.create_task(self._pump(reader, back, None)),
            asyncio.create_task(self._pump(there, writer, self._pieces)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.gather(*pumps)
        except asyncio.CancelledError:  # frozen: both ends stay open, and silent, until one of them is closed
            with contextlib.suppress(ConnectionError):
                await reader.read()
        finally:
            for end in (writer, back):
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: int | None) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for start in range(0, len(data), pieces or len(data)):
                    writer.write(data[start : start + (pieces or len(data))])
                    await writer.drain()
                    if pieces:
                        await asyncio.sleep(0)
            writer.write_eof()
