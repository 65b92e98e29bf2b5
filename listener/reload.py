"""Reading the configuration again when its file, or a secret that it names, has changed.

Looked at by ``stat`` every few seconds: Kubernetes swaps ConfigMaps and Secrets by a symbolic link, which no file watcher sees reliably.
A file that is wrong changes nothing: the last good configuration stays, the log names the line, a metric and ``/readyz`` say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from listener.assembly import StartError
from listener.config_problems import ConfigError

log = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int, int], ...]


class Reloader:
    """Calls ``apply`` when one of ``files`` has changed. Run it with ``run()``, in a task that you own."""

    def __init__(
        self, *, files: Callable[[], Iterable[Path]], apply: Callable[[], Awaitable[None]], every: float
    ) -> None:
        """``files`` and ``apply`` are asked each time; ``apply`` raises ``ConfigError`` or ``StartError`` and has then changed
        nothing. ``every``: seconds between two looks."""
        self.done = 0  #: times that a change was taken over
        self.failed = 0  #: times that it was refused
        self.problem: tuple[str, float] | None = None  #: why the newest file is not in force, since when (time.time())
        self._files, self._apply, self._every = files, apply, every
        self._known = signature(files())
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have a look now, and read it again even if nothing seems to have changed (SIGHUP)."""
        self._known = ()
        self._asked.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._asked.wait()
            self._asked.clear()
            found = await asyncio.to_thread(signature, self._files())
            if found != self._known:
                self._known = found
                await self._reload()

    async def _reload(self) -> None:
        try:
            await self._apply()
        except (ConfigError, StartError) as error:
            self.failed += 1
            self.problem = (str(error), self.problem[1] if self.problem is not None else time.time())
            log.error("the changed configuration is not taken over, the last good one stays: %s", error)
        except Exception:  # a defect must not end what works
            self.failed += 1
            log.exception("the changed configuration could not be taken over")
        else:
            self.done += 1
            self.problem = None
            self._known = await asyncio.to_thread(signature, self._files())  # it may name other files now
            log.info("configuration read again")


def signature(files: Iterable[Path]) -> Signature:
    """What tells whether one of ``files`` is another one than before, through symbolic links."""
    found = []
    for path in files:
        try:
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append((str(path), 0, 0, 0))
    return tuple(found)
