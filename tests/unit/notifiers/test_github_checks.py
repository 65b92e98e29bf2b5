"""Check runs: how many requests, what is in them, and what answers lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.base import (
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    RateLimit,
    RetryableError,
    TooLateError,
    UnauthorizedError,
    clock,
)
from notifiers.github import GitHubNotifier
from notifiers.github_checks import STATES, _moment, _remembered
from notifiers.reports import CheckRun, CommitStatus, RunDetails
from tests.contract import openapi
from tests.unit.notifiers.host import Answer, Asked, Host
from tests.unit.notifiers.scene import DATE, GRANTED, SHA, TOKEN, Connect, token_of
from tests.unit.notifiers.subject import Subject, github_app

PATH = "/api/v3/repos/group/service-xyz/check-runs"
UID = "7d4c1f7e-0000-4000-8000-000000000001"
DETAILS = RunDetails(uid=UID, started="2026-01-02T04:04:05.123456789+01:00", completed="2026-01-02T03:06:00Z")
ERRORS = "".join(f"src/main.c:{n}:5: error: number {n}\n" for n in range(1, 74))
MADE = {"id": 4711, "head_sha": SHA}
STRANGER = "Invalid app_id `2` - check run can only be modified by the GitHub App that created it."
BAD_ANNOTATIONS = {
    "message": "Validation Failed",
    "errors": [{"resource": "CheckRun", "code": "invalid", "field": "annotations"}],
}


def report(**fields: Any) -> CheckRun:
    given: dict[str, Any] = {
        "repository": "group/service-xyz",
        "sha": SHA,
        "context": "tekton/build",
        "outcome": Outcome.FAILED,
        "description": "Failed in 1m 55s: build › compile exited 2",
        "target_url": "https://tekton.example.com/runs/ci/build-1",
        "text": "| task | took |\n|---|---|\n| build | 1m 55s |\n",
        "details": DETAILS,
        **fields,
    }
    return CheckRun(**given)


SUBJECT = Subject(
    name="github check run",
    notifier=GitHubNotifier,
    settings=github_app,
    report=report,
    scope="'Checks: write'",
    answers=(("POST", "/check-runs$", Answer(201, MADE)),),
    long=lambda text: {"description": text, "context": text, "text": f"{text}\n\n" * 30},
    limits={"name": 255, "output.title": 255, "output.summary": 65_535},
    counted={"output.summary": lambda text: len(text.encode())},
)


def with_log(log: str, **fields: Any) -> CheckRun:
    return report(details=RunDetails(uid=UID, log_tail=log), **fields)


def requests(host: Host) -> list[tuple[str, str]]:
    """What was asked for. Each request is one that GitHub knows."""
    for asked in host.asked:
        openapi.check_request(asked.method, asked.path, asked.body)
    return [(asked.method, asked.path) for asked in host.asked]


@pytest.fixture
def checks(host: Host, connect: Connect) -> Notifier:
    """A notifier for a host that has made what it is asked for. It has a token: GitHub wants an App, and this host does not care."""
    host.default = Answer(201, MADE)
    return connect(GitHubNotifier)


@pytest.fixture
def app(host: Host, scripted: Callable[..., Notifier]) -> Notifier:
    """As ``checks``, with an App."""
    host.grants, host.default = Answer(201, GRANTED, DATE), Answer(201, MADE)
    return scripted()


# What is said


async def test_a_finished_run_that_was_not_reported_before_is_one_request(host: Host, checks: Notifier) -> None:
    receipt = await checks.deliver(with_log("src/main.c:12:5: error: expected ;\n"))
    assert requests(host) == [("POST", PATH)]
    assert token_of(host.last) == TOKEN
    assert receipt.memo == f"4711 {UID}"
    assert host.last.json == {
        "name": "tekton/build",
        "head_sha": SHA,
        "details_url": "https://tekton.example.com/runs/ci/build-1",
        "external_id": UID,
        "status": "completed",
        "conclusion": "failure",
        "output": {
            "title": "Failed in 1m 55s: build › compile exited 2",
            "summary": "| task | took |\n|---|---|\n| build | 1m 55s |",
            "annotations": [
                {"path": "src/main.c", "start_line": 12, "end_line": 12, "start_column": 5, "end_column": 5,
                 "annotation_level": "failure", "message": "expected ;"},
            ],
        },
    }  # fmt: skip


async def test_a_run_has_one_check_run_from_its_beginning_to_its_end(host: Host, checks: Notifier) -> None:
    host.script.extend([Answer(201, MADE), Answer(200, MADE), Answer(200, MADE)])
    memo = None
    for outcome in (Outcome.QUEUED, Outcome.RUNNING, Outcome.SUCCEEDED):
        memo = (await checks.deliver(report(outcome=outcome), memo=memo)).memo
        assert memo == f"4711 {UID}"
    assert requests(host) == [("POST", PATH), ("PATCH", f"{PATH}/4711"), ("PATCH", f"{PATH}/4711")]
    said = [[asked.json.get(name) for name in ("status", "conclusion", "completed_at")] for asked in host.asked]
    assert said == [
        ["queued", None, None],
        ["in_progress", None, None],
        ["completed", "success", "2026-01-02T03:06:00Z"],
    ]
    assert {asked.json["started_at"] for asked in host.asked} == {"2026-01-02T03:04:05Z"}


@pytest.mark.parametrize("outcome", Outcome)
async def test_each_outcome_has_its_word(host: Host, checks: Notifier, outcome: Outcome) -> None:
    await checks.deliver(report(outcome=outcome))
    requests(host)
    sent = host.last.json
    assert checks.word(CheckRun, outcome) == sent.get("conclusion", sent["status"]) == STATES[outcome]
    assert (sent["status"] == "completed") == outcome.final
    await checks.deliver(report(outcome=outcome, optional=True))
    assert host.last.json.get("conclusion") == ("neutral" if outcome.failure else sent.get("conclusion"))


def test_a_status_keeps_its_own_words() -> None:
    assert STATES.keys() == set(Outcome)
    assert GitHubNotifier.reports >= {CommitStatus, CheckRun}


async def test_another_run_on_the_same_commit_has_a_check_run_of_its_own(host: Host, checks: Notifier) -> None:
    await checks.deliver(report(), memo="4000 another-uid")
    assert requests(host) == [("POST", PATH)]


@pytest.mark.parametrize(
    ("answer", "memo"),
    [
        (Answer(404, {"message": "Not Found"}), f"7 {UID}"),
        (Answer(403, {"message": STRANGER}), f"7 {UID}"),
        (Answer(200, {"id": 7, "head_sha": "0" * 40}), f"7 {UID}"),
    ],
    ids=["gone", "another App's", "another commit's"],
)
async def test_a_check_run_that_cannot_be_this_ones_is_made_anew(
    host: Host, checks: Notifier, answer: Answer, memo: str
) -> None:
    host.script.append(answer)
    receipt = await checks.deliver(report(), memo=memo)
    assert requests(host) == [("PATCH", f"{PATH}/7"), ("POST", PATH)]
    assert receipt.memo == f"4711 {UID}"


@given(st.text() | st.from_regex(r"[0-9 /.%]{0,25} ?[a-z-]{0,9}", fullmatch=True), st.text(max_size=4))
def test_any_memo_may_have_been_written(memo: str, uid: str) -> None:
    number = _remembered(memo, uid)
    if number is not None:
        assert 0 < number < 10**19
        assert memo == f"{number} {uid}"
    assert _remembered(None, uid) is None


async def test_without_a_readable_memo_a_check_run_is_made(host: Host, checks: Notifier) -> None:
    for memo in (None, "", "x", f"0 {UID}", f"-1 {UID}", f"../1 {UID}", f"٣ {UID}", f"1 {UID}\n", "1"):
        await checks.deliver(report(), memo=memo)
    assert set(requests(host)) == {("POST", PATH)}


# What is in it


async def test_more_annotations_than_github_takes_are_cut_and_that_is_said(host: Host, checks: Notifier) -> None:
    await checks.deliver(with_log(ERRORS))
    assert requests(host) == [("POST", PATH)]
    output = host.last.json["output"]
    assert [entry["start_line"] for entry in output["annotations"]] == list(range(1, 51))
    assert output["summary"].endswith("\n\n50 of 73 messages are shown at their lines.\n")


async def test_annotations_come_with_the_end_only(host: Host, checks: Notifier) -> None:
    await checks.deliver(with_log(ERRORS, outcome=Outcome.RUNNING))
    assert "annotations" not in host.last.json["output"]


@pytest.mark.parametrize("given", ["start", "update"])
async def test_annotations_that_github_does_not_want_do_not_keep_the_state_from_arriving(
    host: Host, checks: Notifier, given: str
) -> None:
    host.script.append(Answer(422, BAD_ANNOTATIONS))
    host.default = Answer(201 if given == "start" else 200, MADE)
    await checks.deliver(with_log("a.c:1:2: error: x"), memo=None if given == "start" else f"4711 {UID}")
    first, second = host.asked
    assert (first.method, first.path) == (second.method, second.path)
    assert first.json["output"].pop("annotations")
    expected = first.json
    del expected["output"]["annotations"]
    assert second.json == expected


@pytest.mark.parametrize("text", ["word " * 50_000, "wörd💥\n" * 30_000, "```\n" + "line\n" * 30_000 + "```\n"])
async def test_a_long_summary_is_cut_in_bytes(host: Host, checks: Notifier, text: str) -> None:
    await checks.deliver(with_log(ERRORS, text=text))
    requests(host)
    summary = host.last.json["output"]["summary"]
    assert 60_000 < len(summary.encode()) <= 65_535
    assert summary.endswith("\n\n50 of 73 messages are shown at their lines.\n")
    assert "_Cut here: GitHub takes no more._" in summary
    assert summary.count("```") % 2 == 0


async def test_a_long_message_is_cut_in_bytes(host: Host, checks: Notifier) -> None:
    await checks.deliver(with_log("a.c:1:2: error: " + "wörd💥" * 15_000))
    (entry,) = host.last.json["output"]["annotations"]
    assert 65_000 < len(entry["message"].encode()) <= 65_536


@pytest.mark.parametrize("text", ["", "\n \n", "\x00"])
async def test_there_is_always_a_title_and_a_summary(host: Host, checks: Notifier, text: str) -> None:
    await checks.deliver(report(text=text, description="", target_url="javascript:alert(1)", details=RunDetails()))
    requests(host)
    sent = host.last.json
    assert sent["output"] == {"title": "tekton/build", "summary": "tekton/build"}
    assert not {"details_url", "external_id", "started_at", "completed_at"} & set(sent)


async def test_names_and_titles_are_cut_and_two_long_names_stay_two(host: Host, checks: Notifier) -> None:
    for end in "ab":
        await checks.deliver(report(context="c" * 300 + end, description="d" * 300))
    names = {asked.json["name"] for asked in host.asked}
    assert [len(name) for name in names] == [255, 255]
    assert len(host.last.json["output"]["title"]) == 255


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05Z"),
        ("2026-01-01T23:04:05-04:00", "2026-01-02T03:04:05Z"),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_in_utc(text: str, moment: str | None) -> None:
    assert _moment(text) == moment


# What an answer means


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (
            403,
            "You must authenticate via a GitHub App.",
            r"GitHub App\.; only a GitHub App may .*, no token can: give the host app_id and .*'Checks: write'",
        ),
        (403, "Resource not accessible by integration", r"'Checks: write'"),
        (404, "Not Found", r"Not Found; the repository is not on this host.*'Checks: write'"),
        (422, f"No commit found for SHA: {SHA}", r"pushed to this repository"),
        (409, "odd", "odd"),
    ],
)
@pytest.mark.parametrize("memo", [None, f"7 {UID}"], ids=["first", "later"])
async def test_a_refusal_says_what_to_do(
    host: Host, checks: Notifier, code: int, message: str, says: str, memo: str | None
) -> None:
    host.default = Answer(code, {"message": message})
    with pytest.raises(PermanentError, match=says) as raised:
        await checks.deliver(report(), memo=memo)
    assert raised.value.status == (404 if code == 422 else code), "an unknown commit leads to the fallback repository"
    assert len(host.asked) == (2 if memo and code == 404 else 1)


@pytest.mark.parametrize("memo", [None, f"7 {UID}"], ids=["first", "later"])
@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(429, {"message": "slow down"}, {"Retry-After": "30"}), 30.0),
        (Answer(403, {"message": "You have exceeded a secondary rate limit."}), 60.0),
        (Answer(503, b"<html>", {"Retry-After": "3"}), 3.0),
        (Answer(500, {"message": "oops"}), None),
        (Answer(200, b"<title>Log in</title>"), None),
        (Answer(200, [1]), None),
        (Answer(200, {"message": "hi"}), None),
        (Answer(204, b""), None),
        (Answer(how="reset"), None),
        (Answer(how="cut"), None),
    ],
    ids=repr,
)
async def test_trouble_is_worth_another_try(
    host: Host, checks: Notifier, answer: Answer, seconds: float | None, memo: str | None
) -> None:
    host.default = answer
    with pytest.raises(RetryableError) as raised:
        await checks.deliver(report(), memo=memo)
    assert not isinstance(raised.value, UnauthorizedError)
    assert raised.value.retry_after == seconds
    assert len(host.asked) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 5000, [1], {"id": "x"}, {"id": True}, {"id": -1}, {"id": 10**30}])
async def test_what_was_made_is_made_whatever_comes_with_it(host: Host, checks: Notifier, body: Any) -> None:
    host.default = Answer(201, body)
    receipt = await checks.deliver(report())
    assert len(host.asked) == 1
    following = await checks.deliver(report(), memo=receipt.memo)
    assert following == receipt


async def test_a_refused_token_is_replaced_once(host: Host, app: Notifier) -> None:
    host.default = Answer(401, {"message": "Bad credentials"})
    with pytest.raises(UnauthorizedError):
        await app.deliver(report())
    assert (len(host.asked), host.granted) == (2, 2)


async def test_what_is_left_is_passed_on(host: Host, checks: Notifier) -> None:
    left = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "978307230"}
    host.default = Answer(201, MADE, {**left, **DATE})
    assert (await checks.deliver(report())).rate_limit == RateLimit(limit=100, remaining=7, resets_in=30.0)


async def test_a_host_that_does_not_answer_holds_nothing_up(host: Host, connect: Connect) -> None:
    host.default = Answer(how="hang")
    with pytest.raises(RetryableError, match="no answer in time"):
        await connect(GitHubNotifier, request_timeout=0.2).deliver(report())
    assert len(host.asked) == 1


async def test_after_the_deadline_no_request_begins(host: Host, checks: Notifier) -> None:
    host.script.append(Answer(404, {"message": "Not Found"}, how="hang"))
    until = clock() + 0.3
    with pytest.raises(TooLateError):
        await checks.deliver(report(), memo=f"7 {UID}", until=lambda: until)
    assert requests(host) == [("PATCH", f"{PATH}/7")]


async def test_a_cancelled_delivery_leaves_nothing_behind(host: Host, checks: Notifier) -> None:
    host.default = Answer(how="hang")
    delivery = asyncio.create_task(checks.deliver(report()))
    await host.has(requests=1)
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    host.release()
    await checks.close()
    await host.has_no_connection()


@pytest.mark.parametrize(
    "place", [{"repository": "a/b/../c"}, {"repository": "a/b?x"}, {"sha": "main"}, {"sha": "a" * 39}]
)
async def test_no_odd_path_gets_into_a_url(host: Host, checks: Notifier, place: dict[str, str]) -> None:
    with pytest.raises(PermanentError):
        await checks.deliver(report(**place))
    assert not host.asked


@pytest.mark.parametrize("answer", [Answer(401, how="echo"), Answer(403, how="echo"), Answer(500, how="echo")])
async def test_nothing_secret_is_told(
    host: Host, app: Notifier, answer: Answer, everything_logged: pytest.LogCaptureFixture
) -> None:
    host.default = answer
    with pytest.raises(NotifierError) as raised:
        await app.deliver(report(), memo=f"7 {UID}")
    told = str(raised.value) + repr(raised.value) + everything_logged.text
    assert host.asked
    assert GRANTED["token"] not in told


# Tokens


async def test_a_token_may_do_what_it_is_for_and_no_more(
    host: Host, connect: Connect, scripted: Callable[..., Notifier]
) -> None:
    asked: list[Asked] = host.asked
    host.grants = None
    host.script.extend(
        [Answer(201, GRANTED, DATE), Answer(201, MADE), Answer(201, GRANTED | {"token": "ghs_two"}, DATE)]
    )
    notifier = scripted()
    first, second = report(), CommitStatus(**{name: getattr(report(), name) for name in CommitStatus.__slots__})
    for one in (first, second, first, second):
        await notifier.deliver(one)
    grants = [entry.json for entry in asked if entry.path.endswith("/access_tokens")]
    assert grants == [{"permissions": {"checks": "write"}}, {"permissions": {"statuses": "write"}}]
    used = [token_of(entry) for entry in asked if not entry.path.endswith("/access_tokens")]
    assert used == [GRANTED["token"], "ghs_two", GRANTED["token"], "ghs_two"]


async def test_a_permission_that_the_app_lacks_is_named(host: Host, scripted: Callable[..., Notifier]) -> None:
    message = "The permissions requested are not granted to this installation."
    host.grants = Answer(422, {"message": message})
    with pytest.raises(PermanentError, match=r"the App needs the permission 'Checks: write'"):
        await scripted().deliver(report())
    assert not host.asked
