"""``deliver: guaranteed``: a finalizer keeps a PipelineRun from vanishing until its final status has arrived.

For clusters that prune runs fast. The finalizer is put on when a run is first seen and taken off when nothing more will be sent for it:
its final state arrived, was refused for good, or is overruled by a younger run; or nobody guarantees it any more. A merge patch
replaces the whole list of finalizers, so each write reads the object first and carries its resourceVersion: whoever changed it in
between is not overwritten. What cannot be written is tried again for as long as the run is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from listener.cluster.client import ApiError, Cluster, ClusterError, object_path
from listener.cluster.names import Key
from listener.cluster.objects import FINALIZER, PipelineRun
from listener.log_context import about
from notifiers.base import clock

log = logging.getLogger(__name__)

_WRITERS: Final = 4
_FIRST_RETRY, _LAST_RETRY = 0.2, 30.0  # seconds


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""
    finalizers: list[Any] | None = None
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: _Meta


@dataclass(slots=True)
class _Wish:
    uid: str
    home: str
    keep: bool
    attempts: int = 0


class Guarantee:
    """Puts our finalizer on and off. Run it with ``run()``, in a task that you own."""

    def __init__(self, cluster: Cluster, *, permit: Callable[[str], float]) -> None:
        """``permit``: see ``Lanes``."""
        self._cluster, self._permit = cluster, permit
        self._wishes: dict[Key, _Wish] = {}  # at most one per run
        self._queue: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()
        self._writing: set[Key] = set()
        self._wake, self._written = asyncio.Event(), asyncio.Event()

    def want(self, run: PipelineRun, keep: bool, *, home: str) -> None:
        """Have our finalizer on ``run``, or off it. ``home``: see ``Lanes.offer``."""
        if run.kept == keep or (keep and run.deleting):  # the API takes no new finalizer then
            self._wishes.pop(run.key, None)
            return
        known = self._wishes.get(run.key)
        if known is not None and (known.uid, known.keep) == (run.uid, keep):
            return
        self._wishes[run.key] = _Wish(run.uid, home, keep)
        self._put(run.key, 0.0)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._write_for_ever())

    async def flush(self) -> None:
        """Wait until every wish has been tried; for the end of the service, while ``run`` still runs."""
        while self._writing or any(not wish.attempts for wish in self._wishes.values()):
            self._written.clear()
            await self._written.wait()

    def _put(self, key: Key, pause: float) -> None:
        heapq.heappush(self._queue, (asyncio.get_running_loop().time() + pause, next(self._numbers), key))
        self._wake.set()

    async def _write_for_ever(self) -> None:
        while True:
            key = await self._next()
            wish = self._wishes.get(key)
            if wish is None or key in self._writing:
                continue
            self._writing.add(key)
            try:
                with about(run=str(key)):
                    done = await self._write(key, wish)
            finally:
                self._writing.discard(key)
                self._written.set()
            if self._wishes.get(key) is not wish:
                if key in self._wishes:  # wished otherwise meanwhile
                    self._put(key, 0.0)
            elif done:
                del self._wishes[key]
            else:
                wish.attempts += 1
                self._put(key, min(_FIRST_RETRY * 2.0**wish.attempts, _LAST_RETRY))

    async def _next(self) -> Key:
        loop = asyncio.get_running_loop()
        while True:
            if self._queue and self._queue[0][0] <= loop.time():
                return heapq.heappop(self._queue)[2]
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._queue[0][0] if self._queue else None):
                    await self._wake.wait()

    async def _write(self, key: Key, wish: _Wish) -> bool:
        """True when nothing is left to do."""
        if self._permit(wish.home) <= clock():
            return True  # another replica's business by now
        path = object_path("pipelineruns", key)
        try:
            meta = msgspec.json.decode(await self._cluster.get(path), type=_Object).metadata
            if meta.uid != wish.uid:
                return True
            finalizers = meta.finalizers or []
            if wish.keep == (FINALIZER in finalizers) or (wish.keep and meta.deletion_timestamp):
                return True  # a wish to keep a run never lets it go, however late it comes
            others = [entry for entry in finalizers if entry != FINALIZER]
            wanted = [*others, FINALIZER] if wish.keep else others
            body = {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": wanted}
            await self._cluster.merge_patch(path, {"metadata": body})
        except ApiError as error:
            if error.status == 404:
                return True
            if error.status != 409:
                self._complain(key, wish, error)
            return False
        except (ClusterError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._complain(key, wish, error)
            return False
        return True

    def _complain(self, key: Key, wish: _Wish, error: Exception) -> None:
        if wish.attempts in (2, 10):
            what = "put on" if wish.keep else "taken off"
            log.warning("%s: the finalizer %s cannot be %s, trying on: %s", key, FINALIZER, what, error)
