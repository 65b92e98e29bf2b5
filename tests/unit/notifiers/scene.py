"""What the notifiers' tests say to the hosts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from notifiers.base import CommitStatus, Notifier, Outcome
from tests.unit.notifiers.host import Asked

Connect = Callable[..., Notifier]  #: the fixture ``connect``
URL = "https://git.example.com"
TOKEN = "glpat-very-secret-token"
PACKED = base64.b64encode(f":{TOKEN}".encode()).decode()  # as HTTP Basic shows it
SHA = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"
GRANTED = {"token": "ghs_granted0123456789", "expires_at": "2001-01-01T01:00:00Z"}  # to an App's installation
LONGEST_BLOCK = 0.5  # seconds of the loop; 0.05 are promised, a machine with other things to do gets the rest
DATE = {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}


def status(**fields: Any) -> CommitStatus:
    """A status that all hosts take."""
    given: dict[str, Any] = {
        "repository": "group/service-xyz",
        "sha": SHA,
        "context": "tekton/build",
        "outcome": Outcome.SUCCEEDED,
        "description": "Passed in 2m 14s · 5 tasks",
        "target_url": "https://tekton.example.com/runs/ci/build-1",
        **fields,
    }
    return CommitStatus(**given)


def token_of(asked: Asked) -> str:
    """The token that a request carries, in whichever header and disguise."""
    scheme, _, text = asked.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        return base64.b64decode(text).decode().partition(":")[2]
    return text or asked.headers["private-token"]


def context_of(asked: Asked) -> str:
    """The context that a request is about."""
    body = asked.json
    context = body.get("name") or body["context"]
    if isinstance(context, dict):
        return "/".join(filter(None, (context.get("genre"), context["name"])))
    return str(context)
