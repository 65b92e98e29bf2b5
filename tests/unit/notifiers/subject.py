"""What the contract suite is held against: a kind of notifier and one report that it takes, with what its host publishes.

A subject stands in the test file of what it describes, as ``SUBJECT`` or in ``SUBJECTS``, where ``subjects.py`` finds it: so a new kind, or a new report
of an old one, is no change to any other test. Where a kind differs from the others it says so in here, as data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifiers.base import CommitStatus, Notifier, NotifierError, UnauthorizedError
from tests.app_key import APP
from tests.unit.notifiers.host import Answer
from tests.unit.notifiers.scene import status


def utf16(text: str) -> int:
    """The length of a text as Java and .NET count it."""
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test's notifier lives."""

    url: str  #: of the host
    key_file: Path  #: of an App


def plain_token(place: Place) -> dict[str, Any]:
    """A token, which is what tests give where nothing else is said."""
    return {}


def github_app(place: Place) -> dict[str, Any]:
    """A GitHub App with its installation, so that all it asks for is a token."""
    return {"token": None, "app_id": APP, "private_key_file": place.key_file, "installation_id": 678}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One kind and one report. Without anything but the first four: a status by one ``POST``."""

    name: str
    notifier: type[Notifier]
    scope: str = ""  #: what a refusal says that the token needs, in the host's words
    limits: Mapping[str, int] = field(default_factory=dict)  #: units by field of a request; one within another: a dot

    # How it is reached
    settings: Callable[[Place], dict[str, Any]] = plain_token
    report: Callable[..., CommitStatus] = status  #: makes one; fields may be named
    long: Callable[[str], dict[str, Any]] = lambda text: {"description": text, "context": f"{text}/{text}"}
    requests: tuple[str, ...] = ("POST",)  #: the methods of a first report's requests: the documented number
    answers: tuple[tuple[str, str, Answer], ...] = ()  #: to a method and a path (a regular expression): of a good host
    units: Callable[[str], int] = len  #: how the host counts characters
    counted: Mapping[str, Callable[[str], int]] = field(default_factory=dict)  #: how it counts some fields
    names: tuple[Mapping[str, Any], ...] = ()  #: fields that cannot be: what names a thing is refused, and not cut

    # What differs
    refused_token: type[NotifierError] = UnauthorizedError  #: what a 401 is
    hears_retry_after: bool = True
    reads_success: bool = True  #: a 200 counts only when it shows what was made
    takes_no_content: bool = False  #: 204 is success
    counts_requests: bool = True  #: it passes on what the host says of the requests that are left

    # Of commit statuses
    states: frozenset[str] = frozenset()  #: all words for a state that the host takes
    success: str = ""  #: the one that means success
    link: str = "target_url"  #: the field of the link
    needs_link: bool = False  #: a status without a link is refused

    @property
    def app(self) -> bool:
        """Whether it fetches its token, and fetches it anew after a 401."""
        return self.settings is github_app

    @property
    def is_status(self) -> bool:
        return bool(self.states)
