"""The chart explains itself: every value has its comment, its place in the schema, in the README's table and in a test; Helm's own linter agrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import helm_python as helm
import pytest
import yaml

from listener import __version__
from tests.chart import published, schema, values_table
from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import CHART, NAMESPACE, render

ENTRIES = list(values_table.entries())


def test_every_value_has_its_comment() -> None:
    assert not [entry.name for entry in ENTRIES if len(entry.comment) < 5]


def test_the_readmes_table_is_made_of_values_yaml() -> None:
    assert values_table.README.read_text() == values_table.written(), "run: make schema"


def test_the_schema_has_the_listeners_configuration() -> None:
    assert schema.PATH.read_text() == schema.text(), "run: make schema"


def test_every_value_is_in_the_schema_and_nothing_else_is() -> None:
    known = set(_keys(helm_schema(), ""))
    legacy = {
        "existing_secret",
        "existingSecret",
        "auth.existing_secret",
        "tekton_pipelines",
        "deployment.limits",
        "deployment.requests",
    }
    names = {entry.name for entry in ENTRIES}
    assert names | legacy | {"global"} == known


def helm_schema() -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(schema.PATH.read_text())
    return found


def _keys(part: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, inner in part.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _keys(inner, f"{prefix}{name}.")


def test_every_value_is_changed_in_a_combination() -> None:
    def changed(name: str, values: Any, default: Any) -> bool:
        for key in name.split("."):
            if not isinstance(values, dict) or key not in values:
                return False
            values = values[key]
        return bool(values != default)

    untried = [
        entry.name
        for entry in ENTRIES
        if not entry.section and not any(changed(entry.name, values, entry.default) for values in COMBINATIONS.values())
    ]
    assert untried == []


def test_helms_linter_has_nothing_to_say() -> None:
    for values in ({}, COMBINATIONS["everything"]):
        found = helm.lint(CHART, values, strict=True, namespace=NAMESPACE)
        assert found["errors"] == []
        assert [message for message in found["messages"] if message["severity"] > 1] == []


def test_the_chart_is_of_this_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == __version__
    assert about["kubeVersion"] == f">={published.OLDEST}.0-0"


def test_the_chart_can_be_packed(tmp_path: Any) -> None:
    archive = helm.package(CHART, destination=tmp_path)
    with helm.Chart.load(archive) as packed:
        assert {file["name"] for file in packed.files} >= {"README.md", "files/alerts.yaml", "files/dashboard.json"}


@pytest.mark.parametrize(
    "name", ["x", "tekton-pipeline-listener", "a-release-with-a-name-as-long-as-helm-allows-for-12345"]
)
def test_names_fit_whatever_the_release_is_called(name: str) -> None:
    for one in render(COMBINATIONS["three replicas"], name=name).objects:
        assert len(one["metadata"]["name"].rpartition(":")[2]) <= 63


def test_the_readmes_values_render() -> None:
    blocks = values_table.README.read_text().split("```yaml\n")[1:]
    (text,) = (block.partition("```")[0] for block in blocks)
    assert render(yaml.safe_load(text)).all("Ingress")
