"""Making the server misbehave on purpose, for tests: which requests, how often, and how."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    verb: str  #: get, list, watch, create, update, patch, delete, log
    resource: str
    at: float = field(default_factory=time.monotonic)


@dataclass(slots=True, kw_only=True)
class Fault:
    """What to do to the requests that match. Exactly one of the ways below."""

    verb: str | None = None
    resource: str | None = None
    when: Callable[[Seen], bool] | None = None
    times: int | None = None  #: None: always

    status: int | None = None  #: answer this status …
    body: bytes = b""  #: … with this body
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False  #: close the connection without an answer
    hang: bool = False  #: never answer
    until: asyncio.Event | None = None  #: look at the request, and answer properly, only when this is set
    lines: tuple[bytes, ...] = ()  #: send these lines first in a watch, then go on properly
    cut_after: int | None = None  #: end a watch or a log after so many events or bytes, as if it were its end

    hits: int = 0

    def matches(self, seen: Seen) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if self.verb not in (None, seen.verb) or self.resource not in (None, seen.resource):
            return False
        return self.when is None or self.when(seen)


class Faults:
    """All faults in force, in order; the first that matches acts."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        self._faults.remove(fault)

    def match(self, seen: Seen) -> Fault | None:
        """The fault to play for this request, counted."""
        for fault in self._faults:
            if fault.matches(seen):
                fault.hits += 1
                return fault
        return None


class Requests:
    """What was asked lately; can be waited for."""

    _LIMIT: Final = 10_000

    def __init__(self) -> None:
        self._seen: deque[Seen] = deque(maxlen=self._LIMIT)
        self._arrived = asyncio.Event()

    def __iter__(self) -> Iterator[Seen]:
        return iter(tuple(self._seen))

    def add(self, seen: Seen) -> None:
        self._seen.append(seen)
        self._arrived.set()

    def count(self, verb: str, resource: str) -> int:
        return sum(1 for seen in self._seen if seen.verb == verb and seen.resource == resource)

    async def wait_for(self, condition: Callable[[list[Seen]], bool], *, timeout: float = 20.0) -> list[Seen]:
        """Wait until ``condition`` holds for what was asked; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while not condition(list(self._seen)):
                self._arrived.clear()
                await self._arrived.wait()
        return list(self._seen)
