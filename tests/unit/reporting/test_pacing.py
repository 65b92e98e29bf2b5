"""Budgets and circuits: a host is asked when it wants to be asked, and one that is down by one request at a time."""

from __future__ import annotations

import asyncio
import math

from tenacity import wait_exponential, wait_fixed, wait_none

from listener.reporting.hosts import Budgets
from listener.reporting.pacing import LONGEST_HOLD, Budget, Circuit, Pace
from notifiers.base import RateLimit, RetryableError, UnauthorizedError
from tests.unit.reporting.test_lanes import Host

SLOW = Pace(lane=wait_fixed(5), host=wait_fixed(5))
REFUSED, BROKEN = RetryableError("connection refused"), RetryableError("503", status=503)


class WithToken(Host):
    """A host's notifier that tells its accounts apart."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def account(self, repository: str) -> str:
        return f"host {self._token}"


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_writes_of_one_account_are_apart_from_end_to_beginning() -> None:
    budget = Budget(SLOW, interval=1.0)
    budget.begin()
    assert budget.earliest(final=True) == math.inf
    budget.end(asked=True)
    assert now() + 0.9 < budget.earliest(final=True) <= now() + 1.0


async def test_what_was_not_asked_costs_no_pause() -> None:
    budget = Budget(SLOW, interval=1.0)
    budget.begin()
    budget.end(asked=False)
    assert budget.earliest(final=True) <= now()


async def test_the_last_part_of_a_rate_limit_is_for_final_states() -> None:
    budget = Budget(SLOW)
    budget.learned(RateLimit(limit=100, remaining=5, resets_in=60))
    assert budget.earliest(final=True) <= now()
    assert budget.earliest(final=False) > now() + 50


async def test_with_nothing_left_nobody_asks_until_the_reset() -> None:
    budget = Budget(SLOW)
    budget.learned(RateLimit(limit=100, remaining=0, resets_in=60))
    assert budget.earliest(final=True) > now() + 50
    assert budget.left == 0


async def test_no_host_can_make_us_wait_for_more_than_an_hour() -> None:
    budget = Budget(SLOW)
    budget.close(RetryableError("429", status=429, retry_after=1e12))
    assert budget.earliest(final=True) <= now() + LONGEST_HOLD


async def test_a_host_that_says_how_long_is_asked_just_then_and_later_if_it_says_so_again() -> None:
    budget, error = Budget(SLOW), RetryableError("429", status=429, retry_after=0.01)
    budget.close(error)
    assert budget.earliest(final=True) <= now() + 0.01
    budget.opens = now()  # the time has come
    budget.close(error)
    assert budget.earliest(final=True) > now() + 4.9


async def test_requests_that_were_on_their_way_when_the_gate_closed_do_not_make_the_pause_longer() -> None:
    budget, error = (
        Budget(Pace(lane=wait_none(), host=wait_exponential(multiplier=10))),
        RetryableError("503", status=503),
    )
    for _ in range(4):
        budget.close(error)
    assert budget.earliest(final=True) <= now() + 10


async def test_a_refused_token_waits_at_least_half_a_minute() -> None:
    budget = Budget(Pace(lane=wait_none(), host=wait_none()))
    budget.close(UnauthorizedError("401", status=401))
    assert budget.earliest(final=True) > now() + 29


async def test_one_repository_that_fails_again_and_again_does_not_close_the_circuit() -> None:
    circuit = Circuit(SLOW)
    for _ in range(10):
        circuit.lane_failed("one", BROKEN)
    assert circuit.earliest(final=True) <= now()


async def test_several_lanes_in_a_row_close_it() -> None:
    circuit = Circuit(SLOW)
    for lane in ("one", "two", "three"):
        circuit.lane_failed(lane, BROKEN)
    assert circuit.earliest(final=True) > now()


async def test_a_success_in_between_starts_the_count_anew() -> None:
    circuit = Circuit(SLOW)
    for lane in ("one", "two", None, "three", "four"):
        if lane is None:
            circuit.answered()
        else:
            circuit.lane_failed(lane, BROKEN)
    assert circuit.earliest(final=True) <= now()


async def test_a_host_that_cannot_be_reached_is_down_for_everybody() -> None:
    circuit = Circuit(SLOW)
    for _ in range(3):
        circuit.lane_failed("one", REFUSED)
    assert circuit.earliest(final=True) > now()


async def test_after_its_pause_a_closed_circuit_lets_one_request_through_at_a_time() -> None:
    circuit = Circuit(Pace(lane=wait_none(), host=wait_none()))
    for _ in range(3):
        circuit.lane_failed("one", REFUSED)
    assert circuit.earliest(final=True) <= now()
    circuit.begin()
    assert circuit.earliest(final=True) == math.inf
    assert circuit.answered()
    assert circuit.earliest(final=True) <= now()


async def test_two_entries_with_one_token_share_its_budget_and_another_token_has_its_own() -> None:
    budgets = Budgets(SLOW)
    one, two, other = WithToken("a"), WithToken("a"), WithToken("b")
    assert budgets.of(one, "a/b")[1] is budgets.of(two, "c/d")[1]
    assert budgets.of(one, "a/b")[1] is not budgets.of(other, "a/b")[1]
