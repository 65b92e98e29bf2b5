"""Bad input from the cluster: one malformed object never touches the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.demo.kubernetes import Fault
from tests.scene import GITLAB_PATH, SHA, Scene


def run(name: str, *, spec: Any = None, status: Any = "succeeded", **meta: Any) -> dict[str, Any]:
    done = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "done"}]}
    body: dict[str, Any] = {
        "metadata": {"name": f"service-xyz-run-{name}", "namespace": "team-a", **meta},
        "spec": spec if spec is not None else {"params": [{"name": "revision", "value": SHA}]},
    }
    if status is not None:
        body["status"] = done if status == "succeeded" else status
    return body


async def all_of(scene: Scene, *names: str) -> None:
    contexts = {f"tekton/service-xyz-run-{name}" for name in names}
    await scene.gitlab.wait_for(
        lambda _: contexts <= {p.context for p in scene.gitlab.statuses(GITLAB_PATH, SHA) if p.state == "success"}
    )


BAD = {
    "a boolean where Tekton wants text": run(
        "bad",
        spec={
            "params": [{"name": "revision", "value": SHA}, {"name": "debug", "value": True}],
            "pipelineSpec": {"tasks": [{"name": True, "taskSpec": {"steps": [{"script": False}]}}]},
        },
    ),
    "params that are no list": run("bad", spec={"params": "revision"}),
    "labels that are a list": run("bad", labels=["a"]),
    "a status that is text": run("bad", status="done"),
    "conditions of a wrong type": run("bad", status={"conditions": [{"type": "Succeeded", "status": True}]}),
    "no status": run("bad", status=None),
    "a null everywhere": run("bad", spec={"params": None, "pipelineRef": None}, status={"conditions": None}),
    "an annotation of 5 MB": run("bad", annotations={"example.com/huge": "x" * 5_000_000}),
    "a name that is no name": run("bad..name/../x"),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("when", ["listed", "watched"])
async def test_one_bad_run_does_not_touch_the_others(scene: Scene, body: dict[str, Any], when: str) -> None:
    scene.cluster.store.create("pipelineruns", "team-a", run("before"))
    if when == "listed":
        scene.cluster.store.create("pipelineruns", "team-a", body)
    async with scene.serve() as service:
        await service.runs.synced()
        await scene.cluster.wait_watchers("pipelineruns", 1)
        if when == "watched":
            scene.cluster.store.create("pipelineruns", "team-a", body)
        scene.cluster.store.create("pipelineruns", "team-a", run("after"))
        await all_of(scene, "before", "after")
        assert service.runs.reflectors[0].restarts == 0
        assert service.runs.reflectors[0].lists == 1


async def test_a_run_with_a_huge_annotation_is_reported_like_any_other(scene: Scene) -> None:
    async with scene.serve() as service:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.create("pipelineruns", run("huge", annotations={"example.com/huge": "x" * 5_000_000}))
        await all_of(scene, "huge")
        assert service.runs.reflectors[0].skipped == 0


async def test_a_run_with_a_boolean_parameter_is_reported_like_any_other(scene: Scene) -> None:
    async with scene.serve():
        await scene.cluster.wait_watchers("pipelineruns", 1)
        params = [{"name": "revision", "value": SHA}, {"name": "debug", "value": True}]
        scene.cluster.create("pipelineruns", run("boolean", spec={"params": params}))
        await all_of(scene, "boolean")


async def test_lines_that_are_no_events_are_skipped_and_counted(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    garbage = (
        b"this is not JSON",
        json.dumps({"type": "SURPRISE", "object": {}}).encode(),
        json.dumps(
            {"type": "ADDED", "object": {"metadata": {"name": "x", "namespace": "team-a", "labels": 7}}}
        ).encode(),
        json.dumps({"type": "DELETED", "object": 7}).encode(),
        b'{"type": "ADDED"}',
        b"\xff\xfe",
        b"",
    )
    scene.cluster.faults.add(
        Fault(verb="watch", when=lambda seen: "sendInitialEvents" not in seen.query, lines=garbage, times=1)
    )
    async with scene.serve() as service:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.create("pipelineruns", run("good"))
        await all_of(scene, "good")
        assert service.runs.reflectors[0].skipped == 6
        assert service.runs.reflectors[0].restarts == 0
    assert "skipped team-a/x" in caplog.text
