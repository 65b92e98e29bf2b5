"""What the service leaves in the cluster: Events where a commit gets no status, and no run that cannot go."""

from __future__ import annotations

import pytest

from e2e.catalogue import OTHERS, Expected
from e2e.conftest import SETTINGS
from e2e.performance import Performance, chosen
from e2e.stage import Stage, events_on


def only(name: str) -> pytest.MarkDecorator:
    found = [expected for expected in chosen(SETTINGS.only, OTHERS) if expected.name == name]
    return pytest.mark.parametrize("expected", found, ids=lambda expected: expected.name)


@only("branch")
async def test_a_run_without_a_commit_says_so_in_an_event(stage: Stage, seen: Performance, expected: Expected) -> None:
    assert await events_on(stage, expected.run, "CommitStatusUnroutable", timeout=SETTINGS.arrive)
    assert not any(stage.shown(host, path, expected.run) for host, path in stage.hosts)


@only("refused")
async def test_a_commit_that_the_hosts_do_not_know_is_an_event(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    events = await events_on(stage, expected.run, "CommitStatusRefused", timeout=SETTINGS.arrive)
    assert events
    assert {event["type"] for event in events} == {"Warning"}


@only("deleted")
async def test_a_run_that_was_deleted_goes_once_its_last_status_has_arrived(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    gone = f"{expected.run} is gone, its finalizer taken off"
    await stage.runs.until(lambda: expected.run not in stage.runs.objects, timeout=SETTINGS.arrive, what=gone)


async def test_the_cluster_has_refused_the_service_nothing(stage: Stage, performance: Performance) -> None:
    refusals = [
        line for replica in stage.replicas for line in replica.refusals if "gitlab" not in line and "github" not in line
    ]
    assert not refusals, "\n".join(refusals)
    status, body = await stage.listener.get("/readyz")
    assert (status, '"troubles": []' in body) == (200, True), body
