"""What can be seen of the service from outside, and what the tests of faults have in common."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import threading
from collections.abc import Mapping
from datetime import datetime

from tenacity import wait_fixed

from listener.demo.githost import GitHost
from listener.reporting.pacing import Pace
from listener.service import Service
from notifiers.base import HostSettings
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from tests.replica import metric
from tests.runs import context
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, client

QUICK = Pace(lane=wait_fixed(0.05), host=wait_fixed(0.05), unauthorized=0.2)
PATHS = {"GitLab": GITLAB_PATH, "GitHub": GITHUB_PATH}


class ImpatientGitLab(GitLabNotifier):
    """GitLab, but a silent host is given up after half a second."""

    def __init__(self, settings: HostSettings) -> None:
        super().__init__(dataclasses.replace(settings, request_timeout=0.5))


class ImpatientGitHub(GitHubNotifier):
    """GitHub, but a silent host is given up after half a second."""

    def __init__(self, settings: HostSettings) -> None:
        super().__init__(dataclasses.replace(settings, request_timeout=0.5))


IMPATIENT = {"gitlab": ImpatientGitLab, "github": ImpatientGitHub}


async def shows(host: GitHost, **states: str) -> None:
    """Wait until the host shows these states of these runs."""
    wanted = {context(name): state for name, state in states.items()}

    def there() -> bool:
        latest = host.latest(PATHS[host.name], SHA)
        return all(name in latest and latest[name].state == state for name, state in wanted.items())

    await host.wait_for(lambda _: there())


def states(host: GitHost, name: str) -> list[str]:
    return [posted.state for posted in host.statuses(PATHS[host.name], SHA, context(name))]


async def ask(service: Service, path: str) -> tuple[int, str]:
    async with client(service) as session, session.get(path) as response:
        return response.status, await response.text()


async def troubles(service: Service) -> dict[str, dict[str, str]]:
    """What /readyz complains about, by what it is about."""
    status, text = await ask(service, "/readyz")
    assert status == 200
    return {trouble["what"]: trouble for trouble in json.loads(text)["troubles"]}


async def value(service: Service, name: str, **labels: str) -> float:
    return metric(await ask(service, "/metrics"), name, **labels)


async def drained(service: Service) -> None:
    """Wait until nothing is left to be sent."""
    async with asyncio.timeout(20):
        await service.reporter.lanes.drained()


def busy_threads() -> list[str]:
    """The notifiers' threads that do anything but wait for work, sleep for one."""
    frames = sys._current_frames()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("notify-")]
    assert threads
    return [t.name for t in threads if t.ident in frames and frames[t.ident].f_code.co_name != "_worker"]


async def threads_idle(service: Service) -> None:
    """Wait until no thread has anything to do."""
    async with asyncio.timeout(20):
        while busy_threads():
            await ask(service, "/livez")


def since(trouble: Mapping[str, str]) -> float:
    """Since when, as ``time.time()``."""
    return datetime.fromisoformat(trouble["since"]).timestamp()
