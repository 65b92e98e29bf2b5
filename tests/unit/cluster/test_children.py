"""What belongs to a run, when somebody asks for it."""

from __future__ import annotations

from listener.cluster.children import read_task_runs
from listener.cluster.client import Cluster
from listener.cluster.decode import decode_pipeline_run
from tests.pipeline import Run
from tests.scene import Scene


async def test_the_task_runs_of_a_large_run_are_read_page_by_page(scene: Scene) -> None:
    run = Run(scene.cluster)
    names = [run.task("wide", child=f"wide-{number}").name for number in range(502)]
    stored = scene.cluster.store.get("pipelineruns", run.namespace, run.name).raw
    cluster = await Cluster.connect(env=scene.env())
    try:
        found = await read_task_runs(cluster, decode_pipeline_run(stored))
    finally:
        await cluster.close()
    assert [task.name for task in found] == names
    assert scene.cluster.requests.count("list", "taskruns") == 2
