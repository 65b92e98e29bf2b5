"""One run's log, in the making or finished, and where its spool may go. What becomes of it is decided in ``recordings``."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from listener.cluster.names import Key
from listener.cluster.outcome import sentence
from listener.logs.recorder import Recorder
from listener.logs.spool import DEFAULT_LIMIT, End, Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where spools go, and how large they may get."""

    folder: Path | None = None  #: None: the system's temporary folder
    per_run: int = DEFAULT_LIMIT  #: bytes
    in_all: int = 4 * DEFAULT_LIMIT  #: bytes of all spools together

    @property
    def free(self) -> int | None:
        """Bytes that the disk has left; None where it does not say."""
        try:
            return shutil.disk_usage(self.folder or tempfile.gettempdir()).free
        except OSError:
            return None


class Recording:
    """One run's log, in the making or finished."""

    def __init__(self, spool: Spool, *, key: Key, created: str, recorder: Recorder | None) -> None:
        """``recorder``: None for what came from the archive."""
        self.spool, self.key, self.created = spool, key, created
        self.readers = 0
        self.wanted = False  #: the configuration wants it recorded, with or without readers
        self.idle_since = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self.rendered: OrderedDict[object, tuple[bytes, int, int]] = (
            OrderedDict()
        )  #: what several readers are shown, newest last
        self._recorder = recorder

    @property
    def at_work(self) -> bool:
        return self.task is not None and not self.spool.ended

    @property
    def usable(self) -> bool:
        """Readers of this one get a verdict, now or later."""
        return not self.spool.closed and (self.at_work or self.spool.end_of_run is not None)

    def give_up(self, *, after: float) -> None:
        """End it if nobody has read it for ``after`` seconds."""
        if self.task is not None and time.monotonic() - self.idle_since > after:
            self.task.cancel()

    def progress(self) -> str:
        """What is being waited for."""
        return self._recorder.progress() if self._recorder is not None else ""

    @property
    def begun(self) -> bool:
        """What was there when the recording began is being read."""
        return self._recorder is None or self._recorder.begun

    def now(self) -> End:
        """What to say of a run that is not over."""
        if self._recorder is None:
            return End("Unknown", "")
        run, _ = self._recorder.current()
        return End("Running", sentence(run), reason=run.condition.reason if run.condition else "")


class RefusedError(Exception):
    """No recording can be begun now."""
