"""Fills a cluster with PipelineRuns that look like a real one's: for the benchmark and for page-sized lists."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.store import Json

_TASKS: Final = ("clone", "build", "unit-test", "lint", "package", "scan")
_SCRIPT: Final = "#!/bin/sh\nset -eu\n" + "echo one of the many lines that a step's script has in real life\n" * 8


def fill(cluster: KubernetesApi, runs: int, *, namespace: str = "ci", state: str = "True") -> None:
    """Add ``runs`` PipelineRuns of about 10 KB each, named ``service-N-run-…``; ``state`` is their condition's status."""
    for number in range(runs):
        cluster.create("pipelineruns", make_run(number, namespace=namespace, state=state))


def make_run(number: int, *, namespace: str = "ci", state: str = "True") -> Json:
    """One PipelineRun. The same number gives the same run."""
    digest = hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()
    tasks = [_task(name) for name in _TASKS]
    name = f"service-{number % 50}-run-{digest[:8]}"
    spec = {
        "params": [
            {"name": "revision", "value": digest},
            {"name": "repo-url", "value": f"https://gitlab.example.com/group/service-{number % 50}.git"},
        ],
        "pipelineSpec": {"tasks": tasks},
        "taskRunTemplate": {"serviceAccountName": "default"},
    }
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"tekton.dev/pipeline": "build", "app": f"service-{number % 50}"},
            "annotations": {"example.com/triggered-by": "demo"},
            "creationTimestamp": f"2026-11-{1 + number // 86400 % 28:02d}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        },
        "spec": spec,
        "status": status(name, tasks, state=state),
    }


def status(name: str, tasks: list[Json], *, state: str) -> Json:
    """A run's status with its condition in ``state``: True, False or Unknown."""
    reason = {"True": "Succeeded", "False": "Failed"}.get(state, "Running")
    message = f"Tasks Completed: {len(tasks)} (Failed: 0, Cancelled 0), Skipped: 0"
    body: Json = {
        "startTime": "2026-11-23T11:00:00Z",
        "conditions": [{"type": "Succeeded", "status": state, "reason": reason, "message": message}],
        "childReferences": [
            {
                "apiVersion": "tekton.dev/v1",
                "kind": "TaskRun",
                "name": f"{name}-{task['name']}",
                "pipelineTaskName": task["name"],
            }
            for task in tasks
        ],
        "pipelineSpec": {"tasks": tasks},
    }
    return body | ({"completionTime": "2026-11-23T11:02:14Z"} if state != "Unknown" else {})


def _task(name: str) -> Json:
    step: dict[str, Any] = {"name": "run", "image": "registry.example.com/ci/tools:1", "script": _SCRIPT}
    return {"name": name, "taskSpec": {"metadata": {}, "spec": None, "steps": [step]}}
