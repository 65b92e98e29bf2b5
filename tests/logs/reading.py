"""Somebody who reads a log as it comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from listener.service import Service
from tests.scene import Scene, client

_PATIENCE = 20.0  # seconds for a line to come


class Reader:
    """An open stream. Lines come without their newline; those that only pass the time are kept apart."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.raw = b""
        self.passing: list[str] = []

    async def line(self) -> str:
        """The next line of the log. Raises ``EOFError`` at the end."""
        while True:
            line = await self.any_line()
            if not line.startswith("# ... "):
                return line
            self.passing.append(line)

    async def any_line(self) -> str:
        """The next line, also one that passes the time."""
        async with asyncio.timeout(_PATIENCE):
            raw = await self.response.content.readuntil(b"\n")
        if not raw:
            raise EOFError
        self.raw += raw
        return raw.decode("utf-8", "surrogateescape").removesuffix("\n")

    async def until(self, text: str) -> list[str]:
        """Lines up to the one that contains ``text``."""
        lines = [await self.line()]
        while text not in lines[-1]:
            lines.append(await self.line())
        return lines

    async def rest(self) -> list[str]:
        """All lines that are still to come. Raises ``aiohttp.ClientPayloadError`` when the stream is cut."""
        lines = []
        with contextlib.suppress(EOFError):
            while True:
                lines.append(await self.line())
        return lines


@contextlib.asynccontextmanager
async def reading(session: aiohttp.ClientSession, path: str, **params: Any) -> AsyncIterator[Reader]:
    async with session.get(
        path, params={key.replace("_", "-"): str(value) for key, value in params.items()}
    ) as response:
        assert response.status == 200, await response.text()
        yield Reader(response)


async def read(session: aiohttp.ClientSession, path: str, **params: Any) -> list[str]:
    """A whole log, line by line, to its proper end."""
    async with reading(session, path, **params) as reader:
        return await reader.rest()


@contextlib.asynccontextmanager
async def serving(scene: Scene, **settings: Any) -> AsyncIterator[tuple[Service, aiohttp.ClientSession]]:
    """The service, knowing its runs, and somebody who may ask it."""
    async with scene.serve(**settings) as service, client(service) as session:
        await service.runs.synced()
        yield service, session
