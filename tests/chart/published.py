"""Whether objects are what Kubernetes takes: its published JSON schemas, strict, so that a misspelt field is none.

The schemas come with the package kubernetes-validate, for each version of Kubernetes; its own ``validate`` reads megabytes of definitions for
every object, so this reads them once. For resources that are not Kubernetes' own there are those of ``custom_resources``.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any, Final

import jsonschema
from referencing import Registry, Resource

from tests.chart import custom_resources

OLDEST, NEWEST = "1.27", "1.37"  #: OLDEST is what Chart.yaml's kubeVersion says
_PACKAGE: Final = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"


def problems(found: dict[str, Any], *, version: str = NEWEST) -> list[str]:
    """What is wrong with an object, each with its place; nothing when all is well."""
    kind, api_version = found["kind"], found["apiVersion"]
    return list(_problems(kind, api_version, version, json.dumps(found, sort_keys=True)))


@functools.cache  # the same object is in many releases
def _problems(kind: str, api_version: str, version: str, text: str) -> tuple[str, ...]:
    validator = _validator(kind, api_version, version)
    return tuple(
        f"{kind} {'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(json.loads(text))
    )


@functools.cache
def _validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    custom = custom_resources.SCHEMAS.get((api_version, kind))
    if custom is not None:
        return jsonschema.Draft202012Validator({**custom, "$defs": _meta()})
    group, _, number = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    schema = json.loads((_PACKAGE / f"v{version}.0-local-strict" / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Registry[Any]:
    text = (_PACKAGE / f"v{version}.0-local-strict" / "_definitions.json").read_text()
    return Resource.from_contents(json.loads(text)) @ Registry()


def _meta() -> dict[str, Any]:
    strings = {"type": "object", "additionalProperties": {"type": "string"}}
    return {
        "metadata": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "namespace": {"type": "string"},
                "labels": strings,
                "annotations": strings,
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    }
