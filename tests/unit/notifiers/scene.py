"""What the notifiers' tests say to the hosts."""

from __future__ import annotations

from typing import Any

from notifiers.base import CommitStatus, Outcome

TOKEN = "glpat-very-secret-token"
SHA = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"
GRANTED = {"token": "ghs_granted0123456789", "expires_at": "2001-01-01T01:00:00Z"}  # to an App's installation
DATE = {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}


def status(**fields: Any) -> CommitStatus:
    """A status that both hosts take."""
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
