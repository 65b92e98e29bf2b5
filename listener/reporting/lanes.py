"""Lanes: one place on a Git host, one newest state to say there, in order and until it has arrived.

A lane is a (host, repository, commit, context). It holds only the newest desired state; just before sending, that is what is
read. Among runs on one lane the younger wins (creationTimestamp, then UID): an older run never overwrites it. One delivery per lane
at a time, so that no older request can overtake. Each host has its own queue, workers and pauses (``hosts``, ``pacing``): one host's
trouble never delays another. Finals go before intermediates. What is retryable is tried again for as long as the run exists; what is
permanent is told once and tried again when the configuration or a token changes. A run that was overruled is told so on itself (``OVERRULED``
in its ledger), for the younger one may be pruned first, and whoever starts then must not take the older for the newest; and if its ledger
says one day that its state was sent all the same, by a replica that had not seen the younger one, that one is sent again. With several replicas only the one that holds the
lane's shard sends (``permit``); the others keep the lane's state, so that they can take over at any moment.

A service may name a fallback repository. A lane whose repository answers its first status with 403 or 404 hands its runs over to the fallback's
lane, which is a lane like any other: so there is one lane per place still, whoever leads there by which way. Later runs on the first lane go to
the second one at once, and after a restart too, for a run's ledger tells that the fallback has shown it.

Not promised: every intermediate state. A run that is done before ``pending`` went out is reported once, as done.
Here it is decided what is to be said; saying it is the work of ``sending``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from listener.cluster.objects import PipelineRun
from listener.reporting.aspects import REPORTS
from listener.reporting.hosts import Host
from listener.reporting.lane import Compose, Delivery, Lane, Permit, Place
from listener.reporting.ledger import OVERRULED, STATUS, LaneKey, Record, read
from listener.reporting.pacing import Pace
from listener.reporting.sending import Senders
from listener.reporting.status import reported_outcome
from listener.reporting.target import Target
from listener.reporting.traces import Traces
from notifiers.base import Notifier, Outcome, PermanentError, Receipt, clock, for_ever

_ORPHANED: Final = 60.0  # seconds that another replica's lane is kept after its run was deleted, in case we take over
_LANES_PER_TURN: Final = 256  # looked at before other tasks get the loop
_NOT_HERE: Final = (403, 404)  # what a repository answers that does not have the commit, or not for this token
_SILENT: Final = ""  # instead of the host's word: nothing is to be said
_ELSEWHERE: Final = "elsewhere"  # instead of the host's word: shown on the fallback's lane, and to be silent here


class Lanes:
    """All lanes of all hosts. ``offer`` and ``withdraw`` come from run events; ``run()`` delivers, in a task that you own."""

    def __init__(
        self,
        hosts: Mapping[str, Notifier],
        *,
        compose: Compose,
        on_delivery: Callable[[Delivery], None],
        on_overruled: Callable[[Lane, PipelineRun], None] = lambda *_: None,
        retarget: Callable[[PipelineRun, LaneKey], Target | None] = lambda *_: None,
        judge: Callable[[Lane, Outcome], Outcome | None] = lambda _, what: what,
        workers: Mapping[str, int] | None = None,
        pace: Pace | None = None,
        permit: Permit | None = None,
        traces: Traces | None = None,
    ) -> None:
        """``compose`` makes the status of a run; ``on_delivery`` hears of each attempt's end, ``on_overruled`` of a lane and a run that a younger
        one has overtaken there, before it hears of the younger one's delivery; both must be quick and not raise; ``retarget``
        says again what ``offer`` said, for it is forgotten once a state has arrived;
        ``judge``: what a lane that is no run's status says when its run is in a state, None for nothing; ``workers``: deliveries at once per host; ``permit``: until when on ``clock()`` this process may report what belongs
        to a home, see ``offer``; without it for ever; ``traces``: who draws traces."""
        self._traces = traces
        self._on_overruled, self._retarget, self._judge = on_overruled, retarget, judge
        self._permit: Permit = permit or (lambda _: for_ever())
        self._lanes: dict[LaneKey, Lane] = {}
        self._orphans: deque[tuple[float, LaneKey]] = deque()
        self._senders = Senders(
            hosts,
            self,
            compose=compose,
            on_delivery=on_delivery,
            retarget=retarget,
            workers=workers or {},
            pace=pace or Pace(),
            permit=self._permit,
        )
        self.hosts: Mapping[str, Host] = self._senders.hosts

    def __len__(self) -> int:
        return len(self._lanes)

    # What runs want

    def offer(
        self, key: LaneKey, target: Target, run: PipelineRun, *, known: Record | None, home: str | None = None
    ) -> None:
        """``run`` wants its state shown on ``key``. ``known``: what the ledger says the host shows for this run.

        ``home``: what decides which replica reports it; by default the commit, so that all runs on a lane have one reporter.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, target, run, home or key.sha)
            self._locate(lane, target, run, known)
            self._adopt(lane, target, run, known)
        else:
            self._locate(lane, target, run, known)
            if run.uid != lane.run.uid and run.order < lane.order:
                lane.others = {**lane.others, run.uid: run}
                self._doubt(lane, run, known)
                self._settle(lane, target, run)
                return
            if run.uid != lane.run.uid:
                self._adopt(lane, target, run, known)
            elif known is not None and not self._mine(lane):
                lane.shown, lane.memo = known.state, known.memo or lane.memo  # another replica's work
        lane.run, lane.target, lane.present = run, target, True
        self._settle(lane, target, run)

    def _settle(self, lane: Lane, target: Target, run: PipelineRun) -> None:
        """The end of an offer."""
        self._believe(lane)
        if lane.place is Place.ELSEWHERE:
            self._pass_on(lane, target, run)
        self._consider(lane)

    def withdraw(self, key: LaneKey, run: PipelineRun, target: Target | None = None, *, said: bool = False) -> None:
        """``run`` is gone from the cluster, this is its last known object; or it no longer leads to ``key``, which was ``target``.

        ``said``: somebody else has told the host how it ended.
        """
        self._drop_orphans()
        lane = self._lanes.get(key)
        if lane is None:
            return
        if run.uid in lane.others:
            lane.others = {uid: other for uid, other in lane.others.items() if uid != run.uid}
        if run.uid == lane.run.uid:
            lane.present = False
        lane.overruled -= {run.uid}
        if run.uid in lane.older:
            lane.older = {uid: state for uid, state in lane.older.items() if uid != run.uid}
        if lane.run.uid == run.uid and not lane.deleted:
            lane.run, lane.deleted, lane.target = run, True, target or lane.target
            lane.said = said
            self._consider(lane)
        self._forget_if_done(lane)

    def settled(self, key: LaneKey, run: PipelineRun) -> bool:
        """True when nothing more will be sent to ``key`` for ``run`` as it is: it arrived, was refused, or a younger run rules."""
        lane = self._lanes.get(key)
        if lane is None or lane.run.uid != run.uid:
            return True
        what, word = self._wanted(lane)
        return what.final and self._nothing_to_say(lane, word)

    def _locate(self, lane: Lane, target: Target, run: PipelineRun, known: Record | None) -> None:
        """Does the ledger tell which of the two repositories has the commit?"""
        if known is not None and known.state != OVERRULED:
            lane.place = Place.HERE
        elif target.fallback is not None and lane.place is Place.UNKNOWN and target.fallback.lane.digest in read(run):
            lane.place = Place.ELSEWHERE

    def _pass_on(self, lane: Lane, target: Target, run: PipelineRun) -> None:
        """``run`` has its say on the fallback's lane, and none here."""
        there = target.fallback
        if there is None:
            return
        self.offer(there.lane, there, run, known=read(run).get(there.lane.digest), home=lane.home)
        if run.uid == lane.run.uid:
            lane.shown = _ELSEWHERE
            if lane.deleted:
                self.withdraw(there.lane, run, there, said=lane.said)

    def _doubt(self, lane: Lane, run: PipelineRun, known: Record | None) -> None:
        """An older run: was its state sent, by whomever, after the younger one's? Then the host does not show that any more."""
        if known is None or known.state == lane.older.get(run.uid, OVERRULED):
            return
        lane.older = {**lane.older, run.uid: known.state}
        if known.state != OVERRULED:
            lane.shown = None
            lane.overruled -= {run.uid}

    def _believe(self, lane: Lane) -> None:
        """While another replica reports the lane, the ledgers of its runs are all that we know of what the host shows."""
        if lane.others and lane.shown != _ELSEWHERE and not self._mine(lane):
            known = read(lane.run).get(lane.key.digest)
            trusted = known is not None and all(state == OVERRULED for state in lane.older.values())
            lane.shown = known.state if known is not None and trusted else None

    def _adopt(self, lane: Lane, target: Target, run: PipelineRun, known: Record | None) -> None:
        """``run`` is the youngest on this lane: from now on the lane is its."""
        if run.uid != lane.run.uid:
            if lane.present:
                lane.others = {**lane.others, lane.run.uid: lane.run}
                shown = None if lane.shown == _ELSEWHERE else lane.shown
                lane.older = {**lane.older, lane.run.uid: shown or OVERRULED}
            if lane.sent:  # over whatever the ledger of ``run`` remembers
                known = None
        lane.sent = lane.said = False
        lane.run, lane.target, lane.order, lane.deleted = run, target, run.order, False
        lane.shown, lane.refused = (known.state if known else None), None
        lane.attempts, lane.not_before, lane.ticket = 0, 0.0, 0
        lane.memo = known.memo if known and known.memo else lane.memo

    def _mine(self, lane: Lane) -> bool:
        return self._permit(lane.home) > clock()

    def _consider(self, lane: Lane) -> None:
        """Queue the lane if the host does not show what it should and we are to see to it."""
        if lane.sending:
            if self._traces is not None and (cause := self._traces.cause()) is not None:
                lane.cause = cause
            return  # looked at again when the delivery has ended
        what, word = self._wanted(lane)
        host, queued = self.hosts[lane.key.host], lane.ticket != 0
        if self._nothing_to_say(lane, word) or not self._mine(lane):
            if queued:
                lane.ticket = 0
            if lane.shown in (word, _ELSEWHERE) or word == _SILENT:
                lane.target = None
            self._done(host, lane)
            if self._mine(lane):
                self._overrule(lane)
            return
        if self._traces is not None:
            self._trace(self._traces, lane, word)
        if queued and (lane.urgent or not what.final):
            return  # its turn will read the newest state
        if lane.key not in host.waiting:
            lane.since = lane.since or time.monotonic()
            host.waiting[lane.key] = lane.since
        lane.urgent = what.final
        host.put(lane)

    @staticmethod
    def _trace(traces: Traces, lane: Lane, word: str) -> None:
        """A state that waits has a trace, and another one than the state before it."""
        if lane.trace is not None:
            if lane.trace.word == word:
                return
            lane.trace.end("superseded")
        lane.trace, lane.cause = traces.begin(lane.run, lane.key, word, cause=lane.cause), None

    def _overrule(self, lane: Lane) -> None:
        """Once the host shows the younger run, the older ones must be silent for ever."""
        if not lane.others or lane.shown in (None, _ELSEWHERE):
            return
        for uid, run in lane.others.items():
            if uid not in lane.overruled and run.order < lane.order:
                lane.overruled |= {uid}
                self._on_overruled(lane, run)

    def _nothing_to_say(self, lane: Lane, word: str) -> bool:
        said = word in (lane.shown, lane.refused, _SILENT)
        return lane.said or said or lane.shown in (OVERRULED, _ELSEWHERE)

    def _wanted(self, lane: Lane) -> tuple[Outcome, str]:
        what = reported_outcome(lane.run, deleted=lane.deleted)
        notifier, aspect = self.hosts[lane.key.host].notifier, lane.key.aspect
        if aspect != STATUS:
            judged = self._judge(lane, what)
            if judged is None:
                return what, _SILENT
            what = judged
        return what, notifier.word(REPORTS[aspect], what)

    # What changes around them

    async def reconsider(self, hosts: Iterable[str] | None = None) -> None:
        """Look at every lane again: a shard was gained or lost; or, for ``hosts``, what they refused may be taken now."""
        again = set(hosts or ())
        for name in again:
            self.hosts[name].refresh()
        for number, lane in enumerate(list(self._lanes.values()), start=1):
            if lane.key.host in again:
                lane.refused = None
            if lane.key.host in self.hosts:
                self._consider(lane)
            if not number % _LANES_PER_TURN:
                await asyncio.sleep(0)

    async def retire(self, hosts: Mapping[str, Notifier]) -> None:
        """Send nothing more to hosts that ``hosts`` does not have, or has another notifier for; deliveries that are under way
        end first, so that no older state arrives after a newer one."""
        await self._senders.retire(hosts)

    def employ(self, hosts: Mapping[str, Notifier], workers: Mapping[str, int]) -> None:
        """Go on with these, after ``retire``. Lanes to a host that is gone are forgotten; call ``reconsider`` for the others."""
        old = self._senders.others(hosts)
        for name in old:
            del self._senders.hosts[name]
        for key in [key for key in self._lanes if key.host in old and key.host not in hosts]:
            del self._lanes[key]
        for lane in self._lanes.values():
            if lane.key.host in old:
                lane.ticket, lane.attempts, lane.not_before = 0, 0, 0.0
        self._senders.hire({name: hosts[name] for name in hosts if name not in self.hosts}, workers)
        self._senders.changed.set()

    # Delivering

    async def run(self) -> None:
        """Deliver until cancelled. Start it only when every run is known: an older run must not go first because it came first."""
        await self._senders.run()

    async def drained(self, *, within: float | None = None) -> bool:
        """See ``Senders.drained``."""
        return await self._senders.drained(within=within)

    # What the senders ask and tell, see ``sending.Desk``

    def wish(self, lane: Lane) -> tuple[Outcome, str] | None:
        what, word = self._wanted(lane)
        return None if self._nothing_to_say(lane, word) or not self._mine(lane) else (what, word)

    def refuse(self, lane: Lane, run: PipelineRun, word: str) -> None:
        if lane.run.uid == run.uid:
            lane.refused = word
            lane.attempts, lane.not_before = 0, 0.0

    def divert(self, lane: Lane, target: Target, error: PermanentError) -> bool:
        if target.fallback is None or lane.place is Place.HERE or error.status not in _NOT_HERE:
            return False
        lane.place = Place.ELSEWHERE
        for run in lane.others.values():
            if (other := self._retarget(run, lane.key)) is not None:
                self._pass_on(lane, other, run)
        self._pass_on(lane, lane.target or target, lane.run)
        return True

    def arrived(self, lane: Lane, run: PipelineRun, word: str, receipt: Receipt) -> None:
        lane.memo = receipt.memo or lane.memo
        lane.place = Place.HERE
        if lane.run.uid == run.uid:
            lane.shown, lane.refused, lane.sent = word, None, True
            lane.attempts, lane.not_before = 0, 0.0
            self._overrule(lane)
        else:
            lane.shown = None  # a younger run has come meanwhile, and this was put on top of what it may have had
            if run.uid in lane.others:
                lane.older = {**lane.older, run.uid: word}  # its ledger will say so, and that is no news

    def ended(self, lane: Lane) -> None:
        self._consider(lane)
        self._forget_if_done(lane)

    def _done(self, host: Host, lane: Lane) -> None:
        lane.since = 0.0
        if lane.trace is not None:
            lane.trace.end("nothing")
        lane.trace = lane.cause = None
        if host.waiting.pop(lane.key, None) is not None:
            self._senders.changed.set()

    def _forget_if_done(self, lane: Lane) -> None:
        if lane.present or lane.others or lane.sending or lane.ticket:
            return
        if self._mine(lane) or self._nothing_to_say(lane, self._wanted(lane)[1]):
            self._lanes.pop(lane.key, None)
        else:
            self._orphans.append((time.monotonic(), lane.key))

    def _drop_orphans(self) -> None:
        while self._orphans and self._orphans[0][0] < time.monotonic() - _ORPHANED:
            lane = self._lanes.get(self._orphans.popleft()[1])
            if lane is not None and not (lane.present or lane.others or lane.sending or lane.ticket):
                del self._lanes[lane.key]
