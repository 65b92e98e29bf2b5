"""The fixed answers: version, discovery, health."""

from __future__ import annotations

from typing import Any, Final

VERSION: Final = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "in-memory",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "memory",
}
_VERBS: Final = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]


def _resource(name: str, kind: str, short: list[str]) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": name,
        "singularName": kind.lower(),
        "namespaced": True,
        "kind": kind,
        "verbs": _VERBS,
    }
    if short:
        entry["shortNames"] = short
    entry |= {"categories": ["tekton", "tekton-pipelines"], "storageVersionHash": "AAAAAAAAAAA="}
    status = {"name": f"{name}/status", "singularName": "", "namespaced": True, "kind": kind}
    return [entry, status | {"verbs": ["get", "patch", "update"]}]


_ANSWERS: Final[dict[str, Any]] = {
    "/version": VERSION,
    "/livez": {"status": "ok"},
    "/apis/tekton.dev": {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "tekton.dev",
        "versions": [{"groupVersion": f"tekton.dev/{version}", "version": version} for version in ("v1", "v1beta1")],
        "preferredVersion": {"groupVersion": "tekton.dev/v1", "version": "v1"},
    },
    "/apis/tekton.dev/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "tekton.dev/v1",
        "resources": [
            *_resource("pipelineruns", "PipelineRun", ["pr", "prs"]),
            *_resource("tasks", "Task", []),
            *_resource("taskruns", "TaskRun", ["tr", "trs"]),
            *_resource("pipelines", "Pipeline", []),
        ],
    },
}


def answer(path: str) -> dict[str, Any] | None:
    """The body for a fixed path, or None."""
    found: dict[str, Any] | None = _ANSWERS.get(path.rstrip("/"))
    return found
