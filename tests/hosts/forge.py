"""What the tests of all Git hosts in memory need to know of one of them: ``FORGE`` in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from listener.demo.githost import GitHost


def nothing(host: GitHost, token: str) -> None:
    """Every token will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """A kind of host, the stand-in for it, a repository that it has, and its words for what becomes of a run."""

    kind: str
    host: Callable[[], Any]  #: the stand-in's class
    repository: str
    running: str
    succeeded: str
    failed: str
    cancelled: str
    scope: str  #: of a token that is too weak, in the refusal; empty where a weak token is no token
    wrong: tuple[Mapping[str, Any], ...]  #: changes of a good status that the host refuses; None leaves a field out
    below: str = ""  #: the part of the URL behind the host
    trust: Callable[[Any, str], None] = nothing  #: make a token one that the host tells that a commit is not there

    def url(self, host: GitHost) -> str:
        return f"{host.url}{self.below}"
