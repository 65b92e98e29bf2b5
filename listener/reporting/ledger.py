"""What has arrived, written on the run itself.

After a status was delivered, one annotation on its PipelineRun says so, so that a restarted listener re-sends nothing that
arrived. Its value is JSON: for each lane (a digest of host, repository, commit and context) the host's state word and the
notifier's memo. It is a hint and never an authorisation: whoever can edit a run can forge it, and wins nothing but that the
run's own status is not sent again. A patch that cannot be made is dropped after some minutes: the price is one repeated status.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import json
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from listener.cluster.client import ApiError, Cluster, ClusterError, object_path, worth_a_retry
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun
from listener.log_context import about

if TYPE_CHECKING:
    from listener.reporting.traces import LaneTrace, Traces

log = logging.getLogger(__name__)

ANNOTATION: Final = "tekton-listener.dev/delivered"
_QUIET: Final = 1.0  # seconds that an intermediate state's record waits for the next one, so that both cost one patch
_WRITERS: Final = 4
_ATTEMPTS: Final = 10  # some minutes
_FIRST_RETRY, _LAST_RETRY = 0.3, 30.0  # seconds
_MAX_PENDING: Final = 50_000
_MAX_RECENT: Final = 4_096
_MAX_TRACES: Final = 16


#: A record's state on a run that a younger one has overtaken: it must stay silent even when the younger one is gone.
OVERRULED: Final = "overruled"


# What of a run a lane tells: its state on the commit, as a status or as a check run, that of one of its tasks, or what goes beyond.
STATUS: Final = ""
CHECK: Final = "check"
TASK: Final = "task"
TASK_CHECK: Final = "task-check"
COMMENT: Final = "comment"
LABELS: Final = "labels"
DEPLOYMENT: Final = "deployment"
MESSAGE: Final = "message"


class LaneKey(NamedTuple):
    """A place on a Git host that shows one state: GitHub compares contexts without regard to case, and so do we.

    Of messages each run has a lane of its own, its UID is the context; of deployments each environment.
    """

    host: str
    repository: str
    sha: str
    context: str
    aspect: str = STATUS

    @property
    def is_state(self) -> bool:
        """The commit shows it: it is no comment, label, deployment or message."""
        return self.aspect in (STATUS, CHECK, TASK, TASK_CHECK)

    @property
    def digest(self) -> str:
        """As it is written on runs; that of a status is what it was before there was anything else."""
        parts = self if self.aspect else self[:4]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Record:
    """The host shows ``state``; ``memo`` is what the notifier wants to know next time."""

    state: str
    memo: str | None = None


def read(run: PipelineRun) -> dict[str, Record]:
    """What the run's annotation says, by lane digest. Anything that is not of our making reads as nothing."""
    text = run.annotations.get(ANNOTATION)
    if not text:
        return {}
    try:
        raw = json.loads(text)
        return {
            digest: Record(str(entry["state"]), str(entry["memo"]) if entry.get("memo") is not None else None)
            for digest, entry in raw.items()
            if isinstance(entry, dict)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def written(records: Mapping[str, Record]) -> str:
    """The annotation's value for ``records``; ``read`` gives them back."""
    entries = {
        digest: {"state": record.state} | ({"memo": record.memo} if record.memo is not None else {})
        for digest, record in records.items()
    }
    return json.dumps(entries, separators=(",", ":"), sort_keys=True)


@dataclass(slots=True)
class _Pending:
    uid: str
    records: dict[str, Record]
    due: float
    attempts: int = 0
    traces: list[LaneTrace] = field(default_factory=list)  # of what was delivered


class Ledger:
    """Writes records, one patch per run at a time. Run it with ``run()``, in a task that you own."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        quiet: float = _QUIET,
        on_settled: Callable[[Key], None] = lambda _: None,
        traces: Traces | None = None,
    ) -> None:
        """``on_settled`` hears of a run for which nothing is left to be written, because it is or because it cannot be.

        What was sent is noted even when another replica has the run by now: it could not know otherwise.
        """
        self._cluster, self._quiet, self._traces = cluster, quiet, traces
        self._on_settled = on_settled
        self._pending: dict[Key, _Pending] = {}
        self._recent: OrderedDict[Key, _Pending] = OrderedDict()  # written, but perhaps not yet seen in the watch
        self._writing: set[Key] = set()
        self._queue: list[tuple[float, Key]] = []  # a heap; entries may be outdated, ``_pending`` is the truth
        self._wake, self._written = asyncio.Event(), asyncio.Event()
        self.failures = 0  #: records given up on

    def note(self, run: PipelineRun, lane: LaneKey, record: Record, *, final: bool) -> None:
        """Have ``record`` written soon; at once if it is final, for then nothing will follow to share the patch with."""
        now = asyncio.get_running_loop().time()
        pending = self._pending.get(run.key)
        if pending is None or pending.uid != run.uid:
            if len(self._pending) >= _MAX_PENDING:
                self.failures += 1
                return
            recent = self._recent.get(run.key)
            known = recent.records if recent is not None and recent.uid == run.uid else {}
            pending = self._pending[run.key] = _Pending(run.uid, {**read(run), **known}, now + self._quiet)
        pending.records[lane.digest] = record
        if self._traces is not None and (here := self._traces.here()) is not None and len(pending.traces) < _MAX_TRACES:
            pending.traces.append(here)
        if final:
            pending.due = now
        self._enqueue(run.key)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._write_for_ever())

    async def flush(self) -> None:
        """Have everything that is pending written now, and wait for it; for the end of the service, while ``run`` still runs."""
        for pending in self._pending.values():
            pending.due = 0.0
        for key in self._pending:
            self._enqueue(key)
        while self._pending or self._writing:
            self._written.clear()
            await self._written.wait()

    def _enqueue(self, key: Key) -> None:
        heapq.heappush(self._queue, (self._pending[key].due, key))
        self._wake.set()

    async def _write_for_ever(self) -> None:
        while True:
            key = await self._next()
            self._writing.add(key)
            with about(run=str(key)):
                try:
                    await self._write_traced(key, self._pending.pop(key))
                except Exception:  # a record that cannot be written must not end the others
                    self.failures += 1
                    log.exception("%s: could not note what was delivered", key)
                finally:
                    self._writing.discard(key)
                    self._written.set()
            if key in self._pending:  # noted again meanwhile, or to be tried again
                self._enqueue(key)
            else:
                self._on_settled(key)

    async def _next(self) -> Key:
        """The next run whose record is due and that nobody is writing."""
        loop = asyncio.get_running_loop()
        while True:
            while self._queue and self._queue[0][0] <= loop.time():
                due, key = heapq.heappop(self._queue)
                pending = self._pending.get(key)
                if pending is not None and pending.due <= due and key not in self._writing:
                    return key
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._queue[0][0] if self._queue else None):
                    await self._wake.wait()

    async def _write_traced(self, key: Key, pending: _Pending) -> None:
        since, traces = time.time_ns(), pending.traces
        pending.traces = []
        error = await self._write(key, pending)
        if self._traces is not None and traces:
            self._traces.noted(traces, since=since, error=error)
            if error is not None and (again := self._pending.get(key)) is not None:
                again.traces = [*traces, *again.traces][:_MAX_TRACES]

    async def _write(self, key: Key, pending: _Pending) -> ClusterError | None:
        """What kept it from being written, if it was worth writing."""
        # The UID makes the API server refuse (409) when the name belongs to another run by now.
        patch = {"metadata": {"uid": pending.uid, "annotations": {ANNOTATION: written(pending.records)}}}
        self._recent[key] = pending
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)
        try:
            await self._cluster.merge_patch(object_path("pipelineruns", key), patch)
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status in (404, 409):
                return None  # the run is gone: nothing to remember
            pending.attempts += 1
            if worth_a_retry(error) and pending.attempts < _ATTEMPTS:
                self._again(key, pending)
            else:
                self._give_up(key, error)
            return error
        return None

    def _again(self, key: Key, pending: _Pending) -> None:
        """Try later, together with what was noted meanwhile; the others need not wait for it."""
        pause = min(_FIRST_RETRY * 2.0**pending.attempts, _LAST_RETRY) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        newer = self._pending.get(key)
        if newer is not None and newer.uid == pending.uid:
            newer.records = {**pending.records, **newer.records}
            newer.attempts = pending.attempts
        elif newer is None:
            self._pending[key] = pending
            pending.due = asyncio.get_running_loop().time() + pause

    def _give_up(self, key: Key, error: ClusterError) -> None:
        self.failures += 1
        log.warning("%s: could not note what was delivered, a restart may repeat it: %s", key, error)
