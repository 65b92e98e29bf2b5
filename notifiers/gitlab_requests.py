"""The open merge requests that have a commit as their head, on GitLab: ``GET /projects/:id/repository/commits/:sha/merge_requests``.

GitLab keeps the commits of a fork's merge request in the project that it goes to, so that one request finds those as well. Asked in the
fork it shows none: the merge request is not the fork's. Not promised: to find a merge request whose head is also part of 20 younger ones.
"""

from __future__ import annotations

from typing import Any, Final

from gitlab.v4.objects import Project

from notifiers.open_requests import OpenRequest, entries_of, first_of, identifier
from notifiers.session import AnswerTooLongError

ONCE: Final[dict[str, Any]] = {"obey_rate_limit": False, "max_retries": 0, "retry_transient_errors": False}
_SIZES: Final = (20, 4)  # merge requests in an answer; a description may have a million characters


def open_requests(project: Project, sha: str) -> tuple[OpenRequest, ...]:
    """At most three, newest first. One GET; one more when the answer is too long to be read. ``project`` is a lazy one, ``sha`` has been
    checked. Raises whatever python-gitlab does, and ``ValueError``."""
    found = []
    for entry in _read(project, f"/projects/{project.encoded_id}/repository/commits/{sha}/merge_requests"):
        number = identifier(entry, "iid")
        # Older versions of GitLab do not know the parameter "state" and show all.
        if number is not None and entry.get("state") == "opened" and entry.get("sha") == sha:
            labels = entry.get("labels")
            names = labels if isinstance(labels, list) else []
            found.append(OpenRequest(number, tuple(name for name in names if isinstance(name, str))))
    return first_of(found)


def _read(project: Project, path: str) -> list[dict[str, object]]:
    """The first page."""
    for size in _SIZES:
        try:
            query = {"state": "opened", "per_page": size}
            return entries_of(project.manager.gitlab.http_get(path, query_data=query, **ONCE))
        except AnswerTooLongError:
            if size == _SIZES[-1]:
                raise
    raise AssertionError  # the last size returns or raises
