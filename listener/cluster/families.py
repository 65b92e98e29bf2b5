"""The TaskRuns and pods of those runs that somebody follows; of no others.

A cluster may hold a hundred thousand pods of finished runs, and a service that records follows hundreds of live runs. So nothing is listed as a
whole, and no run has a watch of its own: one watch per resource (and namespace) is open while any run is followed, what it says of other
runs is dropped unread, and each followed run is listed once, after the watch has its place in time. When the watch loses that place
(410), every followed run is listed again.

Promised: a family is level with the cluster a moment after ``synced``, whatever the connection does; an object never goes back to an older
version; objects of an earlier run with the same name stay out where their owner is named. Not promised: every intermediate state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from listener.cluster.children import run_selector
from listener.cluster.client import PAGE_TIMEOUT, ApiError, Cluster, ClusterError, UnreachableError, collection_path
from listener.cluster.decode import decode_pod, decode_task_run
from listener.cluster.family import Family as Family
from listener.cluster.family import Members
from listener.cluster.names import Key
from listener.cluster.objects import MalformedError, PipelineRun, Pod, TaskRun
from listener.cluster.reflector import SILENCE, Backoff
from listener.cluster.wire import PAGE_SIZE, Event, error_of, read_bookmark, read_events, read_page

log = logging.getLogger(__name__)

_RUN_LABEL: Final = "tekton.dev/pipelineRun"
_LISTERS: Final = 4  # lists at the same time, per resource and namespace
_LINGER: Final = 30.0  # seconds that a watch stays open when nobody follows anything
_COMPLAINTS: Final = 1000  # names of unreadable objects that are remembered, so that each is logged once

T = TypeVar("T", bound=TaskRun | Pod)


class _Labels(msgspec.Struct):
    run: Any = msgspec.field(name=_RUN_LABEL, default="")


class _PeekMeta(msgspec.Struct, rename="camel"):
    namespace: Any = ""
    name: Any = ""
    uid: Any = ""
    resource_version: str = ""
    labels: _Labels | None = None


class _Peek(msgspec.Struct):
    metadata: _PeekMeta


_PEEK: Final = msgspec.json.Decoder(_Peek)


class Families:
    """All families that are followed. Run it with ``run()``, in a task that you own."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespaces: Sequence[str] = (),
        silence: tuple[float, float] = SILENCE,
        linger: float = _LINGER,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """``namespaces``: the ones that may be asked about; empty for the whole cluster; ``silence``: see ``Reflector``; ``linger``:
        seconds that watches stay open when nobody follows anything; ``backoff``: makes what paces attempts after failures."""
        self._namespaces = tuple(namespaces)
        scopes: tuple[str | None, ...] = self._namespaces or (None,)
        pace = _Pace(silence, linger, backoff)
        self._task_runs = {n: _Scope(cluster, "taskruns", n, decode_task_run, pace=pace) for n in scopes}
        self._pods = {n: _Scope(cluster, "pods", n, decode_pod, pace=pace) for n in scopes}

    async def run(self) -> None:
        """Watch and list until cancelled."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._task_runs:
                group.create_task(self._task_runs[namespace].run())
                group.create_task(self._pods[namespace].run())

    @contextlib.contextmanager
    def of(self, run: PipelineRun, *, on_change: Callable[[], None]) -> Iterator[Family]:
        """Follow what belongs to ``run``. ``on_change`` is called after each change; it must be quick."""
        scope = run.namespace if self._namespaces else None
        tasks, pods = self._task_runs[scope], self._pods[scope]
        family = Family(run, on_change, lambda: tasks.problem or pods.problem)
        tasks.add(family.task_run_members)
        pods.add(family.pod_members)
        try:
            yield family
        finally:
            tasks.remove(family.task_run_members)
            pods.remove(family.pod_members)


@dataclass(frozen=True, slots=True)
class _Pace:
    """How patient a scope is. Seconds."""

    silence: tuple[float, float]
    linger: float
    backoff: Callable[[], Backoff]


class _Scope(Generic[T]):
    """One resource, in one namespace or in all."""

    def __init__(
        self,
        cluster: Cluster,
        resource: str,
        namespace: str | None,
        decode: Callable[[bytes | msgspec.Raw], T],
        *,
        pace: _Pace,
    ) -> None:
        self.problem = ""  #: what keeps the watch from working, or ""
        self._cluster, self._resource, self._decode, self._pace = cluster, resource, decode, pace
        self._path = collection_path(resource, namespace)
        self._members: dict[Key, set[Members[T]]] = {}
        self._wanted = asyncio.Event()  # somebody follows something
        self._stale: dict[Members[T], None] = {}  # to be listed, in this order
        self._grown_stale = asyncio.Event()
        self._version = ""  # where the watch is; "" while it has no place
        self._placed = asyncio.Event()
        self._watching: asyncio.Timeout | None = None
        self._troubled: set[str] = set()  # what of "watching" and "listing" does not work, so that it is logged once
        self._complained: OrderedDict[str, None] = OrderedDict()

    def add(self, members: Members[T]) -> None:
        self._members.setdefault(members.run, set()).add(members)
        self._wanted.set()
        self._end_watch_at(None)
        self._make_stale(members)

    def _make_stale(self, members: Members[T]) -> None:
        self._stale[members] = None
        self._grown_stale.set()

    def remove(self, members: Members[T]) -> None:
        self._stale.pop(members, None)
        same = self._members[members.run]
        same.discard(members)
        if not same:
            del self._members[members.run]
        if not self._members:
            self._wanted.clear()
            self._end_watch_at(asyncio.get_running_loop().time() + self._pace.linger)

    def _end_watch_at(self, when: float | None) -> None:
        if self._watching is not None and not self._watching.expired():
            self._watching.reschedule(when)

    def _is_followed(self, members: Members[T]) -> bool:
        return members in self._members.get(members.run, ())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_on())
            for _ in range(_LISTERS):
                group.create_task(self._list_on())

    # Watching

    async def _watch_on(self) -> None:
        backoff = self._pace.backoff()
        while True:
            if not self._wanted.is_set():
                self._lose_place()  # so that whoever comes next does not get everything that happened until then
                await self._wanted.wait()
            try:
                if not self._version:
                    await self._find_place()
                await self._watch_until_unwanted()
            except ClusterError as error:
                self.problem = str(error)
                self._complain("watching", error)
                if isinstance(error, ApiError) and (error.status == 410 or error.reason in ("Expired", "Gone")):
                    self._lose_place()
                await asyncio.sleep(backoff.pause(at_least=_wished_pause(error)))

    async def _find_place(self) -> None:
        params = {"labelSelector": _RUN_LABEL, "limit": "1"}
        body = await self._cluster.get(self._path, params=params, timeout=PAGE_TIMEOUT)
        page = read_page(body, where=f"{self._path} on {self._cluster.host}")
        self._version = page.metadata.resource_version
        self._placed.set()

    def _lose_place(self) -> None:
        """What changed since is not known: everybody must be listed again."""
        self._version = ""
        self._placed.clear()
        for same in self._members.values():
            for members in same:
                self._make_stale(members)

    async def _watch_until_unwanted(self) -> None:
        try:
            async with asyncio.timeout(None) as self._watching:
                if not self._wanted.is_set():  # they left while the place was looked for
                    self._end_watch_at(asyncio.get_running_loop().time() + self._pace.linger)
                await self._watch()
        except TimeoutError:
            pass  # nobody wants it any more
        finally:
            self._watching = None

    async def _watch(self) -> None:
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(300, 600)),  # noqa: S311 - so that watches do not all end together
            "labelSelector": _RUN_LABEL,
            "resourceVersion": self._version,
        }
        silence = random.uniform(*self._pace.silence)  # noqa: S311 - as above
        began, handled = (time.monotonic(), self._version), 0
        async with self._cluster.stream(self._path, params=params, pool="watches", read_timeout=silence) as response:
            self.problem = ""
            async for event in read_events(response.content.iter_any(), on_skip=self._skip_line):
                self._handle(event)
                self._praise("watching")
                handled += 1
                if handled % 64 == 0:
                    await asyncio.sleep(0)
        if self._version == began[1] and time.monotonic() - began[0] < 1:
            raise UnreachableError(f"{self._cluster.host}: the watch ended at once and got nowhere")
        self._praise("watching")

    def _handle(self, event: Event) -> None:
        if event.type == "ERROR":
            raise error_of(event)
        try:
            if event.type == "BOOKMARK":
                self._version = read_bookmark(event).resource_version or self._version
                return
            meta = _PEEK.decode(event.object).metadata
        except (ValueError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._skip_line(str(error))
            return
        self._version = meta.resource_version or self._version
        followed = self._members.get(Key(str(meta.namespace), str(meta.labels.run if meta.labels else "")), ())
        if followed and event.type == "DELETED":
            for members in list(followed):
                members.gone(str(meta.name), uid=str(meta.uid), version=meta.resource_version)
        elif followed and event.type in ("ADDED", "MODIFIED") and (item := self._read(event.object)) is not None:
            for members in list(followed):
                members.apply(item)

    # Listing

    async def _list_on(self) -> None:
        backoff = self._pace.backoff()
        while True:
            await self._placed.wait()
            if not self._stale:
                self._grown_stale.clear()
                await self._grown_stale.wait()
                continue
            members = next(iter(self._stale))
            del self._stale[members]
            try:
                async with members.listing:
                    await self._list(members)
                self._praise("listing")
            except ClusterError as error:
                self._complain("listing", error)
                if self._is_followed(members):
                    members.problem = str(error)
                    self._make_stale(members)
                await asyncio.sleep(backoff.pause(at_least=_wished_pause(error)))

    async def _list(self, members: Members[T]) -> None:
        members.begin_list()
        items: list[T] = []
        token = ""
        path = collection_path(self._resource, members.run.namespace)
        while self._is_followed(members):
            params = {"labelSelector": run_selector(members.run.name), "limit": str(PAGE_SIZE)}
            params |= {"continue": token} if token else {}
            body = await self._cluster.get(path, params=params, timeout=PAGE_TIMEOUT)
            page = read_page(body, where=f"{path} on {self._cluster.host}")
            items += [item for raw in page.items or () if (item := self._read(raw)) is not None]
            token = page.metadata.continue_
            if not token:
                members.listed(items, version=page.metadata.resource_version)
                return

    # Trouble

    def _read(self, raw: msgspec.Raw) -> T | None:
        try:
            return self._decode(raw)
        except MalformedError as error:
            self._skip(error.name, str(error))
            return None

    def _skip_line(self, why: str) -> None:
        self._skip("an event", why)

    def _skip(self, name: str, why: str) -> None:
        if name not in self._complained:
            log.warning("skipped %s from %s, the others are not affected: %s", name, self._path, why)
            self._complained[name] = None
            if len(self._complained) > _COMPLAINTS:
                self._complained.popitem(last=False)

    def _complain(self, what: str, error: ClusterError) -> None:
        if what not in self._troubled:
            log.warning("%s %s on %s failed, trying again: %s", what, self._path, self._cluster.host, error)
            self._troubled.add(what)

    def _praise(self, what: str) -> None:
        if what in self._troubled:
            log.info("%s %s works again", what, self._path)
            self._troubled.discard(what)


def _wished_pause(error: ClusterError) -> float:
    """Seconds that the API server asks to be left alone, up to a minute."""
    return min(error.retry_after or 0.0, 60.0) if isinstance(error, ApiError) else 0.0
