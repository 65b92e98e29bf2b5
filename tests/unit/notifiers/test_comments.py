"""What is asked of GitHub and GitLab for a comment, word by word, and what their answers mean at each step of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from notifiers.base import (
    HostSettings,
    Notifier,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
    TooLateError,
    UnauthorizedError,
    clock,
)
from notifiers.comment_text import HEAD
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from notifiers.reports import Comment, RunDetails
from tests.contract import openapi
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, Connect
from tests.unit.notifiers.subject import Place, Subject, github_app, plain_token

PATH = "group/service-xyz"
ME, MALLORY = 41, 42


@dataclass(frozen=True)
class Kind:
    """One host's words for the steps."""

    notifier: type[Notifier]
    find: str
    comments: str
    one: str
    edit: str
    size: str
    open: dict[str, Any]  #: a request with the commit as its head
    author: str
    scope: str

    def comment(self, body: str, *, author: int = ME, **more: Any) -> dict[str, Any]:
        return {
            "id": 99,
            "body": body,
            self.author: {"id": author, "type": "User"},
            "issue_url": "https://x/issues/7",
            **more,
        }


GITHUB = Kind(
    GitHubNotifier,
    f"/api/v3/repos/{PATH}/commits/{SHA}/pulls?per_page=30",
    f"/api/v3/repos/{PATH}/issues/7/comments",
    f"/api/v3/repos/{PATH}/issues/comments/99",
    "PATCH",
    "?page=1&per_page=30",
    {"number": 7, "state": "open", "head": {"sha": SHA}, "base": {"repo": {"full_name": "Group/Service-xyz"}}},
    "user",
    "Pull requests: write",
)
GITLAB = Kind(
    GitLabNotifier,
    f"/api/v4/projects/group%2Fservice-xyz/repository/commits/{SHA}/merge_requests?state=opened&per_page=20",
    "/api/v4/projects/group%2Fservice-xyz/merge_requests/7/notes",
    "/api/v4/projects/group%2Fservice-xyz/merge_requests/7/notes/99",
    "PUT",
    "?order_by=updated_at&sort=desc&activity_filter=only_comments&per_page=30&page=1",
    {"iid": 7, "state": "opened", "sha": SHA},
    "author",
    "'api'",
)


