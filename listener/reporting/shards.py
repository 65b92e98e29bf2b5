"""Which replica reports which run: the work divided into shards, each shard guarded by a Lease.

A run belongs to the shard that its commit falls into, not its own name: so all runs on one lane have one reporter, who knows their
order, and a re-run never races its predecessor on another replica. Without Leases everything is ours, for ever.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

from listener.cluster.lease import Leases
from notifiers.base import for_ever

_REMEMBERED: Final = 65_536


@functools.lru_cache(_REMEMBERED)
def shard_of(home: str, shards: int) -> int:
    """The shard of ``home``, by highest random weight: when the number of shards grows, only what moves to the new ones moves."""
    if shards == 1:
        return 0
    return max(range(shards), key=lambda shard: hashlib.blake2b(f"{shard} {home}".encode(), digest_size=8).digest())


class Shards:
    """What this replica may report."""

    def __init__(self, leases: Leases | None) -> None:
        self.leases = leases

    def permit(self, home: str) -> float:
        """Until when on ``clock()`` what belongs to ``home`` is surely ours; infinite without Leases, 0 when it is not ours."""
        if self.leases is None:
            return for_ever()
        return self.leases.until(shard_of(home, self.leases.shards))
