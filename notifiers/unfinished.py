"""What is still known of reports that were half done, or done and not heard of: the memos of their attempts, for the next ones.

A report may take several requests. When one in the middle fails, the listener learns of the failure, but no memo; when a delivery is cut off,
its thread may still bring it to an end. Without its memo the next attempt would make a second deployment beside the first. Kept in this
process only, of the last ``LIMIT`` such reports: whoever begins after a restart knows what the ledger knows.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Final

from notifiers.answers import rate_limit
from notifiers.base import CommitStatus, NotifierError, Receipt
from notifiers.session import OneRequestSession

LIMIT: Final = 1000  # reports

_Key = tuple[type[CommitStatus], str, str, str]


class UnfinishedError(Exception):
    """``error``, which ended a report midway, and the ``memo`` that its next attempt shall be given."""

    def __init__(self, memo: str, error: Exception) -> None:
        super().__init__()
        self.memo, self.error = memo, error


class Unfinished:
    """Memos that have not reached the listener. Threads may share it."""

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kept: dict[_Key, tuple[str | None, str]] = {}
        self._lock = threading.Lock()

    def memo(self, report: CommitStatus, given: str | None) -> str | None:
        """The memo for this attempt at ``report``; ``given`` is the listener's, and counts if it has another one than before."""
        with self._lock:
            before, memo = self._kept.get(_key(report), (None, None))
        return given if memo is None or before != given else memo

    def keep(self, report: CommitStatus, memo: str | None, *, given: str | None) -> None:
        """Until it is forgotten: who comes again with ``given`` shall have ``memo``. None is nothing to keep."""
        if memo is None:
            return
        with self._lock:
            self._kept.pop(_key(report), None)
            while len(self._kept) >= self._limit:
                del self._kept[next(iter(self._kept))]
            self._kept[_key(report)] = given, memo

    def carried(
        self,
        report: CommitStatus,
        memo: str | None,
        session: OneRequestSession,
        deliver: Callable[[str | None], Receipt],
        *,
        error_of: Callable[[Exception], NotifierError],
    ) -> Receipt:
        """What ``deliver`` gives, with the memo that is known, and what the host's last answer says of its limits. ``error_of``: what an error
        of the client library means. On a worker's thread."""
        session.forget_answer()
        try:
            receipt = deliver(self.memo(report, memo))
        except UnfinishedError as error:
            self.keep(report, error.memo, given=memo)
            raise error_of(error.error) from None
        except Exception as error:  # whatever the library raises for whatever the host sent
            raise error_of(error) from None
        self.keep(report, receipt.memo, given=memo)  # until the receipt has arrived
        left = rate_limit(session.answer.headers) if session.answer is not None else None
        return dataclasses.replace(receipt, rate_limit=left)

    def forget(self, report: CommitStatus) -> None:
        """The listener has the receipt."""
        with self._lock:
            self._kept.pop(_key(report), None)


def _key(report: CommitStatus) -> _Key:
    return type(report), report.repository, report.sha, report.context
