"""What may be told of a state's way to its commit, for whoever draws traces of it (``listener.tracing``). Here it is only said when.

All of it is quick and raises nothing. Where nobody asks for traces there are none of these objects, and a lane has ``None``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from listener.cluster.objects import PipelineRun
from listener.reporting.ledger import LaneKey


class Cause(Protocol):
    """A change of a run, which may become a trace later."""


class LaneTrace(Protocol):
    """One state on its way to one place."""

    word: str  #: the host's word for it

    def attempt(self, number: int) -> AbstractContextManager[None]:
        """A delivery is tried within; what waited before it has waited until now."""

    def told(self, result: str, error: Exception | None) -> None:
        """How the attempt ended; ``end`` follows if it was the last one."""

    def end(self, result: str) -> None:
        """Nothing more will be tried for this state."""


class Traces(Protocol):
    """Draws traces."""

    def change(self, run: PipelineRun) -> AbstractContextManager[None]:
        """The watch told of ``run``; what is begun within comes of that."""

    def routed(self) -> None:
        """It is known where the run of this change leads."""

    def cause(self) -> Cause | None:
        """The change that is being looked at, to begin something later."""

    def begin(self, run: PipelineRun, key: LaneKey, word: str, *, cause: Cause | None) -> LaneTrace:
        """``run`` wants ``word`` shown on ``key``, because of ``cause`` or of this change."""

    def here(self) -> LaneTrace | None:
        """The delivery that is being made, or has just been."""

    def noted(self, whose: Sequence[LaneTrace], *, since: int, error: Exception | None) -> None:
        """What was delivered has been written on the run, or could not be; ``since``: ``time.time_ns()``."""
