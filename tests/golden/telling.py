"""The recorded runs through the real service, run after run, and what each place was asked for while one of them was played.

One run is played at a time, so that what has no name of a run in it (labels, deployments) is known to be about it. After each change of a
PipelineRun everything that it brings is delivered before the next one: the states come one by one, as in life.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from listener.cluster.names import Key
from listener.demo.chat import Chat
from listener.demo.githost import Asked, GitHost
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.replay import Step, load
from listener.service import Service
from tests.app_key import APP, key
from tests.contract.test_recorded_runs import EXPECTED
from tests.hosts.forges import FORGES
from tests.scene import GITHUB_PATH, GITLAB_PATH, RECORDINGS, SHA, Scene

RUNS = tuple(EXPECTED)
_PREFIX = "service-xyz-run-"
_PATIENCE = 60.0  # seconds for one change

_CHANNELS = """
channels:
  chat: {{kind: apprise, token_file: chat-urls, seconds_between_writes: 0}}
  hook: {{kind: webhook, url: "{hook}/hooks", token_file: hook-key}}
  slack: {{kind: webhook, url: "{slack}/hooks"}}
"""
_TELLS_ALL = """
    report: [run, tasks]
    comment: always
    labels: {running: "ci::running", succeeded: "ci::passed", failed: "ci::failed", cancelled: "ci::cancelled"}
    environment: review/$(run.name)
    environment_url: https://$(run.name).review.example.com
    notify:
      - {channel: chat, on: [started, finished]}
      - {channel: hook, on: finished}
      - channel: slack
        on: finished
        text: '{"text": "$(run.name): $(run.sentence) <$(run.url)|Log>", "tail": "$(log.tail)"}'
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What one place was asked for: by run, in order."""

    host: GitHost
    requests: dict[str, list[Asked]]


class Mattermost(GitHost):
    """It takes what Apprise posts: for services that show Markdown at ``/json``, for those that do not at ``/hooks``."""

    name = "Mattermost"

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{path:.*}", self._take)]

    async def _take(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")


async def tell(folder: Path) -> dict[str, Told]:
    """By a name for each place."""
    statuses, checks = folder / "statuses", folder / "checks"
    for made in (statuses, checks):
        made.mkdir()
    everything = load(RECORDINGS)
    steps = {run: [step for step in everything if _is_of(step, run)] for run in RUNS}
    return {**await _statuses(statuses, steps), **await _checks(checks, steps)}


def _is_of(step: Step, run: str) -> bool:
    return step.name.startswith((f"{_PREFIX}{run}-", f"{_PREFIX}{run}/")) or step.name == _PREFIX + run


async def _statuses(folder: Path, steps: dict[str, list[Step]]) -> dict[str, Told]:
    """All hosts that take statuses, and the channels."""
    async with contextlib.AsyncExitStack() as stack:
        hosts: dict[str, GitHost] = {"gitlab": GitLab(), "github": GitHub()}
        hosts |= {forge.kind: forge.host() for forge in FORGES}
        hosts |= {"chat": Mattermost(), "hook": Chat(key="whsec_AAAA"), "slack": Chat()}
        for host in hosts.values():
            await stack.enter_async_context(host)
        paths = {"gitlab": GITLAB_PATH, "github": GITHUB_PATH} | {forge.kind: forge.repository for forge in FORGES}
        for name, path in paths.items():
            hosts[name].add_project(path, {SHA: "Add a feature"})
        gitlab, github = hosts["gitlab"], hosts["github"]
        assert isinstance(gitlab, GitLab)
        assert isinstance(github, GitHub)
        gitlab.merge_requests.open(GITLAB_PATH, SHA)
        github.pulls.open(GITHUB_PATH, SHA)
        github.limit = 1_000_000
        more = "".join(
            f'  {forge.kind}: {{kind: {forge.kind}, url: "{forge.url(hosts[forge.kind])}", token_file: github-token}}\n'
            for forge in FORGES
        )
        chat = hosts["chat"].url.removeprefix("http://")
        (folder / "chat-urls").write_text(f"json://{chat}/json\nmmost://{chat}/hook\n")
        (folder / "hook-key").write_text("whsec_AAAA\n")
        scene = Scene(
            folder=folder,
            cluster=await stack.enter_async_context(KubernetesApi()),
            gitlab=gitlab,
            github=github,
            more=more + _CHANNELS.format(hook=hosts["hook"].url, slack=hosts["slack"].url),
            services=_service([f"{name}:{path}" for name, path in paths.items()]) + _TELLS_ALL,
        )
        return await _played(scene, steps, hosts)


async def _checks(folder: Path, steps: dict[str, list[Step]]) -> dict[str, Told]:
    """GitHub as an App that writes check runs."""
    async with KubernetesApi() as cluster, GitLab() as gitlab, GitHub() as github:
        github.add_project(GITHUB_PATH, {SHA: "Add a feature"})
        github.add_app(APP, key().public, {"acme": 678})
        github.limit = 1_000_000
        (folder / "app.pem").write_text(key().private)
        scene = Scene(
            folder=folder,
            cluster=cluster,
            gitlab=gitlab,
            github=github,
            github_credentials=f"app_id: {APP}, private_key_file: app.pem",
            services=_service([f"github:{GITHUB_PATH}"]) + "\n    report: [run, tasks, checks]\n",
        )
        return await _played(scene, steps, {"github-app": github})


def _service(repositories: Sequence[str]) -> str:
    return f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: {_PREFIX}*}}
    repository: [{", ".join(repositories)}]"""


async def _played(scene: Scene, steps: dict[str, list[Step]], hosts: dict[str, GitHost]) -> dict[str, Told]:
    told = {name: Told(host, {}) for name, host in hosts.items()}
    async with scene.serve() as service:
        await service.runs.synced()
        settling = _Settling(service, scene.cluster)
        for run, moves in steps.items():
            for host in hosts.values():
                host.asked.clear()
            for step in moves:
                step.apply(scene.cluster)
                await settling.after(step)
            for name, host in hosts.items():
                told[name].requests[run] = list(host.asked)
    return told


class _Settling:
    """Waits until a change has been told everywhere."""

    def __init__(self, service: Service, cluster: KubernetesApi) -> None:
        self._service, self._cluster = service, cluster
        self._changed = asyncio.Event()
        service.runs.on_change(lambda _: self._changed.set())

    async def after(self, step: Step) -> None:
        if step.what != "pipelineruns":
            await asyncio.sleep(0)
            return
        version, key = self._cluster.store.version, Key("team-a", step.name)
        async with asyncio.timeout(_PATIENCE):
            while not self._seen(key, version):
                self._changed.clear()
                await self._changed.wait()
            reporter = self._service.reporter
            await reporter.tasks.idle.wait()
            await reporter.lanes.drained()

    def _seen(self, key: Key, version: int) -> bool:
        run = self._service.runs.get(key)
        return run is not None and int(run.resource_version) >= version


def writes(requests: Iterable[Asked]) -> list[Asked]:
    """What changed something."""
    return [asked for asked in requests if asked.method != "GET"]
