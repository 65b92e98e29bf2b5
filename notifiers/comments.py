"""The comment on a merge/pull request that updates itself: what GitHub and GitLab have in common.

It is found by its marker and by who wrote it, since anybody can write a marker. Who we are is learnt from the first comment that we write; where
one with a marker is found before that, the host is asked once (``Forge.account``): one more request per process and token. So a
stranger's comment is never edited, whatever the token may do, and a comment that the account may no longer edit is followed by a new one.

Within one process two deliveries do not read and write the same comment at once. Between replicas that report different commits of one request at the
same moment the later one may write over what the earlier one said; it comes back with that context's next report. Reading again after each
write would halve the odds, at half as many requests more, and not end them: neither host has conditional writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from notifiers.base import Receipt, RetryableError
from notifiers.comment_text import Section, is_ours, merged, section_of
from notifiers.open_requests import MAX_REQUESTS
from notifiers.reports import Comment

_MEMO: Final = re.compile(rf"\d{{1,18}}:\d{{1,18}}(?:,\d{{1,18}}:\d{{1,18}}){{0,{MAX_REQUESTS - 1}}}", re.ASCII)
_LOCKS: Final = tuple(threading.Lock() for _ in range(64))  # a request has one of them, and shares it with some others
_TURN: Final = 8.0  # seconds to wait for a delivery to the same request
_MAX_ACCOUNTS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A comment as the host shows it. ``author``: the host's number of who wrote it; ``by_app``: an App did, no person."""

    id: int
    body: str
    author: int | None
    by_app: bool = False


class Forge(Protocol):
    """One host's requests, each method one of them, but for ``find``; they raise whatever the client library does."""

    @property
    def limit(self) -> int:
        """Characters in a comment."""

    @property
    def place(self) -> str:
        """The repository and its host."""

    @property
    def login(self) -> str:
        """What tells one account on one host from another, and is a secret."""

    def find(self) -> Iterable[int]:
        """The open requests' numbers."""

    def account(self) -> int | None:
        """Our own number; None where the token is an App's, which is not told."""

    def read(self, number: int, comment: int) -> Found | None:
        """A comment; None where there is none."""

    def search(self, number: int) -> Iterator[Found]:
        """The comments on a request, page by page."""

    def create(self, number: int, body: str) -> Found:
        """A new one. Should its answer be lost, the next attempt finds it."""

    def update(self, number: int, comment: int, body: str) -> bool:
        """False: it is not there any more, or this account may not edit it."""


class _GoneError(Exception):
    """A comment that the memo names is not there, or not ours."""


class _Accounts:
    """Who we are, by a digest of host and token; bounded, for tokens change."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, int | None] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, forge: Forge, account: int | None) -> None:
        with self._lock:
            self._known[_digest(forge.login)] = account
            while len(self._known) > _MAX_ACCOUNTS:
                self._known.popitem(last=False)

    def wrote(self, forge: Forge, found: Found) -> bool:
        """True for a comment that is ours."""
        with self._lock:
            known, account = _digest(forge.login) in self._known, self._known.get(_digest(forge.login))
        if not known:
            if found.by_app:  # a person it is not, and which App we are would have to be asked with another key
                return True
            account = forge.account()
            self.learn(forge, account)
        return found.by_app if account is None else found.author == account


_ACCOUNTS: Final = _Accounts()


def deliver(forge: Forge, report: Comment, memo: str | None) -> Receipt:
    """Say ``report`` on each open request of its commit, three at most.

    Requests: the finding of them (``Forge.find``), then for each the lists of comments until ours is found, six at most, and one write. With
    the ``memo`` of an earlier report: a read and a write for each. A write less where there is nothing to change.
    """
    section = section_of(report)
    if known := _places(memo):
        with contextlib.suppress(_GoneError):
            return _receipt([_say(forge, report, section, number, comment) for number, comment in known.items()])
    return _receipt([_say(forge, report, section, number, None) for number in forge.find()])


def _places(memo: str | None) -> dict[int, int]:
    """Request and comment. It comes from an annotation that others can write, so it may be anything."""
    if not memo or not _MEMO.fullmatch(memo):
        return {}
    pairs = (pair.partition(":") for pair in memo.split(","))
    return {int(number): int(comment) for number, _, comment in pairs}


def _receipt(said: list[tuple[int, int | None, bool]]) -> Receipt:
    places = [f"{number}:{comment}" for number, comment, _ in said if comment is not None]
    return Receipt(memo=",".join(places) or None, already_there=not any(wrote for *_, wrote in said))


def _say(
    forge: Forge, report: Comment, section: Section, number: int, comment: int | None
) -> tuple[int, int | None, bool]:
    """Number, comment, and whether anything was written. ``comment``: ours as the memo says, else it is searched."""
    with _turn(f"{forge.place} {number}"):
        for found in forge.search(number) if comment is None else _read(forge, number, comment):
            if not (is_ours(found.body) and _ACCOUNTS.wrote(forge, found)):
                continue
            body = merged(found.body, section, limit=forge.limit, only_update=report.only_update)
            if body is None:
                return number, found.id, False
            if forge.update(number, found.id, body):
                return number, found.id, True
        if comment is not None:
            raise _GoneError
        body = merged(None, section, limit=forge.limit, only_update=report.only_update)
        if body is None:
            return number, None, False
        made = forge.create(number, body)
        if made.author is not None:
            _ACCOUNTS.learn(forge, made.author)
        return number, made.id, True


def _read(forge: Forge, number: int, comment: int) -> list[Found]:
    found = forge.read(number, comment)
    return [] if found is None else [found]


@contextlib.contextmanager
def _turn(request: str) -> Iterator[None]:
    """While within, no other thread is at ``request``. The thread that is has a deadline, so this one waits for an end."""
    lock = _LOCKS[int.from_bytes(_digest(request)[:2]) % len(_LOCKS)]
    if not lock.acquire(timeout=_TURN):
        raise RetryableError("another report is being written to the same comment", retry_after=1.0)
    try:
        yield
    finally:
        lock.release()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
