"""Failed logins: how many there may be, for each peer and user.

Ten at once, and then one each six seconds; what is beyond is not even looked at. Only the peer that failed waits, and only for the name
that it failed with, so nobody can keep a user out from elsewhere. Names fall into drawers by a keyed hash: so what is kept is bounded
for each peer, an unknown name is treated like a known one, and nobody can tell which names share a drawer. Pure: the time is given.

Not promised: to stop somebody who has very many addresses. When more is to be kept than there is room for, the oldest is forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from typing import Final

BURST: Final = 10  #: failures that may come at once
WINDOW: Final = 60.0  #: seconds in which as many more are granted
DRAWERS: Final = 256  #: for the names of one peer
MOST: Final = 20_000  #: drawers of all peers; about 150 bytes each

Spot = tuple[str, int]  #: a peer and the drawer of a name


class Throttle:
    """Who has failed how often. An attempt is charged before it is made, so that many at once count as many."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._full_until: OrderedDict[Spot, float] = OrderedDict()  # when all that was charged is paid off

    def __len__(self) -> int:
        return len(self._full_until)

    def spot(self, peer: str, name: bytes) -> Spot:
        """Where the failures of ``peer`` with ``name`` are counted."""
        digest = hmac.new(self._key, name, hashlib.sha256).digest()
        return peer, int.from_bytes(digest[:4], "big") % DRAWERS

    def wait(self, spot: Spot, *, now: float) -> int:
        """Whole seconds until another attempt is looked at; 0: now."""
        over = self._full_until.get(spot, now) + WINDOW / BURST - now - WINDOW
        return math.ceil(over) if over > 1e-6 else 0

    def charge(self, spot: Spot, *, now: float) -> None:
        """An attempt is made."""
        self._full_until[spot] = max(self._full_until.get(spot, now), now) + WINDOW / BURST
        self._full_until.move_to_end(spot)
        while self._full_until and (len(self._full_until) > MOST or next(iter(self._full_until.values())) <= now):
            self._full_until.popitem(last=False)

    def refund(self, spot: Spot, *, now: float) -> None:
        """The attempt was right."""
        until = self._full_until.get(spot)
        if until is None:
            return
        if until - WINDOW / BURST <= now:
            del self._full_until[spot]
        else:
            self._full_until[spot] = until - WINDOW / BURST
