"""Through the whole service: what is told of a run beyond its status, to hosts and to channels, and what is not told again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from listener.demo.chat import Chat
from listener.demo.githost import HostFault
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.service import Service
from tests import runs
from tests.app_key import APP, key
from tests.pipeline import Run
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene

OTHER = "b" * 40
CONTEXT = "tekton/build"


@pytest.fixture
async def chat(scene: Scene) -> AsyncIterator[Chat]:
    async with Chat(key="a-key-of-sixteen") as chat:
        (scene.folder / "chat-key").write_text("a-key-of-sixteen\n")
        scene.more = (
            f'channels:\n  chat: {{kind: webhook, url: "{chat.url}/hooks", token_file: chat-key, threads: 1}}\n'
        )
        yield chat


def services(scene: Scene, more: str, *, repository: str = f"gitlab:{GITLAB_PATH}") -> None:
    scene.services = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: {repository}
    {more}
"""


def begin(scene: Scene, name: str = "a", *, sha: str = SHA, branch: str = "main", **meta: Any) -> Run:
    params = {"revision": sha, "branch": branch}
    return Run(scene.cluster, f"service-xyz-run-{name}", params=params, pipeline="build", **meta)


def passes(run: Run) -> Run:
    task = run.task("unit", "test")
    task.complete()
    run.succeed()
    return run


def breaks(run: Run, said: str = "src/main.c:12:5: error: expected ';'\n") -> Run:
    task = run.task("compile", "make")
    task.say("make", said)
    task.exit("make", 2)
    task.fail()
    run.fail()
    return run


def ended_long_ago(scene: Scene, run: Run) -> None:
    scene.cluster.patch("pipelineruns", "team-a", run.name, {"status": {"completionTime": "2020-01-01T00:00:00Z"}})


async def everything_said(scene: Scene, service: Service) -> None:
    """The service has seen all there is in the cluster, and all that is to be told has been told and noted."""
    changed = asyncio.Event()
    service.runs.on_change(lambda _: changed.set())
    async with asyncio.timeout(30):
        await service.delivering.wait()
        while True:
            changed.clear()
            known = {(run.namespace, run.name): run.resource_version for run in service.runs}
            there = {
                place: scene.cluster.store.get("pipelineruns", *place)
                for place in scene.cluster.store.names("pipelineruns")
            }
            if known != {place: stored.object["metadata"]["resourceVersion"] for place, stored in there.items()}:
                await changed.wait()
                continue
            await service.reporter.tasks.idle.wait()
            await service.reporter.lanes.drained()
            await service.reporter.flush()
            if not changed.is_set():
                return


async def gone(service: Service, name: str) -> None:
    """The service has seen that a run is no longer there."""
    changed = asyncio.Event()
    service.runs.on_change(lambda _: changed.set())
    async with asyncio.timeout(30):
        while name in {run.name for run in service.runs}:
            changed.clear()
            await changed.wait()


# Messages


async def test_a_chat_hears_when_a_branch_breaks_and_when_it_is_fixed_and_nothing_between(
    scene: Scene, chat: Chat
) -> None:
    services(scene, "notify: [{channel: chat}]")
    async with scene.serve() as service:
        for number, outcome in enumerate((passes, breaks, breaks, passes, passes)):
            outcome(begin(scene, f"m{number}", creationTimestamp=f"2026-11-25T10:00:0{number}Z"))
            await everything_said(scene, service)
        breaks(begin(scene, "other", branch="feature", creationTimestamp="2026-11-25T10:00:09Z"))
        await everything_said(scene, service)
    assert [(m.data["event"], m.subject) for m in chat.messages] == [
        ("broken", "team-a/service-xyz-run-m1"),
        ("fixed", "team-a/service-xyz-run-m3"),
        ("broken", "team-a/service-xyz-run-other"),
    ]
    assert chat.repeats == 0


async def test_what_a_chat_was_told_is_not_told_again_after_a_restart(scene: Scene, chat: Chat) -> None:
    services(scene, "notify: [{channel: chat, on: [started, finished]}]")
    async with scene.serve() as service:
        run = begin(scene)
        await everything_said(scene, service)
        breaks(run)
        await everything_said(scene, service)
    async with scene.serve() as service:
        await everything_said(scene, service)
    assert [message.data["event"] for message in chat.messages] == ["started", "failed"]
    assert len(chat.asked) == 2


async def test_who_switches_messages_on_is_not_flooded_with_runs_of_long_ago(scene: Scene, chat: Chat) -> None:
    services(scene, "notify: [{channel: chat, on: finished}]")
    ended_long_ago(scene, breaks(begin(scene, "old")))
    breaks(begin(scene, "new"))
    async with scene.serve() as service:
        await everything_said(scene, service)
        assert [message.subject for message in chat.messages] == ["team-a/service-xyz-run-new"]
    assert len(scene.gitlab.statuses(GITLAB_PATH, SHA, CONTEXT)) == 1, "of statuses the younger run's rules"


