"""Which labels GitHub is asked for, and with how many requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from notifiers.base import Notifier, Outcome, PermanentError, Receipt, RetryableError, TooLateError, UnauthorizedError
from notifiers.github import GitHubNotifier
from notifiers.reports import Labels
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN
from tests.unit.notifiers.subject import Subject

REPOSITORY = "/api/v3/repos/acme/service-xyz"
DONE = Answer(200, [])
GONE = Answer(404, {"message": "Label does not exist", "documentation_url": "https://docs.github.com/rest"})


def labels(**fields: Any) -> Labels:
    given: dict[str, Any] = {
        "repository": "acme/service-xyz",
        "sha": SHA,
        "context": "tekton/build",
        "outcome": Outcome.SUCCEEDED,
        "description": "Passed in 41s",
        **fields,
    }
    return Labels(**given)


def pulls(*numbers: int, has: tuple[str, ...] = (), repository: str = "acme/service-xyz") -> Answer:
    entries = [
        {
            "number": number,
            "state": "open",
            "head": {"sha": SHA},
            "base": {"repo": {"full_name": repository}},
            "labels": [{"name": name} for name in has],
        }
        for number in numbers
    ]
    return Answer(200, entries)


SUBJECT = Subject(
    name="github labels",
    notifier=GitHubNotifier,
    report=lambda **fields: labels(
        **{"repository": "group/service-xyz", "add": ("passed",), "remove": ("running",), **fields}
    ),
    scope="'Pull requests: write'",
    requests=("GET", "POST", "DELETE"),
    answers=(
        ("GET", "/pulls", pulls(7, has=("running",), repository="group/service-xyz")),
        ("POST", "/issues/7/labels$", DONE),
        ("DELETE", "/issues/7/labels/running$", DONE),
    ),
    names=({"add": ("x" * 51,)}, {"remove": ("two\nlines",)}),
)


def writes(host: Host) -> list[tuple[str, str]]:
    return [(a.method, urlsplit(a.path).path.removeprefix(REPOSITORY)) for a in host.asked if a.method != "GET"]


async def test_what_is_missing_is_added_at_once_and_what_is_too_much_removed_one_by_one(
    host: Host, github: Notifier
) -> None:
    host.script.append(pulls(7, has=("bug", "ci: running", "ci: queued")))
    host.default = DONE
    report = labels(add=("ci: passed", "ready", "bug"), remove=("ci: running", "ci: queued", "ci: failed"))
    assert await github.deliver(report) == Receipt()
    assert writes(host) == [
        ("POST", "/issues/7/labels"),
        ("DELETE", "/issues/7/labels/ci%3A%20running"),
        ("DELETE", "/issues/7/labels/ci%3A%20queued"),
    ]
    assert host.asked[1].json == {"labels": ["ci: passed", "ready"]}
    assert len(host.asked) == 4


async def test_each_open_pull_request_has_them(host: Host, github: Notifier) -> None:
    host.script.append(pulls(7, 8))
    host.default = DONE
    await github.deliver(labels(add=("passed",)))
    assert sorted(writes(host)) == [("POST", "/issues/7/labels"), ("POST", "/issues/8/labels")]


async def test_what_is_as_it_shall_be_costs_no_write(host: Host, github: Notifier) -> None:
    host.script.append(pulls(7, has=("Passed", "bug")))
    assert await github.deliver(labels(add=("passed",), remove=("failed",))) == Receipt(already_there=True)
    assert writes(host) == []


async def test_without_a_pull_request_there_is_nothing_to_do(host: Host, github: Notifier) -> None:
    host.default = Answer(200, [])
    assert await github.deliver(labels(add=("passed",))) == Receipt()
    assert writes(host) == []


async def test_without_labels_nobody_is_asked(host: Host, github: Notifier) -> None:
    assert await github.deliver(labels()) == Receipt()
    assert host.asked == []


async def test_a_label_that_is_to_be_added_is_not_removed_whatever_its_case(host: Host, github: Notifier) -> None:
    host.script.append(pulls(7, has=("PASSED",)))
    await github.deliver(labels(add=("passed",), remove=("Passed", "passed")))
    assert writes(host) == []


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("state::failed", "state%3A%3Afailed"),
        ("a/b", "a%2Fb"),
        ("../../../user", "..%2F..%2F..%2Fuser"),
        ("is it? #1", "is%20it%3F%20%231"),
        ("50%2F", "50%252F"),
        ("größe 🚀", "gr%C3%B6%C3%9Fe%20%F0%9F%9A%80"),
        ("a\\b;c", "a%5Cb%3Bc"),
    ],
)
async def test_a_name_stays_one_segment_of_the_address(host: Host, github: Notifier, name: str, quoted: str) -> None:
    host.script.append(pulls(7, has=(name,)))
    host.default = DONE
    await github.deliver(labels(remove=(name,)))
    assert host.last.path == f"{REPOSITORY}/issues/7/labels/{quoted}"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("x" * 51, "50 characters"),
        ("two\nlines", "control characters"),
        (" passed", "spaces at an end"),
        ("\ud800", "control characters"),
        ("..", "address"),
        (".", "address"),
    ],
)
@pytest.mark.parametrize("field", ["add", "remove"])
async def test_what_cannot_be_a_label_is_refused_and_not_cut(
    host: Host, github: Notifier, field: str, name: str, why: str
) -> None:
    with pytest.raises(PermanentError, match=f"cannot be a label: it .*{why}"):
        await github.deliver(labels(**{field: ("fine", name)}))
    assert host.asked == []


async def test_the_longest_label_is_taken(host: Host, github: Notifier) -> None:
    host.script.append(pulls(7))
    host.default = DONE
    await github.deliver(labels(add=("ü" * 50,)))
    assert host.last.json == {"labels": ["ü" * 50]}


async def test_a_label_that_somebody_removed_meanwhile_is_no_trouble(host: Host, github: Notifier) -> None:
    host.script.extend([pulls(7, has=("a", "b")), GONE, DONE])
    await github.deliver(labels(remove=("a", "b")))
    assert len(writes(host)) == 2


async def test_a_pull_request_that_is_out_of_reach_is(host: Host, github: Notifier) -> None:
    host.script.extend([pulls(7, has=("a", "b")), Answer(404, {"message": "Not Found"})])
    with pytest.raises(PermanentError, match="Pull requests: write"):
        await github.deliver(labels(remove=("a", "b")))


async def test_after_a_failure_only_the_rest_is_done(host: Host, github: Notifier) -> None:
    report = labels(add=("passed",), remove=("running",))
    host.script.extend([pulls(7, has=("running",)), DONE, Answer(502, b"")])
    with pytest.raises(RetryableError):
        await github.deliver(report)
    host.asked.clear()
    host.script.extend([pulls(7, has=("running", "passed")), DONE])
    await github.deliver(report)
    assert writes(host) == [("DELETE", "/issues/7/labels/running")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(200, b"<title>Sign in</title>"), RetryableError, "login page"),
        (Answer(401, {"message": "Bad credentials"}), UnauthorizedError, "Bad credentials"),
        (Answer(403, {"message": "Resource not accessible by integration"}), PermanentError, "Pull requests: write"),
        (Answer(403, {"message": "You have exceeded a secondary rate limit."}), RetryableError, "60 s"),
        (Answer(404, {"message": "Not Found"}), PermanentError, "'repo'"),
        (Answer(422, {"message": "Validation Failed"}), PermanentError, "at most 100"),
        (Answer(500, {"message": "Oh"}), RetryableError, "500"),
        (Answer(how="reset"), RetryableError, "lost"),
        (Answer(how="echo", status=400), PermanentError, "you sent"),
    ],
    ids=lambda value: f"{value.status} {value.how}" if isinstance(value, Answer) else "",
)
@pytest.mark.parametrize("report", [labels(add=("passed",)), labels(remove=("running",))], ids=["add", "remove"])
async def test_what_an_answer_means(
    host: Host,
    github: Notifier,
    everything_logged: pytest.LogCaptureFixture,
    report: Labels,
    answer: Answer,
    error: type[Exception],
    words: str,
) -> None:
    host.script.extend([pulls(7, has=("running",)), answer])
    with pytest.raises(error, match=words) as caught:
        await github.deliver(report)
    assert type(caught.value) is error
    assert len(host.asked) == 2
    assert TOKEN not in f"{caught.value}{everything_logged.text}"


async def test_no_request_begins_after_the_deadline(host: Host, github: Notifier) -> None:
    with pytest.raises(TooLateError):
        await github.deliver(labels(add=("passed",)), until=lambda: 0.0)
    assert host.asked == []
