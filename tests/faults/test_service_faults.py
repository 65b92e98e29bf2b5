"""Rows 25 to 30 of the fault table: reload, the end, deletions, bursts, restarts, re-runs. What is stopped or killed is a process."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from listener.demo.githost import HostFault
from listener.demo.kubernetes import Fault
from tests.replica import Replica, metric, replica
from tests.runs import context, delete, move, run, start
from tests.scene import GITLAB_PATH, PASSWORD, SHA, USER, Scene, client

SERVICES = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
"""
LEASES = "leases: {namespace: ops, duration: 3, renew_deadline: 2, retry_period: 0.25}\n"
GUARANTEED = SERVICES + "    deliver: guaranteed\n"


@pytest.fixture(autouse=True)
def only_gitlab(scene: Scene) -> None:
    scene.services = SERVICES


def states(scene: Scene, name: str) -> list[str]:
    return [posted.state for posted in scene.gitlab.statuses(GITLAB_PATH, SHA, context(name))]


async def shows(scene: Scene, name: str, state: str) -> None:
    await scene.gitlab.wait_for(lambda _: states(scene, name)[-1:] == [state], timeout=60)


async def noted(scene: Scene, name: str, state: str) -> None:
    """Wait until the run's annotation says that ``state`` arrived."""
    annotation = "tekton-listener.dev/delivered"
    await scene.cluster.requests.wait_for(
        lambda _: f'"{state}"' in the_run(scene, name)["metadata"].get("annotations", {}).get(annotation, "")
    )


def the_run(scene: Scene, name: str) -> dict[str, Any]:
    found: dict[str, Any] = scene.cluster.get("pipelineruns", "team-a", f"service-xyz-run-{name}")
    return found


def names(scene: Scene) -> list[str]:
    return [name.removeprefix("service-xyz-run-") for _, name in scene.cluster.store.names("pipelineruns")]


# 25


async def test_row_25_bad_yaml_on_reload_keeps_the_last_good_configuration(scene: Scene) -> None:
    path = scene.write_config()
    good = path.read_text()
    async with replica(scene, config=path) as one:
        await one.logged("lanes lead to commits")
        path.write_text(good.replace("name: service-xyz-run-*", "name: service-xyz-run-*\n      nmae: [oops"))
        one.signal(signal.SIGHUP)
        line = await one.logged("the last good one stays")
        assert re.search(r"listener\.yaml:\d+", line), "it does not say where"
        answer = await one.get("/metrics")
        assert metric(answer, "config_reload_failures_total") == 1
        assert metric(answer, "config_current") == 0
        assert '"what": "configuration"' in (await one.get("/readyz"))[1]
        start(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")
        other = good.replace("runs: {namespace: team-a, name: service-xyz-run-*}", "runs: {namespace: team-b}")
        path.write_text(other)  # nobody tells it this time
        await one.logged("configuration read again")
        assert await one.metric("config_current") == 1
        body = run("b", "succeeded")
        scene.cluster.create("pipelineruns", {**body, "metadata": {**body["metadata"], "namespace": "team-b"}})
        start(scene.cluster, "c", "succeeded")
        await shows(scene, "b", "success")
        assert states(scene, "c") == []


async def test_a_reload_takes_over_hosts_users_and_services_and_retries_what_was_refused(scene: Scene) -> None:
    path = scene.write_config()
    good = path.read_text()
    path.write_text(good.replace(f"repository: gitlab:{GITLAB_PATH}", "repository: gitlab:group/misspelt"))
    async with replica(scene, config=path) as one:
        start(scene.cluster, "a", "succeeded")
        await one.logged("refused success for good")
        (scene.folder / "password").write_text("changed")
        path.write_text(good)
        await one.logged("configuration read again")
        await shows(scene, "a", "success")
        command = (
            "curl",
            "-s",
            "-f",
            "-u",
            f"{USER}:changed",
            f"http://127.0.0.1:{await one.port()}/status/service-xyz-run-a",
        )
        curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        assert await curl.wait() == 0


# 26


async def test_row_26_sigterm_in_the_middle_of_a_stream_and_of_a_post(scene: Scene) -> None:
    scene.more = LEASES
    async with replica(scene) as one:
        await one.logged("took [0] of 1")
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        port = await one.port()
        log_url = f"http://127.0.0.1:{port}/logs/team-a/service-xyz-run-absent?wait=60"
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sN", "-u", f"{USER}:{PASSWORD}", log_url, stdout=asyncio.subprocess.PIPE
        )
        assert curl.stdout is not None
        assert (await curl.stdout.readline()).startswith(b"# ... waiting for PipelineRun")
        answer = asyncio.Event()
        scene.gitlab.faults.append(HostFault(until=answer, times=1))
        move(scene.cluster, "a", "failed")
        await shows(scene, "a", "failed")  # the host has it and has not answered yet
        one.signal(signal.SIGTERM)
        assert (await curl.stdout.read()).decode().endswith("ask again for its log\n"), "the reader was not told"
        assert await curl.wait() == 18
        status, body = await one.get("/readyz")
        assert (status, '"stopping": true' in body) == (503, True), "readiness is still on"
        start(scene.cluster, "b", "succeeded")  # what comes within the grace period is still delivered
        await shows(scene, "b", "success")
        noting = asyncio.Event()
        scene.cluster.faults.add(Fault(verb="patch", resource="pipelineruns", until=noting))
        answer.set()
        await one.logged("service-xyz-run-a: gitlab shows failed")
        for _ in range(20):
            assert (await one.get("/livez"))[0] == 200, "it ended before it had noted what was delivered"
            lease = scene.cluster.get("leases", "ops", "tekton-listener-00")
            assert lease["spec"]["holderIdentity"], "the lease was released before that"
        noting.set()
        assert await one.stop() == 0
    assert states(scene, "a") == ["running", "failed"]
    await noted(scene, "a", "failed")
    await noted(scene, "b", "success")
    writes = [seen.resource for seen in scene.cluster.requests if seen.verb in ("patch", "update")]
    assert writes[-1] == "leases", "the lease was not released last"
    assert scene.cluster.get("leases", "ops", "tekton-listener-00")["spec"]["holderIdentity"] == ""