async def test_what_is_news_is_told_when_all_runs_are_known_whichever_was_listed_first(
    scene: Scene, chat: Chat
) -> None:
    services(scene, "notify: []")
    passes(begin(scene, "a-new", creationTimestamp="2026-11-25T10:00:02Z"))
    breaks(begin(scene, "z-old", creationTimestamp="2026-11-25T10:00:01Z"))
    async with scene.serve() as service:
        await everything_said(scene, service)
    services(scene, "notify: [{channel: chat, on: fixed}]")  # and the runs do not change any more
    async with scene.serve() as service:
        await everything_said(scene, service)
    assert [(message.data["event"], message.subject) for message in chat.messages] == [
        ("fixed", "team-a/service-xyz-run-a-new")
    ]


async def test_a_chat_that_is_down_holds_up_no_status_and_hears_of_it_later(scene: Scene, chat: Chat) -> None:
    services(scene, "notify: [{channel: chat, on: failed}]")
    fault = HostFault(status=503)
    chat.faults.append(fault)
    async with scene.serve() as service:
        breaks(begin(scene))
        await scene.gitlab.wait_for(lambda posted: bool(posted) and posted[-1].state == "failed")
        while not fault.hits:
            await chat.wait_asked(len(chat.asked) + 1)
        chat.faults.clear()
        await everything_said(scene, service)
    assert [message.data["event"] for message in chat.messages] == ["failed"]


async def test_a_text_of_ones_own_is_the_whole_body_and_cannot_be_broken_out_of(scene: Scene, chat: Chat) -> None:
    text = '{"who": "$(service)", "what": "$(run.state)", "said": "$(log.tail)", "step": "$(failed.step)"}'
    services(scene, f"notify: [{{channel: chat, on: failed, text: '{text}'}}]")
    async with scene.serve() as service:
        breaks(begin(scene), 'it said "no"\n\\ and more\n')
        await everything_said(scene, service)
    (message,) = chat.messages
    assert '"who": "service-xyz", "what": "failed"' in message.text
    assert 'it said \\"no\\"\\n\\\\ and more' in message.text
    assert '"step": "make"' in message.text


# Comments and labels


async def test_a_comment_comes_with_a_failure_and_says_when_all_is_well_again(scene: Scene) -> None:
    services(scene, "comment: on-failure", repository=f"[gitlab:{GITLAB_PATH}, github:{GITHUB_PATH}]")
    merge_request = scene.gitlab.merge_requests.open(GITLAB_PATH, SHA)
    pull = scene.github.pulls.open(GITHUB_PATH, SHA)

    def bodies() -> list[str]:
        return [note.body for note in merge_request.notes] + [comment.body for comment in pull.comments]

    async with scene.serve() as service:
        breaks(begin(scene, "bad", creationTimestamp="2026-11-25T10:00:01Z"))
        await everything_said(scene, service)
        assert len(bodies()) == 2
        for body in bodies():
            assert "make exited 2" in body
            assert "src/main.c:12:5: error: expected ';'" in body
        passes(begin(scene, "good", creationTimestamp="2026-11-25T10:00:02Z"))
        await everything_said(scene, service)
    assert len(bodies()) == 2, "one comment each, which updates itself"
    assert all("Passed" in body and "exited 2" not in body for body in bodies())


async def test_a_run_that_passes_on_a_branch_that_passed_asks_for_no_merge_request(scene: Scene) -> None:
    services(scene, "comment: on-failure")
    async with scene.serve() as service:
        for number in (1, 2):
            passes(begin(scene, f"p{number}", creationTimestamp=f"2026-11-25T10:00:0{number}Z"))
            await everything_said(scene, service)
    asked = [asked.path for asked in scene.gitlab.asked if "merge_requests" in asked.path]
    assert len(asked) == 1, "the first one, for nobody knows how the branch was before"


async def test_a_run_that_passes_writes_no_comment_where_there_is_none(scene: Scene) -> None:
    services(scene, "comment: on-failure")
    merge_request = scene.gitlab.merge_requests.open(GITLAB_PATH, SHA)
    async with scene.serve() as service:
        passes(begin(scene))
        await everything_said(scene, service)
    assert any("/notes" in asked.path for asked in scene.gitlab.asked), "it was looked for"
    assert not merge_request.notes


