"""Tekton in memory: a run that was recorded plays when somebody creates it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.replay import load
from listener.demo.kubernetes.store import Json
from listener.demo.kubernetes.tekton import RecordedTekton
from tests.contract.test_recorded_logs import recorded
from tests.scene import RECORDINGS

STEPS = load(RECORDINGS)


@pytest.fixture
async def tekton(cluster: KubernetesApi) -> AsyncIterator[RecordedTekton]:
    async with RecordedTekton(cluster, RECORDINGS, speed=200, steps=STEPS) as tekton:
        yield tekton


def create(cluster: KubernetesApi, like: str, name: str) -> Json:
    """A run with the pipeline of a recorded one."""
    import yaml

    for body in yaml.safe_load_all((RECORDINGS / "runs.yaml").read_text()):
        if body["metadata"]["name"] == f"service-xyz-run-{like}":
            return cluster.create("pipelineruns", {**body, "metadata": {"name": name, "namespace": "here"}})
    raise AssertionError(like)


def state(cluster: KubernetesApi, name: str) -> tuple[str, str]:
    conditions: list[Any] = cluster.get("pipelineruns", "here", name).get("status", {}).get("conditions") or [{}]
    return conditions[0].get("status", ""), conditions[0].get("reason", "")


async def until(cluster: KubernetesApi, resource: str, met: Callable[[], bool]) -> None:
    changed = asyncio.Event()
    cluster.store.shelf(resource).listeners.add(changed)
    async with asyncio.timeout(20):
        while not met():
            changed.clear()
            await changed.wait()


async def test_it_plays_under_its_own_name_with_its_tasks_pods_and_logs(
    cluster: KubernetesApi, tekton: RecordedTekton
) -> None:
    body = create(cluster, "unnamed", "mine")
    cluster.patch("pipelineruns", "here", "mine", {"metadata": {"annotations": {"somebody": "else"}}})
    await until(cluster, "pipelineruns", lambda: state(cluster, "mine") == ("True", "Succeeded"))
    run = cluster.get("pipelineruns", "here", "mine")
    assert run["metadata"]["uid"] == body["metadata"]["uid"]
    assert run["metadata"]["annotations"] == {"somebody": "else"}
    pod = cluster.get("pods", "here", "mine-a-pod")
    assert pod["metadata"]["labels"]["tekton.dev/pipelineRun"] == "mine"
    task = cluster.get("taskruns", "here", "mine-a")
    assert task["metadata"]["ownerReferences"][0]["uid"] == body["metadata"]["uid"]
    assert "service-xyz-run" not in str(run["status"]) + str(task) + str(pod)
    assert await log(cluster, "mine-a-pod", "step-unnamed-1") == recorded("unnamed")["a-pod", "unnamed-1"]


async def log(cluster: KubernetesApi, pod: str, container: str) -> bytes:
    from listener.demo.kubernetes.podlogs import LogOptions

    pieces = cluster.logs.read(("here", pod), container, LogOptions())
    return b"".join([piece async for piece in pieces])


async def test_where_somebody_cancelled_it_waits_for_somebody(cluster: KubernetesApi, tekton: RecordedTekton) -> None:
    create(cluster, "cancel", "one")
    create(cluster, "onerror", "other")  # which takes as long as the first one until it was cancelled
    await until(cluster, "pipelineruns", lambda: state(cluster, "other")[0] == "True")
    assert state(cluster, "one") == ("Unknown", "Running")
    cluster.patch("pipelineruns", "here", "one", {"spec": {"status": "CancelledRunFinally"}})
    await until(cluster, "pipelineruns", lambda: state(cluster, "one") == ("False", "Cancelled"))


async def test_what_a_deleted_run_owned_goes_with_it(cluster: KubernetesApi, tekton: RecordedTekton) -> None:
    create(cluster, "cancel", "one")
    await until(cluster, "pods", lambda: ("here", "one-slow-pod") in cluster.store.names("pods"))
    cluster.delete("pipelineruns", "here", "one")
    await until(cluster, "pods", lambda: not cluster.store.names("pods"))
    assert not cluster.store.names("taskruns")


async def test_a_step_that_was_recorded_too_late_prints_what_tkn_saw(
    cluster: KubernetesApi, tekton: RecordedTekton
) -> None:
    create(cluster, "fail1", "mine")
    await until(cluster, "pipelineruns", lambda: state(cluster, "mine") == ("False", "Failed"))
    assert (await log(cluster, "mine-report-pod", "step-r")).endswith(b"status=\n")


async def test_a_run_that_nobody_recorded_stays_as_it_is(cluster: KubernetesApi, tekton: RecordedTekton) -> None:
    cluster.create("pipelineruns", {"metadata": {"name": "new", "namespace": "here"}, "spec": {"pipelineSpec": {}}})
    create(cluster, "badref", "known")
    await until(cluster, "pipelineruns", lambda: state(cluster, "known")[0] == "False")
    assert "status" not in cluster.get("pipelineruns", "here", "new")


async def test_a_new_namespace_gets_its_account_and_all_in_it_goes_with_it(
    cluster: KubernetesApi, tekton: RecordedTekton
) -> None:
    cluster.create("namespaces", {"metadata": {"name": "here"}})
    await until(cluster, "serviceaccounts", lambda: ("here", "default") in cluster.store.names("serviceaccounts"))
    create(cluster, "cancel", "one")
    cluster.store.clear("here")
    assert not cluster.store.names("serviceaccounts")
    assert not cluster.store.names("pipelineruns")
