"""What GitLab is told of a deployment, with how many requests, and what becomes of attempts that broke in the middle."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from notifiers.base import Notifier, Outcome, PermanentError, Receipt, RetryableError, TooLateError, UnauthorizedError
from notifiers.gitlab import GitLabNotifier
from notifiers.reports import Deployment, RunDetails
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, Connect
from tests.unit.notifiers.subject import Subject

PROJECT = "/api/v4/projects/group%2Fservice-xyz"
NO_REF = Answer(400, {"message": {"ref": ["The branch or tag does not exist"]}})


def made(status: str = "running", **environment: Any) -> Answer:
    return Answer(201, {"id": 42, "status": status, "environment": {"id": 5, "external_url": None, **environment}})


def cannot(event: str) -> Answer:
    return Answer(400, {"message": {"status": [f'cannot transition via "{event}"']}})


def deployment(run: str = "run-1", **fields: Any) -> Deployment:
    given: dict[str, Any] = {
        "repository": "group/service-xyz",
        "sha": SHA,
        "context": "tekton/deploy",
        "outcome": Outcome.RUNNING,
        "description": "Running: rollout (2 of 3)",
        "environment": "review/feature-1",
        "ref": "main",
        "details": RunDetails(uid=run),
        **fields,
    }
    return Deployment(**given)


SUBJECT = Subject(
    name="gitlab deployment",
    notifier=GitLabNotifier,
    report=deployment,
    scope="'api'",
    answers=(("POST", "/deployments$", made()),),
    names=({"environment": "e" * 256}, {"environment": "né"}),
)


def steps(host: Host) -> list[tuple[str, str]]:
    return [(asked.method, urlsplit(asked.path).path.removeprefix(PROJECT)) for asked in host.asked]


async def test_a_runs_first_report_makes_the_deployment_and_later_ones_change_it(host: Host, gitlab: Notifier) -> None:
    host.script.extend([made(), made("success")])
    first = await gitlab.deliver(deployment())
    last = await gitlab.deliver(deployment(outcome=Outcome.SUCCEEDED), memo=first.memo)
    assert steps(host) == [("POST", "/deployments"), ("PUT", "/deployments/42")]
    assert host.asked[0].json == {
        "environment": "review/feature-1",
        "sha": SHA,
        "ref": "main",
        "tag": False,
        "status": "running",
    }
    assert host.asked[1].json == {"status": "success"}
    assert (first, last) == (Receipt(memo="42 open run-1"), Receipt(memo="42 done run-1"))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.QUEUED, "running"),
        (Outcome.RUNNING, "running"),
        (Outcome.SUCCEEDED, "success"),
        (Outcome.FAILED, "failed"),
        (Outcome.TIMED_OUT, "failed"),
        (Outcome.CANCELLED, "canceled"),
        (Outcome.BROKEN, "failed"),
        (Outcome.DELETED, "canceled"),
    ],
)
async def test_each_outcome_has_its_state(host: Host, gitlab: Notifier, outcome: Outcome, state: str) -> None:
    host.default = made(state)
    await gitlab.deliver(deployment(outcome=outcome))
    assert host.last.json["status"] == gitlab.word(Deployment, outcome) == state


@pytest.mark.parametrize("ref", [None, "", "r" * 256])
async def test_without_a_ref_the_commit_is_its_own(host: Host, gitlab: Notifier, ref: str | None) -> None:
    host.default = made()
    await gitlab.deliver(deployment(ref=ref))
    assert host.last.json["ref"] == SHA


async def test_where_the_branch_is_gone_the_commit_is_taken(host: Host, gitlab: Notifier) -> None:
    host.script.extend([NO_REF, made()])
    assert (await gitlab.deliver(deployment())).memo == "42 open run-1"
    assert [asked.json["ref"] for asked in host.asked] == ["main", SHA]
    host.asked.clear()
    host.script.append(Answer(400, {"message": {"sha": ["The commit does not exist"], "ref": ["not either"]}}))
    with pytest.raises(PermanentError, match="only to a fork"):
        await gitlab.deliver(deployment("run-2"))
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("outcome", "event"),
    [
        (Outcome.RUNNING, "run"),
        (Outcome.SUCCEEDED, "succeed"),
        (Outcome.FAILED, "drop"),
        (Outcome.CANCELLED, "cancel"),
    ],
)
async def test_a_state_that_is_there_already_counts_as_delivered(
    host: Host, gitlab: Notifier, outcome: Outcome, event: str
) -> None:
    host.default = cannot(event)
    memo = f"42 {'done' if outcome.final else 'open'} run-1"
    receipt = await gitlab.deliver(deployment(outcome=outcome), memo="42 open run-1")
    assert receipt == Receipt(memo=memo, already_there=True)
    assert len(host.asked) == 1


async def test_another_refusal_of_a_state_is_one(host: Host, gitlab: Notifier) -> None:
    host.default = Answer(400, {"error": "status does not have a valid value"})
    with pytest.raises(PermanentError, match="valid value"):
        await gitlab.deliver(deployment(), memo="42 open run-1")
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "environment",
    ["", " ", "/", "/a", "a/", "ünder", "a:b", "a`b", "a\\b", "a\n", "e" * 256],
)
async def test_what_cannot_be_an_environment_is_refused_without_a_request(
    host: Host, gitlab: Notifier, environment: str
) -> None:
    with pytest.raises(PermanentError, match="cannot be an environment"):
        await gitlab.deliver(deployment(environment=environment))
    assert host.asked == []


@pytest.mark.parametrize("environment", ["a", "review/$x_{y}.z -1", "production", "e" * 255])
async def test_what_gitlab_takes_as_an_environment(host: Host, gitlab: Notifier, environment: str) -> None:
    host.default = made()
    await gitlab.deliver(deployment(environment=environment))
    assert host.last.json["environment"] == environment


async def test_after_a_success_the_environment_leads_to_its_url(host: Host, gitlab: Notifier) -> None:
    url = "https://staging.example.com"
    host.script.extend([made(), made("success"), Answer(200, {"id": 5})])
    first = await gitlab.deliver(deployment(environment_url=url))
    await gitlab.deliver(deployment(environment_url=url, outcome=Outcome.SUCCEEDED), memo=first.memo)
    assert steps(host) == [("POST", "/deployments"), ("PUT", "/deployments/42"), ("PUT", "/environments/5")]
    assert host.last.json == {"external_url": url}


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://a.example.com", made("success", external_url="https://a.example.com")),
        ("javascript:x", made("success")),
        (f"https://a.example.com/{'x' * 255}", made("success")),
        (None, made("success", external_url="https://a.example.com")),
        ("https://a.example.com", Answer(201, {"id": 42, "environment": None})),
        ("https://a.example.com", made("success", id="5")),
    ],
)
async def test_a_url_that_is_none_or_there_already_costs_no_request(
    host: Host, gitlab: Notifier, url: str | None, answer: Answer
) -> None:
    host.default = answer
    await gitlab.deliver(deployment(environment_url=url, outcome=Outcome.SUCCEEDED))
    assert len(host.asked) == 1


async def test_a_url_that_is_refused_is_told_and_no_second_deployment_is_made(host: Host, gitlab: Notifier) -> None:
    host.script.extend([made("success"), Answer(503, {"message": "later"})])
    report = deployment(environment_url="https://a.example.com", outcome=Outcome.SUCCEEDED)
    with pytest.raises(RetryableError):
        await gitlab.deliver(report)
    host.script.append(cannot("succeed"))
    assert (await gitlab.deliver(report)).already_there
    assert steps(host)[2:] == [("PUT", "/deployments/42")]


@pytest.mark.parametrize(
    "lost",
    [Answer(502, b"<title>Bad gateway</title>"), Answer(how="reset"), Answer(201, b"<p>"), Answer(201, {"id": "42"})],
    ids=["502", "reset", "a page", "text"],
)
async def test_after_an_answer_that_was_lost_the_deployment_is_looked_for(
    host: Host, gitlab: Notifier, lost: Answer
) -> None:
    host.script.append(lost)
    with pytest.raises(RetryableError):
        await gitlab.deliver(deployment())
    ours = {"id": 42, "sha": SHA, "ref": "main", "status": "running", "deployable": None}
    others = [
        ours | {"id": 1, "sha": "0" * 40},
        ours | {"id": 2, "ref": "other"},
        ours | {"id": 3, "deployable": {"id": 1}},
        ours | {"id": 4, "status": "success"},
    ]
    host.script.extend([Answer(200, [*others, ours]), cannot("run")])
    assert (await gitlab.deliver(deployment())).memo == "42 open run-1"
    assert steps(host) == [("POST", "/deployments"), ("GET", "/deployments"), ("PUT", "/deployments/42")]
    assert parse_qs(urlsplit(host.asked[1].path).query) == {
        "environment": ["review/feature-1"],
        "order_by": ["id"],
        "sort": ["desc"],
        "per_page": ["20"],
    }


async def test_after_an_answer_that_was_lost_it_is_made_where_it_is_not_found(host: Host, gitlab: Notifier) -> None:
    host.script.append(Answer(how="reset"))
    with pytest.raises(RetryableError):
        await gitlab.deliver(deployment())
    host.script.extend([Answer(200, []), made()])
    await gitlab.deliver(deployment())
    assert steps(host)[1:] == [("GET", "/deployments"), ("POST", "/deployments")]


async def test_what_has_arrived_is_the_listeners_to_remember(host: Host, gitlab: Notifier) -> None:
    host.script.extend([made(), Answer(201, {"id": 43})])
    assert [(await gitlab.deliver(deployment())).memo for _ in range(2)] == ["42 open run-1", "43 open run-1"]


async def test_a_deployment_that_was_deleted_is_made_anew(host: Host, gitlab: Notifier) -> None:
    host.script.extend([Answer(404, {"message": "404 Not found"}), made()])
    assert (await gitlab.deliver(deployment(), memo="7 open run-1")).memo == "42 open run-1"
    assert steps(host) == [("PUT", "/deployments/7"), ("POST", "/deployments")]


@pytest.mark.parametrize("answer", [made("canceled"), cannot("cancel"), Answer(404, {"message": "404 Not found"})])
async def test_another_run_has_a_deployment_of_its_own_and_the_one_that_it_overtook_ends(
    host: Host, gitlab: Notifier, answer: Answer
) -> None:
    host.script.extend([answer, made()])
    assert (await gitlab.deliver(deployment("run-2"), memo="7 open run-1")).memo == "42 open run-2"
    assert steps(host) == [("PUT", "/deployments/7"), ("POST", "/deployments")]
    assert host.asked[0].json == {"status": "canceled"}


async def test_a_finished_run_is_left_alone_by_the_next_one(host: Host, gitlab: Notifier) -> None:
    host.default = made()
    await gitlab.deliver(deployment("run-2"), memo="7 done run-1")
    assert steps(host) == [("POST", "/deployments")]


@pytest.mark.parametrize("memo", ["", "42", "-1 open run-1", "42/../.. open run-1", "٤٢ open run-1", "? open"])
async def test_a_memo_that_is_none_gets_into_no_address(host: Host, gitlab: Notifier, memo: str) -> None:
    host.default = made()
    await gitlab.deliver(deployment(), memo=memo)
    assert steps(host) == [("POST", "/deployments")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(400, {"message": {"sha": ["The commit does not exist"]}}), PermanentError, "only to a fork"),
        (Answer(401, {"message": "401 Unauthorized"}), UnauthorizedError, "401"),
        (Answer(403, {"message": "403 Forbidden"}), PermanentError, "protected environment"),
        (Answer(404, {"message": "404 Project Not Found"}), PermanentError, "Developer"),
        (Answer(409, {"message": "Resource lock"}), RetryableError, "lock"),
        (Answer(422, {"message": "no"}), PermanentError, "422"),
        (Answer(429, {"message": "Slow down"}, {"Retry-After": "7"}), RetryableError, "429"),
        (Answer(500, {"message": "Oh"}), RetryableError, "500"),
        (Answer(200, b"<title>Sign in</title>"), RetryableError, "login page"),
        (Answer(302, b"", {"Location": "https://login.example.com/x"}), PermanentError, "login.example.com"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_what_an_answer_means(
    host: Host,
    gitlab: Notifier,
    everything_logged: pytest.LogCaptureFixture,
    answer: Answer,
    error: type[Exception],
    words: str,
) -> None:
    host.default = answer
    with pytest.raises(error, match=words) as caught:
        await gitlab.deliver(deployment())
    assert type(caught.value) is error
    assert len(host.asked) == 1
    assert TOKEN not in f"{caught.value}{everything_logged.text}"
    assert not [record for record in everything_logged.records if record.levelno > logging.DEBUG]


async def test_a_host_that_repeats_the_token_does_not_get_it_into_the_message(host: Host, gitlab: Notifier) -> None:
    host.default = Answer(how="echo", status=400)
    with pytest.raises(PermanentError) as caught:
        await gitlab.deliver(deployment())
    assert TOKEN not in str(caught.value)


async def test_no_request_begins_after_the_deadline(host: Host, gitlab: Notifier) -> None:
    with pytest.raises(TooLateError):
        await gitlab.deliver(deployment(), until=lambda: 0.0)
    assert host.asked == []


async def test_a_host_that_does_not_answer_is_left_in_time(host: Host, connect: Connect) -> None:
    host.default = Answer(how="hang")
    with pytest.raises(RetryableError, match="no answer in time"):
        await connect(GitLabNotifier, request_timeout=0.2).deliver(deployment())
