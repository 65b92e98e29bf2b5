"""``make chaos``: replicas, a cluster and Git hosts that fail at random. Exit code 1 if a promise was not kept."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of an earlier run, to see it again")
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--logs", type=Path, help="a folder for the replicas' logs")
    wanted = parser.parse_args()
    print(
        f"chaos with --seed {wanted.seed} --runs {wanted.runs} --minutes {wanted.minutes:g} --replicas {wanted.replicas}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="tekton-listener-chaos-") as folder:
        try:
            found = asyncio.run(
                chaos(
                    Path(folder),
                    seed=wanted.seed,
                    runs=wanted.runs,
                    seconds=wanted.minutes * 60,
                    replicas=wanted.replicas,
                )
            )
        finally:
            if wanted.logs is not None:
                shutil.copytree(folder, wanted.logs, dirs_exist_ok=True)
    print(found)
    for broken in found.broken:
        print("BROKEN", broken)
    print("every promise was kept" if not found.broken else f"{len(found.broken)} promises broken")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
