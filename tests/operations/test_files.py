"""The rules, the dashboard and the documentation fit the service's own metrics: what is named is there, and what is there is shown."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from tests.runs import start
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene, client

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "tekton-pipeline-listener" / "files"
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()
OURS = "tekton_listener_"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, set[str]]]:
    """What ``/metrics`` of a service at work has: each name with its type and its labels."""

    async def ask() -> str:
        async with KubernetesApi() as cluster, GitLab() as gitlab, GitHub() as github:
            gitlab.add_project(GITLAB_PATH, {SHA: "x"})
            github.add_project(GITHUB_PATH, {SHA: "x"})
            folder = tmp_path_factory.mktemp("metrics")
            scene = Scene(folder=folder, cluster=cluster, gitlab=gitlab, github=github)
            async with scene.serve() as service, client(service) as session:
                start(cluster, "a", "succeeded")
                await github.wait_for(lambda posted: bool(posted))
                assert await service.reporter.lanes.drained(within=20)  # and the answers are known
                async with session.get("/metrics") as answer:
                    return await answer.text()

    found = {}
    for family in text_string_to_metric_families(asyncio.run(ask())):
        if family.name.endswith("_created"):
            continue
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        for suffix in SUFFIXES[family.type]:
            found[family.name + suffix] = (family.type, labels)
    return found


def _selectors(expression: str) -> Iterator[Any]:
    """The selectors in a PromQL expression. Raises ``ValueError`` for one that does not parse."""
    pending: list[Any] = [promql_parser.parse(expression)]
    while pending:
        node = pending.pop()
        match node:
            case promql_parser.VectorSelector():
                yield node
            case promql_parser.MatrixSelector():
                pending.append(node.vector_selector)
            case promql_parser.BinaryExpr():
                pending += [node.lhs, node.rhs]
            case promql_parser.AggregateExpr():
                pending += [node.expr, *([node.param] if node.param is not None else [])]
            case promql_parser.Call():
                pending += list(node.args)
            case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
                pending.append(node.expr)
            case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
                pass
            case _:
                raise AssertionError(f"what is {node!r}?")


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FILES / "alerts.yaml").read_text())
    assert set(document) == {"groups"}
    return [rule for group in document["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _expressions() -> list[tuple[str, str]]:
    shown = [(panel["title"], target["expr"]) for panel in _panels() for target in panel["targets"]]
    alerts = [(rule["alert"], rule["expr"]) for rule in _rules()]
    return [(where, text.replace("$__rate_interval", "5m")) for where, text in shown + alerts]


def test_every_metric_and_label_that_is_named_is_served(served: dict[str, tuple[str, set[str]]]) -> None:
    outside = {"namespace", "job", "instance"}  # Prometheus' own
    for where, expression in _expressions():
        for selector in _selectors(expression):
            assert selector.name in served, f"{where}: {selector.name}"
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= served[selector.name][1] | outside, f"{where}: {labels}"


def test_a_name_or_expression_that_is_wrong_would_be_noticed() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        list(_selectors("sum(rate(a[5m])"))
    names = {s.name for s in _selectors('max by (x) (a) > 3 unless sum(increase(b{c="d"}[5m])) or absent((-e))')}
    assert names == {"a", "b", "e"}


def test_every_metric_of_ours_is_in_the_dashboard(served: dict[str, tuple[str, set[str]]]) -> None:
    shown = {
        re.sub("_(bucket|count|sum)$", "", str(selector.name))
        for panel in _panels()
        for target in panel["targets"]
        for selector in _selectors(target["expr"].replace("$__rate_interval", "5m"))
    }
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in served} == shown


def test_counters_are_asked_for_their_increase_and_gauges_are_not(served: dict[str, tuple[str, set[str]]]) -> None:
    for where, expression in _expressions():
        for function, name in re.findall(r"(\w+)\((tekton_listener_\w+)", expression):
            kind = served[name][0]
            if function in ("rate", "increase"):
                assert kind in ("counter", "histogram"), where
            if function == "delta":
                assert kind == "gauge", where


def test_the_document_lists_every_metric_with_its_type_and_labels(served: dict[str, tuple[str, set[str]]]) -> None:
    rows = re.findall(r"^\| `(tekton_listener_\w+)` \| (\w+) \|([^|]*)\|", DOCUMENT, re.MULTILINE)
    listed = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(rows) == len(listed)
    wanted = {
        name.removesuffix("_bucket"): (kind, labels)
        for name, (kind, labels) in served.items()
        if not name.endswith(("_count", "_sum"))
    }
    assert listed == wanted


def test_every_alert_says_what_it_means_and_has_its_section() -> None:
    headings = {f"#{title.lower()}" for title in re.findall(r"^### (\w+)$", DOCUMENT, re.MULTILINE)}
    anchors = set()
    for rule in _rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description", "runbook"} <= rule["annotations"].keys()
        document, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert document == "docs/operations.md"
        anchors.add(f"#{anchor}")
        assert anchor == rule["alert"].lower()
    assert anchors == headings


def test_the_labels_that_an_alert_speaks_of_are_left_by_its_expression() -> None:
    for rule in _rules():
        spoken = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
        if grouped:
            assert spoken <= {label.strip() for label in grouped[1].split(",")}, rule["alert"]


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    assert dashboard["id"] is None
    assert dashboard["uid"]
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "namespace": "query", "host": "query"}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another one"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


async def test_alerts_fire_when_they_should_and_not_when_they_should_not() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (as root: sh tests/system-packages)")
    here = Path(__file__).parent
    for arguments in (
        ["check", "rules", str(FILES / "alerts.yaml")],
        ["test", "rules", str(here / "alerts_test.yaml")],
    ):
        process = await asyncio.create_subprocess_exec(
            promtool, *arguments, cwd=here, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
