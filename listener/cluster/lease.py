"""Leases: how several replicas divide work so that no piece of it has two owners.

client-go's rules. A Lease names its holder, who renews it every ``retry`` seconds; whoever wants it takes it when it was seen unchanged for
its whole duration, on the observer's own clock that nobody steps, so that clocks that differ steal nothing. The holder stops working
``renew`` seconds after the beginning of its last successful renewal, which is well before anybody else may begin. Every write carries
the resourceVersion that it is based on, so that of two who try at once one gets 409. At the end a Lease is given back, so that the next
one need not wait.

A fence: whoever took a Lease begins only when it surely knows everything that had happened before it took it (``catch_up``), for its watch
may have been behind, and the holder before may have acted on newer knowledge. Who cannot catch up gives its Leases back and lets
others try for a while.

Beyond client-go: there is one Lease per shard, and each says how many shards its holder divides the work into. A replica that divides it
otherwise (after the number was changed) works only when no holder of the other kind is left: it takes a Lease, looks at all of them again,
and gives it back if it sees one. Of two that do so at once, at least one sees the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from listener.cluster.client import ApiError, Cluster, ClusterError, UnreachableError, collection_path, object_path
from listener.cluster.names import Key
from notifiers.base import clock

log = logging.getLogger(__name__)

LABEL: Final = "tekton-listener.dev/leases"  #: on each Lease, its value is the group's name
SHARDS: Final = "tekton-listener.dev/shards"  #: annotation: how many shards the holder divides the work into
_LONGEST: Final = 600.0  # seconds that a Lease may claim to last
_CALL: Final = 5.0  # seconds for one request, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """client-go's LeaseDuration, RenewDeadline and RetryPeriod, in seconds."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Lease(msgspec.Struct):
    metadata: _Meta
    spec: _Spec | None = None

    @property
    def holder(self) -> str:
        return (self.spec and self.spec.holder_identity) or ""

    @property
    def transitions(self) -> int:
        return (self.spec and self.spec.lease_transitions) or 0


class _List(msgspec.Struct):
    items: list[_Lease] | None = None


@dataclass(slots=True)
class _Held:
    """A Lease of ours."""

    lease: _Lease
    until: float  # clock() when the work must have stopped
    current: bool  # we know all that had happened when we took it, so the work may begin


