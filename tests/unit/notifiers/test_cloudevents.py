"""A message as an event: everything in it, valid by the published schema, and never too large."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers.base import Outcome
from notifiers.cloudevents import MAX_EVENT, binary, event_id, event_of, structured
from notifiers.reports import Message, RunDetails, TaskDetails
from tests.unit.notifiers.messages import DETAILS, UID, message

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "config" / "webhook-event.schema.json").read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def shown(said: Message, **options: Any) -> Any:
    headers, body = structured(event_of(said, **options))
    assert headers == {"Content-Type": "application/cloudevents+json"}
    assert len(body) <= MAX_EVENT
    event = json.loads(body)
    CHECK.validate(event)
    return event


def test_the_attributes_tell_which_run_of_whom_and_when() -> None:
    event = shown(message())
    assert {name: value for name, value in event.items() if name != "data"} == {
        "specversion": "1.0",
        "id": f"{UID}-failed",
        "source": "https://tekton.example.com/namespaces/ci",
        "type": "dev.tekton-listener.pipelinerun.failed.v1",
        "subject": "ci/service-xyz-run-1",
        "time": "2026-01-01T00:00:42Z",
        "datacontenttype": "application/json",
    }


def test_the_data_is_all_of_the_message_and_its_details() -> None:
    data = shown(message())["data"]
    flat = {**data, **data["run"]}
    for field in dataclasses.fields(RunDetails):
        if field.name != "tasks":
            assert flat[field.name] == getattr(DETAILS, field.name), field.name
    assert data["tasks"] == [dataclasses.asdict(task) for task in DETAILS.tasks]
    told = message()
    for field in dataclasses.fields(Message):
        if field.name not in ("details", "outcome", "optional", "templated"):
            assert data[field.name] == getattr(told, field.name), field.name
    assert data["outcome"] == "failed"


def test_the_schema_and_the_table_in_the_documentation_know_every_field_and_no_other() -> None:
    data = shown(message())["data"]
    properties = SCHEMA["properties"]["data"]["properties"]
    assert set(properties) == set(data)
    assert set(properties["run"]["properties"]) == set(data["run"])
    text = (ROOT / "docs" / "webhook.md").read_text()
    names = [*(set(data) - {"run"}), *(f"run.{name}" for name in data["run"]), *SCHEMA["properties"]]
    assert not [name for name in names if f"`{name}`" not in text and name not in ("data", "specversion")]


def test_what_is_not_known_is_null() -> None:
    data = shown(message(details=RunDetails(), target_url=None, ref=None))["data"]
    assert {name for name, value in data.items() if value is None} == {
        "target_url", "service", "repository_url", "commit_url", "ref", "log_tail",
    }  # fmt: skip
    assert set(data["run"].values()) == {None}


def test_the_time_is_the_last_that_is_known_of_the_state() -> None:
    running = message(event="started", outcome=Outcome.RUNNING)
    assert shown(running)["time"] == DETAILS.started
    created = dataclasses.replace(DETAILS, started="", completed="")
    assert shown(message(details=created))["time"] == DETAILS.created
    assert "time" not in shown(message(details=dataclasses.replace(created, created="yesterday\r\nX: y")))


def test_an_event_has_the_same_id_whoever_sends_it_and_another_one_than_others() -> None:
    told = [
        message(),
        message(event="started"),
        message(details=dataclasses.replace(DETAILS, uid="another")),
        message(details=RunDetails()),
        message(details=RunDetails(), sha="0" * 40),
    ]
    ids = [event_id(said) for said in told]
    assert len(set(ids)) == len(told)
    assert ids == [event_id(dataclasses.replace(said, text="x", title="y", description="z")) for said in told]


def test_without_a_link_the_source_is_the_namespace_or_what_the_configuration_says() -> None:
    assert shown(message(target_url=None))["source"] == "/namespaces/ci"
    assert shown(message(), source="urn:cluster:a")["source"] == "urn:cluster:a"


def test_binary_mode_is_the_same_event_in_headers() -> None:
    headers, body = binary(event_of(message()))
    event = shown(message())
    assert json.loads(body) == event.pop("data")
    assert headers.pop("Content-Type") == event.pop("datacontenttype")
    assert headers == {f"ce-{name}": value for name, value in event.items()}


def test_headers_are_printable_ascii_whatever_a_run_is_called() -> None:
    odd = dataclasses.replace(DETAILS, namespace="c\r\ni", name='€ "%"', uid="a.b\n", completed="")
    headers, _ = binary(event_of(message(event="x\r\nevil: 1", details=odd)))
    assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())
    assert headers["ce-subject"] == "c%0D%0Ai/%E2%82%AC%20%22%25%22"  # the specification's own example, among others
    assert "." not in headers["ce-id"]


@pytest.mark.parametrize("character", ["x", "\\", "€", "💥", "\x00"])
def test_of_a_run_with_much_to_say_the_end_of_the_log_and_the_failed_tasks_are_kept(character: str) -> None:
    tasks = [TaskDetails(name=f"task-{n}", state="succeeded", note=character * 400) for n in range(400)]
    tasks[-1] = TaskDetails(name="the-one", state="failed")
    log = "".join(f"{number} {character * 80}\n" for number in range(2000))
    data = shown(message(details=dataclasses.replace(DETAILS, log_tail=log), text=character * 100_000))["data"]
    assert log.endswith(data["log_tail"])
    assert data["log_tail"][0].isdigit(), "whole lines"
    assert data["text"]
    data = shown(message(details=dataclasses.replace(DETAILS, log_tail=log, tasks=tuple(tasks))))["data"]
    assert "the-one" in [task["name"] for task in data["tasks"]]
    assert data["tasks_left_out"] == 400 - len(data["tasks"])


words = st.text(max_size=40)


@settings(max_examples=40, deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("title", "text", "description", "event", "target_url", "ref", "context"), words)
    ),
    details=st.fixed_dictionaries(
        {}, optional={f.name: words for f in dataclasses.fields(RunDetails) if f.name not in ("tasks", "exit_code")}
    ),
)
def test_any_message_is_a_valid_event(fields: dict[str, Any], details: dict[str, Any]) -> None:
    shown(message(**fields, details=RunDetails(**details)))
