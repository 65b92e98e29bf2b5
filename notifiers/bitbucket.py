"""Build statuses on Bitbucket Cloud: ``POST /2.0/repositories/{workspace}/{repo_slug}/commit/{commit}/statuses/build``.

What it is like (Atlassian's REST documentation, "Commit statuses" and "Change notice - Updating commit status permissions"):

- States are INPROGRESS, SUCCESSFUL, FAILED, STOPPED. A key shows its latest status; posting one twice is no error. Only who created a
  status, or an administrator of the repository, may overwrite it: 403 for everybody else.
- ``key`` has at most 40 characters (400 "Ensure this value has at most 40 characters"): a longer context is cut and ends with a hash, so that
  two of them stay two. A status must have a ``url``: without a link of our own it is the commit's page.
- ``name`` up to 255 and ``url`` up to 450 characters is what Jenkins' plug-in found (its pull request 928); for the description nothing is
  published, ours has 255.
- A repository, project or workspace access token (``Bearer``) with the scope ``repository``, in its settings "Repositories: Read", is enough.
  An account's API token is given as ``EMAIL:TOKEN`` (``Basic``).
- Limits are requests in a rolling hour; ``X-RateLimit-Limit`` comes without what remains, so only 429 tells, and ``Retry-After`` where it is sent.

No client library: atlassian-python-api 5 fetches the commit before it posts (two requests), follows redirects, and on 429 sleeps in the thread.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from notifiers import examine_bitbucket
from notifiers.base import CommitStatus, Outcome
from notifiers.rest import Login, Post, RestNotifier
from notifiers.text import cut, distinct, usable_url

KEY_LIMIT: Final = 40
LIMIT: Final = 255  # characters of name, description and refname
URL_LIMIT: Final = 450
STATES: Final = {
    Outcome.QUEUED: "INPROGRESS",
    Outcome.RUNNING: "INPROGRESS",
    Outcome.SUCCEEDED: "SUCCESSFUL",
    Outcome.FAILED: "FAILED",
    Outcome.TIMED_OUT: "FAILED",
    Outcome.CANCELLED: "STOPPED",
    Outcome.BROKEN: "FAILED",
    Outcome.DELETED: "STOPPED",
}
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,62}")
_REACH: Final = "the token needs the scope 'repository' (access token: Repositories, Read) for this repository"
_HINTS: Final = {
    403: f"{_REACH}; a status that another user has created can be changed by him or an administrator only",
    404: f"the repository or the commit is not there, or the token may not see it: {_REACH}",
}
_API: Final = "https://api.bitbucket.org"
_WEB: Final = "https://bitbucket.org"


class BitbucketNotifier(RestNotifier):
    """Posts build statuses to Bitbucket Cloud."""

    kind = "bitbucket"
    states = STATES
    public_url = _WEB
    hints = _HINTS
    examiner = staticmethod(examine_bitbucket.examine)

    def check_repository(self, repository: str) -> str | None:
        segments = repository.split("/")
        if len(segments) != 2:
            return "a Bitbucket path is workspace/repository"
        if any(not _SEGMENT.fullmatch(segment) or segment in (".", "..") for segment in segments):
            return "a Bitbucket path has letters, digits, '-', '_' and '.' only, and 62 characters in a segment"
        return "a Bitbucket path does not end in .git" if repository.endswith(".git") else None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self.repository_url(repository)}/commits/{sha}"

    def repository_url(self, repository: str) -> str | None:
        public = self._api.startswith(f"{_API}/")
        return f"{_WEB if public else self._url}/{repository}"

    def api(self, url: str) -> str:
        public = urlsplit(url).hostname in ("bitbucket.org", "www.bitbucket.org", "api.bitbucket.org")
        return f"{_API if public else url}/2.0"

    def login(self, token: str) -> Login:
        user, colon, secret = token.partition(":")
        return Login.basic(user, secret) if colon else Login.with_scheme("Bearer", token)

    def post(self, status: CommitStatus) -> Post:
        link = usable_url(status.target_url, URL_LIMIT)
        body = {
            "key": distinct(status.context, KEY_LIMIT),
            "state": STATES[status.outcome],
            "name": cut(status.context, LIMIT),
            "description": cut(status.description, LIMIT),
            "url": link or self.commit_url(status.repository, status.sha),
        }
        if status.ref and len(status.ref) <= LIMIT:
            body["refname"] = status.ref
        return Post(f"/repositories/{status.repository}/commit/{status.sha}/statuses/build", body)
