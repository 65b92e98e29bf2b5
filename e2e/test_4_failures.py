"""The service is killed in the middle of a run; another replica takes over; what was recorded outlives both."""

from __future__ import annotations

import pytest

from e2e.catalogue import RECORD, RECORDED, Expected, long_run
from e2e.checks import log_problems, same_log_problems, status_problems
from e2e.conftest import SETTINGS
from e2e.mirror import done
from e2e.performance import Performance, chosen
from e2e.reading import Follower
from e2e.stage import FINAL, Stage

KILLED, TAKEN_OVER = long_run("killed"), long_run("taken-over")
_IN_THE_MIDDLE = b"[build : compile] compiling module 5\n"


def named(*runs: Expected) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("expected", chosen(SETTINGS.only, runs), ids=lambda expected: expected.name)


@named(KILLED)
async def test_after_a_kill_in_the_middle_the_log_is_whole_and_the_end_arrives(
    stage: Stage, performance: Performance, expected: Expected
) -> None:
    log = await _begin(stage, expected)
    await stage.listener.kill()
    await log.end(timeout=SETTINGS.timeout)
    assert not log.whole, "a reader took half a log for a whole one"
    await stage.start("one-again")
    again = Follower(stage.port, stage.path("logs", expected.run))
    await _until_over(stage, expected)
    await again.end(timeout=SETTINGS.timeout)
    assert again.whole
    problems = log_problems(expected, again.data, stage.witness.of(expected.run))
    assert not problems, "\n".join(problems)
    _assert_statuses(stage, expected)


@named(TAKEN_OVER)
async def test_when_a_replica_dies_another_one_reports_the_end(
    stage: Stage, performance: Performance, expected: Expected
) -> None:
    first = stage.listener
    second = await stage.start("two", port=0)
    await stage.leased_by(first.name)
    log = await _begin(stage, expected, replica=second.port)
    await first.kill()
    await stage.leased_by(second.name)
    await _until_over(stage, expected)
    await log.end(timeout=SETTINGS.timeout)
    assert log.whole, "the other replica's readers notice nothing"
    problems = log_problems(expected, log.data, stage.witness.of(expected.run))
    assert not problems, "\n".join(problems)
    _assert_statuses(stage, expected)


@named(*(expected for expected in RECORDED if RECORD in expected.labels))
async def test_a_recorded_log_outlives_its_pods_and_the_service(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    live = seen.logs[expected.name].data
    stage.port = stage.listener.port
    await stage.api.delete("pipelineruns", stage.namespace, expected.run)
    await stage.runs.until(
        lambda: expected.run not in stage.runs.objects, timeout=SETTINGS.timeout, what=f"{expected.run} is gone"
    )
    again = Follower(stage.port, stage.path("logs", expected.run) + "?wait=0")
    await again.end(timeout=SETTINGS.timeout)
    assert again.whole
    problems = same_log_problems(live, again.data)
    assert not problems, "\n".join(problems)


async def test_the_service_stops_when_it_is_told_to(stage: Stage, performance: Performance) -> None:
    assert await stage.listener.stop() == 0, stage.listener.tail()


async def _begin(stage: Stage, expected: Expected, *, replica: int | None = None) -> Follower:
    """Start the run, follow its log, and wait until it is in the middle."""
    stage.subject = expected.run
    log = Follower(replica or stage.port, stage.path("logs", expected.run) + "?wait=10m")
    await stage.create(stage.manifests.of(expected))
    await log.until(_IN_THE_MIDDLE, timeout=SETTINGS.timeout)
    return log


async def _until_over(stage: Stage, expected: Expected) -> None:
    await stage.runs.until(
        lambda: done(stage.runs.objects.get(expected.run)), timeout=SETTINGS.timeout, what=f"the end of {expected.run}"
    )
    await stage.witness.settled(expected.run, timeout=SETTINGS.timeout)
    await stage.until_shown(expected.run, *FINAL)


def _assert_statuses(stage: Stage, expected: Expected) -> None:
    """In order, the end once; one repeated request is what a crash may cost."""
    for (host, path), states in zip(stage.hosts, expected.ending[:2], strict=True):
        shown = stage.shown(host, path, expected.run)
        once = [
            state
            for number, state in enumerate(s.state for s in shown)
            if number == 0 or shown[number - 1].state != state
        ]
        problems = status_problems(once, shown[-1].description, states, expected.sentence, took=0.0)
        assert not problems, f"{host.name}: " + "; ".join(problems)
        assert len(shown) - len(once) <= 1
