"""Start-up: the same list of PipelineRuns, once downloaded in pages and thrown away, once read by the listener.

Both in a process of their own, in turn, so that the ratio holds when the machine's speed drifts. Then the whole service, which also
finds out for each run where it leads and that its status has arrived.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from listener.demo.kubernetes import KubernetesApi
from tests.bench.processes import child, free_port, is_ready, peak_mb, write_config
from tests.bench.rows import Row


async def start_up(runs: int, *, repeat: int, aims: tuple[str, str]) -> list[Row]:
    """``aims``: for the ratio, and for the service's memory."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.server", "--runs", str(runs), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().strip()
        figures: dict[str, list[dict[str, Any]]] = {"bare": [], "listener": []}
        whole = []
        for turn in range(repeat + 1):
            for kind, found in figures.items():
                figure = await child("tests.bench.listing", kind, url)
                if turn:  # the first turn warms up
                    found.append(figure)
            if turn:
                whole.append(await whole_service(url))
    finally:
        server.kill()
        await server.wait()
    bare, ours = figures["bare"], figures["listener"]
    label = f"{runs:,} PipelineRuns ({bare[0]['bytes'] / 1e6:.0f} MB)"
    return [
        Row(f"{label}: bare paged download", "s", [f["seconds"] for f in bare]),
        Row(f"{label}: listener has read them all", "s", [f["seconds"] for f in ours]),
        Row(
            "… ratio, pair by pair",
            "×",
            [o["seconds"] / b["seconds"] for o, b in zip(ours, bare, strict=True)],
            aims[0],
        ),
        Row("… peak memory of the process that reads", "MB", [f["peak_mb"] for f in ours]),
        Row("… peak memory of the bare download", "MB", [f["peak_mb"] for f in bare]),
        Row(
            "… whole service, GitLab only, all of them routed and found delivered: peak memory",
            "MB",
            [w[1] for w in whole],
            aims[1],
        ),
        Row("… whole service: from its start until ready, imports included", "s", [w[0] for w in whole]),
    ]


async def whole_service(url: str) -> tuple[float, float]:
    """Seconds until a service is ready that has read the runs at ``url``, and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        cluster = KubernetesApi(port=int(url.rpartition(":")[2]))  # only for its kubeconfig
        config = write_config(folder, gitlab_url="http://127.0.0.1:9", namespace="ci")
        env = os.environ | {"KUBECONFIG": str(cluster.kubeconfig(folder / "kubeconfig")), "PORT": str(port)}
        began = time.perf_counter()
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
                seconds = time.perf_counter() - began
                # Every run is routed by now; a lane that waits would be one that the ledger did not hold back.
                async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                    text = await response.text()
            if 'tekton_listener_lanes_waiting{host="gitlab"} 0.0' not in text:
                raise SystemExit("the service wants to send what has arrived already")
            return seconds, peak_mb(service.pid)
        finally:
            service.kill()
            await service.wait()
