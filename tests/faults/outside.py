"""What can be seen of the service from outside, and what the tests of faults have in common."""

from __future__ import annotations

import asyncio
import sys
import threading

from tenacity import wait_fixed

from listener.demo.githost import GitHost
from listener.reporting.pacing import Pace
from listener.service import Service
from tests.replica import metric
from tests.runs import context
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, client

QUICK = Pace(lane=wait_fixed(0.05), host=wait_fixed(0.05), unauthorized=0.2)
PATHS = {"GitLab": GITLAB_PATH, "GitHub": GITHUB_PATH}


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
    async with client(service, user="") as session, session.get(path) as response:
        return response.status, await response.text()


async def value(service: Service, name: str, **labels: str) -> float:
    return metric(await ask(service, "/metrics"), name, **labels)


def busy_threads() -> list[str]:
    """The notifiers' threads that do anything but wait for work, sleep for one."""
    frames = sys._current_frames()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("notify-")]
    assert threads
    return [t.name for t in threads if t.ident in frames and frames[t.ident].f_code.co_name != "_worker"]


async def threads_idle(service: Service) -> None:
    """Wait until no thread of a notifier has anything to do, and what they did has been taken into account."""
    async with asyncio.timeout(20):
        while busy_threads() or await value(service, "requests_in_flight"):
            await ask(service, "/livez")
