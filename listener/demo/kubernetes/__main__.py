"""The in-memory cluster as a process of its own: ``python -m listener.demo.kubernetes --port N [--runs N] [--recordings FOLDER]``.

Prints its URL as the first line. ``--runs`` fills it with finished PipelineRuns of about 10 KB each, as a real cluster lists them;
``--recordings`` has runs play that were recorded, once somebody creates them; ``--kubeconfig`` writes a file that leads here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.fill import fill
from listener.demo.kubernetes.tekton import RecordedTekton


async def _main(arguments: argparse.Namespace) -> None:
    async with contextlib.AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(KubernetesApi(port=arguments.port))
        fill(cluster, arguments.runs)
        if arguments.recordings is not None:
            await stack.enter_async_context(RecordedTekton(cluster, arguments.recordings, speed=arguments.speed))
        if arguments.kubeconfig is not None:
            cluster.kubeconfig(arguments.kubeconfig)
        print(cluster.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--runs", type=int, default=0, help="finished PipelineRuns to begin with")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="runs to play when they are created")
    parser.add_argument("--speed", type=float, default=1.0, help="of what is played; 1: as it was recorded")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="where to write a kubeconfig for this cluster")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args()))
