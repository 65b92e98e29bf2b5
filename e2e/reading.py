"""Asking the service as a CI job does: logs that are followed, answers, and real ``curl`` where there is one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Final

import aiohttp

USER, PASSWORD = "ci", "correct horse battery"
_CALL: Final = 60.0  # seconds


class Follower:
    """One log, read as it comes. ``whole``: it ended properly, as only a log with a verdict does."""

    def __init__(self, port: int, path: str) -> None:
        self.status, self.data, self.whole = 0, b"", False
        self._arrived = asyncio.Event()
        self.task = asyncio.create_task(self._read(port, path))

    async def _read(self, port: int, path: str) -> None:
        try:
            async with client(port, timeout=None) as session, session.get(path) as response:
                self.status = response.status
                async for chunk in response.content.iter_any():
                    self.data += chunk
                    self._arrived.set()
                self.whole = True
        except (aiohttp.ClientError, OSError):
            self.whole = False
        finally:
            self._arrived.set()

    async def until(self, text: bytes, *, timeout: float) -> None:
        """Wait for ``text``. Raises ``AssertionError`` that says what came instead."""
        try:
            async with asyncio.timeout(timeout):
                while text not in self.data:
                    if self.task.done():
                        break
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass
        if text not in self.data:
            raise AssertionError(f"{text!r} is not in the log within {timeout:g} s; it ends with {self.data[-300:]!r}")

    async def end(self, *, timeout: float) -> None:
        """Wait for its end; without a word when there is none in time."""
        await asyncio.wait([self.task], timeout=timeout)

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def client(
    port: int, *, user: str = USER, password: str = PASSWORD, timeout: float | None = _CALL
) -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody with Basic authentication; ``user`` "": without."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"} if user else {}
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CALL)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers, timeout=limits) as session:
        yield session


async def curl(port: int, path: str, *options: str) -> int | None:
    """The exit code of ``curl -f``; None where there is no curl."""
    program = shutil.which("curl")
    if program is None:
        return None
    process = await asyncio.create_subprocess_exec(
        program,
        *("-sS", "-f", "-o", "/dev/null", "-m", str(_CALL), "-u", f"{USER}:{PASSWORD}", *options),
        f"http://127.0.0.1:{port}{path}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()
