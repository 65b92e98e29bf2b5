"""The reflector against a server that misbehaves as real ones do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from listener.cluster.client import ApiError, Cluster, collection_path
from listener.cluster.decode import decode_pipeline_run
from listener.cluster.objects import PipelineRun
from listener.cluster.reflector import Backoff, Change, Reflector
from listener.demo.kubernetes import Fault, KubernetesApi
from tests.faults.test_bad_objects import run
from tests.proxy import Proxy
from tests.scene import Scene

PATH = collection_path("pipelineruns")


class Watched:
    """A reflector that runs, and what it told."""

    def __init__(
        self, reflector: Reflector[PipelineRun], changes: list[Change[PipelineRun]], told: asyncio.Event
    ) -> None:
        self.reflector, self.changes, self._told = reflector, changes, told

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._told.clear()
                await self._told.wait()

    def names(self) -> set[str]:
        return {key.name.removeprefix("service-xyz-run-") for key in self.reflector.objects}

    def deleted(self) -> list[str]:
        return [c.object.name.removeprefix("service-xyz-run-") for c in self.changes if c.deleted]


@contextlib.asynccontextmanager
async def watched(scene: Scene, *, selector: str = "", **env: str) -> AsyncIterator[Watched]:
    cluster = await Cluster.connect(env={**scene.env(), **env})
    changes: list[Change[PipelineRun]] = []
    told = asyncio.Event()

    def hear(change: Change[PipelineRun]) -> None:
        changes.append(change)
        told.set()

    reflector = Reflector(
        cluster,
        path=PATH,
        decode=decode_pipeline_run,
        on_change=hear,
        label_selector=selector,
        backoff=Backoff(first=0.01, cap=0.05),
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield Watched(reflector, changes, told)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await cluster.close()


def watches_from(cluster: KubernetesApi) -> list[str]:
    return [s.query["resourceVersion"] for s in cluster.requests if s.verb == "watch" and "resourceVersion" in s.query]


@pytest.mark.parametrize("streaming", [True, False])
async def test_knows_what_was_there_and_hears_of_what_comes(scene: Scene, streaming: bool) -> None:
    scene.cluster.streaming_lists = streaming
    for number in range(1203):  # more than two pages
        scene.cluster.create("pipelineruns", run(str(number)))
    async with watched(scene) as w:
        await w.reflector.synced.wait()
        assert len(w.reflector.objects) == 1203
        scene.cluster.create("pipelineruns", run("new"))
        scene.cluster.delete("pipelineruns", "team-a", "service-xyz-run-7")
        await w.until(lambda: w.deleted() == ["7"])
        assert "new" in w.names()
    assert scene.cluster.requests.count("list", "pipelineruns") == (0 if streaming else 3)


async def test_resumes_from_the_last_version_when_a_watch_ends(scene: Scene) -> None:
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.create("pipelineruns", run("a"))
        await w.until(lambda: "a" in w.names())
        last = scene.cluster.store.version
        scene.cluster.cut_watches()
        await scene.cluster.requests.wait_for(lambda _: len(watches_from(scene.cluster)) == 2)
        scene.cluster.create("pipelineruns", run("b"))
        await w.until(lambda: "b" in w.names())
    assert watches_from(scene.cluster)[-1] == str(last)
    assert w.reflector.lists == 1


@pytest.mark.parametrize("how", ["event", "status"])
async def test_410_lists_again_and_what_vanished_is_a_deletion_with_its_last_state(scene: Scene, how: str) -> None:
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.create("pipelineruns", run("stays"))
        scene.cluster.create("pipelineruns", run("vanishes"))
        await w.until(lambda: w.names() == {"stays", "vanishes"})
        await scene.cluster.stop()
        scene.cluster.delete("pipelineruns", "team-a", "service-xyz-run-vanishes")
        scene.cluster.create("pipelineruns", run("came"))
        if how == "event":
            scene.cluster.store.compact(scene.cluster.store.version)
        else:
            scene.cluster.faults.add(
                Fault(verb="watch", when=lambda s: "sendInitialEvents" not in s.query, times=1, status=410)
            )
        await scene.cluster.start()
        await w.until(lambda: w.names() == {"stays", "came"})
        assert w.deleted() == ["vanishes"]
        assert w.reflector.lists == 2
        assert next(c for c in w.changes if c.deleted).object.done


async def test_a_compaction_in_the_middle_of_a_paged_list_lists_again(scene: Scene) -> None:
    scene.cluster.streaming_lists = False
    for number in range(600):
        scene.cluster.create("pipelineruns", run(str(number)))
    expired = Fault(
        verb="list", when=lambda s: "continue" in s.query, times=1, status=410, body=b'{"reason":"Expired"}'
    )
    scene.cluster.faults.add(expired)
    async with watched(scene) as w:
        await w.reflector.synced.wait()
        assert len(w.reflector.objects) == 600
    assert expired.hits == 1
    assert w.deleted() == []


@pytest.mark.parametrize(("status", "body"), [(429, b"slow down"), (502, b"<html>bad gateway</html>"), (500, b"{")])
async def test_errors_on_the_watch_back_off_without_a_new_list(scene: Scene, status: int, body: bytes) -> None:
    refused = Fault(verb="watch", when=lambda s: "sendInitialEvents" not in s.query, times=3, status=status, body=body)
    scene.cluster.faults.add(refused)
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.create("pipelineruns", run("a"))
        await w.until(lambda: "a" in w.names())
        assert w.reflector.problem is None
    assert refused.hits == 3
    assert w.reflector.restarts == 3
    assert w.reflector.lists == 1
    assert w.reflector.skipped == 0


async def test_empty_watches_again_and_again_count_as_failures(scene: Scene) -> None:
    empty = Fault(verb="watch", when=lambda s: "sendInitialEvents" not in s.query, times=4, status=200)
    scene.cluster.faults.add(empty)
    async with watched(scene) as w:
        await scene.cluster.requests.wait_for(lambda _: len(watches_from(scene.cluster)) == 5)
        await scene.cluster.wait_watchers("pipelineruns", 1)
    assert empty.hits == 4
    assert w.reflector.restarts == 4


async def test_a_refused_streaming_list_falls_back_to_pages_and_stays_there(scene: Scene) -> None:
    scene.cluster.streaming_lists = False
    scene.cluster.create("pipelineruns", run("a"))
    async with watched(scene) as w:
        await w.reflector.synced.wait()
        assert w.names() == {"a"}
        await scene.cluster.wait_watchers("pipelineruns", 1)
    asked = [s for s in scene.cluster.requests if "sendInitialEvents" in s.query]
    assert len(asked) == 1


async def test_a_run_made_anew_under_its_old_name_is_a_deletion_and_an_addition(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a"))
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        await scene.cluster.stop()
        scene.cluster.delete("pipelineruns", "team-a", "service-xyz-run-a")
        scene.cluster.create("pipelineruns", run("a"))
        scene.cluster.store.compact(scene.cluster.store.version)
        await scene.cluster.start()
        await w.until(lambda: len(w.changes) == 3)
    first, gone, again = w.changes
    assert gone.deleted
    assert gone.object.uid == first.object.uid != again.object.uid
    assert not again.deleted


async def test_credentials_are_read_again_after_a_401(scene: Scene) -> None:
    scene.cluster.tokens = ("new",)
    env = scene.env()
    scene.cluster.kubeconfig(scene.folder / "kubeconfig", token="old")
    cluster = await Cluster.connect(env=env)
    reflector = Reflector(
        cluster, path=PATH, decode=decode_pipeline_run, on_change=lambda _: None, backoff=Backoff(first=0.01, cap=0.02)
    )
    task = asyncio.create_task(reflector.run())
    await scene.cluster.requests.wait_for(lambda seen: len(seen) >= 2)
    scene.cluster.kubeconfig(scene.folder / "kubeconfig", token="new")
    async with asyncio.timeout(10):
        await reflector.synced.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await cluster.close()


async def test_relist_learns_what_a_frozen_watch_keeps_back_and_watches_on_from_there(scene: Scene) -> None:
    async with Proxy(scene) as proxy, watched(scene, **proxy.env()) as w:
        scene.cluster.create("pipelineruns", run("stays"))
        scene.cluster.create("pipelineruns", run("vanishes"))
        await w.until(lambda: w.names() == {"stays", "vanishes"})
        proxy.freeze()
        assert proxy.frozen == 1
        scene.cluster.create("pipelineruns", run("came"))
        scene.cluster.delete("pipelineruns", "team-a", "service-xyz-run-vanishes")
        await w.reflector.relist()
        assert w.names() == {"stays", "came"}
        assert w.deleted() == ["vanishes"]
        scene.cluster.create("pipelineruns", run("later"))
        await w.until(lambda: "later" in w.names())
    assert w.reflector.restarts == 0


async def test_relist_shares_a_list_with_who_asks_at_once_and_makes_one_of_its_own_later(scene: Scene) -> None:
    scene.cluster.streaming_lists = False
    gate = Fault(verb="list", resource="pipelineruns", times=1, status=503)
    scene.cluster.faults.add(gate)
    async with watched(scene) as w:
        await scene.cluster.requests.wait_for(lambda _: gate.hits == 1)
        await asyncio.gather(w.reflector.relist(), w.reflector.relist())
        lists = w.reflector.lists
        async with asyncio.timeout(20):
            await w.reflector.relist()
        assert w.reflector.lists == lists + 1


@pytest.mark.parametrize("status", [403, 404])
async def test_relist_takes_a_refusal_for_an_answer(scene: Scene, status: int) -> None:
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.faults.add(Fault(resource="pipelineruns", status=status))
        async with asyncio.timeout(20):
            await w.reflector.relist()


async def test_relist_works_while_the_watch_is_being_recovered(scene: Scene) -> None:
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        scene.cluster.faults.add(Fault(verb="watch", when=lambda s: "sendInitialEvents" not in s.query, status=503))
        scene.cluster.cut_watches()
        await scene.cluster.requests.wait_for(lambda _: w.reflector.restarts > 0)
        lists = w.reflector.lists
        async with asyncio.timeout(20):
            for _ in range(20):
                await w.reflector.relist()
        assert w.reflector.lists == lists + 20


async def test_relist_gives_up_when_lists_fail_and_the_watch_begins_from_a_whole_list(scene: Scene) -> None:
    scene.cluster.streaming_lists = False
    for number in range(600):
        scene.cluster.create("pipelineruns", run(str(number)))
    async with watched(scene) as w:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        broken = scene.cluster.faults.add(Fault(verb="list", when=lambda s: "continue" in s.query, status=500))
        with pytest.raises(ApiError):
            await w.reflector.relist()
        begun = len(watches_from(scene.cluster))
        scene.cluster.create("pipelineruns", run("came"))
        scene.cluster.faults.remove(broken)
        await w.until(lambda: "came" in w.names())
        await scene.cluster.requests.wait_for(lambda _: len(watches_from(scene.cluster)) > begun)
        assert w.reflector.lists >= 4, "it went back to the watch from before the half lists"


def test_pauses_double_up_to_their_cap_and_start_over_after_health() -> None:
    backoff = Backoff(first=1, cap=8)
    pauses = [backoff.pause() for _ in range(6)]
    for pause, limit in zip(pauses, [2, 4, 8, 8, 8, 8], strict=True):
        assert limit / 2 <= pause <= limit
    assert Backoff(first=1, healthy=-1).pause() <= 2
    assert backoff.pause(at_least=99) == 99
