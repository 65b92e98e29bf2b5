"""What may be asked of a cluster, and what was asked: requests and RBAC rules in the same words, so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from listener.demo.kubernetes.faults import Seen
from tests.chart.rendering import Rendered

_OPEN_TO_ALL = ("/version",)  # to everybody who is logged in: the ClusterRole system:discovery


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """One verb on one resource. In a rule ``namespace`` "" means all of them, and ``name`` "" any."""

    group: str
    resource: str  #: with its subresource: pods/log
    verb: str
    namespace: str = ""
    name: str = ""

    @property
    def what(self) -> tuple[str, str, str]:
        return (self.group, self.resource, self.verb)

    def covers(self, asked: Access) -> bool:
        """As RBAC decides. A name in a rule says nothing for create and for lists."""
        return (
            self.what == asked.what
            and self.namespace in ("", asked.namespace)
            and (not self.name or self.name == asked.name)
        )


def asked(requests: Iterable[Seen]) -> Iterator[Access]:
    """What RBAC is asked for these requests."""
    for seen in requests:
        if seen.path in _OPEN_TO_ALL:
            continue
        parts = seen.path.strip("/").split("/")
        group, parts = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = [*parts, "", ""][:3]
        verb = "get" if seen.verb == "log" else seen.verb
        yield Access(group, f"{resource}/{subresource}".rstrip("/"), verb, namespace, name)


def allowed(release: Rendered) -> set[Access]:
    """What the release's ServiceAccount may do."""
    return {
        access
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for b in release.all(kind)
        for access in _of(release, b)
    }


def _of(release: Rendered, binding: dict[str, Any]) -> Iterator[Access]:
    ref, namespace = binding["roleRef"], binding["metadata"].get("namespace", "")
    for role in release.all(ref["kind"]):
        meta = role["metadata"]
        if meta["name"] != ref["name"] or meta.get("namespace", "") != namespace:
            continue
        for rule in role["rules"]:
            assert rule.keys() <= {"apiGroups", "resources", "verbs", "resourceNames"}
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", [""]):
                            yield Access(group, resource, verb, namespace, name)
