"""``fallback_repository``: a commit that the first repository has not, or not for this token, gets its statuses on the second one."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from aiohttp import web

from listener.demo.githost import GitHost, HostFault
from listener.reporting.pacing import Pace
from tests.faults.outside import QUICK, ask
from tests.faults.test_host_faults import told
from tests.faults.test_replicas import knows
from tests.hearing import hearing
from tests.replica import metric, replica
from tests.runs import delete, move, start
from tests.scene import SHA, Scene

FIRST, FORK = "group/service-xyz", "someone/service-xyz"
CONTEXT = "tekton/build"
SERVICES = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: HOST:{FIRST}
    fallback_repository: HOST:$(labels.fork)/service-xyz
"""
LABELS = {"tekton.dev/pipeline": "build", "fork": "someone"}
OLD, NEW = {"creationTimestamp": "2026-11-23T11:00:00Z"}, {"creationTimestamp": "2026-11-23T11:00:05Z"}


@pytest.fixture(params=["gitlab", "github"])
def host(request: pytest.FixtureRequest, scene: Scene) -> GitHost:
    """A host where only the fork has the commit: on GitLab the first repository has others, on GitHub it cannot be seen."""
    name: str = request.param
    found: GitHost = getattr(scene, name)
    scene.services = SERVICES.replace("HOST", name)
    found.projects.clear()
    if name == "gitlab":
        found.add_project(FIRST, {"0" * 40: "Something else"})
    found.add_project(FORK, {SHA: "Add a feature"})
    return found


def states(host: GitHost, path: str = FORK) -> list[str]:
    """As GitLab and as GitHub say it, in the words of the latter."""
    words = {"running": "pending", "failed": "failure", "canceled": "error"}
    return [words.get(posted.state, posted.state) for posted in host.statuses(path, SHA, CONTEXT)]


def asked(host: GitHost) -> list[tuple[str, int]]:
    """Which repository was asked for each status, and its answer."""
    return [(FIRST if FIRST in unquote(one.path) else FORK, one.status) for one in host.posts()]


async def shows(host: GitHost, state: str) -> None:
    await host.wait_for(lambda _: states(host)[-1:] == [state], timeout=40)


def to_first(request: web.Request) -> bool:
    return FIRST in unquote(request.path)


async def test_the_first_repository_is_asked_once_and_the_fallback_gets_everything(scene: Scene, host: GitHost) -> None:
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        start(scene.cluster, "a", labels=LABELS, **OLD)
        await shows(host, "pending")
        move(scene.cluster, "a", "succeeded")
        await shows(host, "success")
        start(scene.cluster, "b", labels=LABELS, **NEW)  # a re-run
        await shows(host, "pending")
        move(scene.cluster, "b", "failed")
        await shows(host, "failure")
        await service.reporter.lanes.drained()
        name = host.name.lower()
        assert metric(await ask(service, "/metrics"), "deliveries_total", host=name, result="elsewhere") == 1
        assert metric(await ask(service, "/metrics"), "deliveries_total", host=name, result="delivered") == 4
        assert metric(await ask(service, "/metrics"), "lanes_waiting", host=name) == 0
    assert asked(host) == [(FIRST, 404)] + [(FORK, 201)] * 4
    assert states(host) == ["pending", "success", "pending", "failure"]


async def test_githubs_own_word_for_an_unknown_commit_leads_to_the_fallback_as_well(scene: Scene) -> None:
    scene.services = SERVICES.replace("HOST", "github")
    scene.github.projects.clear()
    scene.github.add_project(FIRST, {"0" * 40: "Something else"})
    scene.github.add_project(FORK, {SHA: "Add a feature"})
    async with scene.serve(pace=QUICK):
        start(scene.cluster, "a", "succeeded", labels=LABELS)
        await shows(scene.github, "success")
    assert asked(scene.github) == [(FIRST, 422), (FORK, 201)]