@pytest.fixture(params=[GITHUB, GITLAB], ids=["github", "gitlab"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def token(request: pytest.FixtureRequest) -> str:
    """One for each test, for a process remembers whose a token is."""
    return "glpat-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()


@pytest.fixture
def notifier(connect: Connect, kind: Kind, token: str) -> Notifier:
    return connect(kind.notifier, token=token)


def report(text: str = "Failed", **fields: Any) -> Comment:
    details = RunDetails(created="2026-01-31T12:00:00Z", uid="u1")
    given: dict[str, Any] = {
        "repository": PATH,
        "context": "tekton/build",
        "outcome": Outcome.FAILED,
        "sha": SHA,
        **fields,
    }
    return Comment(description="", text=text, details=details, **given)


def listed(*entries: Any) -> Answer:
    return Answer(200, list(entries))


def subject_of(
    kind: Kind, name: str, *, limit: int, settings: Callable[[Place], dict[str, Any]] = plain_token
) -> Subject:
    """The first comment on a request where nobody has said anything."""
    path = kind.comments.replace("?", "[?]")
    return Subject(
        name=name,
        notifier=kind.notifier,
        settings=settings,
        report=report,
        long=lambda text: {"text": f"{text}\n\n" * 30, "context": f"{text}/{text}"},
        scope=kind.scope,
        requests=("GET", "GET", "POST"),
        answers=(
            ("GET", f"/commits/{SHA}/", listed(kind.open)),
            ("GET", f"{path}[?]", listed()),
            ("POST", f"{path}$", Answer(201, kind.comment("…"))),
        ),
        limits={"body": limit},
    )


SUBJECTS = [
    subject_of(GITHUB, "github comment", limit=65_536),
    subject_of(GITHUB, "github comment app", limit=65_536, settings=github_app),
    subject_of(GITLAB, "gitlab comment", limit=100_000),
]


def asked(host: Host) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in host.asked]


async def test_the_first_report(host: Host, kind: Kind, notifier: Notifier) -> None:
    host.script += [listed(kind.open), listed(), Answer(201, kind.comment("…"))]
    receipt = await notifier.deliver(report())
    assert receipt == Receipt(memo="7:99")
    assert asked(host) == [("GET", kind.find), ("GET", kind.comments + kind.size), ("POST", kind.comments)]
    assert host.last.json.keys() == {"body"}
    assert host.last.json["body"].startswith(f"{HEAD}\n\n<!-- tekton-listener begin ")


async def test_a_later_report(host: Host, kind: Kind, notifier: Notifier) -> None:
    host.script += [listed(kind.open), listed(), Answer(201, kind.comment("…"))]
    await notifier.deliver(report("Running", outcome=Outcome.RUNNING))
    host.script += [Answer(200, kind.comment(host.last.json["body"])), Answer(200, kind.comment("…"))]
    receipt = await notifier.deliver(report(), memo="7:99")
    assert receipt == Receipt(memo="7:99")
    assert asked(host)[3:] == [("GET", kind.one), (kind.edit, kind.one)]
    assert "Failed" in host.last.json["body"]
    assert "Running" not in host.last.json["body"]


async def test_without_an_open_request_two_requests_are_made_at_most(
    host: Host, kind: Kind, notifier: Notifier
) -> None:
    host.default = listed({**kind.open, "state": "closed"}, {"number": "7"}, "x", None)
    assert await notifier.deliver(report()) == Receipt(already_there=True)
    forks = ("GET", f"/api/v3/repos/{PATH}/pulls?direction=desc&per_page=30&sort=updated&state=open")
    assert asked(host) == [("GET", kind.find), *([forks] if kind is GITHUB else [])]


async def test_githubs_description_knows_every_request(host: Host, connect: Connect, token: str) -> None:
    comment = GITHUB.comment(HEAD)
    host.script += [listed(), listed(GITHUB.open), listed(comment), Answer(200, {"id": ME}), Answer(200, comment)]
    await connect(GitHubNotifier, token=token).deliver(report())
    host.script += [Answer(200, comment), Answer(404, {"message": "Not Found"}), listed(GITHUB.open), listed()]
    host.default = Answer(201, comment)
    await connect(GitHubNotifier, token=token).deliver(report(), memo="7:99")
    assert len(host.asked) == 10
    for request in host.asked:
        parts = urlsplit(request.path)
        openapi.check_query(request.method, parts.path, dict(parse_qsl(parts.query)))
        if request.method != "GET":
            openapi.check_request(request.method, parts.path, request.body)


STEPS: list[Callable[[Kind], list[Answer]]] = [
    lambda kind: [],
    lambda kind: [listed(kind.open)],
    lambda kind: [listed(kind.open), listed()],
    lambda kind: [listed(kind.open), listed(kind.comment(HEAD))],
    lambda kind: [listed(kind.open), listed(kind.comment(HEAD)), Answer(200, {"id": ME})],
]
STEP_NAMES = ["find", "list", "create", "who", "edit"]


@pytest.fixture(params=STEPS, ids=STEP_NAMES)
def before(request: pytest.FixtureRequest, host: Host, kind: Kind) -> int:
    """The host has answered all requests before this step; their number."""
    answers = request.param(kind)
    host.script += answers
    return len(answers)


@pytest.mark.parametrize("code", [502, 429])
async def test_trouble_at_any_step_is_worth_another_try(host: Host, notifier: Notifier, before: int, code: int) -> None:
    host.default = Answer(code, {"message": "no"}, {"Retry-After": "30"})
    with pytest.raises(RetryableError) as raised:
        await notifier.deliver(report())
    assert raised.value.retry_after == 30
    assert len(host.asked) == before + 1


async def test_a_refused_token_at_any_step_waits_for_another(host: Host, notifier: Notifier, before: int) -> None:
    host.default = Answer(401, {"message": "Bad credentials"})
    with pytest.raises(UnauthorizedError):
        await notifier.deliver(report())
    assert len(host.asked) == before + 1


@pytest.mark.parametrize("code", [403, 404, 422])
async def test_a_refusal_is_permanent_and_what_may_be_a_strangers_comment_is_followed_by_ours(
    host: Host, kind: Kind, notifier: Notifier, before: int, code: int
) -> None:
    host.default = Answer(code, {"message": "no"})
    with pytest.raises(PermanentError) as raised:
        await notifier.deliver(report())
    assert raised.value.status == code
    if code in (403, 404):
        assert kind.scope in str(raised.value)
    again = before == 3 and code in (403, 404)  # editing, then writing a new one
    assert len(host.asked) == before + 1 + again


@pytest.mark.parametrize("code", [200, 202])
@pytest.mark.parametrize(
    "body", [b"<html><title>Log in</title>", {"message": "?"}, 7], ids=["page", "object", "number"]
)
async def test_an_answer_that_is_not_the_apis_is_no_success(
    host: Host, notifier: Notifier, before: int, body: Any, code: int
) -> None:
    host.default = Answer(code, body)
    with pytest.raises(RetryableError, match=f"answered {code}.* not an answer of its API"):
        await notifier.deliver(report())
    assert len(host.asked) == before + 1


@pytest.mark.parametrize("how", ["reset", "cut"])
async def test_a_lost_connection_at_any_step_is_worth_another_try(
    host: Host, notifier: Notifier, before: int, how: str
) -> None:
    host.default = Answer(200, {"id": 1, "body": "x" * 99}, how=how)
    with pytest.raises(RetryableError):
        await notifier.deliver(report())
    assert len(host.asked) == before + 1


async def test_a_token_is_in_no_message(
    host: Host, notifier: Notifier, before: int, token: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    host.default = Answer(403, how="echo")
    with pytest.raises(PermanentError) as raised:
        await notifier.deliver(report())
    assert "you sent" in str(raised.value)
    assert token not in f"{raised.value!r} {everything_logged.text}"


async def test_the_deadline_ends_it_at_any_step(host: Host, notifier: Notifier, before: int) -> None:
    host.default = Answer(how="hang")
    ours, last = True, 0.0
    waiting = asyncio.ensure_future(notifier.deliver(report(), until=lambda: clock() + 0.05 if ours else last))
    await host.has(before + 1)
    ours = False
    with pytest.raises(TooLateError):
        await waiting
    assert len(host.asked) == before + 1


async def test_a_cancelled_delivery_gives_the_next_one_its_turn(host: Host, notifier: Notifier, before: int) -> None:
    host.default = Answer(how="hang")
    waiting = asyncio.ensure_future(notifier.deliver(report()))
    await host.has(before + 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    host.default = Answer(503, {"message": "no"})
    host.release()
    with pytest.raises(RetryableError, match="answered 503"):
        await notifier.deliver(report())


@pytest.mark.parametrize(
    "fields", [{"repository": "../x"}, {"repository": "group/a?b"}, {"sha": "../../7"}, {"sha": "main"}]
)
async def test_what_cannot_be_a_place_gets_into_no_url(host: Host, notifier: Notifier, fields: dict[str, str]) -> None:
    with pytest.raises(PermanentError):
        await notifier.deliver(report(**fields))
    assert host.asked == []


async def test_a_rate_limit_while_editing_is_no_reason_for_a_new_comment(
    host: Host, connect: Connect, token: str
) -> None:
    limits: list[tuple[dict[str, str], str]] = [
        ({}, "You have exceeded a secondary rate limit. Please wait."),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, "no"),
        ({"Retry-After": "5"}, "no"),
        ({}, "abuse detection"),
    ]
    notifier = connect(GitHubNotifier, token=token)
    for headers, message in limits:
        host.asked.clear()
        host.script += STEPS[4](GITHUB) if message.startswith("You") else STEPS[3](GITHUB)
        host.default = Answer(403, {"message": message}, headers)
        with pytest.raises(RetryableError):
            await notifier.deliver(report())
        assert host.last.method == "PATCH"


async def test_as_an_app_a_persons_comment_is_not_ours_and_an_apps_may_be(
    host: Host, scripted: Callable[..., Notifier]
) -> None:
    host.grants = Answer(201, {"token": "ghs_of_the_comments_test", "expires_at": "2001-01-01T01:00:00Z"},
                         {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"})  # fmt: skip
    notifier = scripted()
    forged = GITHUB.comment(HEAD, author=MALLORY) | {"id": 98}
    ours = GITHUB.comment(HEAD, user={"id": ME, "type": "Bot"})
    integration = Answer(403, {"message": "Resource not accessible by integration"})
    host.script += [listed(GITHUB.open), listed(forged, ours), integration, Answer(200, ours)]
    assert (await notifier.deliver(report())).memo == "7:99"
    assert host.last.path == GITHUB.one
    host.script += [
        listed(GITHUB.open),
        listed(ours),
        Answer(403, {"message": "Resource not accessible by integration"}),
    ]
    host.script += [Answer(201, replace(integration).body | {"id": 100, "user": {"id": ME + 1, "type": "Bot"}})]
    assert (await notifier.deliver(report("again"))).memo == "7:100"  # the other one was another App's


async def test_on_github_a_memo_leads_to_no_other_requests_comment(host: Host, connect: Connect, token: str) -> None:
    elsewhere = GITHUB.comment(HEAD, issue_url="https://x/issues/17")
    host.script += [Answer(200, elsewhere), listed(GITHUB.open), listed()]
    host.default = Answer(201, GITHUB.comment("…"))
    await connect(GitHubNotifier, token=token).deliver(report(), memo="7:99")
    assert [request.method for request in host.asked] == ["GET", "GET", "GET", "POST"]


async def test_on_gitlab_system_notes_are_no_comments(host: Host, connect: Connect, token: str) -> None:
    host.script += [listed(GITLAB.open), listed(GITLAB.comment(HEAD, system=True))]
    host.default = Answer(201, GITLAB.comment("…"))
    await connect(GitLabNotifier, token=token).deliver(report())
    assert [request.method for request in host.asked] == ["GET", "GET", "POST"]  # nobody was asked whose it is


async def test_a_list_of_requests_that_is_too_long_is_asked_for_in_a_shorter_one(
    host: Host, kind: Kind, notifier: Notifier
) -> None:
    host.script += [Answer(200, b" " * (1024 * 1024 + 1)), listed(kind.open), listed()]
    host.default = Answer(201, kind.comment("…"))
    await notifier.deliver(report())
    assert [request.method for request in host.asked] == ["GET", "GET", "GET", "POST"]


def test_a_notifier_says_that_it_takes_comments(kind: Kind) -> None:
    assert Comment in kind.notifier.reports
    made = kind.notifier(HostSettings(name="x", url="https://git.example.com", token="t"))
    assert made.word(Comment, Outcome.FAILED) == "failed"
