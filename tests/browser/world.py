"""What browser tests look at: a cluster, two Git hosts and the service, in a thread of their own, and runs of every kind.

Playwright's plain API wants the test's thread for itself, so everything with an event loop lives in another one. Tests call ``world.do(…)``
for what is to happen there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from listener.cluster.names import Key
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.store import now
from listener.demo.story import chapters
from listener.demo.teller import Chapter, StoryRun, tell
from listener.links import Signer
from listener.service import Service
from tests.bench.processes import free_port
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene

T = TypeVar("T")
NAMESPACE: Final = "team-a"
KEY: Final = "0123456789abcdef0123456789abcdef"
KINDS: Final = ("succeeded", "failed", "running", "cancelled", "matrix", "never-started")
_PIPELINES: Final = {
    "succeeded": "build",
    "failed": "lint",
    "running": "soak",
    "cancelled": "e2e",
    "matrix": "platforms",
    "never-started": "release",
}
_LONG: Final = 60.0  # seconds for anything


class World:
    """Start it with ``with World(folder) as world``."""

    def __init__(self, folder: Path, *, more: str = "", pace: float = 0.1) -> None:
        """``more``: of the configuration; ``pace``: by which the story's pauses are multiplied."""
        self.folder, self.more, self.pace = folder, more, pace
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world", daemon=True)
        self._stack = contextlib.AsyncExitStack()
        self._telling: list[asyncio.Task[None]] = []
        self.port = free_port()

    def __enter__(self) -> World:
        self._thread.start()
        self.wait(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LONG)
        self._loop.close()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it there, give what it gives."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_LONG)

    def do(self, function: Callable[[], T]) -> T:
        """Call it there."""

        async def call() -> T:
            return function()

        return self.wait(call())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def commit_page(self) -> str:
        return f"{self.gitlab.url}/{GITLAB_PATH}/-/commit/{SHA}"

    def signed_page(self, kind: str) -> str:
        """A link that needs no password."""
        run = self.service.runs.get(Key(NAMESPACE, name_of(kind)))
        assert run is not None
        token = Signer([KEY], days=30).token(run.key, uid=run.uid, created=run.created)
        return f"{self.url}/s/{token}/runs/{NAMESPACE}/{run.name}"

    def page(self, kind: str) -> str:
        return f"{self.url}/runs/{NAMESPACE}/{name_of(kind)}"

    async def _start(self) -> None:
        stack = self._stack
        self.cluster = await stack.enter_async_context(KubernetesApi())
        self.gitlab = await stack.enter_async_context(GitLab())
        self.github = await stack.enter_async_context(GitHub())
        self.gitlab.add_project(GITLAB_PATH, {SHA: "Speed up the parser"})
        self.github.add_project(GITHUB_PATH, {SHA: "Speed up the parser"})
        self.scene = Scene(
            folder=self.folder,
            cluster=self.cluster,
            gitlab=self.gitlab,
            github=self.github,
            public_url=self.url,
            more=f"logs: {{record: true}}\nsigned_links: {{key_file: link-key}}\n{self.more}",
        )
        (self.folder / "link-key").write_text(KEY)
        self.service: Service = await stack.enter_async_context(self.scene.serve(port=self.port))

    async def _stop(self) -> None:
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        await self._stack.aclose()

    # Runs

    def tell_all(self) -> None:
        """A run of each kind, each as far as it gets; the running one goes on."""
        runs = [dataclasses.replace(run_of(kind, pace=self.pace)) for kind in KINDS]

        async def play() -> None:
            self._telling += [
                asyncio.create_task(tell(self.cluster, Chapter(title=run.name, runs=(run,)))) for run in runs
            ]
            await asyncio.gather(
                *(task for run, task in zip(runs, self._telling, strict=True) if "soak" not in run.name)
            )
            shown = {f"tekton/{pipeline}" for pipeline in _PIPELINES.values()}
            await self.gitlab.wait_for(lambda posted: {one.context for one in posted} >= shown)

        self.wait(play())

    def start(self, name: str, *steps: str) -> LiveRun:
        """A run with one task ``job``, whose steps print what the test says."""
        live = LiveRun(self, name, steps or ("main",))
        self.do(live.create)
        return live


def name_of(kind: str) -> str:
    """The run's name."""
    return f"service-xyz-run-{_PIPELINES[kind]}"


