"""Labels on GitLab's merge requests: ``PUT /projects/:id/merge_requests/:iid`` with ``add_labels`` and ``remove_labels``.

GitLab's rules (its documentation, "Merge requests API" and "Labels", and the model ``Label``): a name has at most 255 characters and no comma; a
label that neither the project nor its groups have yet is made on the way. Scoped labels (``key::value``) replace each other in the paid
editions only, so whoever wants that names the others to be removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gitlab.v4.objects import Project

from notifiers.answers import hostname
from notifiers.base import Receipt
from notifiers.gitlab_requests import ONCE, open_requests
from notifiers.labels import changes, wanted
from notifiers.open_requests import identifier
from notifiers.reports import Labels

LIMIT: Final = 255  # characters
_REACH: Final = "the token needs the scope 'api' and at least the role Developer on the project"
HINTS: Final[Mapping[int, str]] = {
    403: _REACH,
    404: f"the project or the commit is not on this host, or the token may not see it: {_REACH}",
}


def deliver(project: Project, report: Labels, memo: str | None) -> Receipt:
    """The requests that find the merge requests, see ``gitlab_requests``; then one for each merge request whose labels are not yet as they shall be.
    None without labels. What is there already costs nothing, so it may be repeated."""
    asked = wanted(report, host=hostname(project.manager.gitlab.url), limit=LIMIT, why_not=_why_not)
    if not asked:
        return Receipt()
    found, done = open_requests(project, report.sha), False
    for request in found:
        if left := changes(asked, request.labels):
            fields = {"add_labels": ",".join(left.add), "remove_labels": ",".join(left.remove)}
            wishes = {name: text for name, text in fields.items() if text}
            shown = project.mergerequests.update(request.number, wishes, **ONCE)
            if identifier(shown, "iid") != request.number:
                raise ValueError("a merge request was changed, and something else came back")
            done = True
    return Receipt(already_there=bool(found) and not done)


def _why_not(name: str) -> str | None:
    return "it has a comma" if "," in name else None
