"""The short form of ``make chaos``: a quarter of a minute of three replicas while everything around them fails at random."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.chaos.run import chaos


async def test_whatever_fails_every_commit_shows_its_newest_runs_end(tmp_path: Path) -> None:
    seed = secrets.randbelow(2**32)
    found = await chaos(tmp_path, seed=seed, runs=80, seconds=15, replicas=3)
    again = f"python -m tests.chaos --seed {seed} --runs 80 --minutes 0.25 --replicas 3"
    assert not found.broken, f"{again}\n{found}\n" + "\n".join(found.broken)
