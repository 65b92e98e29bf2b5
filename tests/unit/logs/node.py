"""A cluster in miniature for what ``follow`` must bear: the in-memory log endpoint without sockets, which breaks where a script says.

An answer is served from ``PodLogs`` itself. Whenever it has nothing more to send, the next step of the script happens; when the script
is over, so is the container.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from listener.cluster.client import UnreachableError
from listener.cluster.names import Key
from listener.demo.kubernetes.podlogs import LogOptions, PodLogs
from listener.demo.kubernetes.store import Store
from listener.logs.follow import Phase

POD, CONTAINER = Key("ci", "p"), "step-one"
NAME = (POD.namespace, POD.name, CONTAINER)
START = int(datetime(2026, 11, 23, 10, 1, tzinfo=UTC).timestamp()) * 10**9


@dataclass(frozen=True)
class Print:
    """The container prints ``data`` so many nanoseconds after it had printed last; ``late`` says how much older its time is."""

    data: bytes
    after: int = 0
    late: int = 0


@dataclass(frozen=True)
class Rotate:
    """All but the last ``keep`` lines are gone for the answers to come."""

    keep: int


@dataclass(frozen=True)
class Break:
    """The answer ends here: as if it were the log's end, or in an error; ``then`` happens before the next one begins."""

    clean: bool = True
    then: tuple[Print | Rotate, ...] = ()


Step = Print | Break | Rotate


@dataclass
class Node:
    """``Cluster`` and ``Watched`` at once, as far as ``follow`` knows them."""

    script: list[Step]
    cuts: list[int] = field(default_factory=list)  #: after how many bytes each answer breaks, as long as there are some
    sizes: tuple[int, ...] = (1 << 20,)  #: of the chunks, in turn
    ignored: tuple[str, ...] = ()  #: parameters that this server does not know
    asked: list[dict[str, str]] = field(default_factory=list)
    received: bytes = b""  #: set it to what ``follow`` has given so far
    lost: set[int] = field(default_factory=set)  #: lines that were rotated away before they could be read

    def __post_init__(self) -> None:
        store = Store()
        pod = {
            "metadata": {"name": POD.name, "namespace": POD.namespace},
            "spec": {"containers": [{"name": CONTAINER}]},
        }
        store.create("pods", POD.namespace, pod)
        self.logs = PodLogs(store)
        self._clock = START
        self._rotated = 0  # lines
        self._over = False

    # Watched

    def phase(self) -> Phase:
        return Phase.TERMINATED if self._over else Phase.RUNNING

    async def changed(self, *, timeout: float) -> None:
        await asyncio.sleep(0)

    # Cluster

    @contextlib.asynccontextmanager
    async def stream(self, path: str, *, params: Mapping[str, str], **_: Any) -> AsyncIterator[_Response]:
        assert path == "/api/v1/namespaces/ci/pods/p/log"
        self.asked.append(dict(params))
        place = self.received.count(b"\n")
        for line in sorted(self.lost):
            place += line <= place
        self.lost |= set(range(place, self._rotated))
        known = {key: value for key, value in params.items() if key not in self.ignored}
        yield _Response(_Content(self._answer(LogOptions.of(known))))

    async def _answer(self, options: LogOptions) -> AsyncIterator[bytes]:
        cut = None if self._over or not self.cuts else self.cuts.pop(0)
        sizes = self._sizes()
        async with contextlib.aclosing(self.logs.read(NAME[:2], CONTAINER, options)) as pieces:
            while True:
                waiting: asyncio.Future[bytes | None] = asyncio.ensure_future(anext(pieces, None))
                while not await _done(waiting):
                    if isinstance(step := self.script.pop(0) if self.script else None, Break):
                        waiting.cancel()
                        await asyncio.gather(waiting, return_exceptions=True)
                        for after in step.then:
                            self._play(after)
                        if step.clean:
                            return
                        raise UnreachableError("cut")
                    self._play(step)
                data = waiting.result()
                if data is None:
                    return
                at = 0
                while at < len(data):
                    size = next(sizes) if cut is None else min(next(sizes), cut)
                    yield data[at : at + size]
                    cut = cut - len(data[at : at + size]) if cut is not None else None
                    at += size
                    if cut == 0:
                        return

    def _sizes(self) -> Iterator[int]:
        while True:
            yield from self.sizes

    def _play(self, step: Print | Rotate | None) -> None:
        match step:
            case Print():
                self._clock += step.after
                self._print(step.data, self._clock - step.late)
            case Rotate():
                self._rotate(step.keep)
            case None:
                self._over = True
                self.logs.finish(*NAME)

    def _print(self, data: bytes, ns: int) -> None:
        pieces = self.logs._log(*NAME).pieces
        if pieces and not pieces[-1].data.endswith(b"\n"):
            ns = max(ns, pieces[-1].at)  # one writer makes all pieces of a line, and its times do not run back
        gone = self.printed().split(b"\n")[: self._rotated]
        while any(b"%09dZ" % (ns % 10**9) in line for line in gone):
            ns += 1  # nothing printed later is the same to the nanosecond as what was rotated away
        self.logs.append(*NAME, data, ns=ns)

    def _rotate(self, keep: int) -> None:
        lines = self.printed().removesuffix(b"\n").split(b"\n")
        rotated = max(len(lines) - keep, self._rotated)
        while rotated > self._rotated and {line[:30] for line in lines[:rotated]} & {
            line[:30] for line in lines[rotated:]
        }:
            rotated -= 1  # nor does it fall between lines that are the same
        self._rotated = rotated
        self.logs.rotate(*NAME, keep=len(lines) - rotated)

    def printed(self) -> bytes:
        """All of it, with times, whether it could be read or not."""
        return b"".join(piece.stamped(0) for piece in self.logs._log(*NAME).pieces)

    def readable(self) -> bytes:
        """What could be read of all that was printed, with times."""
        lines = self.printed().split(b"\n")
        return b"\n".join(line for number, line in enumerate(lines) if number not in self.lost)


@dataclass
class _Content:
    chunks: AsyncIterator[bytes]

    async def iter_any(self) -> AsyncIterator[bytes]:
        async for chunk in self.chunks:
            yield chunk


@dataclass
class _Response:
    content: _Content


async def _done(task: asyncio.Future[Any]) -> bool:
    for _ in range(12):
        if task.done():
            return True
        await asyncio.sleep(0)
    return task.done()
