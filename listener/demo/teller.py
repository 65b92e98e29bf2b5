"""Plays PipelineRuns in the cluster in memory as Tekton and kubelet would do it.

A run is described by what its tasks print and how they end; ``tell`` writes the objects and logs that a real controller and
kubelet write, in their order: the run, its TaskRuns, their pods, the containers' states and output, the verdicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.store import Json, now


@dataclass(frozen=True, kw_only=True)
class StoryStep:
    """A step: its lines, the seconds between them, and how it ends."""

    name: str
    lines: tuple[str, ...]
    pause: float = 0.3
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class StoryTask:
    """A task: its steps, and the tasks it waits for. ``matrix``: it runs once for each of these parameters' values. ``optional``: the
    pipeline says ``onError: continue``, so the run passes without it."""

    name: str
    steps: tuple[StoryStep, ...]
    after: tuple[str, ...] = ()
    matrix: tuple[dict[str, str], ...] = ()
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class StoryRun:
    """A PipelineRun of the story. ``cancel_after``: seconds until somebody cancels it; ``broken``: why it cannot even start."""

    name: str
    namespace: str
    pipeline: str
    sha: str
    tasks: tuple[StoryTask, ...]
    cancel_after: float | None = None
    broken: tuple[str, str] | None = None  #: reason and message
    branch: str = "main"
    environment: str = ""  #: that it deploys to


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """Runs that run at the same time."""

    title: str
    runs: tuple[StoryRun, ...] = field(default_factory=tuple)


async def tell(cluster: KubernetesApi, chapter: Chapter, *, pace: float = 1.0) -> None:
    """Play all runs of a chapter to their ends; ``pace``: by which all pauses are multiplied."""
    async with asyncio.TaskGroup() as group:
        for run in chapter.runs:
            group.create_task(_Teller(cluster, run, pace).tell())


class _Teller:
    """Plays one run."""

    def __init__(self, cluster: KubernetesApi, run: StoryRun, pace: float) -> None:
        self._cluster, self._run, self._pace = cluster, run, pace
        self._failed: set[str] = set()
        self._ignored: set[str] = set()
        self._ended = 0
        self._children: list[Json] = []
        self._times: dict[str, list[str]] = {}  # of each TaskRun: when its pod began, then when each step ended
        self._done: dict[str, asyncio.Event] = {task.name: asyncio.Event() for task in run.tasks}

    async def tell(self) -> None:
        run = self._run
        self._cluster.create("pipelineruns", _pipeline_run(run))
        await self._pause(0.5)
        if run.broken is not None:
            self._condition("False", *run.broken)
            return
        self._condition("Unknown", "Running", self._tally())
        try:
            async with asyncio.timeout(run.cancel_after * self._pace if run.cancel_after is not None else None):
                async with asyncio.TaskGroup() as group:
                    for task in run.tasks:
                        group.create_task(self._tell_task(task))
        except TimeoutError:
            self._cancel()
            return
        if self._failed:
            self._condition("False", "Failed", self._tally())
        else:
            self._condition("True", "Succeeded", self._tally())

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._pace)

    def _tally(self) -> str:
        """As Tekton counts."""
        ignored = f" (Ignored: {len(self._ignored)})" if self._ignored else ""
        failed = f"Failed: {len(self._failed | self._ignored)}{ignored}"
        return f"Tasks Completed: {self._ended} ({failed}, Cancelled 0), Skipped: 0"

    def _condition(self, status: str, reason: str, message: str) -> None:
        self._patch("pipelineruns", self._run.name, {"status": _status(status, reason, message, self._children)})

    def _patch(self, resource: str, name: str, patch: Json) -> None:
        self._cluster.patch(resource, self._run.namespace, name, patch)

    async def _tell_task(self, task: StoryTask) -> None:
        for other in task.after:
            await self._done[other].wait()
        if self._failed:
            return
        async with asyncio.TaskGroup() as group:
            for number, params in enumerate(task.matrix or ({},)):
                name = f"{self._run.name}-{task.name}" + (f"-{number}" if task.matrix else "")
                group.create_task(self._tell_task_run(task, name, params))
        self._done[task.name].set()

    async def _tell_task_run(self, task: StoryTask, name: str, params: dict[str, str]) -> None:
        pod = f"{name}-pod"
        self._cluster.create("taskruns", _task_run(self._run, task, name, params))
        self._children.append(
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name, "pipelineTaskName": task.name}
        )
        self._condition("Unknown", "Running", self._tally())
        self._cluster.create("pods", _pod(self._run, task, pod))
        self._patch("taskruns", name, {"status": {"podName": pod, **_status("Unknown", "Pending", "Pending")}})
        await self._pause(0.5)
        self._times[name] = [now()]
        ended = await self._tell_steps(task, name, pod)
        self._ended += 1
        failed = next((step for step, code in ended if code), None)
        if failed is not None:
            (self._ignored if task.optional else self._failed).add(name)
            message = f'"step-{failed.name}" exited with code {failed.exit_code}: Error'
            reason = "FailureIgnored" if task.optional else "StepFailed"
            self._patch("taskruns", name, {"status": _status("False", reason, message)})
        else:
            self._patch(
                "taskruns", name, {"status": _status("True", "Succeeded", "All Steps have completed executing")}
            )

    async def _tell_steps(self, task: StoryTask, name: str, pod: str) -> list[tuple[StoryStep, int]]:
        namespace, ended = self._run.namespace, list[tuple[StoryStep, int]]()
        self._show(task, name, pod, ended)
        for step in task.steps:
            broken = any(code for _, code in ended)
            lines = ("Skipping step because a previous step failed",) if broken else step.lines
            for line in lines:
                self._cluster.logs.append(namespace, pod, f"step-{step.name}", f"{line}\n".encode())
                await self._pause(0 if broken else step.pause)
            self._cluster.logs.finish(namespace, pod, f"step-{step.name}")
            ended.append((step, 1 if broken else step.exit_code))
            self._times[name].append(now())
            self._show(task, name, pod, ended)
        return ended

    def _show(self, task: StoryTask, name: str, pod: str, ended: list[tuple[StoryStep, int]]) -> None:
        """Write where each container stands, into the pod and into the TaskRun."""
        steps = list(_states(task, ended, self._times[name]))
        statuses = [{"name": f"step-{s['name']}", "state": _container_state(s)} for s in steps]
        phase = "Running" if len(ended) < len(task.steps) else "Failed" if any(c for _, c in ended) else "Succeeded"
        self._patch("pods", pod, {"status": {"phase": phase, "containerStatuses": statuses}})
        self._patch("taskruns", name, {"status": {"steps": steps}})
        if len(ended) < len(task.steps):
            self._patch("taskruns", name, {"status": _status("Unknown", "Running", "Not all Steps have completed")})

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


def _states(task: StoryTask, ended: list[tuple[StoryStep, int]], times: list[str]) -> Iterator[dict[str, Any]]:
    failed = False
    for number, step in enumerate(task.steps):
        entry: dict[str, Any] = {"name": step.name, "container": f"step-{step.name}"}
        if number < len(ended):
            code = ended[number][1]
            began_and_ended = {"startedAt": times[number], "finishedAt": times[number + 1]}
            entry["terminated"] = {"exitCode": code, "reason": "Error" if code else "Completed", **began_and_ended}
            entry["terminationReason"] = "Skipped" if failed else "Error" if code else "Completed"
            failed = failed or bool(code)
        else:
            entry["running"] = {"startedAt": times[0]}  # the containers of a pod start together
        yield entry


def _container_state(step: dict[str, Any]) -> dict[str, Any]:
    return {key: step[key] for key in ("running", "terminated") if key in step}


def _pipeline_run(run: StoryRun) -> Json:
    tasks = [
        {"name": task.name, "runAfter": list(task.after), **({"onError": "continue"} if task.optional else {})}
        for task in run.tasks
    ]
    params = {"revision": run.sha, "branch": run.branch} | ({"environment": run.environment} if run.environment else {})
    return {
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "labels": {"tekton.dev/pipeline": run.pipeline},
        },
        "spec": {
            "pipelineRef": {"name": run.pipeline},
            "params": [{"name": name, "value": value} for name, value in params.items()],
        },
        "status": {"startTime": now(), **({"pipelineSpec": {"tasks": tasks}} if tasks else {})},
    }


def _labels(run: StoryRun, task: StoryTask) -> dict[str, str]:
    return {
        "tekton.dev/pipeline": run.pipeline,
        "tekton.dev/pipelineRun": run.name,
        "tekton.dev/pipelineTask": task.name,
    }


def _task_run(run: StoryRun, task: StoryTask, name: str, params: dict[str, str]) -> Json:
    meta = {"name": name, "namespace": run.namespace, "labels": _labels(run, task)}
    spec = {"params": [{"name": key, "value": value} for key, value in params.items()]}
    return {"metadata": meta, "spec": spec, "status": {"startTime": now()}}


def _pod(run: StoryRun, task: StoryTask, name: str) -> Json:
    meta = {"name": name, "namespace": run.namespace, "labels": _labels(run, task)}
    containers = [{"name": f"step-{step.name}", "image": "registry.example.com/ci/tools:1"} for step in task.steps]
    return {"metadata": meta, "spec": {"nodeName": "node-1", "containers": containers}, "status": {"phase": "Pending"}}
