"""From a run and a place to the report: optional tasks, check runs of tasks, logs that are read once, links to the right host."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from listener.cluster.objects import PipelineRun, TaskRun
from listener.config_model import Service
from listener.reporting.aspects import policy_of, task_target
from listener.reporting.compose import Composer
from listener.reporting.history import History
from listener.reporting.target import Target
from listener.reporting.tasks import Tasks, task_states
from notifiers.reports import CheckRun, Comment, CommitStatus, Message, Outcome
from tests.unit.reporting.test_routing import NOTIFIERS, SHA, service
from tests.unit.reporting.test_tasks import recorded

LOG = "building\nsrc/main.c:12:5: error: expected ; before }\n"


class Desk:
    """A composer for one recorded run, and what it has read."""

    def __init__(self, name: str = "fail1", **fields: Any) -> None:
        self.run, self.task_runs = recorded()[name]
        self.policy = policy_of(Service.model_validate(service(**fields)))
        self.target = Target(
            "gitlab", "group/a", SHA, "tekton/a", url="https://l.example/runs/ci/a", service="xyz", policy=self.policy
        )
        self.read: list[str] = []
        tasks = Tasks(self.of, on_read=lambda _: None)
        tasks._states[self.run.uid] = task_states(self.run, self.task_runs)
        self.composer = Composer(
            read_task_runs=self.of,
            read_log_tail=self.tail,
            notifier_of=NOTIFIERS.get,
            first_target=lambda _: self.target,
            tasks=tasks,
            history=History(),
        )

    async def of(self, _: PipelineRun) -> list[TaskRun]:
        return self.task_runs

    async def tail(self, _: PipelineRun, task_run: TaskRun, container: str) -> str:
        self.read.append(f"{task_run.name} {container}")
        return LOG

    async def say(self, aspect: str = "", task: str = "", **fields: Any) -> Any:
        target = dataclasses.replace(self.target, aspect="check" if aspect == "task-check" else aspect, **fields)
        if task:
            target = task_target(target, task, label=task)
        return await self.composer.compose(self.run, target, False)


OPTIONAL: dict[str, Any] = {"report": ["run", "tasks"], "optional_tasks": ["bui*"]}


async def test_the_status_of_an_optional_task_that_failed_passes_and_says_so() -> None:
    report: CommitStatus = await Desk(**OPTIONAL).say(task="build")
    assert (report.outcome, report.optional) == (Outcome.SUCCEEDED, True)
    assert (report.context, report.description) == ("tekton/a/build", "Optional: failed in 11s: compile exited 2")


async def test_a_task_that_is_not_optional_fails_and_one_that_passed_says_nothing_of_it() -> None:
    desk = Desk(report=["run", "tasks"], optional_tasks=["rep*"])
    failed, passed = await desk.say(task="build"), await desk.say(task="report")
    assert (failed.outcome, failed.description, failed.optional) == (
        Outcome.FAILED,
        "Failed in 11s: compile exited 2",
        False,
    )
    assert (passed.outcome, passed.description) == (Outcome.SUCCEEDED, "Passed in 4s")


async def test_an_optional_tasks_check_run_failed_and_the_notifier_is_told_that_it_may() -> None:
    report: CheckRun = await Desk(**OPTIONAL).say("task-check", task="build")
    assert (report.outcome, report.optional) == (Outcome.FAILED, True)
    assert report.description == "Optional: failed in 11s: compile exited 2"
    assert report.details.log_tail == LOG
    assert "error: expected" in report.text
    assert "| Task |" not in report.text, "it is about one task, and its title says all"


async def test_a_matrixs_check_run_has_a_table() -> None:
    report: CheckRun = await Desk("matrix", report=["run", "tasks"]).say("task-check", task="m")
    assert report.text.count("| ✅ |") == 4


async def test_a_tasks_check_run_tells_of_its_own_log_and_of_no_other() -> None:
    desk = Desk(report=["run", "tasks"])
    report: CheckRun = await desk.say("task-check", task="report")
    assert (report.outcome, report.details.log_tail, desk.read) == (Outcome.SUCCEEDED, "", [])
    assert "error: expected" not in report.text


async def test_a_runs_check_run_has_the_table_and_the_logs_end() -> None:
    report: CheckRun = await Desk(optional_tasks="build").say("check")
    assert "| ⚠️ | `build` | 11s | compile exited 2 (allowed to fail) |" in report.text
    assert "src/main.c:12:5: error" in report.text


async def test_the_log_is_read_once_for_all_reports_of_a_run_and_not_for_what_shows_none() -> None:
    desk = Desk(notify=[{"channel": "chat", "on": "finished"}])
    for aspect in ("", "labels", "deployment"):
        await desk.say(aspect)
    assert desk.read == []
    for aspect in ("check", "comment", "message"):
        assert (await desk.say(aspect)).details.log_tail == LOG
    assert desk.read == ["service-xyz-run-fail1-build step-compile"]


@pytest.mark.parametrize(("name", "container"), [("timeout", "step-sleep"), ("oom", "step-eat"), ("imgpull", "step-s")])
async def test_the_log_is_that_of_the_step_that_broke_or_hung(name: str, container: str) -> None:
    desk = Desk(name)
    await desk.say("comment")
    assert [read.split()[1] for read in desk.read] == [container]


@pytest.mark.parametrize("name", ["r68g8", "cancel", "badref", "custom"])
async def test_no_log_is_read_where_nothing_broke_or_there_is_none(name: str) -> None:
    desk = Desk(name)
    await desk.say("check")
    assert desk.read == []


async def test_a_comment_links_to_the_commit_on_its_own_host_and_a_message_on_the_first() -> None:
    desk = Desk(notify=[{"channel": "chat", "on": "finished"}])
    comment: Comment = await desk.say("comment", host="github", repository="acme/a")
    message: Message = await desk.say("message", host="chat", repository="acme/a")
    assert comment.details.commit_url == f"https://github.com/acme/a/commit/{SHA}"
    assert f"[4f1c2d3e](https://github.com/acme/a/commit/{SHA})" in comment.text
    assert message.details.commit_url == f"https://gitlab.example.com/group/a/-/commit/{SHA}"


async def test_texts_of_an_operators_own_are_filled() -> None:
    desk = Desk(
        description="$(run.sentence) by $(params.nobody)\n$(log.tail)",
        comment={"when": "always", "text": "**$(failed.task)** $(failed.exit_code)\n$(run.tasks)"},
        notify=[{"channel": "hook", "on": "failed", "text": '{"a": "$(log.tail)"}'}],
    )
    status, comment = await desk.say(), await desk.say("comment")
    assert (
        status.description == "Failed in 15s: build › compile exited 2 by src/main.c:12:5: error: expected ; before }"
    )
    assert comment.text.startswith("**build** 2\n")
    assert "| ❌ | `build` |" in comment.text
    message: Message = await desk.say("message", host="hook")
    assert message.templated
    assert message.text == '{"a": "building\\nsrc/main.c:12:5: error: expected ; before }"}'
