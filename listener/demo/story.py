"""The demo's story: PipelineRuns that succeed, fail, get cancelled and run in parallel, played as Tekton and kubelet would do it.

A run is described by what its tasks print and how they end; ``tell`` writes the objects and logs that a real controller and
kubelet write, in their order: the run, its TaskRuns, their pods, the containers' states and output, the verdicts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.store import Json, now

GITLAB_PATH: Final = "group/service-xyz"
GITHUB_PATH: Final = "acme/service-xyz"
COMMITS: Final = {
    hashlib.sha1(title.encode(), usedforsecurity=False).hexdigest(): title
    for title in ("Speed up the parser", "Retry uploads", "Drop Python 3.10")
}


@dataclass(frozen=True, kw_only=True)
class StoryStep:
    """A step: its lines, the seconds between them, and how it ends."""

    name: str
    lines: tuple[str, ...]
    pause: float = 0.3
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class StoryTask:
    """A task: its steps, and the tasks it waits for."""

    name: str
    steps: tuple[StoryStep, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoryRun:
    """A PipelineRun of the story. ``cancel_after``: seconds until somebody cancels it."""

    name: str
    namespace: str
    pipeline: str
    sha: str
    tasks: tuple[StoryTask, ...]
    cancel_after: float | None = None
    branch: str = "main"


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """Runs that run at the same time."""

    title: str
    runs: tuple[StoryRun, ...] = field(default_factory=tuple)


def chapters(episode: int, *, namespace: str) -> list[Chapter]:
    """The story. Another episode has other run names and goes on to the next commit."""
    shas = list(COMMITS)
    sha = shas[episode % len(shas)]
    mark = hashlib.sha1(f"episode {episode}".encode(), usedforsecurity=False).hexdigest()[:5]

    def run(suffix: str, pipeline: str, *tasks: StoryTask, cancel_after: float | None = None) -> StoryRun:
        name = f"service-xyz-run-{suffix}-{mark}"
        return StoryRun(
            name=name, namespace=namespace, pipeline=pipeline, sha=sha, tasks=tasks, cancel_after=cancel_after
        )

    return [
        Chapter(title="A build with parallel tests succeeds", runs=(run("build", "build", *_BUILD),)),
        Chapter(
            title="In parallel: one fails, one is cancelled, one passes",
            runs=(
                run("lint", "lint", _BROKEN_LINT),
                run("e2e", "e2e", _SLOW, cancel_after=4.0),
                run("docs", "docs", _DOCS),
            ),
        ),
    ]


def _step(name: str, *lines: str, pause: float = 0.3, exit_code: int = 0) -> StoryStep:
    return StoryStep(name=name, lines=lines, pause=pause, exit_code=exit_code)


_BUILD: Final = (
    StoryTask(
        name="build",
        steps=(
            _step("compile", *(f"compiling module {number} of 12" for number in range(1, 13))),
            _step("package", "packing service-xyz-1.4.2.tar.gz", "\x1b[32mdone\x1b[0m"),
        ),
    ),
    StoryTask(
        name="unit-test",
        after=("build",),
        steps=(_step("pytest", *(f"tests/test_{name}.py ..... PASSED" for name in ("api", "db", "parser", "cli"))),),
    ),
    StoryTask(name="lint", after=("build",), steps=(_step("ruff", "All checks passed!", pause=0.8),)),
)
_BROKEN_LINT: Final = StoryTask(
    name="lint",
    steps=(
        _step("install", "installing ruff 0.12"),
        _step(
            "ruff",
            "src/parser.py:41:9: F841 local variable `token` is assigned to but never used",
            "Found 1 error.",
            exit_code=1,
        ),
        _step("report", "never printed"),
    ),
)
_SLOW: Final = StoryTask(
    name="browser", steps=(_step("playwright", *(f"scenario {number} of 40" for number in range(1, 41)), pause=0.5),)
)
_DOCS: Final = StoryTask(name="html", steps=(_step("sphinx", "building [html]", "build succeeded.", pause=0.6),))
# What the event listener can start.
PIPELINES: Final = {"build": _BUILD, "lint": (_BROKEN_LINT,), "docs": (_DOCS,)}


async def tell(cluster: KubernetesApi, chapter: Chapter) -> None:
    """Play all runs of a chapter to their ends."""
    async with asyncio.TaskGroup() as group:
        for run in chapter.runs:
            group.create_task(_Teller(cluster, run).tell())


class _Teller:
    """Plays one run."""

    def __init__(self, cluster: KubernetesApi, run: StoryRun) -> None:
        self._cluster, self._run = cluster, run
        self._failed = False
        self._children: list[Json] = []
        self._done: dict[str, asyncio.Event] = {task.name: asyncio.Event() for task in run.tasks}

    async def tell(self) -> None:
        run = self._run
        self._cluster.create("pipelineruns", _pipeline_run(run))
        await asyncio.sleep(0.5)
        self._condition("Unknown", "Running", "Tasks Completed: 0")
        try:
            async with asyncio.timeout(run.cancel_after):
                async with asyncio.TaskGroup() as group:
                    for task in run.tasks:
                        group.create_task(self._tell_task(task))
        except TimeoutError:
            self._cancel()
            return
        if self._failed:
            self._condition("False", "Failed", "Tasks Completed: 1 (Failed: 1, Cancelled 0), Skipped: 0")
        else:
            self._condition(
                "True", "Succeeded", f"Tasks Completed: {len(run.tasks)} (Failed: 0, Cancelled 0), Skipped: 0"
            )

    def _condition(self, status: str, reason: str, message: str) -> None:
        self._patch("pipelineruns", self._run.name, {"status": _status(status, reason, message, self._children)})

    def _patch(self, resource: str, name: str, patch: Json) -> None:
        self._cluster.patch(resource, self._run.namespace, name, patch)

    async def _tell_task(self, task: StoryTask) -> None:
        for other in task.after:
            await self._done[other].wait()
        if self._failed:
            return
        name, pod = f"{self._run.name}-{task.name}", f"{self._run.name}-{task.name}-pod"
        self._cluster.create("taskruns", _task_run(self._run, task))
        self._children.append(
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name, "pipelineTaskName": task.name}
        )
        self._condition("Unknown", "Running", "Tasks Completed: 0")
        self._cluster.create("pods", _pod(self._run, task))
        self._patch("taskruns", name, {"status": {"podName": pod, **_status("Unknown", "Pending", "Pending")}})
        await asyncio.sleep(0.5)
        ended = await self._tell_steps(task, name, pod)
        failed = next((step for step, code in ended if code), None)
        if failed is not None:
            self._failed = True
            message = f'"step-{failed.name}" exited with code {failed.exit_code}: Error'
            self._patch("taskruns", name, {"status": _status("False", "StepFailed", message)})
        else:
            self._patch(
                "taskruns", name, {"status": _status("True", "Succeeded", "All Steps have completed executing")}
            )
        self._done[task.name].set()

    async def _tell_steps(self, task: StoryTask, name: str, pod: str) -> list[tuple[StoryStep, int]]:
        namespace, ended = self._run.namespace, list[tuple[StoryStep, int]]()
        self._show(task, name, pod, ended)
        for step in task.steps:
            broken = any(code for _, code in ended)
            lines = ("Skipping step because a previous step failed",) if broken else step.lines
            for line in lines:
                self._cluster.logs.append(namespace, pod, f"step-{step.name}", f"{line}\n".encode())
                await asyncio.sleep(0 if broken else step.pause)
            self._cluster.logs.finish(namespace, pod, f"step-{step.name}")
            ended.append((step, 1 if broken else step.exit_code))
            self._show(task, name, pod, ended)
        return ended

    def _show(self, task: StoryTask, name: str, pod: str, ended: list[tuple[StoryStep, int]]) -> None:
        """Write where each container stands, into the pod and into the TaskRun."""
        steps = list(_states(task, ended))
        statuses = [{"name": f"step-{s['name']}", "state": _container_state(s)} for s in steps]
        phase = "Running" if len(ended) < len(task.steps) else "Failed" if any(c for _, c in ended) else "Succeeded"
        self._patch("pods", pod, {"status": {"phase": phase, "containerStatuses": statuses}})
        self._patch("taskruns", name, {"status": {"steps": steps}})

    def _cancel(self) -> None:
        """What Tekton does: the run and its tasks get their condition, the pods are deleted."""
        run = self._run
        self._condition("False", "Cancelled", f'PipelineRun "{run.name}" was cancelled')
        for child in self._children:
            message = f'TaskRun "{child["name"]}" was cancelled'
            self._patch("taskruns", child["name"], {"status": _status("False", "TaskRunCancelled", message)})
            self._cluster.delete("pods", run.namespace, f"{child['name']}-pod")


def _status(status: str, reason: str, message: str, children: list[Json] | None = None) -> Json:
    condition = {
        "type": "Succeeded",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now(),
    }
    body: Json = {"conditions": [condition]}
    if status != "Unknown":
        body["completionTime"] = now()
    if children is not None:
        body["childReferences"] = list(children)
    return body


def _states(task: StoryTask, ended: list[tuple[StoryStep, int]]) -> Iterator[dict[str, Any]]:
    failed = False
    for number, step in enumerate(task.steps):
        entry: dict[str, Any] = {"name": step.name, "container": f"step-{step.name}"}
        if number < len(ended):
            code = ended[number][1]
            times = {"startedAt": now(), "finishedAt": now()}
            entry["terminated"] = {"exitCode": code, "reason": "Error" if code else "Completed", **times}
            entry["terminationReason"] = "Skipped" if failed else "Error" if code else "Completed"
            failed = failed or bool(code)
        else:
            entry["running"] = {"startedAt": now()}
        yield entry


def _container_state(step: dict[str, Any]) -> dict[str, Any]:
    return {key: step[key] for key in ("running", "terminated") if key in step}


def _pipeline_run(run: StoryRun) -> Json:
    tasks = [{"name": task.name, "runAfter": list(task.after)} for task in run.tasks]
    return {
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "labels": {"tekton.dev/pipeline": run.pipeline},
        },
        "spec": {
            "pipelineRef": {"name": run.pipeline},
            "params": [{"name": "revision", "value": run.sha}, {"name": "branch", "value": run.branch}],
        },
        "status": {"startTime": now(), "pipelineSpec": {"tasks": tasks}},
    }


def _labels(run: StoryRun, task: StoryTask) -> dict[str, str]:
    return {
        "tekton.dev/pipeline": run.pipeline,
        "tekton.dev/pipelineRun": run.name,
        "tekton.dev/pipelineTask": task.name,
    }


def _task_run(run: StoryRun, task: StoryTask) -> Json:
    meta = {"name": f"{run.name}-{task.name}", "namespace": run.namespace, "labels": _labels(run, task)}
    return {"metadata": meta, "spec": {}, "status": {"startTime": now()}}


def _pod(run: StoryRun, task: StoryTask) -> Json:
    meta = {"name": f"{run.name}-{task.name}-pod", "namespace": run.namespace, "labels": _labels(run, task)}
    containers = [{"name": f"step-{step.name}", "image": "registry.example.com/ci/tools:1"} for step in task.steps]
    return {"metadata": meta, "spec": {"nodeName": "node-1", "containers": containers}, "status": {"phase": "Pending"}}
