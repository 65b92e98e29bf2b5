"""What GitHub is told of a deployment, with how many requests, and what becomes of attempts that broke in the middle."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from notifiers.base import Notifier, Outcome, PermanentError, Receipt, RetryableError, TooLateError, UnauthorizedError
from notifiers.github import GitHubNotifier
from notifiers.reports import Deployment, RunDetails
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, Connect
from tests.unit.notifiers.subject import Subject

PLACE = "/api/v3/repos/acme/service-xyz/deployments"
MADE = Answer(201, {"id": 42})
SAID = Answer(201, {"id": 1, "state": "success"})


def deployment(run: str = "run-1", **fields: Any) -> Deployment:
    given: dict[str, Any] = {
        "repository": "acme/service-xyz",
        "sha": SHA,
        "context": "tekton/deploy",
        "outcome": Outcome.RUNNING,
        "description": "Running: rollout (2 of 3)",
        "target_url": "https://tekton.example.com/runs/ci/deploy-1",
        "environment": "staging/eu",
        "details": RunDetails(uid=run),
        **fields,
    }
    return Deployment(**given)


SUBJECT = Subject(
    name="github deployment",
    notifier=GitHubNotifier,
    report=deployment,
    scope="'Deployments: write'",
    requests=("POST", "POST"),
    answers=(("POST", "/deployments$", MADE), ("POST", "/deployments/42/statuses$", SAID)),
    limits={"description": 140},
    names=({"environment": "e" * 256}, {"environment": "two\nlines"}),
)


def steps(host: Host) -> list[tuple[str, str]]:
    return [(asked.method, urlsplit(asked.path).path.removeprefix(PLACE)) for asked in host.asked]


async def test_a_runs_first_report_makes_the_deployment_and_later_ones_speak_of_it(
    host: Host, github: Notifier
) -> None:
    host.script.extend([MADE, SAID, SAID])
    first = await github.deliver(deployment())
    url = "https://staging.example.com"
    done = deployment(outcome=Outcome.SUCCEEDED, description="Passed in 41s", environment_url=url)
    last = await github.deliver(done, memo=first.memo)
    made, running, success = host.asked
    assert steps(host) == [("POST", ""), ("POST", "/42/statuses"), ("POST", "/42/statuses")]
    assert made.json == {
        "ref": SHA,
        "environment": "staging/eu",
        "description": "tekton/deploy",
        "auto_merge": False,
        "required_contexts": [],
        "payload": {"run": "run-1"},
    }
    log_url = "https://tekton.example.com/runs/ci/deploy-1"
    assert running.json == {"state": "in_progress", "description": "Running: rollout (2 of 3)", "log_url": log_url}
    assert success.json == {
        "state": "success",
        "description": "Passed in 41s",
        "log_url": log_url,
        "environment_url": url,
        "auto_inactive": True,
    }
    assert (first, last) == (Receipt(memo="42 open run-1"), Receipt(memo="42 done run-1"))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.QUEUED, "queued"),
        (Outcome.RUNNING, "in_progress"),
        (Outcome.SUCCEEDED, "success"),
        (Outcome.FAILED, "failure"),
        (Outcome.TIMED_OUT, "failure"),
        (Outcome.CANCELLED, "error"),
        (Outcome.BROKEN, "error"),
        (Outcome.DELETED, "error"),
    ],
)
async def test_each_outcome_has_its_state(host: Host, github: Notifier, outcome: Outcome, state: str) -> None:
    host.default = SAID
    await github.deliver(deployment(outcome=outcome), memo="42 open run-1")
    assert host.last.json["state"] == github.word(Deployment, outcome) == state
    assert ("auto_inactive" in host.last.json) is (outcome is Outcome.SUCCEEDED)


async def test_texts_are_cut_and_links_left_out_that_are_none(host: Host, github: Notifier) -> None:
    host.script.extend([MADE, SAID])
    bad = {"target_url": "javascript:x", "environment_url": f"https://x.example.com/{'x' * 2048}"}
    await github.deliver(deployment(context="c" * 200, description="word " * 80, **bad))
    assert len(host.asked[0].json["description"]) == 140
    assert host.asked[1].json == {"state": "in_progress", "description": "word " * 27 + "word…"}


@pytest.mark.parametrize(
    "environment",
    ["", " ", "e" * 256, "two\nlines", " staging", "staging\u2028"],
    ids=["", " ", "long", "\\n", " s", "sep"],
)
async def test_what_cannot_be_an_environment_is_refused_without_a_request(
    host: Host, github: Notifier, environment: str
) -> None:
    with pytest.raises(PermanentError, match="environment"):
        await github.deliver(deployment(environment=environment))
    assert host.asked == []


async def test_a_deployment_that_is_there_is_spoken_of_again_after_a_failure(host: Host, github: Notifier) -> None:
    host.script.extend([MADE, Answer(502, b"<html>")])
    with pytest.raises(RetryableError):
        await github.deliver(deployment())
    host.script.append(SAID)
    assert (await github.deliver(deployment())).memo == "42 open run-1"
    assert steps(host) == [("POST", ""), ("POST", "/42/statuses"), ("POST", "/42/statuses")]


@pytest.mark.parametrize(
    "lost",
    [
        Answer(502, b"<title>Bad gateway</title>"),
        Answer(how="reset"),
        Answer(201, {"id": 42, "more": "x" * 100}, how="cut"),
        Answer(201, b"<title>A proxy</title>"),
        Answer(201, {"id": "42"}),
        Answer(202, {"message": "Auto-merged main into it on deployment."}),
    ],
    ids=["502", "reset", "cut", "a page", "text", "202"],
)
async def test_after_an_answer_that_was_lost_the_deployment_is_looked_for(
    host: Host, github: Notifier, lost: Answer
) -> None:
    host.script.append(lost)
    with pytest.raises(RetryableError):
        await github.deliver(deployment())
    others = [7, {"id": 1, "payload": {"run": "run-0"}}, {"id": 2, "payload": "{"}, {"id": 3, "payload": []}]
    host.script.extend([Answer(200, [*others, {"id": 42, "payload": '{"run": "run-1"}'}]), SAID])
    assert (await github.deliver(deployment())).memo == "42 open run-1"
    assert steps(host) == [("POST", ""), ("GET", ""), ("POST", "/42/statuses")]
    assert parse_qs(urlsplit(host.asked[1].path).query) == {
        "sha": [SHA],
        "environment": ["staging/eu"],
        "per_page": ["30"],
    }


async def test_after_an_answer_that_was_lost_it_is_made_where_it_is_not_found(host: Host, github: Notifier) -> None:
    host.script.append(Answer(how="reset"))
    with pytest.raises(RetryableError):
        await github.deliver(deployment())
    host.script.extend([Answer(200, [{"id": 1, "payload": {"run": "run-0"}}]), MADE, SAID])
    await github.deliver(deployment())
    assert steps(host)[1:] == [("GET", ""), ("POST", ""), ("POST", "/42/statuses")]


async def test_a_refused_deployment_is_not_looked_for(host: Host, github: Notifier) -> None:
    host.script.append(Answer(403, {"message": "You have exceeded a secondary rate limit."}))
    with pytest.raises(RetryableError) as caught:
        await github.deliver(deployment())
    assert caught.value.retry_after == 60
    host.script.extend([MADE, SAID])
    await github.deliver(deployment())
    assert steps(host)[1:] == [("POST", ""), ("POST", "/42/statuses")]


async def test_a_delivery_that_nobody_waited_for_is_gone_on_with(host: Host, connect: Connect) -> None:
    github = connect(GitHubNotifier, threads=1)  # so that the next attempt waits for its end
    host.script.extend([MADE, Answer(201, {"state": "in_progress"}, how="hang")])
    task = asyncio.create_task(github.deliver(deployment()))
    await host.has(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    host.release()
    host.default = SAID
    await github.deliver(deployment(outcome=Outcome.SUCCEEDED))
    assert steps(host)[2:] == [("POST", "/42/statuses")]


async def test_what_has_arrived_is_the_listeners_to_remember(host: Host, github: Notifier) -> None:
    host.script.extend([MADE, SAID, Answer(201, {"id": 43}), SAID])
    assert [(await github.deliver(deployment())).memo for _ in range(2)] == ["42 open run-1", "43 open run-1"]


async def test_a_deployment_that_was_deleted_is_made_anew(host: Host, github: Notifier) -> None:
    host.script.extend([Answer(404, {"message": "Not Found"}), MADE, SAID])
    assert (await github.deliver(deployment(), memo="7 open run-1")).memo == "42 open run-1"
    assert steps(host) == [("POST", "/7/statuses"), ("POST", ""), ("POST", "/42/statuses")]


async def test_another_run_has_a_deployment_of_its_own_and_the_one_that_it_overtook_ends(
    host: Host, github: Notifier
) -> None:
    host.script.extend([SAID, MADE, SAID])
    assert (await github.deliver(deployment("run-2"), memo="7 open run-1")).memo == "42 open run-2"
    assert steps(host) == [("POST", "/7/statuses"), ("POST", ""), ("POST", "/42/statuses")]
    assert host.asked[0].json["state"] == "inactive"
    host.asked.clear()
    host.script.extend([MADE, SAID])
    await github.deliver(deployment("run-3"), memo="42 done run-2")
    assert steps(host) == [("POST", ""), ("POST", "/42/statuses")]


@pytest.mark.parametrize(
    "memo", ["", "42", "-1 open run-1", "42/../.. open run-1", "٤٢ open run-1", f"{'9' * 19} open run-1", "4 2 run-1", "? open"]
)  # fmt: skip
async def test_a_memo_that_is_none_gets_into_no_address(host: Host, github: Notifier, memo: str) -> None:
    host.script.extend([MADE, SAID])
    await github.deliver(deployment(), memo=memo)
    assert steps(host) == [("POST", ""), ("POST", "/42/statuses")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(401, {"message": "Bad credentials"}), UnauthorizedError, "Bad credentials"),
        (Answer(403, {"message": "Resource not accessible by integration"}), PermanentError, "Deployments: write"),
        (Answer(404, {"message": "Not Found"}), PermanentError, "repo_deployment"),
        (Answer(409, {"message": "Conflict: Commit status checks failed for main."}), PermanentError, "rules of the"),
        (Answer(422, {"message": f"No ref found for: {SHA}"}), PermanentError, "only to a fork"),
        (Answer(429, {"message": "Slow down"}, {"Retry-After": "7"}), RetryableError, "7 s"),
        (Answer(500, {"message": "Oh"}), RetryableError, "500"),
        (Answer(302, b"", {"Location": "https://login.example.com/x"}), PermanentError, "login.example.com"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_what_an_answer_means(
    host: Host,
    github: Notifier,
    everything_logged: pytest.LogCaptureFixture,
    answer: Answer,
    error: type[Exception],
    words: str,
) -> None:
    for script in ([answer], [MADE, answer]):
        host.asked.clear()
        host.script.extend(script)
        with pytest.raises(error, match=words) as caught:
            await github.deliver(deployment(f"run-{len(script)}"))
        assert type(caught.value) is error
        assert len(host.asked) == len(script)
        assert TOKEN not in f"{caught.value}{everything_logged.text}"
    assert not [record for record in everything_logged.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize("answer", [Answer(how="echo", status=400), Answer(how="echo", status=500)], ids=["400", "500"])
async def test_a_host_that_repeats_the_token_does_not_get_it_into_the_message(
    host: Host, github: Notifier, answer: Answer
) -> None:
    host.script.extend([MADE, answer])
    with pytest.raises((PermanentError, RetryableError)) as caught:
        await github.deliver(deployment())
    assert TOKEN not in str(caught.value)


async def test_no_request_begins_after_the_deadline(host: Host, github: Notifier) -> None:
    with pytest.raises(TooLateError):
        await github.deliver(deployment(), until=lambda: 0.0)
    assert host.asked == []


async def test_a_host_that_does_not_answer_is_left_in_time(host: Host, connect: Connect) -> None:
    notifier = connect(GitHubNotifier, request_timeout=0.2)
    host.script.extend([MADE, Answer(how="hang")])
    with pytest.raises(RetryableError, match="no answer in time"):
        await notifier.deliver(deployment())


@pytest.mark.parametrize("repository", ["acme", "acme/a/b", "acme/..", "../acme"])
async def test_a_path_that_is_none_gets_into_no_address(host: Host, github: Notifier, repository: str) -> None:
    with pytest.raises(PermanentError, match="cannot be a repository"):
        await github.deliver(deployment(repository=repository))
    assert host.asked == []


async def test_a_revoked_token_is_replaced_between_two_requests_and_no_second_deployment_is_made(
    host: Host, scripted: Connect
) -> None:
    host.grants = Answer(201, {"token": "ghs_0123456789", "expires_at": "2099-01-01T01:00:00Z"})
    host.script.extend([MADE, Answer(401, {"message": "Bad credentials"}), SAID])
    assert (await scripted().deliver(deployment())).memo == "42 open run-1"
    assert steps(host) == [("POST", ""), ("POST", "/42/statuses"), ("POST", "/42/statuses")]
