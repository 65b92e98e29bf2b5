"""A burst: thousands of runs that are running, and all end within a minute. Memory, order, and how long the host's rate makes it take."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from listener.demo.githost import HostFault
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.fill import make_run
from tests.bench.delivery import only
from tests.bench.processes import cpu_seconds, peak_mb, serve
from tests.bench.rows import Row


class Rate:
    """A host that takes so many writes a second, and answers 429 beyond."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._taken: Counter[int] = Counter()

    def exceeded(self, request: web.Request) -> bool:
        second = int(time.monotonic())
        if request.method != "POST" or self._taken[second] < self._per_second:
            self._taken[second] += 1
            return False
        return True


async def burst(runs: int, *, within: float, per_minute: int | None) -> list[Row]:
    """``runs`` end within so many seconds; the host takes ``per_minute`` writes a minute, None for any number."""
    with tempfile.TemporaryDirectory() as name:
        async with KubernetesApi() as cluster, GitLab() as gitlab:
            gitlab.add_project("group/bench", any_commit=True)
            for number in range(runs):
                cluster.create("pipelineruns", only(make_run(number, state="Unknown"), condition="Unknown"))
            service = await serve(Path(name), cluster, gitlab)
            try:
                await gitlab.wait_for(lambda posted: len(posted) >= runs, timeout=600)
                if per_minute is not None:
                    rate = Rate(per_minute)
                    gitlab.faults.append(HostFault(when=rate.exceeded, status=429, headers={"Retry-After": "1"}))
                asked, cpu = len(gitlab.posts()), cpu_seconds(service.pid)
                ended = await end_all(cluster, runs, within)
                await gitlab.wait_for(lambda posted: len(posted) >= 2 * runs, timeout=3600)
                drained = gitlab.posted[-1].at - ended
                cpu, memory = cpu_seconds(service.pid) - cpu, peak_mb(service.pid)
            finally:
                service.terminate()
                await service.wait()
            return rows(gitlab, runs, within, per_minute, asked, drained, cpu, memory)


def rows(
    gitlab: GitLab,
    runs: int,
    within: float,
    per_minute: int | None,
    asked: int,
    drained: float,
    cpu: float,
    memory: float,
) -> list[Row]:
    wrong = sum(states != ["running", "success"] for states in by_commit(gitlab).values())
    limit = f"{per_minute:,} writes a minute" if per_minute else "any rate"
    least = f"≥ {max(0.0, runs / per_minute * 60 - within):.0f}" if per_minute else ""
    posts = list(gitlab.posts())[asked:]
    return [
        Row(
            f"{runs:,} runs end within {within:.0f} s, host takes {limit}: last end → last status",
            "s",
            [drained],
            least,
        ),
        Row("… peak memory of the service", "MB", [memory]),
        Row("… commits with a state missing, twice or in the wrong order", "", [wrong], "0"),
        Row("… POSTs for the ends", "", [len(posts)]),
        Row("… of them refused with 429", "", [sum(post.status == 429 for post in posts)]),
        Row("… CPU time of the service per delivered status", "ms", [1000 * cpu / runs]),
    ]


def by_commit(gitlab: GitLab) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for posted in gitlab.posted:
        found.setdefault((posted.sha, posted.context), []).append(posted.state)
    return found


async def end_all(cluster: KubernetesApi, runs: int, within: float) -> float:
    """Let all runs end, evenly; ``time.monotonic()`` of the last."""
    began = time.monotonic()
    for number in range(runs):
        if (pause := began + within * number / runs - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        run: dict[str, Any] = make_run(number, state="True")
        cluster.patch("pipelineruns", "ci", run["metadata"]["name"], {"status": run["status"]})
    return time.monotonic()
