"""The GitHub in memory's labels on pull requests, with the rules of the real one.

Rules from GitHub's REST documentation ("Labels") and its answers: at most 50 characters of a name and 100 labels of an issue; names that differ in case
only are one label; a label that the repository does not have is made on the way; 404 for one that the issue does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from listener.demo.github_pulls import Pull

if TYPE_CHECKING:
    from listener.demo.github import GitHub

_LONGEST: Final = 50
_MOST: Final = 100
_NUMBER: Final = 208045946


class IssueLabels:
    """The labels of all pull requests of a host."""

    def __init__(self, host: GitHub) -> None:
        self._host = host
        self.known: dict[str, list[str]] = {}  #: by repository: those that it has, as they were first written

    def routes(self, prefix: str) -> list[web.RouteDef]:
        labels = f"{prefix}/repos/{{owner}}/{{repo}}/issues/{{number}}/labels"
        return [
            web.get(labels, self._list),
            web.post(labels, self._add),
            web.delete(f"{labels}/{{name}}", self._remove),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        return self._shown(request, self._pull(request))

    async def _add(self, request: web.Request) -> web.Response:
        pull, body = self._pull(request), await request.json()
        names = body.get("labels") if isinstance(body, dict) else body
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            self._host.fail(422, "Invalid request.")
        for name in names:
            if len(name.strip()) > _LONGEST or not name.strip():
                why = f"name is too long (maximum is {_LONGEST} characters)" if name.strip() else "name can't be blank"
                error = {"resource": "Label", "code": "custom", "field": "name", "message": why}
                self._host.fail(422, "Validation Failed", errors=[error])
        for name in names:
            title = self._made(pull.path, name.strip())
            if title not in pull.labels:
                if len(pull.labels) >= _MOST:
                    self._host.fail(422, "Validation Failed")
                pull.labels.append(title)
        return self._shown(request, pull)

    async def _remove(self, request: web.Request) -> web.Response:
        pull, name = self._pull(request), request.match_info["name"]
        title = next((title for title in pull.labels if title.lower() == name.lower()), None)
        if title is None:
            self._host.fail(404, "Label does not exist")
        pull.labels.remove(title)
        return self._shown(request, pull)

    def _made(self, path: str, name: str) -> str:
        known = self.known.setdefault(path, [])
        title = next((title for title in known if title.lower() == name.lower()), None)
        if title is None:
            known.append(name)
        return title or name

    def _pull(self, request: web.Request) -> Pull:
        project, number = self._host.enter(request), request.match_info["number"]
        found = next((p for p in self._host.pulls.all if p.path == project.path and str(p.number) == number), None)
        if found is None:
            self._host.fail(404, "Not Found")
        return found

    def _shown(self, request: web.Request, pull: Pull) -> web.Response:
        base = f"{request.url.origin()}/repos/{pull.path}/labels"
        body: list[dict[str, Any]] = [
            {
                "id": _NUMBER + number,
                "node_id": f"LA_{number}",
                "url": f"{base}/{title}",
                "name": title,
                "description": None,
                "color": "ededed",
                "default": False,
            }
            for number, title in enumerate(pull.labels)
        ]
        return web.json_response(body, headers=self._host.headers())
