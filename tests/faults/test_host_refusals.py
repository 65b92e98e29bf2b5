"""Git hosts that refuse, vanish, mislead or dawdle, rows 21 to 24 of the fault table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tenacity import wait_fixed

from listener.demo.githost import GitHost, HostFault, Posted
from listener.demo.gitlab import GitLab
from listener.reporting.pacing import Pace
from tests.faults.outside import IMPATIENT, PATHS, QUICK, drained, shows, states, threads_idle, troubles, value
from tests.hearing import hearing
from tests.runs import context, start
from tests.scene import SHA, Scene


def events(scene: Scene) -> list[dict[str, Any]]:
    """The Kubernetes Events that were written."""
    store = scene.cluster.store
    return [store.get("events", namespace, name).object for namespace, name in store.names("events")]


def both(scene: Scene, name: str) -> tuple[GitHost, GitHost]:
    """The host of that name, and the other one."""
    return (scene.gitlab, scene.github) if name == "gitlab" else (scene.github, scene.gitlab)


def no_such_project(scene: Scene, host: GitHost) -> None:
    del host.projects[PATHS[host.name]]


def no_such_commit(scene: Scene, host: GitHost) -> None:
    host.projects[PATHS[host.name]].commits.clear()


def no_right_to_write(scene: Scene, host: GitHost) -> None:
    (scene.github.weak_tokens if host is scene.github else scene.gitlab.read_only_tokens).add("secret-token")
    host.tokens.clear()


def thousand_statuses(scene: Scene, host: GitHost) -> None:
    one = Posted(
        path=PATHS[host.name], sha=SHA, context=context("one"), state="pending", description="", target_url=None
    )
    host.posted += [one] * 1000


@pytest.mark.parametrize(
    ("ill", "how", "status", "said"),
    [
        ("gitlab", no_such_project, 404, "Project Not Found"),
        ("gitlab", no_such_commit, 404, "Commit Not Found"),
        ("gitlab", no_right_to_write, 403, "scope 'api'"),
        ("github", no_such_project, 404, "repository is not on this host"),
        ("github", no_such_commit, 422, "No commit found"),
        ("github", no_right_to_write, 403, "repo:status"),
        ("github", thousand_statuses, 422, "maximum number of statuses"),
    ],
)
async def test_row_21_403_404_422_and_the_cap_of_1000_statuses_are_permanent_no_loop_and_an_event_on_the_run(
    scene: Scene, ill: str, how: Callable[[Scene, GitHost], None], status: int, said: str
) -> None:
    host, other = both(scene, ill)
    how(scene, host)
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            start(scene.cluster, "one", "succeeded")
            await heard.logged("for good")
            start(scene.cluster, "two", "succeeded")
            await shows(other, one="success", two="success")
            await drained(service)
            refused = 1 if how is thousand_statuses else 2
            assert await value(service, "deliveries_total", host=ill, result="permanent") == refused
            assert await value(service, "deliveries_total", host=ill, result="retry") == 0
            assert await value(service, "host_ill", host=ill) == 0
    assert [asked.status for asked in host.posts()].count(status) == refused
    assert len(host.posts()) == 2
    told = [e for e in events(scene) if e["involvedObject"]["name"] == "service-xyz-run-one"]
    assert [(event["reason"], event["type"], event["count"]) for event in told] == [
        ("CommitStatusRefused", "Warning", 1)
    ]
    assert said in told[0]["message"]
    assert heard.count(f"service-xyz-run-one: {ill} refused success for good") == 1


async def test_row_21_what_was_refused_is_tried_again_when_the_token_changes(scene: Scene) -> None:
    no_right_to_write(scene, scene.github)
    with hearing() as heard:
        async with scene.serve(pace=QUICK, reload_every=0.1) as service:
            start(scene.cluster, "one", "succeeded")
            await heard.logged("for good")
            scene.github.tokens.add("better-token")
            (scene.folder / "github-token").write_text("better-token\n")
            await shows(scene.github, one="success")
            await drained(service)
    assert [asked.status for asked in scene.github.posts()] == [403, 201]
    assert len(scene.gitlab.posts()) == 1


@pytest.mark.parametrize("how", ["DNS", "TLS", "refused"])
async def test_row_22_dns_tls_and_refused_connections_close_the_circuit_of_that_host_alone(
    scene: Scene, how: str
) -> None:
    if how == "refused":
        await scene.gitlab.stop()
    else:
        here = scene.gitlab.url.replace("http:", "https:")
        scene.urls["gitlab"] = "http://does-not-exist.invalid" if how == "DNS" else here
    names = [f"run{number}" for number in range(6)]
    pace = Pace(lane=wait_fixed(0.01), host=wait_fixed(300))
    with hearing() as heard:
        async with scene.serve(pace=pace) as service:
            for name in names:
                start(scene.cluster, name, "succeeded")
            await heard.logged("gitlab did not take success", times=3)
            for number in range(20):
                start(scene.cluster, f"more{number}", "succeeded")
                await shows(scene.github, **{f"more{number}": "success"})
            await shows(scene.github, **dict.fromkeys(names, "success"))
            trouble = await troubles(service)
            assert set(trouble) == {"gitlab"}
            said = {"DNS": "cannot be resolved", "TLS": "TLS does not work", "refused": "cannot be reached"}
            assert said[how] in trouble["gitlab"]["why"]
            # Three failures close it; up to three more may have been under way then.
            assert 3 <= await value(service, "deliveries_total", host="gitlab", result="retry") <= 6
            assert await value(service, "host_held_seconds", host="gitlab") > 100
            assert await value(service, "host_held_seconds", host="github") == 0
            assert await value(service, "lanes_waiting", host="gitlab") == 26
    assert scene.gitlab.posts() == []


async def test_row_22_a_refused_connection_is_retried_until_the_host_is_up(scene: Scene) -> None:
    await scene.gitlab.stop()
    names = [f"run{number}" for number in range(6)]
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            for name in names:
                start(scene.cluster, name, "succeeded")
            await heard.logged("gitlab did not take success", times=8)
            await scene.gitlab.start()
            await shows(scene.gitlab, **dict.fromkeys(names, "success"))
            await drained(service)
            assert await troubles(service) == {}
    assert all(states(scene.gitlab, name) == ["success"] for name in names)


@pytest.mark.parametrize(("ill", "status"), [("gitlab", 302), ("gitlab", 307), ("github", 301), ("github", 308)])
async def test_row_23_redirect_to_another_host_is_refused_and_no_token_is_sent_there(
    scene: Scene, ill: str, status: int
) -> None:
    host, other = both(scene, ill)
    async with GitLab() as stranger:
        elsewhere = f"{stranger.url}/api/v4/projects/x/statuses/{SHA}"
        host.faults.append(HostFault(status=status, headers={"Location": elsewhere}))
        with hearing() as heard:
            async with scene.serve(pace=QUICK) as service:
                start(scene.cluster, "one", "succeeded")
                await heard.logged(f"{ill} refused success for good")
                start(scene.cluster, "two", "succeeded")
                await shows(other, one="success", two="success")
                await drained(service)
                assert await value(service, "deliveries_total", host=ill, result="permanent") == 2
        assert list(stranger.asked) == []
        assert heard.count(f"points to {stranger.url}")
    assert [asked.status for asked in host.posts()] == [status, status]
    assert not any("secret-token" in line for line in heard.lines)
    assert {event["reason"] for event in events(scene)} == {"CommitStatusRefused"}


@pytest.mark.parametrize("ill", ["gitlab", "github"])
async def test_row_24_git_host_that_drips_its_answer_is_bounded_and_other_hosts_are_unaffected(
    scene: Scene, ill: str
) -> None:
    host, other = both(scene, ill)
    names = [f"run{number}" for number in range(6)]
    host.faults.append(HostFault(drip=0.2))  # a whole answer takes more than a minute
    async with scene.serve(pace=QUICK, kinds=IMPATIENT) as service:
        for name in names:
            start(scene.cluster, name, "succeeded")
        await host.wait_for(lambda posted: len(posted) >= 4)  # all its threads are listening to it
        for number in range(6):
            start(scene.cluster, f"more{number}", "succeeded")
        names += [f"more{number}" for number in range(6)]
        await shows(other, **dict.fromkeys(names, "success"))
        assert await value(service, "deliveries_total", host=other.name.lower(), result="retry") == 0
        await host.wait_asked(4)  # given up, one after the other
        host.faults.clear()
        await drained(service)
        await threads_idle(service)
        assert await troubles(service) == {}
        attempts = int(await value(service, "deliveries_total", host=ill))
        await host.wait_asked(attempts)  # it may notice later than we that we have hung up
    assert len(host.posts()) == attempts
    assert all(states(host, name)[-1] == "success" for name in names)
    assert len(other.posts()) == len(names)
