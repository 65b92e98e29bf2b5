"""The open pull requests that have a commit as their head, on GitHub.

``GET /repos/{owner}/{repo}/commits/{sha}/pulls`` knows those from the repository's own branches. Asked in the base repository it answers
an empty list for a commit of a fork, so where it knows none, one page of ``GET /repos/{owner}/{repo}/pulls`` is read too, the open ones that
were changed last. Not promised: to find a fork's request that 30 others of the repository were changed after.
"""

from __future__ import annotations

from typing import Final

from github.Requester import Requester

from notifiers.open_requests import OpenRequest, entries_of, first_of, identifier, text_at
from notifiers.session import AnswerTooLongError

_SIZES: Final = (30, 10)  # requests in an answer; each is 20 KB and its description, which has 64 KB at most


def open_requests(requester: Requester, repository: str, sha: str) -> tuple[OpenRequest, ...]:
    """At most three, newest first. One GET, or two when the first one shows no open request with this head; one more for each answer
    that is too long to be read. ``repository`` and ``sha`` have been checked. Raises whatever PyGithub does, and ``ValueError``."""
    found = _among(_read(requester, f"/repos/{repository}/commits/{sha}/pulls"), repository, sha)
    if not found:
        changed_last = {"state": "open", "sort": "updated", "direction": "desc"}
        found = _among(_read(requester, f"/repos/{repository}/pulls", **changed_last), repository, sha)
    return first_of(found)


def _read(requester: Requester, path: str, **query: str) -> list[dict[str, object]]:
    """The first page."""
    for size in _SIZES:
        try:
            _, answer = requester.requestJsonAndCheck("GET", path, parameters={**query, "per_page": size})
            return entries_of(answer)
        except AnswerTooLongError:
            if size == _SIZES[-1]:
                raise
    raise AssertionError  # the last size returns or raises


def _among(entries: list[dict[str, object]], repository: str, sha: str) -> list[OpenRequest]:
    """The open ones of ``repository`` with this head. Asked about a fork's commit, the fork shows requests of the repository it comes from."""
    found = []
    for entry in entries:
        number = identifier(entry, "number")
        here = text_at(entry, "base", "repo", "full_name").lower() == repository.lower()
        if number is not None and here and entry.get("state") == "open" and text_at(entry, "head", "sha") == sha:
            found.append(OpenRequest(number, _labels(entry.get("labels"))))
    return found


def _labels(given: object) -> tuple[str, ...]:
    names = [text_at(label, "name") for label in given] if isinstance(given, list) else []
    return tuple(filter(None, names))
