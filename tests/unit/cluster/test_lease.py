"""Leases: one holder at a time, whatever the API server does and whoever else wants them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from listener.cluster.client import Cluster, UnreachableError
from listener.cluster.lease import Leases, Times
from listener.demo.kubernetes import Fault, KubernetesApi
from notifiers.base import clock
from tests.scene import Scene

QUICK = Times(duration=1.0, renew=0.6, retry=0.05)


@contextlib.asynccontextmanager
async def holding(
    scene: Scene,
    name: str,
    *,
    shards: int = 1,
    times: Times = QUICK,
    catch_up: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Holder]:
    """A replica that takes what it can; gives nothing back at its end, as if it were killed."""
    cluster = await Cluster.connect(env=scene.env())
    holder = Holder(cluster, name, shards, times, catch_up)
    task = asyncio.create_task(holder.leases.run())
    try:
        yield holder
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await cluster.close()


class Holder:
    """Leases that run, and a way to wait for what they hold."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        shards: int,
        times: Times,
        catch_up: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._changed = asyncio.Event()
        self.leases = Leases(
            cluster,
            namespace="ops",
            name="group",
            shards=shards,
            identity=name,
            times=times,
            catch_up=catch_up,
            on_change=self._changed.set,
        )

    async def holds(self, number: int) -> None:
        async with asyncio.timeout(20):
            while len(self.leases.held) != number:
                self._changed.clear()
                await self._changed.wait()


def lease(cluster: KubernetesApi, shard: int = 0) -> dict[str, str | int]:
    spec: dict[str, str | int] = cluster.get("leases", "ops", f"group-{shard:02d}")["spec"]
    return spec


async def asked(scene: Scene, number: int) -> None:
    """Wait until so many more requests for Leases have come."""
    before = sum(seen.resource == "leases" for seen in scene.cluster.requests)
    await scene.cluster.requests.wait_for(
        lambda requests: sum(seen.resource == "leases" for seen in requests) >= before + number
    )


async def test_whoever_comes_first_holds_all_and_renews(scene: Scene) -> None:
    async with holding(scene, "one", shards=3) as one:
        await one.holds(3)
        first = lease(scene.cluster, 2)["renewTime"]
        await asked(scene, 12)
        assert lease(scene.cluster, 2)["renewTime"] != first
        assert lease(scene.cluster, 2)["leaseTransitions"] == 0
        assert lease(scene.cluster, 2)["leaseDurationSeconds"] == 1


async def test_a_holder_that_vanishes_is_succeeded_and_the_change_is_counted(scene: Scene) -> None:
    async with holding(scene, "one") as one:
        await one.holds(1)
        until = one.leases.until(0)
    async with holding(scene, "two") as two:
        await two.holds(1)
        assert clock() > until, "it took the Lease while the other one could still be working"
    assert lease(scene.cluster)["holderIdentity"] == "two"
    assert lease(scene.cluster)["leaseTransitions"] == 1


async def test_what_is_given_back_can_be_had_at_once(scene: Scene) -> None:
    patient = Times(duration=300, renew=200, retry=0.05)
    async with holding(scene, "one", times=patient) as one:
        await one.holds(1)
        await one.leases.release()
        assert one.leases.held == ()
    async with holding(scene, "two", times=patient) as two:
        await two.holds(1)


async def test_a_clock_far_off_in_the_record_steals_nothing(scene: Scene) -> None:
    async with holding(scene, "one") as one:
        await one.holds(1)
        async with holding(scene, "two", times=QUICK) as two:
            scene.cluster.patch("leases", "ops", "group-00", {"spec": {"renewTime": "1999-01-01T00:00:00.000000Z"}})
            await asked(scene, 20)
            assert two.leases.held == ()
        assert one.leases.held == (0,)


async def test_a_lease_that_somebody_else_wrote_into_is_lost_at_once(scene: Scene) -> None:
    async with holding(scene, "one") as one:
        await one.holds(1)
        scene.cluster.patch("leases", "ops", "group-00", {"spec": {"holderIdentity": "intruder"}})
        await one.holds(0)
        await one.holds(1)  # the intruder does not renew


async def test_a_label_on_our_lease_is_no_loss(scene: Scene) -> None:
    async with holding(scene, "one") as one:
        await one.holds(1)
        scene.cluster.patch("leases", "ops", "group-00", {"metadata": {"labels": {"team": "ci"}}})
        await asked(scene, 10)
        assert one.leases.held == (0,)


