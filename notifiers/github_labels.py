"""Labels on GitHub's pull requests, which are issues to it: ``POST`` and ``DELETE /repos/{owner}/{repo}/issues/{number}/labels``.

GitHub's rules (REST documentation, "Labels", and its answers): a name has at most 50 characters; names that differ in case only are one label; a
label that the repository does not have yet is made on the way, with a default colour; removing one that is not there is answered 404.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from github import GithubException
from github.Requester import Requester

from notifiers.answers import hostname
from notifiers.base import Receipt
from notifiers.github_requests import open_requests
from notifiers.labels import changes, wanted
from notifiers.open_requests import entries_of
from notifiers.reports import Labels

LIMIT: Final = 50  # characters
_REACH: Final = "the token needs 'repo' (classic) or 'Pull requests: write' (fine-grained, GitHub App)"
HINTS: Final[Mapping[int, str]] = {
    403: _REACH,
    404: f"the repository is not on this host, or the token may not write to it: {_REACH}",
    422: "GitHub does not take these labels (an issue has at most 100), or the commit is not in this repository",
}


def deliver(requester: Requester, report: Labels, memo: str | None) -> Receipt:
    """The requests that find the pull requests, see ``github_requests``; then for each pull request one for all labels that it has not yet, and one
    for each label that it has and shall not. None without labels. What is there already costs nothing, so it may be repeated."""
    asked = wanted(report, host=hostname(requester.base_url), limit=LIMIT, why_not=_why_not)
    if not asked:
        return Receipt()
    found, done = open_requests(requester, report.repository, report.sha), False
    for request in found:
        left = changes(asked, request.labels, same=str.casefold)
        place = f"/repos/{report.repository}/issues/{request.number}/labels"
        if left.add:
            _, shown = requester.requestJsonAndCheck("POST", place, input={"labels": list(left.add)})
            entries_of(shown)
        for name in left.remove:
            _remove(requester, f"{place}/{quote(name, safe='')}")
        done = done or bool(left)
    return Receipt(already_there=bool(found) and not done)


def _why_not(name: str) -> str | None:
    return "it cannot be in an address" if name in (".", "..") else None  # however it is quoted


def _remove(requester: Requester, path: str) -> None:
    try:
        _, shown = requester.requestJsonAndCheck("DELETE", path)
        entries_of(shown)
    except GithubException as error:
        # Somebody was faster. Without the label's name in the answer the request itself may be out of reach.
        if error.status != 404 or "label" not in str(error.message or error.data).lower():
            raise
