"""The 18 recorded runs, through the whole service, onto both Git hosts."""

from __future__ import annotations

import pytest

from listener.demo.githost import GitHost
from listener.demo.kubernetes.replay import Step, replay
from tests.contract import openapi
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene, recording

# What providers.md names for each run: GitLab's states, GitHub's states, and the end of the description.
EXPECTED: dict[str, tuple[list[str], list[str], str]] = {
    "r68g8": (["pending", "running", "success"], ["pending", "success"], "Passed in 32s · 4 tasks"),
    "fail1": (["pending", "running", "failed"], ["pending", "failure"], "Failed in 15s: build › compile exited 2"),
    "timeout": (
        ["pending", "running", "failed"],
        ["pending", "failure"],
        "Timed out after 20s: slow › sleep was still running",
    ),
    "cancel": (
        ["pending", "running", "canceled"],
        ["pending", "error"],
        "Cancelled after 19s: slow › sleep was still running",
    ),
    "retry": (
        ["pending", "running", "failed"],
        ["pending", "failure"],
        "Failed in 18s: flaky › try exited 1 after 3 attempts",
    ),
    "matrix": (["pending", "running", "success"], ["pending", "success"], "Passed in 10s · 1 task"),
    "skip": (["pending", "running", "success"], ["pending", "success"], "Passed in 11s · 2 tasks · 1 skipped"),
    "badref": (
        ["pending", "failed"],
        ["pending", "error"],
        "Could not run: Pipeline team-a/service-xyz-run-badref can't be Run; it contains Tasks that don't exist: ",
    ),
    "imgpull": (
        ["pending", "running", "failed"],
        ["pending", "failure"],
        'Timed out after 1m 0s: a › s: Container image "registry.example.com/ci/none:1" is not present with pull policy of',
    ),
    "onerror": (["pending", "running", "success"], ["pending", "success"], "Passed in 10s · 1 task"),
    "oom": (["pending", "running", "failed"], ["pending", "failure"], "Failed in 10s: a › eat exited 137 (OOMKilled)"),
    "sidecar": (["pending", "running", "success"], ["pending", "success"], "Passed in 14s · 1 task"),
    "bytes": (["pending", "running", "success"], ["pending", "success"], "Passed in 11s · 1 task"),
    "unnamed": (["pending", "running", "success"], ["pending", "success"], "Passed in 10s · 1 task"),
    "custom": (
        ["pending", "running", "failed"],
        ["pending", "failure"],
        "Timed out after 15s: c (custom task) had not finished",
    ),
    "pending": (["pending", "running", "success"], ["pending", "success"], "Passed in 5s · 1 task"),
    "results": (["pending", "running", "success"], ["pending", "success"], "Passed in 10s · 1 task"),
    "initfail": (
        ["pending", "running", "failed"],
        ["pending", "failure"],
        "Failed in 8s: a › s exited 128 (StartError)",
    ),
}
_STATE = {None: 0, "Unknown": 1, "True": 2, "False": 2}


def context(run: str) -> str:
    return f"tekton/service-xyz-run-{run}"


def run_of(step: Step) -> str:
    return step.name.removeprefix("service-xyz-run-")


def shown(host: GitHost, path: str, run: str) -> list[str]:
    return [posted.state for posted in host.statuses(path, SHA, context(run))]


def condition(step: Step) -> tuple[str | None, str]:
    assert step.event is not None
    body = step.event["object"]
    assert isinstance(body, dict)
    for entry in body.get("status", {}).get("conditions", ()):
        return entry["status"], entry["reason"]
    return None, ""


async def wait_until_shown(scene: Scene, step: Step) -> None:
    """Wait until both hosts show what this step's run is now: the states of a run then come one by one, as in life."""
    if step.what != "pipelineruns":
        return
    run = run_of(step)
    gitlab_states, github_states, _ = EXPECTED[run]
    status, reason = condition(step)
    if status in ("True", "False"):
        want = len(gitlab_states), len(github_states)
    elif status == "Unknown" and reason != "PipelineRunPending":
        want = 2, 1
    else:
        want = 1, 1
    await scene.gitlab.wait_for(lambda _: len(shown(scene.gitlab, GITLAB_PATH, run)) >= want[0])
    await scene.github.wait_for(lambda _: len(shown(scene.github, GITHUB_PATH, run)) >= want[1])


async def test_each_recorded_run_shows_exactly_its_states_in_order_on_both_hosts(scene: Scene) -> None:
    async with scene.serve() as service:
        await service.runs.synced()
        await replay(scene.cluster, recording(), after=lambda step: wait_until_shown(scene, step))
        await service.reporter.lanes.drained()

    for run, (gitlab_states, github_states, description) in EXPECTED.items():
        on_gitlab = scene.gitlab.statuses(GITLAB_PATH, SHA, context(run))
        on_github = scene.github.statuses(GITHUB_PATH, SHA, context(run))
        assert [posted.state for posted in on_gitlab] == gitlab_states, run
        assert [posted.state for posted in on_github] == github_states, run
        assert on_gitlab[-1].description.startswith(description), run
        assert on_github[-1].description.startswith(description[:130].rstrip()), run
        url = f"https://listener.example.com/runs/team-a/service-xyz-run-{run}"
        assert {posted.target_url for posted in on_gitlab + on_github} == {url}
    assert len(scene.gitlab.posted) == sum(len(states) for states, _, _ in EXPECTED.values())
    assert len(scene.github.posted) == sum(len(states) for _, states, _ in EXPECTED.values())


async def test_one_request_per_status_on_the_wire_and_never_another(scene: Scene) -> None:
    async with scene.serve() as service:
        await service.runs.synced()
        await replay(scene.cluster, recording())
        await scene.gitlab.wait_for(lambda _: all_final(scene))
        await service.reporter.lanes.drained()

    assert len(scene.gitlab.asked) == len(scene.gitlab.posted)
    assert len(scene.github.asked) == len(scene.github.posted)
    assert {asked.status for asked in [*scene.gitlab.asked, *scene.github.asked]} == {201}
    for asked in scene.github.asked:
        openapi.check_request(asked.method, asked.path, asked.body)


async def test_a_fast_replay_may_skip_states_but_never_changes_their_order_or_repeats_one(scene: Scene) -> None:
    async with scene.serve() as service:
        await service.runs.synced()
        await replay(scene.cluster, recording())
        await scene.gitlab.wait_for(lambda _: all_final(scene))
        await service.reporter.lanes.drained()

    for run, (gitlab_states, github_states, _) in EXPECTED.items():
        for states, expected in (
            (shown(scene.gitlab, GITLAB_PATH, run), gitlab_states),
            (shown(scene.github, GITHUB_PATH, run), github_states),
        ):
            assert states == [state for state in expected if state in states], run
            assert states[-1] == expected[-1], run


def all_final(scene: Scene) -> bool:
    return all(
        shown(scene.gitlab, GITLAB_PATH, run)[-1:] == gitlab_states[-1:]
        for run, (gitlab_states, _, _) in EXPECTED.items()
    )


@pytest.mark.parametrize("namespace", ["team-b", "team-a-2"])
async def test_runs_of_another_namespace_are_not_reported(scene: Scene, namespace: str) -> None:
    scene.services = scene.services.replace("team-a", namespace)
    async with scene.serve() as service:
        await service.runs.synced()
        await replay(scene.cluster, recording())
        await service.reporter.lanes.drained()
        assert len(service.runs) == len(EXPECTED)

    assert not scene.gitlab.asked
    assert not scene.github.asked
