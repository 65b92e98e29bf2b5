"""How the runs before ended on each branch: what makes a failure news ("broken") and a success as well ("fixed").

Known are the runs that are in the cluster, and those that were while this process ran; what was pruned before is forgotten, so the first
failure that is seen on a branch is news. Runs that were cancelled or deleted say nothing about the code and do not count. In memory, bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from listener.cluster.objects import PipelineRun
from listener.reporting.target import Target
from notifiers.reports import Outcome

_BRANCHES: Final = 20_000
_RUNS: Final = 32  # of each branch, the youngest


class Branch(NamedTuple):
    """Whose runs follow one another: the same pipeline of the same service on the same branch."""

    service: str
    host: str
    repository: str
    ref: str  #: "" where runs do not say
    context: str

    @classmethod
    def of(cls, run: PipelineRun, target: Target) -> Branch:
        """``target``: the first one of ``run``."""
        return cls(
            target.service, target.host, target.repository, target.ref or "", f"{run.namespace} {target.context}"
        )


class History:
    """What is known of each branch."""

    def __init__(self) -> None:
        self._branches: OrderedDict[Branch, dict[str, tuple[tuple[str, str], Outcome]]] = OrderedDict()

    def note(self, branch: Branch, run: PipelineRun, what: Outcome) -> None:
        """``run`` is ``what``. May be said again and again."""
        if not (what is Outcome.SUCCEEDED or what.failure):
            return
        runs = self._branches.setdefault(branch, {})
        self._branches.move_to_end(branch)
        runs[run.uid] = (run.order, what)
        if len(runs) > _RUNS:
            del runs[min(runs, key=lambda uid: runs[uid][0])]
        if len(self._branches) > _BRANCHES:
            self._branches.popitem(last=False)

    def before(self, branch: Branch, run: PipelineRun) -> Outcome | None:
        """How the youngest run that is older than ``run`` and has ended did so; None where none is known."""
        older = [(order, what) for order, what in self._branches.get(branch, {}).values() if order < run.order]
        return max(older, key=lambda entry: entry[0])[1] if older else None
