"""One process that reads a cluster's PipelineRuns, and says how long it took and how much memory: ``bare`` or ``listener``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from listener.cluster.client import Cluster
from listener.cluster.runs import Runs
from listener.demo.kubernetes import KubernetesApi
from listener.service import Service  # so that both processes have loaded the same code

_CONTINUE = re.compile(rb'"continue": ?"([^"]*)"')


async def bare(url: str) -> dict[str, float]:
    began, size, token = time.perf_counter(), 0, ""
    async with aiohttp.ClientSession(url) as session:
        while True:
            params = {"limit": "500"} | ({"continue": token} if token else {})
            async with session.get("/apis/tekton.dev/v1/pipelineruns", params=params) as response:
                body = await response.read()
            size += len(body)
            found = _CONTINUE.search(body[-400:])
            token = found[1].decode() if found else ""
            if not token:
                return {"seconds": time.perf_counter() - began, "bytes": size}


async def listener(url: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        server = KubernetesApi(port=int(url.rpartition(":")[2]))  # only for its kubeconfig
        env = {"KUBECONFIG": str(server.kubeconfig(Path(folder) / "kubeconfig"))}
        cluster = await Cluster.connect(env=env)
        runs = Runs(cluster)
        began = time.perf_counter()
        task = asyncio.create_task(runs.run())
        await runs.synced()
        seconds = time.perf_counter() - began
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await cluster.close()
        return {"seconds": seconds, "runs": len(runs)}


async def main(kind: str, url: str) -> dict[str, float]:
    figures = await (bare(url) if kind == "bare" else listener(url))
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


if __name__ == "__main__":
    assert Service.__doc__
    os.environ.pop("KUBERNETES_SERVICE_HOST", None)
    print(json.dumps(uvloop.run(main(sys.argv[1], sys.argv[2]))))
