"""Updates at a steady rate: how long each takes to reach the Git host, and what it costs."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.fill import make_run
from tests.bench.processes import cpu_seconds, serve
from tests.bench.rows import Row


async def delivery(rate: int, seconds: int) -> list[Row]:
    """``rate`` updates a second for ``seconds``, twice: to running, and to their end."""
    total = rate * seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with KubernetesApi() as cluster, GitLab() as gitlab:
            gitlab.add_project("group/bench", any_commit=True)
            for number in range(total):
                cluster.create("pipelineruns", only(make_run(number), condition=None))
            service = await serve(folder, cluster, gitlab)
            try:
                await gitlab.wait_for(lambda posted: len(posted) >= total, timeout=300)
                gc.collect()
                gc.freeze()  # what this process holds must not show in the figures
                latencies = []
                for state, word in (("Unknown", "running"), ("True", "success")):
                    before = cpu_seconds(service.pid)
                    latencies.append(await update_all(cluster, gitlab, rate=rate, total=total, state=state, word=word))
                    cpu = cpu_seconds(service.pid) - before
            finally:
                service.terminate()
                await service.wait()
    label = f"{rate} updates/s for {seconds} s: watch event → POST arrived"
    rows = []
    for word, found in zip(("running", "success"), latencies, strict=True):
        ordered = sorted(1000 * seconds for seconds in found)
        rows += [
            Row(f"{label}, {word}: median", "ms", [statistics.median(ordered)]),
            Row("… p99", "ms", [ordered[int(len(ordered) * 0.99)]], aim="≤ 100"),
        ]
    return [*rows, Row("… CPU time of the service per status", "ms", [1000 * cpu / total])]


def only(run: dict[str, Any], *, condition: str | None) -> dict[str, Any]:
    """The run, without a status if ``condition`` is None."""
    return run | ({"status": {}} if condition is None else {})


async def update_all(
    cluster: KubernetesApi, gitlab: GitLab, *, rate: int, total: int, state: str, word: str
) -> list[float]:
    """Give every run the condition ``state``, ``rate`` a second; seconds from each update to its status's arrival."""
    updated: dict[str, float] = {}
    already = len(gitlab.posted)
    began = time.monotonic()
    for number in range(total):
        run = make_run(number, state=state)
        if (pause := began + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        name = run["metadata"]["name"]
        updated[name] = time.monotonic()
        cluster.patch("pipelineruns", "ci", name, {"status": run["status"]})
    await gitlab.wait_for(lambda posted: len(posted) >= already + total, timeout=300)
    return [posted.at - updated[posted.context] for posted in gitlab.posted[already:] if posted.state == word]
