"""The in-memory cluster as a process of its own: ``python -m listener.demo.kubernetes --port N [--runs N]``.

Prints its URL as the first line. ``--runs`` fills it with finished PipelineRuns of about 10 KB each, as a real cluster lists them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.fill import fill


async def _main(port: int, runs: int) -> None:
    async with KubernetesApi(port=port) as cluster:
        fill(cluster, runs)
        print(cluster.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--runs", type=int, default=0, help="finished PipelineRuns to begin with")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(arguments.port, arguments.runs))
