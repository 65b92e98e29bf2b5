"""Rows 16 to 24 of the fault table: what Git hosts, and the network on the way to them, do. Seen in what the hosts were asked."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from tenacity import wait_fixed

from listener.demo.githost import GitHost, HostFault
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.reporting.pacing import Pace
from listener.service import Service
from tests.faults.outside import QUICK, ask, states, threads_idle
from tests.hearing import Heard, hearing
from tests.replica import metric
from tests.runs import move, start
from tests.scene import GITHUB_PATH, Scene


async def shows(host: GitHost, name: str, state: str) -> None:
    await host.wait_for(lambda _: states(host, name)[-1:] == [state], timeout=40)


def events(scene: Scene) -> list[dict[str, Any]]:
    store = scene.cluster.store
    return [store.get("events", *name).object for name in store.names("events")]


async def told(scene: Scene, name: str, reason: str) -> dict[str, Any]:
    """Wait for the Event with ``reason`` on a run, as ``kubectl describe`` would show it."""

    def found() -> list[dict[str, Any]]:
        wanted = f"service-xyz-run-{name}"
        return [e for e in events(scene) if e["involvedObject"]["name"] == wanted and e["reason"] == reason]

    await scene.cluster.requests.wait_for(lambda _: bool(found()))
    return found()[-1]


# 16


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_row_16_git_host_5xx_for_a_long_time_backs_off_one_request_per_attempt_then_delivers(
    scene: Scene, status: int
) -> None:
    down = HostFault(status=status, body="<html><title>Unwell</title></html>")
    scene.gitlab.faults.append(down)
    for number in range(4):
        start(scene.cluster, str(number), "succeeded")
    async with scene.serve(pace=QUICK) as service:
        asked = await scene.gitlab.wait_asked(64)  # by the default pace that takes an hour
        retries = metric(await ask(service, "/metrics"), "deliveries_total", host="gitlab", result="retry")
        assert retries >= len(asked) - 5, "more than one request per attempt"
        assert '"what": "gitlab"' in (await ask(service, "/readyz"))[1]
        for number in range(4):
            await shows(scene.github, str(number), "success")  # the other host is not affected
        scene.gitlab.faults.remove(down)
        for number in range(4):
            await shows(scene.gitlab, str(number), "success")
        assert '"what": "gitlab"' not in (await ask(service, "/readyz"))[1]
    # At first each of the four workers tries one; from then on it is one at a time, a pause apart.
    later = [one.at for one in asked][8:]
    assert min(after - before for before, after in itertools.pairwise(later)) > 0.03


# 17


@pytest.mark.parametrize("strict", [False, True], ids=["a host that takes it again", "a host that says it is there"])
async def test_row_17_accepted_then_the_answer_times_out_is_retried_and_already_there_is_delivered(
    scene: Scene, strict: bool
) -> None:
    scene.gitlab.strict_finished = strict
    scene.gitlab_options = ", timeout: 0.3"
    scene.gitlab.faults.append(HostFault(accept_then_hang=True, times=1))
    async with scene.serve(pace=QUICK) as service:
        start(scene.cluster, "a", "succeeded")
        await scene.gitlab.wait_asked(2)
        await service.reporter.lanes.drained()
        start(scene.cluster, "b", "succeeded")
        await shows(scene.gitlab, "b", "success")
        result = "already_there" if strict else "delivered"
        assert metric(await ask(service, "/metrics"), "deliveries_total", host="gitlab", result=result) >= 1
    assert set(states(scene.gitlab, "a")) == {"success"}
    assert len(scene.gitlab.posts()) == 3, "one extra POST for the lost answer, and no more"


# 18

WAITS = {
    "seconds": lambda: "3",
    "an HTTP date": lambda: email.utils.formatdate(time.time() + 4, usegmt=True),
    "an absurd value": lambda: "99999999999",
}


@pytest.mark.parametrize("value", WAITS.values(), ids=WAITS)
async def test_row_18_429_with_seconds_an_http_date_or_an_absurd_value_waits_and_others_do_not(
    scene: Scene, value: Callable[[], str]
) -> None:
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            await service.runs.synced()
            scene.gitlab.faults.append(HostFault(status=429, headers={"Retry-After": value()}, times=1))
            await waits_as_it_is_told(scene, service, heard)


async def waits_as_it_is_told(scene: Scene, service: Service, heard: Heard) -> None:
    start(scene.cluster, "a", "succeeded")
    (limited,) = await scene.gitlab.wait_asked(1)
    await heard.logged("gitlab did not take")
    await shows(scene.github, "a", "success")
    start(scene.cluster, "b", "succeeded")
    await shows(scene.github, "b", "success")
    held = metric(await ask(service, "/metrics"), "host_held_seconds", host="gitlab")
    assert 0.5 < held <= 3600, "not held, or for longer than an hour"
    assert metric(await ask(service, "/metrics"), "lanes_waiting", host="gitlab") == 2
    assert metric(await ask(service, "/metrics"), "lanes_oldest_seconds", host="gitlab") > 0
    if held < 10:
        await shows(scene.gitlab, "b", "success")
        await shows(scene.gitlab, "a", "success")
        assert scene.gitlab.posts()[1].at - limited.at > 1.5, "it did not wait as long as it was asked to"
    assert len(scene.gitlab.posts()) in (1, 3)


# 19


async def test_row_19_primary_rate_limit_parks_the_lanes_with_no_sleeping_thread(scene: Scene) -> None:
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        scene.github.limit, scene.github.reset = 2, int(time.time()) + 6
        for number in range(5):
            start(scene.cluster, str(number), "succeeded")
        await scene.github.wait_for(lambda posted: len(posted) == 2)
        for number in range(5):
            await shows(scene.gitlab, str(number), "success")
        await threads_idle(service)
        assert metric(await ask(service, "/metrics"), "host_held_seconds", host="github") > 0
        assert metric(await ask(service, "/metrics"), "rate_limit_remaining", host="github") == 0
        assert metric(await ask(service, "/metrics"), "lanes_waiting", host="github") == 3
        asked = len(scene.github.asked)
        scene.github.used, scene.github.limit, scene.github.reset = 0, 5000, int(time.time()) + 3600
        await scene.github.wait_for(lambda posted: len(posted) == 5)
        refused = [one for one in scene.github.asked if one.status == 403]
        assert len(refused) <= 4, "it asked on although nothing was left"
        assert len(scene.github.asked) == asked + 3


async def test_row_19_who_reads_what_is_left_does_not_run_into_the_primary_limit(scene: Scene) -> None:
    scene.github_options = ", seconds_between_writes: 0, threads: 1"
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        scene.github.limit, scene.github.reset = 2, int(time.time()) + 4
        for number in range(5):
            start(scene.cluster, str(number), "succeeded")
        await scene.github.wait_for(lambda posted: len(posted) == 2)
        scene.github.used, scene.github.limit, scene.github.reset = 0, 5000, int(time.time()) + 3600
        await scene.github.wait_for(lambda posted: len(posted) == 5)
    assert [asked.status for asked in scene.github.asked] == [201] * 5
    assert scene.github.asked[2].at - scene.github.asked[1].at > 1.5, "it asked before the limit began anew"


async def test_row_19_a_primary_limit_that_others_have_used_up_is_run_into_once(scene: Scene) -> None:
    scene.github_options = ", seconds_between_writes: 0, threads: 1"
    scene.github.used, scene.github.reset = scene.github.limit, int(time.time()) + 4
    async with scene.serve(pace=QUICK) as service:
        for number in range(3):
            start(scene.cluster, str(number), "succeeded")
        await scene.github.wait_asked(1)
        for number in range(3):
            await shows(scene.gitlab, str(number), "success")
        await threads_idle(service)
        assert len(scene.github.asked) == 1
        scene.github.used = 0
        for number in range(3):
            await shows(scene.github, str(number), "success")
    assert [asked.status for asked in scene.github.asked] == [403, 201, 201, 201]
    assert scene.github.asked[1].at - scene.github.asked[0].at > 1.5, "it asked before the limit began anew"


async def test_row_19_secondary_rate_limit_without_a_time_parks_the_lanes_for_a_minute(scene: Scene) -> None:
    limit = HostFault(
        status=403,
        body='{"message": "You have exceeded a secondary rate limit."}',
        headers={"Content-Type": "application/json"},
    )
    scene.github.faults.append(limit)
    scene.github_options = ", seconds_between_writes: 0, threads: 1"
    async with scene.serve(pace=QUICK) as service:
        for number in range(3):
            start(scene.cluster, str(number), "succeeded")
        await scene.github.wait_asked(1)
        for number in range(3):
            await shows(scene.gitlab, str(number), "success")
        await threads_idle(service)
        assert 30 < metric(await ask(service, "/metrics"), "host_held_seconds", host="github") <= 60
        assert len(scene.github.asked) == 1


async def test_row_19_secondary_rate_limit_parks_the_lanes_as_long_as_github_says(scene: Scene) -> None:
    limit = HostFault(
        status=403,
        body='{"message": "You have exceeded a secondary rate limit."}',
        headers={"Retry-After": "2", "Content-Type": "application/json"},
        times=1,
    )
    scene.github.faults.append(limit)
    scene.github_options = ", seconds_between_writes: 0, threads: 1"
    async with scene.serve(pace=QUICK) as service:
        for number in range(3):
            start(scene.cluster, str(number), "succeeded")
        await scene.github.wait_asked(1)
        for number in range(3):
            await shows(scene.gitlab, str(number), "success")
        await threads_idle(service)
        assert len(scene.github.asked) == 1, "it asked on while it was told to wait"
        for number in range(3):
            await shows(scene.github, str(number), "success")
    assert scene.github.asked[1].at - scene.github.asked[0].at > 1.5
    assert [asked.status for asked in scene.github.asked] == [403, 201, 201, 201]


async def test_row_19_writes_with_one_token_are_a_second_apart_so_that_github_never_has_to_refuse(scene: Scene) -> None:
    scene.github.write_gap = 1.0
    scene.github_options = ""  # as a user has it
    async with scene.serve():
        for number in range(3):
            start(scene.cluster, str(number), "succeeded")
        for number in range(3):
            await shows(scene.github, str(number), "success")
    assert [asked.status for asked in scene.github.asked] == [201, 201, 201]


# 20


async def test_row_20_token_revoked_later_rotated_is_parked_visible_and_drained(scene: Scene) -> None:
    async with scene.serve(reload_every=0.1, pace=Pace(host=wait_fixed(600), unauthorized=600)) as service:
        await service.runs.synced()
        start(scene.cluster, "a")
        await shows(scene.gitlab, "a", "running")
        scene.gitlab.tokens = {"rotated"}
        move(scene.cluster, "a", "succeeded")
        start(scene.cluster, "b", "succeeded")
        await scene.gitlab.wait_asked(2)
        await shows(scene.github, "b", "success")
        await threads_idle(service)
        trouble = (await ask(service, "/readyz"))[1]
        assert "the token is refused" in trouble
        assert '"since": "20' in trouble
        assert metric(await ask(service, "/metrics"), "host_ill", host="gitlab") == 1
        assert states(scene.gitlab, "a") == ["running"]
        (scene.folder / "gitlab-token").write_text("rotated\n")
        await shows(scene.gitlab, "a", "success")  # and not in ten minutes
        await shows(scene.gitlab, "b", "success")
        assert metric(await ask(service, "/metrics"), "host_ill", host="gitlab") == 0
    assert [one.status for one in scene.gitlab.posts()].count(401) <= 4


# 21


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_row_21_403_404_422_are_permanent_no_loop_and_an_event_on_the_run(
    scene: Scene, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    refused = HostFault(status=status, body='{"message": "no"}', headers={"Content-Type": "application/json"})
    scene.gitlab.faults.append(refused)
    async with scene.serve(pace=QUICK) as service:
        start(scene.cluster, "a", "succeeded")
        event = await told(scene, "a", "CommitStatusRefused")
        assert (event["type"], event["involvedObject"]["kind"]) == ("Warning", "PipelineRun")
        assert str(status) in event["message"]
        assert "gitlab" in event["message"]
        assert metric(await ask(service, "/metrics"), "deliveries_total", host="gitlab", result="permanent") == 1
        lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert len(lines) == 1
        assert "service-xyz-run-a: gitlab refused success for good" in lines[0]
        scene.gitlab.faults.remove(refused)
        start(scene.cluster, "b", "succeeded")
        await shows(scene.gitlab, "b", "success")
        assert len(scene.gitlab.posts()) == 2, "it asked again for what was refused for good"


async def test_row_21_githubs_cap_of_1000_statuses_is_permanent(scene: Scene) -> None:
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        start(scene.cluster, "a")
        await shows(scene.github, "a", "pending")
        scene.github.posted += [scene.github.posted[0]] * 999
        move(scene.cluster, "a", "succeeded")
        event = await told(scene, "a", "CommitStatusRefused")
        assert "maximum number of statuses" in event["message"]
        await shows(scene.gitlab, "a", "success")
    assert [one.status for one in scene.github.posts()] == [201, 422]


async def test_a_run_whose_status_is_late_says_so_too(scene: Scene) -> None:
    scene.gitlab.faults.append(HostFault(status=500))
    async with scene.serve(pace=QUICK):
        start(scene.cluster, "a", "succeeded")
        event = await told(scene, "a", "CommitStatusDelayed")
        assert "has not taken it 5 times" in event["message"]


async def test_a_run_that_leads_nowhere_says_so_too(scene: Scene) -> None:
    async with scene.serve():
        start(scene.cluster, "a", "succeeded", sha="main")
        event = await told(scene, "a", "CommitStatusUnroutable")
        assert "main" in event["message"]


async def test_with_leases_it_is_told_by_who_takes_the_shard_later(scene: Scene) -> None:
    scene.services += "\nleases: {namespace: ops}\n"
    start(scene.cluster, "a", "succeeded", sha="main")  # known before the Lease is taken
    async with scene.serve():
        await told(scene, "a", "CommitStatusUnroutable")


# 22


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("trouble", ["DNS", "TLS", "refused"])
async def test_row_22_dns_failure_tls_failure_connection_refused_are_retried_and_others_are_not_affected(
    scene: Scene, trouble: str
) -> None:
    port = free_port()
    urls = {
        "DNS": "http://no-such-host.invalid",
        "TLS": scene.github.url.replace("http:", "https:"),
        "refused": f"http://127.0.0.1:{port}",
    }
    scene.urls["github"] = urls[trouble]
    async with scene.serve(pace=QUICK) as service:
        for number in range(6):
            start(scene.cluster, str(number), "succeeded")
        for number in range(6):
            await shows(scene.gitlab, str(number), "success")
        await told(scene, "0", "CommitStatusDelayed")
        ill = (await ask(service, "/readyz"))[1]
        assert '"what": "github"' in ill
        assert {"DNS": "resolved", "TLS": "TLS", "refused": "refused"}[trouble] in ill
        if trouble == "refused":
            async with GitHub(port=port) as late:
                late.add_project(GITHUB_PATH, any_commit=True)
                for number in range(6):
                    await shows(late, str(number), "success")


async def test_row_22_a_host_that_hangs_up_is_asked_by_one_request_at_a_time(scene: Scene) -> None:
    calls = 0

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    scene.urls["github"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, scene.serve(pace=Pace(lane=wait_fixed(0.05), host=wait_fixed(600))) as service:
        for number in range(20):
            start(scene.cluster, str(number), "succeeded")
        for number in range(20):
            await shows(scene.gitlab, str(number), "success")
        await threads_idle(service)
        assert metric(await ask(service, "/metrics"), "host_held_seconds", host="github") > 500
        assert metric(await ask(service, "/metrics"), "lanes_waiting", host="github") == 20
        assert calls <= 6, "three failures, and the three others that may be on their way by then"


# 23


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_row_23_redirect_to_another_host_is_refused_and_the_token_never_sent_there(
    scene: Scene, status: int
) -> None:
    async with GitLab() as stranger:
        for host in (scene.gitlab, scene.github):
            host.faults.append(HostFault(status=status, headers={"Location": f"{stranger.url}/api"}, times=1))
        async with scene.serve(pace=QUICK):
            start(scene.cluster, "a", "succeeded")
            event = await told(scene, "a", "CommitStatusRefused")
            assert "no token is sent" in event["message"]
            start(scene.cluster, "b", "succeeded")
            await shows(scene.gitlab, "b", "success")
            await shows(scene.github, "b", "success")
        assert not stranger.asked, "somebody was sent a token"


# 24


@pytest.mark.parametrize("pause", [0.5, 0.15], ids=["bytes too far apart", "each byte in time"])
async def test_row_24_git_host_drips_its_answer_for_minutes_is_bounded_and_others_are_not_affected(
    scene: Scene, pause: float
) -> None:
    scene.gitlab_options = ", timeout: 0.3"
    scene.gitlab.faults.append(HostFault(drip=pause))  # an answer of some 300 bytes
    async with scene.serve(pace=QUICK) as service:
        for number in range(6):
            start(scene.cluster, str(number), "succeeded")
        for number in range(6):
            await shows(scene.github, str(number), "success")
        async with asyncio.timeout(20):  # its status, 201, is enough; the rest is cut off after three time-outs
            await service.reporter.lanes.drained()
        assert [states(scene.gitlab, str(number)) for number in range(6)] == [["success"]] * 6


async def test_row_24_while_all_connections_to_one_host_drip_another_host_gets_everything(scene: Scene) -> None:
    scene.gitlab_options = ", timeout: 2"
    scene.gitlab.faults.append(HostFault(drip=0.5))
    async with scene.serve(grace=0.1) as service:
        await service.runs.synced()
        for number in range(8):
            start(scene.cluster, str(number), "succeeded")
        await scene.gitlab.wait_for(lambda posted: len(posted) == 4)  # as many as may be under way
        for number in range(8, 12):
            start(scene.cluster, str(number), "succeeded")
        for number in range(12):
            await shows(scene.github, str(number), "success")
        assert not scene.gitlab.asked, "the other host's statuses waited for this one's answers"
