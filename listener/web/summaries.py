"""Summaries of runs for pages: asked for often, made seldom.

A run's TaskRuns are read from the cluster when somebody looks at its page. Many who look at once share one answer, which is a second
old at most; that of a run that is over stays for longer. Runs within the run are looked at as well, as far as they are known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from listener.cluster.client import ClusterError
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.runs import Runs
from listener.cluster.summary import Origin, RunSummary, summarize

log = logging.getLogger(__name__)

_MOST: Final = 512
_FRESH: Final = 1.0  # seconds, of a run that goes on
_FRESH_WHEN_OVER: Final = 10.0
_DEPTH: Final = 3  # of runs within runs
_MOST_NESTED: Final = 50  # in one run


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    summary: RunSummary | None = None
    version: str = ""
    at: float = 0.0


class Summaries:
    """What pages ask for a run's summary."""

    def __init__(
        self,
        runs: Runs,
        *,
        read_task_runs: Callable[[PipelineRun], Awaitable[list[TaskRun]]],
        past: Callable[[Key], Awaitable[RunSummary | None]],
        describe: Callable[[PipelineRun], tuple[str, tuple[Origin, ...]]],
    ) -> None:
        """``past``: of a run that is no longer in the cluster; ``describe``: which service claims a run, and its commits."""
        self._runs, self._read, self._past, self._describe = runs, read_task_runs, past, describe
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def of(self, key: Key) -> RunSummary | None:
        """The run's summary, or None where neither the cluster nor the archive knows it."""
        run = self._runs.get(key)
        if run is None:
            return await self._past(key)
        summary = await self._current(run, depth=0)
        if run.done and run.children and not any(task.attempts for task in summary.tasks):
            # Its TaskRuns were cleared away before it: what was kept says more.
            past = await self._past(key)
            if past is not None and past.uid == run.uid:
                summary = msgspec.structs.replace(past, service=summary.service, origins=summary.origins)
        return summary

    async def _current(self, run: PipelineRun, *, depth: int) -> RunSummary:
        entry = self._entries.setdefault(run.uid, _Entry())
        self._entries.move_to_end(run.uid)
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)
        async with entry.lock:
            fresh = _FRESH_WHEN_OVER if run.done else _FRESH
            same = entry.version == run.resource_version
            if (
                entry.summary is not None
                and (same or not run.done)
                and time.monotonic() - entry.at < (fresh if same else _FRESH / 4)
            ):
                return entry.summary
            entry.summary = await self._make(run, depth)
            entry.version, entry.at = run.resource_version, time.monotonic()
            return entry.summary

    async def _make(self, run: PipelineRun, depth: int) -> RunSummary:
        try:
            task_runs = await self._read(run)
        except ClusterError as error:
            log.warning("%s: page without its tasks: %s", run.key, error)
            task_runs = []
        nested = {}
        if depth < _DEPTH:
            for child in [child for child in run.children if child.kind == "PipelineRun"][:_MOST_NESTED]:
                inner = self._runs.get(Key(run.namespace, child.name))
                if inner is not None:
                    nested[child.name] = await self._current(inner, depth=depth + 1)
        service, origins = self._describe(run)
        return msgspec.structs.replace(summarize(run, task_runs, nested=nested), service=service, origins=origins)
