"""A Git host that takes a status with one JSON ``POST``: all of it but what the host calls things.

For hosts whose client libraries cost more than one request, or leave no say over timeouts, redirects and retries: then the project's own
session (``session.py``) sends, on the same threads and by the same rules as python-gitlab and PyGithub do for theirs. A subclass says where
a status is posted, with which words, what proves who we are, and what a refusal means. It needs no network and no thread of its own.
"""

from __future__ import annotations

import base64
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import requests

from notifiers.answers import CREATED, check_place, error_of, hostname, rate_limit, trouble_of
from notifiers.base import (
    STATUSES,
    CommitStatus,
    Finding,
    HostSettings,
    Notifier,
    NotifierError,
    Outcome,
    RateLimit,
    Receipt,
    for_ever,
)
from notifiers.blocking import Workers
from notifiers.credentials import Token
from notifiers.examine import Answer, Get, ask
from notifiers.session import OneRequestSession, base_url, verify_option

_OK: Final = 200
_MESSAGE: Final = (
    "error",
    "errors",
    "message",
    "detail",
)  # where hosts put what they have to say, one within the other


@dataclass(frozen=True, slots=True)
class Post:
    """Where a status goes, below the API's base URL, and what is sent."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Login:
    """The headers that prove who we are, and every text in them that nobody may read."""

    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def with_scheme(cls, scheme: str, token: str) -> Login:
        """``Authorization: SCHEME TOKEN``."""
        return cls({"Authorization": f"{scheme} {token}"}, (token,))

    @classmethod
    def basic(cls, user: str, password: str) -> Login:
        """``Authorization: Basic`` with the two of them, which is no secret's disguise."""
        packed = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls({"Authorization": f"Basic {packed}"}, (password, packed))


class RestNotifier(Notifier):
    """What the hosts have in common. A subclass gives what is abstract, and the class variables."""

    states: ClassVar[Mapping[Outcome, str]]
    hints: ClassVar[Mapping[int, str]] = {}  #: what to do about an answer with that status
    taken: ClassVar[frozenset[int]] = frozenset({CREATED})  #: answers that mean "it is there", whatever comes with them
    public_url: ClassVar[str] = ""  #: for those who name no other; empty: there is none

    def __init__(self, settings: HostSettings) -> None:
        if not (settings.url or self.public_url):
            raise ValueError(f"url is missing: a host of kind {self.kind} is one of many")
        self._url = base_url(settings, self.public_url)
        self._api = self.api(self._url)
        self._host = hostname(self._api)
        self._verify = verify_option(settings)
        self.write_interval = settings.seconds_between_writes or 0.0
        self._token = Token(settings)
        self._workers = Workers(settings, url=self._api, token=self._token, make=lambda token, _: self.login(token))

    # What a subclass says

    @abstractmethod
    def api(self, url: str) -> str:
        """The API's base URL for the host's own; raises ``ValueError`` when ``url`` cannot be one."""

    @abstractmethod
    def login(self, token: str) -> Login:
        """What ``token`` is shown as."""

    @abstractmethod
    def post(self, status: CommitStatus) -> Post:
        """The request for ``status``, whose path and commit have been checked; texts are cut in here. Pure."""

    def refusal(self, status: int, message: str, headers: Mapping[str, str]) -> NotifierError:
        """The error for an answer that is no success."""
        return error_of(self._host, status, message, headers, hint=self.hints.get(status, ""))

    @staticmethod
    async def examiner(host: str, get: Get, repositories: Sequence[str]) -> Sequence[Finding]:
        """See ``Notifier.examine``; ``get`` asks below the API's base URL."""
        return ()

    def left(self, headers: Mapping[str, str]) -> RateLimit | None:
        """What a success says about the requests that are left."""
        return rate_limit(headers)

    # The contract

    def state(self, outcome: Outcome) -> str:
        return self.states[outcome]

    def account(self, repository: str) -> str:
        return f"{self._url} {self._token.fingerprint()}"

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        check_place(status, why_not=self.check_repository(status.repository), host=self._host)
        post = self.post(status)
        return await self._workers.call(
            lambda login, session: self._send(login, session, post), repository=status.repository, until=until
        )

    async def examine(
        self, repositories: Sequence[str], *, reports: frozenset[type[CommitStatus]] = STATUSES
    ) -> Sequence[Finding]:
        return await self.examiner(self._host, self._get, repositories)

    async def close(self) -> None:
        await self._workers.close()

    async def _get(self, path: str, repository: str = "") -> Answer:
        def look(login: Login, session: OneRequestSession) -> Answer:
            session.hide(*login.secrets)
            return ask(session, self._api + path, headers=login.headers, verify=self._verify, host=self._host)

        return await self._workers.call(look, repository=repository)

    # From here on: on a worker's thread.

    def _send(self, login: Login, session: OneRequestSession, post: Post) -> Receipt:
        session.forget_answer()
        session.hide(*login.secrets)
        headers = {"Accept": "application/json", "User-Agent": "tekton-pipeline-listener", **login.headers}
        try:
            answer = session.request(
                "POST", self._api + post.path, json=post.body, headers=headers, verify=self._verify
            )
            taken = answer.status_code in self.taken or (answer.status_code == _OK and _shows_a_state(answer))
        except Exception as error:  # whatever requests raises for whatever the host sent
            if session.answer is None or session.answer.status_code not in self.taken:
                raise self._trouble(error, session) from None
            answer, taken = session.answer, True
        if taken:
            return Receipt(rate_limit=self.left(answer.headers))
        raise self.refusal(answer.status_code, message_of(answer), answer.headers)

    def _trouble(self, error: Exception, session: OneRequestSession) -> NotifierError:
        status = session.answer.status_code if session.answer is not None else 0
        return trouble_of(self._host, error, session, hint=self.hints.get(status, ""))


def _shows_a_state(answer: requests.Response) -> bool:
    """True for a status as hosts show it, and for no page that happens to come with 200."""
    data = answer.json()
    return isinstance(data, dict) and isinstance(data.get("state"), str)


def message_of(answer: requests.Response) -> str:
    """What the host said: of its JSON the messages, else the text as it is."""
    try:
        return _words(answer.json())
    except (ValueError, RecursionError):
        return answer.text


def _words(data: object) -> str:
    if isinstance(data, dict):
        parts = [_words(data[name]) for name in _MESSAGE if data.get(name)]
        return ": ".join(dict.fromkeys(part for part in parts if part))
    if isinstance(data, list):
        return "; ".join(filter(None, map(_words, data)))
    return data if isinstance(data, str) else ""
