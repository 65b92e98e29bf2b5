"""What became of a run: the table of providers.md, and the sentence that a developer needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.cluster.decode import decode_pipeline_run, decode_task_run
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import duration, outcome, sentence
from notifiers.base import Outcome


def run(status: str | None, reason: str = "", message: str = "", **fields: Any) -> PipelineRun:
    condition = {"type": "Succeeded", "status": status, "reason": reason, "message": message}
    body = {
        "metadata": {"name": "r", "namespace": "ci"},
        "status": {"conditions": [condition] if status else [], **fields},
    }
    return decode_pipeline_run(json.dumps(body).encode())


def task(
    name: str, status: str, *steps: dict[str, Any], reason: str = "", completed: str = "", message: str = ""
) -> TaskRun:
    body = {
        "metadata": {"name": f"r-{name}", "namespace": "ci", "labels": {"tekton.dev/pipelineTask": name}},
        "status": {
            "conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": message}],
            "steps": list(steps),
            "completionTime": completed,
        },
    }
    return decode_task_run(json.dumps(body).encode())


def step(name: str, exit_code: int, *, reason: str = "Error", termination: str = "Error") -> dict[str, Any]:
    ended = {"exitCode": exit_code, "reason": reason}
    return {"name": name, "container": f"step-{name}", "terminated": ended, "terminationReason": termination}


CHILDREN = [{"kind": "TaskRun", "name": "r-build", "pipelineTaskName": "build"}]


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (None, "", Outcome.QUEUED),
        ("Unknown", "PipelineRunPending", Outcome.QUEUED),
        ("Unknown", "Started", Outcome.QUEUED),
        ("Unknown", "Running", Outcome.RUNNING),
        ("Unknown", "ResolvingPipelineRef", Outcome.RUNNING),
        ("Unknown", "CancelledRunningFinally", Outcome.RUNNING),
        ("Unknown", "SomethingNew", Outcome.RUNNING),
        ("True", "Succeeded", Outcome.SUCCEEDED),
        ("True", "Completed", Outcome.SUCCEEDED),
        ("True", "SomethingNew", Outcome.SUCCEEDED),
        ("False", "Failed", Outcome.FAILED),
        ("False", "SomethingNew", Outcome.FAILED),
        ("False", "Cancelled", Outcome.CANCELLED),
        ("False", "CancelledRunningFinally", Outcome.CANCELLED),
        ("False", "StoppedRunningFinally", Outcome.CANCELLED),
        ("False", "PipelineRunTimeout", Outcome.TIMED_OUT),
        ("False", "CouldntGetTask", Outcome.BROKEN),
        ("False", "CouldntGetPipeline", Outcome.BROKEN),
        ("False", "PipelineValidationFailed", Outcome.BROKEN),
        ("False", "InvalidGraph", Outcome.BROKEN),
        ("False", "CreateRunFailed", Outcome.BROKEN),
        ("False", "InvalidWorkspaceBindings", Outcome.BROKEN),
        ("False", "ParameterMissing", Outcome.BROKEN),
    ],
)
def test_the_table_of_reasons(status: str | None, reason: str, expected: Outcome) -> None:
    assert outcome(run(status, reason)) is expected


def test_a_started_run_that_has_tasks_is_running() -> None:
    assert outcome(run("Unknown", "Started", childReferences=CHILDREN)) is Outcome.RUNNING


def test_the_step_that_failed_is_named_and_not_the_one_that_skipped_after_it() -> None:
    failed = task("build", "False", step("a", 0, reason="Completed"), step("b", 2), step("c", 1, termination="Skipped"))
    assert sentence(run("False", "Failed", childReferences=CHILDREN), [failed]) == "Failed: build › b exited 2"


def test_a_step_that_may_fail_is_not_blamed() -> None:
    failed = task("build", "False", step("lint", 3, reason="Completed", termination="Continued"), step("test", 1))
    assert sentence(run("False", "Failed"), [failed]) == "Failed: build › test exited 1"


def test_of_two_failed_tasks_the_one_that_ended_first_is_named() -> None:
    late = task("a", "False", step("s", 1), completed="2026-11-23T11:00:09Z")
    early = task("b", "False", step("s", 2), completed="2026-11-23T11:00:01Z")
    assert sentence(run("False", "Failed"), [late, early]) == "Failed: b › s exited 2"


def test_a_task_that_was_cancelled_because_another_failed_is_not_blamed() -> None:
    cancelled = task(
        "a",
        "False",
        step("s", 1, reason="TaskRunCancelled"),
        reason="TaskRunCancelled",
        completed="2026-11-23T11:00:00Z",
    )
    failed = task("b", "False", step("s", 7), completed="2026-11-23T11:00:01Z")
    assert sentence(run("False", "Failed"), [cancelled, failed]) == "Failed: b › s exited 7"


def test_without_task_runs_the_conditions_message_is_better_than_nothing() -> None:
    assert (
        sentence(run("False", "Failed", "Tasks Completed: 2 (Failed: 1)")) == "Failed: Tasks Completed: 2 (Failed: 1)"
    )


def test_a_task_that_failed_without_a_step_gives_its_reason() -> None:
    assert sentence(run("False", "Failed"), [task("a", "False", reason="TaskRunValidationFailed")]) == (
        "Failed: a: TaskRunValidationFailed"
    )


def test_a_sentence_is_one_line_whatever_a_message_holds() -> None:
    assert sentence(run("False", "CouldntGetTask", "a\nb\r\n\tc")) == "Could not run: a b c"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2026-11-23T11:00:00Z", "2026-11-23T11:00:41Z", "41s"),
        ("2026-11-23T11:00:00Z", "2026-11-23T11:02:14Z", "2m 14s"),
        ("2026-11-23T11:00:00Z", "2026-11-23T13:02:14Z", "2h 2m"),
        ("2026-11-23T11:00:10Z", "2026-11-23T11:00:00Z", "0s"),
        ("", "2026-11-23T11:00:00Z", ""),
        ("yesterday", "2026-11-23T11:00:00Z", ""),
    ],
)
def test_durations(start: str, end: str, said: str) -> None:
    assert duration(start, end) == said


@given(status=st.sampled_from([None, "True", "False", "Unknown", "Maybe"]), reason=st.text(), message=st.text())
def test_any_condition_has_an_outcome_and_a_sentence(status: str | None, reason: str, message: str) -> None:
    one = run(status, reason, message)
    assert isinstance(outcome(one), Outcome)
    assert "\n" not in sentence(one)
    assert outcome(one).final == (status in ("True", "False"))
