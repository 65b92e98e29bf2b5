"""A cluster full of PipelineRuns that have ended and whose statuses have all arrived, in a process of its own. Prints its URL."""

from __future__ import annotations

import argparse
import asyncio
import gc

from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.fill import make_run
from listener.reporting.ledger import ANNOTATION, LaneKey, Record, written


async def main(runs: int) -> None:
    gc.disable()  # nothing of this ever goes
    async with KubernetesApi() as cluster:
        for number in range(runs):
            run = make_run(number)
            (sha,) = (param["value"] for param in run["spec"]["params"] if param["name"] == "revision")
            lane = LaneKey("gitlab", "group/bench", sha, run["metadata"]["name"])
            run["metadata"]["annotations"][ANNOTATION] = written({lane.digest: Record("success", "4711")})
            cluster.create("pipelineruns", run)
        cluster.store.compact(cluster.store.version)  # its history would hold everything twice
        print(cluster.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, required=True)
    asyncio.run(main(parser.parse_args().runs))
