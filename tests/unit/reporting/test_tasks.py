"""What is told of each task: of the recorded runs, and of what they have not got."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import Any

import pytest

from listener.cluster.decode import decode_pipeline_run, decode_task_run
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import sentence
from listener.cluster.summary import summarize
from listener.reporting.facts import details_of, fault_of
from listener.reporting.target import Target
from listener.reporting.tasks import task_states, why_skipped
from notifiers.reports import Outcome, RunDetails, TaskDetails
from tests.contract.test_recorded_runs import EXPECTED
from tests.scene import RECORDINGS

TARGET = Target("gitlab", "group/a", "0" * 40, "tekton/a")
ENDS = {
    "r68g8": {"build": "Passed in 18s", "unit-test": "Passed in 10s", "lint": "Passed in 4s", "cleanup": "Passed in 4s"},
    "fail1": {"build": "Failed in 11s: compile exited 2", "report": "Passed in 4s"},
    "timeout": {"slow": "Timed out after 19s: sleep was still running"},
    "cancel": {"slow": "Cancelled after 14s: sleep was still running", "fin": "Passed in 5s"},
    "retry": {"flaky": "Failed in 18s: try exited 1 after 3 attempts"},
    "matrix": {"m": "Passed in 10s · 4 of 4"},
    "skip": {"a": "Passed in 10s", "c": "Passed in 11s", "b": "Skipped: its conditions do not hold"},
    "badref": {},
    "imgpull": {"a": 'Timed out after 59s: Container image "registry.example.com/ci/none:1" is not present with pull policy of Never'},
    "onerror": {"a": "Passed in 8s · s1 exited 3 (allowed to fail)"},
    "oom": {"a": "Failed in 9s: eat exited 137 (OOMKilled)"},
    "sidecar": {"a": "Passed in 12s"},
    "bytes": {"a": "Passed in 9s"},
    "unnamed": {"a": "Passed in 8s"},
    "custom": {"c": "Timed out: custom task had not finished"},
    "pending": {"a": "Passed in 5s"},
    "results": {"clone": "Passed in 9s"},
    "initfail": {"a": "Failed in 7s: s exited 128 (StartError): failed to create containerd task"},
}  # fmt: skip


@cache
def recorded() -> dict[str, tuple[PipelineRun, list[TaskRun]]]:
    """Each run as it was at the end, with its TaskRuns."""
    last: dict[str, dict[str, bytes]] = defaultdict(dict)
    for resource in ("pipelineruns", "taskruns"):
        for line in (RECORDINGS / f"watch-{resource}.jsonl").read_text().splitlines():
            body = json.loads(line)["event"]["object"]
            if name := body["metadata"].get("name"):
                last[resource][name] = json.dumps(body).encode()
    task_runs = [decode_task_run(raw) for raw in last["taskruns"].values()]
    runs = {}
    for name in EXPECTED:
        run = decode_pipeline_run(last["pipelineruns"][f"service-xyz-run-{name}"])
        runs[name] = run, [one for one in task_runs if one.name in {child.name for child in run.children}]
    return runs


@pytest.mark.parametrize("name", EXPECTED)
def test_each_task_of_the_recorded_runs_is_told_in_one_sentence(name: str) -> None:
    states = task_states(*recorded()[name])
    said = {task: state.sentence for task, state in states.items()}
    assert said.keys() == ENDS[name].keys()
    for task, wanted in ENDS[name].items():
        assert said[task].startswith(wanted) if "StartError" in wanted else said[task] == wanted


@pytest.mark.parametrize(
    ("name", "task", "outcome"),
    [
        ("fail1", "build", Outcome.FAILED), ("fail1", "report", Outcome.SUCCEEDED), ("timeout", "slow", Outcome.TIMED_OUT),
        ("imgpull", "a", Outcome.TIMED_OUT), ("custom", "c", Outcome.TIMED_OUT), ("cancel", "slow", Outcome.CANCELLED),
        ("skip", "b", Outcome.SUCCEEDED), ("onerror", "a", Outcome.SUCCEEDED), ("oom", "a", Outcome.FAILED),
    ],
)  # fmt: skip
def test_what_hung_when_the_time_was_up_has_timed_out(name: str, task: str, outcome: Outcome) -> None:
    assert task_states(*recorded()[name])[task].outcome is outcome


def test_a_task_that_never_came_because_the_run_had_ended_is_not_told() -> None:
    assert "deploy" not in task_states(*recorded()["fail1"])


def details(name: str) -> RunDetails:
    run, task_runs = recorded()[name]
    summary = summarize(run, task_runs)
    return details_of(run, TARGET, summary, fault_of(summary, task_runs))


def test_the_details_say_what_broke_where() -> None:
    found = details("fail1")
    assert (found.failed_task, found.failed_step, found.exit_code, found.duration) == ("build", "compile", 2, "15s")
    assert found.tasks == (
        TaskDetails(name="build", state="failed", duration="11s", note="compile exited 2"),
        TaskDetails(name="report", state="succeeded", duration="4s"),
        TaskDetails(name="deploy", state="skipped", note="a task had failed"),
    )


def test_what_was_ended_has_no_exit_code_and_what_never_began_is_named_all_the_same() -> None:
    for name, place in (("timeout", ("slow", "sleep")), ("imgpull", ("a", "s")), ("custom", ("", ""))):
        found = details(name)
        assert (found.failed_task, found.failed_step, found.exit_code) == (*place, None)
        assert found.tasks[0].state == "timed_out"


def test_a_matrix_is_told_apart_and_tries_are_counted() -> None:
    assert [task.name for task in details("matrix").tasks][:2] == [
        "m (browser=chrome, platform=linux)", "m (browser=chrome, platform=mac)",
    ]  # fmt: skip
    assert details("retry").tasks[0].note == "try exited 1, 3 attempts"


def test_a_run_that_never_ran_has_no_tasks() -> None:
    assert details("badref").tasks == ()


# What the recordings have not got


def made(state: tuple[str, str], *children: tuple[str, str], kind: str = "TaskRun", skipped: Any = ()) -> PipelineRun:
    """``children``: name and pipeline task of each."""
    references = [{"kind": kind, "name": name, "pipelineTaskName": task} for name, task in children]
    condition = {"type": "Succeeded", "status": state[0], "reason": state[1]}
    status = {
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [condition],
        "childReferences": references,
        "skippedTasks": list(skipped),
    }
    if state[0] != "Unknown":
        status["completionTime"] = "2026-01-01T00:01:00Z"
    return decode_pipeline_run(json.dumps({"metadata": {"name": "r", "namespace": "ci"}, "status": status}).encode())


def task_run(
    name: str, state: tuple[str, str, str], *, seconds: tuple[int, int | None] = (0, 30), steps: Any = ()
) -> TaskRun:
    status: dict[str, Any] = {"startTime": f"2026-01-01T00:00:{seconds[0]:02d}Z", "steps": list(steps)}
    status["conditions"] = [{"type": "Succeeded", "status": state[0], "reason": state[1], "message": state[2]}]
    if seconds[1] is not None:
        status["completionTime"] = f"2026-01-01T00:00:{seconds[1]:02d}Z"
    return decode_task_run(json.dumps({"metadata": {"name": name, "namespace": "ci"}, "status": status}).encode())


GOOD = ("True", "Succeeded", "")
PENDING = ("Unknown", "Pending", "Pending")
EXITED = {"name": "s", "container": "step-s", "terminated": {"exitCode": 3, "reason": "Error"}}


def test_a_task_whose_pod_is_being_made_runs_for_nobody_would_tell_when_its_step_begins() -> None:
    run, found = made(("Unknown", "Running"), ("r-a", "a")), [task_run("r-a", PENDING, seconds=(0, None))]
    summary = summarize(run, found)
    assert details_of(run, TARGET, summary, fault_of(summary, found)).tasks == (TaskDetails(name="a", state="running"),)
    assert task_states(run, found)["a"].sentence == "Running"


def test_a_matrix_takes_from_its_first_beginning_to_its_last_end() -> None:
    run = made(("False", "Failed"), ("r-a-0", "a"), ("r-a-1", "a"))
    found = [
        task_run("r-a-0", ("False", "Failed", ""), seconds=(5, 10), steps=[EXITED]),
        task_run("r-a-1", GOOD, seconds=(7, 40)),
    ]
    assert task_states(run, found)["a"].sentence == "Failed in 35s · 1 of 2 passed: s exited 3"


def test_a_matrix_has_not_failed_before_all_of_it_has_ended() -> None:
    run = made(("Unknown", "Running"), ("r-a-0", "a"), ("r-a-1", "a"))
    found = [task_run("r-a-0", ("False", "Failed", ""), steps=[EXITED]), task_run("r-a-1", PENDING, seconds=(0, None))]
    assert task_states(run, found)["a"].outcome is Outcome.RUNNING


def test_a_task_without_a_step_at_fault_is_told_with_tektons_words() -> None:
    run = made(("False", "Failed"), ("r-a", "a"))
    found = [task_run("r-a", ("False", "CouldntGetTask", "the volume claim does not exist"))]
    assert task_states(run, found)["a"].sentence == "Failed in 30s: the volume claim does not exist"


def test_what_a_step_leaves_as_results_is_no_message() -> None:
    step = {
        **EXITED,
        "terminated": {"exitCode": 137, "reason": "OOMKilled", "message": '[{"key":"a","value":"secret"}]'},
    }
    run, found = made(("False", "Failed"), ("r-a", "a")), [task_run("r-a", ("False", "Failed", ""), steps=[step])]
    assert task_states(run, found)["a"].sentence == "Failed in 30s: s exited 137 (OOMKilled)"


@pytest.mark.parametrize("kind", ["CustomRun", "PipelineRun"])
def test_a_task_that_cannot_be_looked_into_failed_where_nothing_else_did(kind: str) -> None:
    run = made(("False", "Failed"), ("r-n", "n"), kind=kind)
    assert task_states(run, [])["n"].outcome is Outcome.FAILED
    assert task_states(run, [])["n"].sentence == "Failed"


def test_every_reason_for_skipping_has_plain_words_and_an_unknown_one_its_own() -> None:
    assert why_skipped("Results were missing") == "a result that it needs is missing"
    assert why_skipped("Something new") == "Something new"


def test_a_task_that_the_pipeline_lets_fail_is_neither_the_fault_nor_a_reason_to_block() -> None:
    run = made(("False", "Failed"), ("r-lint", "lint"), ("r-build", "build"))
    found = [
        task_run("r-lint", ("False", "FailureIgnored", ""), seconds=(0, 5), steps=[EXITED]),
        task_run("r-build", ("False", "Failed", ""), seconds=(0, 9), steps=[EXITED]),
    ]
    states = task_states(run, found)
    assert (states["lint"].outcome, states["lint"].optional) == (Outcome.FAILED, True)
    assert states["lint"].sentence == "Failed in 5s: s exited 3"
    assert not states["build"].optional
    assert "build › s exited 3" in sentence(run, found)
    summary = summarize(run, found)
    assert summary.place is not None
    assert summary.place.label == "build"
    told = {task.name: task for task in details_of(run, TARGET, summary, fault_of(summary, found)).tasks}
    assert (told["lint"].state, told["lint"].optional) == ("failed", True)
