"""Through the whole service: what becomes of a run is told to each host in its own words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from listener.demo.githost import GitHost
from tests.hosts.forge import Forge
from tests.hosts.forges import FORGES
from tests.pipeline import Run
from tests.runs import context, delete, move, start
from tests.scene import GITHUB_PATH, SHA, Scene

CONTEXT = "tekton/build"


@pytest.fixture(params=FORGES, ids=lambda forge: forge.kind)
def forge(request: pytest.FixtureRequest) -> Forge:
    found: Forge = request.param
    return found


@pytest.fixture
async def host(forge: Forge, scene: Scene) -> AsyncIterator[GitHost]:
    async with forge.host() as host:
        host.add_project(forge.repository, {SHA: "Add a feature"})
        (scene.folder / "forge-token").write_text("secret-token\n")
        scene.more = f'  forge: {{kind: {forge.kind}, url: "{forge.url(host)}", token_file: forge-token}}\n'
        scene.services = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: forge:{forge.repository}
"""
        yield host


async def test_a_run_becomes_statuses_in_the_hosts_own_words(scene: Scene, forge: Forge, host: GitHost) -> None:
    async with scene.serve():
        start(scene.cluster, "good", None)
        await host.wait_for(lambda posted: len(posted) == 1)
        for state in ("running", "succeeded"):
            move(scene.cluster, "good", state)
        await host.wait_for(lambda posted: posted[-1].state == forge.succeeded)
        start(scene.cluster, "bad", "failed")
        await host.wait_for(lambda posted: posted[-1].state == forge.failed)
        start(scene.cluster, "gone")
        await host.wait_for(lambda posted: posted[-1].context == context("gone"))
        delete(scene.cluster, "gone")
        await host.wait_for(lambda posted: posted[-1].state == forge.cancelled)

    said = {
        name: [posted.state for posted in host.statuses(forge.repository, SHA, context(name))]
        for name in ("good", "bad", "gone")
    }
    assert said == {
        "good": [forge.running, forge.succeeded],
        "bad": [forge.failed],
        "gone": [forge.running, forge.cancelled],
    }
    assert len(host.asked) == 5, "one request for each"
    good = host.latest(forge.repository, SHA)[context("good")]
    assert good.target_url == "https://listener.example.com/runs/team-a/service-xyz-run-good"
    assert good.description.startswith("Passed")


async def test_each_task_has_a_status_of_its_own(scene: Scene, forge: Forge, host: GitHost) -> None:
    """On each of these hosts, and on GitHub with a token."""
    places = f"[forge:{forge.repository}, github:{GITHUB_PATH}]"
    scene.services = scene.services.replace(f"forge:{forge.repository}", places)
    scene.services += "    report: [run, tasks]\n    optional_tasks: lint*\n"
    async with scene.serve():
        run = Run(scene.cluster, params={"revision": SHA}, pipeline="build")
        unit = run.task("unit", "test")
        unit.complete()
        lint = run.task("lint-py", "ruff")
        lint.exit("ruff", 1)
        lint.fail()
        run.fail()
        names = {CONTEXT, f"{CONTEXT}/unit", f"{CONTEXT}/lint-py"}
        for place, path in ((host, forge.repository), (scene.github, GITHUB_PATH)):
            await place.wait_for(ended(place, path, names, {forge.succeeded, forge.failed, "success", "failure"}))
    for place, path, passed, broke in (
        (host, forge.repository, forge.succeeded, forge.failed),
        (scene.github, GITHUB_PATH, "success", "failure"),
    ):
        shown = place.latest(path, SHA)
        assert {name: shown[name].state for name in names} == {
            CONTEXT: broke, f"{CONTEXT}/unit": passed, f"{CONTEXT}/lint-py": passed,
        }  # fmt: skip
        assert shown[f"{CONTEXT}/lint-py"].description.startswith("Optional: failed")
        assert str(shown[f"{CONTEXT}/unit"].target_url).endswith("/runs/team-a/service-xyz-run-a#unit")


def ended(host: GitHost, path: str, names: set[str], words: set[str]) -> Callable[[object], bool]:
    """All of these contexts have one of these words."""
    return lambda _: names <= {name for name, posted in host.latest(path, SHA).items() if posted.state in words}


async def test_a_host_that_was_down_gets_the_final_state(scene: Scene, forge: Forge, host: GitHost) -> None:
    await host.stop()
    async with scene.serve():
        start(scene.cluster, "late", "running")
        move(scene.cluster, "late", "succeeded")
        await host.start()
        await host.wait_for(lambda posted: bool(posted) and posted[-1].state == forge.succeeded)


async def test_a_refused_status_goes_to_the_fallback(scene: Scene, forge: Forge, host: GitHost) -> None:
    fork = forge.repository.replace("service-xyz", "fork")
    host.add_project(fork, {SHA: "Add a feature"})
    host.projects[forge.repository].commits.clear()
    forge.trust(host, "secret-token")
    scene.services += f"    fallback_repository: forge:{fork}\n"
    async with scene.serve():
        start(scene.cluster, "forked", "succeeded")
        await host.wait_for(lambda posted: bool(posted) and posted[-1].path == fork)
    assert [posted.state for posted in host.posted] == [forge.succeeded]
