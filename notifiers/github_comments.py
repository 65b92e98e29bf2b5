"""Comments on GitHub's pull requests: one on each open pull request of the commit, which updates itself.

A comment on a pull request is an issue comment. GitHub lists them in ascending order only, so that the first page is read and then the last ones;
in a conversation of more than 180 comments ours may be missed in the middle, and another one is written at its end. A comment has at
most 65,536 characters. Reading and writing are separate requests, each of which counts for the rate limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import github
from github.Requester import Requester

from notifiers.base import Receipt
from notifiers.comment_pages import Answer, Listing
from notifiers.comments import Found
from notifiers.comments import deliver as deliver_by
from notifiers.github_requests import open_requests
from notifiers.open_requests import entries_of, identifier, text_at
from notifiers.reports import Comment

LIMIT: Final = 65_536
_REACH: Final = "for comments the token needs 'repo' (classic) or 'Pull requests: write' (fine-grained, GitHub App), and the conversation must not be locked"
HINTS: Final = {
    403: _REACH,
    404: f"the repository is not on this host, or the token may not comment on its pull requests: {_REACH}",
    422: "is the commit pushed to this repository, and not only to a fork of it?",
}
_LAST: Final = re.compile(r"""[?&]page=([0-9]{1,7})[^>]*>\s*;\s*rel="last\"""")


def deliver(requester: Requester, report: Comment, memo: str | None) -> Receipt:
    """Requests: ``GET …/commits/{sha}/pulls``, and ``GET …/pulls`` where that shows none; then for each pull request found, three at most, up to
    six ``GET …/issues/{number}/comments``, mostly one, and ``POST`` there or ``PATCH …/issues/comments/{id}``. With the memo of an earlier
    report two for each: ``GET`` and ``PATCH …/issues/comments/{id}``; all of them when the comment was deleted. Once per token one ``GET /user``,
    when there is a comment with our marker before we have written one."""
    return deliver_by(_GitHub(requester, report), report, memo)


class _GitHub:
    """``comments.Forge`` on PyGithub's requester."""

    limit = LIMIT

    def __init__(self, requester: Requester, report: Comment) -> None:
        self._requester, self._repository, self._sha = requester, report.repository, report.sha
        self.place = f"{requester.base_url} {report.repository.lower()}"
        self.login = f"{requester.base_url} {getattr(requester.auth, 'token', '')}"

    def find(self) -> Iterator[int]:
        return (request.number for request in open_requests(self._requester, self._repository, self._sha))

    def account(self) -> int | None:
        try:
            number = identifier(self._ask("GET", "/user"), "id")
        except github.GithubException as error:
            if error.status == 403 and "by integration" in text_at(error.data, "message"):
                return None
            raise
        if number is None:
            raise ValueError("an account without a number")
        return number

    def read(self, number: int, comment: int) -> Found | None:
        try:
            entry = self._ask("GET", self._comment(comment))
        except github.GithubException as error:
            if error.status in (404, 410):
                return None
            raise
        here = text_at(entry, "issue_url").endswith(f"/issues/{number}")
        return _found(entry) if here else None

    def search(self, number: int) -> Iterator[Found]:
        def fetch(page: int, size: int) -> Answer:
            query = {"per_page": size, "page": page}
            headers, answer = self._requester.requestJsonAndCheck("GET", self._comments(number), parameters=query)
            last = _LAST.search(headers.get("link", ""))
            return Answer(entries_of(answer), int(last[1]) if last else None)

        return filter(None, map(_found, Listing(fetch).first_then_backwards()))

    def create(self, number: int, body: str) -> Found:
        return _written(self._ask("POST", self._comments(number), {"body": body}))

    def update(self, number: int, comment: int, body: str) -> bool:
        try:
            _written(self._ask("PATCH", self._comment(comment), {"body": body}))
        except github.GithubException as error:
            if error.status in (404, 410) or (error.status == 403 and not _is_limit(error)):
                return False
            raise
        return True

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, object]:
        _, answer = self._requester.requestJsonAndCheck(method, path, input=body)
        return answer if isinstance(answer, dict) else {}

    def _comments(self, number: int) -> str:
        return f"/repos/{self._repository}/issues/{number}/comments"

    def _comment(self, comment: int) -> str:
        return f"/repos/{self._repository}/issues/comments/{comment}"


def _written(entry: dict[str, Any]) -> Found:
    """The comment that an answer shows. Raises ``ValueError`` for another answer, which is not the API's, whatever its status."""
    if (found := _found(entry)) is None:
        raise ValueError("a comment was written, and something else came back")
    return found


def _found(entry: dict[str, Any]) -> Found | None:
    number, user = identifier(entry, "id"), entry.get("user")
    if number is None:
        return None
    author = identifier(user, "id") if isinstance(user, dict) else None
    return Found(id=number, body=text_at(entry, "body"), author=author, by_app=text_at(user, "type") == "Bot")


def _is_limit(error: github.GithubException) -> bool:
    """True for a 403 that is a rate limit, as ``github.refusal`` tells them."""
    headers, message = error.headers or {}, text_at(error.data, "message").lower()
    waits = "retry-after" in headers or headers.get("x-ratelimit-remaining", "").strip() == "0"
    return waits or "rate limit" in message or "abuse detection" in message
