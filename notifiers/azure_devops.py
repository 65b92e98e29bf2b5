"""Commit statuses on Azure DevOps: ``POST /{organization}/{project}/_apis/git/repositories/{repository}/commits/{commit}/statuses``.

What it is like (Microsoft's REST reference 7.1, "Statuses - Create", "GitStatusState", and "Rate limits"):

- States are notSet, pending, succeeded, failed, error, notApplicable. A status is named by ``context``: a name, and a genre that groups them. A
  context shows its latest status. Here ``tekton/build`` is the name ``build`` of the genre ``tekton``.
- No lengths are published; ours are 128 characters for each half of the context, 255 for the description and 2,048 for the link,
  counted as .NET does.
- A personal access token with the scope "Code (status)" (``vso.code_status``), as the password of ``Basic`` without a user. A token that is no
  longer good is answered with 401, or with a sign-in page that comes as 203 or by a redirect; ``X-TFS-FedAuthRedirect: Suppress`` asks for
  401, and what comes as 203 all the same is taken for it. A redirect is refused, as everywhere.
- The documentation says 200 for success, the service also says 201.
- Limits count load (TSTU in five minutes) and not requests, so ``X-RateLimit-*`` is no count that a budget could be kept by. ``Retry-After``
  counts, also with a success: that is how requests are asked to slow down before they are refused (429).

The host's ``url`` holds the organization (https://dev.azure.com/ORGANIZATION), or on a server the collection. A path is project/repository,
or as in clone URLs ``project/_git/repository``. Names with spaces or other letters: use the identifiers, which the API takes as well.

No client library: azure-devops 7.1 has been a beta since 2023, asks with ``OPTIONS`` where to post (two requests), and stands on msrest, which is retired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from notifiers import examine_azure_devops
from notifiers.answers import retry_after
from notifiers.base import CommitStatus, NotifierError, Outcome, RateLimit
from notifiers.rest import Login, Post, RestNotifier
from notifiers.text import cut, distinct, usable_url, utf16

CONTEXT_LIMIT: Final = 128  # characters of name and genre each
LIMIT: Final = 255  # characters of the description
URL_LIMIT: Final = 2048
STATES: Final = {
    Outcome.QUEUED: "pending",
    Outcome.RUNNING: "pending",
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "failed",
    Outcome.CANCELLED: "error",
    Outcome.BROKEN: "error",
    Outcome.DELETED: "error",
}
_PROJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SIGN_IN: Final = 203
_REACH: Final = "the token needs the scope 'Code (status)', and its user 'Contribute' to the repository"
_HINTS: Final = {
    403: _REACH,
    404: f"the project, the repository or the commit is not there, or the token may not see it: {_REACH}",
}


class AzureDevOpsNotifier(RestNotifier):
    """Posts commit statuses to one organization of Azure DevOps, or one collection of a server."""

    kind = "azure-devops"
    states = STATES
    hints = _HINTS
    examiner = staticmethod(examine_azure_devops.examine)

    def check_repository(self, repository: str) -> str | None:
        project, slash, name = _short(repository).partition("/")
        if not slash or "/" in name:
            return "an Azure DevOps path is project/repository"
        if not _PROJECT.fullmatch(project) or not _REPOSITORY.fullmatch(name) or project.endswith("."):
            return "an Azure DevOps path has letters, digits, '-', '_' and '.' only; for others use the identifier"
        if name.startswith(".") or name.endswith("."):
            return "an Azure DevOps repository neither begins nor ends with '.'"
        return None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self.repository_url(repository)}/commit/{sha}"

    def repository_url(self, repository: str) -> str | None:
        project, _, name = _short(repository).partition("/")
        return f"{self._url}/{project}/_git/{name}"

    def api(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.hostname == "dev.azure.com" and not parts.path:
            raise ValueError(f"url {url}: the organization is missing, https://dev.azure.com/ORGANIZATION")
        return url

    def login(self, token: str) -> Login:
        basic = Login.basic("", token)
        return Login({**basic.headers, "X-TFS-FedAuthRedirect": "Suppress"}, basic.secrets)

    def post(self, status: CommitStatus) -> Post:
        genre, slash, name = status.context.partition("/")
        context = {"name": distinct(name if slash else genre, CONTEXT_LIMIT, units=utf16)}
        if slash:
            context["genre"] = distinct(genre, CONTEXT_LIMIT, units=utf16)
        body = {
            "state": STATES[status.outcome],
            "context": context,
            "description": cut(status.description, LIMIT, units=utf16),
        }
        if url := usable_url(status.target_url, URL_LIMIT):
            body["targetUrl"] = url
        project, _, repository = _short(status.repository).partition("/")
        path = f"/{project}/_apis/git/repositories/{repository}/commits/{status.sha}/statuses?api-version=7.1"
        return Post(path, body)

    def refusal(self, status: int, message: str, headers: Mapping[str, str]) -> NotifierError:
        return super().refusal(401 if status == _SIGN_IN else status, message, headers)

    def left(self, headers: Mapping[str, str]) -> RateLimit | None:
        pause = retry_after(headers)
        return RateLimit(limit=1, remaining=0, resets_in=pause) if pause else None


def _short(repository: str) -> str:
    """``project/repository`` of a path as it is in clone URLs."""
    return repository.replace("/_git/", "/", 1)
