"""Commit statuses on GitHub and GitHub Enterprise, through PyGithub: ``POST /repos/{owner}/{repo}/statuses/{sha}``.

GitHub's rules (REST documentation, "Commit statuses" and "Rate limits"): descriptions have at most 140 characters; a commit takes
1,000 statuses per context, then 422; a spent rate limit answers 403 or 429 with ``x-ratelimit-remaining: 0`` and the reset time; the
secondary limit answers 403 or 429 with ``Retry-After`` or a message. PyGithub follows a 301 by itself and sends the request
again, so it is given connections that refuse redirects.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import github
from github import Auth, Consts
from github.GithubObject import NotSet
from github.Repository import Repository
from github.Requester import HTTPRequestsConnectionClass, Requester, RequestsResponse

from notifiers import examine_github, github_checks, github_comments, github_deployments, github_labels
from notifiers.answers import (
    CREATED,
    check_place,
    clamp,
    error_of,
    host_time,
    hostname,
    rate_limit,
    retry_after,
    said,
    trouble_of,
)
from notifiers.base import (
    STATUSES,
    CommitStatus,
    Finding,
    HostSettings,
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
    UnauthorizedError,
    for_ever,
)
from notifiers.blocking import Workers
from notifiers.credentials import Token
from notifiers.examine import Answer, ask
from notifiers.github_app import Installations
from notifiers.reports import CheckRun, Comment, Deployment, Labels
from notifiers.session import OneRequestSession, base_url, verify_option
from notifiers.text import cut, usable_url
from notifiers.unfinished import Unfinished

DESCRIPTION_LIMIT: Final = 140
CONTEXT_LIMIT: Final = 255
URL_LIMIT: Final = 2048
WRITE_INTERVAL: Final = (
    1.0  # seconds; GitHub's "Best practices for using the REST API", "Pause between mutative requests"
)
SECONDARY_PAUSE: Final = 60.0  # seconds, what GitHub asks for when it names none
_ACCEPTED: Final = 202
_UNKNOWN_COMMIT: Final = "no commit found"
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
_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_REACH: Final = "the token needs 'repo:status' (classic) or 'Commit statuses: write' (fine-grained, GitHub App)"
_HINTS: Final = {
    403: _REACH,
    404: f"the repository is not on this host, or the token may not write to it: {_REACH}",
    422: "is the commit pushed to this repository, and not only to a fork of it?",
}


@dataclass(frozen=True, slots=True)
class _Way:
    """How a report that is more than a status is said: its ``deliver`` takes PyGithub's requester, the report and the lane's memo, on a worker's
    thread; it makes the requests that its docstring names and may raise whatever PyGithub does. ``hints``: what to do about a refusal, by status."""

    deliver: Callable[[Requester, Any, str | None], Receipt]
    hints: Mapping[int, str]
    states: Mapping[Outcome, str] | None = None  #: the host's words for it, where it has some
    permissions: tuple[str, ...] = field(
        kw_only=True
    )  #: what the token of an App must be able to write, in GitHub's API's words


_WAYS: Final[Mapping[type[CommitStatus], _Way]] = {
    CheckRun: _Way(
        github_checks.deliver, github_checks.HINTS, github_checks.STATES, permissions=github_checks.PERMISSIONS
    ),
    Comment: _Way(github_comments.deliver, github_comments.HINTS, permissions=("pull_requests",)),
    Labels: _Way(github_labels.deliver, github_labels.HINTS, permissions=("pull_requests",)),
    Deployment: _Way(
        github_deployments.deliver, github_deployments.HINTS, github_deployments.STATES, permissions=("deployments",)
    ),
}


class _Connection(HTTPRequestsConnectionClass):
    """What PyGithub sends with: our session. Its own ones would be sessions with retries, ``.netrc`` and redirects."""

    def __init__(self, session: OneRequestSession, base: str) -> None:
        self.session, self.host, self._base = session, hostname(base), base

    def getresponse(self) -> RequestsResponse:
        response = self.session.request(
            self.verb, self._base + self.url, data=self.input, headers=self.headers, verify=self.session.verify
        )
        if self.verb == "GET" and response.status_code == _ACCEPTED:
            raise ValueError("not there yet: PyGithub would sleep on this thread and ask again, as long as it takes")
        return RequestsResponse(response)

    def close(self) -> None:
        """The session outlives the client."""


class _OneRequestRequester(Requester):
    """PyGithub's requester with our connection. ``injectConnectionClasses`` would change it for everybody in the process."""

    def __init__(self, connection: _Connection, **options: Any) -> None:
        super().__init__(**options)
        self._through = connection

    def requestJson(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - PyGithub's name
        if len(args) > 5:
            args = args[:5]  # the sixth is a connection
        return super().requestJson(*args, **{**kwargs, "cnx": self._through})


# PyGithub's own logger would print answers at DEBUG, and an answer may repeat the token. For this class only:
_OneRequestRequester.injectLogger(logging.Logger("github.requests", logging.INFO))


class GitHubNotifier(Notifier):
    """Posts commit statuses to GitHub or one GitHub Enterprise server."""

    kind = "github"
    reports = frozenset({CommitStatus, *_WAYS})

    def __init__(self, settings: HostSettings) -> None:
        self._api, self._web = api_and_web(base_url(settings, Consts.DEFAULT_BASE_URL))
        self._host = hostname(self._api)
        self._timeout, self._verify = settings.request_timeout, verify_option(settings)
        given = settings.seconds_between_writes
        self.write_interval = WRITE_INTERVAL if given is None else given
        self._token = Token(settings) if settings.app_id is None and settings.private_key_file is None else None
        self._app = None if self._token is not None else Installations(settings, api=self._api, refusal=refusal)
        credentials = self._token or self._app or Token(settings)
        self._unfinished = Unfinished()
        self._workers = Workers(settings, url=self._api, token=credentials, make=self._client)

    def state(self, outcome: Outcome) -> str:
        return STATES[outcome]

    def word(self, report: type[CommitStatus], outcome: Outcome) -> str:
        way = _WAYS.get(report)
        return way.states[outcome] if way is not None and way.states is not None else super().word(report, outcome)

    def check_repository(self, repository: str) -> str | None:
        owner, slash, name = repository.partition("/")
        if not slash or "/" in name:
            return "a GitHub path is owner/repository"
        if not _OWNER.fullmatch(owner) or not _REPOSITORY.fullmatch(name) or name in (".", ".."):
            return "a GitHub path has letters, digits, '-', '_' and '.' only"
        return "a GitHub path does not end in .git" if name.endswith(".git") else None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self._web}/{repository}/commit/{sha}"

    def repository_url(self, repository: str) -> str | None:
        return f"{self._web}/{repository}"

    def account(self, repository: str) -> str:
        if self._token is None:  # each installation of an App has limits of its own
            return f"{self._api} installation of {repository.partition('/')[0].lower()}"
        return f"{self._api} {self._token.fingerprint()}"

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        check_place(status, why_not=self.check_repository(status.repository), host=self._host)
        way = _WAYS.get(type(status))
        receipt = await self._workers.call(
            lambda requester, session: (
                self._deliver(requester, session, status)
                if way is None
                else self._by(way, requester, session, status, memo)
            ),
            repository=status.repository,
            permissions=() if way is None else way.permissions,
            until=until,
        )
        self._unfinished.forget(status)
        return receipt

    async def examine(
        self, repositories: Sequence[str], *, reports: frozenset[type[CommitStatus]] = STATUSES
    ) -> Sequence[Finding]:
        if self._app is None:
            return await examine_github.examine(self._host, self._get, repositories, reports=reports)
        needed = {"statuses"} if CommitStatus in reports else set()
        needed.update(name for report in reports & _WAYS.keys() for name in _WAYS[report].permissions)
        return await examine_github.examine_app(self._host, self._app.itself, self._get, repositories, needed=needed)

    async def close(self) -> None:
        await self._workers.close()

    async def _get(self, path: str, repository: str = "") -> Answer:
        return await self._workers.call(
            lambda requester, session: self._look(requester, session, path), repository=repository
        )

    # From here on: on a worker's thread.

    def _client(self, token: str, session: OneRequestSession) -> _OneRequestRequester:
        session.verify = self._verify
        client = github.Github(
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
        scheme, netloc, *_ = urlsplit(self._api)
        return _OneRequestRequester(_Connection(session, f"{scheme}://{netloc}"), **client.requester.kwargs)

    def _look(self, requester: _OneRequestRequester, session: OneRequestSession, path: str) -> Answer:
        auth = requester.auth
        headers = {"Authorization": f"{auth.token_type} {auth.token}"} if auth is not None else {}
        answer = ask(session, self._api + path, headers=headers, verify=self._verify, host=self._host)
        if rate_limit_pause(answer.status, answer.headers, "") is not None and answer.status == 403:
            raise refusal(self._host, answer.status, "", answer.headers)
        return answer

    def _deliver(self, requester: _OneRequestRequester, session: OneRequestSession, status: CommitStatus) -> Receipt:
        session.forget_answer()
        try:
            commit = Repository(requester, url=f"/repos/{status.repository}").get_commit(status.sha)
            made = commit.create_status(
                state=STATES[status.outcome],
                target_url=usable_url(status.target_url, URL_LIMIT) or NotSet,
                description=cut(status.description, DESCRIPTION_LIMIT),
                context=cut(status.context, CONTEXT_LIMIT),
            )
            understood = "state" in made.raw_data  # PyGithub makes a status of any text with 2xx
        except Exception as error:  # whatever the library raises for whatever the host sent
            return self._failed(error, session)
        if not understood and session.answer is not None and session.answer.status_code != CREATED:
            raise error_of(self._host, session.answer.status_code, session.answer.text, session.answer.headers)
        return Receipt(rate_limit=rate_limit(session.answer.headers) if session.answer is not None else None)

    def _by(
        self, way: _Way, requester: Requester, session: OneRequestSession, report: CommitStatus, memo: str | None
    ) -> Receipt:
        """A report that is more than a status, said by the file that knows how."""
        return self._unfinished.carried(
            report,
            memo,
            session,
            lambda known: way.deliver(requester, report, known),
            error_of=lambda error: self._error(error, session, way.hints),
        )

    def _failed(self, error: Exception, session: OneRequestSession) -> Receipt:
        """A receipt if the status was created all the same, else raises what the answer means."""
        if session.answer is not None and session.answer.status_code == CREATED:
            return Receipt()
        raise self._error(error, session, _HINTS) from None

    def _error(self, error: Exception, session: OneRequestSession, hints: Mapping[int, str]) -> NotifierError:
        answer = session.answer
        if answer is None or not isinstance(error, github.GithubException):
            hint = hints.get(answer.status_code, "") if answer is not None else ""
            return trouble_of(self._host, error, session, hint=hint)
        if answer.status_code == 401 and self._token is None:
            what = f"{self._host} answered 401: {said(message_of(error.data))}"
            advice = "the token of the App's installation is refused, and so is a new one"
            return UnauthorizedError(f"{what}; {advice}", status=401)
        return refusal(self._host, answer.status_code, message_of(error.data), answer.headers, hints=hints)


def refusal(
    host: str,
    status: int,
    message: str,
    headers: Mapping[str, str],
    *,
    now: float | None = None,
    hints: Mapping[int, str] = _HINTS,
) -> NotifierError:
    """The error for GitHub's answer: like everybody's, but that its rate limits come as 403 too. ``hints``: what to do, by status."""
    if status in (403, 429) and (pause := rate_limit_pause(status, headers, message, now=now)) is not None:
        text = f"{host} answered {status}: {said(message) or 'rate limit'}; asked to wait {pause:.0f} s"
        return RetryableError(text, retry_after=pause, status=status)
    error = error_of(host, status, message, headers, hint=hints.get(status, ""))
    # As 404, which is what other hosts say of an unknown commit: a service's fallback repository is then tried.
    return PermanentError(str(error), status=404) if status == 422 and _UNKNOWN_COMMIT in message.lower() else error


def rate_limit_pause(
    status: int, headers: Mapping[str, str], message: str, *, now: float | None = None
) -> float | None:
    """Seconds until a 403 or 429 that is a rate limit may be tried again; None for a 403 that is not one.

    GitHub's documentation, "Exceeding the rate limit": Retry-After first, else the reset time if nothing remains, else a minute.
    """
    if (asked := retry_after(headers, now=now)) is not None:
        return asked
    if headers.get("x-ratelimit-remaining", "").strip() == "0":
        try:
            return clamp(float(headers["x-ratelimit-reset"]) - host_time(headers, now=now) + 1)
        except (KeyError, ValueError):
            return SECONDARY_PAUSE
    text = message.lower()
    return SECONDARY_PAUSE if status == 429 or "rate limit" in text or "abuse detection" in text else None


def api_and_web(url: str) -> tuple[str, str]:
    """The API's base URL and the pages' base URL for what a configuration says.

    A URL without a path that is not GitHub's own is an Enterprise server, with its API below ``/api/v3``; a path is taken as it is.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("github.com", "www.github.com", "api.github.com"):
        return Consts.DEFAULT_BASE_URL, "https://github.com"
    if host.endswith(".ghe.com"):  # Enterprise Cloud with data residency
        tenant = host.removeprefix("api.")
        return f"{parts.scheme}://api.{tenant}", f"{parts.scheme}://{tenant}"
    return (url, url.removesuffix("/api/v3")) if parts.path else (f"{url}/api/v3", url)


def message_of(data: object) -> str:
    """GitHub's ``message`` with its ``errors``, or whatever text came instead."""
    if not isinstance(data, dict):
        return str(data or "")
    if set(data) == {"data"}:  # PyGithub's wrapping of what is not JSON
        return str(data["data"])
    errors = data.get("errors")
    details = [
        str(entry.get("message") or entry.get("code") or "") if isinstance(entry, dict) else str(entry)
        for entry in (errors if isinstance(errors, list) else [errors] if errors else [])
    ]
    return ": ".join(text for text in (str(data.get("message") or ""), "; ".join(filter(None, details))) if text)
