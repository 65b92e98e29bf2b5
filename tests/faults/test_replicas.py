"""Rows 11 to 15 of the fault table: Leases, replicas that are killed, frozen, started together, and clocks that jump. Real processes."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from listener.demo.githost import HostFault
from listener.demo.kubernetes import Fault
from tests.proxy import Proxy
from tests.replica import Replica, replica
from tests.runs import context, move, start
from tests.scene import GITLAB_PATH, SHA, Scene, client

SERVICES = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
leases: {{namespace: ops, shards: SHARDS, duration: DURATION, renew_deadline: RENEW, retry_period: 0.25}}
"""
# The same command, with a wall clock that a file steps by so many seconds.
_STEPPED = """
import os, pathlib, sys, time
real, file = time.time, pathlib.Path(os.environ["CLOCK_FILE"])
time.time = lambda: real() + float(file.read_text())
from listener.cli import main
sys.exit(main())
"""
JUMPY = (sys.executable, "-c", _STEPPED)


@pytest.fixture
def config(scene: Scene, tmp_path: Path) -> Callable[..., Path]:
    """Makes a replica's configuration: its token says who it is."""
    scene.gitlab.add_project(GITLAB_PATH, any_commit=True)

    def make(name: str, *, shards: int = 1, duration: int = 3, renew: int = 2) -> Path:
        scene.services = (
            SERVICES.replace("SHARDS", str(shards)).replace("DURATION", str(duration)).replace("RENEW", str(renew))
        )
        token = f"token-of-{name}"
        scene.gitlab.tokens.add(token)
        (tmp_path / token).write_text(token)
        path = tmp_path / f"{name}.yaml"
        path.write_text(scene.write_config().read_text().replace("token_file: gitlab-token", f"token_file: {token}"))
        return path

    return make


@contextlib.asynccontextmanager
async def leader_and_standby(
    scene: Scene, config: Callable[..., Path], **env: str
) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas, of which the first holds the only Lease and the second knows all that it needs to take over."""
    async with replica(scene, "one", config=config("one"), **env) as one:
        await one.logged("took [0] of 1")
        async with replica(scene, "two", config=config("two"), **env) as two:
            await two.logged("lanes lead to commits")
            yield one, two


def states(scene: Scene, name: str, sha: str = SHA) -> list[str]:
    return [posted.state for posted in scene.gitlab.statuses(GITLAB_PATH, sha, context(name))]


async def shows(scene: Scene, name: str, state: str, *, sha: str = SHA) -> None:
    await scene.gitlab.wait_for(lambda _: states(scene, name, sha)[-1:] == [state], timeout=60)


def askers(scene: Scene) -> list[str]:
    """Whose token each request carried, in order."""
    return [asked.headers["PRIVATE-TOKEN"].removeprefix("token-of-") for asked in scene.gitlab.asked]


def holders(scene: Scene) -> dict[str, str]:
    """Each Lease's holder, as its pod's name."""
    store = scene.cluster.store
    objects = [store.get("leases", *name).object for name in store.names("leases")]
    return {lease["metadata"]["name"]: lease["spec"]["holderIdentity"].partition("_")[0] for lease in objects}


async def renewals(scene: Scene, number: int) -> None:
    """Wait until the Leases were asked for so many times more."""
    before = sum(seen.resource == "leases" for seen in scene.cluster.requests)
    await scene.cluster.requests.wait_for(
        lambda requests: sum(seen.resource == "leases" for seen in requests) >= before + number, timeout=60
    )


async def knows(one: Replica, name: str, status: int) -> None:
    """Wait until the replica's /status answers so for a run."""
    async with client(await one.port()) as session:
        response = await session.get(f"/status/team-a/service-xyz-run-{name}?wait=20")
        assert response.status == status
        response.release()


