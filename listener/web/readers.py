"""Who reads one run: a user with a password, or whoever has its signed link.

A signed link opens just its run. Everything that is wrong with it, and a run that does not exist, get the same 404; only a link that was
good once is told that it has expired. The link is in no log, no error and no name that is passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from listener.cluster.names import Key, is_name, is_namespace
from listener.cluster.summary import RunSummary
from listener.links import Signer, expiry
from listener.web.requests import key_of, not_found, refuse, user_of
from listener.web.status import RUNS

#: What checks signed links; gives None where there are none.
SIGNER: Final[web.AppKey[Callable[[], Signer | None]]] = web.AppKey("signer")
#: What is known of a run that is no longer in the cluster, or None.
PAST_SUMMARY: Final[web.AppKey[Callable[[Key], Awaitable[RunSummary | None]]]] = web.AppKey("past_summary")


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who may read the run ``key``."""

    key: Key
    name: str  #: for limits; of a link all readers share one
    uid: str | None = None  #: the only run of this name that a signed link is for

    @property
    def signed(self) -> bool:
        return self.uid is not None


async def reader_of(request: web.Request) -> Reader:
    """Who asks for the run that the path names; else 401, 400, 404 or 410."""
    token = request.match_info.get("token")
    if token is None:
        user = await user_of(request)
        return Reader(key_of(request, user), user.name)
    key = Key(request.match_info["namespace"], request.match_info["run"])
    signer = request.app[SIGNER]()
    if signer is None or not is_namespace(key.namespace) or not is_name(key.name):
        not_found(key)
    run = request.app[RUNS].get(key)
    past = await request.app[PAST_SUMMARY](key) if run is None else None
    uid = run.uid if run is not None else past.uid if past is not None else ""
    until = expiry(token)
    if not signer.fits(token, key, uid=uid) or until is None:
        not_found(key)
    if until <= datetime.now(UTC):
        refuse(web.HTTPGone, "this link has expired; ask for the run with a user name and password instead")
    return Reader(key, f"signed link to {key}", uid=uid)
