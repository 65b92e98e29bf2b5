"""Commit statuses on GitLab, through python-gitlab: ``POST /projects/:id/statuses/:sha``.

Rules that GitLab has and its documentation mostly does not say (they are in its ``Ci::CreateCommitStatusService``): posting
the state that is there already is refused with 400 "Cannot transition status via …", which is success to us; fields longer
than 255 characters make it reject the whole status; a status without ``pipeline_id`` may land in another pipeline than the one
before it, so the first answer's id is kept as memo and sent with every later status of the same commit and name.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from typing import Any, Final

import gitlab
import gitlab.exceptions
from gitlab.v4.objects import Project

from notifiers.answers import error_of, hostname, trouble_of
from notifiers.base import (
    CommitStatus,
    HostSettings,
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    Receipt,
)
from notifiers.blocking import OneRequestSession, Token, Workers, verify_option
from notifiers.text import cut, is_sha, usable_url

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
_MAX_PROJECTS: Final = 256  # kept per thread
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TRANSITION: Final = re.compile(r"Cannot transition status via :\w+ from :(\w+)")
_FINAL: Final = frozenset({"success", "failed", "canceled", "skipped"})
_HINTS: Final = {
    403: "the token needs the scope 'api' and the role Developer in the project",
    404: "the project or the commit is not there, or the token may not see it (scope 'api', role Developer)",
}

# Both would print requests at DEBUG.
logging.getLogger("gitlab").setLevel(logging.INFO)
logging.getLogger("urllib3").setLevel(logging.INFO)


class GitLabNotifier(Notifier):
    """Posts commit statuses to one GitLab."""

    kind = "gitlab"

    def __init__(self, settings: HostSettings) -> None:
        self._url = (settings.url or "https://gitlab.com").rstrip("/")
        self._host = hostname(self._url)
        self._timeout, self._verify = settings.request_timeout, verify_option(settings)
        self._token = Token(settings)
        self._workers = Workers(settings, token=self._token, make=self._client)

    def state(self, outcome: Outcome) -> str:
        return STATES[outcome]

    def check_repository(self, repository: str) -> str | None:
        segments = repository.split("/")
        if len(segments) < 2:
            return "a GitLab path has a group and a project: group/project"
        if len(repository) > 1024 or not all(_SEGMENT.fullmatch(segment) for segment in segments):
            return "a GitLab path has letters, digits, '_', '-' and '.' only, and no segment begins with '.' or '-'"
        if segments[-1].endswith((".git", ".atom")):
            return "a GitLab path does not end in .git or .atom"
        return None

    def commit_url(self, repository: str, sha: str) -> str | None:
        return f"{self._url}/{repository}/-/commit/{sha}"

    async def deliver(self, status: CommitStatus, *, memo: str | None = None) -> Receipt:
        if (why := self.check_repository(status.repository)) is not None:
            raise PermanentError(why)
        if not is_sha(status.sha):
            raise PermanentError("not a commit: 40 or 64 hex digits are needed")
        return await self._workers.call(lambda client: self._deliver(client, status, memo))

    async def close(self) -> None:
        await self._workers.close()

    def _client(self, token: str) -> _Client:
        return _Client(
            self._url,
            private_token=token,
            ssl_verify=self._verify,
            timeout=self._timeout,
            session=OneRequestSession(self._url),
            user_agent="tekton-pipeline-listener",
            keep_base_url=True,
        )

    # From here on: on a worker's thread.

    def _deliver(self, client: _Client, status: CommitStatus, memo: str | None) -> Receipt:
        fields = _fields(status)
        if memo is not None and memo.isdecimal():
            try:
                return self._post(client, status, {**fields, "pipeline_id": int(memo)})
            except PermanentError as error:
                if "pipeline_id" not in str(error):
                    raise
        return self._post(client, status, fields)

    def _post(self, client: _Client, status: CommitStatus, fields: dict[str, Any]) -> Receipt:
        try:
            commit = client.project(status.repository).commits.get(status.sha, lazy=True)
            answer = commit.statuses.create(fields, obey_rate_limit=False, max_retries=0, retry_transient_errors=False)
            pipeline = answer.attributes.get("pipeline_id")
        except gitlab.exceptions.GitlabError as error:
            return self._refused(client, error, fields["state"])
        except Exception as error:  # whatever the library raises for whatever the host sent
            raise trouble_of(self._host, error) from None
        return Receipt(memo=str(pipeline) if isinstance(pipeline, int) else None)

    def _refused(self, client: _Client, error: gitlab.exceptions.GitlabError, wanted: str) -> Receipt:
        """GitLab said no: a receipt if it says that the state is there already, else the error to raise."""
        status = error.response_code or 0
        message = _text(error.error_message)
        if status == 400 and (found := _TRANSITION.search(message)) and _is_there(wanted, found[1]):
            return Receipt(already_there=True)
        session = client.session
        headers = session.last_headers if isinstance(session, OneRequestSession) else {}
        if not status or 200 <= status < 300:
            raise trouble_of(self._host, error) from None
        raised: NotifierError = error_of(self._host, status, message, headers, hint=_HINTS.get(status, ""))
        if status == 401:
            self._token.refused()
        raise raised from None


class _Client(gitlab.Gitlab):
    """python-gitlab's client that keeps its lazy projects: making one costs as much as the request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._projects: OrderedDict[str, Project] = OrderedDict()

    def project(self, path: str) -> Project:
        """The project at ``path``, without asking for it."""
        if path not in self._projects:
            self._projects[path] = self.projects.get(path, lazy=True)
            if len(self._projects) > _MAX_PROJECTS:
                self._projects.popitem(last=False)
        return self._projects[path]


def _is_there(wanted: str, current: str) -> bool:
    """True when the host shows ``wanted`` or is further along than a state that is not final."""
    return wanted == current or (wanted in ("pending", "running") and current in {"running", *_FINAL})


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


def _text(message: object) -> str:
    """GitLab's messages are text, bytes of a page, or lists of texts by field."""
    if isinstance(message, bytes):
        return message[:1000].decode("utf-8", "replace")
    if isinstance(message, dict):
        return "; ".join(f"{key} {', '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in message.items())
    return str(message)
