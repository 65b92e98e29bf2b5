"""Label and field selectors, as the API server reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from listener.demo.kubernetes.statuses import bad_request
from listener.demo.kubernetes.store import Name

Labels = Mapping[str, str]
_SET: Final = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)\s*")
_SPLIT: Final = re.compile(r",(?![^(]*\))")


def label_selector(text: str) -> Callable[[Labels], bool]:
    """``a=b``, ``a!=b``, ``a in (b,c)``, ``a notin (b)``, ``a``, ``!a``, joined by commas."""
    tests = [_label_test(part.strip()) for part in _SPLIT.split(text) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _label_test(part: str) -> Callable[[Labels], bool]:
    if match := _SET.fullmatch(part):
        key, operator, values = match[1], match[2], {value.strip() for value in match[3].split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if "!=" in part:
        key, _, value = (piece.strip() for piece in part.partition("!="))
        return lambda labels: labels.get(key) != value
    if "=" in part:
        key, _, value = (piece.strip() for piece in part.replace("==", "=").partition("="))
        return lambda labels: labels.get(key) == value
    if part.startswith("!"):
        return lambda labels: part[1:].strip() not in labels
    return lambda labels: part in labels


def field_selector(text: str) -> Callable[[Name], bool]:
    """``metadata.name=…`` and ``metadata.namespace=…``."""
    wanted = dict(part.split("=", 1) for part in text.replace("==", "=").split(",") if "=" in part)
    unknown = set(wanted) - {"metadata.name", "metadata.namespace"}
    if unknown:
        raise bad_request(f'field label not supported: "{unknown.pop()}"')
    return lambda name: (
        wanted.get("metadata.namespace", name[0]) == name[0] and wanted.get("metadata.name", name[1]) == name[1]
    )
