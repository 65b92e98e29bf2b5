"""Names of Kubernetes objects, checked before they reach a URL, a path or a file name.

Kubernetes' own rules (DNS-1123, RFC 1123): whoever matches fully cannot carry ``..``, ``/``, ``%`` or a control character.
kubernetes_asyncio does not escape ``..`` in path parameters, so nothing unchecked may be given to it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Key(NamedTuple):
    """Where an object lives: its namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def is_namespace(text: str) -> bool:
    """True for a DNS-1123 label of at most 63 characters: what a namespace or a container may be called."""
    return _LABEL.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """True for a DNS-1123 subdomain of at most 253 characters: what a PipelineRun, TaskRun or Pod may be called."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None
