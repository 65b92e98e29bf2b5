"""Commit statuses on GitHub and GitHub Enterprise, through PyGithub: ``POST /repos/{owner}/{repo}/statuses/{sha}``.

GitHub's rules (REST documentation, "Commit statuses" and "Rate limits"): descriptions have at most 140 characters; a commit takes
1,000 statuses per context, then 422; a spent rate limit answers 403 or 429 with ``x-ratelimit-remaining: 0`` and the reset time; the
secondary limit answers 403 or 429 with ``Retry-After`` or a message. PyGithub follows a 301 by itself and sends the request
again, so it is given connections that refuse redirects.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import github
from github import Auth, Consts
from github.GithubObject import NotSet
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester, RequestsResponse

from notifiers.answers import clamp, error_of, hostname, retry_after, trouble_of
from notifiers.base import (
    CommitStatus,
    HostSettings,
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
)
from notifiers.blocking import OneRequestSession, Token, Workers, verify_option
from notifiers.text import cut, is_sha, usable_url

DESCRIPTION_LIMIT: Final = 140
CONTEXT_LIMIT: Final = 255
URL_LIMIT: Final = 2048
SECONDARY_PAUSE: Final = 60.0  # seconds, what GitHub asks for when it names none
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
_OWNER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9_])?")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_HINTS: Final = {
    403: "the token needs 'repo:status' (classic) or 'Commit statuses: write' (fine-grained)",
    404: "the repository is not there, or the token may not write to it ('repo:status' or 'Commit statuses: write')",
}

logging.getLogger("github").setLevel(logging.INFO)
logging.getLogger("urllib3").setLevel(logging.INFO)

_sessions = threading.local()  # by URL: PyGithub makes a connection per request when the classes are injected


class _Connection:
    """What PyGithub sends with: this thread's session to the host, without redirects and without retries."""

    protocol = "https"

    def __init__(self, host: str, port: int | None = None, **options: Any) -> None:
        self.host = host
        self._base = f"{self.protocol}://{host}:{port}" if port else f"{self.protocol}://{host}"
        self._timeout, self._verify = options.get("timeout"), options.get("verify", True)
        self._request: tuple[str, str, Any, dict[str, str]] = ("", "", None, {})

    def request(self, verb: str, url: str, body: Any, headers: dict[str, str], stream: bool = False) -> None:
        self._request = (verb, url, body, headers)

    def getresponse(self) -> RequestsResponse:
        verb, url, body, headers = self._request
        response = session_for(self._base).request(
            verb, self._base + url, data=body, headers=headers, timeout=self._timeout, verify=self._verify
        )
        return RequestsResponse(response)

    def close(self) -> None:
        """The session outlives the request."""


class _Http(_Connection, HTTPRequestsConnectionClass):
    protocol = "http"


class _Https(_Connection, HTTPSRequestsConnectionClass):
    protocol = "https"


def session_for(base: str) -> OneRequestSession:
    """This thread's session to ``base``."""
    known: dict[str, OneRequestSession] = _sessions.__dict__.setdefault("by_base", {})
    if base not in known:
        known[base] = OneRequestSession(base)
    return known[base]


Requester.injectConnectionClasses(_Http, _Https)


