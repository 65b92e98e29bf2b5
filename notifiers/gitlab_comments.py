"""Comments on GitLab's merge requests: one note on each open merge request of the commit, which updates itself.

Notes are listed by their last update, the newest first, so that ours is on the first page unless people have said a lot since. GitLab takes notes of
1,000,000 characters, but ours are cut to 100,000: an answer is read up to one megabyte, and GitLab's JSON spells ``<`` with six.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import gitlab.exceptions
from gitlab.v4.objects import Project

from notifiers.base import Receipt
from notifiers.comment_pages import Answer, Listing
from notifiers.comments import Found
from notifiers.comments import deliver as deliver_by
from notifiers.gitlab_requests import ONCE, open_requests
from notifiers.open_requests import entries_of, identifier, text_at
from notifiers.reports import Comment

LIMIT: Final = 100_000
_REACH: Final = (
    "for comments the token needs the scope 'api' and at least the role Reporter, and the discussion must not be locked"
)
HINTS: Final = {
    403: _REACH,
    404: f"the project or the commit is not on this host, or the token may not see it: {_REACH}",
}


def deliver(project: Project, report: Comment, memo: str | None) -> Receipt:
    """Requests: ``GET …/repository/commits/:sha/merge_requests``; then for each merge request found, three at most, up to six ``GET
    …/merge_requests/:iid/notes``, mostly one, and ``POST`` there or ``PUT …/notes/:id``. With the memo of an earlier report two for each: ``GET``
    and ``PUT …/notes/:id``; all of them when the note was deleted. Once per token one ``GET /user``, when there is a note with our marker before
    we have written one."""
    return deliver_by(_GitLab(project, report), report, memo)


class _GitLab:
    """``comments.Forge`` on a lazy project of python-gitlab."""

    limit = LIMIT

    def __init__(self, project: Project, report: Comment) -> None:
        self._project, self._sha = project, report.sha
        self._gitlab = project.manager.gitlab
        self.place = f"{self._gitlab.url} {report.repository.lower()}"
        self.login = f"{self._gitlab.url} {self._gitlab.private_token}"

    def find(self) -> Iterator[int]:
        return (request.number for request in open_requests(self._project, self._sha))

    def account(self) -> int | None:
        number = identifier(_entry(self._gitlab.http_get("/user", **ONCE)), "id")
        if number is None:
            raise ValueError("an account without a number")
        return number

    def read(self, number: int, comment: int) -> Found | None:
        try:
            return _found(_entry(self._gitlab.http_get(f"{self._notes(number)}/{comment}", **ONCE)))
        except gitlab.exceptions.GitlabHttpError as error:
            if error.response_code == 404:
                return None
            raise

    def search(self, number: int) -> Iterator[Found]:
        def fetch(page: int, size: int) -> Answer:
            newest = {"order_by": "updated_at", "sort": "desc", "activity_filter": "only_comments"}
            query = {**newest, "per_page": size, "page": page}
            return Answer(entries_of(self._gitlab.http_get(self._notes(number), query_data=query, **ONCE)))

        return filter(None, map(_found, Listing(fetch).forwards()))

    def create(self, number: int, body: str) -> Found:
        return _written(self._gitlab.http_post(self._notes(number), post_data={"body": body}, **ONCE))

    def update(self, number: int, comment: int, body: str) -> bool:
        try:
            _written(self._gitlab.http_put(f"{self._notes(number)}/{comment}", post_data={"body": body}, **ONCE))
        except gitlab.exceptions.GitlabHttpError as error:
            if error.response_code in (403, 404):
                return False
            raise
        return True

    def _notes(self, number: int) -> str:
        return f"/projects/{self._project.encoded_id}/merge_requests/{number}/notes"


def _written(answer: object) -> Found:
    """The note that an answer shows. Raises ``ValueError`` for another answer, which is not the API's, whatever its status."""
    if (found := _found(_entry(answer))) is None:
        raise ValueError("a note was written, and something else came back")
    return found


def _entry(answer: object) -> dict[str, Any]:
    return answer if isinstance(answer, dict) else {}


def _found(entry: dict[str, Any]) -> Found | None:
    number, author = identifier(entry, "id"), entry.get("author")
    if number is None or entry.get("system") is True:
        return None
    return Found(
        id=number, body=text_at(entry, "body"), author=identifier(author, "id") if isinstance(author, dict) else None
    )
