"""Lanes: the newest state arrives, in order, whatever the host answers and whatever comes in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import wait_none

from listener.cluster.decode import decode_pipeline_run
from listener.cluster.objects import Condition, PipelineRun
from listener.reporting.lane import Delivery
from listener.reporting.lanes import Lanes
from listener.reporting.ledger import LaneKey, Record, read, written
from listener.reporting.pacing import Pace
from listener.reporting.target import Target
from notifiers.base import (
    CommitStatus,
    Notifier,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
    UnauthorizedError,
    for_ever,
)
from notifiers.github import STATES

AT_ONCE = Pace(lane=wait_none(), host=wait_none())
SHA = "a" * 40
TARGET = Target("host", "group/project", SHA, "tekton/build")
QUEUED, RUNNING, PASSED, FAILED = None, ("Unknown", "Running"), ("True", "Succeeded"), ("False", "Failed")


class Host(Notifier):
    """A host that answers what it is told to, in turn, and then takes everything. Shows the last state it took."""

    kind = "fake"

    def __init__(self, answers: Sequence[Exception | None] = ()) -> None:
        self.answers = list(answers)
        self.taken: list[tuple[str, str]] = []
        self.attempts = 0
        self.memos: list[str | None] = []
        self.before: Callable[[], Any] = lambda: None
        self.in_flight = self.most_in_flight = 0

    def state(self, outcome: Outcome) -> str:
        return STATES[outcome]

    def check_repository(self, repository: str) -> str | None:
        return None

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        self.attempts += 1
        self.memos.append(memo)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.before()
            await asyncio.sleep(0)
            answer = self.answers.pop(0) if self.answers else None
            if answer is not None:
                raise answer
            self.taken.append((STATES[status.outcome], status.description))
            return Receipt(memo=f"memo-{len(self.taken)}")
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        pass


def run(name: str, state: tuple[str, str] | None, *, age: int = 0) -> PipelineRun:
    return PipelineRun(
        namespace="ci",
        name=name,
        uid=f"uid-{name}",
        resource_version="1",
        created=f"2026-11-23T11:00:{age:02d}Z",
        pipeline="build",
        labels={},
        annotations={},
        params={},
        results={},
        condition=Condition(*state) if state else None,
    )


async def compose(run: PipelineRun, target: Target, deleted: bool) -> CommitStatus:
    from listener.reporting.status import reported_outcome

    what = reported_outcome(run, deleted=deleted)
    return CommitStatus(
        repository=target.repository, sha=target.sha, context=target.context, outcome=what, description=run.name
    )


@contextlib.asynccontextmanager
async def lanes_to(host: Host, heard: list[Delivery] | None = None) -> AsyncIterator[Lanes]:
    lanes = Lanes(
        {"host": host},
        compose=compose,
        retarget=lambda *_: TARGET,
        on_delivery=(heard if heard is not None else []).append,
        pace=AT_ONCE,
    )
    task = asyncio.create_task(lanes.run())
    try:
        yield lanes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def offer(lanes: Lanes, run: PipelineRun, *, known: Record | None = None) -> None:
    lanes.offer(TARGET.lane, TARGET, run, known=known)


async def drained(lanes: Lanes) -> None:
    async with asyncio.timeout(10):
        await lanes.drained()


async def test_a_state_is_sent_once_however_often_it_is_offered() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        for state in (QUEUED, QUEUED, RUNNING, RUNNING, PASSED, PASSED):
            offer(lanes, run("a", state))
            await drained(lanes)
    assert [state for state, _ in host.taken] == ["pending", "success"]


async def test_what_comes_while_a_request_is_under_way_is_sent_after_it() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        host.before = lambda: offer(lanes, run("a", PASSED))
        offer(lanes, run("a", RUNNING))
        await drained(lanes)
    assert [state for state, _ in host.taken] == ["pending", "success"]
    assert host.most_in_flight == 1


async def test_an_older_run_never_overwrites_a_younger_one() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        offer(lanes, run("old", RUNNING, age=1))
        await drained(lanes)
        offer(lanes, run("young", RUNNING, age=2))
        await drained(lanes)
        offer(lanes, run("old", FAILED, age=1))
        offer(lanes, run("young", PASSED, age=2))
        offer(lanes, run("old", FAILED, age=1))
        await drained(lanes)
    assert host.taken == [("pending", "old"), ("pending", "young"), ("success", "young")]


async def test_a_re_run_that_ends_like_the_first_is_sent_all_the_same() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        offer(lanes, run("first", PASSED, age=1))
        await drained(lanes)
        offer(lanes, run("second", PASSED, age=2))
        await drained(lanes)
    assert host.taken == [("success", "first"), ("success", "second")]


async def test_runs_known_from_the_start_are_ordered_by_age_not_by_arrival() -> None:
    host = Host()
    lanes = Lanes({"host": host}, compose=compose, on_delivery=lambda _: None, pace=AT_ONCE)
    offer(lanes, run("young", PASSED, age=2), known=Record("success"))
    offer(lanes, run("old", FAILED, age=1))
    task = asyncio.create_task(lanes.run())
    await drained(lanes)
    task.cancel()
    assert host.taken == []


async def test_what_the_ledger_knows_is_not_sent_again_and_its_memo_is_given_back() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        offer(lanes, run("a", RUNNING), known=Record("pending", "41"))
        await drained(lanes)
        assert host.attempts == 0
        offer(lanes, run("a", PASSED), known=Record("pending", "41"))
        await drained(lanes)
    assert host.memos == ["41"]


async def test_retryable_failures_are_tried_again_with_the_newest_state() -> None:
    host = Host([RetryableError("503"), RetryableError("503"), RetryableError("503")])
    heard: list[Delivery] = []
    async with lanes_to(host, heard) as lanes:
        offer(lanes, run("a", RUNNING))
        offer(lanes, run("a", FAILED))
        await drained(lanes)
    assert [state for state, _ in host.taken] == ["failure"]
    assert [delivery.result for delivery in heard] == ["retry", "retry", "retry", "delivered"]


async def test_a_permanent_refusal_is_told_once_and_the_next_state_is_tried() -> None:
    host = Host([PermanentError("404")])
    heard: list[Delivery] = []
    async with lanes_to(host, heard) as lanes:
        for _ in range(3):
            offer(lanes, run("a", RUNNING))
            await drained(lanes)
        offer(lanes, run("a", PASSED))
        await drained(lanes)
    assert [delivery.result for delivery in heard] == ["permanent", "delivered"]


async def test_a_notifiers_defect_costs_a_retry_and_not_the_worker() -> None:
    host = Host([ZeroDivisionError("a defect")])
    async with lanes_to(host) as lanes:
        offer(lanes, run("a", PASSED))
        await drained(lanes)
    assert [state for state, _ in host.taken] == ["success"]


@pytest.mark.parametrize("error", [RetryableError("429", retry_after=3600), UnauthorizedError("401")])
async def test_a_host_that_asks_to_wait_is_left_alone_and_the_other_is_not(error: Exception) -> None:
    held, free = Host([error] * 5), Host()
    lanes = Lanes({"held": held, "free": free}, compose=compose, on_delivery=lambda _: None, pace=AT_ONCE)
    task = asyncio.create_task(lanes.run())
    targets = [Target(host, "g/p", SHA, f"tekton/{number}") for host in ("held", "free") for number in range(5)]
    while free.attempts < 5 or lanes.hosts["held"].problem is None:
        for target in targets:
            lanes.offer(target.lane, target, run("a", PASSED), known=None)
        await asyncio.sleep(0)
    task.cancel()
    assert held.attempts <= lanes.hosts["held"].workers
    assert lanes.hosts["held"].problem is not None
    assert lanes.hosts["free"].problem is None


async def test_finals_go_before_intermediates_in_a_burst() -> None:
    host = Host()
    lanes = Lanes({"host": host}, compose=compose, on_delivery=lambda _: None, workers={"host": 1}, pace=AT_ONCE)
    for number in range(10):
        target = Target("host", "g/p", SHA, f"tekton/{number}")
        lanes.offer(target.lane, target, run(f"r{number}", PASSED if number % 2 else RUNNING), known=None)
    task = asyncio.create_task(lanes.run())
    await drained(lanes)
    task.cancel()
    assert [state for state, _ in host.taken] == ["success"] * 5 + ["pending"] * 5


async def test_a_run_deleted_before_it_finished_is_not_left_pending() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        offer(lanes, run("a", RUNNING))
        await drained(lanes)
        lanes.withdraw(TARGET.lane, run("a", RUNNING))
        await drained(lanes)
        assert len(lanes) == 0
    assert [state for state, _ in host.taken] == ["pending", "error"]


async def test_a_run_deleted_before_its_verdict_went_out_still_gets_it() -> None:
    host = Host([RetryableError("502")])
    async with lanes_to(host) as lanes:
        offer(lanes, run("a", PASSED))
        lanes.withdraw(TARGET.lane, run("a", PASSED))
        await drained(lanes)
    assert [state for state, _ in host.taken] == ["success"]


async def test_lanes_of_runs_that_are_gone_are_forgotten() -> None:
    host = Host()
    async with lanes_to(host) as lanes:
        for number in range(50):
            one = run(f"r{number}", PASSED, age=number)
            offer(lanes, one)
            await drained(lanes)
            lanes.withdraw(TARGET.lane, one)
        await drained(lanes)
        assert len(lanes) == 0


STATES_OF_A_RUN = [QUEUED, RUNNING, PASSED, FAILED]
EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=30)
ANSWERS = st.lists(
    st.sampled_from([None, "retry", "defect"]).map(
        lambda kind: {None: None, "retry": RetryableError("x"), "defect": KeyError("x")}[kind]
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=150)
@given(events=EVENTS, answers=ANSWERS)
def test_whatever_comes_in_between_the_host_shows_the_youngest_runs_last_state(
    events: list[tuple[int, int, bool]], answers: list[Exception | None]
) -> None:
    async def scenario() -> None:
        host = Host(answers)
        reached: dict[int, int] = {}
        async with lanes_to(host) as lanes:
            for age, state, pause in events:
                reached[age] = max(reached.get(age, 0), state)  # a run only goes forward
                offer(lanes, run(f"r{age}", STATES_OF_A_RUN[reached[age]], age=age))
                if pause:
                    await asyncio.sleep(0)
            await drained(lanes)
        if reached:
            youngest = max(reached)
            shown = {0: "pending", 1: "pending", 2: "success", 3: "failure"}[reached[youngest]]
            assert host.taken[-1] == (shown, f"r{youngest}")
        ages = [int(name[1:]) for _, name in host.taken]
        assert ages == sorted(ages)
        assert host.most_in_flight <= 1

    asyncio.run(scenario())


TEXT = st.text(max_size=20)


@given(st.dictionaries(TEXT, st.builds(Record, TEXT, st.none() | TEXT), max_size=5))
def test_the_ledger_reads_what_it_wrote(records: dict[str, Record]) -> None:
    one = run("a", PASSED)
    annotated = PipelineRun(
        **{f: getattr(one, f) for f in one.__struct_fields__}
        | {"annotations": {"tekton-listener.dev/delivered": written(records)}}
    )
    assert read(annotated) == records


@given(st.text())
def test_a_forged_ledger_is_nothing_or_records_but_never_an_error(text: str) -> None:
    body = b'{"metadata":{"name":"a","namespace":"ci"}}'
    one = decode_pipeline_run(body)
    annotated = PipelineRun(
        **{f: getattr(one, f) for f in one.__struct_fields__} | {"annotations": {"tekton-listener.dev/delivered": text}}
    )
    assert isinstance(read(annotated), dict)


def test_contexts_that_differ_in_case_are_one_lane() -> None:
    assert Target("h", "g/p", SHA, "Tekton/Build").lane == LaneKey("h", "g/p", SHA, "tekton/build")
