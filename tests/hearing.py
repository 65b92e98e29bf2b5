"""The log of a service in this process, as something to wait for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator


class Heard(logging.Handler):
    """Every line that was logged while it listened."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._line = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")
        self._loop.call_soon_threadsafe(self._line.set)

    def count(self, text: str) -> int:
        """How many lines hold ``text``."""
        return sum(text in line for line in self.lines)

    async def logged(self, text: str, *, times: int = 1, timeout: float = 20.0) -> list[str]:
        """Wait until ``text`` stands in the log that often; gives these lines."""
        async with asyncio.timeout(timeout):
            while self.count(text) < times:
                self._line.clear()
                await self._line.wait()
        return [line for line in self.lines if text in line]


@contextlib.contextmanager
def hearing() -> Iterator[Heard]:
    """Listen to the service's log."""
    logger, heard = logging.getLogger("listener"), Heard()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(heard)
    try:
        yield heard
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
