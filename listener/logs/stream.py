"""A run as one stream of bytes, for one reader: waits for the run, its log as it is printed, a verdict at the end.

Every line of a step carries its prefix ``[task : step] ``; every other line is ours and begins with ``# ``, so that no step can fake
a verdict. Payload bytes are passed on as they are. The stream ends in one of two ways: normally, and then its last line was
the verdict; or with ``CutError``, and then the reader must not be told that this was the end.

Not promised yet: reading from an offset, time stamps, an archive that outlives the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from listener.cluster.client import Cluster, ClusterError
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.outcome import outcome, sentence
from listener.cluster.runs import Runs
from listener.logs.recorder import COMMENT, Recorder, StuckError
from listener.logs.spool import Frame, Spool
from notifiers.base import Outcome

log = logging.getLogger(__name__)

KEEP_ALIVE: Final = 15.0  # seconds of silence until a comment line is sent
_LINGER: Final = 60.0  # seconds that a recording without readers goes on
_KEPT: Final = 64  # finished recordings kept for later readers
_MAX_RECORDINGS: Final = 500
_ESCAPES: Final = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
# tkn's palette: one colour per task, in turn.
_PALETTE: Final = (b"\x1b[91m", b"\x1b[92m", b"\x1b[93m", b"\x1b[94m", b"\x1b[95m", b"\x1b[96m")
_VERDICTS: Final = {
    Outcome.SUCCEEDED: "Succeeded",
    Outcome.FAILED: "Failed",
    Outcome.TIMED_OUT: "Failed",
    Outcome.CANCELLED: "Cancelled",
    Outcome.BROKEN: "Failed",
    Outcome.DELETED: "Deleted",
}


class CutError(Exception):
    """The stream cannot go on and there is no verdict: the reader must see a broken connection, not an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a reader wants it."""

    colour: str = "auto"  #: auto: bytes as printed; always: coloured prefixes too; never: escapes stripped
    task: str | None = None  #: only this task's lines
    step: str | None = None


@dataclass(slots=True)
class _Recording:
    recorder: Recorder
    task: asyncio.Task[None]
    readers: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class Logs:
    """All recordings there are. ``run()`` owns their tasks."""

    def __init__(
        self,
        cluster: Cluster,
        runs: Runs,
        *,
        read_task_runs: Callable[[PipelineRun], Awaitable[list[TaskRun]]],
        folder: Path | None = None,
        keep_alive: float = KEEP_ALIVE,
    ) -> None:
        """``folder``: where spools go, None for the system's temporary folder; ``keep_alive``: seconds."""
        self._cluster, self._runs, self._read_task_runs = cluster, runs, read_task_runs
        self._folder, self._keep_alive = folder, keep_alive
        self._recordings: OrderedDict[str, _Recording] = OrderedDict()  # by run UID
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the recordings until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                while True:
                    await asyncio.sleep(_LINGER / 4)
                    self._tidy()
        finally:
            self._group = None
            for recording in self._recordings.values():
                recording.recorder.spool.close()

    def refusal(self) -> str | None:
        """Why no further reader can be served right now, or None."""
        if self._group is None:
            return "shutting down"
        if sum(1 for recording in self._recordings.values() if not recording.task.done()) >= _MAX_RECORDINGS:
            return f"{_MAX_RECORDINGS} logs are being followed already; try again later"
        return None

    async def stream(
        self, key: Key, *, wait: float = 60.0, colour: str = "auto", task: str | None = None, step: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The run's log, live; ends normally only after the verdict. Raises ``CutError`` where none can be given.

        ``wait``: seconds for a run that does not exist yet; ``colour``: auto leaves the bytes as printed, always colours the
        prefixes too, never strips escapes; ``task`` and ``step`` leave out everything else.
        """
        view = View(colour=colour, task=task, step=step)
        run: PipelineRun | None = None
        async for line_or_run in self._wait_for(key, wait):
            if isinstance(line_or_run, bytes):
                yield line_or_run
            else:
                run = line_or_run
        if run is None:
            yield _comment(f"verdict: NotFound (PipelineRun {key} did not appear within {wait:g} s)")
            return
        recording = self._recording_of(run)
        recording.readers += 1
        try:
            async for piece in self._read(recording.recorder, view):
                yield piece
            if not recording.recorder.complete:
                raise CutError("the recording broke off")
            yield await self._verdict(recording.recorder)
        finally:
            recording.readers -= 1
            recording.idle_since = time.monotonic()

    async def _wait_for(self, key: Key, seconds: float) -> AsyncIterator[bytes | PipelineRun]:
        """Comment lines until the run exists, then the run; nothing more when it does not come."""
        loop = asyncio.get_running_loop()
        async for line in self._until_ready(key.namespace, loop.time() + seconds):
            yield line
        deadline = loop.time() + seconds
        with self._runs.watching(key) as changed:
            told = False
            while (run := self._runs.get(key)) is None:
                remaining = deadline - loop.time()
                if remaining <= 0:
                    return
                if told:
                    yield _comment(f"still waiting for PipelineRun {key}, {remaining:.0f} s left")
                else:
                    yield _comment(f"waiting for PipelineRun {key} to be created, up to {seconds:g} s")
                    told = True
                changed.clear()
                try:
                    async with asyncio.timeout(min(remaining, self._keep_alive)):
                        await changed.wait()
                except TimeoutError:
                    continue
            yield run

    async def _until_ready(self, namespace: str, deadline: float) -> AsyncIterator[bytes]:
        """Comment lines while it is not known yet which runs there are. Raises ``CutError`` when that takes too long."""
        loop = asyncio.get_running_loop()
        while not self._runs.ready_in(namespace):
            if loop.time() >= deadline:
                raise CutError("the cluster cannot be asked which runs there are")
            yield _comment("waiting for the cluster to say which PipelineRuns there are")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._keep_alive, deadline - loop.time())):
                    await self._runs.synced(namespace)

    def _recording_of(self, run: PipelineRun) -> _Recording:
        recording = self._recordings.get(run.uid)
        if recording is not None and not (recording.task.done() and not recording.recorder.complete):
            self._recordings.move_to_end(run.uid)
            return recording
        if self._group is None:
            raise CutError("shutting down")
        recorder = Recorder(self._cluster, self._runs, run, spool=Spool(folder=self._folder))
        task = self._group.create_task(_guarded(recorder), name=f"record {run.key}")
        self._recordings[run.uid] = recording = _Recording(recorder, task)
        return recording

    async def _read(self, recorder: Recorder, view: View) -> AsyncIterator[bytes]:
        spool, offset = recorder.spool, 0
        loop = asyncio.get_running_loop()
        spoke = loop.time()
        while True:
            frames, offset = spool.read(offset)
            if piece := b"".join(render(frame, recorder, view) for frame in frames):
                spoke = loop.time()
                yield piece
            if frames:
                continue
            if spool.ended:
                break
            if not await spool.grown(offset, timeout=max(0.0, spoke + self._keep_alive - loop.time())):
                spoke = loop.time()
                yield _comment(recorder.progress())
        if spool.truncated:
            yield _comment("the log is longer than this service keeps; the rest is missing here")

    async def _verdict(self, recorder: Recorder) -> bytes:
        run, deleted = recorder.current()
        what = Outcome.DELETED if deleted and not run.done else outcome(run)
        task_runs: list[TaskRun] = []
        if not deleted and what is not Outcome.SUCCEEDED:
            try:
                task_runs = await self._read_task_runs(run)
            except ClusterError as error:
                log.warning("%s: verdict without the step at fault: %s", run.key, error)
        return _comment(f"verdict: {_VERDICTS[what]} ({sentence(run, task_runs, deleted=deleted)})")

    def _tidy(self) -> None:
        """End recordings that nobody reads, forget old finished ones."""
        now = time.monotonic()
        finished = 0
        for uid, recording in reversed(list(self._recordings.items())):
            if recording.readers:
                continue
            if not recording.task.done():
                if now - recording.idle_since > _LINGER:
                    recording.task.cancel()
            else:
                finished += 1
                if finished > _KEPT or not recording.recorder.complete:
                    recording.recorder.spool.close()
                    del self._recordings[uid]


async def _guarded(recorder: Recorder) -> None:
    """One recording that fails must not end the others."""
    try:
        await recorder.run()
    except* StuckError as errors:
        log.error("%s: no log: %s", recorder.key, errors.exceptions[0])
    except* Exception as errors:
        log.error("%s: recording its log failed", recorder.key, exc_info=errors)


def render(frame: Frame, recorder: Recorder, view: View) -> bytes:
    """A frame as this reader wants it: each line with its prefix, the payload untouched."""
    if frame.source == COMMENT:
        return frame.data if view.task is None else b""
    source = recorder.sources[frame.source]
    if view.task not in (None, source.task) or view.step not in (None, source.step):
        return b""
    data, prefix = frame.data, source.prefix
    if view.colour == "never":
        data = _ESCAPES.sub(b"", data)
    elif view.colour == "always":
        prefix = _PALETTE[sum(source.task.encode()) % len(_PALETTE)] + prefix.rstrip() + b"\x1b[0m "
    return prefixed(data, prefix)


def prefixed(data: bytes, prefix: bytes) -> bytes:
    """``prefix`` before every line of ``data`` and a newline at its end; no loop over lines, no decoding."""
    body = data.removesuffix(b"\n")
    return prefix + body.replace(b"\n", b"\n" + prefix) + b"\n"


def _comment(text: str) -> bytes:
    return f"# {' '.join(text.split())}\n".encode()
