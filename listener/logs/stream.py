"""A run as one stream of bytes, for one reader: waits for the run, its log as it is printed, a verdict at the end.

Every line of a step carries its prefix ``[task : step] ``; every other line is ours and begins with ``# ``, so that no step can fake
a verdict. Payload bytes are passed on as they are. The stream ends in one of two ways: normally, and then its last line was
the verdict; or with ``CutError``, and then the reader must not be told that this was the end.

Not promised: that an offset (``start``) means the same on another replica while a run with parallel tasks goes on, for their lines may
come in another order there. Of a finished run that was archived it does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun
from listener.cluster.runs import Runs
from listener.logs.blocks import START, Block, Place, block, tail_of
from listener.logs.recording import Recording, RefusedError
from listener.logs.recordings import Recordings
from listener.logs.spool import End
from listener.logs.view import View, passing, verdict

KEEP_ALIVE: Final = 15.0  # seconds of silence until a line passes the time
_QUIET: Final = 1.0  # seconds without a byte after which what was printed so far is taken to be there
_CATCH_UP: Final = 15.0  # seconds for that, at most
_WAIT: Final = 60.0  # seconds for a run that does not exist yet, where nothing is said


class CutError(Exception):
    """The stream cannot go on and there is no verdict: the reader must see a broken connection, not an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a reader asks for, beside which run and how it should look."""

    uid: str | None = None  #: only this run, not another one of its name
    wait: float | None = None  #: seconds for a run that does not exist yet; None: a minute, or none if it is archived
    follow: bool = True  #: until the run's end; else what there is now
    tail: int | None = None  #: only so many of the last lines that are there now, then what follows
    start: int = 0  #: bytes of this stream, without passing lines, that the reader has
    by_task: bool = False  #: task after task, in the order in which they began
    exit_status: bool = False  #: end properly only for a run that succeeded


class _Passing(str):
    """What is being waited for."""

    __slots__ = ()


_Piece = Block | _Passing | End


class Logs:
    """All logs there are, for readers."""

    def __init__(self, runs: Runs, recordings: Recordings, *, keep_alive: float = KEEP_ALIVE) -> None:
        """``keep_alive``: seconds."""
        self._runs, self._recordings, self._keep_alive = runs, recordings, keep_alive

    def refusal(self) -> str | None:
        """Why no further reader can be served right now, or None."""
        return self._recordings.refusal

    async def past(self, key: Key) -> End | None:
        """How a run ended that is no longer in the cluster, from its recording or the archive; None where nothing is known."""
        async with self._recordings.reading_past(key) as recording:
            return recording.spool.end_of_run if recording is not None else None

    async def stream(
        self,
        key: Key,
        *,
        uid: str | None = None,
        wait: float | None = None,
        follow: bool = True,
        tail: int | None = None,
        start: int = 0,
        by_task: bool = False,
        exit_status: bool = False,
        colour: str = "auto",
        task: str | None = None,
        step: str | None = None,
        timestamps: bool = False,
        ndjson: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """The run's log, as ``Query`` and ``View`` say. Ends normally only after the verdict; raises ``CutError`` where none can be
        given, and with ``exit_status`` after a verdict other than Succeeded."""
        query = Query(
            uid=uid, wait=wait, follow=follow, tail=tail, start=start, by_task=by_task, exit_status=exit_status
        )
        view = View(colour=colour, task=task, step=step, timestamps=timestamps, ndjson=ndjson)
        end: End | None = None
        try:
            async with contextlib.aclosing(self._pieces(key, query, view)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, End):
                        end = piece
                    elif isinstance(piece, _Passing):
                        yield passing(piece, view)
                    elif data := piece.after(query.start):
                        yield data
        except (CutError, RefusedError) as error:  # whoever reads this learns why, and not only whoever reads our log
            yield passing(f"interrupted: {error}", view)
            raise
        if end is None:
            raise CutError("the recording broke off")
        yield verdict(end, view)
        if query.exit_status and end.verdict != "Succeeded":
            raise CutError(f"asked to end properly only for success, and the verdict is {end.verdict}")

    # Which run

    async def _pieces(self, key: Key, query: Query, view: View) -> AsyncGenerator[_Piece, None]:
        """The log in blocks, what is waited for between them, and last the end; no end where none is known."""
        wait = query.wait if query.wait is not None else _WAIT
        async for what in self._until_ready(key.namespace, wait):
            yield what
        if self._run(key, query) is None and (query.wait is None or not query.follow):
            async with contextlib.aclosing(self._read_past(key, query, view)) as pieces:
                async for piece in pieces:
                    yield piece
                    if isinstance(piece, End):
                        return
        if query.follow and query.uid is None:
            async for what in self._until_there(key, query, wait):
                yield what
        if (run := self._run(key, query)) is not None:
            async with self._recordings.reading(run) as recording:
                async for piece in self._read(recording, query, view):
                    yield piece
            return
        async with contextlib.aclosing(self._read_past(key, query, view)) as pieces:
            async for piece in pieces:
                yield piece
                if isinstance(piece, End):
                    return
        within = f" within {wait:g} s" if query.follow else ""
        gone = f"PipelineRun {key} is gone, and its log with it"
        yield End("NotFound", gone if query.uid is not None else f"PipelineRun {key} did not appear{within}")

    async def _read_past(self, key: Key, query: Query, view: View) -> AsyncGenerator[_Piece, None]:
        """A run that is no longer in the cluster; nothing where nobody recorded it."""
        async with self._recordings.reading_past(key, uid=query.uid) as recording:
            if recording is not None:
                async for piece in self._read(recording, query, view):
                    yield piece

    async def _until_ready(self, namespace: str, wait: float) -> AsyncIterator[_Passing]:
        """While it is not known yet which runs there are. Raises ``CutError`` when that takes longer than ``wait`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while not self._runs.ready_in(namespace):
            if loop.time() >= deadline:
                raise CutError("the cluster cannot be asked which runs there are")
            yield _Passing("waiting for the cluster to say which PipelineRuns there are")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._keep_alive, deadline - loop.time())):
                    await self._runs.synced(namespace)

    def _run(self, key: Key, query: Query) -> PipelineRun | None:
        run = self._runs.get(key)
        return run if run is not None and query.uid in (None, run.uid) else None

    async def _until_there(self, key: Key, query: Query, wait: float) -> AsyncIterator[_Passing]:
        """Until the run exists, or ``wait`` seconds are over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        told = False
        with self._runs.watching(key) as changed:
            while self._run(key, query) is None and (remaining := deadline - loop.time()) > 0:
                if told:
                    yield _Passing(f"still waiting for PipelineRun {key}, {remaining:.0f} s left")
                else:
                    yield _Passing(f"waiting for PipelineRun {key} to be created, up to {wait:g} s")
                    told = True
                changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(remaining, self._keep_alive)):
                        await changed.wait()

    # Its log

    async def _read(self, recording: Recording, query: Query, view: View) -> AsyncGenerator[_Piece, None]:
        place, leave_out = START, 0
        if not query.follow or query.tail is not None:
            await self._caught_up(recording)
        if query.tail is not None:
            place, leave_out = await tail_of(recording, view, query.tail)
        by_task = self._task_by_task(recording, query, view)
        pieces = by_task if query.by_task else self._lines(recording, query, view, place=place)
        async for piece in pieces:
            if leave_out and isinstance(piece, Block):
                yield piece.without_lines(leave_out)
                leave_out = 0
            else:
                yield piece
        if recording.spool.end_of_run is not None:
            yield recording.spool.end_of_run
        elif not query.follow and recording.usable:
            yield recording.now()

    async def _caught_up(self, recording: Recording) -> None:
        """Wait until what was printed so far is there: until nothing has come for a moment."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CATCH_UP
        while not recording.spool.ended and loop.time() < deadline:
            size = recording.spool.size
            if not await recording.spool.grown(size, timeout=_QUIET) and recording.begun:
                return

    async def _lines(
        self, recording: Recording, query: Query, view: View, *, place: Place = START, task: str | None = None
    ) -> AsyncGenerator[Block | _Passing, None]:
        """As they came; with ``task`` only its lines, until it is over."""
        spool, loop = recording.spool, asyncio.get_running_loop()
        spoke = loop.time()
        while True:
            found = block(recording, view, place, task=task)
            if found.ended != place:
                place = found.ended
                if found.data:
                    spoke = loop.time()
                    yield found
                else:
                    await asyncio.sleep(0)  # nothing of it is wanted here; others want to go on
            elif spool.ended or not query.follow or (task is not None and task in spool.over):
                return
            elif not await spool.grown(place.spool, timeout=max(0.0, spoke + self._keep_alive - loop.time())):
                spoke = loop.time()
                yield _Passing(recording.progress())

    async def _task_by_task(
        self, recording: Recording, query: Query, view: View
    ) -> AsyncGenerator[Block | _Passing, None]:
        """Each task's lines together, in the order in which the tasks began; what belongs to no task last."""
        spool, loop = recording.spool, asyncio.get_running_loop()
        done = {""}
        text, spoke, last = 0, loop.time(), False
        while not last:
            seen = spool.size
            task = next((source.task for source in spool.sources if source.task not in done), None)
            if task is None and (spool.ended or not query.follow):
                task, last = "", True
            elif task is None:
                if not await spool.grown(seen, timeout=max(0.0, spoke + self._keep_alive - loop.time())):
                    spoke = loop.time()
                    yield _Passing(recording.progress())
                continue
            done.add(task)
            async for piece in self._lines(recording, query, view, place=Place(0, text), task=task):
                spoke = loop.time()
                if isinstance(piece, Block):
                    text = piece.ended.text
                yield piece
