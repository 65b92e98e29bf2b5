"""GitHub's published OpenAPI description as a judge: is this request, is this answer, one that GitHub knows?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

_HERE = Path(__file__).parent
_DOCUMENT: dict[str, Any] = json.loads((_HERE / "github-openapi-subset.json").read_text())
for _more in sorted(_HERE.glob("github-openapi-more*.json")):  # written by hand, each says from what
    for _path, _item in json.loads(_more.read_text())["paths"].items():
        _DOCUMENT["paths"].setdefault(_path, {}).update(_item)


def operation(method: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The operation that a request means, and its path parameters. Raises ``AssertionError`` for an unknown one."""
    path = path.removeprefix("/api/v3")
    for template, item in _DOCUMENT["paths"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        if (match := re.fullmatch(pattern, path)) and method.lower() in item:
            return item[method.lower()], match.groupdict()
    raise AssertionError(f"GitHub has no {method} {path}")


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_nullable(_resolved(schema)))


def _resolved(schema: Any) -> Any:
    """``$ref`` replaced by what it names."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            target: Any = _DOCUMENT
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            return _resolved(target)
        return {key: _resolved(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_resolved(value) for value in schema]
    return schema


def _nullable(schema: Any) -> Any:
    """OpenAPI 3.0's ``nullable`` in the words of JSON Schema."""
    if isinstance(schema, dict):
        plain = {key: _nullable(value) for key, value in schema.items() if key != "nullable"}
        return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain
    if isinstance(schema, list):
        return [_nullable(value) for value in schema]
    return schema


def check_query(method: str, path: str, query: Mapping[str, str]) -> None:
    """Raises where GitHub's description does not know these parameters, or not with these values."""
    found, _ = operation(method, path)
    known = {entry["name"]: entry["schema"] for entry in found["parameters"] if entry["in"] == "query"}
    for name, text in query.items():
        assert name in known, f"{path}: GitHub knows no parameter {name}"
        _validator(known[name]).validate(int(text) if known[name]["type"] == "integer" else text)


def check_request(method: str, path: str, body: bytes) -> None:
    """Raises where GitHub's description does not allow this request."""
    found, _ = operation(method, path)
    fields = json.loads(body)
    schema = found["requestBody"]["content"]["application/json"]["schema"]
    _validator(schema).validate(fields)
    unknown = set(fields) - set(_resolved(schema)["properties"])
    assert not unknown, f"{path}: GitHub knows no {unknown}"


def check_answer(method: str, path: str, status: int, body: Any) -> None:
    """Raises where GitHub's description knows no such answer."""
    found, _ = operation(method, path)
    schema = _resolved(found["responses"][str(status)])["content"]["application/json"]["schema"]
    _validator(schema).validate(body)
