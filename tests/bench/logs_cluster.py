"""A cluster in a process of its own whose runs print, as it is told: one JSON object per line on stdin, one answer each on stdout.

The first line that it prints is its URL. Lines are 100 bytes long and differ; printed live they hold the moment (``time.monotonic_ns``, which
is the same in all processes of a machine).
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from listener.demo.kubernetes import KubernetesApi
from tests.pipeline import Run

WIDTH = 100  #: bytes of a line
_AT_ONCE = 640  # lines that are printed at once, where nothing else is said
_BEFORE = 600 * 10**9  # nanoseconds


class Stage:
    """The runs, and what they were told to print."""

    def __init__(self, cluster: KubernetesApi) -> None:
        self._cluster = cluster
        self._runs: dict[str, Run] = {}
        self._texts: dict[str, Any] = {}  # by run: the hash of what a reader is to get, for runs of one task
        self._numbers: dict[str, int] = {}

    async def make(self, *, runs: list[str], namespace: str, tasks: int = 1) -> dict[str, Any]:
        """Runs that have begun."""
        for name in runs:
            run = self._runs[name] = Run(self._cluster, name, namespace=namespace)
            for number in range(tasks):
                run.task(f"t{number}")
            self._texts[name] = hashlib.sha256()
            self._numbers[name] = 0
        return {"pods": {name: [task.pod for task in self._runs[name].tasks] for name in runs}}

    async def fill(self, *, run: str, lines: int) -> dict[str, Any]:
        """So many lines, as if they had been printed during the last ten minutes."""
        now = time.time_ns()
        for start in range(0, lines, _AT_ONCE):
            self._say(run, 0, min(_AT_ONCE, lines - start), ns=now - int(_BEFORE * (lines - start) / lines))
        return {}

    async def limit(self, *, rate: float | None) -> dict[str, Any]:
        """Each answer of the log endpoint comes with so many bytes per second at most."""
        self._cluster.logs.rate = rate
        return {}

    async def pace(self, *, runs: list[str], times: int, lines: int, pause: float) -> dict[str, Any]:
        """Each task prints ``lines``, so many ``times``, with so many seconds in between."""
        began = time.monotonic()
        for turn in range(times):
            for name in runs:
                for task in range(len(self._runs[name].tasks)):
                    self._say(name, task, lines)
            await asyncio.sleep(max(0.0, began + (turn + 1) * pause - time.monotonic()))
        return {"seconds": time.monotonic() - began}

    def _say(self, name: str, task: int, lines: int, *, ns: int | None = None) -> None:
        at, first = time.monotonic_ns(), self._numbers[name]
        self._numbers[name] += lines
        said = [
            f"t={at} {name} {number:9} compiling src/{number % 97}/main.c".encode().ljust(WIDTH - 1, b".")
            for number in range(first, first + lines)
        ]
        prefix = f"[t{task} : s] ".encode()
        self._texts[name].update(b"".join(prefix + line + b"\n" for line in said))
        self._runs[name].tasks[task].say("s", b"\n".join(said) + b"\n", ns=ns)

    async def end(self, *, runs: list[str]) -> dict[str, Any]:
        """Everything succeeds. Gives what the readers are to get, without the verdict, and when."""
        at = time.monotonic()
        for name in runs:
            for task in self._runs[name].tasks:
                task.complete()
            self._runs[name].succeed()
        return {"sha256": {name: self._texts[name].hexdigest() for name in runs}, "at": at}

    async def counts(self) -> dict[str, Any]:
        """What the API server has to bear right now."""
        cluster = self._cluster
        return {
            "watches": {kind: cluster.watchers(kind) for kind in ("pipelineruns", "taskruns", "pods")},
            "follows": sum(cluster.logs.following.values()),
        }


async def main() -> None:
    gc.disable()  # nothing of this ever goes
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with KubernetesApi() as cluster:
        stage = Stage(cluster)
        commands: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "make": stage.make, "fill": stage.fill, "pace": stage.pace, "limit": stage.limit, "end": stage.end, "counts": stage.counts,
        }  # fmt: skip
        print(cluster.url, flush=True)
        answering = asyncio.Lock()

        async def obey(command: dict[str, Any]) -> None:
            answer = await commands[command.pop("do")](**command.pop("how"))
            async with answering:
                print(json.dumps({"id": command["id"], "answer": answer}), flush=True)

        async with asyncio.TaskGroup() as group:
            while line := await reader.readline():
                group.create_task(obey(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())
