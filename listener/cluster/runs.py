"""The PipelineRuns of the watched namespaces: one reflector per namespace (or one for all), one look-up, one way to wait.

This is what web, logs and reporting are given: ``get`` for now, ``watching`` to be woken when a run changes. A run that was deleted
is remembered for a while, so that whoever was reading its log learns its last state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from listener.cluster.client import Cluster, collection_path
from listener.cluster.decode import decode_pipeline_run
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun
from listener.cluster.reflector import SILENCE, Change, Reflector
from listener.log_context import about

log = logging.getLogger(__name__)

_REMEMBERED: Final = 1000  # deleted runs


class Runs:
    """All PipelineRuns there are. Run it with ``run()``, in a task that you own."""

    def __init__(
        self, cluster: Cluster, *, namespaces: Sequence[str] = (), silence: tuple[float, float] = SILENCE
    ) -> None:
        """``namespaces``: the ones to watch; empty for the whole cluster; ``silence``: see ``Reflector``."""
        self.namespaces = tuple(namespaces)
        self.reflectors: list[Reflector[PipelineRun]] = [
            Reflector(
                cluster,
                path=collection_path("pipelineruns", namespace),
                decode=decode_pipeline_run,
                on_change=self._changed,
                silence=silence,
            )
            for namespace in (self.namespaces or (None,))
        ]
        self._listeners: list[Callable[[Change[PipelineRun]], None]] = []
        self._waiting: dict[Key, set[asyncio.Event]] = {}
        self._deleted: OrderedDict[str, PipelineRun] = OrderedDict()

    def on_change(self, listener: Callable[[Change[PipelineRun]], None]) -> None:
        """Have ``listener`` called for every change from now on, in order; it must be quick."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors:
                group.create_task(reflector.run())

    async def synced(self, namespace: str | None = None) -> None:
        """Return when every run that existed at the start is known: all of them, or those of one namespace."""
        for reflector in self._of(namespace):
            await reflector.synced.wait()

    async def settled(self, patience: float) -> None:
        """Return when all are known; or when ``patience`` seconds are over and some are: one namespace that may not be
        watched must not hold up the others for ever."""
        waiting = {asyncio.ensure_future(reflector.synced.wait()) for reflector in self.reflectors}
        try:
            _, late = await asyncio.wait(waiting, timeout=patience)
            if len(late) == len(waiting):
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def relist(self) -> None:
        """Return when everything is known that had happened before this was called; see ``Reflector.relist``.

        Namespaces that could not be listed yet do not count: nothing is known of them that could be outdated.
        """
        await asyncio.gather(*(reflector.relist() for reflector in self.reflectors if reflector.synced.is_set()))

    @property
    def ready(self) -> bool:
        """True once every run that existed at the start is known."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    def ready_in(self, namespace: str) -> bool:
        """True once the runs of ``namespace`` are known."""
        return all(reflector.synced.is_set() for reflector in self._of(namespace))

    def _of(self, namespace: str | None) -> list[Reflector[PipelineRun]]:
        if namespace is None or not self.namespaces:
            return self.reflectors
        return [r for r, name in zip(self.reflectors, self.namespaces, strict=True) if name == namespace]

    @property
    def problems(self) -> list[tuple[str, str, float]]:
        """Watches that do not work: path, why, since when (``time.time()``)."""
        return [(r.path, *r.problem) for r in self.reflectors if r.problem is not None]

    def __len__(self) -> int:
        return sum(len(reflector.objects) for reflector in self.reflectors)

    def __iter__(self) -> Iterator[PipelineRun]:
        for reflector in self.reflectors:
            yield from list(reflector.objects.values())

    def get(self, key: Key) -> PipelineRun | None:
        """The run's newest known state, or None."""
        for reflector in self.reflectors:
            if (run := reflector.objects.get(key)) is not None:
                return run
        return None

    def deleted(self, uid: str) -> PipelineRun | None:
        """The last known state of a run that was deleted lately."""
        return self._deleted.get(uid)

    @contextlib.contextmanager
    def watching(self, key: Key) -> Iterator[asyncio.Event]:
        """An event that is set whenever the run changes, appears or goes. Clear it before looking, then wait."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            events = self._waiting[key]
            events.discard(event)
            if not events:
                del self._waiting[key]

    def _changed(self, change: Change[PipelineRun]) -> None:
        run = change.object
        if change.deleted:
            self._deleted[run.uid] = run
            if len(self._deleted) > _REMEMBERED:
                self._deleted.popitem(last=False)
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # one run that trips a listener must not stop the watch for all
                with about(run=str(run.key)):
                    log.exception("%s: a listener failed on this change", run.key)
        for event in self._waiting.get(run.key, ()):
            event.set()
