"""Check runs on GitHub, for GitHub Apps: ``POST /repos/{owner}/{repo}/check-runs`` once per run, then ``PATCH …/check-runs/{id}``.

GitHub's rules (REST documentation, "Check runs", and what its answers say): only the App that created a check run may change it; of two with one name GitHub
shows the younger; a summary has at most 65,535 bytes of UTF-8, which the documentation calls characters; a request takes at most 50
annotations and adds them to those that are there; lines and columns begin at 1, a column needs both its ends, and one bad annotation
makes GitHub refuse the request. So annotations come with the final state only, and never keep it from arriving.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from github import GithubException
from github.Requester import Requester

from notifiers.base import Outcome, Receipt
from notifiers.compiler_lines import Level, Remark, remarks
from notifiers.markdown import cut_bytes, cut_markdown, utf8
from notifiers.reports import CheckRun
from notifiers.text import cut, distinct, usable_url

NAME_LIMIT: Final = 255
TITLE_LIMIT: Final = 255
URL_LIMIT: Final = 2048
SUMMARY_LIMIT: Final = 65_535  # bytes
MESSAGE_LIMIT: Final = 65_535  # bytes, "64 KB"
MOST_ANNOTATIONS: Final = 50
ALL_MESSAGES: Final = 4 * MESSAGE_LIMIT  # bytes; what one request may be long is not documented
PERMISSIONS: Final = ("checks",)
STATES: Final = {
    Outcome.QUEUED: "queued",
    Outcome.RUNNING: "in_progress",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failure",
    Outcome.TIMED_OUT: "timed_out",
    Outcome.CANCELLED: "cancelled",
    Outcome.BROKEN: "failure",
    Outcome.DELETED: "cancelled",
}
_REACH: Final = "give the host app_id and private_key_file of an App with the permission 'Checks: write', installed for this repository"
HINTS: Final[Mapping[int, str]] = {
    403: f"only a GitHub App may write check runs, no token can: {_REACH}, or report commit statuses",
    404: f"the repository is not on this host, or the App may not write to it: {_REACH}",
    422: "is the commit pushed to this repository, and not only to a fork of it?",
}
_LEVELS: Final = {Level.ERROR: "failure", Level.WARNING: "warning", Level.NOTE: "notice"}
_MEMO: Final = re.compile(r"([1-9][0-9]{0,18}) (.{0,100})")
_CUT: Final = "_Cut here: GitHub takes no more._"
_CREATED: Final = 201
_STRANGER: Final = "github app that created it"  # 403: the check run is another App's
_YEARS: Final = range(1970, 10_000)  # Kubernetes' zero time is in the year 1


def deliver(requester: Requester, report: CheckRun, memo: str | None) -> Receipt:
    """One request. One more when the check run to be changed is not there any more, or is another App's, or of another commit: a new one is made; and one
    more when GitHub does not want the annotations: then it is said without them.

    The memo is the check run's id and the run's uid: another run on the same commit gets a check run of its own. After a lost answer to a ``POST``
    there may be two with this name, of which GitHub shows the younger; after one to the last ``PATCH`` annotations may be there twice.
    """
    path, uid = f"/repos/{report.repository}/check-runs", cut(report.details.uid, 100)
    fields = _fields(report, uid)
    number = _remembered(memo, uid)
    if number is not None and _changed(requester, f"{path}/{number}", report, fields):
        return Receipt(memo=f"{number} {uid}")
    made = _send(
        requester, "POST", path, {"name": distinct(report.context, NAME_LIMIT), "head_sha": report.sha, **fields}
    )
    number = made.get("id")
    return Receipt(memo=f"{number} {uid}" if type(number) is int and number > 0 else None)


def _changed(requester: Requester, path: str, report: CheckRun, fields: dict[str, Any]) -> bool:
    """False when the check run cannot be this report's: the memo is out of date, or somebody has written it."""
    try:
        changed = _send(requester, "PATCH", path, fields)
    except GithubException as error:
        if error.status == 404 or (error.status == 403 and _STRANGER in str(error.data).lower()):
            return False
        raise
    return bool(changed.get("head_sha", report.sha) == report.sha)


def _send(requester: Requester, method: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What GitHub has made of it; empty when it has made it and does not say what."""
    try:
        return _once(requester, method, path, fields)
    except GithubException as error:
        if error.status != 422 or "annotations" not in fields["output"] or "annotation" not in str(error.data).lower():
            raise
    output = {name: value for name, value in fields["output"].items() if name != "annotations"}
    return _once(requester, method, path, {**fields, "output": output})


def _once(requester: Requester, method: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """PyGithub's own objects stumble over answers that GitHub may give: ``check_suite`` is null for some."""
    status, headers, text = requester.requestJson(method, path, input=fields)
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        data = {"data": text}  # as PyGithub has it
    found = data if isinstance(data, dict) else {}
    if status == _CREATED or (status == 200 and "id" in found):
        return found
    raise GithubException(status, data, headers)


def _remembered(memo: str | None, uid: str) -> int | None:
    """The check run of this run. A memo is kept where others can write."""
    found = _MEMO.fullmatch(memo or "")
    return int(found[1]) if found is not None and found[2] == uid else None


def _fields(report: CheckRun, uid: str) -> dict[str, Any]:
    """What both requests say."""
    details, final = report.details, report.outcome.final
    word = "neutral" if report.optional and report.outcome.failure else STATES[report.outcome]
    fields = {
        "details_url": usable_url(report.target_url, URL_LIMIT),
        "external_id": uid or None,
        "status": "completed" if final else word,
        "started_at": _moment(details.started),
        "conclusion": word if final else None,
        "completed_at": _moment(details.completed) if final else None,
        "output": _output(report, remarks(details.log_tail) if final else []),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _output(report: CheckRun, found: list[Remark]) -> dict[str, Any]:
    title = cut(report.description, TITLE_LIMIT) or cut(report.context, TITLE_LIMIT)
    annotations = _annotations(found)
    more = len(found) > len(annotations)
    note = f"\n\n{len(annotations)} of {len(found)} messages are shown at their lines.\n" if more else ""
    summary = cut_markdown(report.text, SUMMARY_LIMIT - utf8(note), units=utf8, end=_CUT)
    output: dict[str, Any] = {
        "title": title,
        "summary": summary.strip("\n") + note if summary.strip() else title + note,
    }
    if annotations:
        output["annotations"] = annotations
    return output


def _annotations(found: list[Remark]) -> list[dict[str, Any]]:
    """As many as fit into one request, the worst first."""
    taken, size = [], 0
    for remark in found[:MOST_ANNOTATIONS]:
        annotation = _annotation(remark)
        size += utf8(annotation["message"])
        if size > ALL_MESSAGES:
            break
        taken.append(annotation)
    return taken


def _annotation(remark: Remark) -> dict[str, Any]:
    columns = {} if remark.column is None else {"start_column": remark.column, "end_column": remark.column}
    return {
        "path": remark.path,
        "start_line": remark.line,
        "end_line": remark.line,
        **columns,
        "annotation_level": _LEVELS[remark.level],
        "message": cut_bytes(remark.message, MESSAGE_LIMIT),
    }


def _moment(text: str) -> str | None:
    """RFC 3339 text as GitHub documents it, in UTC and whole seconds; None for what is none."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment.year in _YEARS else None