class Leases:
    """A group of Leases, one per shard. Run it with ``run()``, in a task that you own; ``release`` when all work has ended."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        shards: int,
        identity: str,
        times: Times | None = None,
        catch_up: Callable[[], Awaitable[None]] | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """``identity`` must be this process's alone; ``catch_up`` returns when everything is known that had happened before it was
        called, or raises ``ClusterError``; ``on_change`` hears when shards were gained or lost, must be quick."""
        self.namespace, self.name, self.shards, self.identity = namespace, name, shards, identity
        self.problem: tuple[str, float] | None = None  #: why Leases cannot be kept, and since when (time.time())
        self._cluster, self._times = cluster, times or Times()
        self._call = min(_CALL, self._times.renew / 2)
        self._catch_up, self._on_change = catch_up, on_change or (lambda: None)
        self._held: dict[int, _Held] = {}
        self._told: tuple[int, ...] = ()
        self._seen: dict[
            str, tuple[_Lease, float]
        ] = {}  # by name: the newest record, and clock() when it was first seen
        self._vacant: dict[int, float] = {}  # shards that nobody holds, and clock() when that was first seen
        self._gate = asyncio.Lock()  # taking and giving back, one at a time
        self._taken = asyncio.Event()  # something was taken and is not current yet
        self._not_before = 0.0  # clock() until which others may try

    def until(self, shard: int) -> float:
        """clock() until which ``shard`` is surely ours; 0 when it is not."""
        held = self._held.get(shard)
        return held.until if held is not None and held.current else 0.0

    @property
    def held(self) -> tuple[int, ...]:
        """The shards that are ours now."""
        now = clock()
        return tuple(sorted(shard for shard in self._held if self.until(shard) > now))

    async def run(self) -> None:
        """Take Leases and renew them until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_for_ever())
            group.create_task(self._take_for_ever())
            group.create_task(self._begin_for_ever())

    async def release(self) -> None:
        """Give back what is ours. Stop all work first, and ``run`` too."""
        async with self._gate:
            held, self._held = self._held, {}
            for shard, lease in held.items():
                with contextlib.suppress(ClusterError):
                    await self._give_back(shard, lease.lease)
            self._tell()

    # Renewing

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.gather(*(self._renew(shard) for shard in list(self._held)))
            self._tell()
            await asyncio.sleep(self._times.retry * random.uniform(0.8, 1.0))  # noqa: S311 - jitter, not a secret

    async def _renew(self, shard: int) -> None:
        held, began = self._held.get(shard), clock()
        if held is None:
            return
        if held.until <= began:  # too late to go on as if nothing had been: take it like anybody else
            del self._held[shard]
            return
        try:
            lease = await self._write(shard, self._record(held.lease, taking=False))
        except ApiError as error:
            if error.status not in (404, 409):
                self._trouble(error)
                return
            await self._contested(shard)
        except ClusterError as error:
            self._trouble(error)
        else:
            held.lease, held.until = lease, began + self._times.renew
            self.problem = None

    async def _contested(self, shard: int) -> None:
        """Somebody else wrote our Lease, or deleted it: is it still ours?"""
        try:
            lease = _lease_of(await self._cluster.get(self._path(shard), timeout=self._call, pool="leases"))
        except ApiError as error:
            if error.status == 404:
                self._held.pop(shard, None)
            return
        except ClusterError as error:
            self._trouble(error)
            return
        held = self._held.get(shard)
        if lease.holder != self.identity:
            self._held.pop(shard, None)
            log.warning("lease %s is held by %s now", lease.metadata.name, lease.holder or "nobody")
        elif held is not None:
            held.lease = lease  # an answer of ours was lost, or somebody put a label on it

    # Taking

    async def _take_for_ever(self) -> None:
        while True:
            try:
                if len(self._held) < self.shards and self._not_before <= clock():
                    async with self._gate:
                        await self._take()
                pause = self._times.retry
            except ClusterError as error:
                self._trouble(error)
                pause = self._times.retry * 2
            self._tell()
            await asyncio.sleep(self._pause(pause))

    def _pause(self, longest: float) -> float:
        """Until something may be taken, and no longer than ``longest``."""
        now = clock()
        ends = [seen + _duration(lease, self._times) - now for lease, seen in self._seen.values() if lease.holder]
        ends = [end for end in ends if end > 0]
        jitter = random.uniform(0.0, 0.1) * self._times.retry  # noqa: S311 - as above
        return min(max(0.05, min(ends, default=longest)), longest) + jitter

    async def _take(self) -> None:
        """Take what is vacant, unless others divide the work otherwise; ours only after a second look."""
        leases = await self._look()
        if self._others(leases):
            return
        now = clock()
        taken: dict[int, _Held] = {}
        for shard in range(self.shards):
            lease = leases.get(self._name(shard))
            if shard in self._held or (lease is not None and not self._vacant_now(lease)):
                self._vacant.pop(shard, None)
                continue
            # Who holds much lets others go first, so that replicas that start together share the work.
            patience = len({*self._held, *taken}) * self._times.retry
            if now - self._vacant.setdefault(shard, now) < patience and (lease is None or not lease.holder):
                continue
            if (held := await self._try(shard, lease)) is not None:
                taken[shard] = held
        if not taken:
            return
        others = self._others(await self._look())
        for shard, held in taken.items():
            self._vacant.pop(shard, None)
            if others:
                log.warning(
                    "giving shard %d back: %s divides the work into another number of shards", shard, ", ".join(others)
                )
                await self._give_back(shard, held.lease)
            else:
                self._held[shard] = held
                self._taken.set()
        if others:
            await asyncio.sleep(self._times.retry * random.uniform(0.5, 1.5))  # noqa: S311 - as above

    async def _look(self) -> dict[str, _Lease]:
        """All Leases of the group, and since when each has been as it is."""
        path = collection_path("leases", self.namespace)
        params = {"labelSelector": f"{LABEL}={self.name}"}
        body = await self._cluster.get(path, params=params, timeout=self._call, pool="leases")
        try:
            found = msgspec.json.decode(body, type=_List).items or []
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreachableError(f"{self._cluster.host}: the list of leases is no list: {error}") from None
        now, leases = clock(), {lease.metadata.name: lease for lease in found}
        seen, self._seen = self._seen, {}
        for name, lease in leases.items():
            known = seen.get(name)
            same = known is not None and known[0].spec == lease.spec
            self._seen[name] = (lease, known[1] if known is not None and same else now)
        self.problem = None
        return leases

    def _vacant_now(self, lease: _Lease) -> bool:
        """True when nobody holds it, or its holder has not renewed it for its whole duration, on our clock."""
        if not lease.holder or lease.holder == self.identity:
            return True
        _, since = self._seen[lease.metadata.name]
        return clock() > since + _duration(lease, self._times)

    def _others(self, leases: dict[str, _Lease]) -> list[str]:
        """Holders that divide the work into another number of shards than we do."""
        mine = str(self.shards)
        return [
            lease.holder
            for lease in leases.values()
            if not self._vacant_now(lease) and (lease.metadata.annotations or {}).get(SHARDS) != mine
        ]

    async def _try(self, shard: int, lease: _Lease | None) -> _Held | None:
        began = clock()
        try:
            taken = await self._write(shard, self._record(lease, taking=True), create=lease is None)
        except ApiError as error:
            if error.status in (404, 409):  # another one was quicker
                return None
            raise
        return _Held(taken, began + self._times.renew, current=self._catch_up is None)

    # Beginning

    async def _begin_for_ever(self) -> None:
        while self._catch_up is not None:
            await self._taken.wait()
            self._taken.clear()
            fresh = {shard: held for shard, held in self._held.items() if not held.current}
            try:
                await self._catch_up()
            except ClusterError as error:
                await self._decline(fresh, error)
                continue
            for held in fresh.values():
                held.current = (
                    True  # one that was lost since is no longer in ``_held``, and taken again it is another one
                )
            self._tell()

    async def _decline(self, shards: dict[int, _Held], error: ClusterError) -> None:
        """Give back what we cannot begin with."""
        log.warning("giving shards %s back, for their runs cannot be listed: %s", sorted(shards), error)
        async with self._gate:
            self._not_before = clock() + self._times.duration
            for shard, held in shards.items():
                if self._held.get(shard) is held:
                    del self._held[shard]
                    with contextlib.suppress(ClusterError):
                        await self._give_back(shard, held.lease)

    # Writing

    async def _give_back(self, shard: int, lease: _Lease) -> None:
        await self._write(shard, self._record(lease, taking=False, holder=""))

    async def _write(self, shard: int, record: dict[str, Any], *, create: bool = False) -> _Lease:
        if create:
            path = collection_path("leases", self.namespace)
            body = {**record, "metadata": {**record["metadata"], "name": self._name(shard)}}
            return _lease_of(await self._cluster.create(path, body, timeout=self._call, pool="leases"))
        return _lease_of(await self._cluster.update(self._path(shard), record, timeout=self._call, pool="leases"))

    def _record(self, lease: _Lease | None, *, taking: bool, holder: str | None = None) -> dict[str, Any]:
        now = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = lease.spec if lease is not None else None
        meta: dict[str, Any] = {
            "namespace": self.namespace,
            "labels": {LABEL: self.name, "app.kubernetes.io/managed-by": "tekton-pipeline-listener"},
            "annotations": {SHARDS: str(self.shards)},
        }
        if lease is not None:
            meta |= {"name": lease.metadata.name, "resourceVersion": lease.metadata.resource_version}
        changed = taking and lease is not None and lease.holder != self.identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": meta,
            "spec": {
                "holderIdentity": self.identity if holder is None else holder,
                "leaseDurationSeconds": math.ceil(self._times.duration) if holder is None else 1,
                "acquireTime": now if taking or spec is None else spec.acquire_time,
                "renewTime": now,
                "leaseTransitions": (lease.transitions if lease is not None else 0) + int(changed),
            },
        }

    def _name(self, shard: int) -> str:
        return f"{self.name}-{shard:02d}"

    def _path(self, shard: int) -> str:
        return object_path("leases", Key(self.namespace, self._name(shard)))

    # Telling

    def _tell(self) -> None:
        held = self.held
        if held == self._told:
            return
        for what, shards in (("took", set(held) - set(self._told)), ("lost", set(self._told) - set(held))):
            if shards:
                log.info("%s %s of %d shards as %s", what, sorted(shards), self.shards, self.identity)
        self._told = held
        self._on_change()

    def _trouble(self, error: ClusterError) -> None:
        if self.problem is None:
            self.problem = (f"leases cannot be kept: {error}", time.time())
            log.warning("leases in %s: %s", self.namespace, error)


def _duration(lease: _Lease, times: Times) -> float:
    """Seconds that a Lease lasts without being renewed: what its holder wrote, and not less than what we would."""
    said = (lease.spec and lease.spec.lease_duration_seconds) or 0
    return min(max(float(said), times.duration), _LONGEST)


def _lease_of(body: bytes) -> _Lease:
    try:
        return msgspec.json.decode(body, type=_Lease)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(f"the answer is no Lease: {error}") from None
