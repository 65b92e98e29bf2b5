"""Deployments on GitHub: ``POST /repos/{owner}/{repo}/deployments`` once per run, then a status of it for each of the run's states.

GitHub's rules (REST documentation, "Deployments" and "Deployment statuses"): a deployment is made of a commit, and without ``auto_merge: false`` and an
empty ``required_contexts`` GitHub would merge into it, or refuse it while a check of the commit is not green, as the run's own is; a status has at
most 140 characters of description; an environment's name has at most 255 and is made on the way. A success makes the earlier successful
deployments to the environment inactive. Which environments count as production is left to GitHub: the one of that name.

There is no state for a cancelled run. It is ``error``, as of a commit status: nobody knows how far the deployment went. ``inactive`` would say that
another one has taken its place, which is said of a deployment whose run was overtaken before it ended, and shows a transient one as destroyed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from github import Consts, GithubException
from github.Requester import Requester

from notifiers.answers import hostname
from notifiers.base import Outcome, PermanentError, Receipt
from notifiers.deployments import Known, known
from notifiers.reports import Deployment
from notifiers.text import cut, one_line, usable_url
from notifiers.unfinished import UnfinishedError

DESCRIPTION_LIMIT: Final = 140
ENVIRONMENT_LIMIT: Final = 255
URL_LIMIT: Final = 2048
STATES: Final = {
    Outcome.QUEUED: "queued",
    Outcome.RUNNING: "in_progress",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failure",
    Outcome.TIMED_OUT: "failure",
    Outcome.CANCELLED: "error",
    Outcome.BROKEN: "error",
    Outcome.DELETED: "error",
}
_REACH: Final = "the token needs 'repo_deployment' (classic) or 'Deployments: write' (fine-grained, GitHub App)"
HINTS: Final[Mapping[int, str]] = {
    403: _REACH,
    404: f"the repository is not on this host, or the token may not write to it: {_REACH}",
    409: "GitHub does not deploy this commit as it is: look at the rules of the repository for this environment",
    422: "is the commit pushed to this repository, and not only to a fork of it?",
}
_PREVIEWS: Final = f"{Consts.deploymentEnhancementsPreview}, {Consts.deploymentStatusEnhancementsPreview}"
_HEADERS: Final = {"Accept": _PREVIEWS}  # as PyGithub asks: old Enterprise servers know queued and in_progress only so
_PAGE: Final = 30  # deployments of one commit to one environment to look through, a few kilobytes each
_GONE: Final = 404


def deliver(requester: Requester, report: Deployment, memo: str | None) -> Receipt:
    """One request; two for the first report of a run, which makes the deployment.

    One more each in three rare cases: where an earlier attempt to make the deployment had no clear answer, it is looked for first; where the deployment
    has been deleted, it is made anew (two more); where the run before this one has been overtaken, its deployment is made inactive.
    """
    environment = _environment(report.environment, host=hostname(requester.base_url))
    place, run, before = f"/repos/{report.repository}/deployments", report.details.uid, known(memo)
    number: int | None = None
    if before is not None and before.run == run:
        if before.number is None:
            number = _find(requester, place, report, environment)
        elif (receipt := _say_if_there(requester, place, before.number, report)) is not None:
            return receipt
    elif before is not None and before.number is not None and not before.finished:
        _overtake(requester, place, before.number)
    if number is None:
        number = _create(requester, place, report, environment)
    try:
        return _say(requester, place, number, report)
    except Exception as error:
        raise UnfinishedError(Known(number, False, run).memo, error) from error


def _environment(name: str, *, host: str) -> str:
    """Raises ``PermanentError`` for what cannot be an environment on GitHub: cut, it would be another one."""
    if not name.strip():
        raise PermanentError(f"{host}: no environment is named")
    if len(name) > ENVIRONMENT_LIMIT:
        raise PermanentError(
            f"{host}: {cut(name, 60)!r} cannot be an environment: it has more than {ENVIRONMENT_LIMIT} characters"
        )
    if one_line(name) != name:
        raise PermanentError(
            f"{host}: {cut(name, 60)!r} cannot be an environment: it has spaces at an end, or control characters"
        )
    return name


def _create(requester: Requester, place: str, report: Deployment, environment: str) -> int:
    run = report.details.uid
    fields: dict[str, Any] = {
        "ref": report.sha,
        "environment": environment,
        "description": cut(report.context, DESCRIPTION_LIMIT),
        "auto_merge": False,
        "required_contexts": [],
        "payload": {"run": run},  # by which it can be found again
    }
    try:
        _, made = requester.requestJsonAndCheck("POST", place, input=fields, headers=_HEADERS)
        number = made["id"]
        if type(number) is not int:
            raise TypeError
    except GithubException as error:
        if error.status < 500 and error.status != 408:
            raise  # refused, so there is none
        raise UnfinishedError(Known(None, False, run).memo, error) from error
    except Exception as error:  # no answer, or one that is none: there may be a deployment
        raise UnfinishedError(Known(None, False, run).memo, error) from error
    return number


def _find(requester: Requester, place: str, report: Deployment, environment: str) -> int | None:
    """This run's deployment, if it is among the newest ones of its commit to its environment."""
    query = {"sha": report.sha, "environment": environment, "per_page": _PAGE}
    _, found = requester.requestJsonAndCheck("GET", place, parameters=query, headers=_HEADERS)
    for entry in found if isinstance(found, list) else ():
        number = entry.get("id") if isinstance(entry, dict) else None
        if type(number) is int and report.details.uid and _run_of(entry.get("payload")) == report.details.uid:
            return number
    return None


def _run_of(payload: object) -> object:
    """The run that a deployment's payload names. Anybody's deployments are among those that are looked through."""
    if isinstance(payload, str):
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError):
            return None
    return payload.get("run") if isinstance(payload, dict) else None


def _say_if_there(requester: Requester, place: str, number: int, report: Deployment) -> Receipt | None:
    """None where the deployment is not there any more."""
    try:
        return _say(requester, place, number, report)
    except GithubException as error:
        if error.status != _GONE:
            raise
    return None


def _say(requester: Requester, place: str, number: int, report: Deployment) -> Receipt:
    fields: dict[str, Any] = {
        "state": STATES[report.outcome],
        "description": cut(report.description, DESCRIPTION_LIMIT),
    }
    if url := usable_url(report.target_url, URL_LIMIT):
        fields["log_url"] = url
    if url := usable_url(report.environment_url, URL_LIMIT):
        fields["environment_url"] = url
    if report.outcome is Outcome.SUCCEEDED:
        fields["auto_inactive"] = True
    _, made = requester.requestJsonAndCheck("POST", f"{place}/{number}/statuses", input=fields, headers=_HEADERS)
    if "state" not in made:
        raise ValueError("that is no deployment status")
    return Receipt(memo=Known(number, report.outcome.final, report.details.uid).memo)


def _overtake(requester: Requester, place: str, number: int) -> None:
    """Nothing more will be said of that one: it must not look as if it went on."""
    fields = {"state": "inactive", "description": "Another run deploys this commit"}
    try:
        requester.requestJsonAndCheck("POST", f"{place}/{number}/statuses", input=fields, headers=_HEADERS)
    except GithubException as error:
        if error.status not in (_GONE, 422):
            raise
