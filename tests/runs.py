"""PipelineRuns as tests make them: small, with a commit, and a condition that the test moves on."""

from __future__ import annotations

from typing import Any

from listener.demo.kubernetes import KubernetesApi
from tests.scene import SHA

CONDITIONS = {
    "running": {"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": "Tasks Completed: 0"},
    "succeeded": {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "done"},
    "failed": {"type": "Succeeded", "status": "False", "reason": "Failed", "message": "Tasks Completed: 1 (Failed: 1)"},
}


def run(name: str, state: str | None = "running", *, sha: str = SHA, pipeline: str = "", **meta: Any) -> dict[str, Any]:
    """A PipelineRun ``service-xyz-run-NAME`` in team-a; its context is ``tekton/`` and the pipeline, or its own name."""
    labels = {"tekton.dev/pipeline": pipeline} if pipeline else {}
    body: dict[str, Any] = {
        "metadata": {"name": f"service-xyz-run-{name}", "namespace": "team-a", "labels": labels, **meta},
        "spec": {"params": [{"name": "revision", "value": sha}]},
    }
    if state is not None:
        body["status"] = {"conditions": [CONDITIONS[state]]}
    return body


def start(cluster: KubernetesApi, name: str, state: str | None = "running", **more: Any) -> None:
    """Create a run."""
    cluster.create("pipelineruns", run(name, state, **more))


def move(cluster: KubernetesApi, name: str, state: str) -> None:
    """Give a run another condition, as Tekton does."""
    cluster.patch("pipelineruns", "team-a", f"service-xyz-run-{name}", {"status": {"conditions": [CONDITIONS[state]]}})


def delete(cluster: KubernetesApi, name: str) -> None:
    """Delete a run, or mark it as being deleted while finalizers keep it."""
    cluster.delete("pipelineruns", "team-a", f"service-xyz-run-{name}")


def context(name: str) -> str:
    """The context of a run without a pipeline."""
    return f"tekton/service-xyz-run-{name}"