async def test_row_26_the_end_does_not_wait_for_a_host_that_is_down(scene: Scene) -> None:
    scene.gitlab.faults.append(HostFault(status=429, headers={"Retry-After": "3000"}))
    async with replica(scene) as one:
        start(scene.cluster, "a", "succeeded")
        await one.logged("did not take success")
        assert await one.stop() == 0
        assert any("statuses undelivered" in line for line in one.log)


# 27


async def test_row_27_run_deleted_before_its_final_status_went_out(scene: Scene) -> None:
    down = HostFault(status=503)
    async with replica(scene) as one:
        for name in ("finished", "unfinished"):
            start(scene.cluster, name)
            await shows(scene, name, "running")
        scene.gitlab.faults.append(down)
        move(scene.cluster, "finished", "succeeded")
        await one.logged("did not take success")
        delete(scene.cluster, "finished")
        delete(scene.cluster, "unfinished")
        await one.logged("did not take canceled")
        scene.gitlab.faults.remove(down)
        await shows(scene, "finished", "success")
        await shows(scene, "unfinished", "canceled")
    assert names(scene) == []


async def test_row_27_guaranteed_the_run_stays_until_its_final_status_has_arrived_whoever_was_killed(
    scene: Scene,
) -> None:
    scene.services = GUARANTEED
    async with replica(scene) as one:
        await one.logged("lanes lead to commits")
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        await scene.cluster.requests.wait_for(lambda _: "finalizers" in the_run(scene, "a")["metadata"])
        await one.kill()
    move(scene.cluster, "a", "failed")
    delete(scene.cluster, "a")
    assert names(scene) == ["a"], "the finalizer does not keep it"
    busy = HostFault(status=429, headers={"Retry-After": "3000"})
    scene.gitlab.faults.append(busy)
    async with replica(scene) as two:
        await two.logged("did not take failed")
        assert await two.stop() == 0
    assert names(scene) == ["a"], "it let go of what it could not report"
    scene.gitlab.faults.remove(busy)
    async with replica(scene):
        await shows(scene, "a", "failed")
        await scene.cluster.requests.wait_for(lambda _: names(scene) == [])