async def test_a_restart_remembers_which_repository_has_the_commit(scene: Scene, host: GitHost) -> None:
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        start(scene.cluster, "a", labels=LABELS, **OLD)
        await shows(host, "pending")
        start(scene.cluster, "b", "failed", labels=LABELS, **NEW)
        await shows(host, "failure")
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        await service.reporter.lanes.drained()
        assert len(asked(host)) == 3, "a status that had arrived was sent again"
        start(scene.cluster, "c", labels=LABELS, creationTimestamp="2026-11-23T11:00:10Z")
        await host.wait_for(lambda _: len(states(host)) == 3)
    delete(scene.cluster, "b")
    delete(scene.cluster, "c")
    move(scene.cluster, "a", "succeeded")  # the oldest one must not speak up when the younger ones are gone
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        await service.reporter.lanes.drained()
    assert asked(host) == [(FIRST, 404)] + [(FORK, 201)] * 3
    assert states(host) == ["pending", "failure", "pending"]


async def test_403_leads_to_the_fallback_too_and_what_may_pass_does_not(scene: Scene, host: GitHost) -> None:
    host.faults.append(HostFault(status=503, when=to_first, times=2))
    host.faults.append(HostFault(status=403, body='{"message": "no"}', when=to_first))
    async with scene.serve(pace=QUICK):
        start(scene.cluster, "a", "succeeded", labels=LABELS)
        await shows(host, "success")
    assert asked(host) == [(FIRST, 503), (FIRST, 503), (FIRST, 403), (FORK, 201)]


async def test_when_the_fallback_refuses_too_the_run_says_so(scene: Scene, host: GitHost) -> None:
    host.projects.pop(FORK)
    async with scene.serve(pace=QUICK) as service:
        start(scene.cluster, "a", labels=LABELS)
        event = await told(scene, "a", "CommitStatusRefused")
        assert f"{host.name.lower()}, {FORK}: " in event["message"]
        assert "404" in event["message"]
        await service.reporter.lanes.drained()
    assert asked(host) == [(FIRST, 404), (FORK, 404)]


async def test_a_run_that_does_not_name_its_fork_says_so(scene: Scene, host: GitHost) -> None:
    async with scene.serve(pace=QUICK):
        start(scene.cluster, "a", "succeeded", labels={"tekton.dev/pipeline": "build"})
        event = await told(scene, "a", "CommitStatusRefused")
        assert f"{host.name.lower()}, {FIRST}: " in event["message"]
        assert "no fallback_repository: the run has no $(labels.fork)" in event["message"]
    assert asked(host) == [(FIRST, 404)]


async def test_a_repository_that_took_a_status_before_keeps_its_lane_when_it_refuses(
    scene: Scene, host: GitHost
) -> None:
    host.add_project(FIRST, {SHA: "Add a feature"})
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        start(scene.cluster, "a", labels=LABELS)
        await host.wait_for(lambda _: len(states(host, FIRST)) == 1)
        host.faults.append(HostFault(status=403, body='{"message": "no"}', when=to_first))
        move(scene.cluster, "a", "succeeded")
        await told(scene, "a", "CommitStatusRefused")
    assert asked(host) == [(FIRST, 201), (FIRST, 403)], "the first one would show 'running' for ever, and nobody knew"


async def test_a_run_that_was_deleted_meanwhile_ends_on_the_fallback(scene: Scene, host: GitHost) -> None:
    down = HostFault(status=503, when=to_first)
    host.faults.append(down)
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            start(scene.cluster, "a", labels=LABELS)
            await heard.logged("did not take")
            delete(scene.cluster, "a")
            await heard.logged("did not take error" if host.name == "GitHub" else "did not take canceled")
            host.faults.remove(down)
            await shows(host, "error")
            await service.reporter.lanes.drained()
            assert len(service.reporter.lanes) == 0, "what is gone is kept"
    assert states(host) == ["error"]


