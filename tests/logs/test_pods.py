"""What else may be in a pod, and become of it: sidecars of every kind, containers that others put there, pods that are made again."""

from __future__ import annotations

import pytest

from listener.demo.kubernetes import Fault
from tests.logs.reading import read, reading, serving
from tests.pipeline import Run
from tests.scene import Scene

PATH = "/logs/team-a/service-xyz-run-a"


async def test_a_sidecar_that_kubernetes_has_among_the_init_containers_is_shown_live_and_tektons_own_is_not(
    scene: Scene,
) -> None:
    run = Run(scene.cluster)
    inner = "sidecar-tekton-log-results"
    task = run.task("test", "pytest", inits=("prepare", "sidecar-db", inner), running=("sidecar-db", inner))
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("sidecar-db", "ready\n")
        task.say(inner, "not for readers\n")
        assert await reader.line() == "[test : sidecar-db] ready"
        task.say("pytest", "tested\n")
        assert await reader.line() == "[test : pytest] tested"
        task.end_container("sidecar-db", 137)
        task.end_container(inner, 137)
        task.complete()
        run.succeed()
        assert len(await reader.rest()) == 1


async def test_a_container_that_a_service_mesh_puts_first_does_not_hold_up_the_steps(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("test", "pytest", injected=("istio-proxy",))
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("istio-proxy", "up\n")
        assert await reader.line() == "[test : istio-proxy] up"
        task.say("pytest", "tested\n")
        assert await reader.line() == "[test : pytest] tested"
        task.complete()
        run.succeed()
        assert len(await reader.rest()) == 1


async def test_a_sidecars_log_that_takes_longer_than_a_moment_is_read_to_its_end_on_replay(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("test", "pytest", sidecars=("db",))
    for number in range(30):
        task.say("sidecar-db", f"query {number} {'x' * 100_000}\n")
    task.end_container("sidecar-db")
    task.complete()
    run.succeed()
    scene.cluster.logs.rate = 1_000_000.0
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert [line.split()[4] for line in lines[:-1]] == [str(number) for number in range(30)]


async def test_a_pod_that_is_made_again_under_its_name_is_read_like_the_first_one(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("test", "pytest", "report")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("pytest", "first\n")
        assert await reader.line() == "[test : pytest] first"
        task.remove_pod()
        task.new_pod()
        task.say("pytest", "second\n")
        assert await reader.until("second")
        task.exit("pytest", 3)
        task.fail()
        run.fail()
        lines = await reader.rest()
    assert [line for line in lines if "report" not in line][:-1] == ["# test › pytest exited 3"]
    assert lines[-1].startswith("# verdict: Failed")


async def test_while_tasks_cannot_be_watched_one_that_is_not_to_be_seen_is_not_taken_to_be_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server restarts, say, and the run ends before all watches have recovered."""
    monkeypatch.setattr("listener.logs.recorder._CHILD_LAG", 0.1)
    monkeypatch.setattr("listener.cluster.reflector.Backoff.pause", lambda _self, **_: 0.1)
    run = Run(scene.cluster)
    run.task("build").complete()
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        await scene.cluster.wait_watchers("taskruns", 1)
        watch = scene.cluster.faults.add(Fault(verb="watch", resource="taskruns", status=503))
        scene.cluster.cut_watches()
        await scene.cluster.wait_unwatched("taskruns")
        await scene.cluster.requests.wait_for(lambda _: watch.hits > 0)
        task = run.task("late")
        task.say("s", "late\n")
        task.complete()
        run.succeed()
        async with session.get(PATH.replace("/logs/", "/status/")) as response:
            assert response.status == 200
        known = watch.hits + 15  # much longer than a task may be missing otherwise
        await scene.cluster.requests.wait_for(lambda _: watch.hits > known)
        scene.cluster.faults.remove(watch)
        lines = await reader.rest()
    assert lines[:-1] == ["[late : s] late"]


async def test_a_pod_waits_for_its_tasks_end_once_however_many_steps_it_has(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", *(f"s{number}" for number in range(20)))
    async with serving(scene) as (service, session), reading(session, PATH) as reader:
        task.say("s0", "first\n")
        await reader.until("first")
        recorder = service.recordings._recordings[run.uid]._recorder
        assert recorder is not None
        assert 0 < len(recorder._waiting) < 5
        task.complete()
        run.succeed()
        assert len(await reader.rest()) == 1


async def test_a_log_that_may_not_be_read_is_told_of_with_the_clusters_words(scene: Scene) -> None:
    scene.cluster.faults.add(
        Fault(verb="log", status=403, body=b'{"reason":"Forbidden","message":"no pods/log for you"}')
    )
    run = Run(scene.cluster)
    run.task("build").complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines[0] == "# build › s: no log, 403 Forbidden: no pods/log for you"
