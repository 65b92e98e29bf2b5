"""What the service may do: the chart's rules, so that a verb that it uses and the chart lacks shows up here.

The chart of this checkout is rendered for the suite's namespace where Helm is there as a library; ``E2E_RULES`` names one that was rendered
by hand (``helm template … > rendered.yaml``). Without both, the rules below are taken, which say the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.api import Json

LEASES: Final = "tekton-listener"  #: the name of the Leases, and of the chart's release
_CHART: Final = Path(__file__).parents[1] / "helm" / "tekton-pipeline-listener"
RULES: Final[tuple[Json, ...]] = (
    {"apiGroups": ["tekton.dev"], "resources": ["pipelineruns"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "get", "patch"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "update"],
        "resourceNames": [f"{LEASES}-00"],
    },
)


class RulesError(Exception):
    """A file that holds no rules."""


def rules(rendered: Path | None, *, namespace: str) -> tuple[str, list[Json]]:
    """Where the rules come from, and the rules to give to the service in ``namespace``. Raises ``RulesError``."""
    if rendered is not None:
        try:
            found = list(_in(yaml.safe_load_all(rendered.read_text())))
        except (OSError, yaml.YAMLError) as error:
            raise RulesError(f"E2E_RULES={rendered}: {error}") from error
        if not found:
            raise RulesError(f"E2E_RULES={rendered}: neither a Role nor a ClusterRole with rules in it")
        return str(rendered), found
    if _CHART.is_dir() and importlib.util.find_spec("helm_python") is not None:
        return "the chart", _of_chart(namespace)
    return "e2e/rules.py", list(RULES)


def _of_chart(namespace: str) -> list[Json]:
    import helm_python as helm

    values: dict[str, Any] = {
        "fullnameOverride": LEASES,
        "namespaces": [namespace],
        "auth": {"existingSecret": "e2e"},
        "config": {"public_url": "https://listener.example.com"},
    }
    try:
        files = helm.Chart.load(_CHART).render(values, name=LEASES, namespace=namespace)
    except helm.HelmError as error:
        raise RulesError(f"the chart cannot be rendered: {error}") from error
    documents = [d for path, text in files.items() if path.endswith(".yaml") for d in yaml.safe_load_all(text)]
    found = list(_in(documents))
    if not found:
        raise RulesError("the chart has no rules")
    return found


def _in(documents: Iterable[Any]) -> Iterator[Json]:
    for document in documents:
        if document and document.get("kind") in ("Role", "ClusterRole"):
            for rule in document.get("rules") or ():
                if not rule.get("nonResourceURLs"):  # no Role can hold these
                    yield rule
