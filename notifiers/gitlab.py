"""Commit statuses on GitLab, through python-gitlab: ``POST /projects/:id/statuses/:sha``.

Rules that GitLab has and its documentation mostly does not say (they are in its ``Ci::CreateCommitStatusService``): posting
the state that is there already is refused with 400 "Cannot transition status via …", which is success to us; fields longer
than 255 characters make it reject the whole status; a status without ``pipeline_id`` may land in another pipeline than the one
before it, so the first answer's id is kept as memo and sent with every later status of the same commit and name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gitlab
import gitlab.exceptions
from gitlab.v4.objects import Project

from notifiers import examine_gitlab, gitlab_comments, gitlab_deployments, gitlab_labels
from notifiers.answers import CREATED, check_place, error_of, hostname, rate_limit, trouble_of
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
    for_ever,
)
from notifiers.blocking import Workers
from notifiers.credentials import Token
from notifiers.examine import Answer, ask
from notifiers.reports import Comment, Deployment, Labels
from notifiers.session import OneRequestSession, base_url, verify_option
from notifiers.text import cut, usable_url
from notifiers.unfinished import Unfinished

LIMIT: Final = 255  # characters of description, target_url, ref and name each
STATES: Final = {
    Outcome.QUEUED: "pending",
    Outcome.RUNNING: "running",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "failed",
    Outcome.CANCELLED: "canceled",
    Outcome.BROKEN: "failed",
    Outcome.DELETED: "canceled",
}
# Gitlab::PathRegex: a segment begins with a letter, a digit, '_' or '.', and ends with neither .git nor .atom.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}")
_TRANSITION: Final = re.compile(r"Cannot transition status via :\w+ from :(\w+)")
_FURTHER: Final = frozenset({"running", "success", "failed", "canceled", "canceling", "skipped"})
_REACH: Final = "the token needs the scope 'api' and at least the role Developer on the project"
_HINTS: Final = {
    403: _REACH,
    404: f"the project or the commit is not on this host, or the token may not see it: {_REACH}",
}
_PROJECTS: Final = 32  # lazy projects kept per client: python-gitlab spends half a millisecond on making one


@dataclass(frozen=True, slots=True)
class _Way:
    """How a report that is more than a status is said: its ``deliver`` takes a lazy project, the report and the lane's memo, on a worker's
    thread; it makes the requests that its docstring names and may raise whatever python-gitlab does. ``hints``: what to do about a refusal."""

    deliver: Callable[[Project, Any, str | None], Receipt]
    hints: Mapping[int, str]
    states: Mapping[Outcome, str] | None = None  #: the host's words for it, where it has some


_WAYS: Final[Mapping[type[CommitStatus], _Way]] = {
    Comment: _Way(gitlab_comments.deliver, gitlab_comments.HINTS),
    Labels: _Way(gitlab_labels.deliver, gitlab_labels.HINTS),
    Deployment: _Way(gitlab_deployments.deliver, gitlab_deployments.HINTS, gitlab_deployments.STATES),
}
_ProjectOf = Callable[[str], Project]  # a path's lazy project, for which python-gitlab makes no request


class GitLabNotifier(Notifier):
    """Posts commit statuses to one GitLab."""

    kind = "gitlab"
    reports = frozenset({CommitStatus, *_WAYS})

    def __init__(self, settings: HostSettings) -> None:
        self._url = base_url(settings, "https://gitlab.com")
        self._host = hostname(self._url)
        self._timeout, self._verify = settings.request_timeout, verify_option(settings)
        self.write_interval = settings.seconds_between_writes or 0.0
        self._token = Token(settings)
        self._unfinished = Unfinished()
        self._workers = Workers(settings, url=self._url, token=self._token, make=self._client)

    def state(self, outcome: Outcome) -> str:
        return STATES[outcome]

    def word(self, report: type[CommitStatus], outcome: Outcome) -> str:
        way = _WAYS.get(report)
        return way.states[outcome] if way is not None and way.states is not None else super().word(report, outcome)

    def check_repository(self, repository: str) -> str | None:
        segments = repository.split("/")
        if len(segments) < 2:
            return "a GitLab path has a group and a project: group/project"
        if len(repository) > 1024 or not all(_SEGMENT.fullmatch(segment) for segment in segments):
            return (
                "a GitLab path has letters, digits, '_', '-' and '.' only, and no segment is empty or begins with '-'"
            )
        if any(segment in (".", "..") for segment in segments):
            return "a GitLab path has no segment '.' or '..'"
        if any(segment.endswith((".git", ".atom")) for segment in segments):
            return "no segment of a GitLab path ends in .git or .atom"
        return None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self._url}/{repository}/-/commit/{sha}"

    def repository_url(self, repository: str) -> str | None:
        return f"{self._url}/{repository}"

    def account(self, repository: str) -> str:
        return f"{self._url} {self._token.fingerprint()}"

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        check_place(status, why_not=self.check_repository(status.repository), host=self._host, what="project")
        way = _WAYS.get(type(status))
        receipt = await self._workers.call(
            lambda project_of, session: (
                self._deliver(project_of, session, status, memo)
                if way is None
                else self._by(way, project_of, session, status, memo)
            ),
            until=until,
        )
        self._unfinished.forget(status)
        return receipt

    async def examine(
        self, repositories: Sequence[str], *, reports: frozenset[type[CommitStatus]] = STATUSES
    ) -> Sequence[Finding]:
        return await examine_gitlab.examine(self._host, self._get, repositories)

    async def close(self) -> None:
        await self._workers.close()

    async def _get(self, path: str, repository: str = "") -> Answer:
        def look(_: _ProjectOf, session: OneRequestSession) -> Answer:
            headers = {"PRIVATE-TOKEN": self._token.current()[0]}
            session.hide(*headers.values())
            url = f"{self._url}/api/v4{path}"
            return ask(session, url, headers=headers, verify=self._verify, host=self._host)

        return await self._workers.call(look, repository=repository)

    # From here on: on a worker's thread.

    def _client(self, token: str, session: OneRequestSession) -> _ProjectOf:
        client = gitlab.Gitlab(
            self._url,
            private_token=token,
            ssl_verify=self._verify,
            timeout=self._timeout,
            session=session,
            user_agent="tekton-pipeline-listener",
            keep_base_url=True,
        )
        return functools.lru_cache(_PROJECTS)(functools.partial(client.projects.get, lazy=True))

    def _deliver(
        self, project_of: _ProjectOf, session: OneRequestSession, status: CommitStatus, memo: str | None
    ) -> Receipt:
        fields = _fields(status)
        if (pipeline := _pipeline_id(memo)) is not None:
            try:
                return self._post(project_of, session, status, {**fields, "pipeline_id": pipeline})
            except PermanentError as error:
                if error.status not in (400, 404) or "pipeline_id" not in str(error):
                    raise
        return self._post(project_of, session, status, fields)

    def _post(
        self, project_of: _ProjectOf, session: OneRequestSession, status: CommitStatus, fields: dict[str, Any]
    ) -> Receipt:
        session.forget_answer()
        try:
            commit = project_of(status.repository).commits.get(status.sha, lazy=True)
            made = commit.statuses.create(fields, obey_rate_limit=False, max_retries=0, retry_transient_errors=False)
        except Exception as error:  # whatever the library raises for whatever the host sent
            return self._failed(error, session, wanted=fields["state"])
        pipeline = getattr(made, "pipeline_id", None)  # .attributes would copy everything, deeply
        left = rate_limit(session.answer.headers) if session.answer is not None else None
        return Receipt(memo=str(pipeline) if type(pipeline) is int else None, rate_limit=left)

    def _by(
        self, way: _Way, project_of: _ProjectOf, session: OneRequestSession, report: CommitStatus, memo: str | None
    ) -> Receipt:
        """A report that is more than a status, said by the file that knows how."""
        return self._unfinished.carried(
            report,
            memo,
            session,
            lambda known: way.deliver(project_of(report.repository), report, known),
            error_of=lambda error: self._error(error, session, way.hints),
        )

    def _failed(self, error: Exception, session: OneRequestSession, *, wanted: str) -> Receipt:
        """A receipt if the host shows ``wanted`` all the same, else raises what the answer means."""
        status = session.answer.status_code if session.answer is not None else 0
        if status == CREATED:
            return Receipt()
        if status == 400 and (found := _TRANSITION.search(_message(error))) and _is_there(wanted, found[1]):
            return Receipt(already_there=True)
        raise self._error(error, session, _HINTS) from None

    def _error(self, error: Exception, session: OneRequestSession, hints: Mapping[int, str]) -> NotifierError:
        status = session.answer.status_code if session.answer is not None else 0
        refused = isinstance(error, gitlab.exceptions.GitlabError) and error.response_code == status
        if session.answer is None or not refused:
            return trouble_of(self._host, error, session, hint=hints.get(status, ""))
        message = _message(error)
        if status == 409 and "lock" in message.lower():  # "Resource lock": two requests at once, GitLab asks to repeat
            return RetryableError(f"{self._host} answered 409: {cut(message, 200)}", status=status)
        return error_of(self._host, status, message, session.answer.headers, hint=hints.get(status, ""))


def _is_there(wanted: str, current: str) -> bool:
    """True when the host shows ``wanted`` or is further along than a state that is not final."""
    return wanted == current or (wanted in ("pending", "running") and current in _FURTHER)


def _pipeline_id(memo: str | None) -> int | None:
    """The pipeline that a memo names. It comes from an annotation that others can write, so it may be anything."""
    return int(memo) if memo and memo.isascii() and memo.isdecimal() and len(memo) < 19 else None


def _fields(status: CommitStatus) -> dict[str, Any]:
    fields = {
        "state": STATES[status.outcome],
        "name": cut(status.context, LIMIT),
        "description": cut(status.description, LIMIT),
    }
    if url := usable_url(status.target_url, LIMIT):
        fields["target_url"] = url
    if status.ref and len(status.ref) <= LIMIT:
        fields["ref"] = status.ref
    return fields


def _message(error: Exception) -> str:
    return _text(getattr(error, "error_message", "")) if isinstance(error, gitlab.exceptions.GitlabError) else ""


def _text(message: object) -> str:
    """GitLab's messages are text, pages in bytes, or lists of texts by field."""
    if isinstance(message, bytes):
        return message.decode("utf-8", "replace")
    if isinstance(message, dict):
        return "; ".join(f"{field} {_text(texts)}" for field, texts in message.items())
    if isinstance(message, list):
        return ", ".join(map(str, message))
    return str(message)
