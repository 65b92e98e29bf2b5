"""Families of followed runs, told through one watch, against a cluster that misbehaves as real ones do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from listener.cluster.client import Cluster
from listener.cluster.decode import decode_pipeline_run
from listener.cluster.families import Families, Family
from listener.cluster.objects import PipelineRun
from listener.cluster.reflector import Backoff
from listener.demo.kubernetes import Fault, KubernetesApi
from listener.demo.kubernetes.faults import Seen
from tests.proxy import Proxy
from tests.runs import run
from tests.scene import Scene


class Paces(Backoff):
    """Never waits, and remembers for how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def pause(self, *, at_least: float = 0.0) -> float:
        self.asked.append(at_least)
        return super().pause() * 0.01


class Followed:
    """One family, and every state of it that was told."""

    def __init__(self) -> None:
        self.family: Family
        self.told = asyncio.Event()
        self.phases: list[tuple[str, str]] = []  # of pods, as they changed

    def hear(self) -> None:
        self.told.set()
        for name, pod in self.family.pod_members.objects.items():
            if (name, pod.phase) not in self.phases[-1:]:
                self.phases.append((name, pod.phase))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.told.clear()
                await self.told.wait()

    async def until_synced(self) -> None:
        await self.until(lambda: self.family.synced)

    async def until_pods(self, *names: str) -> None:
        await self.until(lambda: self.pods == set(names))

    @property
    def pods(self) -> set[str]:
        return set(self.family.pod_members.objects)


class Watched:
    """Families that run."""

    def __init__(self, scene: Scene, families: Families, task: asyncio.Task[None], paces: list[Paces]) -> None:
        self.scene, self.families, self.task, self.paces = scene, families, task, paces

    @contextlib.contextmanager
    def follow(self, of: PipelineRun) -> Iterator[Followed]:
        followed = Followed()
        with self.families.of(of, on_change=followed.hear) as followed.family:
            yield followed


@contextlib.asynccontextmanager
async def watched(scene: Scene, *, env: dict[str, str] | None = None, **options: Any) -> AsyncIterator[Watched]:
    cluster = await Cluster.connect(env=env or scene.env())
    paces: list[Paces] = []

    def backoff() -> Backoff:
        paces.append(Paces())
        return paces[-1]

    families = Families(cluster, backoff=backoff, **options)
    task = asyncio.create_task(families.run())
    try:
        yield Watched(scene, families, task, paces)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await cluster.close()


def start(cluster: KubernetesApi, name: str, *, namespace: str = "team-a") -> PipelineRun:
    """A run, as the listener knows it."""
    body = run(name)
    body["metadata"]["namespace"] = namespace
    return decode_pipeline_run(msgspec.json.encode(cluster.create("pipelineruns", body)))


def labels_of(of: PipelineRun) -> dict[str, str]:
    return {"tekton.dev/pipelineRun": of.name}


def add_task(cluster: KubernetesApi, of: PipelineRun, name: str, *, owner: str | None = None) -> dict[str, Any]:
    owners = [{"kind": "PipelineRun", "name": of.name, "uid": of.uid if owner is None else owner}]
    meta = {"name": name, "namespace": of.namespace, "labels": labels_of(of), "ownerReferences": owners}
    return cluster.create("taskruns", {"metadata": meta, "spec": {}, "status": {}})


def add_pod(cluster: KubernetesApi, of: PipelineRun, name: str, *, phase: str = "Pending", task: str = "") -> None:
    owners = [{"kind": "TaskRun", "name": name, "uid": task}] if task else []
    meta = {"name": name, "namespace": of.namespace, "labels": labels_of(of), "ownerReferences": owners}
    cluster.create("pods", {"metadata": meta, "spec": {"containers": []}, "status": {"phase": phase}})


def set_phase(cluster: KubernetesApi, name: str, phase: str) -> None:
    cluster.patch("pods", "team-a", name, {"status": {"phase": phase}})


def is_list_of_run(seen: Seen) -> bool:
    return seen.verb == "list" and "=" in seen.query.get("labelSelector", "")


def lists_of(cluster: KubernetesApi, of: PipelineRun, resource: str = "pods") -> int:
    return sum(
        1 for seen in cluster.requests if is_list_of_run(seen) and seen.resource == resource and of.name in str(seen)
    )


