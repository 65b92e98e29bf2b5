"""What the service needs to be allowed in the cluster, from its configuration. Pure; what README and chart grant is the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from listener.config import Config


@dataclass(frozen=True, slots=True)
class Need:
    """Verbs on one resource in one namespace."""

    group: str  #: "" for core
    resource: str
    verbs: tuple[str, ...]
    namespace: str | None  #: None: all of them
    subresource: str = ""
    essential: bool = True  #: without it statuses or logs fail; else only something is missing

    @property
    def name(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def where(self) -> str:
        return f"in the namespace {self.namespace}" if self.namespace else "in all namespaces"

    def rule(self, verbs: tuple[str, ...]) -> str:
        """A rule of a Role that grants ``verbs``."""
        return f'{{apiGroups: ["{self.group}"], resources: [{self.name}], verbs: [{", ".join(verbs)}]}}'


def needs(config: Config, *, lease_namespace: str | None) -> Iterator[Need]:
    """``lease_namespace``: None without Leases."""
    for namespace in config.namespaces or (None,):
        yield Need("tekton.dev", "pipelineruns", ("get", "list", "watch", "patch"), namespace)
        yield Need("tekton.dev", "taskruns", ("get", "list", "watch"), namespace)
        yield Need("", "pods", ("get", "list", "watch"), namespace)
        yield Need("", "pods", ("get",), namespace, "log")
        yield Need("", "events", ("create", "get", "patch"), namespace, essential=False)
    if lease_namespace is not None:
        yield Need("coordination.k8s.io", "leases", ("get", "list", "create", "update"), lease_namespace)
