"""``logs: record``: which runs are recorded without a reader, by whom, and what becomes of that."""

from __future__ import annotations

import contextlib

import pytest

from listener.demo.kubernetes.store import now
from tests.logs.reading import read, reading, serving
from tests.logs.test_survival import archived, recorded
from tests.pipeline import Run, finished
from tests.replica import metric
from tests.scene import GITLAB_PATH, Scene

PATH = "/logs/team-a/service-xyz-run-a"
LEASES = "\nleases: {namespace: ops, shards: 2, duration: 3, renew_deadline: 2, retry_period: 0.25}\n"


def services(of_service: str) -> str:
    return f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
    {of_service}
"""


@pytest.mark.parametrize(
    ("of_all", "of_service", "expected"),
    [
        ("record: true", "", True),
        ("record: true", "logs: on-demand", False),
        ("record: false", "logs: record", True),
        ("record: false", "", False),
    ],
)
async def test_a_services_own_word_goes_before_that_for_all(
    scene: Scene, of_all: str, of_service: str, expected: bool
) -> None:
    scene.more = f"\nlogs: {{{of_all}, archive: logs}}\n"
    scene.services = services(of_service)
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "hello\n")
    stranger = Run(scene.cluster, "somebody-elses-run")
    async with serving(scene) as (service, session):
        if expected:
            await recorded(service, run, b"hello")
        assert (run.uid in service.recordings._recordings) is expected
        assert stranger.uid not in service.recordings._recordings
        task.complete()
        run.succeed()
        if expected:
            await archived(service, run)
            async with session.get("/metrics") as response:
                assert metric((response.status, await response.text()), "logs_archived_total") == 1


async def test_a_run_that_ended_while_nobody_looked_is_recorded_as_long_as_its_pods_are_there(scene: Scene) -> None:
    scene.more = "\nlogs: {record: true, archive: logs}\n"
    run = finished(scene.cluster, "while you were away\n")
    async with serving(scene) as (service, _):
        await recorded(service, run, b"away")
        await archived(service, run)
    run.delete()
    async with serving(scene) as (_, session):
        assert (await read(session, PATH))[0] == "[build : s] while you were away"


async def test_without_a_named_archive_recorded_logs_are_kept_beside_the_configuration(scene: Scene) -> None:
    scene.more = "\nlogs: {record: true}\n"
    async with serving(scene) as (service, _):
        run = Run(scene.cluster)
        task = run.task("build")
        task.say("s", "hello\n")
        await recorded(service, run, b"hello")
        run.cancel()
        await archived(service, run)
    run.delete()
    async with serving(scene) as (_, session):
        assert (await read(session, PATH))[0] == "[build : s] hello"
    assert len(list((scene.folder / "tekton-listener-logs").rglob("*.log.gz"))) == 1


async def test_a_run_that_is_in_the_archive_is_not_recorded_again(scene: Scene) -> None:
    scene.more = "\nlogs: {record: true, archive: logs}\n"
    run = finished(scene.cluster)
    async with serving(scene) as (service, _):
        await recorded(service, run, b"hello")
        await archived(service, run)
    asked = scene.cluster.requests.count("log", "pods")
    later = Run(scene.cluster, "service-xyz-run-b")
    async with serving(scene) as (service, session):
        later_task = later.task("build")
        later_task.say("s", "hello\n")
        await recorded(service, later, b"hello")
        assert (await read(session, PATH))[0] == "[build : s] hello"
    logs = [s for s in scene.cluster.requests if s.verb == "log" and "service-xyz-run-a-" in s.path]
    assert len(logs) == asked


async def test_a_run_that_ended_long_ago_is_left_to_whoever_asks(scene: Scene) -> None:
    scene.more = "\nlogs: {record: true, archive: logs}\n"
    run = Run(scene.cluster)
    run.task("build").complete()
    run.succeed()
    scene.cluster.patch("pipelineruns", "team-a", run.name, {"status": {"completionTime": "2026-01-01T00:00:00Z"}})
    late = Run(scene.cluster, "service-xyz-run-late")
    task = late.task("build")
    task.say("s", "hello\n")
    task.complete()
    late.succeed()
    assert scene.cluster.get("pipelineruns", "team-a", late.name)["status"]["completionTime"] >= now()[:10]
    async with serving(scene) as (service, _):
        await recorded(service, late, b"hello")
        await archived(service, late)
        assert run.uid not in service.recordings._recordings


async def test_of_two_replicas_one_records_each_run_and_the_other_takes_over(scene: Scene) -> None:
    scene.more = "\nlogs: {record: true, archive: logs}\n" + LEASES
    runs = [Run(scene.cluster, f"service-xyz-run-{number}") for number in range(6)]
    tasks = [run.task("build") for run in runs]
    for task in tasks:
        task.say("s", "hello\n")
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        one, _ = await first.enter_async_context(serving(scene))
        for run in runs:
            await recorded(one, run, b"hello")
        two, session = await second.enter_async_context(serving(scene))
        assert not two.recordings._recordings
        assert set(scene.cluster.logs.following.values()) == {1}
        await first.aclose()
        for task in tasks:
            task.say("s", "more\n")
        for run in runs:
            await recorded(two, run, b"more")
        for run, task in zip(runs, tasks, strict=True):
            task.complete()
            run.succeed()
        for run in runs:
            await archived(two, run)
            assert (await read(session, run.path))[:2] == ["[build : s] hello", "[build : s] more"]


async def test_an_archive_that_cannot_be_written_is_told_of_and_the_log_is_served_all_the_same(scene: Scene) -> None:
    scene.more = "\nlogs: {record: true, archive: logs}\n"
    (scene.folder / "logs").write_text("this is no folder")
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "hello\n")
    async with serving(scene) as (service, session):
        async with reading(session, PATH) as reader:
            assert await reader.line() == "[build : s] hello"
            task.complete()
            run.succeed()
            assert (await reader.rest())[-1].startswith("# verdict: Succeeded")
        while service.recordings.problem is None:
            service.recordings.changed.clear()
            await service.recordings.changed.wait()
        async with session.get("/readyz") as response:
            assert response.status == 200
            assert "archive" in await response.text()