async def test_a_deleted_lease_is_made_anew(scene: Scene) -> None:
    async with holding(scene, "one") as one:
        await one.holds(1)
        scene.cluster.delete("leases", "ops", "group-00")
        await scene.cluster.requests.wait_for(lambda seen: sum(s.verb == "create" for s in seen) == 2)
        await one.holds(1)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"items":[{"metadata":{}}]}'])
async def test_an_answer_that_is_no_list_of_leases_is_trouble_and_passes(scene: Scene, body: bytes) -> None:
    fault = scene.cluster.faults.add(Fault(resource="leases", verb="list", status=200, body=body, times=3))
    async with holding(scene, "one") as one:
        await one.holds(1)
        assert fault.hits >= 1


async def test_replicas_that_divide_the_work_otherwise_never_work_at_the_same_time(scene: Scene) -> None:
    overlaps: list[tuple[int, ...]] = []

    def check(seen: object) -> bool:  # asked with every request, so between any two writes
        layouts = {h.leases.shards for h in holders if h.leases.held}
        if len(layouts) > 1:
            overlaps.append(tuple(layouts))
        return False

    holders: list[Holder] = []
    scene.cluster.faults.add(Fault(when=check))
    async with contextlib.AsyncExitStack() as stack:
        for number, shards in enumerate((3, 5, 3, 5)):
            holders.append(await stack.enter_async_context(holding(scene, f"r{number}", shards=shards)))
        async with asyncio.timeout(30):
            while not any(sum(len(h.leases.held) for h in holders if h.leases.shards == n) == n for n in (3, 5)):
                await asked(scene, 1)
        await asked(scene, 40)
    assert not overlaps


async def test_leases_without_a_word_on_shards_belong_to_another_kind(scene: Scene) -> None:
    meta = {"name": "group-07", "namespace": "ops", "labels": {"tekton-listener.dev/leases": "group"}}
    spec = {"holderIdentity": "stranger", "leaseDurationSeconds": 1, "renewTime": "2026-11-23T11:00:00.000000Z"}
    scene.cluster.create("leases", {"metadata": meta, "spec": spec})
    async with holding(scene, "one") as one:
        await asked(scene, 4)
        assert one.leases.held == ()
        await one.holds(1)  # it does not renew, so it is gone


async def test_a_new_holder_keeps_its_lease_and_does_nothing_until_it_has_caught_up(scene: Scene) -> None:
    caught_up = asyncio.Event()
    async with holding(scene, "one", shards=2, catch_up=wait_for(caught_up)) as one:
        await scene.cluster.requests.wait_for(lambda _: len(scene.cluster.store.names("leases")) == 2)
        await asked(scene, 60)  # far longer than the Lease lasts without being renewed
        assert one.leases.held == ()
        assert (one.leases.until(0), one.leases.until(1)) == (0, 0)
        assert lease(scene.cluster, 1)["holderIdentity"] == "one"
        assert lease(scene.cluster, 1)["leaseTransitions"] == 0
        caught_up.set()
        await one.holds(2)


async def test_a_lease_lost_and_taken_again_needs_to_be_caught_up_with_again(scene: Scene) -> None:
    calls: list[asyncio.Event] = []

    async def catch_up() -> None:
        calls.append(asyncio.Event())
        await calls[-1].wait()

    async with holding(scene, "one", catch_up=catch_up) as one:
        await scene.cluster.requests.wait_for(lambda _: len(calls) == 1)
        transitions = lease(scene.cluster)["leaseTransitions"]
        scene.cluster.patch("leases", "ops", "group-00", {"spec": {"holderIdentity": "intruder"}})
        await scene.cluster.requests.wait_for(
            lambda _: (
                (lease(scene.cluster)["holderIdentity"], lease(scene.cluster)["leaseTransitions"])
                != ("intruder", transitions)
            )
        )
        calls[0].set()
        await scene.cluster.requests.wait_for(lambda _: len(calls) == 2)
        await asked(scene, 4)
        assert one.leases.held == (), "it caught up with the time before it lost the Lease"
        calls[1].set()
        await one.holds(1)


async def test_who_cannot_catch_up_gives_its_leases_back_and_lets_others_try(scene: Scene) -> None:
    failing = True

    async def catch_up() -> None:
        if failing:
            raise UnreachableError("the list does not come")

    async with holding(scene, "ill", catch_up=catch_up) as ill:
        await scene.cluster.requests.wait_for(
            lambda _: bool(scene.cluster.store.names("leases")) and lease(scene.cluster)["holderIdentity"] == ""
        )
        async with holding(scene, "well") as well:
            await well.holds(1)
            assert ill.leases.held == ()
        failing = False
        await ill.holds(1)


def wait_for(event: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def catch_up() -> None:
        await event.wait()

    return catch_up
