"""From changed runs to lanes: the one place where routing, lanes, ledger, finalizers and Events meet.

Called by the reflector for every change of a PipelineRun. It decides nothing itself: ``routing`` says where a run leads,
``lanes`` what is newest there, ``ledger`` remembers what arrived. Where a run led before is asked anew of its previous state, so that
a run that is deleted, or leads elsewhere since its commit became known, is withdrawn from the old lanes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from listener.cluster.client import Cluster
from listener.cluster.events import Events
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun
from listener.cluster.reflector import Change
from listener.log_context import about
from listener.reporting import ledger as ledgers
from listener.reporting.aspects import REPORTS, is_history, speaks, task_target
from listener.reporting.compose import Composer, ReadLogTail, no_log, task_outcome
from listener.reporting.guarantee import Guarantee
from listener.reporting.history import Branch, History
from listener.reporting.lane import Delivery, Lane, Permit
from listener.reporting.lanes import Lanes
from listener.reporting.ledger import CHECK, OVERRULED, STATUS, TASK, TASK_CHECK, LaneKey, Ledger, Record
from listener.reporting.pacing import Pace
from listener.reporting.routing import Router, Unroutable
from listener.reporting.status import ReadTaskRuns, reported_outcome
from listener.reporting.target import Target
from listener.reporting.tasks import Tasks
from listener.reporting.traces import Traces
from notifiers.base import Notifier, Outcome, clock, for_ever

log = logging.getLogger(__name__)

_NOWHERE: Final[Mapping[LaneKey, Target]] = {}
_MANY: Final = 5  # failures in a row after which a run tells that its status is late
_RUNS_PER_TURN: Final = 256  # looked at before other tasks get the loop


class Reporter:
    """Reports runs to Git hosts. ``run_changed`` is called for every change; ``run`` and ``lanes.run`` do the work."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        router: Router,
        notifiers: Mapping[str, Notifier],
        read_task_runs: ReadTaskRuns,
        read_log_tail: ReadLogTail = no_log,
        workers: Mapping[str, int] | None = None,
        pace: Pace | None = None,
        permit: Permit | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        traces: Traces | None = None,
    ) -> None:
        """``workers``, ``pace``, ``permit``, ``traces``: see ``Lanes``; ``on_delivery`` hears of each attempt's end."""
        self._permit: Permit = permit or (lambda _: for_ever())
        self._traces = traces
        self.ledger = Ledger(cluster, on_settled=self._noted, traces=traces)
        self.guarantee = Guarantee(cluster, permit=self._permit)
        self.events = Events(cluster)
        self.tasks = Tasks(read_task_runs, on_read=self._tasks_read)
        self.history = History()
        self.composer = Composer(
            read_task_runs=read_task_runs,
            read_log_tail=read_log_tail,
            notifier_of=lambda host: self._notifiers.get(host),
            first_target=lambda run: next(iter(self._targets(run).values()), None),
            tasks=self.tasks,
            history=self.history,
        )
        self._notifiers = notifiers
        self._history: set[str] = set()  # UIDs of runs that had ended long before they were seen
        self._of_tasks: dict[str, dict[LaneKey, Target]] = {}  # by run UID: the lanes of its tasks
        self.lanes = Lanes(
            notifiers,
            compose=self.composer.compose,
            on_delivery=self._delivered,
            on_overruled=self._overruled,
            retarget=self._target,
            judge=self._judge,
            workers=workers,
            pace=pace,
            permit=self._permit,
            traces=traces,
        )
        self.unroutable: dict[str, Unroutable] = {}  #: by UID: runs that a service claims but that lead nowhere
        self._untold: dict[
            str, PipelineRun
        ] = {}  # those of them whose Event is another replica's to write, or nobody's yet
        self.seen = 0  #: runs seen, each once
        self._router, self._on_delivery = router, on_delivery
        self._guarded: dict[str, PipelineRun] = {}  # by run UID: those whose finalizer is our business
        self._guaranteeing: set[str] = set()  # their UIDs, where the service guarantees delivery
        self._until_noted: dict[
            Key, set[str]
        ] = {}  # overruled runs whose note is being written: UIDs of those that overruled them

    async def run(self) -> None:
        """Note, guarantee and tell until cancelled; ``lanes.run()`` is apart, for it starts later."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ledger.run())
            group.create_task(self.guarantee.run())
            group.create_task(self.events.run())
            group.create_task(self.tasks.run())

    async def flush(self) -> None:
        """Wait until what was delivered is noted and told; while ``run`` still runs."""
        await self.ledger.flush()
        await self.guarantee.flush()
        await self.events.flush()

    # What changes

    def run_changed(self, change: Change[PipelineRun]) -> None:
        """Take a run's newest state into account. Quick, and raises nothing for whatever a run contains."""
        if self._traces is None:
            self._changed(change)
            return
        with self._traces.change(change.object):
            self._changed(change)

    def _changed(self, change: Change[PipelineRun]) -> None:
        run, previous = change.object, change.previous
        before = self._targets(previous) if previous is not None else _NOWHERE
        if change.deleted:
            self._gone(run, before, unseen=change.unseen)
            return
        self.seen += previous is None
        if previous is None and self._router.tells_more and is_history(run, now=time.time()):
            self._history.add(run.uid)
        self._route(run, before)

    async def reconfigure(
        self,
        router: Router,
        notifiers: Mapping[str, Notifier],
        *,
        workers: Mapping[str, int],
        runs: Callable[[], Iterable[PipelineRun]],
    ) -> None:
        """Go on by another configuration: every run is looked at anew, and what was refused is tried again.

        Hosts whose notifier stays are not disturbed. When it returns, the old notifiers are no longer in use.
        """
        await self.lanes.retire(notifiers)
        self.lanes.employ(notifiers, workers)
        self._notifiers = notifiers
        if router.tells_more:
            self._history = {run.uid for run in runs() if is_history(run, now=time.time())}
        old, self._router = self._router, router  # in one step with the above: a run that changes now finds both new
        for number, run in enumerate(list(runs()), start=1):
            self._route(run, self._targets(run, old))
            if not number % _RUNS_PER_TURN:
                await asyncio.sleep(0)
        await self.lanes.reconsider(notifiers)

    async def shards_changed(self) -> None:
        """Other runs are ours than before."""
        await self.lanes.reconsider()
        for run in list(self._guarded.values()):
            self._guard(run)
        for run in list(self._untold.values()):
            self._tell_unroutable(run)

    async def all_known(self) -> None:
        """Every run has been seen: what is news, compared with the runs before, can be told only now."""
        if self._router.remembers:
            await self.lanes.reconsider()

    def _targets(self, run: PipelineRun, router: Router | None = None) -> Mapping[LaneKey, Target]:
        """Where a run leads, or may lead. Asked anew each time, for there are very many runs."""
        routed = (router or self._router).route(run)
        return _NOWHERE if isinstance(routed, Unroutable) else _lanes_of(routed)

    def _target(self, run: PipelineRun, key: LaneKey) -> Target | None:
        if key.aspect in (TASK, TASK_CHECK):
            return self._of_tasks.get(run.uid, {}).get(key)
        return self._targets(run).get(key)

    def _route(self, run: PipelineRun, before: Mapping[LaneKey, Target]) -> None:
        routed = self._router.route(run)
        if isinstance(routed, Unroutable):
            self._complain(run, routed)
            routed = ()
        else:
            self._is_routable(run.uid)
        lanes = _lanes_of(routed)
        if self._traces is not None:
            self._traces.routed()
        for key, target in before.items():
            if key not in lanes:
                self.lanes.withdraw(key, run, target)
        if routed:
            self._remember(run, routed[0])
            self._offer(run, routed)
        self._consider_tasks(run, routed)
        guaranteed = any(target.guaranteed for target in routed)
        if guaranteed or run.kept:
            self._guarded[run.uid] = run
            (self._guaranteeing.add if guaranteed else self._guaranteeing.discard)(run.uid)
            self._guard(run)
        elif run.uid in self._guarded:
            self._guarded[run.uid] = run
            self._guaranteeing.discard(run.uid)
            self._guard(run)  # takes back what is wished but not written yet
            self._unguard(run.uid)

    def _offer(self, run: PipelineRun, targets: Sequence[Target]) -> None:
        records, home = ledgers.read(run), targets[0].sha
        for target in targets:  # the fallbacks' turn is up to the lanes
            key = target.lane
            self.lanes.offer(key, target, run, known=records.get(key.digest) if records else None, home=home)

    def _gone(self, run: PipelineRun, before: Mapping[LaneKey, Target], *, unseen: bool) -> None:
        self._is_routable(run.uid)
        self._unguard(run.uid)
        # Who looks after a run knows how it ended, and takes the finalizer off only when that was said. What we know of one that
        # vanished unseen may be older than that.
        said = unseen and (run.kept or self._permit(_home(run, before)) <= clock())
        for key, target in (*before.items(), *self._of_tasks.pop(run.uid, {}).items()):
            self.lanes.withdraw(key, run, target, said=said)
        self.tasks.forget(run.uid)
        self._history.discard(run.uid)

    # What goes beyond the run's status

    def _remember(self, run: PipelineRun, first: Target) -> None:
        if first.policy.remembers:
            self.history.note(Branch.of(run, first), run, reported_outcome(run, deleted=False))

    def _judge(self, lane: Lane, what: Outcome) -> Outcome | None:
        """What a lane says that is no run's status, see ``Lanes``."""
        run, aspect = lane.run, lane.key.aspect
        if aspect == CHECK:
            return what
        target = lane.target or self._target(run, lane.key)
        if target is None or (lane.shown is None and run.uid in self._history):
            return None
        if target.task:
            return task_outcome(run, target, self.tasks.of(run.uid).get(target.task), deleted=lane.deleted)
        return what if speaks(target, what, lambda: self.composer.previous(run)) else None

    def _consider_tasks(self, run: PipelineRun, routed: Sequence[Target]) -> None:
        """Have the states of its tasks read, where they are reported, by us, and may have changed."""
        of_tasks = self._of_tasks.get(run.uid, {})
        wanted = [target for target in routed if target.policy.tasks and target.aspect in (STATUS, CHECK)]
        if not wanted:
            for key, target in of_tasks.items():
                self.lanes.withdraw(key, run, target)
            self._of_tasks.pop(run.uid, None)
            self.tasks.forget(run.uid)
            return
        if of_tasks:
            self._offer_tasks(run, of_tasks)
        settled = all(self._shown_before(run, target) for target in wanted) or run.uid in self._history
        if run.references and not (run.done and not of_tasks and settled) and self._is_ours(wanted[0].sha):
            self.tasks.look(run)

    def _is_ours(self, home: str) -> bool:
        return self._permit(home) > clock()

    def _shown_before(self, run: PipelineRun, target: Target) -> bool:
        """The ledger says that every task's state has arrived, before this process began."""
        records, notifier = ledgers.read(run), self._notifiers[target.host]
        lanes = [task_target(target, task, label=task).lane for task in {child.task for child in run.references}]
        found = [records.get(lane.digest) for lane in lanes]
        pending = {notifier.word(REPORTS[lane.aspect], Outcome.RUNNING) for lane in lanes}
        return all(record is not None and record.state not in pending for record in found)

    def _tasks_read(self, run: PipelineRun) -> None:
        targets = [target for target in self._targets(run).values() if target.policy.tasks]
        lanes = {}
        for target in targets:
            if target.aspect in (STATUS, CHECK):
                for task, state in self.tasks.of(run.uid).items():
                    found = task_target(target, task, label=state.label)
                    lanes[found.lane] = found
        self._of_tasks[run.uid] = lanes
        self._offer_tasks(run, lanes)
        if run.uid in self._guarded:
            self._guard(self._guarded[run.uid])

    def _offer_tasks(self, run: PipelineRun, lanes: Mapping[LaneKey, Target]) -> None:
        records = ledgers.read(run)
        for key, target in lanes.items():
            self.lanes.offer(key, target, run, known=records.get(key.digest))

    def _complain(self, run: PipelineRun, why: Unroutable) -> None:
        if self.unroutable.get(run.uid) == why:
            return
        self.unroutable[run.uid] = why
        with about(run=str(run.key)):
            log.info("%s: not reported, service %s: %s", run.key, why.service, why.reason)
        self._untold[run.uid] = run
        self._tell_unroutable(run)

    def _tell_unroutable(self, run: PipelineRun) -> None:
        """As an Event on the run, by the replica whose run it is."""
        why = self.unroutable.get(run.uid)
        if why is not None and self._is_ours(str(run.key)):
            del self._untold[run.uid]
            self.events.tell(run, "CommitStatusUnroutable", f"service {why.service}: {why.reason}")

    def _is_routable(self, uid: str) -> None:
        self.unroutable.pop(uid, None)
        self._untold.pop(uid, None)

    # Finalizers

    def _guard(self, run: PipelineRun) -> None:
        lanes = self._targets(run)
        home = _home(run, lanes)
        every = (*lanes, *self._of_tasks.get(run.uid, ()))
        if not self._is_ours(home):
            return
        keep = run.uid in self._guaranteeing and (
            any(run.uid in uids for uids in self._until_noted.values())
            or not all(self.lanes.settled(key, run) for key in every)
        )
        self.guarantee.want(run, keep, home=home)

    def _unguard(self, uid: str) -> None:
        self._guarded.pop(uid, None)
        self._guaranteeing.discard(uid)

    # What became of it

    def _overruled(self, lane: Lane, run: PipelineRun) -> None:
        if (known := ledgers.read(run).get(lane.key.digest)) is None or known.state != OVERRULED:
            self.ledger.note(run, lane.key, Record(OVERRULED), final=True)
            if lane.run.uid in self._guaranteeing:  # who must not go before that is written
                self._until_noted.setdefault(run.key, set()).add(lane.run.uid)
        if run.uid in self._guarded:
            self._guard(run)

    def _noted(self, key: Key) -> None:
        for uid in self._until_noted.pop(key, ()):
            if (guarded := self._guarded.get(uid)) is not None:
                self._guard(guarded)

    def _delivered(self, delivery: Delivery) -> None:
        host, run, lane = delivery.lane.host, delivery.run, delivery.lane
        what = delivery.state if lane.is_state else f"{lane.aspect} ({delivery.state})"
        match delivery.result:
            case "delivered" | "already_there":
                verb = "shows" if lane.is_state else "was told by"
                log.info("%s: %s %s %s on %s@%s", run.key, host, verb, what, lane.repository, lane.sha[:8])
                record = Record(delivery.state, delivery.memo)
                self.ledger.note(run, lane, record, final=delivery.final)
            case "permanent":
                log.error("%s: %s refused %s for good: %s", run.key, host, what, delivery.error)
                where = f"{host}, {lane.repository}" if lane.is_state else f"{host}, {lane.repository}, {lane.aspect}"
                self.events.tell(run, "CommitStatusRefused", f"{where}: {self._why(delivery)}")
            case "elsewhere":
                log.info("%s: %s is next after %s: %s", run.key, self._next(delivery), lane.repository, delivery.error)
            case "late":
                log.info("%s: left to the replica that holds its shard now: %s", run.key, delivery.error)
            case _:
                log.warning("%s: %s did not take %s, will try again: %s", run.key, host, what, delivery.error)
                if delivery.attempts == _MANY:
                    told = f"{host} has not taken it {_MANY} times, trying on: {delivery.error}"
                    self.events.tell(run, "CommitStatusDelayed", told)
        if (guarded := self._guarded.get(run.uid)) is not None:
            self._guard(guarded)
        if self._on_delivery is not None:
            self._on_delivery(delivery)

    def _why(self, delivery: Delivery) -> str:
        target = self._target(delivery.run, delivery.lane)
        without = target.no_fallback if target is not None else ""
        return f"{delivery.error}; no fallback_repository: {without}" if without else str(delivery.error)

    def _next(self, delivery: Delivery) -> str:
        target = self._target(delivery.run, delivery.lane)
        return target.fallback.repository if target is not None and target.fallback is not None else "another one"


def _lanes_of(targets: Iterable[Target]) -> Mapping[LaneKey, Target]:
    """Every lane that a run may have a say on: its repositories' and their fallbacks'."""
    lanes = {}
    for target in targets:
        lanes[target.lane] = target
        if target.fallback is not None:
            lanes.setdefault(target.fallback.lane, target.fallback)
    return lanes


def _home(run: PipelineRun, lanes: Mapping[LaneKey, Target]) -> str:
    """What decides which replica a run belongs to: its commit; its name where it leads to none."""
    return next(iter(lanes)).sha if lanes else str(run.key)
