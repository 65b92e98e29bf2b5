"""The GitHub in memory's pages: repositories, commits, pull requests, check runs, deployments. They look a little like the real one's, and follow what
happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from listener.demo.githost import Project
from listener.demo.github_pulls import Pull

if TYPE_CHECKING:
    from listener.demo.github import GitHub


class Pages:
    """All pages of one host."""

    def __init__(self, host: GitHub) -> None:
        self._host = host

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._index),
            web.get("/{owner}/{repo}", self._repository),
            web.get("/{owner}/{repo}/commit/{sha}", self._commit),
            web.get("/{owner}/{repo}/pull/{number:[0-9]+}", self._pull),
            web.get("/{owner}/{repo}/pull/{number:[0-9]+}/checks", self._checks),
            web.get("/{owner}/{repo}/runs/{number:[0-9]+}", self._check),
            web.get("/{owner}/{repo}/deployments", self._deployments),
        ]

    async def _index(self, _: web.Request) -> web.Response:
        return self._host.page("github_index.html", projects=list(self._host.projects.values()))

    async def _repository(self, request: web.Request) -> web.Response:
        project = self._named(request)
        pulls = [pull for pull in self._host.pulls.all if pull.path == project.path]
        commits = list(self._host.commits(project))
        return self._host.page("github_project.html", project=project, commits=commits, pulls=pulls)

    async def _commit(self, request: web.Request) -> web.Response:
        project, sha = self._named(request), request.match_info["sha"]
        if not project.has(sha):
            raise _missing()
        shown = self._about(project, sha) | {
            "title": project.commits.get(sha, "A commit"),
            "pulls": self._host.pulls.with_head(project.path, sha),
            "deployments": self._host.deployments.of(project.path, sha),
        }
        return self._host.page("github_commit.html", **shown)

    async def _pull(self, request: web.Request) -> web.Response:
        project, pull = self._numbered(request)
        return self._host.page("github_pull.html", pull=pull, **self._about(project, pull.sha))

    async def _checks(self, request: web.Request) -> web.Response:
        project, pull = self._numbered(request)
        return self._host.page("github_pull_checks.html", pull=pull, **self._about(project, pull.sha))

    async def _check(self, request: web.Request) -> web.Response:
        project = self._named(request)
        check = self._host.checks.all.get(int(request.match_info["number"]))
        if check is None or check.path != project.path:
            raise _missing()
        return self._host.page("github_check.html", check=check, project=project)

    async def _deployments(self, request: web.Request) -> web.Response:
        project = self._named(request)
        deployments = [one for one in self._host.deployments.all if one.path == project.path]
        return self._host.page("github_deployments.html", project=project, deployments=deployments[::-1])

    def _about(self, project: Project, sha: str) -> dict[str, Any]:
        """What a commit shows: statuses, a task's below its run's, and check runs."""
        statuses = sorted(self._host.latest(project.path, sha).values(), key=lambda posted: posted.context)
        runs = sorted(self._host.checks.latest(project.path, sha), key=lambda check: check.name)
        overall = self._host.overall(self._host.states(project, sha))
        return {"project": project, "sha": sha, "checks": statuses, "runs": runs, "overall": overall}

    def _named(self, request: web.Request) -> Project:
        project = self._host.projects.get(f"{request.match_info['owner']}/{request.match_info['repo']}")
        if project is None:
            raise _missing()
        return project

    def _numbered(self, request: web.Request) -> tuple[Project, Pull]:
        project, number = self._named(request), int(request.match_info["number"])
        every = self._host.pulls.all
        found = next((pull for pull in every if pull.path == project.path and pull.number == number), None)
        if found is None:
            raise _missing()
        return project, found


def _missing() -> web.HTTPException:
    return web.HTTPNotFound(text="404: Not Found\n")