async def test_guaranteed_others_finalizers_stay_and_a_run_that_is_not_deleted_loses_only_ours(scene: Scene) -> None:
    scene.services = GUARANTEED
    async with scene.serve() as service:
        await service.runs.synced()
        start(scene.cluster, "a", finalizers=["chains.tekton.dev"])
        await scene.cluster.requests.wait_for(lambda _: len(the_run(scene, "a")["metadata"]["finalizers"]) == 2)
        move(scene.cluster, "a", "succeeded")
        await scene.cluster.requests.wait_for(
            lambda _: the_run(scene, "a")["metadata"]["finalizers"] == ["chains.tekton.dev"]
        )
    assert states(scene, "a")[-1] == "success"


async def test_guaranteed_no_more_the_next_start_takes_the_finalizers_off(scene: Scene) -> None:
    scene.services = GUARANTEED
    async with scene.serve() as service:
        await service.runs.synced()
        start(scene.cluster, "a")
        await scene.cluster.requests.wait_for(lambda _: "finalizers" in the_run(scene, "a")["metadata"])
    scene.services = SERVICES
    async with scene.serve():
        await scene.cluster.requests.wait_for(lambda _: not the_run(scene, "a")["metadata"].get("finalizers"))


# 28


async def test_row_28_burst_of_10_000_runs_is_coalesced_and_finals_go_first(scene: Scene) -> None:
    number, open_ones = 10_000, 500
    scene.gitlab.add_project(GITLAB_PATH, any_commit=True)
    answer = asyncio.Event()
    scene.gitlab.faults.append(HostFault(until=answer, times=4))  # as many as are sent at once: nothing passes
    shas = [hashlib.sha1(str(n).encode(), usedforsecurity=False).hexdigest() for n in range(number)]
    async with replica(scene) as one:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        before = megabytes(one, "VmRSS")
        for n, sha in enumerate(shas):
            start(scene.cluster, str(n), sha=sha, pipeline="build")
        await scene.gitlab.wait_for(lambda posted: len(posted) == 4)
        for n in range(open_ones, number):
            move(scene.cluster, str(n), "succeeded")
        start(scene.cluster, "last", "succeeded")
        async with client(await one.port()) as session:  # whoever knows the last one has seen all before it
            response = await session.get("/status/team-a/service-xyz-run-last?wait=50")
            assert response.status == 200
            response.release()
        answer.set()
        posted = await scene.gitlab.wait_for(lambda posted: len(posted) >= 1_000, timeout=60)
        states = [p.state for p in posted[4:1_000]]
        assert set(states) == {"success"}, "an intermediate state went before a final one"
        assert len({p.sha for p in posted[4:1_000]}) == len(states), "a run was sent twice: not coalesced"
        assert megabytes(one, "VmHWM") - before < 60, "more than 6 kB for a run"


def megabytes(one: Replica, what: str) -> float:
    """Its memory: ``VmRSS`` now, ``VmHWM`` at most."""
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    return int(re.findall(rf"{what}:\s+(\d+) kB", status)[0]) / 1024


# 29


async def test_row_29_listener_down_while_runs_start_and_finish(scene: Scene) -> None:
    async with replica(scene) as one:
        await one.logged("lanes lead to commits")
        start(scene.cluster, "before")
        start(scene.cluster, "done", "succeeded")
        await shows(scene, "before", "running")
        await shows(scene, "done", "success")
        await noted(scene, "done", "success")
        await noted(scene, "before", "running")
        await one.kill()
    move(scene.cluster, "before", "failed")
    start(scene.cluster, "meanwhile")
    move(scene.cluster, "meanwhile", "succeeded")
    start(scene.cluster, "open")
    async with replica(scene) as two:
        await shows(scene, "before", "failed")
        await shows(scene, "meanwhile", "success")
        await shows(scene, "open", "running")
        assert await two.stop() == 0
    assert states(scene, "before") == ["running", "failed"]
    assert states(scene, "done") == ["success"], "sent twice"
    assert states(scene, "meanwhile") == ["success"]


# 30


OLD, NEW = {"creationTimestamp": "2026-11-23T11:00:00Z"}, {"creationTimestamp": "2026-11-23T11:00:05Z"}


