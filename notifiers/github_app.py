"""The tokens of a GitHub App's installations: one per owner of repositories and purpose, fetched when it is needed and kept while it is good.

A token may do no more than what it is for: one that writes check runs writes no statuses, and an App needs only the permissions that are used.
Promised: two requests per owner to begin with and one per purpose an hour after that, one thread at a time asks for an owner, a revoked token is replaced at once
and used once more at most per thread, and nothing that is secret is in a message. How long a token lasts is told by the host's clock and ours that only counts; the time
of day of this machine matters for the JWT alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from notifiers.answers import hostname
from notifiers.base import HostSettings, NotifierError, PermanentError, RetryableError, UnauthorizedError
from notifiers.blocking import Workers
from notifiers.credentials import Token
from notifiers.examine import Answer
from notifiers.github_app_requests import STATUSES, AppRequests, Refusal, signed, usable_key
from notifiers.session import OneRequestSession

SPARE: Final = 300.0  # seconds that a token must still be good for
OWNERS: Final = 256  # of whom tokens are kept; who was not asked for the longest is forgotten


@dataclass(frozen=True, slots=True)
class _Granted:
    token: str = dataclasses.field(repr=False)
    generation: int
    ends: float  # on the clock


class _Owner:
    """What is known of one owner. ``turn``: held while a token is fetched."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.installation: int | None = None
        self.granted: dict[tuple[str, ...], _Granted] = {}  # by what it may write


class Installations:
    """The credentials of a host that is given an App. Thread-safe; its methods block and are for a worker's thread."""

    def __init__(
        self, settings: HostSettings, *, api: str, refusal: Refusal, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``api``: the API's base URL; ``refusal`` classifies an answer as GitHub's rate limits want it; ``clock`` counts seconds.

        Raises ``ValueError`` or ``OSError`` when the settings hold no App or its key cannot be used. Makes no request.
        """
        if settings.app_id is None or settings.private_key_file is None:
            raise ValueError("a GitHub App needs both app_id and private_key_file")
        if settings.token_file is not None or settings.token is not None:
            raise ValueError("give a token or a GitHub App, not both")
        self._settings, self._api = settings, api
        self._app_id, self._configured = settings.app_id, settings.installation_id
        key_settings = dataclasses.replace(settings, token_file=settings.private_key_file)
        self._key = Token(key_settings, check=usable_key)
        self._requests = AppRequests(settings, app_id=settings.app_id, api=api, refusal=refusal)
        self._host, self._patience, self._clock = hostname(api), settings.request_timeout, clock
        self._lock = threading.Lock()  # of everything below; never held during a request
        self._owners: OrderedDict[str, _Owner] = OrderedDict()
        self._generations = itertools.count()

    def of(
        self, repository: str, session: OneRequestSession, permissions: tuple[str, ...] = STATUSES
    ) -> tuple[str, int]:
        """A token that may write what ``permissions`` says to ``repository``, and its generation; fetched through ``session`` if need be.

        Raises ``UnauthorizedError`` when the App's key is refused, ``PermanentError`` when the App is not installed there,
        ``RetryableError`` for everything that may pass.
        """
        owner, permissions = self._owner(repository), permissions or STATUSES
        if (granted := self._good(owner, permissions)) is None:
            if not owner.turn.acquire(timeout=self._patience):
                raise RetryableError(
                    f"{self._host}: another delivery has been fetching a token for {self._patience:g} s"
                )
            try:
                # Whoever had the turn before may have fetched one.
                granted = self._good(owner, permissions) or self._fetch(owner, repository, session, permissions)
            finally:
                owner.turn.release()
        return granted.token, granted.generation

    async def itself(self) -> Answer:
        """What GitHub says of the App, which proves that its key is accepted. Not for a worker's thread. Raises ``NotifierError``."""

        def look(_: None, session: OneRequestSession) -> Answer:
            answer = self._requests.itself(signed(self._app_id, self._key.current()[0]), session)
            return Answer(answer.status_code, answer.headers, answer.json())

        workers = Workers(self._settings, url=self._api, token=_Nobody(), make=lambda *_: None)
        try:
            return await workers.call(look)
        finally:
            await workers.close()

    def refused(self, generation: int) -> bool:
        """The host answered 401 to the token of ``generation``: it was revoked, and GitHub gives another one to whoever asks."""
        with self._lock:
            for owner in self._owners.values():
                good = {purpose: g for purpose, g in owner.granted.items() if g.generation != generation}
                owner.granted = good
        return True

    def _owner(self, repository: str) -> _Owner:
        name = repository.partition("/")[0].lower()  # as GitHub compares them
        with self._lock:
            owner = self._owners.setdefault(name, _Owner())
            self._owners.move_to_end(name)
            if len(self._owners) > OWNERS:
                self._owners.popitem(last=False)
        return owner

    def _good(self, owner: _Owner, permissions: tuple[str, ...]) -> _Granted | None:
        with self._lock:
            granted = owner.granted.get(permissions)
        return granted if granted is not None and granted.ends - self._clock() >= SPARE else None

    def _fetch(
        self, owner: _Owner, repository: str, session: OneRequestSession, permissions: tuple[str, ...]
    ) -> _Granted:
        """One or two requests. For whoever has the owner's turn."""
        key, generation = self._key.current()
        jwt = signed(self._app_id, key)
        found_before = owner.installation
        try:
            if self._configured is None and found_before is None:
                owner.installation = self._requests.installation(repository, jwt, session)
            number, asked = self._configured or owner.installation or 0, self._clock()
            token, lasts = self._requests.token(number, repository, jwt, session, permissions)
        except NotifierError as error:
            if isinstance(error, UnauthorizedError):
                self._key.refused(generation)
            if isinstance(error, PermanentError) and error.status == 404:
                owner.installation = None
                if found_before is not None:  # removed, and perhaps installed anew under another number
                    raise RetryableError(str(error), status=404) from None
            raise
        granted = _Granted(token, next(self._generations), asked + lasts)
        with self._lock:
            owner.granted[permissions] = granted
        return granted


class _Nobody:
    """Credentials of requests that need none but the App's own."""

    def of(self, repository: str, session: OneRequestSession, permissions: tuple[str, ...] = ()) -> tuple[str, int]:
        return "", 0

    def refused(self, generation: int) -> bool:
        return False
