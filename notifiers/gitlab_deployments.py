"""Deployments on GitLab: ``POST /projects/:id/deployments`` once per run, then ``PUT`` for each of the run's later states.

GitLab's rules, some of which its documentation does not say (``lib/api/deployments.rb``, the models ``Deployment`` and ``Environment``): the states
are running, success, failed and canceled, so a queued run is running; a state cannot be entered twice, and running only once, which is
refused with 400 "cannot transition via …" and means success to us; ``ref`` is required and may be whatever names a commit, so the commit's own id
is taken where the run knows no branch, or the branch is gone; an environment is made on the way, and its name has a charset.

A deployment has no text to tell it by. After an attempt to make one that had no clear answer, one that GitLab shows for the same commit and ref, was
made by the API and could be this one, is taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gitlab.exceptions import GitlabError
from gitlab.v4.objects import Project

from notifiers.answers import hostname
from notifiers.base import Outcome, PermanentError, Receipt
from notifiers.deployments import Known, known
from notifiers.gitlab_requests import ONCE
from notifiers.reports import Deployment
from notifiers.text import cut, usable_url
from notifiers.unfinished import UnfinishedError

LIMIT: Final = 255  # characters of an environment's name, its URL and a ref each
STATES: Final = {
    Outcome.QUEUED: "running",
    Outcome.RUNNING: "running",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "failed",
    Outcome.CANCELLED: "canceled",
    Outcome.BROKEN: "failed",
    Outcome.DELETED: "canceled",
}
_REACH: Final = (
    "the token needs the scope 'api' and at least the role Developer on the project,"
    " and a protected environment must allow it to deploy"
)
HINTS: Final[Mapping[int, str]] = {
    400: "is the commit pushed to this project, and not only to a fork of it?",
    403: _REACH,
    404: f"the project is not on this host, has no environments, or the token may not see it: {_REACH}",
}
# Gitlab::Regex.environment_name_regex: as its message says it, and no slash at an end.
_ENVIRONMENT: Final = re.compile(r"[A-Za-z0-9_${}. -](?:[A-Za-z0-9_/${}. -]*[A-Za-z0-9_${}. -])?")
_PAGE: Final = 20  # deployments to one environment to look through, a few kilobytes each
_GONE: Final = 404


def deliver(project: Project, report: Deployment, memo: str | None) -> Receipt:
    """One request. One more each where the branch is gone, where the deployment has been deleted and is made anew, where an earlier attempt to make it had
    no clear answer and it is looked for first, where the run before this one was overtaken and its deployment is cancelled, and where a
    success brings another URL than the environment has."""
    environment = _environment(report.environment, host=hostname(project.manager.gitlab.url))
    state, run, before = STATES[report.outcome], report.details.uid, known(memo)
    if before is not None and before.run == run:
        number = before.number if before.number is not None else _find(project, report, environment, state)
        if number is not None and (receipt := _update(project, number, report, state)) is not None:
            return receipt
    elif before is not None and before.number is not None and not before.finished:
        _overtake(project, before.number)
    made = _create(project, report, environment, state)
    return _show_url(project, made, report, Known(made["id"], report.outcome.final, run).memo)


def _environment(name: str, *, host: str) -> str:
    """Raises ``PermanentError`` for what cannot be an environment on GitLab: changed, it would be another one."""
    if len(name) > LIMIT:
        why = f"it has more than {LIMIT} characters"
    elif not _ENVIRONMENT.fullmatch(name):
        why = "it has letters, digits, spaces, '-', '_', '/', '$', '{', '}' and '.' only, and no '/' at an end"
    elif not name.strip():
        why = "it is empty"
    else:
        return name
    raise PermanentError(f"{host}: {cut(name, 60)!r} cannot be an environment: {why}")


def _create(project: Project, report: Deployment, environment: str, state: str) -> dict[str, Any]:
    """The deployment as GitLab shows it, with its number."""
    fields = {"environment": environment, "sha": report.sha, "ref": _ref(report), "tag": False, "status": state}
    unknown = Known(None, False, report.details.uid).memo
    try:
        try:
            made = project.deployments.create(fields, **ONCE)
        except GitlabError as error:
            if fields["ref"] == report.sha or not _misses_ref(error):
                raise
            made = project.deployments.create({**fields, "ref": report.sha}, **ONCE)
        if type(made.id) is not int:
            raise TypeError
    except GitlabError as error:
        code = error.response_code
        if code is not None and 400 <= code < 500 and code != 408:
            raise  # refused, so there is none
        raise UnfinishedError(unknown, error) from error
    except Exception as error:  # no answer, or one that is none: there may be a deployment
        raise UnfinishedError(unknown, error) from error
    return {"id": made.id, "environment": getattr(made, "environment", None)}


def _ref(report: Deployment) -> str:
    return report.ref if report.ref and len(report.ref) <= LIMIT else report.sha


def _misses_ref(error: GitlabError) -> bool:
    """True where GitLab knows the commit and not the ref: a merged branch, deleted; a branch of a fork."""
    fields: object = error.error_message
    return error.response_code == 400 and isinstance(fields, dict) and set(fields) == {"ref"}


def _find(project: Project, report: Deployment, environment: str, state: str) -> int | None:
    """The deployment that an earlier attempt may have made."""
    found = project.deployments.list(
        environment=environment, order_by="id", sort="desc", per_page=_PAGE, get_all=False, **ONCE
    )
    for entry in found:
        shown = entry.attributes
        ours = shown.get("sha") == report.sha and shown.get("ref") in (_ref(report), report.sha)
        if ours and not shown.get("deployable") and shown.get("status") in ("running", state):
            return int(shown["id"])
    return None


def _update(project: Project, number: int, report: Deployment, state: str) -> Receipt | None:
    """None where the deployment is not there any more."""
    memo = Known(number, report.outcome.final, report.details.uid).memo
    try:
        shown = project.deployments.update(number, {"status": state}, **ONCE)
    except GitlabError as error:
        if error.response_code == 400 and "cannot transition" in str(error.error_message):
            return Receipt(memo=memo, already_there=True)
        if error.response_code != _GONE:
            raise
        return None
    return _show_url(project, shown, report, memo)


def _show_url(project: Project, shown: Mapping[str, Any], report: Deployment, memo: str) -> Receipt:
    """The receipt; after a success the environment leads to where it can be looked at."""
    environment, url = shown.get("environment"), usable_url(report.environment_url, LIMIT)
    if url is None or report.outcome is not Outcome.SUCCEEDED or not isinstance(environment, dict):
        return Receipt(memo=memo)
    number = environment.get("id")
    if type(number) is int and environment.get("external_url") != url:
        try:
            project.environments.update(number, {"external_url": url}, **ONCE)
        except Exception as error:
            raise UnfinishedError(memo, error) from error
    return Receipt(memo=memo)


def _overtake(project: Project, number: int) -> None:
    """Nothing more will be said of that one: it must not look as if it went on."""
    try:
        project.deployments.update(number, {"status": "canceled"}, **ONCE)
    except GitlabError as error:
        if error.response_code not in (400, _GONE):
            raise