def build(scene: Scene) -> list[str]:
    return [posted.state for posted in scene.gitlab.statuses(GITLAB_PATH, SHA, "tekton/build")]


async def test_row_30_rerun_on_the_same_sha_and_context_while_the_old_run_still_ends(scene: Scene) -> None:
    async with replica(scene) as one:
        await one.logged("lanes lead to commits")
        start(scene.cluster, "old", pipeline="build", **OLD)
        await scene.gitlab.wait_for(lambda _: build(scene) == ["running"])
        start(scene.cluster, "new", pipeline="build", **NEW)
        await one.logged("service-xyz-run-new: gitlab shows running")
        move(scene.cluster, "old", "failed")
        start(scene.cluster, "mark", "succeeded")  # whoever reports this one has seen the other's end
        await shows(scene, "mark", "success")
        move(scene.cluster, "new", "succeeded")
        await scene.gitlab.wait_for(lambda _: build(scene)[-1:] == ["success"])
        assert await one.stop() == 0
    async with replica(scene) as two:  # and not after a restart either, when both are listed at once
        start(scene.cluster, "other", "succeeded")
        await shows(scene, "other", "success")
        assert await two.stop() == 0
    assert "failed" not in build(scene), "the old run overwrote the new one"
    assert build(scene)[-1] == "success"


async def test_row_30_the_old_runs_last_word_is_on_its_way_when_the_new_run_begins(scene: Scene) -> None:
    async with replica(scene) as one:
        await one.logged("lanes lead to commits")
        start(scene.cluster, "old", pipeline="build", **OLD)
        await scene.gitlab.wait_for(lambda _: build(scene) == ["running"])
        held = asyncio.Event()
        scene.gitlab.faults.append(HostFault(until=held, times=1))
        move(scene.cluster, "old", "failed")
        await scene.gitlab.wait_for(lambda _: build(scene)[-1:] == ["failed"])
        start(scene.cluster, "new", pipeline="build", **NEW)
        start(scene.cluster, "mark", "succeeded")
        await shows(scene, "mark", "success")
        assert build(scene) == ["running", "failed"], "two on their way at once, and nobody knows which arrives last"
        held.set()
        await one.logged("service-xyz-run-new: gitlab shows running")
        move(scene.cluster, "new", "succeeded")
        await one.logged("service-xyz-run-new: gitlab shows success")
        assert await one.stop() == 0
    assert build(scene) == ["running", "failed", "running", "success"]


async def test_row_30_the_old_run_stays_silent_when_the_new_one_was_pruned_and_the_listener_restarted(
    scene: Scene,
) -> None:
    async with replica(scene) as one:
        await one.logged("lanes lead to commits")
        start(scene.cluster, "old", pipeline="build", **OLD)
        await scene.gitlab.wait_for(lambda _: build(scene) == ["running"])
        start(scene.cluster, "new", "succeeded", pipeline="build", **NEW)
        await one.logged("service-xyz-run-new: gitlab shows success")
        await noted(scene, "old", "overruled")
        await one.kill()
    move(scene.cluster, "old", "failed")
    delete(scene.cluster, "new")
    async with replica(scene) as two:
        start(scene.cluster, "mark", "succeeded")
        await shows(scene, "mark", "success")
        assert await two.stop() == 0
    assert build(scene) == ["running", "success"]


async def test_row_30_of_two_runs_of_one_second_the_uid_decides_and_not_who_speaks_last(scene: Scene) -> None:
    async with replica(scene) as one:
        await one.logged("lanes lead to commits")
        start(scene.cluster, "new", pipeline="build", uid="bbbb", **OLD)
        await scene.gitlab.wait_for(lambda _: build(scene) == ["running"])
        start(scene.cluster, "old", pipeline="build", uid="aaaa", **OLD)
        move(scene.cluster, "old", "failed")
        start(scene.cluster, "mark", "succeeded")
        await shows(scene, "mark", "success")
        move(scene.cluster, "new", "succeeded")
        await one.logged("service-xyz-run-new: gitlab shows success")
        assert await one.stop() == 0
    assert build(scene) == ["running", "success"]
