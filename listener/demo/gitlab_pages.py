"""The GitLab in memory's pages: projects, commits, merge requests, environments. They look a little like the real one's, and follow what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from listener.demo.githost import Project

if TYPE_CHECKING:
    from listener.demo.gitlab import GitLab


class Pages:
    """All pages of one host."""

    def __init__(self, host: GitLab) -> None:
        self._host = host

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._index),
            web.get("/{path:.+}/-/commit/{sha}", self._commit),
            web.get("/{path:.+}/-/merge_requests/{iid:[0-9]+}", self._merge_request),
            web.get("/{path:.+}/-/environments", self._environments),
            web.get("/{path:.+}", self._project),
        ]

    async def _index(self, _: web.Request) -> web.Response:
        return self._host.page("gitlab_index.html", projects=list(self._host.projects.values()))

    async def _project(self, request: web.Request) -> web.Response:
        project = self._named(request)
        requests = [found for found in self._host.merge_requests.all if found.path == project.path]
        commits = list(self._host.commits(project))
        return self._host.page("gitlab_project.html", project=project, commits=commits, requests=requests)

    async def _commit(self, request: web.Request) -> web.Response:
        project, sha = self._named(request), request.match_info["sha"]
        if not project.has(sha):
            raise _missing()
        shown = self._pipeline(project, sha) | {
            "title": project.commits.get(sha, "A commit"),
            "requests": self._host.merge_requests.with_head(project.path, sha),
            "deployments": self._host.deployments.of(project.path, sha),
        }
        return self._host.page("gitlab_commit.html", **shown)

    async def _merge_request(self, request: web.Request) -> web.Response:
        project, iid = self._named(request), int(request.match_info["iid"])
        every = self._host.merge_requests.all
        found = next((one for one in every if one.path == project.path and one.iid == iid), None)
        if found is None:
            raise _missing()
        return self._host.page("gitlab_merge_request.html", request=found, **self._pipeline(project, found.sha))

    async def _environments(self, request: web.Request) -> web.Response:
        project = self._named(request)
        deployments = [one for one in self._host.deployments.all if one.path == project.path]
        return self._host.page("gitlab_environments.html", project=project, deployments=deployments[::-1])

    def _pipeline(self, project: Project, sha: str) -> dict[str, Any]:
        """What a commit's pipeline shows; a task's status below its run's."""
        jobs = sorted(self._host.jobs_of(project, sha), key=lambda job: job.name)
        overall = self._host.overall([job.status for job in jobs])
        return {"project": project, "sha": sha, "jobs": jobs, "overall": overall}

    def _named(self, request: web.Request) -> Project:
        project = self._host.projects.get(request.match_info["path"])
        if project is None:
            raise _missing()
        return project


def _missing() -> web.HTTPException:
    return web.HTTPNotFound(text="404: Page Not Found\n")
