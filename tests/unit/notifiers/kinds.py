"""Every kind of notifier that we bring, with what its host publishes: what the contract suite holds it to.

A new kind is one more entry here, and all tests of the contract run for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifiers.azure_devops import AzureDevOpsNotifier
from notifiers.base import Notifier
from notifiers.bitbucket import BitbucketNotifier
from notifiers.bitbucket_server import BitbucketServerNotifier
from notifiers.gitea import GiteaNotifier
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from tests.app_key import APP


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind, and what is known of its host."""

    name: str
    notifier: type[Notifier]
    states: frozenset[str]  #: all words for a state that the host takes
    success: str  #: the one that means success
    scope: str  #: what a token needs, as the host calls it
    link: str = "target_url"  #: the field of the link
    needs_link: bool = False  #: a status without a link is refused
    limits: Mapping[str, int] = field(default_factory=dict)  #: characters by field, one within another with a dot
    units: Callable[[str], int] = len  #: how the host counts them
    app: bool = False  #: a GitHub App, which fetches its token and fetches it anew after a 401

    def settings(self, key_file: Path) -> dict[str, Any]:
        """Of the host's entry, beyond a token."""
        if not self.app:
            return {}
        return {"token": None, "app_id": APP, "private_key_file": key_file, "installation_id": 678}


def java_length(text: str) -> int:
    """In UTF-16, as .NET counts, too."""
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


GITHUB_STATES = frozenset({"error", "failure", "pending", "success"})
GITHUB_LIMITS = {"description": 140, "context": 255, "target_url": 2048}
KINDS = [
    Kind(
        name="gitlab",
        notifier=GitLabNotifier,
        states=frozenset({"pending", "running", "success", "failed", "canceled", "skipped"}),
        success="success",
        scope="'api'",
        limits={"description": 255, "name": 255, "target_url": 255},
    ),
    Kind(
        name="github",
        notifier=GitHubNotifier,
        states=GITHUB_STATES,
        success="success",
        scope="'repo:status'",
        limits=GITHUB_LIMITS,
    ),
    Kind(
        name="gitea",
        notifier=GiteaNotifier,
        states=frozenset({"pending", "success", "error", "failure", "warning"}),
        success="success",
        scope="'write:repository'",
        limits={"description": 255, "context": 255, "target_url": 2048},
    ),
    Kind(
        name="bitbucket",
        notifier=BitbucketNotifier,
        states=frozenset({"INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"}),
        success="SUCCESSFUL",
        scope="'repository'",
        link="url",
        needs_link=True,
        limits={"key": 40, "description": 255, "name": 255, "url": 450},
    ),
    Kind(
        name="bitbucket-server",
        notifier=BitbucketServerNotifier,
        states=frozenset({"INPROGRESS", "SUCCESSFUL", "FAILED", "CANCELLED", "UNKNOWN"}),
        success="SUCCESSFUL",
        scope="'Repository read'",
        link="url",
        needs_link=True,
        limits={"key": 255, "description": 255, "name": 255, "url": 450},
        units=java_length,
    ),
    Kind(
        name="azure-devops",
        notifier=AzureDevOpsNotifier,
        states=frozenset({"notSet", "pending", "succeeded", "failed", "error", "notApplicable"}),
        success="succeeded",
        scope="'Code (status)'",
        link="targetUrl",
        limits={"description": 255, "context.name": 128, "context.genre": 128, "targetUrl": 2048},
        units=java_length,
    ),
]
GITHUB_APP = Kind(
    name="github app",
    notifier=GitHubNotifier,
    states=GITHUB_STATES,
    success="success",
    scope="'Commit statuses: write'",
    limits=GITHUB_LIMITS,
    app=True,
)
