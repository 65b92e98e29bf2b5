"""What a Git host does wrong, rows 16 to 20 of the fault table: it waits its turn, the other host does not notice, all arrives."""

from __future__ import annotations

import time

import pytest
from tenacity import wait_fixed, wait_incrementing

from listener.demo.githost import HostFault
from listener.reporting.pacing import Pace
from tests.faults.outside import IMPATIENT, QUICK, drained, shows, since, states, threads_idle, troubles, value
from tests.hearing import hearing
from tests.runs import move, start
from tests.scene import Scene


@pytest.mark.parametrize("ill", ["gitlab", "github"])
async def test_row_16_git_host_500_502_503_backs_off_with_one_request_per_attempt_then_all_is_delivered(
    scene: Scene, ill: str
) -> None:
    host, other = (scene.gitlab, scene.github) if ill == "gitlab" else (scene.github, scene.gitlab)
    names = [f"run{number}" for number in range(6)]
    down = [HostFault(status=status, body="<html>sorry</html>", times=4) for status in (500, 502, 503)]
    host.faults += [*down, HostFault(status=503)]
    pace = Pace(lane=wait_fixed(0.01), host=wait_incrementing(start=0.02, increment=0.02))
    async with scene.serve(pace=pace) as service:
        for name in names:
            start(scene.cluster, name)
        await shows(other, **dict.fromkeys(names, "pending" if ill == "gitlab" else "running"))
        for name in names:
            move(scene.cluster, name, "succeeded")
        await shows(other, **dict.fromkeys(names, "success"))
        await host.wait_asked(14)
        assert host.posted == []
        assert set(await troubles(service)) == {ill}
        assert await value(service, "host_ill", host=ill) == 1
        failed = [asked.at for asked in host.posts()]
        host.faults.clear()
        await shows(host, **dict.fromkeys(names, "success"))
        await drained(service)
        attempts = await value(service, "deliveries_total", host=ill)
        assert await troubles(service) == {}
    assert len(host.posts()) == attempts
    assert all(states(host, name) == ["success"] for name in names)
    # Once the circuit is closed, one probe at a time, each after a longer pause: the nth failure asks for n times 20 ms.
    for number in range(8, len(failed)):
        assert failed[number] - failed[number - 1] >= 0.02 * number * 0.95


@pytest.mark.parametrize("state", ["running", "succeeded"])
async def test_row_17_accepted_then_the_answer_times_out_is_retried_and_already_there_counts_as_delivered(
    scene: Scene, state: str
) -> None:
    scene.gitlab.strict_finished = True
    scene.gitlab.faults.append(HostFault(accept_then_hang=True, times=1))
    word = {"running": "running", "succeeded": "success"}[state]
    async with scene.serve(pace=QUICK, kinds=IMPATIENT) as service:
        start(scene.cluster, "one", state)
        await scene.gitlab.wait_asked(2)
        await drained(service)
        assert [asked.status for asked in scene.gitlab.posts()] == [0, 400]
        assert await value(service, "deliveries_total", host="gitlab", result="retry") == 1
        assert await value(service, "deliveries_total", host="gitlab", result="already_there") == 1
        assert await value(service, "deliveries_total", host="gitlab") == 2
        if state == "running":
            move(scene.cluster, "one", "succeeded")
            await shows(scene.gitlab, one="success")
        assert await troubles(service) == {}
    assert states(scene.gitlab, "one") == list(dict.fromkeys([word, "success"]))
    assert len(scene.gitlab.posts()) == (3 if state == "running" else 2)


PAST = {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}  # what a host names is meant on its own clock


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {**PAST, "Retry-After": "Mon, 01 Jan 2001 00:00:01 GMT"}],
    ids=["seconds", "HTTP date"],
)
async def test_row_18_429_with_seconds_or_an_http_date_waits_and_other_hosts_are_unaffected(
    scene: Scene, headers: dict[str, str]
) -> None:
    limited = HostFault(status=429, headers=headers, body="Retry later", times=1)
    scene.gitlab.faults.append(limited)
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            start(scene.cluster, "one", "succeeded")
            await heard.logged("gitlab did not take success")
            start(scene.cluster, "two", "succeeded")
            await shows(scene.github, one="success", two="success")
            await shows(scene.gitlab, one="success", two="success")
            await drained(service)
    first, *later = scene.gitlab.posts()
    assert [asked.status for asked in later] == [201, 201]
    assert all(asked.at - first.at >= 1 for asked in later)
    assert len(scene.github.posts()) == 2


