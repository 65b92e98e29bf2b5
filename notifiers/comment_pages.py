"""Reading lists of comments, which others write: in pages, each answer of a length that is worth reading, and all in all so many requests.

Pure but for the function that it is given. A page that is too long is asked for again in smaller parts; a comment that is too long alone is none of
ours, and is left out. Not promised: to have seen all when the requests are used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from notifiers.session import AnswerTooLongError

SIZES: Final = (30, 10, 2, 1)  # comments in an answer; each a divisor of the one before
MAX_LISTS: Final = 6  # requests for one delivery


@dataclass(frozen=True, slots=True)
class Answer:
    """One page as the host gave it; ``last``: the number of the last page, where the host tells."""

    entries: list[dict[str, object]]
    last: int | None = None


class Listing:
    """``fetch(page, size)`` makes one request; pages are counted from 1."""

    def __init__(self, fetch: Callable[[int, int], Answer]) -> None:
        self._fetch = fetch
        self._left = MAX_LISTS
        self._ended = False
        self._known = 0  # comments that there are, as far as the host tells

    def forwards(self) -> Iterator[dict[str, object]]:
        """From the first page on: for lists that begin with the newest."""
        page = 1
        while self._left and not self._ended:
            yield from self._read(page)
            page += 1

    def first_then_backwards(self) -> Iterator[dict[str, object]]:
        """The first page, then from the last one on: for lists that begin with the oldest, since what is sought is old or new."""
        yield from self._read(1)
        for page in range(-(-self._known // SIZES[0]), 1, -1):
            if self._left:
                yield from self._read(page)

    def _read(self, page: int, step: int = 0) -> Iterator[dict[str, object]]:
        if not self._left:
            return
        self._left -= 1
        size = SIZES[step]
        try:
            answer = self._fetch(page, size)
        except AnswerTooLongError:
            if step + 1 < len(SIZES):
                parts = size // SIZES[step + 1]
                for part in range((page - 1) * parts + 1, page * parts + 1):
                    if not self._ended:
                        yield from self._read(part, step + 1)
            return
        self._ended = len(answer.entries) < size
        self._known = max(self._known, (answer.last or 0) * size)
        yield from answer.entries
