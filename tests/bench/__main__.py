"""``make bench``: what is promised about speed, measured. Prints a table; asserts nothing, for machines differ.

Start-up: the same list of PipelineRuns, once downloaded in pages and thrown away, once read by the listener. Both in a process of
their own, in turn, so that the ratio holds when the machine's speed drifts. Delivery: PipelineRuns are updated at a steady
rate, and each status's arrival at the Git host is taken against its update, in one clock; the service is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.fill import make_run
from tests.bench.rows import Row, table

RUNS = 10_000
RATE = 300  # updates per second
SECONDS = 10


async def main(*, runs: int, rate: int, seconds: int, repeat: int) -> None:
    rows = [*await start_up(runs, repeat=repeat), *await delivery(rate, seconds)]
    print(table(rows))


# Start-up


async def start_up(runs: int, *, repeat: int) -> list[Row]:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listener.demo.kubernetes", "--runs", str(runs), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().strip()
        figures: dict[str, list[dict[str, Any]]] = {"bare": [], "listener": []}
        for turn in range(repeat + 1):
            for kind, found in figures.items():
                figure = await child("tests.bench.listing", kind, url)
                if turn:  # the first turn warms up
                    found.append(figure)
        whole = await whole_service(url)
    finally:
        server.kill()
        await server.wait()
    ratios = [
        ours["seconds"] / bare["seconds"] for ours, bare in zip(figures["listener"], figures["bare"], strict=True)
    ]
    size = figures["bare"][0]["bytes"] / 1e6
    label = f"{runs:,} PipelineRuns ({size:.0f} MB)"
    return [
        Row(f"{label}: bare paged download", "s", [f["seconds"] for f in figures["bare"]]),
        Row(f"{label}: listener has read them all", "s", [f["seconds"] for f in figures["listener"]]),
        Row("… ratio, pair by pair", "×", ratios, aim="≤ 1.3"),
        Row("… peak memory of the process that reads", "MB", [f["peak_mb"] for f in figures["listener"]], aim="≤ 120"),
        Row("… peak memory of the whole service, GitLab only", "MB", [whole], aim="≤ 120"),
        Row("… peak memory of the bare download", "MB", [f["peak_mb"] for f in figures["bare"]]),
    ]


async def whole_service(url: str) -> float:
    """Peak memory in MB of a service that has read the runs at ``url`` and has nothing to report of them."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        cluster = KubernetesApi(port=int(url.rpartition(":")[2]))  # only for its kubeconfig
        config = write_config(folder, gitlab_url="http://127.0.0.1:9", namespace="other")
        env = os.environ | {"KUBECONFIG": str(cluster.kubeconfig(folder / "kubeconfig")), "PORT": str(port)}
        service = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "listener",
            "serve",
            "--config",
            str(config),
            env=env,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                while not await is_ready(session, port):
                    await asyncio.sleep(0.05)
            peak = peak_mb(service.pid)
        finally:
            service.kill()
            await service.wait()
        return peak


def peak_mb(pid: int) -> float:
    """The most memory that a process has had, in MB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def child(module: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{module} {' '.join(arguments)} failed")
    figures: dict[str, Any] = json.loads(output)
    return figures


# Delivery


async def delivery(rate: int, seconds: int) -> list[Row]:
    total = rate * seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with KubernetesApi() as cluster, GitLab() as gitlab:
            gitlab.add_project("group/bench", any_commit=True)
            for number in range(total):
                cluster.create("pipelineruns", _only(make_run(number), condition=None))
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


def _only(run: dict[str, Any], *, condition: str | None) -> dict[str, Any]:
    return run | ({"status": {}} if condition is None else {})


def write_config(folder: Path, *, gitlab_url: str, namespace: str) -> Path:
    (folder / "token").write_text("secret-token")
    config = folder / "listener.yaml"
    config.write_text(
        f"""
public_url: http://127.0.0.1
users: [{{name: bench, password_file: token, namespaces: ["*"]}}]
hosts: {{gitlab: {{kind: gitlab, url: "{gitlab_url}", token_file: token, threads: 4}}}}
services:
  - {{name: bench, runs: {{namespace: {namespace}}}, repository: gitlab:group/bench, context: $(run.name)}}
"""
    )
    return config


async def serve(folder: Path, cluster: KubernetesApi, gitlab: GitLab) -> asyncio.subprocess.Process:
    config = write_config(folder, gitlab_url=gitlab.url, namespace="ci")
    env = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig(folder / "kubeconfig")),
        "PORT": "0",
        "LOG_LEVEL": "ERROR",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listener", "serve", "--config", str(config), env=env, stderr=asyncio.subprocess.DEVNULL
    )


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


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args(argv)


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    uvloop.run(main(runs=options.runs, rate=options.rate, seconds=options.seconds, repeat=options.repeat))
