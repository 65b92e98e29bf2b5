"""Every YAML block in the documentation is what it is taken for: the service's configuration loads, the chart's values render into one that
does, a PipelineRun is one. And the recipes lead where they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.check_config import explain, read_run
from listener.config import Config, load
from notifiers.registry import discover
from tests.chart import values_table
from tests.chart.rendering import Rendered, render
from tests.docs.markdown import Block, page, pages

KINDS = discover()
BLOCKS = [block for one in pages() for block in one.blocks if block.language == "yaml"]
_CHART_KEYS = {entry.name.partition(".")[0] for entry in values_table.entries()}
SHA = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"


def kind_of(data: Any) -> str:
    """``kubernetes``, ``configuration`` or ``values``; else the empty string."""
    if not isinstance(data, dict):
        return ""
    if {"apiVersion", "kind"} <= data.keys():
        return "kubernetes"
    if data.keys() <= Config.model_fields.keys():
        return "configuration"
    return "values" if data.keys() <= _CHART_KEYS else ""


def completed(data: dict[str, Any]) -> dict[str, Any]:
    """A part of a configuration with the hosts and channels that it speaks of and leaves out."""
    hosts, channels = dict(data.get("hosts", {})), dict(data.get("channels", {}))
    for service in data.get("services", ()):
        paths = service["repository"]
        for path in [paths] if isinstance(paths, str) else paths:
            name = path.partition(":")[0]
            url = {"url": f"https://{name}.example.com"} if name == "gitlab" else {}
            hosts.setdefault(name, {"kind": name, "token_file": "token", **url})
        for rule in service.get("notify", ()):
            channels.setdefault(rule["channel"], {"kind": "webhook", "url": "https://hook.example.com"})
    return {**data, "hosts": hosts, "channels": channels}


def loaded(folder: Path, data: dict[str, Any]) -> Config:
    """Raises ``ConfigError`` with what is wrong."""
    path = folder / "listener.yaml"
    path.write_text(yaml.safe_dump(completed(data)))
    return load(path, known_kinds=KINDS, env={}, check_files=False).config


def rendered(data: dict[str, Any]) -> Rendered:
    """Values with a user, where they are about something else."""
    return render({"auth": {"existingSecret": "listener-user"}, **data})


def parsed(block: Block) -> Any:
    """As our own reader takes it: ``on`` is a word."""
    return yaml.load(block.text, Loader=_Words)  # noqa: S506 - a SafeLoader


class _Words(yaml.SafeLoader):
    pass


_WORDS = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first not in "oOyYnN"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Words.yaml_implicit_resolvers = _WORDS


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_what_it_is_taken_for(block: Block, tmp_path: Path) -> None:
    data = parsed(block)
    match kind_of(data):
        case "configuration":
            loaded(tmp_path, data)
        case "values":
            release = rendered(data)
            config = yaml.load(release.config_text, Loader=_Words)  # noqa: S506 - a SafeLoader
            loaded(tmp_path, config)
        case "kubernetes":
            assert data["kind"] == "PipelineRun"
            path = tmp_path / "run.yaml"
            path.write_text(block.text)
            assert read_run(path).params
        case _:
            pytest.fail(
                f"{block}: neither the service's configuration, nor the chart's values, nor an object of Kubernetes"
            )


@pytest.mark.parametrize(
    ("text", "kind"),
    [("- a", ""), ("hoss: {}", ""), ("imagine: {}", ""), ("image: {}", "values"), ("links: page", "configuration")],
)
def test_something_else_is_noticed(text: str, kind: str) -> None:
    assert kind_of(yaml.safe_load(text)) == kind


# Where the recipes lead


def recipe(heading: str) -> dict[str, Any]:
    """The first configuration below a heading of the recipes."""
    one = page("docs/recipes.md")
    line = next(number for number, text in enumerate(one.text.splitlines(), 1) if text == f"## {heading}")
    found: dict[str, Any] = parsed(next(b for b in one.blocks if b.line > line and b.language == "yaml"))
    return found


def told(
    folder: Path, heading: str, name: str, *, labels: dict[str, str] | None = None, params: dict[str, str] | None = None
) -> str:
    """What ``check-config --run`` says of a run by that recipe."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "ci",
        "labels": {"tekton.dev/pipeline": "build", **(labels or {})},
    }
    spec = {"params": [{"name": key, "value": value} for key, value in {"revision": SHA, **(params or {})}.items()]}
    path = folder / "run.yaml"
    path.write_text(
        yaml.safe_dump({"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": metadata, "spec": spec})
    )
    config = loaded(folder, {"public_url": "https://listener.example.com", **recipe(heading)})
    lines, _ = explain(config, read_run(path), KINDS)
    return "\n".join(" ".join(line.split()) for line in lines)


def test_a_family_of_services(tmp_path: Path) -> None:
    heading = "One rule for a whole family"
    assert "repository acme/payments on github" in told(tmp_path, heading, "payments-run-x7k2p").splitlines()
    assert "repository acme/payments-api on github" in told(tmp_path, heading, "payments-api-run-1").splitlines()


def test_a_monorepo_has_a_status_for_each_of_its_parts(tmp_path: Path) -> None:
    said = told(tmp_path, "A monorepo", "mono-api-run-1").splitlines()
    assert "repository group/mono on gitlab" in said
    assert "context tekton/api/build" in said


def test_runs_of_pipelines_as_code(tmp_path: Path) -> None:
    labels = {
        "app.kubernetes.io/managed-by": "pipelinesascode.tekton.dev",
        "pipelinesascode.tekton.dev/url-org": "acme",
        "pipelinesascode.tekton.dev/url-repository": "service-xyz",
        "pipelinesascode.tekton.dev/sha": "b" * 40,
        "pipelinesascode.tekton.dev/original-prname": "pull-request",
        "tekton.dev/pipeline": "pull-request-x7k2p",
    }
    said = told(tmp_path, "Beside Pipelines-as-Code", "pull-request-x7k2p", labels=labels).splitlines()
    assert "repository acme/service-xyz on github" in said
    assert f"commit {'b' * 40} (commit: $(labels.pipelinesascode.tekton.dev/sha))" in said
    assert "context tekton/pull-request" in said


def test_a_fork(tmp_path: Path) -> None:
    said = told(tmp_path, "Merge requests from forks", "service-xyz-run-1", params={"fork-owner": "alice"})
    assert "fallback alice/service-xyz on gitlab" in said


def test_the_on_call_channel_hears_of_the_main_branch_only(tmp_path: Path) -> None:
    heading, name = "Chat and on-call", "service-xyz-run-1"
    on_main = told(tmp_path, heading, name, labels={"branch": "main"})
    assert "also message to on-call, on broken" in on_main.splitlines()
    assert "also message to team-chat, on broken, fixed" in on_main.splitlines()
    assert "also" not in told(tmp_path, heading, name)


def test_the_dashboard_as_link(tmp_path: Path) -> None:
    config = recipe("The Tekton Dashboard as link")
    assert loaded(tmp_path, config).links.startswith("https://dashboard.example.com/#/namespaces/$(run.namespace)")


def test_a_deployment_without_its_environment_is_none(tmp_path: Path) -> None:
    assert "also deployment to staging" in told(tmp_path, "Deployments", "deploy-1", params={"environment": "staging"})
    assert "also" not in told(tmp_path, "Deployments", "deploy-1")
