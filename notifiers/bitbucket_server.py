"""Build statuses on Bitbucket Data Center: ``POST /rest/api/latest/projects/{key}/repos/{slug}/commits/{commit}/builds``.

What it is like (Atlassian's "Updating build status for commits", its OpenAPI description of the builds API, "Improving instance stability with
rate limiting"):

- Needs Data Center 7.14 or later; states are INPROGRESS, SUCCESSFUL, FAILED, CANCELLED, UNKNOWN. ``key``, ``state`` and ``url`` are required;
  without a link of our own ``url`` is the commit's page. The answer is 204 without a body.
- A key shows its latest build; posting one twice is no error. ``ref`` must be fully qualified; a run does not tell branches from tags, so it
  is left out.
- Key and name have at most 255 characters, ``url`` 450 (found by Jenkins' plug-in, its pull request 928); the description is not published, ours 255.
  Java counts an emoji as two of them, and so do we.
- An HTTP access token (``Bearer``) with "Repository read" is enough. What the token may not see is 401 or 404.
- Rate limiting is a bucket per user: 429 with ``Retry-After``; ``X-RateLimit-Remaining`` comes without a reset time, so it is not counted.

A path is PROJECT/repository, ``~user/repository`` for a personal one, or as in clone URLs ``scm/PROJECT/repository``.

No client library: atlassian-python-api 5 knows the older ``build-status/1.0`` only, which is not bound to a repository, and on 429 sleeps in the thread.
"""

from __future__ import annotations

import re
from typing import Final

from notifiers import examine_bitbucket_server
from notifiers.answers import CREATED
from notifiers.base import CommitStatus, Outcome
from notifiers.rest import Login, Post, RestNotifier
from notifiers.text import cut, distinct, usable_url, utf16

LIMIT: Final = 255  # characters of key, name and description
URL_LIMIT: Final = 450
STATES: Final = {
    Outcome.QUEUED: "INPROGRESS",
    Outcome.RUNNING: "INPROGRESS",
    Outcome.SUCCEEDED: "SUCCESSFUL",
    Outcome.FAILED: "FAILED",
    Outcome.TIMED_OUT: "FAILED",
    Outcome.CANCELLED: "CANCELLED",
    Outcome.BROKEN: "FAILED",
    Outcome.DELETED: "CANCELLED",
}
_PROJECT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}|~[A-Za-z0-9_.-]{1,127}")
_SLUG: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_NO_CONTENT: Final = 204
_REACH: Final = "the HTTP access token needs 'Repository read' for this repository"
_HINTS: Final = {
    403: _REACH,
    404: f"the project, the repository or the commit is not on this host, or the token may not see it: {_REACH}",
}


class BitbucketServerNotifier(RestNotifier):
    """Posts build statuses to one Bitbucket Data Center."""

    kind = "bitbucket-server"
    states = STATES
    taken = frozenset({CREATED, _NO_CONTENT})
    hints = _HINTS
    examiner = staticmethod(examine_bitbucket_server.examine)

    def check_repository(self, repository: str) -> str | None:
        project, slash, slug = repository.removeprefix("scm/").partition("/")
        if not slash or "/" in slug:
            return "a Bitbucket path is PROJECT/repository"
        if not _PROJECT.fullmatch(project) or not _SLUG.fullmatch(slug) or slug in (".", ".."):
            return "a Bitbucket project has letters, digits and '_', or '~' and a user; a repository letters, digits, '-', '_' and '.'"
        return "a Bitbucket path does not end in .git" if slug.endswith(".git") else None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self.repository_url(repository)}/commits/{sha}"

    def repository_url(self, repository: str) -> str | None:
        return f"{self._url}{_path(repository)}"

    def api(self, url: str) -> str:
        return f"{url}/rest/api/latest"

    def login(self, token: str) -> Login:
        return Login.with_scheme("Bearer", token)

    def post(self, status: CommitStatus) -> Post:
        link = usable_url(status.target_url, URL_LIMIT)
        body = {
            "key": distinct(status.context, LIMIT, units=utf16),
            "state": STATES[status.outcome],
            "name": cut(status.context, LIMIT, units=utf16),
            "description": cut(status.description, LIMIT, units=utf16),
            "url": link or self.commit_url(status.repository, status.sha),
        }
        return Post(f"{_path(status.repository)}/commits/{status.sha}/builds", body)


def _path(repository: str) -> str:
    project, _, slug = repository.removeprefix("scm/").partition("/")
    return f"/projects/{project}/repos/{slug}"
