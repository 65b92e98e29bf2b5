"""The open merge/pull requests of a commit, as GitHub's and GitLab's answers show them: what comments and labels go to.

Pure: nothing here makes a request. Only a request whose head is the very commit counts: what was pushed meanwhile has a run of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_REQUESTS: Final = 3  # with one head; more than one is rare


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One of them."""

    number: int  #: GitHub's number, GitLab's iid: what its page's address ends with
    labels: tuple[str, ...] = ()  #: as they were when it was found


def entries_of(answer: object) -> list[dict[str, object]]:
    """The objects in a host's list. Raises ``ValueError`` for an answer that is no list: then it is not the API that answers."""
    if not isinstance(answer, list):
        raise ValueError("a list was asked for, and something else came")
    return [entry for entry in answer if isinstance(entry, dict)]


def identifier(entry: dict[str, object], name: str) -> int | None:
    """The positive number that ``entry`` has as its ``name``; None for anything else."""
    number = entry.get(name)
    return number if type(number) is int and number > 0 else None


def text_at(entry: object, *names: str) -> str:
    """The text below ``names``, one within the other; "" where there is none."""
    for name in names:
        entry = entry.get(name) if isinstance(entry, dict) else None
    return entry if isinstance(entry, str) else ""


def first_of(found: list[OpenRequest]) -> tuple[OpenRequest, ...]:
    """The newest ``MAX_REQUESTS`` of them, each once."""
    unique = {request.number: request for request in found}
    return tuple(unique[number] for number in sorted(unique, reverse=True)[:MAX_REQUESTS])
