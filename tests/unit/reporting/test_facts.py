"""Texts of an operator's own, filled with what a run brings; and the details that notifiers are given."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from listener.cluster.decode import decode_pipeline_run
from listener.reporting import texts
from listener.reporting.facts import Facts, in_json
from listener.reporting.target import Target
from listener.template import FACTS, Template
from notifiers.reports import Outcome, RunDetails, TaskDetails
from tests.unit.reporting.test_routing import SHA, run
from tests.unit.reporting.test_texts import ANYTHING, Seen

EVERY = [f"$({source}.{name})" for source, names in FACTS.items() for name in names]
EVERY += ["$(params.p)", "$(results.r)", "$(run.name)", "$(service)"]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table"])


def facts(
    value: str = "", *, url: str = "https://listener.example.com/runs/ci/a", log: str = "", **details: Any
) -> Facts:
    """``value``: what everything is that a run can name freely."""
    body = run(
        params={"p": value} if value else {},
        status={"conditions": [{"type": "Succeeded", "status": "False", "reason": "Failed", "message": value}]},
    )
    target = Target("gitlab", "group/a", SHA, "tekton/a", url=url, ref=value, service="s")
    given: dict[str, Any] = {"failed_task": value, "failed_step": value, "log_tail": log, **details}
    return Facts(
        run=decode_pipeline_run(json.dumps(body).encode()),
        target=target,
        outcome=Outcome.FAILED,
        sentence=value,
        details=RunDetails(**given),
    )


def filled(text: str, known: Facts, **how: Any) -> str:
    given: dict[str, Any] = {"escape": texts.escape, "markdown": True, **how}
    return known.fill(Template.parse(text, facts=True), **given)


@given(value=ANYTHING, log=ANYTHING, url=st.sampled_from(["https://a.example/x?y=1", 'https://a.example/"x\\', ""]))
@settings(max_examples=60)
def test_a_json_template_stays_json_whatever_a_run_brings(value: str, log: str, url: str) -> None:
    text = json.dumps({name: f"<{name}>" for name in EVERY}).replace('\\"', '"')
    found = json.loads(filled(text, facts(value, log=log, url=url, commit_url=url), escape=in_json, markdown=False))
    assert len(found) >= 1


def test_a_json_templates_values_are_the_runs_own() -> None:
    known = facts('a "b" \\ c', log="x\n\ty", exit_code=2)
    text = '{"a": "$(params.p)", "tail": "$(log.tail)", "code": "$(failed.exit_code)", "url": "$(run.url)"}'
    found = json.loads(filled(text, known, escape=in_json, markdown=False))
    assert found == {"a": 'a "b" \\ c', "tail": "x\n\ty", "code": "2", "url": "https://listener.example.com/runs/ci/a"}


@given(value=ANYTHING, log=ANYTHING)
@settings(max_examples=60)
def test_a_markdown_templates_values_are_text(value: str, log: str) -> None:
    known = facts(value, log=log, tasks=(TaskDetails(name=value, state="failed", note=value),))
    text = filled("**$(failed.task)** in $(params.p): $(run.message)\n\nLog: $(log.tail) $(run.tasks)\nend", known)
    read = Seen(MARKDOWN.render(text))
    assert set(read.tags) <= {"p", "strong", "pre", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert read.tags.count("table") == 1
    assert read.plain.rstrip().endswith("end")


def test_a_log_and_a_table_stand_on_lines_of_their_own_wherever_a_template_names_them() -> None:
    known = facts(log="one\ntwo", tasks=(TaskDetails(name="build", state="failed"),))
    text = filled("It printed $(log.tail) in $(run.tasks).", known)
    assert Seen(MARKDOWN.render(text)).tags[:4] == ["p", "pre", "code", "p"]
    assert "table" in Seen(MARKDOWN.render(text)).tags
    assert filled("$(log.tail)", known) == "```\none\ntwo\n```"


@pytest.mark.parametrize(
    "reference", [name for name in EVERY if name not in ("$(run.state)", "$(run.event)", "$(run.name)", "$(service)")]
)
def test_what_is_not_known_leaves_nothing_behind(reference: str) -> None:
    known = facts(url="")
    nothing = dataclasses.replace(known, target=dataclasses.replace(known.target, sha="", repository=""))
    nothing = dataclasses.replace(nothing, run=decode_pipeline_run(json.dumps(run(params={})).encode()))
    assert filled(f"a{reference}b", nothing) == "ab"


def test_a_link_in_a_template_ends_where_it_ends() -> None:
    text = filled("[Log]($(run.url))", facts(url="https://a.example/x) [b](https://evil.example"))
    assert Seen(MARKDOWN.render(text)).tags == ["p", "a"]