def sha_of(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


FAULTS = {
    "hangs": Fault(resource="leases", hang=True),
    "resets": Fault(resource="leases", reset=True),
    "answers 503 HTML": Fault(resource="leases", status=503, body=b"<html><title>Unavailable</title></html>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_row_11_lease_api_hangs_resets_or_answers_503_html_and_work_stops_before_the_lease_runs_out(
    scene: Scene, config: Callable[..., Path], fault: Fault
) -> None:
    async with replica(scene, config=config("one")) as one:
        await one.logged("took [0] of 1")
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        scene.cluster.faults.add(fault)
        await one.logged("lost [0] of 1")
        move(scene.cluster, "a", "succeeded")
        start(scene.cluster, "b", "succeeded")
        await knows(one, "a", 200)
        await knows(one, "b", 200)
        await renewals(scene, 3)
        assert states(scene, "a") == ["running"], "it went on although nobody knows whose lease it is"
        assert states(scene, "b") == []
        assert "leases cannot be kept" in (await one.get("/readyz"))[1]
        assert await one.metric("leases_held") == 0
        scene.cluster.faults.remove(fault)
        await shows(scene, "a", "success")
        await shows(scene, "b", "success")
        assert states(scene, "a") == ["running", "success"]


async def test_row_11_a_leader_that_cannot_reach_the_lease_api_has_stopped_before_another_replica_begins(
    scene: Scene, config: Callable[..., Path]
) -> None:
    async with Proxy(scene) as proxy, replica(scene, "one", config=config("one"), **proxy.env()) as one:
        await one.logged("took [0] of 1")
        async with replica(scene, "two", config=config("two")) as two:
            await two.logged("lanes lead to commits")
            start(scene.cluster, "a")
            await shows(scene, "a", "running")
            proxy.cut = b"/leases"
            await two.logged("took [0] of 1")
            start(scene.cluster, "b", "succeeded")
            await shows(scene, "b", "success")
            await knows(one, "b", 200)
            await renewals(scene, 4)
    assert askers(scene) == ["one", "two"], "both reported at once"


async def test_row_12_leader_killed_in_the_middle_of_a_post(scene: Scene, config: Callable[..., Path]) -> None:
    async with leader_and_standby(scene, config) as (one, two):
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        scene.gitlab.faults.append(HostFault(accept_then_hang=True, times=1))
        move(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")  # the host has it, the leader does not know yet
        await one.kill()
        await two.logged("took [0] of 1")
        start(scene.cluster, "b", "succeeded")
        await shows(scene, "b", "success")
        await two.logged("service-xyz-run-a: gitlab shows success")
    assert states(scene, "a")[:2] == ["running", "success"]
    assert states(scene, "a").count("success") <= 2, "more than one duplicate"
    assert states(scene, "a")[-1] == "success"


async def test_a_standby_whose_watch_is_frozen_takes_over_and_sends_nothing_outdated(
    scene: Scene, config: Callable[..., Path]
) -> None:
    async with replica(scene, "one", config=config("one")) as one, Proxy(scene) as proxy:
        await one.logged("took [0] of 1")
        async with replica(scene, "two", config=config("two"), **proxy.env()) as two:
            await two.logged("lanes lead to commits")
            down = HostFault(status=503)
            scene.gitlab.faults.append(down)
            start(scene.cluster, "a")
            start(scene.cluster, "b", "succeeded")
            await knows(two, "b", 200)  # and so it knows a, which has not been reported
            proxy.freeze()
            move(scene.cluster, "a", "succeeded")
            scene.gitlab.faults.remove(down)
            await shows(scene, "a", "success")
            await one.kill()
            await two.logged("took [0] of 1")
            start(scene.cluster, "c", "succeeded")
            await shows(scene, "c", "success")
    assert "running" not in states(scene, "a")[states(scene, "a").index("success") :], "what it knew was outdated"
    assert states(scene, "a")[-1] == "success"


async def test_row_13_process_stopped_past_its_lease_then_continued(scene: Scene, config: Callable[..., Path]) -> None:
    async with leader_and_standby(scene, config) as (one, two):
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        one.signal(signal.SIGSTOP)
        move(scene.cluster, "a", "succeeded")  # lies in the stopped process's socket
        await two.logged("took [0] of 1")
        await shows(scene, "a", "success")
        before = askers(scene).count("one")
        start(scene.cluster, "b")
        one.signal(signal.SIGCONT)
        await one.logged("lost [0] of 1")
        await knows(one, "a", 200)
        move(scene.cluster, "b", "failed")
        await shows(scene, "b", "failed")
        await renewals(scene, 4)
        assert askers(scene).count("one") == before, "the process that had lost its lease made a POST"
        assert states(scene, "a") == ["running", "success"]


async def test_row_13_process_stopped_between_deciding_on_a_post_and_making_it(
    scene: Scene, config: Callable[..., Path]
) -> None:
    async with leader_and_standby(scene, config) as (one, two):
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        answer = asyncio.Event()
        scene.cluster.faults.add(Fault(resource="taskruns", until=answer, times=1))
        move(scene.cluster, "a", "failed")
        await scene.cluster.requests.wait_for(lambda requests: any(seen.resource == "taskruns" for seen in requests))
        one.signal(signal.SIGSTOP)  # it has decided to report a, and asks for its TaskRuns to say why it failed
        await two.logged("took [0] of 1")
        await shows(scene, "a", "failed")
        answer.set()
        one.signal(signal.SIGCONT)
        await one.logged("left to the replica that holds its shard now")
        await one.logged("lost [0] of 1")
        await renewals(scene, 4)
    assert askers(scene) == ["one", "two"], "it went on with what it had decided on before"
    assert states(scene, "a") == ["running", "failed"]


async def test_row_14_two_replicas_start_together_and_every_run_has_one_owner(
    scene: Scene, config: Callable[..., Path]
) -> None:
    for number in range(40):
        start(scene.cluster, str(number), "succeeded", sha=sha_of(number))
    one_config, two_config = config("one", shards=4), config("two", shards=4)
    async with replica(scene, "one", config=one_config), replica(scene, "two", config=two_config):
        for number in range(40):
            await shows(scene, str(number), "success", sha=sha_of(number))
        assert sorted(holders(scene)) == [f"tekton-listener-{shard:02d}" for shard in range(4)]
    assert [states(scene, str(number), sha_of(number)) for number in range(40)] == [["success"]] * 40


async def test_row_14_two_that_take_one_lease_at_the_same_moment_do_not_both_get_it(
    scene: Scene, config: Callable[..., Path]
) -> None:
    async with replica(scene, "old", config=config("old")) as old:
        await old.logged("took [0] of 1")
        one_config, two_config = config("one"), config("two")
        async with replica(scene, "one", config=one_config) as one, replica(scene, "two", config=two_config) as two:
            await asyncio.gather(one.logged("lanes lead to commits"), two.logged("lanes lead to commits"))
            await old.kill()
            both = asyncio.Event()
            grab = scene.cluster.faults.add(Fault(verb="update", resource="leases", until=both))
            async with asyncio.timeout(60):
                while grab.hits < 2:
                    await renewals(scene, 1)
            both.set()
            start(scene.cluster, "a")
            await shows(scene, "a", "running")
            move(scene.cluster, "a", "succeeded")
            await shows(scene, "a", "success")
            await renewals(scene, 12)
    assert states(scene, "a") == ["running", "success"]
    assert len(set(askers(scene))) == 1, "both reported at once"


@pytest.mark.parametrize(("before", "after"), [(4, 3), (3, 4)])
async def test_row_14_shard_count_changes_while_the_old_replicas_still_run(
    scene: Scene, config: Callable[..., Path], before: int, after: int
) -> None:
    async with replica(scene, "old", config=config("old", shards=before)) as old:
        await old.logged(f"took [{before - 1}] of {before}")  # the last of them
        async with replica(scene, "new", config=config("new", shards=after)) as new:
            await new.logged("lanes lead to commits")
            for number in range(20):
                start(scene.cluster, str(number), "running", sha=sha_of(number))
            for number in range(20):
                await shows(scene, str(number), "running", sha=sha_of(number))
            await renewals(scene, 8)
            assert set(askers(scene)) == {"old"}, "two layouts at once: two owners for one run"
            assert await old.stop() == 0
            for number in range(20):
                move(scene.cluster, str(number), "succeeded")
            for number in range(20):
                await shows(scene, str(number), "success", sha=sha_of(number))
    assert [states(scene, str(number), sha_of(number)) for number in range(20)] == [["running", "success"]] * 20


@pytest.mark.parametrize("step", [3600, -3600])
async def test_row_15_clock_steps_by_an_hour(
    scene: Scene, config: Callable[..., Path], tmp_path: Path, step: int
) -> None:
    clocks = {name: tmp_path / f"clock-of-{name}" for name in ("one", "two")}
    for clock in clocks.values():
        clock.write_text("0")
    async with replica(scene, "one", config=config("one"), command=JUMPY, CLOCK_FILE=str(clocks["one"])) as one:
        await one.logged("took [0] of 1")
        async with replica(scene, "two", config=config("two"), command=JUMPY, CLOCK_FILE=str(clocks["two"])) as two:
            await two.logged("lanes lead to commits")
            for name, clock in clocks.items():
                clock.write_text(str(step))
                await renewals(scene, 20)
                start(scene.cluster, name)
                await shows(scene, name, "running")
                move(scene.cluster, name, "succeeded")
                await shows(scene, name, "success")
            assert holders(scene) == {"tekton-listener-00": "one"}
            lease = scene.cluster.get("leases", "ops", "tekton-listener-00")
            assert lease["spec"]["leaseTransitions"] == 0, "the lease was stolen"
    assert set(askers(scene)) == {"one"}


async def test_row_15_a_standbys_clock_that_steps_ahead_steals_nothing_from_a_holder_that_is_silent_for_a_moment(
    scene: Scene, config: Callable[..., Path], tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    configs = [config(name, duration=30, renew=20) for name in ("one", "two")]
    async with Proxy(scene) as proxy, replica(scene, "one", config=configs[0], **proxy.env()) as one:
        await one.logged("took [0] of 1")
        async with replica(scene, "two", config=configs[1], command=JUMPY, CLOCK_FILE=str(clock)) as two:
            await two.logged("lanes lead to commits")
            proxy.cut = b"/leases"
            await renewals(scene, 3)  # the standby's looks
            clock.write_text("3600")
            await renewals(scene, 8)
            proxy.cut = b""
            start(scene.cluster, "a")
            await shows(scene, "a", "running")
            move(scene.cluster, "a", "succeeded")
            await shows(scene, "a", "success")
            assert scene.cluster.get("leases", "ops", "tekton-listener-00")["spec"]["leaseTransitions"] == 0
    assert set(askers(scene)) == {"one"}


async def test_row_15_a_holders_clock_that_steps_back_does_not_make_its_lease_longer(
    scene: Scene, config: Callable[..., Path], tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    configs = [config(name) for name in ("one", "two")]
    async with (
        Proxy(scene) as proxy,
        replica(scene, "one", config=configs[0], command=JUMPY, CLOCK_FILE=str(clock), **proxy.env()) as one,
    ):
        await one.logged("took [0] of 1")
        async with replica(scene, "two", config=configs[1]) as two:
            await two.logged("lanes lead to commits")
            start(scene.cluster, "a")
            await shows(scene, "a", "running")
            clock.write_text("-3600")
            proxy.cut = b"/leases"
            await two.logged("took [0] of 1")
            start(scene.cluster, "b", "succeeded")
            await shows(scene, "b", "success")
            await knows(one, "b", 200)
            await renewals(scene, 4)
    assert askers(scene) == ["one", "two"], "it took its lease to be good for another hour"


async def test_row_15_a_clock_that_is_an_hour_slow_does_not_make_a_hosts_pause_longer(
    scene: Scene, config: Callable[..., Path], tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("-3600")
    async with replica(scene, config=config("one"), command=JUMPY, CLOCK_FILE=str(clock)) as one:
        await one.logged("took [0] of 1")
        soon = email.utils.formatdate(time.time() + 2, usegmt=True)
        scene.gitlab.faults.append(HostFault(status=429, headers={"Retry-After": soon}, times=1))
        start(scene.cluster, "a", "succeeded")
        await one.logged("did not take success")
        await shows(scene, "a", "success")


async def test_a_replica_that_stops_hands_over_at_once(scene: Scene, config: Callable[..., Path]) -> None:
    async with leader_and_standby(scene, config) as (one, two):
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        assert await one.stop() == 0
        assert scene.cluster.get("leases", "ops", "tekton-listener-00")["spec"]["holderIdentity"] != "one"
        move(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")
        await asyncio.gather(two.logged("took [0] of 1"), two.logged("gitlab shows success"))
    assert states(scene, "a") == ["running", "success"]
