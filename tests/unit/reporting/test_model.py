"""For any interleaving of run events, host answers, crashes and takeovers, the host shows in the end what the cluster holds.

The model: two replicas, of which at most one is permitted to report, with the real Reporter, Lanes, Ledger and Guarantee; a cluster that is a
real store; a host that answers well, badly, late or not at all. A replica sees changes late, but in order. It dies at any moment (also between
a POST and its note) and comes back from what the cluster holds then. Whoever takes the shard begins when it has seen what had happened by
then, as ``Leases`` sees to, and may lag behind again from there. Time is virtual, so that every pause is played to its end. Runs are deleted only where a finalizer has promised that they stay: of a run that nobody alive has seen, nobody can know.

Then everything calms down, and: each lane shows its youngest run's state, whoever is gone by then; deleted runs are gone; and no state was sent
more often than once, plus once for each crash, takeover, lost answer, and failed call to the cluster. After that a takeover and two
restarts change nothing and send nothing.
"""

from __future__ import annotations

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from listener.cluster.objects import FINALIZER
from listener.demo.kubernetes.statuses import StatusError
from notifiers.base import HostSettings
from tests.unit.reporting import virtual_time
from tests.unit.reporting.model import ANSWERS, CONDITIONS, NAMESPACE, FakeCluster, FakeHost, Replica, Run, finalizers

LANES = 2
ENDS = ("succeeded", "failed", "cancelled")
CALM = 3 * 3600.0  # seconds, virtual: longer than every pause

ACTIONS = st.one_of(
    st.tuples(st.just("create"), st.integers(0, LANES - 1)),
    st.tuples(st.just("progress"), st.integers(0, 5), st.sampled_from(ENDS)),
    st.tuples(st.just("progress"), st.integers(0, 5), st.sampled_from(ENDS)),  # more often than the others
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("answer"), st.sampled_from(sorted(ANSWERS))),
    st.tuples(st.just("outage"), st.integers(1, 6)),
    st.tuples(st.just("takeover")),
    st.tuples(st.just("crash"), st.integers(0, 1)),
)
SEEN = st.sampled_from([1_000_000, 1_000_000, 1, 0])  # changes that a replica is shown after an action
PAUSES = st.sampled_from([0.05, 0.0, 0.015, 0.03, 1.5, 60.0])  # seconds, virtual: inside and between requests
STEPS = st.lists(st.tuples(ACTIONS, SEEN, SEEN, PAUSES), max_size=25)
Step = tuple[tuple[str, *tuple[str | int, ...]], int, int, float]


