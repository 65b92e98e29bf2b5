"""The service from this checkout, as a process, started as production starts it: the command line, a file, the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp

_ROOT: Final = Path(__file__).parents[1]
_LISTENING: Final = re.compile(r"listening on http://[^ ]*:(\d+)")
_START: Final = 60.0  # seconds until it is ready
_STOP: Final = 45.0  # seconds until it has stopped; its own grace is 15
_KEPT: Final = 5_000  # lines of its log
_REFUSED: Final = re.compile(r"\b403\b|forbidden|Unauthorized", re.IGNORECASE)


class ListenerProcess:
    """One replica. ``log`` is what it said."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process, self.name = process, name
        self.log: deque[str] = deque(maxlen=_KEPT)
        self.port = 0
        self._line = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if self._process.stderr is not None:
            async for line in self._process.stderr:
                self.log.append(line.decode(errors="replace").rstrip())
                if match := _LISTENING.search(self.log[-1]):
                    self.port = int(match[1])
                self._line.set()
        self._line.set()

    @property
    def refusals(self) -> list[str]:
        """Lines that say that the cluster refused something."""
        return [line for line in self.log if _REFUSED.search(line)]

    async def until_ready(self) -> None:
        """Raises ``AssertionError`` with its log."""
        try:
            async with asyncio.timeout(_START):
                while not self.port and not self._reading.done():
                    self._line.clear()
                    await self._line.wait()
                while self.port and not await self._ready():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"the service is not ready within {_START:g} s:\n{self.tail()}") from None
        if not self.port:
            raise AssertionError(f"the service ended at once:\n{self.tail()}")

    async def _ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            status, _ = await self.get("/readyz")
            return status == 200
        return False

    async def get(self, path: str) -> tuple[int, str]:
        """Without credentials."""
        timeout, url = aiohttp.ClientTimeout(total=10), f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status, await response.text()

    def tail(self, lines: int = 60) -> str:
        return "\n".join(list(self.log)[-lines:])

    async def kill(self) -> None:
        """SIGKILL: nothing is cleaned up, no Lease given back."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process.returncode is None:
            self._process.terminate()
        async with asyncio.timeout(_STOP):
            await self._reading
            return await self._process.wait()


@contextlib.asynccontextmanager
async def listener_process(
    config: Path, *, kubeconfig: str, name: str, port: int = 0
) -> AsyncIterator[ListenerProcess]:
    """Started, and not ready yet; killed at the end if it still runs."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AUTH_", "KUBE", "PORT", "POD_", "E2E_", "LOG_"))}
    env |= {"KUBECONFIG": kubeconfig, "PORT": str(port), "POD_NAME": name, "LOG_LEVEL": "INFO"}
    env["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [env.get("PYTHONPATH")])])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "listener", "serve", "--config", str(config)),
        env=env,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
        start_new_session=True,  # Ctrl-C is for the suite, which stops it
    )
    one = ListenerProcess(process, name)
    try:
        yield one
    finally:
        if process.returncode is None:
            await one.kill()
