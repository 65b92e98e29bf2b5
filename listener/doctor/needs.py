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
    names: tuple[str, ...] = ()  #: of these objects; empty: of all

    @property
    def name(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def where(self) -> str:
        return f"in the namespace {self.namespace}" if self.namespace else "in all namespaces"

    def rule(self, verbs: tuple[str, ...]) -> str:
        """A rule of a Role that grants ``verbs``."""
        names = f", resourceNames: [{', '.join(self.names)}]" if self.names else ""
        return f'{{apiGroups: ["{self.group}"], resources: [{self.name}], verbs: [{", ".join(verbs)}]{names}}}'


def needs(config: Config, *, lease_namespace: str | None) -> Iterator[Need]:
    """``lease_namespace``: None without Leases."""
    guaranteed = any(service.deliver == "guaranteed" for service in config.services)
    runs = (
        ("get", "list", "watch", "patch") if guaranteed else ("list", "watch", "patch")
    )  # a finalizer needs a look first
    for namespace in config.namespaces or (None,):
        yield Need("tekton.dev", "pipelineruns", runs, namespace)
        yield Need("tekton.dev", "taskruns", ("list", "watch"), namespace)
        yield Need("", "pods", ("list", "watch"), namespace)
        yield Need("", "pods", ("get",), namespace, "log")
        yield Need("", "events", ("create", "get", "patch"), namespace, essential=False)
    if lease_namespace is not None and config.leases is not None:
        group, leases = "coordination.k8s.io", config.leases
        yield Need(group, "leases", ("list", "create"), lease_namespace)  # which no Role can restrict to names
        names = tuple(f"{leases.name}-{shard:02d}" for shard in range(leases.shards))
        yield Need(group, "leases", ("get", "update"), lease_namespace, names=names)
