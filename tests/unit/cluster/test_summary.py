"""What a run's page is made of: summaries of runs of every kind, and of the recorded ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from listener.cluster.decode import decode_pipeline_run, decode_task_run
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.summary import Place, RunSummary, summarize, task_labels
from tests.scene import RECORDINGS


def last_states(resource: str) -> dict[str, dict[str, Any]]:
    """The last recorded state of each object."""
    found = {}
    for line in (RECORDINGS / f"watch-{resource}.jsonl").read_text().splitlines():
        body = json.loads(line)["event"]["object"]
        if "name" in body["metadata"]:
            found[body["metadata"]["name"]] = body
    return found


RUNS, TASKS = last_states("pipelineruns"), last_states("taskruns")


def recorded(name: str) -> RunSummary:
    run = decode_pipeline_run(json.dumps(RUNS[f"service-xyz-run-{name}"]).encode())
    tasks = [decode_task_run(json.dumps(body).encode()) for body in TASKS.values()]
    return summarize(run, [task for task in tasks if task.pipeline_run == run.name])


def made(condition: dict[str, str], children: list[dict[str, str]], **status: Any) -> PipelineRun:
    body = {
        "metadata": {"name": "r", "namespace": "ci", "uid": "u"},
        "status": {"conditions": [{"type": "Succeeded", **condition}], "childReferences": children, **status},
    }
    return decode_pipeline_run(json.dumps(body).encode())


def task_run(name: str, steps: list[dict[str, Any]], *, status: str = "Unknown", **spec: Any) -> TaskRun:
    body = {
        "metadata": {"name": name, "namespace": "ci"},
        "spec": spec,
        "status": {"conditions": [{"type": "Succeeded", "status": status, "reason": "Running"}], "steps": steps},
    }
    return decode_task_run(json.dumps(body).encode())


def test_a_succeeded_run_has_its_tasks_their_steps_and_times() -> None:
    summary = recorded("r68g8")
    assert (summary.state, summary.sentence, summary.final) == ("succeeded", "Passed in 32s · 4 tasks", True)
    assert [task.label for task in summary.tasks] == ["build", "unit-test", "lint", "cleanup"]
    build = summary.tasks[0]
    assert [(step.name, step.state, step.exit_code) for step in build.attempts[0].steps] == [
        ("compile", "succeeded", 0),
        ("package", "succeeded", 0),
    ]
    assert all(step.started and step.finished for task in summary.tasks for step in task.attempts[-1].steps)
    assert [task.label for task in summary.tasks if task.finally_] == ["cleanup"]
    assert summary.place is None


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fail1", Place("build", "compile")),
        ("oom", Place("a", "eat")),
        ("retry", Place("flaky", "try", 3)),
        ("cancel", Place("slow", "sleep")),
        ("timeout", Place("slow", "sleep")),
        ("initfail", Place("a", "s")),
        ("badref", None),
        ("onerror", None),
    ],
)
def test_the_place_to_look_at_is_where_the_run_broke(name: str, place: Place | None) -> None:
    assert recorded(name).place == place


def test_steps_behind_the_one_that_failed_did_not_run_and_are_not_blamed() -> None:
    steps = recorded("fail1").tasks[0].attempts[0].steps
    assert [(step.state, step.exit_code) for step in steps] == [("failed", 2), ("skipped", 1)]


def test_a_failure_that_is_allowed_is_told_from_one_that_is_not() -> None:
    assert [step.state for step in recorded("onerror").tasks[0].attempts[0].steps] == ["continued", "succeeded"]


def test_every_attempt_of_a_retried_task_is_there() -> None:
    (task,) = recorded("retry").tasks
    assert [(attempt.number, attempt.state) for attempt in task.attempts] == [
        (1, "failed"),
        (2, "failed"),
        (3, "failed"),
    ]


def test_a_matrix_says_what_tells_its_tasks_apart() -> None:
    tasks = recorded("matrix").tasks
    assert [task.label for task in tasks] == ["m-0", "m-1", "m-2", "m-3"]
    assert {task.task for task in tasks} == {"m"}
    values = [tuple(task.values.items()) for task in tasks]
    assert all(len(one) == 2 for one in values)
    assert len(set(values)) == 4


def test_a_skipped_task_says_why_and_a_custom_one_that_its_state_is_not_known() -> None:
    assert [(s.task, bool(s.reason)) for s in recorded("skip").skipped] == [("b", True)]
    (custom,) = recorded("custom").tasks
    assert (custom.kind, custom.state) == ("CustomRun", "unknown")


def test_a_run_that_never_started_has_its_reason_and_no_tasks() -> None:
    summary = recorded("badref")
    assert (summary.state, summary.reason, summary.tasks) == ("broken", "CouldntGetTask", ())
    assert "Tasks that don't exist" in summary.message


def test_of_steps_whose_containers_all_run_only_the_first_one_does() -> None:
    ended = {"exitCode": 0, "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:09Z"}
    running = {"startedAt": "2026-01-01T00:00:00Z"}
    run = made(
        {"status": "Unknown", "reason": "Running"}, [{"kind": "TaskRun", "name": "r-a", "pipelineTaskName": "a"}]
    )
    steps = [
        {"name": "one", "terminated": ended},
        {"name": "two", "running": running},
        {"name": "three", "running": running},
    ]
    (task,) = summarize(run, [task_run("r-a", steps)]).tasks
    assert [(s.state, s.started) for s in task.attempts[0].steps] == [
        ("succeeded", "2026-01-01T00:00:01Z"),
        ("running", "2026-01-01T00:00:09Z"),
        ("waiting", ""),
    ]


def test_tasks_that_may_still_come_are_waiting() -> None:
    spec = {"tasks": [{"name": "a"}, {"name": "b"}], "finally": [{"name": "z"}]}
    children = [{"kind": "TaskRun", "name": "r-a", "pipelineTaskName": "a"}]
    run = made({"status": "Unknown", "reason": "Running"}, children, pipelineSpec=spec)
    assert summarize(run, []).waiting == ("b", "z")
    over = made({"status": "False", "reason": "Failed"}, children, pipelineSpec=spec)
    assert summarize(over, []).waiting == ()


def test_a_run_within_the_run_brings_its_own_summary_and_its_place() -> None:
    inner = msgspec.structs.replace(recorded("fail1"), name="r-child")
    children = [{"kind": "PipelineRun", "name": "r-child", "pipelineTaskName": "child"}]
    summary = summarize(made({"status": "False", "reason": "Failed"}, children), [], nested={"r-child": inner})
    assert (summary.tasks[0].state, summary.tasks[0].nested) == ("failed", inner)
    assert summary.place == Place("child/build", "compile")


def test_a_deleted_run_is_deleted() -> None:
    run = made({"status": "Unknown", "reason": "Running"}, [])
    assert (summarize(run, [], deleted=True).state, summarize(run, [], deleted=True).final) == ("deleted", True)


@pytest.mark.parametrize("name", sorted(name.removeprefix("service-xyz-run-") for name in RUNS))
def test_a_summary_goes_through_json_unchanged_and_its_labels_are_those_of_the_log(name: str) -> None:
    summary = recorded(name)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=RunSummary) == summary
    run = decode_pipeline_run(json.dumps(RUNS[f"service-xyz-run-{name}"]).encode())
    assert [task.label for task in summary.tasks] == list(task_labels(run).values())
