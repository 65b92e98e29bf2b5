"""Many readers of one live run, many live runs with some readers each, and many that are recorded although nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator
from typing import Any

from tests.bench.logs_cluster import WIDTH
from tests.bench.logs_stage import NAMESPACE, RECORDED, Stage, stage
from tests.bench.rows import Row

_TASKS = 4
_TIMES, _PAUSE = 100, 0.1  # a task prints so often, with so many seconds in between


class Load:
    """What the API server had to bear at most, while it was looked at."""

    def __init__(self) -> None:
        self.follows = 0
        self.watches: dict[str, int] = {}

    async def look(self, one: Stage) -> None:
        while True:
            counts = await one.tell("counts")
            self.follows = max(self.follows, counts["follows"])
            for kind, number in counts["watches"].items():
                self.watches[kind] = max(self.watches.get(kind, 0), number)
            await asyncio.sleep(0.2)

    def rows(self, follows: int) -> list[Row]:
        return [
            Row("… follows on the API server at most", "", [self.follows], str(follows)),
            Row("… watches on the API server at most (runs, TaskRuns, pods)", "", [sum(self.watches.values())], "3"),
        ]


@contextlib.asynccontextmanager
async def _looking(one: Stage) -> AsyncIterator[Load]:
    load = Load()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(load.look(one))
        yield load
        task.cancel()


async def readers(number: int, *, stalled: int) -> list[Row]:
    """``number`` readers of one run while it prints; ``stalled`` of them take nothing until the others have everything."""
    lines = 100 if stalled else 25  # each time; more than the kernel takes for those that stall
    async with stage() as one:
        await _warm_up(one)
        await one.tell("make", runs=["live"], namespace=NAMESPACE, tasks=_TASKS)
        await one.tell("pace", runs=["live"], times=1, lines=1, pause=0.5)
        before, cpu = one.memory(), one.cpu()
        one.forget_peak()
        async with one.readers([one.path("live")], each=number, stalled=stalled) as many, _looking(one) as load:
            await asyncio.sleep(1)
            connected = one.memory()
            await one.tell("pace", runs=["live"], times=_TIMES, lines=lines, pause=_PAUSE)
            ended = (await one.tell("end", runs=["live"]))["at"]
            done, got = await many.got()
            peak, cpu = one.peak(), one.cpu() - cpu
    total = _TASKS * (_TIMES * lines + 1) * (WIDTH + len("[t0 : s] "))
    wrong = sum(
        bool(each["error"])
        or each["bytes"] - len(each["verdict"].encode()) - 1 != total
        or each["sha256"] != got[0]["sha256"]
        for each in got
    )
    label = f"{number} readers of one live run of {_TASKS} tasks ({total / 1e6:.1f} MB in {_TIMES * _PAUSE:.0f} s)"
    if stalled:
        label += f", {stalled} of them take nothing until its end"
    return [
        Row(f"{label}: memory of the service per reader, all connected", "KB", [(connected - before) * 1024 / number], "≤ 100"),
        Row("… at its peak", "KB", [(peak - before) * 1024 / number], "≤ 100"),
        Row("… readers whose bytes are not those of all others, or not all", "", [wrong], "0"),
        *load.rows(_TASKS),
        *_delivery(got[stalled:], done - ended, cpu, sum(each["bytes"] for each in got)),
    ]  # fmt: skip


def _delivery(got: list[dict[str, Any]], lag: float, cpu: float, size: int) -> list[Row]:
    ages = sorted(age for each in got for age in each["ages"])
    return [
        Row("… printed → at the reader, first line of each piece: median", "ms", [statistics.median(ages)]),
        Row("… p99", "ms", [ages[int(len(ages) * 0.99)]]),
        Row("… from the run's end until all have their verdict", "s", [lag]),
        Row(f"… CPU time of the service, for {size / 1e9:.2f} GB delivered", "s", [cpu]),
        Row("… CPU time of the service per GB delivered", "s", [cpu / size * 1e9]),
    ]


async def runs(number: int, *, each: int) -> list[Row]:
    """``number`` live runs with ``each`` so many readers."""
    names = [f"live-{n}" for n in range(number)]
    times, lines = 50, 20  # every 0.2 s
    async with stage() as one:
        await _warm_up(one)
        await one.tell("make", runs=names, namespace=NAMESPACE)
        await one.tell("pace", runs=names, times=1, lines=1, pause=0.5)
        before, cpu = one.memory(), one.cpu()
        one.forget_peak()
        paths = [one.path(name) for name in names]
        async with one.readers(paths, each=each) as many, _looking(one) as load:
            await one.tell("pace", runs=names, times=times, lines=lines, pause=2 * _PAUSE)
            said = await one.tell("end", runs=names)
            done, got = await many.got()
            peak, cpu = one.peak(), one.cpu() - cpu
    wrong = sum(
        bool(reader["error"])
        or reader["sha256"] != said["sha256"][reader["path"].rpartition("/")[2]]
        or not reader["verdict"].startswith("# verdict: Succeeded")
        for reader in got
    )
    size = sum(reader["bytes"] for reader in got)
    label = f"{number} live runs with {each} readers each ({times * lines * WIDTH / 1e3:.0f} kB per run in {times * 2 * _PAUSE:.0f} s)"
    return [
        Row(f"{label}: readers that have not exactly what their run printed, and its verdict", "", [wrong], "0"),
        *load.rows(number),
        Row("… memory of the service per reader, at its peak", "KB", [(peak - before) * 1024 / len(got)]),
        *_delivery(got, done - said["at"], cpu, size),
    ]


async def recorded(number: int) -> list[Row]:
    """``number`` live runs that are recorded and archived, and nobody reads."""
    names = [f"live-{n}" for n in range(number)]
    times, lines = 50, 20
    async with stage() as one:
        await _warm_up(one)
        before = one.memory()
        one.forget_peak()
        async with _looking(one) as load:
            began = one.cpu()
            await one.tell("make", runs=names, namespace=RECORDED)
            while (await one.tell("counts"))["follows"] < number:
                await asyncio.sleep(0.1)
            followed, starting = one.memory(), one.cpu() - began
            began = one.cpu()
            paced = await one.tell("pace", runs=names, times=times, lines=lines, pause=2 * _PAUSE)
            recording = one.cpu() - began
            began = one.cpu()
            ended = (await one.tell("end", runs=names))["at"]
            loop = asyncio.get_running_loop()
            while len(list(one.folder.glob("archive/**/*.log.gz"))) < number:
                await asyncio.sleep(0.1)
            lag, ending, peak = loop.time() - ended, one.cpu() - began, one.peak()
    size = number * times * lines * WIDTH
    label = f"{number} live runs recorded without readers ({size / 1e6:.0f} MB in {paced['seconds']:.0f} s)"
    return [
        Row(f"{label}: memory of the service per run, all followed", "KB", [(followed - before) * 1024 / number]),
        Row("… at its peak, until all are archived", "KB", [(peak - before) * 1024 / number]),
        *load.rows(number),
        Row("… CPU time of the service per run: until it is followed", "ms", [1000 * starting / number]),
        Row("… while it prints", "ms", [1000 * recording / number]),
        Row("… of one core", "%", [100 * recording / paced["seconds"]]),
        Row("… its end and its archiving", "ms", [1000 * ending / number]),
        Row("… from the ends until all are archived", "s", [lag]),
    ]


async def _warm_up(one: Stage) -> None:
    """So that what is loaded and allocated once does not count."""
    await one.tell("make", runs=["first"], namespace=NAMESPACE)
    await one.tell("fill", run="first", lines=1000)
    await one.tell("end", runs=["first"])
    for _ in range(3):
        await one.curl(one.url + one.path("first"))
