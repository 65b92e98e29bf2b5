"""A request's login: credentials and the peer that sends them in, a user or a refusal out.

Bcrypt is made to be slow. So a hash is checked on one of two threads and not on the event loop; credentials that were right are known
again for a while by a keyed hash of them, so that a job that polls pays once; and the same credentials that come many times at once
are checked once. How many may wait is bounded. Failures are throttled, see ``throttle``; credentials that are known again are not,
so that whoever is at work stays so, whatever others try from the same address.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from listener.web.auth import Credentials, User, Users, credentials_of
from listener.web.throttle import Spot, Throttle

log = logging.getLogger(__name__)

_THREADS: Final = 2  # a hash takes a core for as long as it takes
_MOST_WAITING: Final = 64  # credentials that are being checked, or wait for it
_OF_ONE_PEER: Final = 16  # of these
_KNOWN: Final = 1024  # credentials
_KNOWN_FOR: Final = 600.0  # seconds since they came last
_TOLD_AGAIN: Final = 60.0  # seconds between two lines about the same peer and user
_MOST_TOLD: Final = 1000


class LoginError(Exception):
    """Nobody may come in with that."""


class WrongError(LoginError):
    """No credentials, or wrong ones."""


class ThrottledError(LoginError):
    """Too many failures from this peer with this name."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many failed logins; wait {seconds} s")
        self.seconds = seconds


class BusyError(LoginError):
    """Too many passwords are being checked."""


class Logins:
    """Lets users in. ``users`` may be replaced while the service runs; close it in the end."""

    def __init__(self, users: Users) -> None:
        self.failed = 0  #: wrong credentials
        self.throttled = 0  #: attempts that were not looked at for that
        self._users = users
        self._throttle = Throttle()
        self._known: OrderedDict[bytes, tuple[User, float]] = OrderedDict()
        self._checks: dict[bytes, asyncio.Future[User | None]] = {}
        self._waiting: Counter[str] = Counter()  # checks of each peer
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._told: OrderedDict[Spot, float] = OrderedDict()

    @property
    def users(self) -> Users:
        """Who may come in."""
        return self._users

    @users.setter
    def users(self, users: Users) -> None:
        self._users = users
        self._known.clear()  # who was taken out is out at once
        self._checks.clear()  # whoever waits still gets its answer; it is not kept

    async def login(self, header: str | None, *, peer: str, forwarded: bool = False) -> User:
        """The user of an ``Authorization`` header. Raises a ``LoginError``. ``peer``: the client's address; ``forwarded``: a proxy
        that is not trusted says that it comes for somebody else."""
        credentials = credentials_of(header)
        if credentials is None:
            raise WrongError
        now = asyncio.get_running_loop().time()
        digest = self._users.digest(credentials)
        known = self._recall(digest, now)
        if known is not None:
            return known
        spot = self._throttle.spot(peer, credentials.name)
        check = self._checks.get(digest)
        if check is None:
            if wait := self._throttle.wait(spot, now=now):
                self.throttled += 1
                self._tell(spot, credentials.name, now=now, forwarded=forwarded)
                raise ThrottledError(wait)
            check = self._check(credentials, digest, spot, now)
        user = await asyncio.shield(check)
        if user is None:
            raise WrongError
        return user

    def close(self) -> None:
        """Begin no further checks."""
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, credentials: Credentials, digest: bytes, spot: Spot, now: float) -> asyncio.Future[User | None]:
        loop = asyncio.get_running_loop()
        users = self._users
        check: asyncio.Future[User | None]
        if users.slow:
            waiting = self._waiting
            if self._closed or waiting.total() >= _MOST_WAITING or waiting[spot[0]] >= _OF_ONE_PEER:
                raise BusyError
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
            check = loop.run_in_executor(self._threads, users.check, credentials)
            self._checks[digest] = check
            waiting[spot[0]] += 1
        else:
            check = loop.create_future()
            check.set_result(users.check(credentials))
        self._throttle.charge(spot, now=now)
        done = functools.partial(self._checked, users, digest, spot)
        if check.done():
            done(check)
        else:
            check.add_done_callback(done)
        return check

    def _checked(self, users: Users, digest: bytes, spot: Spot, check: asyncio.Future[User | None]) -> None:
        if users.slow:
            self._waiting[spot[0]] -= 1
            if not self._waiting[spot[0]]:
                del self._waiting[spot[0]]  # or each peer that ever came would stay
        if self._checks.get(digest) is check:
            del self._checks[digest]
        if check.cancelled() or check.exception() is not None:
            return
        user, now = check.result(), asyncio.get_running_loop().time()
        if user is None:
            self.failed += 1
            return
        self._throttle.refund(spot, now=now)
        if users is self._users:
            self._known[digest] = user, now
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    def _recall(self, digest: bytes, now: float) -> User | None:
        user, since = self._known.get(digest, (None, -math.inf))
        if user is None or now - since > _KNOWN_FOR:
            self._known.pop(digest, None)
            return None
        self._known[digest] = user, now
        self._known.move_to_end(digest)
        return user

    def _tell(self, spot: Spot, name: bytes, *, now: float, forwarded: bool) -> None:
        """One line now and then. The name only of a user that there is: people type their password there now and then."""
        if now - self._told.get(spot, -math.inf) < _TOLD_AGAIN:
            return
        self._told[spot] = now
        self._told.move_to_end(spot)
        while len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        known = self._users.knows(name)
        who = f"user {known}" if known is not None else "a user that there is not"
        hint = "; it is a proxy, so name it in trusted_proxies" if forwarded else ""
        log.warning("too many failed logins of %s from %s: no more are looked at for now%s", who, spot[0], hint)
