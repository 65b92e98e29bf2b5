"""Objects with resourceVersions and a history, as etcd and the API server keep them.

Each write encodes the object once; lists and watches send those bytes. The history per resource is bounded: whoever wants to watch from
before its beginning is told 410, as after a compaction.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from listener.demo.kubernetes.statuses import already_exists, conflict, not_found

Json = dict[str, Any]
Name = tuple[str, str]  # namespace, name

_HISTORY: Final = 100_000  # events kept per resource
_SUFFIX: Final = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind that the server knows."""

    plural: str
    kind: str
    group: str  #: "" for core
    version: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it: ``pipelineruns.tekton.dev``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES: Final = {
    r.plural: r
    for r in (
        Resource("pipelineruns", "PipelineRun", "tekton.dev", "v1"),
        Resource("taskruns", "TaskRun", "tekton.dev", "v1"),
        Resource("pipelines", "Pipeline", "tekton.dev", "v1"),
        Resource("tasks", "Task", "tekton.dev", "v1"),
        Resource("customruns", "CustomRun", "tekton.dev", "v1beta1"),
        Resource("pods", "Pod", "", "v1"),
        Resource("events", "Event", "", "v1"),
        Resource("leases", "Lease", "coordination.k8s.io", "v1"),
        Resource("namespaces", "Namespace", "", "v1", namespaced=False),
        Resource("serviceaccounts", "ServiceAccount", "", "v1"),
        Resource("roles", "Role", "rbac.authorization.k8s.io", "v1"),
        Resource("rolebindings", "RoleBinding", "rbac.authorization.k8s.io", "v1"),
    )
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as it is now."""

    object: Json
    raw: bytes
    labels: Mapping[str, str]
    version: int


@dataclass(frozen=True, slots=True)
class Event:
    """One change, for watches."""

    version: int
    type: str
    name: Name
    raw: bytes  #: the object
    labels: Mapping[str, str] | None  #: after the change; None when it was deleted
    before: Mapping[str, str] | None  #: before it; None when it was new


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All objects of one resource as they were at one version."""

    version: int
    objects: Mapping[Name, Stored]
    names: list[Name]  #: sorted


@dataclass(slots=True)
class Shelf:
    """All objects of one resource."""

    objects: dict[Name, Stored] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    compacted: int = 0  #: versions up to this one are not in the history
    listeners: set[asyncio.Event] = field(default_factory=set)  #: one per watch, set on every change
    names: list[Name] | None = None  #: sorted, None when it must be made anew

    def tell(self) -> None:
        """Wake every watch."""
        for listener in self.listeners:
            listener.set()


class Store:
    """Everything the server holds."""

    def __init__(self) -> None:
        self.version = 1
        self._shelves = {plural: Shelf() for plural in RESOURCES}

    def shelf(self, resource: str) -> Shelf:
        return self._shelves[resource]

    # Reading

    def get(self, resource: str, namespace: str, name: str) -> Stored:
        """Raises ``StatusError`` 404."""
        stored = self._shelves[resource].objects.get((namespace, name))
        if stored is None:
            raise not_found(RESOURCES[resource], name)
        return stored

    def names(self, resource: str) -> list[Name]:
        """All names, sorted as etcd sorts its keys."""
        shelf = self._shelves[resource]
        if shelf.names is None:
            shelf.names = sorted(shelf.objects)
        return shelf.names

    def snapshot(self, resource: str) -> Snapshot:
        """What there is now; later writes do not change it."""
        return Snapshot(self.version, dict(self._shelves[resource].objects), self.names(resource))

    # Writing

    def create(self, resource: str, namespace: str, body: Json, *, manager: str = "demo") -> Stored:
        """Add an object; name, uid, times and version are filled in. Raises ``StatusError`` 409."""
        kind = RESOURCES[resource]
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        meta = dict(body.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + "".join(random.choices(_SUFFIX, k=5))
        if (namespace, meta.get("name")) in self._shelves[resource].objects:
            raise already_exists(kind, str(meta.get("name")))
        meta |= {
            "namespace": namespace,
            "uid": meta.get("uid") or str(uuid.uuid4()),
            "creationTimestamp": meta.get("creationTimestamp") or now(),
            "generation": 1,
            "managedFields": [_managed(body, kind, manager)],
        }
        if not kind.namespaced:
            del meta["namespace"]
        if resource in ("events", "leases"):
            del meta["generation"]
        if resource == "events":
            body = {**_EVENT_DEFAULTS, **body}
        return self._put(resource, {**body, "metadata": meta}, "ADDED")

    def replace(self, resource: str, namespace: str, name: str, body: Json) -> Stored:
        """Put another object in its place. Raises ``StatusError`` 404, 409."""
        current = self.get(resource, namespace, name)
        meta = dict(body.get("metadata") or {})
        if meta.get("resourceVersion") not in (None, "", current.object["metadata"]["resourceVersion"]):
            raise conflict(RESOURCES[resource], name)
        meta = {**current.object["metadata"], **meta}
        return self._write(resource, current, {**body, "metadata": meta})

    def merge_patch(
        self, resource: str, namespace: str, name: str, patch: Json, *, manager: str = "demo", subresource: str = ""
    ) -> Stored:
        """RFC 7386. Raises ``StatusError`` 404, and 409 for another resourceVersion or uid than the object's."""
        current = self.get(resource, namespace, name)
        kind = RESOURCES[resource]
        meta = patch.get("metadata") or {}
        for key in ("resourceVersion", "uid"):
            if meta.get(key) not in (None, current.object["metadata"][key]):
                raise conflict(kind, name)
        merged = merge(current.object, patch)
        if merged == current.object:
            return current
        entry = _managed(patch, kind, manager)
        if subresource:
            entry["subresource"] = subresource
        others = [e for e in merged["metadata"].get("managedFields", ()) if e.get("manager") != manager]
        merged["metadata"] = {**merged["metadata"], "managedFields": [*others, entry]}
        return self._write(resource, current, merged)

    def delete(self, resource: str, namespace: str, name: str) -> Stored:
        """Delete, or mark as being deleted while finalizers are there. Raises ``StatusError`` 404."""
        current = self.get(resource, namespace, name)
        meta = current.object["metadata"]
        if meta.get("finalizers"):
            if meta.get("deletionTimestamp"):
                return current
            marked = {**current.object, "metadata": {**meta, "deletionTimestamp": now()}}
            return self._put(resource, marked, "MODIFIED")
        return self._put(resource, current.object, "DELETED")

    def clear(self, namespace: str) -> None:
        """Remove everything that is in a namespace, finalizers or not."""
        for resource in RESOURCES:
            for name in [name for name in self.names(resource) if namespace and name[0] == namespace]:
                self._put(resource, self.get(resource, *name).object, "DELETED")

    def _write(self, resource: str, current: Stored, body: Json) -> Stored:
        meta = body["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            return self._put(resource, body, "DELETED")
        if body.get("spec") != current.object.get("spec") and "generation" in meta:
            body = {**body, "metadata": {**meta, "generation": meta["generation"] + 1}}
        return self._put(resource, body, "MODIFIED")

    def replay(self, resource: str, event_type: str, body: Json) -> None:
        """Take a recorded change as it was, with its own resourceVersion unless that one is taken by a write of ours."""
        if event_type in ("ADDED", "MODIFIED", "DELETED"):
            self._put(
                resource, body, event_type, version=max(int(body["metadata"]["resourceVersion"]), self.version + 1)
            )

    def _put(self, resource: str, body: Json, event_type: str, *, version: int | None = None) -> Stored:
        shelf = self._shelves[resource]
        number = self.version = self.version + 1 if version is None else version
        meta = {**body["metadata"], "resourceVersion": str(number)}
        name: Name = (meta.get("namespace", ""), meta["name"])
        body = {**body, "metadata": meta}
        stored = Stored(body, msgspec.json.encode(body), meta.get("labels") or {}, number)
        before = shelf.objects.get(name)
        if event_type == "DELETED":
            shelf.objects.pop(name, None)
        else:
            shelf.objects[name] = stored
        if (before is None) != (event_type == "DELETED"):
            shelf.names = None
        after = None if event_type == "DELETED" else stored.labels
        shelf.history.append(Event(number, event_type, name, stored.raw, after, before.labels if before else None))
        if len(shelf.history) > _HISTORY:
            self.compact(shelf.history[_HISTORY // 10].version, resource)
        shelf.tell()
        return stored

    def compact(self, version: int, resource: str | None = None) -> None:
        """Forget the history up to ``version``: watches and lists from there get 410."""
        for plural, shelf in self._shelves.items():
            if resource in (None, plural):
                shelf.compacted = max(shelf.compacted, version)
                shelf.history = [event for event in shelf.history if event.version > version]
                shelf.tell()

    def since(self, resource: str, version: int) -> Iterator[Event]:
        """Events after ``version``, oldest first."""
        history = self._shelves[resource].history
        if not history or history[-1].version <= version:
            return iter(())
        start = len(history)
        while start and history[start - 1].version > version:  # a watch is nearly always near the end
            start -= 1
        return itertools.islice(history, start, None)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def now() -> str:
    """The time as the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_EVENT_DEFAULTS: Final[Json] = {
    "firstTimestamp": None,
    "lastTimestamp": None,
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}


def _managed(body: Json, kind: Resource, manager: str) -> Json:
    fields = {
        f"f:{key}": _fields(value) for key, value in body.items() if key not in ("apiVersion", "kind", "metadata")
    }
    meta = {k: v for k, v in (body.get("metadata") or {}).items() if k in ("labels", "annotations", "generateName")}
    if meta:
        fields["f:metadata"] = {f"f:{key}": _fields(value) for key, value in meta.items()}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": kind.api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _fields(value: Any) -> Json:
    return {f"f:{key}": {} for key in value} if isinstance(value, dict) else {}