def run_of(kind: str, *, pace: float) -> StoryRun:
    """The demo's run of this kind, at another pace."""
    told = [run for chapter in chapters(0, namespace=NAMESPACE) for run in chapter.runs]
    runs = {run.pipeline: run for run in reversed(told)}  # the first one of each pipeline
    run = runs[_PIPELINES[kind]]
    slow, longer = (pace, 1) if kind != "running" else (1.0, 50)
    tasks = tuple(
        dataclasses.replace(
            task,
            steps=tuple(
                dataclasses.replace(
                    step, pause=step.pause * slow, lines=step.lines * (longer if len(step.lines) > 1 else 1)
                )
                for step in task.steps
            ),
        )
        for task in run.tasks
    )
    cancel = 2.0 if run.cancel_after is not None else None
    return dataclasses.replace(run, name=name_of(kind), sha=SHA, tasks=tasks, cancel_after=cancel)


class LiveRun:
    """A run that prints what it is told to."""

    def __init__(self, world: World, name: str, steps: tuple[str, ...]) -> None:
        self.world, self.steps = world, steps
        self.name = f"service-xyz-run-{name}"
        self.pod = f"{self.name}-job-pod"
        self.ended: dict[str, int] = {}
        self.url = f"{world.url}/runs/{NAMESPACE}/{self.name}"

    def create(self) -> None:
        cluster, labels = self.world.cluster, {"tekton.dev/pipelineRun": self.name, "tekton.dev/pipelineTask": "job"}
        task_run = f"{self.name}-job"
        children = [{"kind": "TaskRun", "apiVersion": "tekton.dev/v1", "name": task_run, "pipelineTaskName": "job"}]
        cluster.create(
            "pipelineruns",
            {
                "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": {"params": [{"name": "revision", "value": SHA}]},
                "status": {"startTime": now(), "childReferences": children, **_condition("Unknown", "Running")},
            },
        )
        status = {"podName": self.pod, "startTime": now(), "steps": self._steps(), **_condition("Unknown", "Running")}
        cluster.create(
            "taskruns",
            {"metadata": {"name": task_run, "namespace": NAMESPACE, "labels": labels}, "spec": {}, "status": status},
        )
        containers = [{"name": f"step-{step}", "image": "example.com/tools:1"} for step in self.steps]
        cluster.create(
            "pods",
            {
                "metadata": {"name": self.pod, "namespace": NAMESPACE, "labels": labels},
                "spec": {"nodeName": "node-1", "containers": containers},
                "status": {"phase": "Running", "containerStatuses": self._containers()},
            },
        )

    def _steps(self) -> list[dict[str, Any]]:
        return [{"name": step, "container": f"step-{step}", **self._state(step)} for step in self.steps]

    def _containers(self) -> list[dict[str, Any]]:
        return [{"name": f"step-{step}", "state": self._state(step)} for step in self.steps]

    def _state(self, step: str) -> dict[str, Any]:
        if step not in self.ended:
            return {"running": {"startedAt": now()}}
        code = self.ended[step]
        ended = {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": now(), "finishedAt": now()}
        return {"terminated": ended}

    def print(self, data: bytes, step: str = "") -> None:
        """A step prints."""
        container = f"step-{step or self.steps[0]}"
        self.world.do(lambda: self.world.cluster.logs.append(NAMESPACE, self.pod, container, data))

    def end_step(self, step: str, code: int = 0) -> None:
        """A step ends."""
        self.ended[step] = code
        self.world.do(lambda: self._show(step))

    def _show(self, step: str) -> None:
        cluster = self.world.cluster
        cluster.logs.finish(NAMESPACE, self.pod, f"step-{step}")
        cluster.patch("pods", NAMESPACE, self.pod, {"status": {"containerStatuses": self._containers()}})
        cluster.patch("taskruns", NAMESPACE, f"{self.name}-job", {"status": {"steps": self._steps()}})

    def end(self, code: int = 0) -> None:
        """All steps end, the run with them."""
        for step in self.steps:
            if step not in self.ended:
                self.end_step(step, code)
        status = ("False", "Failed") if any(self.ended.values()) else ("True", "Succeeded")
        over = {"completionTime": now(), **_condition(*status)}
        self.world.do(lambda: self.world.cluster.patch("taskruns", NAMESPACE, f"{self.name}-job", {"status": over}))
        self.world.do(lambda: self.world.cluster.patch("pipelineruns", NAMESPACE, self.name, {"status": over}))


def _condition(status: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": "as the test says"}]}
