"""What a notifier is: the one contract between the listener and a Git host, or a chat.

The listener decides *what* is to be said and *when*; a notifier says it, once, to one host. What it can say are reports (``reports.py``),
of which it names those that it takes. It makes one HTTP request per status, and for other reports the number that its docstring names, never
retries on its own and never sleeps: retrying, ordering and waiting belong to the listener, which learns from the error's type what to do. A
notifier knows nothing of Tekton or Kubernetes, and nothing here imports the listener, so that a third party can ship one as a package of its own
with an entry point in the group ``tekton_listener.notifiers``.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from notifiers.reports import CommitStatus, Message, Outcome

__all__ = [
    "Channel", "CommitStatus", "HostSettings", "Notifier", "NotifierError", "Outcome", "PermanentError", "RateLimit", "Receipt", "RetryableError",
    "TooLateError", "UnauthorizedError", "clock", "for_ever",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What a host says about the requests that an account has left (``x-ratelimit-*``, ``RateLimit-*``)."""

    limit: int  #: requests per period
    remaining: int
    resets_in: float  #: seconds from now until the period begins anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the host answered to a status that arrived."""

    memo: str | None = None  #: opaque to the listener: kept with the commit's context and given to the next delivery
    already_there: bool = False  #: the host said that it showed this state before
    rate_limit: RateLimit | None = None  #: where the host tells


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a notifier is built from: one entry of ``hosts:`` in the configuration, secrets still in their files."""

    name: str  #: the key under ``hosts:``, for messages
    url: str | None  #: the host's base URL, None for the public one
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)  #: from the environment; the file wins when both are given
    app_id: int | None = None  #: a GitHub App instead of a token: its number, with private_key_file
    private_key_file: Path | None = None  #: PEM; read again when it changes
    installation_id: int | None = None  #: of the App, for all repositories; None: it is looked up for each owner
    ca_file: Path | None = None
    request_timeout: float = 8.0  #: seconds for connecting and for each wait for bytes
    threads: int = 4  #: requests in flight at once
    seconds_between_writes: float | None = None  #: None: what the kind of host asks for
    options: Mapping[str, str] = field(default_factory=dict)  #: what only this kind knows: ``options:`` of the entry


class NotifierError(Exception):
    """A delivery that did not arrive. The message is for the operator: what the host said and what to do."""


class RetryableError(NotifierError):
    """May well work later: network trouble, a timeout, 408, 425, 429, 5xx, an exhausted rate limit."""

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        """``retry_after``: seconds from now before which the host does not want to be asked again."""
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class UnauthorizedError(RetryableError):
    """401: nothing will arrive until the token changes. The client has been rebuilt from the token file already."""


class TooLateError(RetryableError):
    """The deadline (``until``) was over before the host had answered; it says nothing about the host."""


class PermanentError(NotifierError):
    """Will never work as it is: no such repository or commit, a missing scope, a body the host rejects."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def clock() -> float:
    """Seconds on the clock that deadlines are given in: never stepped, and it goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def for_ever() -> float:
    """The deadline of who need not hurry."""
    return math.inf


#: What every Git host takes.
STATUSES: Final[frozenset[type[CommitStatus]]] = frozenset({CommitStatus})


class Notifier(ABC):
    """Delivers reports to one host.

    One instance per entry of ``hosts:`` or ``channels:``; ``deliver`` may be called concurrently from one event loop.
    """

    kind: ClassVar[str]  #: what ``kind:`` says in the configuration; also the entry point's name
    reports: ClassVar[frozenset[type[CommitStatus]]] = frozenset({CommitStatus})  #: what ``deliver`` takes: just these
    write_interval: float = 0.0  #: seconds that the host wants between the end of one write and the next, per account

    @abstractmethod
    def __init__(self, settings: HostSettings) -> None:
        """Build clients and read the token. Raises ``ValueError`` or ``OSError`` with a message for the operator
        when the settings cannot work (no token, unreadable file). Makes no request."""

    @abstractmethod
    def state(self, outcome: Outcome) -> str:
        """The host's own word for ``outcome``. Two outcomes with one word are one state to the host: the listener
        posts transitions between words, not between outcomes."""

    def word(self, report: type[CommitStatus], outcome: Outcome) -> str:
        """As ``state``, for any kind of report: a check run has other words than a status, and a chat has none of its own."""
        return self.state(outcome) if report is CommitStatus else outcome.value

    @abstractmethod
    def check_repository(self, repository: str) -> str | None:
        """Why ``repository`` cannot be a path on this host, or None when it can. Pure; used before any URL is built."""

    def account(self, repository: str) -> str:
        """For whom the host counts a request about ``repository``: deliveries with the same text share its limits.

        It changes when the token does, and never shows it. Without accounts: one for the whole host.
        """
        return f"{self.kind} {id(self):x}"

    def commit_url(self, repository: str, sha: str) -> str | None:
        """The commit's page on the host, for links back; None where it cannot be told."""
        return None

    def repository_url(self, repository: str) -> str | None:
        """The repository's page on the host; None where it cannot be told."""
        return None

    @abstractmethod
    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        """Post ``status`` with exactly one HTTP request. (Where a token can be fetched: one that is not refused with 401.)

        Its type is one of ``reports``; those that are more than a status may take more requests, see their docstrings.
        ``memo`` is the last receipt's of the same report on the same repository, sha and context. ``until`` gives the time on ``clock()`` when
        another replica may begin to report this commit: no request may begin after it, and one that is under way is cut
        off then. It may move on meanwhile, so ask again. Raises ``RetryableError``, ``UnauthorizedError`` or
        ``PermanentError`` and nothing else (but ``asyncio.CancelledError``).
        """

    @abstractmethod
    async def close(self) -> None:
        """Let requests in flight end, within the request timeout, and free threads and connections."""

    async def examine(
        self, repositories: Sequence[str], *, reports: frozenset[type[CommitStatus]] = STATUSES
    ) -> Sequence[Finding]:
        """For ``tekton-listener doctor``: what the host says of the token, and of each of ``repositories`` (checked paths); ``reports``: what the
        configuration would send to this host.

        Reads only, changes nothing, bounded like ``deliver``. Nothing to tell by default. Need not raise; ``NotifierError`` is understood.
        """
        return ()


class Channel(Notifier):
    """A notifier that takes messages about any repository, and no statuses: chat, on-call, a webhook. An entry of ``channels:``.

    A subclass gives ``kind``, ``__init__``, ``deliver`` and ``close``.
    """

    reports = frozenset({Message})

    def state(self, outcome: Outcome) -> str:
        return outcome.value

    def check_repository(self, repository: str) -> str | None:
        """None: a channel puts it into no URL."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. No text in it may hold a secret."""

    what: str  #: ``reachable``, ``token``, ``repository group/project``
    state: str  #: ``ok``, ``warning``, ``problem``, or ``unknown``: it could not be told
    said: str  #: one sentence
    advice: str = ""  #: what to do about it