async def test_labels_follow_the_runs_state_and_others_stay(scene: Scene) -> None:
    services(scene, 'labels: {running: "ci::running", failed: "ci::failed", succeeded: "ci::passed"}')
    merge_request = scene.gitlab.merge_requests.open(GITLAB_PATH, SHA, labels=["mine"])
    async with scene.serve() as service:
        run = begin(scene)
        await everything_said(scene, service)
        assert set(merge_request.labels) == {"mine", "ci::running"}
        breaks(run)
        await everything_said(scene, service)
        assert set(merge_request.labels) == {"mine", "ci::failed"}


async def test_a_run_that_deploys_is_a_deployment_on_both_hosts(scene: Scene) -> None:
    services(
        scene,
        "environment: production\n    environment_url: https://www.example.com",
        repository=f"[gitlab:{GITLAB_PATH}, github:{GITHUB_PATH}]",
    )
    async with scene.serve() as service:
        run = begin(scene)
        await everything_said(scene, service)
        passes(run)
        await everything_said(scene, service)
    (there,) = scene.github.deployments.of(GITHUB_PATH, SHA)
    assert (there.environment, there.state) == ("production", "success")
    (here,) = scene.gitlab.deployments.of(GITLAB_PATH, SHA)
    assert (here.environment.name, here.status) == ("production", "success")


# Tasks and checks


def shown(host: GitLab | GitHub, path: str) -> dict[str, tuple[str, str]]:
    """What the commit shows, by context."""
    return {name: (posted.state, posted.description) for name, posted in host.latest(path, SHA).items()}


async def test_each_task_has_a_status_of_its_own_below_the_runs(scene: Scene) -> None:
    services(scene, "report: [run, tasks]\n    optional_tasks: lint*")
    async with scene.serve() as service:
        run = begin(scene)
        unit = run.task("unit", "test")
        await scene.gitlab.wait_for(lambda _: f"{CONTEXT}/unit" in shown(scene.gitlab, GITLAB_PATH))
        assert shown(scene.gitlab, GITLAB_PATH)[f"{CONTEXT}/unit"] == ("running", "Running")
        unit.complete()
        lint = run.task("lint-py", "ruff")
        lint.exit("ruff", 1)
        lint.fail()
        run.skip("deploy", "When Expressions evaluated to false")
        run.skip("late", "PipelineRun was stopping")
        run.fail()
        await scene.gitlab.wait_for(lambda _: shown(scene.gitlab, GITLAB_PATH).get(CONTEXT, ("",))[0] == "failed")
        await scene.gitlab.wait_for(lambda _: f"{CONTEXT}/deploy" in shown(scene.gitlab, GITLAB_PATH))
        await everything_said(scene, service)
    found = shown(scene.gitlab, GITLAB_PATH)
    assert found[f"{CONTEXT}/unit"][0] == "success"
    assert found[f"{CONTEXT}/lint-py"][0] == "success", "it must not block"
    assert found[f"{CONTEXT}/lint-py"][1].startswith("Optional: failed")
    assert found[f"{CONTEXT}/deploy"] == ("success", "Skipped: its conditions do not hold")
    assert f"{CONTEXT}/late" not in found
    assert scene.gitlab.latest(GITLAB_PATH, SHA)[f"{CONTEXT}/unit"].target_url == (
        "https://listener.example.com/runs/team-a/service-xyz-run-a#unit"
    )


async def test_after_a_restart_tasks_whose_end_was_told_are_not_even_read(scene: Scene) -> None:
    services(scene, "report: tasks")
    async with scene.serve() as service:
        passes(begin(scene))
        await scene.gitlab.wait_for(
            lambda _: shown(scene.gitlab, GITLAB_PATH).get(f"{CONTEXT}/unit", ("",))[0] == "success"
        )
        await everything_said(scene, service)
    before = len(scene.gitlab.asked), scene.cluster.requests.count(verb="list", resource="taskruns")
    async with scene.serve() as service:
        await everything_said(scene, service)
    assert (len(scene.gitlab.asked), scene.cluster.requests.count(verb="list", resource="taskruns")) == before


async def test_tasks_of_a_run_that_is_deleted_are_not_left_running(scene: Scene) -> None:
    services(scene, "report: tasks")
    async with scene.serve() as service:
        run = begin(scene)
        run.task("unit", "test")
        await scene.gitlab.wait_for(lambda _: f"{CONTEXT}/unit" in shown(scene.gitlab, GITLAB_PATH))
        run.delete()
        await everything_said(scene, service)
    assert {state for state, _ in shown(scene.gitlab, GITLAB_PATH).values()} == {"canceled"}


@contextlib.asynccontextmanager
async def as_app(scene: Scene) -> AsyncIterator[GitHub]:
    scene.github.add_app(APP, key().public, {"acme": 678})
    (scene.folder / "app.pem").write_text(key().private)
    scene.github_credentials = f"app_id: {APP}, private_key_file: app.pem"
    yield scene.github


