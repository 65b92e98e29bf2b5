"""What ``examine`` of all hosts has in common: one GET at a time, and findings from whatever comes of it.

A host that cannot be reached or refuses the token is one finding, and is asked nothing more; a repository that cannot be asked about hides
no other. Reads only. No text holds a token: the session takes it out of answers, and errors are those of deliveries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from notifiers.answers import error_of, trouble_of
from notifiers.base import Finding, NotifierError, RetryableError, UnauthorizedError
from notifiers.session import OneRequestSession
from notifiers.text import cut

_ABOUT_DELIVERY: Final = "; the status may have arrived"  # which is no comfort here
_OK: Final = 200
_AT_ONCE: Final = 4  # questions to one host


@dataclass(frozen=True, slots=True)
class Answer:
    """What the host said: 200, or a refusal that is about what was asked for (403, 404 and the like)."""

    status: int
    headers: Mapping[str, str]
    data: Any = field(repr=False)  #: its JSON; None for anything else

    @property
    def ok(self) -> bool:
        return self.status == _OK

    def text(self, name: str) -> str:
        """A text field of the JSON object; "" without it."""
        found = self.data.get(name) if isinstance(self.data, dict) else None
        return cut(found, 100) if isinstance(found, str) else ""

    def part(self, name: str) -> Mapping[str, Any]:
        """An object within the JSON object; empty without it."""
        found = self.data.get(name) if isinstance(self.data, dict) else None
        return found if isinstance(found, dict) else {}


class Get(Protocol):
    """A GET of a path below the API's base URL, with the token for ``repository``. Raises ``NotifierError``."""

    def __call__(self, path: str, repository: str = "") -> Awaitable[Answer]: ...


def ask(session: OneRequestSession, url: str, *, headers: Mapping[str, str], verify: bool | str, host: str) -> Answer:
    """One GET, on a worker's thread. Raises for what says nothing of the thing asked for: no answer, 401, 429, 5xx."""
    session.forget_answer()
    head = {"Accept": "application/json", "User-Agent": "tekton-pipeline-listener", **headers}
    try:
        answer = session.request("GET", url, headers=head, verify=verify)
    except Exception as error:  # whatever requests raises for whatever the host sent
        raise trouble_of(host, error, session) from None
    try:
        data = answer.json()
    except (ValueError, RecursionError):
        data = None
    status = answer.status_code
    if status == _OK and data is None:
        raise RetryableError(
            f"{host}: that is no answer of its API; is the url right, is there a login page before it?"
        )
    if status != _OK and isinstance(refusal := error_of(host, status, "", answer.headers), RetryableError):
        raise refusal
    return Answer(status, answer.headers, data)


async def examined(
    host: str,
    who: Awaitable[Sequence[Finding]],
    one: Callable[[str], Awaitable[Finding]],
    repositories: Iterable[str],
) -> list[Finding]:
    """``who``: what the host says of the token; ``one``: of a repository, asked about only if the token is accepted."""
    try:
        about = list(await who)
    except UnauthorizedError as error:
        return [reachable(host), Finding(what="token", state="problem", said=_words(error))]
    except NotifierError as error:
        return [Finding(what="reachable", state="problem", said=_words(error))]

    turns, silent = asyncio.Semaphore(_AT_ONCE), asyncio.Event()

    async def careful(path: str) -> Finding:
        async with turns:
            if silent.is_set():  # one that does not answer takes its time each time
                return repository(path, "unknown", "not asked about, the host has stopped answering")
            try:
                return await one(path)
            except NotifierError as error:
                passes = isinstance(error, RetryableError) and not isinstance(error, UnauthorizedError)
                if isinstance(error, RetryableError) and error.status is None:
                    silent.set()
                return repository(path, "unknown" if passes else "problem", _words(error))

    return [reachable(host), *about, *await asyncio.gather(*map(careful, dict.fromkeys(repositories)))]


def reachable(host: str) -> Finding:
    return Finding(what="reachable", state="ok", said=f"{host} answers")


def token(state: str, said: str, advice: str = "") -> Finding:
    return Finding(what="token", state=state, said=said, advice=advice)


def repository(path: str, state: str, said: str, advice: str = "") -> Finding:
    return Finding(what=f"repository {path}", state=state, said=said, advice=advice)


def unseen(path: str, answer: Answer, advice: str) -> Finding:
    """For a repository that the host does not show."""
    known = {403: "the token may not look at it", 404: "not there, or the token may not see it"}
    return repository(path, "problem", known.get(answer.status, f"the host answers {answer.status}"), advice)


def unclear(path: str, answer: Answer) -> Finding:
    """For an answer that is none of those that are documented."""
    return repository(path, "unknown", f"the host answers {answer.status}, which is not expected")


def _words(error: NotifierError) -> str:
    return str(error).replace(_ABOUT_DELIVERY, "")
