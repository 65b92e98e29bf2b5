"""From changed runs to lanes: the one place where routing, lanes and ledger meet.

Called by the reflector for every change of a PipelineRun. It decides nothing itself: ``routing`` says where a run leads,
``lanes`` what is newest there, ``ledger`` remembers what arrived. It knows for each run which lanes it leads to, so that a run
that is deleted, or leads elsewhere since its commit became known, is withdrawn from the old ones.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

from listener.cluster.objects import PipelineRun
from listener.cluster.reflector import Change
from listener.reporting import ledger as ledgers
from listener.reporting.lanes import Delivery, Lanes, Permit
from listener.reporting.ledger import LaneKey, Ledger, Record
from listener.reporting.pacing import Pace
from listener.reporting.routing import Router, Target, Unroutable
from listener.reporting.status import ReadTaskRuns, commit_status
from notifiers.base import CommitStatus, Notifier

log = logging.getLogger(__name__)


class Reporter:
    """Reports runs to Git hosts. ``run_changed`` is called for every change; ``lanes.run()`` and ``ledger.run()`` do the work."""

    def __init__(
        self,
        *,
        router: Router,
        notifiers: Mapping[str, Notifier],
        ledger: Ledger,
        read_task_runs: ReadTaskRuns,
        workers: Mapping[str, int] | None = None,
        pace: Pace | None = None,
        permit: Permit | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.ledger = ledger
        self.lanes = Lanes(
            notifiers, compose=self._compose, on_delivery=self._delivered, workers=workers, pace=pace, permit=permit
        )
        self.unroutable: dict[str, Unroutable] = {}  #: by UID: runs that a service claims but that lead nowhere
        self.outcomes: Counter[tuple[str, str]] = Counter()  #: deliveries by (host, result)
        self._router, self._read_task_runs, self._on_delivery = router, read_task_runs, on_delivery
        self._leads_to: dict[str, tuple[LaneKey, ...]] = {}  # by run UID

    def run_changed(self, change: Change[PipelineRun]) -> None:
        """Take a run's newest state into account. Quick, and raises nothing for whatever a run contains."""
        run = change.object
        if change.deleted:
            self._gone(run)
            return
        routed = self._router.route(run)
        if isinstance(routed, Unroutable):
            self._complain(run, routed)
            routed = ()
        else:
            self.unroutable.pop(run.uid, None)
        lanes = {target.lane: target for target in routed}
        for key in self._leads_to.get(run.uid, ()):
            if key not in lanes:
                self.lanes.withdraw(key, run)
        if not lanes:
            self._leads_to.pop(run.uid, None)
            return
        self._leads_to[run.uid] = tuple(lanes)
        records = ledgers.read(run)
        for key, target in lanes.items():
            self.lanes.offer(key, target, run, known=records.get(key.digest) if records else None)

    def _gone(self, run: PipelineRun) -> None:
        self.unroutable.pop(run.uid, None)
        for key in self._leads_to.pop(run.uid, ()):
            self.lanes.withdraw(key, run)

    def _complain(self, run: PipelineRun, why: Unroutable) -> None:
        if self.unroutable.get(run.uid) != why:
            self.unroutable[run.uid] = why
            log.info("%s: not reported, service %s: %s", run.key, why.service, why.reason)

    async def _compose(self, run: PipelineRun, target: Target, deleted: bool) -> CommitStatus:
        return await commit_status(run, target, deleted=deleted, read_task_runs=self._read_task_runs)

    def _delivered(self, delivery: Delivery) -> None:
        host, run = delivery.lane.host, delivery.run
        self.outcomes[host, delivery.result] += 1
        if delivery.result in ("delivered", "already_there"):
            log.info(
                "%s: %s shows %s on %s@%s",
                run.key,
                host,
                delivery.state,
                delivery.lane.repository,
                delivery.lane.sha[:8],
            )
            self.ledger.note(
                run, delivery.lane, Record(delivery.state, delivery.memo), final=delivery.final, home=delivery.home
            )
        elif delivery.result == "permanent":
            log.error("%s: %s refused %s for good: %s", run.key, host, delivery.state, delivery.error)
        else:
            log.warning("%s: %s did not take %s, will try again: %s", run.key, host, delivery.state, delivery.error)
        if self._on_delivery is not None:
            self._on_delivery(delivery)