async def test_the_finalizer_stays_until_the_fallback_has_the_final_status(scene: Scene, host: GitHost) -> None:
    scene.services += "    deliver: guaranteed\n"
    busy = HostFault(status=429, headers={"Retry-After": "3000"}, when=lambda request: not to_first(request))

    def kept() -> bool:
        found = scene.cluster.get("pipelineruns", "team-a", "service-xyz-run-a")["metadata"].get("finalizers")
        return bool(found)

    async with scene.serve(pace=Pace()) as service:
        await service.runs.synced()
        host.faults.append(busy)
        with hearing() as heard:
            start(scene.cluster, "a", labels=LABELS)
            await scene.cluster.requests.wait_for(lambda _: kept())
            move(scene.cluster, "a", "succeeded")
            await heard.logged("did not take")
    assert kept(), "it let go of what only the first repository has settled"
    host.faults.remove(busy)
    async with scene.serve(pace=QUICK):
        await shows(host, "success")
        await scene.cluster.requests.wait_for(lambda _: not kept())


async def test_runs_that_lead_to_the_fallback_by_themselves_share_its_lane(scene: Scene, host: GitHost) -> None:
    scene.services += f"""
  - name: fork
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: {host.name.lower()}:{FORK}
"""
    # The first service takes only what carries its label, the second one takes the rest.
    scene.services = scene.services.replace(
        "runs: {namespace: team-a, name: service-xyz-run-*}",
        "runs: {namespace: team-a, name: service-xyz-run-*, labels: {fork: someone}}",
        1,
    )
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        start(scene.cluster, "new", labels={"tekton.dev/pipeline": "build"}, **NEW)
        await shows(host, "pending")
        start(scene.cluster, "old", "failed", labels=LABELS, **OLD)  # by way of the first repository
        await host.wait_asked(2)
        await service.reporter.lanes.drained()
        move(scene.cluster, "new", "succeeded")
        await shows(host, "success")
    assert states(host) == ["pending", "success"], "the older run overwrote the younger one"


async def test_the_older_run_that_waited_too_is_silent_on_the_fallback_even_when_the_younger_one_was_pruned(
    scene: Scene, host: GitHost
) -> None:
    down = HostFault(status=503, when=to_first)
    host.faults.append(down)
    with hearing() as heard:
        async with scene.serve(pace=QUICK) as service:
            await service.runs.synced()
            start(scene.cluster, "old", labels=LABELS, **OLD)
            await heard.logged("service-xyz-run-old: ")
            start(scene.cluster, "new", "succeeded", labels=LABELS, **NEW)
            await heard.logged("service-xyz-run-new: ")
            host.faults.remove(down)
            await shows(host, "success")
    delete(scene.cluster, "new")
    move(scene.cluster, "old", "failed")
    async with scene.serve(pace=QUICK) as service:
        await service.runs.synced()
        await service.reporter.lanes.drained()
    assert states(host) == ["success"], "the older run overwrote the younger one"


async def test_a_replica_that_takes_over_knows_which_repository_has_the_commit(scene: Scene, host: GitHost) -> None:
    scene.more = "leases: {namespace: ops, duration: 3, renew_deadline: 2, retry_period: 0.25}\n"
    async with replica(scene, "one") as one:
        await one.logged("took [0] of 1")
        async with replica(scene, "two") as two:
            await two.logged("lanes lead to commits")
            start(scene.cluster, "a", labels=LABELS, **OLD)
            await shows(host, "pending")
            start(scene.cluster, "b", "failed", labels=LABELS, **NEW)
            await shows(host, "failure")
            await scene.cluster.requests.wait_for(lambda _: all(noted(scene, name) for name in "ab"))
            move(scene.cluster, "a", "failed")
            await knows(two, "a", 400)
            await one.kill()
            await two.logged("took [0] of 1")
            start(scene.cluster, "c", "succeeded", labels=LABELS, creationTimestamp="2026-11-23T11:00:10Z")
            await shows(host, "success")
            assert await two.stop() == 0
    assert asked(host) == [(FIRST, 404)] + [(FORK, 201)] * 3


def noted(scene: Scene, name: str) -> bool:
    meta = scene.cluster.get("pipelineruns", "team-a", f"service-xyz-run-{name}")["metadata"]
    return "tekton-listener.dev/delivered" in meta.get("annotations", {})
