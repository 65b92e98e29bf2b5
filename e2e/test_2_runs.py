"""What became of each run: on the commit, in the log, as an exit code, on its page, on the run itself."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from e2e.catalogue import Expected
from e2e.checks import log_problems, same_log_problems, status_problems
from e2e.conftest import SETTINGS
from e2e.mirror import condition
from e2e.performance import Performance, chosen
from e2e.reading import Follower, client, curl
from e2e.stage import Stage, delivered

ALL = chosen(SETTINGS.only)
REPORTED = [expected for expected in ALL if expected.reported]
each_run = pytest.mark.parametrize("expected", ALL, ids=lambda expected: expected.name)
each_reported = pytest.mark.parametrize("expected", REPORTED, ids=lambda expected: expected.name)
each_kept = pytest.mark.parametrize(
    "expected", [e for e in REPORTED if e.name != "deleted"], ids=lambda expected: expected.name
)


@each_reported
async def test_both_hosts_show_its_states_in_order_and_its_end(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    took = _took(stage, expected.run)
    for (host, path), states in zip(stage.hosts, expected.ending[:2], strict=True):
        shown = stage.shown(host, path, expected.run)
        last = shown[-1].description if shown else ""
        problems = status_problems([one.state for one in shown], last, states, expected.sentence, took=took)
        assert not problems, f"{host.name}: " + "; ".join(problems)
        assert host.latest(path, shown[0].sha)[f"tekton/{expected.run}"].state == states[-1]


@each_run
async def test_its_log_is_whole_from_before_it_existed_to_its_verdict(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    log = seen.logs[expected.name]
    assert log.status == 200
    assert log.whole, f"the log was cut after {log.data[-300:]!r}"
    problems = log_problems(expected, log.data, stage.witness.of(expected.run))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("expected", [e for e in ALL if e.name != "deleted"], ids=lambda expected: expected.name)
async def test_its_log_is_the_same_for_who_comes_later(stage: Stage, seen: Performance, expected: Expected) -> None:
    again = Follower(stage.port, stage.path("logs", expected.run))
    await again.end(timeout=SETTINGS.timeout)
    assert again.whole
    problems = same_log_problems(seen.logs[expected.name].data, again.data)
    assert not problems, "\n".join(problems)


@each_kept
async def test_its_exit_code_is_that_of_the_run(stage: Stage, seen: Performance, expected: Expected) -> None:
    found = condition(stage.runs.last.get(expected.run))
    assert found["status"] == ("True" if expected.succeeds else "False")
    async with client(stage.port) as session, session.get(stage.path("status", expected.run)) as response:
        assert response.status == (200 if expected.succeeds else 400)
        body = await response.json()
    assert list(body) == ["message", "reason", "type", "status"]
    assert body == {key: found[key] for key in body}


@each_kept
async def test_its_link_opens_its_page_without_a_password_and_no_other(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    links = {posted.target_url for host, path in stage.hosts for posted in stage.shown(host, path, expected.run)}
    assert len(links) == 1
    link = str(links.pop())
    assert link.startswith(f"{stage.public_url}/s/")
    assert link.endswith(stage.path("runs", expected.run))
    path = link.removeprefix(stage.public_url)
    async with client(stage.port, user="") as session:
        async with session.get(path) as response:
            page = await response.text()
            assert response.status == 200
        async with session.get(path.replace("/runs/", "/logs/", 1)) as response:
            assert response.status == 200
        async with session.get(stage.path("runs", expected.run)) as response:
            assert response.status == 401
        async with session.get(path.replace(expected.run, f"{expected.run}-x")) as response:
            assert response.status in (401, 403, 404)
    assert expected.run in page


@each_kept
async def test_what_has_arrived_is_written_on_the_run(stage: Stage, seen: Performance, expected: Expected) -> None:
    ledger = await delivered(stage, expected.run, timeout=SETTINGS.arrive)
    assert sorted(str(entry["state"]) for entry in ledger.values()) == sorted(
        states[-1] for states in expected.ending[:2]
    )


@pytest.mark.parametrize("expected", [e for e in ALL if e.name == "r68g8"], ids=lambda expected: expected.name)
async def test_a_job_takes_the_verdict_the_moment_the_run_ends(
    stage: Stage, seen: Performance, expected: Expected
) -> None:
    assert seen.midway is not None
    assert (seen.midway[0], json.loads(seen.midway[1])["status"]) == (400, "Unknown")
    assert seen.waited is not None, "/status?wait= gave no answer when the run was over"
    assert (seen.waited[0], json.loads(seen.waited[1])["status"]) == (200, "True")


@pytest.mark.parametrize("expected", [e for e in ALL if e.name == "pending"], ids=lambda expected: expected.name)
async def test_a_pending_run_is_not_a_success(stage: Stage, seen: Performance, expected: Expected) -> None:
    assert seen.held is not None
    assert seen.held[0] == 400
    assert json.loads(seen.held[1])["status"] == "Unknown"


@pytest.mark.parametrize("expected", [e for e in ALL if e.name in ("r68g8", "fail1", "unnamed")], ids=lambda e: e.name)
async def test_curl_f_tells_a_job_how_it_ended(stage: Stage, seen: Performance, expected: Expected) -> None:
    code = await curl(stage.port, stage.path("status", expected.run))
    if code is None:
        pytest.skip("no curl on this machine")
    assert code == (0 if expected.succeeds else 22)
    log = f"{stage.path('logs', expected.run)}?exit-status=1"
    assert await curl(stage.port, log, "-N") == (0 if expected.succeeds else 18)


def _took(stage: Stage, run: str) -> float:
    """Seconds from the run's start to its end, as the cluster has them; 0 where one is missing."""
    status = (stage.runs.last.get(run) or {}).get("status") or {}
    times = [status.get(key) for key in ("startTime", "completionTime")]
    if not all(times):
        return 0.0
    start, end = (datetime.fromisoformat(str(time)) for time in times)
    return (end - start).total_seconds()
