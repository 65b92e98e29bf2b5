"""Which labels GitLab is asked for, and with how many requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from notifiers.base import Notifier, Outcome, PermanentError, Receipt, RetryableError, TooLateError, UnauthorizedError
from notifiers.gitlab import GitLabNotifier
from notifiers.reports import Labels
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN
from tests.unit.notifiers.subject import Subject

PROJECT = "/api/v4/projects/group%2Fservice-xyz"
DONE = Answer(200, {"iid": 7})


def labels(**fields: Any) -> Labels:
    given: dict[str, Any] = {
        "repository": "group/service-xyz",
        "sha": SHA,
        "context": "tekton/build",
        "outcome": Outcome.SUCCEEDED,
        "description": "Passed in 41s",
        **fields,
    }
    return Labels(**given)


def requests(*iids: int, has: tuple[str, ...] = ()) -> Answer:
    return Answer(200, [{"iid": iid, "state": "opened", "sha": SHA, "labels": list(has)} for iid in iids])


SUBJECT = Subject(
    name="gitlab labels",
    notifier=GitLabNotifier,
    report=lambda **fields: labels(**{"add": ("passed",), "remove": ("running",), **fields}),
    scope="'api'",
    requests=("GET", "PUT"),
    answers=(
        ("GET", "/merge_requests", requests(7, has=("running",))),
        ("PUT", "/merge_requests/7$", Answer(200, {"iid": 7})),
    ),
    names=({"add": ("x" * 256,)}, {"add": ("a,b",)}),
)


def writes(host: Host) -> list[tuple[str, str, Any]]:
    return [
        (asked.method, urlsplit(asked.path).path.removeprefix(PROJECT), asked.json)
        for asked in host.asked
        if asked.method != "GET"
    ]


async def test_what_is_missing_is_added_and_what_is_too_much_removed_with_one_request(
    host: Host, gitlab: Notifier
) -> None:
    host.script.extend([requests(7, has=("bug", "ci::running", "ci::queued")), DONE])
    report = labels(add=("ci::passed", "ready", "bug"), remove=("ci::running", "ci::queued", "ci::failed"))
    assert await gitlab.deliver(report) == Receipt()
    sent = {"add_labels": "ci::passed,ready", "remove_labels": "ci::running,ci::queued"}
    assert writes(host) == [("PUT", "/merge_requests/7", sent)]
    assert len(host.asked) == 2


async def test_each_open_merge_request_has_them(host: Host, gitlab: Notifier) -> None:
    host.script.extend([requests(7, 8), Answer(200, {"iid": 8}), DONE])
    await gitlab.deliver(labels(add=("passed",)))
    sent = {"add_labels": "passed"}
    assert writes(host) == [("PUT", "/merge_requests/8", sent), ("PUT", "/merge_requests/7", sent)]


async def test_what_is_as_it_shall_be_costs_no_write(host: Host, gitlab: Notifier) -> None:
    host.script.append(requests(7, has=("passed", "bug")))
    assert await gitlab.deliver(labels(add=("passed",), remove=("failed",))) == Receipt(already_there=True)
    assert writes(host) == []


async def test_names_that_differ_in_case_are_two_labels(host: Host, gitlab: Notifier) -> None:
    host.script.extend([requests(7, has=("Passed",)), DONE])
    await gitlab.deliver(labels(add=("passed",), remove=("Passed",)))
    assert writes(host)[0][2] == {"add_labels": "passed", "remove_labels": "Passed"}


async def test_a_label_that_is_to_be_added_is_not_removed(host: Host, gitlab: Notifier) -> None:
    host.script.extend([requests(7, has=("a", "b")), DONE])
    await gitlab.deliver(labels(add=("a", "a"), remove=("a", "b", "b")))
    assert writes(host)[0][2] == {"remove_labels": "b"}


async def test_without_a_merge_request_there_is_nothing_to_do(host: Host, gitlab: Notifier) -> None:
    host.default = Answer(200, [])
    assert await gitlab.deliver(labels(add=("passed",))) == Receipt()
    assert writes(host) == []


async def test_without_labels_nobody_is_asked(host: Host, gitlab: Notifier) -> None:
    assert await gitlab.deliver(labels()) == Receipt()
    assert host.asked == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("x" * 256, "255 characters"),
        ("a,b", "a comma"),
        ("two\nlines", "control characters"),
        ("passed ", "spaces at an end"),
    ],
)
@pytest.mark.parametrize("field", ["add", "remove"])
async def test_what_cannot_be_a_label_is_refused_and_not_cut(
    host: Host, gitlab: Notifier, field: str, name: str, why: str
) -> None:
    with pytest.raises(PermanentError, match=f"cannot be a label: it .*{why}"):
        await gitlab.deliver(labels(**{field: ("fine", name)}))
    assert host.asked == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(200, b"<title>Sign in</title>"), RetryableError, "login page"),
        (Answer(200, {"message": "fine"}), RetryableError, "not an answer of its API"),
        (Answer(400, {"message": {"labels": ["are wrong"]}}), PermanentError, "are wrong"),
        (Answer(401, {"message": "401 Unauthorized"}), UnauthorizedError, "401"),
        (Answer(403, {"message": "403 Forbidden"}), PermanentError, "Developer"),
        (Answer(404, {"message": "404 Not found"}), PermanentError, "'api'"),
        (Answer(409, {"message": "Resource lock"}), RetryableError, "lock"),
        (Answer(429, {"message": "Slow down"}, {"Retry-After": "7"}), RetryableError, "429"),
        (Answer(500, {"message": "Oh"}), RetryableError, "500"),
        (Answer(how="reset"), RetryableError, "lost"),
        (Answer(how="echo", status=400), PermanentError, "you sent"),
    ],
    ids=lambda value: f"{value.status} {value.how}" if isinstance(value, Answer) else "",
)
async def test_what_an_answer_means(
    host: Host,
    gitlab: Notifier,
    everything_logged: pytest.LogCaptureFixture,
    answer: Answer,
    error: type[Exception],
    words: str,
) -> None:
    host.script.extend([requests(7, has=("running",)), answer])
    with pytest.raises(error, match=words) as caught:
        await gitlab.deliver(labels(add=("passed",), remove=("running",)))
    assert type(caught.value) is error
    assert len(host.asked) == 2
    assert TOKEN not in f"{caught.value}{everything_logged.text}"


async def test_no_request_begins_after_the_deadline(host: Host, gitlab: Notifier) -> None:
    with pytest.raises(TooLateError):
        await gitlab.deliver(labels(add=("passed",)), until=lambda: 0.0)
    assert host.asked == []
