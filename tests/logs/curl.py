"""The real ``curl``, as CI jobs call it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

from tests.scene import PASSWORD, USER


class Curl:
    """A running ``curl``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> bytes:
        """The next line, without its newline. Raises ``EOFError`` at the end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        if not line:
            raise EOFError
        return line.removesuffix(b"\n")

    async def end(self) -> tuple[list[bytes], int]:
        """The lines that are still to come, and the exit code."""
        async with asyncio.timeout(60):
            out, _ = await self._process.communicate()
        assert self._process.returncode is not None
        return out.splitlines(), self._process.returncode


@contextlib.asynccontextmanager
async def curl(port: int, path: str, *options: str) -> AsyncIterator[Curl]:
    """``curl -sN -u USER:PASSWORD OPTIONS URL``; killed at the end if it still runs."""
    assert shutil.which("curl"), "curl is needed: apt-get install curl"
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", "-u", f"{USER}:{PASSWORD}", *options, f"http://127.0.0.1:{port}{path}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Curl(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def served_by(process: asyncio.subprocess.Process) -> AsyncIterator[int]:
    """The port that a service's process listens on, once it does."""
    assert process.stderr is not None
    port = ""
    async with asyncio.timeout(30):
        while not port:
            line = (await process.stderr.readline()).decode()
            port = line.rpartition(":")[2].strip() if "listening on" in line else ""
    yield int(port)