@pytest.mark.parametrize(
    "after", ["99999999999", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT"], ids=["number", "infinite", "date"]
)
async def test_row_18_429_with_an_absurd_value_waits_an_hour_at_most(scene: Scene, after: str) -> None:
    scene.gitlab.faults.append(HostFault(status=429, headers={"Retry-After": after}))
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            start(scene.cluster, "one", "succeeded")
            await heard.logged("gitlab did not take success")
            start(scene.cluster, "two", "succeeded")
            await shows(scene.github, one="success", two="success")
            assert 3000 < await value(service, "host_held_seconds", host="gitlab") <= 3600
            assert await value(service, "host_held_seconds", host="github") == 0
            assert await value(service, "lanes_waiting", host="gitlab") == 2
            assert set(await troubles(service)) == {"gitlab"}
    assert len(scene.gitlab.posts()) == 1


@pytest.mark.parametrize("kind", ["primary", "secondary"])
async def test_row_19_primary_and_secondary_rate_limits_park_the_lanes_and_no_thread_sleeps(
    scene: Scene, kind: str
) -> None:
    github = scene.github
    if kind == "primary":
        github.used = github.limit
    else:
        said = '{"message": "You have exceeded a secondary rate limit."}'
        json_body = {"Retry-After": "2", "Content-Type": "application/json"}
        github.faults.append(HostFault(status=403, body=said, headers=json_body, times=1))
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            github.reset = int(time.time()) + 2
            start(scene.cluster, "one")
            await heard.logged("github did not take pending")
            move(scene.cluster, "one", "succeeded")
            start(scene.cluster, "two", "succeeded")
            await shows(scene.gitlab, one="success", two="success")
            await threads_idle(service)
            assert len(github.posts()) == 1
            assert await value(service, "host_held_seconds", host="github") > 0
            assert await value(service, "host_held_seconds", host="gitlab") == 0
            assert set(await troubles(service)) == {"github"}
            github.used = 0
            await shows(github, one="success", two="success")
            await drained(service)
            assert await troubles(service) == {}
    first, *later = github.posts()
    assert first.status == 403
    assert [asked.status for asked in later] == [201, 201]
    opens = github.reset if kind == "primary" else first.at + 2
    assert all(asked.at >= opens for asked in later)
    assert states(github, "one") == ["success"]


async def test_row_19_a_spent_primary_rate_limit_is_waited_for_rather_than_refused(scene: Scene) -> None:
    github = scene.github
    github.limit, github.reset = 2, int(time.time()) + 2
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            start(scene.cluster, "one", "succeeded")
            await shows(github, one="success")
            start(scene.cluster, "two", "succeeded")
            await heard.logged("github shows success", times=2)
            github.used = 0
            start(scene.cluster, "three", "succeeded")
            await shows(github, three="success")
            await drained(service)
    assert [asked.status for asked in github.posts()] == [201, 201, 201]
    assert github.posts()[2].at >= github.reset


async def test_row_19_a_secondary_rate_limit_is_kept_to_by_the_whole_account(scene: Scene) -> None:
    scene.github.write_gap = 30.0
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            start(scene.cluster, "one", "succeeded")
            await shows(scene.github, one="success")
            start(scene.cluster, "two", "succeeded")
            await heard.logged("github did not take success")
            start(scene.cluster, "three", "succeeded")
            await shows(scene.gitlab, two="success", three="success")
            await threads_idle(service)
            assert 30 < await value(service, "host_held_seconds", host="github") <= 60
            assert await value(service, "lanes_waiting", host="github") == 2
            assert await value(service, "host_ill", host="gitlab") == 0
    assert [asked.status for asked in scene.github.posts()] == [201, 403]


async def test_row_19_the_second_that_github_wants_between_writes_is_kept_without_being_told(scene: Scene) -> None:
    scene.github.write_gap, scene.pauses = 1.0, True
    names = ["one", "two", "three"]
    for name in names:
        start(scene.cluster, name, "succeeded")
    async with scene.serve() as service:
        await shows(scene.github, **dict.fromkeys(names, "success"))
        await drained(service)
    assert [asked.status for asked in scene.github.posts()] == [201, 201, 201]


async def test_row_20_token_revoked_later_rotated_is_parked_visible_and_drained_after_rotation(scene: Scene) -> None:
    began = time.time()
    pace = Pace(lane=wait_fixed(0.01), host=wait_fixed(0.01), unauthorized=600)
    with hearing() as heard:
        async with scene.serve(pace=pace, reload_every=0.1) as service:
            start(scene.cluster, "before")
            await shows(scene.gitlab, before="running")
            scene.gitlab.tokens = {"rotated-token"}
            move(scene.cluster, "before", "succeeded")
            await heard.logged("gitlab did not take success")
            parked = len(scene.gitlab.posts())
            start(scene.cluster, "after", "failed")
            await shows(scene.github, before="success", after="failure")
            trouble = (await troubles(service))["gitlab"]
            assert "401" in trouble["why"]
            assert began - 1 <= since(trouble) <= time.time()
            assert await value(service, "host_ill", host="gitlab") == 1
            assert await value(service, "host_held_seconds", host="gitlab") > 300
            assert await value(service, "lanes_waiting", host="gitlab") == 2
            assert len(scene.gitlab.posts()) == parked == 2
            (scene.folder / "gitlab-token").write_text("rotated-token\n")
            await shows(scene.gitlab, before="success", after="failed")
            await drained(service)
            assert await troubles(service) == {}
            assert await value(service, "host_ill", host="gitlab") == 0
            assert await value(service, "host_held_seconds", host="gitlab") == 0
    assert states(scene.gitlab, "before") == ["running", "success"]
    assert not any("rotated-token" in line or "secret-token" in line for line in heard.lines)
