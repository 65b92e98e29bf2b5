"""The service as a process of its own, as production runs it: started, asked, stopped, frozen and killed by tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from tests.scene import Scene

_LISTENING = re.compile(r"listening on http://[^ ]*:(\d+)")
COMMAND = (sys.executable, "-m", "listener")


class Replica:
    """One process. Its log is read as it comes, so that a test can wait for a line of it."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.process, self.name = process, name
        self.log: list[str] = []
        self._line = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())
            self._line.set()
        self._line.set()

    async def logged(self, text: str, *, times: int = 1, timeout: float = 60.0) -> str:
        """Wait until ``text`` stands in the log that often; gives the last of these lines."""
        async with asyncio.timeout(timeout):
            while len(found := [line for line in self.log if text in line]) < times:
                if self._reading.done():
                    raise AssertionError(f"{self.name} ended without {text!r}:\n" + "\n".join(self.log[-30:]))
                self._line.clear()
                await self._line.wait()
        return found[-1]

    async def port(self) -> int:
        match = _LISTENING.search(await self.logged("listening on"))
        assert match is not None
        return int(match[1])

    async def get(self, path: str) -> tuple[int, str]:
        """Ask without credentials: a probe or the metrics."""
        timeout = aiohttp.ClientTimeout(total=10)
        url = f"http://127.0.0.1:{await self.port()}{path}"
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status, await response.text()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's values over all series that carry ``labels``."""
        return metric(await self.get("/metrics"), name, **labels)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        """As the kernel kills: nothing is cleaned up."""
        self.process.kill()
        await self.process.wait()

    async def stop(self, *, timeout: float = 30.0) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        async with asyncio.timeout(timeout):
            await self._reading
            return await self.process.wait()


def metric(answer: tuple[int, str], name: str, **labels: str) -> float:
    """A metric in an answer of ``/metrics``."""
    total = 0.0
    for line in answer[1].splitlines():
        if re.match(rf"tekton_listener_{name}(\{{|\s)", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


@contextlib.asynccontextmanager
async def replica(
    scene: Scene, name: str = "one", *, config: Path | None = None, command: Sequence[str] = COMMAND, **env: str
) -> AsyncIterator[Replica]:
    """A process with the scene's configuration; killed at the end if it still runs."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("AUTH_", "KUBE", "PORT", "POD_"))}
    process = await asyncio.create_subprocess_exec(
        *command,
        "serve",
        "--config",
        str(config or scene.write_config()),
        env={**base, **scene.env(), "PORT": "0", "POD_NAME": name, "LOG_LEVEL": "INFO", **env},
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    one = Replica(process, name)
    try:
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await one._reading
