"""The GitLab in memory's labels on merge requests, with the rules of the real one.

They are GitLab's own (``lib/api/merge_requests.rb``, the model ``Label``): names are separated by commas, lose spaces at their ends, and one of more than 255
characters is no label and passed over; a label that there is not is made on the way; only the paid editions let scoped ones replace each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from listener.demo.gitlab import GitLab

_LONGEST: Final = 255


class RequestLabels:
    """The labels of all merge requests of a host. ``paid``: scoped labels replace each other."""

    def __init__(self, host: GitLab) -> None:
        self._host = host
        self.paid = False

    def routes(self, api: str) -> list[web.RouteDef]:
        return [web.put(f"{api}/merge_requests/{{iid}}", self._update)]

    async def _update(self, request: web.Request) -> web.Response:
        found = self._host.merge_requests.find(request)
        fields: dict[str, Any] = await request.json()
        if not fields.keys() & {"add_labels", "remove_labels"}:
            self._host.fail(
                400, {"error": "add_labels, remove_labels are missing, at least one parameter must be provided"}
            )
        removed = _names(fields.get("remove_labels"))
        found.labels = [name for name in found.labels if name not in removed]
        for name in _names(fields.get("add_labels")):
            scope, separator, _ = name.rpartition("::")
            if self.paid and separator:
                found.labels = [other for other in found.labels if other.rpartition("::")[0] != scope]
            if name not in found.labels:
                found.labels.append(name)
        return web.json_response(self._host.merge_requests.shown(found))


def _names(text: str | list[str] | None) -> list[str]:
    parts = text.split(",") if isinstance(text, str) else text or []
    return [name for part in parts if (name := part.strip()) and len(name) <= _LONGEST]