class GitHubNotifier(Notifier):
    """Posts commit statuses to GitHub or one GitHub Enterprise server."""

    kind = "github"

    def __init__(self, settings: HostSettings) -> None:
        self._api, self._web = api_and_web(settings.url)
        self._host = hostname(self._api)
        self._timeout, self._verify = settings.request_timeout, verify_option(settings)
        self._token = Token(settings)
        self._workers = Workers(settings, token=self._token, make=self._client)

    def state(self, outcome: Outcome) -> str:
        return STATES[outcome]

    def check_repository(self, repository: str) -> str | None:
        owner, slash, name = repository.partition("/")
        if not slash or "/" in name:
            return "a GitHub path is owner/repository"
        if not _OWNER.fullmatch(owner) or not _REPOSITORY.fullmatch(name) or name in (".", ".."):
            return "a GitHub path has letters, digits, '-', '_' and '.' only"
        return "a GitHub path does not end in .git" if name.endswith(".git") else None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self._web}/{repository}/commit/{sha}"

    async def deliver(self, status: CommitStatus, *, memo: str | None = None) -> Receipt:
        if (why := self.check_repository(status.repository)) is not None:
            raise PermanentError(why)
        if not is_sha(status.sha):
            raise PermanentError("not a commit: 40 or 64 hex digits are needed")
        return await self._workers.call(lambda client: self._deliver(client, status))

    async def close(self) -> None:
        await self._workers.close()

    def _client(self, token: str) -> github.Github:
        return github.Github(
            auth=Auth.Token(token),
            base_url=self._api,
            verify=self._verify,
            timeout=max(1, round(self._timeout)),
            user_agent="tekton-pipeline-listener",
            lazy=True,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
        )

    # From here on: on a worker's thread.

    def _deliver(self, client: github.Github, status: CommitStatus) -> Receipt:
        try:
            commit = client.get_repo(status.repository).get_commit(status.sha)
            commit.create_status(
                state=STATES[status.outcome],
                target_url=usable_url(status.target_url, URL_LIMIT) or NotSet,
                description=cut(status.description, DESCRIPTION_LIMIT),
                context=cut(status.context, CONTEXT_LIMIT),
            )
        except github.GithubException as error:
            raise self._error(error) from None
        except Exception as error:  # whatever the library raises for whatever the host sent
            raise trouble_of(self._host, error) from None
        return Receipt()

    def _error(self, error: github.GithubException) -> NotifierError:
        headers = {str(name).lower(): str(value) for name, value in (error.headers or {}).items()}
        message = _message(error.data)
        if 200 <= error.status < 300:
            return RetryableError(f"{self._host}: its answer could not be understood", status=error.status)
        if error.status in (403, 429) and (pause := rate_limit_pause(headers, message)) is not None:
            return RetryableError(
                f"{self._host}: rate limit, {cut(message, 200)}", retry_after=pause, status=error.status
            )
        if error.status == 401:
            self._token.refused()
        return error_of(self._host, error.status, message, headers, hint=_HINTS.get(error.status, ""))


def rate_limit_pause(headers: Mapping[str, str], message: str, *, now: float | None = None) -> float | None:
    """Seconds until a 403 or 429 that is a rate limit may be tried again; None for one that is not.

    GitHub's documentation, "Exceeding the rate limit": Retry-After first, else the reset time if nothing remains, else a minute.
    """
    if (asked := retry_after(headers, now=now)) is not None:
        return asked
    if headers.get("x-ratelimit-remaining") == "0":
        try:
            return clamp(float(headers["x-ratelimit-reset"]) - (time.time() if now is None else now) + 1)
        except (KeyError, ValueError):
            return SECONDARY_PAUSE
    return SECONDARY_PAUSE if "rate limit" in message.lower() or "abuse" in message.lower() else None


def api_and_web(url: str | None) -> tuple[str, str]:
    """The API's base URL and the pages' base URL for what a configuration says; Enterprise has its API below ``/api/v3``."""
    if url is None or urlsplit(url).hostname in ("github.com", "www.github.com", "api.github.com"):
        return Consts.DEFAULT_BASE_URL, "https://github.com"
    base = url.rstrip("/")
    if base.endswith("/api/v3"):
        return base, base.removesuffix("/api/v3")
    if (urlsplit(base).hostname or "").startswith("api."):  # GitHub Enterprise Cloud with data residency
        return base, base.replace("://api.", "://", 1)
    return f"{base}/api/v3", base


def _message(data: object) -> str:
    """GitHub's ``message`` with its ``errors``, or whatever text came instead."""
    if not isinstance(data, dict):
        return cut(str(data or ""), 300)
    details = [
        str(entry.get("message") or entry.get("code") or "") if isinstance(entry, dict) else str(entry)
        for entry in data.get("errors") or ()
    ]
    return ": ".join(text for text in (str(data.get("message") or ""), "; ".join(filter(None, details))) if text)
