"""Chaos: replicas as processes, a cluster and hosts that fail at random, and at the end a reckoning.

What must hold, whatever happened: every commit shows the final state of its newest run, a run that was pruned is gone, and no state was
sent more often than once plus once for each crash, ambiguous answer or change of leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from listener.cluster.objects import FINALIZER
from listener.demo.githost import GitHost, HostFault
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import Fault, KubernetesApi
from tests.chaos.plan import NAMESPACE, REPOSITORIES, Event, Lane, Life, Plan
from tests.replica import Replica, replica
from tests.scene import Scene

SERVICES: Final = """
services:
  - name: $(service)
    runs: {namespace: team-a, name: $(service)-glrun-*}
    repository: gitlab:group/$(service)
    deliver: guaranteed
  - name: $(service)
    runs: {namespace: team-a, name: $(service)-ghrun-*}
    repository: github:acme/$(service)
leases: {namespace: ops, shards: 3, duration: 3, renew_deadline: 2, retry_period: 0.25}
"""
# Exit codes of replicas that were stopped or killed; SIGTERM ends those that were told to stop before they had begun.
_OUR_DOING: Final = (0, -signal.SIGKILL, -signal.SIGTERM)
_CALM: Final = 150.0  # seconds for everything to arrive once nothing fails any more


@dataclass(slots=True)
class Reckoning:
    """What came of it."""

    lanes: int
    wrong: dict[Lane, tuple[str, str | None]]  #: lanes that show another state: wanted, shown
    left: list[str]  #: pruned runs that are still there
    posts: int
    duplicates: Counter[Lane] = field(default_factory=Counter)
    ambiguous: Counter[Lane] = field(default_factory=Counter)  #: accepted, and the answer was lost
    upheavals: int = 0  #: crashes, freezes, stops, and changes of leader
    ended: list[str] = field(default_factory=list)  #: replicas that ended of their own accord

    @property
    def broken(self) -> list[str]:
        """Promises that were not kept, in words."""
        found = [f"{lane} shows {shown}, wanted {wanted}" for lane, (wanted, shown) in self.wrong.items()]
        found += [f"{name} is still there" for name in self.left]
        found += [f"{name} ended of its own accord" for name in self.ended]
        for lane, extra in self.duplicates.items():
            if extra > (allowed := self.ambiguous[lane] + self.upheavals):
                found.append(f"{lane} was sent the same {extra} times more than once, {allowed} were to be expected")
        return found

    def __str__(self) -> str:
        return (
            f"{self.lanes} lanes, {self.posts} POSTs taken, {self.duplicates.total()} duplicates on {len(self.duplicates)}"
            f" lanes (at most {max(self.duplicates.values(), default=0)} on one), {self.ambiguous.total()} lost answers,"
            f" {self.upheavals} crashes, freezes, stops and changes of leader"
        )


class Chaos:
    """One run of a plan."""

    def __init__(self, plan: Plan, scene: Scene) -> None:
        self._plan, self._scene = plan, scene
        self._hosts: Mapping[str, GitHost] = {"gitlab": scene.gitlab, "github": scene.github}
        self._processes: dict[int, contextlib.AsyncExitStack] = {}
        self._replicas: dict[int, Replica] = {}
        self._ever: list[Replica] = []  # those that live, and those that lived
        self._upheavals = 0

    async def run(self) -> Reckoning:
        """Play the plan, let everything calm down, reckon."""
        self._config = self._scene.write_config()
        await asyncio.gather(*(self._start(number) for number in range(self._plan.replicas)))
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.TaskGroup() as group:
                for event in self._plan.events:
                    await asyncio.sleep(max(0.0, began + event.at - loop.time()))
                    if event.life is not None:
                        self._play(event.life, event)
                    else:
                        group.create_task(self._fail(event))
            await self._calm()
            return self._reckon()
        finally:
            await asyncio.gather(*(stack.aclose() for stack in self._processes.values()))
            for one in self._ever:
                (self._scene.folder / f"{one.name}.log").write_text("\n".join(one.log) + "\n")

    # Replicas

    async def _start(self, number: int) -> None:
        stack = self._processes[number] = contextlib.AsyncExitStack()
        name = f"replica-{len(self._ever) + 1}"
        one = await stack.enter_async_context(replica(self._scene, name, config=self._config, LOG_LEVEL="INFO"))
        await one.logged("listening on", timeout=_CALM)  # before that a SIGTERM ends it as it ends any process
        self._replicas[number] = one
        self._ever.append(one)

    async def _upset(self, kind: str, number: int, lasts: float) -> None:
        one = self._replicas[number]
        if one.process.returncode is not None:
            return
        self._upheavals += 1
        if kind == "freeze":
            one.signal(signal.SIGSTOP)
            await asyncio.sleep(lasts)
            with contextlib.suppress(ProcessLookupError):
                one.signal(signal.SIGCONT)
            return
        if kind == "kill":
            await one.kill()
        else:
            await one.stop(timeout=60)
        await self._processes[number].aclose()
        await asyncio.sleep(lasts)
        await self._start(number)

    # Cluster and hosts

    def _play(self, life: Life, event: Event) -> None:
        cluster = self._scene.cluster
        if event.what == "create":
            cluster.create("pipelineruns", life.body())
        elif event.what == "move":
            cluster.patch("pipelineruns", NAMESPACE, life.name, life.condition(event.detail))
        elif FINALIZER in cluster.get("pipelineruns", NAMESPACE, life.name)["metadata"].get("finalizers", ()):
            # From here on the listener has promised; of a run that it never saw, nobody could know.
            cluster.delete("pipelineruns", NAMESPACE, life.name)

    async def _fail(self, event: Event) -> None:
        if event.what == "api":
            await self._fail_api(event.detail, event.lasts)
        elif event.what == "host":
            name, fault = event.detail
            await self._fail_host(name, fault, event.lasts)
        else:
            await self._upset(event.what, event.detail, event.lasts)

    async def _fail_api(self, fault: Fault | str, lasts: float) -> None:
        cluster = self._scene.cluster
        if isinstance(fault, Fault):
            cluster.faults.add(fault)
            await asyncio.sleep(lasts)
            cluster.faults.remove(fault)
        elif fault == "cut":
            cluster.cut_watches()
        elif fault == "compact":
            cluster.store.compact(cluster.store.version)
            cluster.cut_watches()
        else:
            await cluster.stop()
            await asyncio.sleep(lasts)
            await cluster.start()

    async def _fail_host(self, name: str, fault: HostFault | str, lasts: float) -> None:
        host = self._hosts[name]
        if isinstance(fault, HostFault):
            host.faults.append(fault)
            await asyncio.sleep(lasts)
            host.faults.remove(fault)
        else:
            await host.stop()
            await asyncio.sleep(lasts)
            await host.start()

    # The end

    def _shown(self, lane: Lane) -> str | None:
        latest = self._hosts[lane.host].latest(lane.path, lane.sha).get(lane.context)
        return latest.state if latest is not None else None

    def _wrong(self) -> dict[Lane, tuple[str, str | None]]:
        wanted = {lane: life.word for lane, life in self._plan.newest().items()}
        return {lane: (word, shown) for lane, word in wanted.items() if (shown := self._shown(lane)) != word}

    def _left(self) -> list[str]:
        there = {name for _, name in self._scene.cluster.store.names("pipelineruns")}
        deleted = [life.name for life in self._plan.lives if life.pruned and life.name in there]
        return [name for name in deleted if "deletionTimestamp" in self._meta(name)]

    def _meta(self, name: str) -> dict[str, Any]:
        meta: dict[str, Any] = self._scene.cluster.get("pipelineruns", NAMESPACE, name)["metadata"]
        return meta

    async def _calm(self) -> None:
        """Wait until all is as it should be, or until it is clear that it will not be."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CALM):
                for lane in self._plan.newest():
                    host = self._hosts[lane.host]
                    await host.wait_for(lambda _, lane=lane: not self._is_wrong(lane), timeout=_CALM)  # type: ignore[misc]  # binds the loop's variable
                await self._scene.cluster.requests.wait_for(lambda _: not self._left(), timeout=_CALM)

    def _is_wrong(self, lane: Lane) -> bool:
        return self._shown(lane) != self._plan.newest()[lane].word

    def _reckon(self) -> Reckoning:
        leases = self._scene.cluster.store.shelf("leases").objects.values()
        changes = sum(stored.object["spec"]["leaseTransitions"] for stored in leases)
        posts = sum(len(host.posted) for host in self._hosts.values())
        reckoning = Reckoning(len(self._plan.newest()), self._wrong(), self._left(), posts)
        reckoning.upheavals = self._upheavals + changes
        reckoning.ended = [
            f"{one.name} (exit code {one.process.returncode})"
            for one in self._ever
            if one.process.returncode not in (None, *_OUR_DOING)
        ]
        for name, host in self._hosts.items():
            said: Counter[tuple[Lane, str, str]] = Counter()
            for asked in host.posts():
                fields = json.loads(asked.body)
                path, sha = _place(asked.path)
                lane = Lane(name, path, sha, fields.get("name") or fields["context"])
                if asked.status in (0, 201) or (
                    asked.status == 400 and said[lane, fields["target_url"], fields["state"]]
                ):
                    said[lane, fields["target_url"], fields["state"]] += 1
                if asked.status == 0:
                    reckoning.ambiguous[lane] += 1
            for (lane, _, _), times in said.items():
                if times > 1:
                    reckoning.duplicates[lane] += times - 1
        return reckoning


def _place(path: str) -> tuple[str, str]:
    """Repository and commit in the path of a POST: of GitLab's API, or of GitHub's."""
    parts = path.replace("%2F", "/").strip("/").split("/")
    at = parts.index("statuses")
    return "/".join(parts[at - 2 : at]), parts[at + 1]


async def chaos(folder: Path, *, seed: int, runs: int, seconds: float, replicas: int) -> Reckoning:
    """Make a plan from ``seed`` and play it: ``runs`` PipelineRuns over ``seconds``."""
    async with KubernetesApi() as cluster, GitLab() as gitlab, GitHub(limit=1_000_000) as github:
        for number in range(REPOSITORIES):
            gitlab.add_project(f"group/service-{number}", any_commit=True)
            github.add_project(f"acme/service-{number}", any_commit=True)
        scene = Scene(folder=folder, cluster=cluster, gitlab=gitlab, github=github, services=SERVICES)
        return await Chaos(Plan(seed, runs=runs, seconds=seconds, replicas=replicas), scene).run()
