"""Which runs are being recorded, for whom, and what becomes of the recordings.

One recording per run, by UID: shared by all its readers, and made without any reader where a service says ``logs: record``. One that nobody wants
any more ends after a while; a finished one stays for later readers as long as there is room, and is kept in the archive. A run that was
over before anybody looked is read from the archive, if it is there, and from its pods otherwise.

Bounds: recordings at work, finished ones kept open, bytes of all spools together, keeping and opening of archived ones at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from listener.cluster.client import Cluster
from listener.cluster.families import Families
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun, parse_time
from listener.cluster.runs import Runs
from listener.cluster.summary import Origin
from listener.log_context import about
from listener.logs.archive import Archive, ArchiveError, Entry, Kept
from listener.logs.recorder import Recorder, StuckError
from listener.logs.recording import Recording, RefusedError, Room
from listener.logs.spool import Budget, End, Spool
from notifiers.base import Outcome

log = logging.getLogger(__name__)

_LINGER: Final = 60.0  # seconds that a recording goes on that nobody reads
_KEPT: Final = 64  # finished recordings kept open for later readers
_MOST: Final = 1000  # recordings at work
_LATE: Final = timedelta(hours=1)  # a run that ended longer ago is not recorded unless somebody asks for it
_AT_ONCE: Final = 4  # late recordings, and transfers to and from the archive
_KEEP_TRIES: Final = (1.0, 5.0, 30.0, 120.0, 600.0)  # seconds between attempts to archive
_VERDICTS: Final = {
    Outcome.SUCCEEDED: "Succeeded",
    Outcome.FAILED: "Failed",
    Outcome.TIMED_OUT: "Failed",
    Outcome.CANCELLED: "Cancelled",
    Outcome.BROKEN: "Failed",
    Outcome.DELETED: "Deleted",
}


@dataclass(slots=True)
class Recordings:
    """All recordings there are. ``run()`` owns their tasks."""

    cluster: Cluster
    runs: Runs
    families: Families
    archive: Archive | None = None
    room: Room = field(default_factory=Room)
    wants: Callable[[PipelineRun], bool] = lambda _: False  #: the configuration wants this run recorded, and here
    #: which service claims a run, and the commits that it reports to
    describe: Callable[[PipelineRun], tuple[str, tuple[Origin, ...]]] = lambda _: ("", ())
    linger: float = _LINGER  #: seconds
    kept: int = 0  #: logs archived
    not_kept: int = 0  #: logs that could not be archived, after all attempts
    problem: tuple[str, float] | None = None  #: what keeps logs from being archived, and since when (``time.time()``)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  #: set when a recording begins, is kept, or cannot be
    _recordings: OrderedDict[str, Recording] = field(default_factory=OrderedDict)  # by UID, longest unused first
    _late: dict[str, PipelineRun] = field(default_factory=dict)  # ended before they were seen, by UID
    _late_came: asyncio.Event = field(default_factory=asyncio.Event)
    _transfers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _group: asyncio.TaskGroup | None = None
    _budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self._budget = Budget(self.room.in_all, make_room=self._make_room)

    async def run(self) -> None:
        """Own the recordings until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for _ in range(_AT_ONCE):
                    self._group.create_task(self._record_late())
                if self.archive is not None:
                    self._group.create_task(self.archive.run())
                while True:
                    await asyncio.sleep(self.linger / 4)
                    self._tidy()
        finally:
            self._group = None
            for recording in self._recordings.values():
                recording.spool.close()

    @property
    def refusal(self) -> str | None:
        """Why no further run can be read right now, or None."""
        if self._group is None:
            return "shutting down"
        if self.at_work >= _MOST:
            return f"{_MOST} logs are being followed already; try again later"
        return None

    @property
    def at_work(self) -> int:
        """Runs that are being recorded."""
        return sum(1 for recording in self._recordings.values() if recording.at_work)

    @property
    def size(self) -> int:
        """Bytes of all spools."""
        return self._budget.used

    @property
    def busy(self) -> int:
        """Bytes of spools that are written or read, which make way for nothing."""
        return sum(r.spool.size for r in self._recordings.values() if not self._is_idle(r))

    # For readers

    @contextlib.asynccontextmanager
    async def reading(self, run: PipelineRun) -> AsyncIterator[Recording]:
        """The run's recording, begun if need be, kept for as long as it is read. Raises ``RefusedError``."""
        recording = self._known(run.uid)
        if recording is None and run.done:
            recording = await self._from_archive(run.key, uid=run.uid)
        recording = recording or self._known(run.uid) or self._begin(run)
        with self._held(recording):
            yield recording

    @contextlib.asynccontextmanager
    async def reading_past(self, key: Key, *, uid: str | None = None) -> AsyncIterator[Recording | None]:
        """The newest finished recording of a run that is no longer in the cluster, or that of the run with this UID; None where there is
        none."""
        past = [
            recording
            for known, recording in self._recordings.items()
            if recording.key == key
            and uid in (None, known)
            and recording.spool.end_of_run is not None
            and recording.usable
        ]
        newest = max(past, key=lambda recording: recording.created, default=None)
        recording = newest or await self._from_archive(key, uid=uid)
        if recording is None:
            yield None
            return
        with self._held(recording):
            yield recording

    def _known(self, uid: str) -> Recording | None:
        recording = self._recordings.get(uid)
        if recording is None or not recording.usable:
            return None
        self._recordings.move_to_end(uid)
        return recording

    @contextlib.contextmanager
    def _held(self, recording: Recording) -> Iterator[None]:
        recording.readers += 1
        try:
            yield
        finally:
            recording.readers -= 1
            recording.idle_since = time.monotonic()
            if not recording.readers:
                recording.rendered.clear()

    # Without readers

    def consider(self, run: PipelineRun) -> None:
        """The run is new, has changed, or became ours or somebody else's: record it if that is wanted."""
        if self._group is None:
            return
        wanted = self.wants(run)
        recording = self._known(run.uid)
        if recording is not None:
            recording.wanted = wanted
        elif wanted and not run.done and self.refusal is None:
            try:
                self._begin(run).wanted = True
            except RefusedError as error:
                with about(run=str(run.key)):
                    log.error("%s: its log is not recorded: %s", run.key, error)
        elif wanted and self.archive is not None and _ended_lately(run) and len(self._late) < _MOST:
            self._late[run.uid] = run
            self._late_came.set()
        if run.uid in self._late and not wanted:
            del self._late[run.uid]

    async def _record_late(self) -> None:
        """Runs that ended while nobody was looking, as long as their pods are there, a few at a time."""
        while True:
            if not self._late:
                self._late_came.clear()
                await self._late_came.wait()
                continue
            run = self._late.pop(next(iter(self._late)))
            with about(run=str(run.key)):
                await self._record_one_late(run)

    async def _record_one_late(self, run: PipelineRun) -> None:
        if self._known(run.uid) is not None or await self._is_archived(run) or self.refusal is not None:
            return
        try:
            recording = self._begin(run)
        except RefusedError as error:
            log.error("%s: its log is not recorded: %s", run.key, error)
            return
        recording.wanted = True
        if recording.task is not None:
            await asyncio.wait([recording.task])

    async def _is_archived(self, run: PipelineRun) -> bool:
        try:
            return self.archive is not None and await self.archive.find(run.key, uid=run.uid) is not None
        except ArchiveError as error:
            log.warning("%s: cannot tell whether its log is in the archive: %s", run.key, error)
            return False

    # Recording

    def _begin(self, run: PipelineRun) -> Recording:
        if self._group is None:
            raise RefusedError("shutting down")
        try:
            spool = self._spool()
        except OSError as error:
            raise RefusedError(f"there is no room for its log here: {error}") from None
        recorder = Recorder(self.cluster, self.runs, self.families, run, spool=spool)
        recording = Recording(spool, key=run.key, created=run.created, recorder=recorder)
        with about(run=str(run.key)):  # and all that comes of it
            recording.task = self._group.create_task(self._record(recording, recorder), name=f"record {run.key}")
        self._put(run.uid, recording)
        self.changed.set()
        return recording

    def _spool(self) -> Spool:
        return Spool(folder=self.room.folder, limit=self.room.per_run, budget=self._budget)

    def _put(self, uid: str, recording: Recording) -> None:
        old = self._recordings.pop(uid, None)
        if old is not None and not old.readers:
            old.spool.close()
        self._recordings[uid] = recording

    async def _record(self, recording: Recording, recorder: Recorder) -> None:
        """One recording; one that fails must not end the others."""
        spool = recording.spool
        try:
            await recorder.run()
            spool.finish(self._end(recorder))
        except* StuckError as errors:
            log.error("%s: no log: %s", recorder.key, errors.exceptions[0])
        except* Exception as errors:
            log.error("%s: recording its log failed", recorder.key, exc_info=errors)
        finally:
            spool.stop()
        if spool.whole and self.archive is not None and (recording.wanted or not recorder.lost):
            await self._keep(self.archive, recorder.current()[0], spool)

    def _end(self, recorder: Recorder) -> End:
        """The verdict, and what is kept for the run's page."""
        run, _ = recorder.current()
        summary = recorder.summary()
        service, origins = self.describe(run)
        summary = msgspec.structs.replace(summary, service=service, origins=origins)
        what, condition = Outcome(summary.state), run.condition
        verdict = _VERDICTS.get(what, "Unknown")
        if condition is None or what is Outcome.DELETED:
            reason = what.value.capitalize()
            return End(verdict, summary.sentence, summary.sentence, reason, "Unknown", summary=summary)
        return End(verdict, summary.sentence, condition.message, condition.reason, condition.status, summary=summary)

    # Archive

    async def _keep(self, archive: Archive, run: PipelineRun, spool: Spool) -> None:
        try:
            await self._keep_in_the_end(archive, run, spool)
        except Exception:
            self.not_kept += 1
            log.exception("%s: archiving its log failed", run.key)

    async def _keep_in_the_end(self, archive: Archive, run: PipelineRun, spool: Spool) -> None:
        for pause in (*_KEEP_TRIES, None):
            try:
                async with self._transfers:
                    await archive.keep(Kept(run.namespace, run.name, run.uid, run.created), spool)
            except ArchiveError as error:
                self.problem = self.problem or (str(error), time.time())
                self.changed.set()
                if pause is None or spool.closed:
                    self.not_kept += 1
                    log.error("%s: its log could not be archived: %s", run.key, error)
                    return
                log.warning("%s: archiving its log failed, trying again in %g s: %s", run.key, pause, error)
                await asyncio.sleep(pause)
            else:
                self.problem = None
                self.kept += 1
                self.changed.set()
                return

    async def _from_archive(self, key: Key, *, uid: str | None = None) -> Recording | None:
        if self.archive is None:
            return None
        try:
            async with self._transfers:
                entry = await self.archive.find(key, uid=uid)
                return None if entry is None else self._known(entry.uid) or await self._open(self.archive, entry)
        except ArchiveError as error:
            log.warning("%s: its log cannot be had from the archive: %s", key, error)
            return None

    async def _open(self, archive: Archive, entry: Entry) -> Recording:
        spool = self._spool()
        try:
            await archive.open(entry, spool)
        except BaseException:
            spool.close()
            raise
        recording = Recording(spool, key=Key(entry.namespace, entry.name), created=entry.created, recorder=None)
        self._put(entry.uid, recording)
        return recording

    # Room

    def _make_room(self, size: int) -> None:
        """Finished recordings that nobody reads make way, those first that were not read for longest."""
        wanted = self._budget.used - size
        for uid, recording in list(self._recordings.items()):
            if self._budget.used <= wanted:
                return
            if self._is_idle(recording):
                self._forget(uid)

    def _is_idle(self, recording: Recording) -> bool:
        return not recording.readers and (recording.task is None or recording.task.done())

    def _forget(self, uid: str) -> None:
        self._recordings.pop(uid).spool.close()

    def _tidy(self) -> None:
        """End recordings that nobody wants, forget old finished ones."""
        finished = 0
        for uid, recording in reversed(list(self._recordings.items())):
            if self._is_idle(recording):
                finished += 1
                if finished > _KEPT or recording.spool.end_of_run is None:
                    self._forget(uid)
            elif recording.at_work and not (recording.readers or recording.wanted):
                recording.give_up(after=self.linger)


def _ended_lately(run: PipelineRun) -> bool:
    completed = parse_time(run.completed)
    return completed is not None and datetime.now(UTC) - completed < _LATE