async def test_an_app_reports_check_runs_with_the_compilers_words_at_their_lines(scene: Scene) -> None:
    services(scene, "report: [checks, tasks]\n    optional_tasks: lint", repository=f"github:{GITHUB_PATH}")
    async with as_app(scene) as github, scene.serve() as service:
        run = begin(scene)
        lint = run.task("lint", "ruff")
        lint.exit("ruff", 1)
        lint.fail()
        breaks(run)
        await until(
            lambda: (
                {f"{CONTEXT}/compile", f"{CONTEXT}/lint"} <= {c.name for c in github.checks.latest(GITHUB_PATH, SHA)}
            ),
            github,
        )
        await everything_said(scene, service)
        checks = {check.name: check for check in github.checks.latest(GITHUB_PATH, SHA)}
    assert {name: check.conclusion for name, check in checks.items()} == {
        CONTEXT: "failure", f"{CONTEXT}/compile": "failure", f"{CONTEXT}/lint": "neutral",
    }  # fmt: skip
    (found,) = checks[CONTEXT].annotations
    assert (found["path"], found["start_line"]) == ("src/main.c", 12)
    assert "expected ';'" in str(checks[CONTEXT].summary)
    assert not github.posted, "no statuses beside them"


async def test_a_check_run_is_queued_then_in_progress_then_done_where_a_status_would_only_be_pending(
    scene: Scene,
) -> None:
    services(scene, "report: checks", repository=f"github:{GITHUB_PATH}")
    async with as_app(scene) as github, scene.serve() as service:
        said = []
        runs.start(scene.cluster, "a", None)
        for state in ("running", "succeeded", ""):
            await everything_said(scene, service)
            (check,) = github.checks.latest(GITHUB_PATH, SHA)
            said.append((check.status, check.conclusion))
            if state:
                runs.move(scene.cluster, "a", state)
    assert said == [("queued", None), ("in_progress", None), ("completed", "success")]
    assert len(github.checks.of(GITHUB_PATH, SHA)) == 1


async def until(condition: Callable[[], bool], host: GitHub) -> None:
    while not condition():
        await host.wait_asked(len(host.asked) + 1)


# Together


async def test_a_run_that_is_guaranteed_stays_until_its_comment_has_arrived(scene: Scene, chat: Chat) -> None:
    services(scene, "deliver: guaranteed\n    notify: [{channel: chat, on: failed}]")
    chat.faults.append(HostFault(status=503))
    async with scene.serve() as service:
        run = breaks(begin(scene))
        await chat.wait_asked(1)
        run.delete()
        assert scene.cluster.get("pipelineruns", "team-a", run.name)["metadata"]["deletionTimestamp"]
        chat.faults.clear()
        await everything_said(scene, service)
        await gone(service, run.name)
    assert len(chat.messages) == 1


async def test_the_sentence_may_be_ones_own(scene: Scene) -> None:
    services(
        scene, "description: $(run.pipeline) $(run.state) in $(failed.task)/$(failed.step) with $(failed.exit_code)"
    )
    async with scene.serve() as service:
        breaks(begin(scene))
        await everything_said(scene, service)
    assert scene.gitlab.latest(GITLAB_PATH, SHA)[CONTEXT].description == "build failed in compile/make with 2"


async def test_channels_come_and_go_with_the_configuration(scene: Scene, chat: Chat) -> None:
    services(scene, "notify: []")
    ended_long_ago(scene, breaks(begin(scene, "old")))
    async with scene.serve() as service:
        await everything_said(scene, service)
        assert not chat.messages
        services(scene, "notify: [{channel: chat, on: failed}]")
        scene.write_config()
        await service._reload()
        await everything_said(scene, service)
        breaks(begin(scene, "after"))
        await everything_said(scene, service)
        services(scene, "notify: []")
        scene.write_config()
        await service._reload()
        breaks(begin(scene, "last"))
        await everything_said(scene, service)
    assert [message.subject for message in chat.messages] == ["team-a/service-xyz-run-after"]


async def test_a_replica_reads_no_tasks_of_runs_that_another_one_reports(scene: Scene) -> None:
    services(scene, "report: tasks")
    scene.services += "\nleases: {namespace: ops, duration: 600, renew_deadline: 300, retry_period: 1}\n"
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 600, "renewTime": "2026-11-25T10:00:00.000000Z"}
    scene.cluster.create("leases", {"metadata": {"name": "tekton-listener-00", "namespace": "ops"}, "spec": spec})
    passes(begin(scene))
    async with scene.serve(grace=0.1) as service:
        await everything_said(scene, service)
        assert scene.cluster.requests.count(verb="list", resource="taskruns") == 0