def places_found(cluster: KubernetesApi, resource: str = "pods") -> int:
    return sum(1 for s in cluster.requests if s.resource == resource and s.query.get("limit") == "1")


# What a family knows


async def test_knows_what_was_there_and_hears_of_what_comes_and_goes(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    add_task(scene.cluster, a, "a-build")
    add_pod(scene.cluster, a, "a-build-pod")
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            assert set(f.family.task_runs) == {"a-build"}
            assert f.pods == {"a-build-pod"}
            add_task(scene.cluster, a, "a-test")
            add_pod(scene.cluster, a, "a-test-pod")
            await f.until(lambda: set(f.family.task_runs) == {"a-build", "a-test"})
            await f.until_pods("a-build-pod", "a-test-pod")
            set_phase(scene.cluster, "a-test-pod", "Running")
            await f.until(lambda: (pod := f.family.pod("a-test-pod")) is not None and pod.phase == "Running")
            scene.cluster.delete("pods", "team-a", "a-build-pod")
            scene.cluster.delete("taskruns", "team-a", "a-build")
            await f.until_pods("a-test-pod")
            await f.until(lambda: set(f.family.task_runs) == {"a-test"})
            assert f.family.pod("a-build-pod") is None
            assert f.family.pod_was_there("a-build-pod")
            assert not f.family.pod_was_there("never")
            assert f.family.problem == ""


async def test_a_list_of_several_pages_is_one_list(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    for number in range(1203):
        add_pod(scene.cluster, a, f"pod-{number}")
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            assert len(f.pods) == 1203
    assert lists_of(scene.cluster, a) == 3


async def test_families_share_one_watch_and_each_hears_only_of_its_own(scene: Scene) -> None:
    a, b, c = (start(scene.cluster, name) for name in "abc")
    async with watched(scene) as w:
        with w.follow(a) as f, w.follow(b) as g, w.follow(a) as again:
            await asyncio.gather(f.until_synced(), g.until_synced(), again.until_synced())
            await scene.cluster.wait_watchers("pods", 1)
            await scene.cluster.wait_watchers("taskruns", 1)
            add_pod(scene.cluster, c, "of-c")
            add_task(scene.cluster, c, "of-c")
            add_pod(scene.cluster, a, "of-a")
            add_pod(scene.cluster, b, "of-b")
            await asyncio.gather(f.until_pods("of-a"), g.until_pods("of-b"), again.until_pods("of-a"))
            assert ("of-c", "Pending") not in f.phases + g.phases
            assert not f.family.task_runs
    assert scene.cluster.requests.count("watch", "pods") == 1
    assert scene.cluster.requests.count("watch", "taskruns") == 1
    assert lists_of(scene.cluster, c) == 0


async def test_task_runs_of_an_earlier_run_with_the_same_name_stay_out(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    add_task(scene.cluster, a, "old-listed", owner="of-before")
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            await scene.cluster.wait_watchers("taskruns", 1)
            add_task(scene.cluster, a, "old-watched", owner="of-before")
            add_task(scene.cluster, a, "ours")
            add_task(scene.cluster, a, "nobody-says", owner="")
            await f.until(lambda: "nobody-says" in f.family.task_runs)
            assert set(f.family.task_runs) == {"ours", "nobody-says"}
            scene.cluster.delete("taskruns", "team-a", "old-watched")
            scene.cluster.delete("taskruns", "team-a", "ours")
            await f.until(lambda: set(f.family.task_runs) == {"nobody-says"})


async def test_the_pod_of_an_earlier_task_run_of_the_same_name_is_not_given(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    add_pod(scene.cluster, a, "a-build-pod", task="of-before")
    uid = add_task(scene.cluster, a, "a-build")["metadata"]["uid"]
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            task = f.family.task_runs["a-build"]
            assert f.family.pod("a-build-pod", task) is None
            assert not f.family.pod_was_there("a-build-pod", task)
            scene.cluster.delete("pods", "team-a", "a-build-pod")
            add_pod(scene.cluster, a, "a-build-pod", task=uid)
            await f.until(lambda: f.family.pod("a-build-pod", task) is not None)


async def test_with_namespaces_only_they_are_asked_about(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    b = start(scene.cluster, "b", namespace="team-b")
    async with watched(scene, namespaces=("team-a", "team-b")) as w:
        with w.follow(a) as f, w.follow(b) as g:
            await asyncio.gather(f.until_synced(), g.until_synced())
            await scene.cluster.wait_watchers("pods", 2)
            add_pod(scene.cluster, a, "of-a")
            add_pod(scene.cluster, b, "of-b")
            await asyncio.gather(f.until_pods("of-a"), g.until_pods("of-b"))
    asked = {seen.path for seen in scene.cluster.requests if seen.resource in ("pods", "taskruns")}
    assert {path.split("/namespaces/")[1] for path in asked} == {
        f"{namespace}/{resource}" for namespace in ("team-a", "team-b") for resource in ("pods", "taskruns")
    }


async def test_in_one_of_two_namespaces_a_refusal_does_not_touch_the_other(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    b = start(scene.cluster, "b", namespace="team-b")
    scene.cluster.faults.add(Fault(when=lambda s: "/namespaces/team-b/pods" in s.path, status=403))
    async with watched(scene, namespaces=("team-a", "team-b")) as w:
        with w.follow(a) as f, w.follow(b) as g:
            await f.until_synced()
            await scene.cluster.requests.wait_for(lambda _: bool(g.family.problem))
            assert f.family.problem == ""
            assert "403" in g.family.problem
            assert not g.family.synced


# Lists and the watch, in any order


async def test_a_list_never_overwrites_what_the_watch_has_said_since_it_began(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    add_pod(scene.cluster, a, "changes")
    add_pod(scene.cluster, a, "vanishes")
    async with Proxy(scene) as proxy, watched(scene, env=proxy.env()) as w:
        with w.follow(start(scene.cluster, "b")) as other:
            await other.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            proxy.hold(b"/namespaces/team-a/pods?")
            with w.follow(a) as f:
                await proxy.held.wait()
                set_phase(scene.cluster, "changes", "Running")
                scene.cluster.delete("pods", "team-a", "vanishes")
                add_pod(scene.cluster, a, "came")
                await f.until_pods("changes", "came")
                assert not f.family.synced
                proxy.release()
                await f.until_synced()
                assert f.pods == {"changes", "came"}
    assert ("changes", "Pending") not in f.phases


async def test_a_watch_that_lags_behind_a_list_brings_nothing_back(scene: Scene) -> None:
    a, b = start(scene.cluster, "a"), start(scene.cluster, "b")
    async with Proxy(scene) as proxy, watched(scene, env=proxy.env()) as w:
        with w.follow(a) as other:
            await other.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            add_pod(scene.cluster, a, "warm")
            await other.until_pods("warm")
            proxy.freeze()
            add_pod(scene.cluster, b, "changes")
            add_pod(scene.cluster, b, "vanishes")
            set_phase(scene.cluster, "changes", "Running")
            scene.cluster.delete("pods", "team-a", "vanishes")
            with w.follow(b) as f:
                await f.until_synced()
                assert f.pods == {"changes"}
                set_phase(scene.cluster, "changes", "Succeeded")
                proxy.thaw()
                await f.until(lambda: f.phases[-1][1] == "Succeeded")
    assert f.phases == [("changes", "Running"), ("changes", "Succeeded")]


async def test_a_watch_without_a_sign_of_life_is_begun_again(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    async with Proxy(scene) as proxy, watched(scene, env=proxy.env(), silence=(0.2, 0.3)) as w:
        with w.follow(a) as f:
            await f.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            proxy.freeze()
            add_pod(scene.cluster, a, "came")
            await f.until_pods("came")


async def test_resumes_from_where_the_watch_was_when_it_ends(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            add_pod(scene.cluster, a, "first")
            await f.until_pods("first")
            last = scene.cluster.store.version
            scene.cluster.cut_watches()
            await scene.cluster.requests.wait_for(lambda _: scene.cluster.requests.count("watch", "pods") > 1)
            add_pod(scene.cluster, a, "second")
            await f.until_pods("first", "second")
    second = [s for s in scene.cluster.requests if s.verb == "watch" and s.resource == "pods"][1]
    assert second.query["resourceVersion"] == str(last)
    assert lists_of(scene.cluster, a) == 1


async def test_a_bookmark_moves_the_place_that_a_watch_resumes_from(scene: Scene) -> None:
    scene.cluster.bookmark_interval = 0.05
    a = start(scene.cluster, "a")
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            start(scene.cluster, "moves-on")
            at = scene.cluster.store.version

            def resumed() -> bool:
                watches = [s for s in scene.cluster.requests if s.verb == "watch" and s.resource == "pods"]
                if watches[-1].query["resourceVersion"] == str(at):
                    return True
                scene.cluster.cut_watches()
                return False

            async with asyncio.timeout(20):
                while not resumed():
                    await scene.cluster.wait_watchers("pods", 1)
                    await asyncio.sleep(0.1)  # the bookmark's interval
    assert lists_of(scene.cluster, a) == 1


@pytest.mark.parametrize("how", ["event", "status"])
async def test_410_lists_every_family_again_and_what_vanished_is_gone(scene: Scene, how: str) -> None:
    a, b = start(scene.cluster, "a"), start(scene.cluster, "b")
    for of in (a, b):
        add_pod(scene.cluster, of, f"{of.uid}-stays")
        add_pod(scene.cluster, of, f"{of.uid}-vanishes")
    async with watched(scene) as w:
        with w.follow(a) as f, w.follow(b) as g:
            await asyncio.gather(f.until_synced(), g.until_synced())
            await scene.cluster.wait_watchers("pods", 1)
            await scene.cluster.stop()
            for of in (a, b):
                scene.cluster.delete("pods", "team-a", f"{of.uid}-vanishes")
                add_pod(scene.cluster, of, f"{of.uid}-came")
            if how == "event":
                scene.cluster.store.compact(scene.cluster.store.version)
            else:
                scene.cluster.faults.add(Fault(verb="watch", resource="pods", times=1, status=410))
            await scene.cluster.start()
            await f.until_pods(f"{a.uid}-stays", f"{a.uid}-came")
            await g.until_pods(f"{b.uid}-stays", f"{b.uid}-came")
            assert f.family.pod_was_there(f"{a.uid}-vanishes")
            add_pod(scene.cluster, a, "later")
            await f.until(lambda: "later" in f.pods)
    assert (lists_of(scene.cluster, a), lists_of(scene.cluster, b)) == (2, 2)
    assert places_found(scene.cluster) == 2


async def test_a_place_lost_while_a_list_is_under_way_makes_another_one(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    add_pod(scene.cluster, a, "vanishes")
    async with Proxy(scene) as proxy, watched(scene, env=proxy.env()) as w:
        proxy.hold(b"/namespaces/team-a/pods?")
        with w.follow(a) as f:
            await proxy.held.wait()
            await scene.cluster.wait_watchers("pods", 1)
            scene.cluster.faults.add(Fault(verb="watch", resource="pods", times=1, status=410))
            proxy.freeze()  # so that the deletion is in no watch that anybody reads
            scene.cluster.delete("pods", "team-a", "vanishes")
            scene.cluster.store.compact(scene.cluster.store.version, "pods")
            proxy.thaw()
            await scene.cluster.requests.wait_for(lambda _: places_found(scene.cluster) >= 2)
            proxy.release()
            await f.until(lambda: f.family.synced and not f.pods)


async def test_a_page_that_has_expired_begins_the_list_again(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    for number in range(501):
        add_pod(scene.cluster, a, f"pod-{number}")
    expired = scene.cluster.faults.add(
        Fault(verb="list", resource="pods", when=lambda s: "continue" in s.query, times=1, status=410)
    )
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            assert len(f.pods) == 501
            assert f.family.problem == ""
    assert expired.hits == 1


# Trouble


async def test_a_refusal_is_said_and_taken_back_when_it_works(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    a = start(scene.cluster, "a")
    refused = scene.cluster.faults.add(Fault(resource="pods", status=403))
    async with watched(scene) as w:
        with w.follow(a) as f:
            await scene.cluster.requests.wait_for(lambda _: refused.hits >= 3)
            assert "403" in f.family.problem
            assert not f.family.synced
            scene.cluster.faults.remove(refused)
            await f.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            add_pod(scene.cluster, a, "came")
            await f.until_pods("came")
            assert f.family.problem == ""
    assert [r.levelname for r in caplog.records if "watching /api/v1/pods" in r.message] == ["WARNING"]


async def test_a_refused_list_is_the_problem_of_those_whom_it_concerns(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = start(scene.cluster, "a"), start(scene.cluster, "b")
    refused = Fault(resource="pods", when=lambda s: is_list_of_run(s) and b.name in str(s), status=500)
    scene.cluster.faults.add(refused)
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            with w.follow(b) as g:
                await scene.cluster.requests.wait_for(lambda _: refused.hits >= 3)
                assert "500" in g.family.problem
                assert f.family.problem == ""
                scene.cluster.faults.remove(refused)
                await g.until_synced()
                assert g.family.problem == ""
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


async def test_a_list_that_fails_does_not_hold_up_other_families(scene: Scene) -> None:
    a, b = start(scene.cluster, "a"), start(scene.cluster, "b")
    scene.cluster.faults.add(Fault(when=lambda s: is_list_of_run(s) and a.name in str(s), hang=True))
    async with watched(scene) as w:
        with w.follow(a) as f, w.follow(b) as g:
            await g.until_synced()
            assert not f.family.synced


async def test_an_unreadable_pod_is_skipped_and_named_once_and_the_others_go_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    a = start(scene.cluster, "a")
    add_pod(scene.cluster, a, "good")
    bad = {"metadata": {"name": "bad", "namespace": "team-a", "labels": labels_of(a)}, "spec": "none", "status": {}}
    scene.cluster.create("pods", bad)
    scene.cluster.faults.add(
        Fault(
            verb="watch",
            resource="pods",
            lines=(
                b"<html>",
                b'{"type":"ADDED","object":[]}',
                b'{"type":"ADDED","object":{"metadata":{"resourceVersion":7}}}',
                b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":7}}}',
                b'{"type":"UNHEARD-OF","object":{"metadata":{"name":"x"}}}',
            ),
        )
    )
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
            assert f.pods == {"good"}
            await scene.cluster.wait_watchers("pods", 1)
            for number in range(5):
                scene.cluster.patch("pods", "team-a", "bad", {"spec": f"none {number}"})
            add_pod(scene.cluster, a, "came")
            await f.until_pods("good", "came")
            scene.cluster.patch("pods", "team-a", "good", {"spec": "none"})
            scene.cluster.delete("pods", "team-a", "good")
            await f.until_pods("came")
    skipped = [r.args[0] for r in caplog.records if r.msg.startswith("skipped") and isinstance(r.args, tuple)]
    assert sorted(map(str, skipped)) == ["an event", "team-a/bad", "team-a/good"]


@pytest.mark.parametrize(
    "lines", [(), (b"<html>",), (b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":""}}}',)]
)
async def test_a_watch_that_ends_at_once_and_gets_nowhere_is_a_failure(scene: Scene, lines: tuple[bytes, ...]) -> None:
    a = start(scene.cluster, "a")
    body = b"".join(line + b"\n" for line in lines)
    useless = scene.cluster.faults.add(Fault(verb="watch", times=8, status=200, body=body))
    async with watched(scene) as w:
        with w.follow(a) as f:
            await scene.cluster.wait_watchers("pods", 1)
            await scene.cluster.wait_watchers("taskruns", 1)
            add_pod(scene.cluster, a, "came")
            await f.until_pods("came")
            assert f.family.problem == ""
    assert useless.hits == 8
    assert sum(len(pace.asked) for pace in w.paces) == 8
    assert lists_of(scene.cluster, a) == 1


async def test_a_server_that_asks_to_be_left_alone_is(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    busy = Fault(resource="pods", times=1, status=429, headers={"Retry-After": "7"})
    scene.cluster.faults.add(busy)
    async with watched(scene) as w:
        with w.follow(a) as f:
            await f.until_synced()
    assert [asked for pace in w.paces for asked in pace.asked] == [7.0]


# Coming and going


async def test_the_watch_ends_when_nobody_follows_and_begins_with_a_list_later(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    async with watched(scene, linger=0.01) as w:
        with w.follow(a) as f:
            await f.until_synced()
            await scene.cluster.wait_watchers("pods", 1)
            await scene.cluster.wait_watchers("taskruns", 1)
        await scene.cluster.wait_unwatched("pods")
        await scene.cluster.wait_unwatched("taskruns")
        add_pod(scene.cluster, a, "meanwhile")
        with w.follow(a) as f:
            await f.until_synced()
            assert f.pods == {"meanwhile"}
            await scene.cluster.wait_watchers("pods", 1)
            add_pod(scene.cluster, a, "later")
            await f.until_pods("meanwhile", "later")
    assert scene.cluster.requests.count("watch", "pods") == 2
    assert places_found(scene.cluster) == 2


async def test_whoever_comes_back_in_time_finds_the_watch_open(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    async with watched(scene, linger=0.0) as w:
        for number in range(5):
            with w.follow(a) as f:
                if not number:
                    await f.until_synced()
                    await scene.cluster.wait_watchers("pods", 1)
        with w.follow(a) as f:
            await f.until_synced()
            add_pod(scene.cluster, a, "came")
            await f.until_pods("came")
    assert scene.cluster.requests.count("watch", "pods") == 1
    assert places_found(scene.cluster) == 1


async def test_who_leaves_while_its_list_is_pending_leaves_the_others_alone(scene: Scene) -> None:
    a, b = start(scene.cluster, "a"), start(scene.cluster, "b")
    for number in range(501):
        add_pod(scene.cluster, a, f"pod-{number}")
    async with Proxy(scene) as proxy, watched(scene, env=proxy.env()) as w:
        with w.follow(b) as g:
            await g.until_synced()
            proxy.hold(b"/namespaces/team-a/pods?")
            with w.follow(a) as f:
                await proxy.held.wait()
            proxy.release()
            with w.follow(b) as again:
                await again.until_synced()
            add_pod(scene.cluster, b, "came")
            await g.until_pods("came")
        assert not f.pods
    assert lists_of(scene.cluster, a) == 1, "it asked for a second page that nobody wants"


async def test_who_leaves_before_the_watch_has_its_place_leaves_no_watch_behind(scene: Scene) -> None:
    a = start(scene.cluster, "a")
    async with Proxy(scene) as proxy, watched(scene, env=proxy.env(), linger=0.5) as w:
        proxy.hold(b"limit=1 ")
        with w.follow(a):
            await proxy.held.wait()
            await scene.cluster.requests.wait_for(lambda _: places_found(scene.cluster, "taskruns") == 1)
        proxy.release()
        await scene.cluster.wait_watchers("pods", 1)
        await scene.cluster.wait_unwatched("pods")
        with w.follow(a) as f:
            await f.until_synced()
            add_pod(scene.cluster, a, "came")
            await f.until_pods("came")


@pytest.mark.parametrize("state", ["idle", "watching", "listing", "placing", "backing off"])
async def test_cancellation_leaves_no_task_behind(scene: Scene, state: str) -> None:
    a = start(scene.cluster, "a")
    faults = {
        "listing": Fault(when=is_list_of_run, hang=True),
        "placing": Fault(when=lambda s: s.query.get("limit") == "1", hang=True),
        "backing off": Fault(resource="pods", status=429, headers={"Retry-After": "60"}),
    }
    before = asyncio.all_tasks()
    cluster = await Cluster.connect(env=scene.env())
    families = Families(cluster)
    task = asyncio.create_task(families.run())
    with contextlib.ExitStack() as stack:
        if state in faults:
            scene.cluster.faults.add(faults[state])
        if state != "idle":
            stack.enter_context(families.of(a, on_change=lambda: None))
        if state == "watching":
            await scene.cluster.wait_watchers("pods", 1)
            await scene.cluster.wait_watchers("taskruns", 1)
        elif state in faults:
            await scene.cluster.requests.wait_for(lambda _: faults[state].hits > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ours = {t for t in asyncio.all_tasks() - before if "_Scope" in repr(t) or "Families" in repr(t)}
        assert not ours
    await cluster.close()