class Model:
    """One scenario."""

    def __init__(self, *, guaranteed: bool) -> None:
        self.guaranteed = guaranteed
        self.cluster = FakeCluster()
        self.host = FakeHost(HostSettings(name="host", url=None))
        self.runs: list[Run] = []
        self.upheavals = 0

    async def play(self, steps: list[Step]) -> None:
        self.replicas = [Replica(self.cluster, self.host, guaranteed=self.guaranteed) for _ in range(2)]
        await self.replicas[0].take()
        for (what, *details), *seen, pause in steps:
            await getattr(self, what)(*details)
            for replica, number in zip(self.replicas, seen, strict=True):
                await replica.see(number)
            await asyncio.sleep(pause)
        await self.calm()
        self.check()
        await self.calm_changes()
        for replica in self.replicas:
            await replica.die()

    # Steps

    async def create(self, lane: int) -> None:
        run = Run(f"run-{len(self.runs)}", lane, age=len(self.runs))
        self.runs.append(run)
        self.cluster.store.create("pipelineruns", NAMESPACE, run.body())

    async def progress(self, number: int, end: str) -> None:
        run = self.runs[number % len(self.runs)] if self.runs else None
        if run is None or run.deleted or run.state in ENDS:
            return
        run.state = end if run.state else "running"
        patch = {"status": {"conditions": [CONDITIONS[run.state]]}}
        self.cluster.store.merge_patch("pipelineruns", NAMESPACE, run.name, patch)

    async def delete(self, number: int) -> None:
        run = self.runs[number % len(self.runs)] if self.runs else None
        if run is None or run.deleted:
            return
        if FINALIZER in finalizers(self.cluster, run) or (self.guaranteed and self._settled(run)):
            run.deleted = True
            self.cluster.store.delete("pipelineruns", NAMESPACE, run.name)

    def _settled(self, run: Run) -> bool:
        """It had its finalizer and has lost it: its end has arrived, or a younger run rules."""
        return run.state in ENDS and self.host.shown.get(run.context) == (run.name, run.word)

    async def answer(self, kind: str) -> None:
        self.host.script.append(kind)

    async def outage(self, calls: int) -> None:
        self.cluster.outage = calls
        self.upheavals += calls

    async def takeover(self) -> None:
        old, new = sorted(self.replicas, key=lambda replica: not replica.holds)
        self.upheavals += 1
        await old.lose()
        await new.take()

    async def crash(self, number: int) -> None:
        was = self.replicas[number].holds
        await self.replicas[number].die()
        self.upheavals += 1
        self.replicas[number] = Replica(self.cluster, self.host, guaranteed=self.guaranteed)
        if was:
            await self.replicas[1 - number].take()

    # The end

    async def calm(self) -> None:
        self.host.script.clear()
        self.cluster.outage = 0
        before = -1
        while before != self.cluster.store.version:  # what is written is seen, and may be written upon
            before = self.cluster.store.version
            for replica in self.replicas:
                await replica.see(1_000_000)
            await asyncio.sleep(CALM)

    async def calm_changes(self) -> None:
        """When all is well and noted, neither a takeover nor a restart sends anything, or shows anything else."""
        await self.takeover()
        await (
            self.calm()
        )  # who lost a shard before a note was written has left it unwritten: that is the one extra POST
        number = len(self.runs)
        await self.create(0)
        for _ in range(2):
            await self.progress(number, "failed")
            await self.calm()
        before = self.host.taken.copy()
        await self.takeover()
        await self.calm()
        assert self.host.taken == before, "a takeover sent what had arrived"
        for replica in (0, 1):
            await self.crash(replica)
        await self.calm()
        assert self.host.taken == before, "a restart sent what had arrived"
        self.check()

    def check(self) -> None:
        for lane in range(LANES):
            runs = [run for run in self.runs if run.lane == lane]
            if runs:
                youngest = runs[-1]
                assert self.host.shown.get(youngest.context) == (youngest.name, youngest.word), self.host.taken
        for run in self.runs:
            assert not run.deleted or not self._exists(run), f"{run.name} is still there"
            if self.guaranteed and run.state in ENDS and not run.deleted:
                assert finalizers(self.cluster, run) == [], f"{run.name} is kept although nothing is left to say"
        for (context, _, _), times in self.host.taken.items():
            assert times <= 1 + self.upheavals + self.host.lost[context], self.host.taken

    def _exists(self, run: Run) -> bool:
        try:
            self.cluster.store.get("pipelineruns", NAMESPACE, run.name)
        except StatusError:
            return False
        return True


ALL = 1_000_000
#: Found by chaos: the standby learns from a list that a run is gone, and what it last knew of it is older than what was reported.
VANISHED: list[Step] = [
    (("create", 0), ALL, ALL, 60.0),
    (("progress", 0, "failed"), ALL, ALL, 60.0),
    (("progress", 0, "failed"), ALL, 0, 0.0),
    (("delete", 0), ALL, 0, 60.0),
    (("takeover",), ALL, ALL, 60.0),
]


@example(steps=VANISHED, guaranteed=True)
@settings(deadline=None, max_examples=300, print_blob=True)
@given(steps=STEPS, guaranteed=st.booleans())
def test_the_final_state_on_the_host_equals_the_clusters(steps: list[Step], guaranteed: bool) -> None:
    virtual_time.run(Model(guaranteed=guaranteed).play(steps))
