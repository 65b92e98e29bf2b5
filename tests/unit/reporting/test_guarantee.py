"""Finalizers: put on and taken off without touching anybody else's, whatever the view that a wish was made from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from listener.cluster.client import Cluster
from listener.cluster.decode import decode_pipeline_run
from listener.cluster.objects import FINALIZER, PipelineRun
from listener.demo.kubernetes import Fault
from listener.reporting.guarantee import Guarantee
from tests.runs import delete, start
from tests.scene import Scene


@contextlib.asynccontextmanager
async def guarantee(scene: Scene, *, mine: bool = True) -> AsyncIterator[Guarantee]:
    cluster = await Cluster.connect(env=scene.env())
    one = Guarantee(cluster, permit=lambda _: float("inf") if mine else 0.0)
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await cluster.close()


def seen(scene: Scene) -> PipelineRun:
    return decode_pipeline_run(scene.cluster.store.get("pipelineruns", "team-a", "service-xyz-run-a").raw)


def finalizers(scene: Scene) -> list[str]:
    found: list[str] = scene.cluster.get("pipelineruns", "team-a", "service-xyz-run-a")["metadata"].get(
        "finalizers", []
    )
    return found


async def test_a_late_wish_to_keep_a_run_does_not_let_it_go(scene: Scene) -> None:
    start(scene.cluster, "a")
    before = seen(scene)
    scene.cluster.patch("pipelineruns", "team-a", "service-xyz-run-a", {"metadata": {"finalizers": [FINALIZER]}})
    delete(scene.cluster, "a")
    async with guarantee(scene) as one:
        one.want(before, True, home="x")
        await one.flush()
    assert finalizers(scene) == [FINALIZER]


async def test_a_run_that_is_being_deleted_gets_none(scene: Scene) -> None:
    start(scene.cluster, "a", finalizers=["other"])
    before = seen(scene)
    delete(scene.cluster, "a")
    async with guarantee(scene) as one:
        one.want(before, True, home="x")
        await one.flush()
    assert finalizers(scene) == ["other"]


async def test_whoever_changes_the_list_in_between_is_not_overwritten(scene: Scene) -> None:
    start(scene.cluster, "a")

    def meddle(request: object) -> bool:  # between our reading and our writing
        if scene.cluster.requests.count("patch", "pipelineruns") == 1 and not finalizers(scene):
            patch = {"metadata": {"finalizers": ["other"]}}
            scene.cluster.patch("pipelineruns", "team-a", "service-xyz-run-a", patch)
        return False

    scene.cluster.faults.add(Fault(verb="patch", when=meddle))
    async with guarantee(scene) as one:
        one.want(seen(scene), True, home="x")
        await scene.cluster.requests.wait_for(lambda _: FINALIZER in finalizers(scene))
    assert finalizers(scene) == ["other", FINALIZER]


async def test_another_replicas_run_is_left_alone(scene: Scene) -> None:
    start(scene.cluster, "a")
    async with guarantee(scene, mine=False) as one:
        one.want(seen(scene), True, home="x")
        await one.flush()
    assert finalizers(scene) == []
