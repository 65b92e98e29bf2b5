"""A log of 60 MB through ``/logs``, and the same from the cluster's own endpoint, by the same ``curl``, in turn so that the ratio holds
when the machine's speed drifts. And how old a line is when it reaches its reader."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

from tests.bench.logs_cluster import WIDTH
from tests.bench.logs_stage import NAMESPACE, Stage, stage
from tests.bench.rows import Row

_RECORDED = 60e6 / 4.65  # bytes per second of a real node's log endpoint, see the recordings' README
_NDJSON = ("-H", "Accept: application/x-ndjson")


async def throughput(lines: int, *, repeat: int) -> list[Row]:
    """The run has ended: what is measured is how fast its log comes, not how fast it was printed."""
    found: dict[str, list[dict[str, float]]] = {}
    async with stage() as one:
        for turn in range(repeat + 1):
            run = f"large-{turn}"
            (pod,) = (await one.tell("make", runs=[run], namespace=NAMESPACE))["pods"][run]
            await one.tell("fill", run=run, lines=lines)
            await one.tell("end", runs=[run])
            reads = {
                "direct": (one.direct(pod), ()),
                "direct, with times": (one.direct(pod, timestamps=True), ()),
                "cold": (one.url + one.path(run), ()),
                "warm": (one.url + one.path(run), ()),
                "ndjson": (one.url + one.path(run), _NDJSON),
            }
            for what, (url, options) in reads.items():
                figures = await _measured(one, url, options)
                if what == "cold":  # archiving it must not count for those who read it next
                    await _archived(one, run)
                if turn:  # the first turn warms up
                    found.setdefault(what, []).append(figures)
    found |= await _from_archive(lines, repeat=repeat)
    return _rows(found, lines) + await _at_a_nodes_rate(lines, repeat=min(repeat, 3))


async def _at_a_nodes_rate(lines: int, *, repeat: int) -> list[Row]:
    """The same where the endpoint is as fast as a real one was: the question is whether we hold it up."""
    ratios = []
    async with stage() as one:
        await one.tell("limit", rate=_RECORDED)
        for turn in range(repeat):
            run = f"paced-{turn}"
            (pod,) = (await one.tell("make", runs=[run], namespace=NAMESPACE))["pods"][run]
            await one.tell("fill", run=run, lines=lines)
            await one.tell("end", runs=[run])
            direct = await one.curl(one.direct(pod, timestamps=True))
            cold = await one.curl(one.url + one.path(run))
            ratios.append(direct["seconds"] / cold["seconds"])
    label = f"… cold against direct, where the endpoint sends {_RECORDED / 1e6:.0f} MB/s as the recorded one"
    return [Row(label, "×", ratios, "≥ 0.9")]


async def _from_archive(lines: int, *, repeat: int) -> dict[str, list[dict[str, float]]]:
    """Read once by a service that archives it, then by others that have only the archive."""
    found: dict[str, list[dict[str, float]]] = {"from the archive": []}
    async with stage() as one:
        run = "large"
        await one.tell("make", runs=[run], namespace=NAMESPACE)
        await one.tell("fill", run=run, lines=lines)
        await one.tell("end", runs=[run])
        await one.curl(one.url + one.path(run))
        await _archived(one, run)
        for _ in range(repeat):
            await one.start_again()
            found["from the archive"].append(await _measured(one, one.url + one.path(run), ()))
    return found


async def _archived(one: Stage, run: str) -> None:
    while not list(one.folder.glob(f"archive/**/{run}/*.log.gz")):
        await asyncio.sleep(0.1)


async def _measured(one: Stage, url: str, options: Sequence[str]) -> dict[str, float]:
    cpu = one.cpu()
    figures = await one.curl(url, *options)
    return figures | {"cpu": one.cpu() - cpu, "rate": figures["bytes"] / figures["seconds"] / 1e6}


def _rows(found: dict[str, list[dict[str, float]]], lines: int) -> list[Row]:
    payload = lines * WIDTH
    rows = [
        Row(f"Log of {payload / 1e6:.0f} MB in {lines:,} lines, its payload: {what}", "MB/s", [payload / f["seconds"] / 1e6 for f in turns])
        for what, turns in found.items()
    ]  # fmt: skip
    for what in ("cold", "warm", "from the archive"):
        pairs = zip(found[what], found["direct, with times"], strict=True)
        rows.append(
            Row(
                f"… {what} against direct with times, pair by pair",
                "×",
                [d["seconds"] / o["seconds"] for o, d in pairs],
                "≥ 0.9",
            )
        )
        pairs = zip(found[what], found["direct"], strict=True)
        rows.append(Row(f"… {what} against direct without times", "×", [d["seconds"] / o["seconds"] for o, d in pairs]))
    for what in ("cold", "warm", "from the archive", "ndjson"):
        per_gb = [f["cpu"] / f["bytes"] * 1e9 for f in found[what]]
        rows.append(Row(f"… CPU time of the service per GB delivered, {what}", "s", per_gb))
    return rows


async def latency(samples: int) -> list[Row]:
    """A line now and then; from the moment it is printed until its first byte is here, and the same without us."""
    async with stage() as one:
        (pod,) = (await one.tell("make", runs=["live"], namespace=NAMESPACE))["pods"]["live"]
        await one.tell("pace", runs=["live"], times=1, lines=1, pause=0.1)
        async with (
            one.readers([one.path("live")]) as ours,
            one.readers([one.direct(pod).removeprefix(one.cluster)], url=one.cluster) as direct,
        ):
            await one.tell("pace", runs=["live"], times=samples, lines=1, pause=0.01)
            await one.tell("end", runs=["live"])
            ages = {"through /logs": _ages(await ours.got()), "direct": _ages(await direct.got())}
    rows = []
    for what, found in ages.items():
        label = f"A line every 10 ms, {len(found)} of them: printed → first byte at the reader, {what}"
        rows += [
            Row(f"{label}: median", "ms", [statistics.median(found)]),
            Row("… p99", "ms", [found[int(len(found) * 0.99)]]),
        ]
    return rows


def _ages(got: tuple[float, list[dict[str, Any]]]) -> list[float]:
    (one,) = got[1]
    if one["error"]:
        raise SystemExit(one["error"])
    return sorted(one["ages"][1:])  # the first was printed before the readers came
