"""The contract of ``notifiers.base``, held against every notifier with every report that it takes. For one alone: ``pytest -k KIND``.

Each clause runs for every subject (``subject.py``); where a report takes several requests, what fails does so at each of them, and nothing is asked
after that. What differs is data of the subject. Clauses that would cost more than they tell are held against fewer: a host that drips, and the
odd answers of ``test_deliveries``, against one report of each kind that sends in its own way, since all reports of a kind go through one session;
what only commit statuses have is in ``test_statuses``.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifiers.base import (
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    Receipt,
    RetryableError,
    TooLateError,
    UnauthorizedError,
    clock,
)
from tests.app_key import key
from tests.unit.notifiers.host import Answer, Asked, Host
from tests.unit.notifiers.scene import DATE, GRANTED, LONGEST_BLOCK, PACKED, TOKEN, Connect
from tests.unit.notifiers.subject import Place, Subject

SECRETS = (TOKEN, PACKED, GRANTED["token"], key().private.splitlines()[1])
PAGE = Answer(200, b"<html><title>Sign in</title></html>")
NUMBERS = itertools.count()  # of reports that know nothing of each other
SOON = 0.15  # seconds: a timeout or a deadline that a test waits for


async def failures(
    host: Host, subject: Subject, notifier: Notifier, answer: Answer, *, asked_again: int = 0
) -> list[NotifierError]:
    """What becomes of a report whose first, second, … request is answered with ``answer``, and so are those after it, which must not be."""
    raised = []
    for step in range(1, len(subject.requests) + 1):
        host.asked.clear()
        host.failing = step, answer
        with pytest.raises(NotifierError) as caught:
            await notifier.deliver(subject.report(context=f"tekton/{next(NUMBERS)}"))
        assert [asked.method for asked in host.asked][:step] == list(subject.requests[:step])
        assert len(host.asked) == step + asked_again, "nothing is asked after a failure"
        raised.append(caught.value)
    host.failing = None
    return raised


# What is said


async def test_a_report_is_its_documented_number_of_requests(host: Host, subject: Subject, reporter: Notifier) -> None:
    for number in range(3):
        host.asked.clear()
        await reporter.deliver(subject.report(context=f"tekton/{number}"))
        assert tuple(asked.method for asked in host.asked) == subject.requests
    assert host.granted == subject.app
    assert type(subject.report()) in reporter.reports


async def test_every_outcome_has_a_word(subject: Subject, reporter: Notifier) -> None:
    report = type(subject.report())
    words = {outcome: reporter.word(report, outcome) for outcome in Outcome}
    assert all(words.values())
    passed = [outcome for outcome, word in words.items() if word == words[Outcome.SUCCEEDED]]
    assert passed == [Outcome.SUCCEEDED]


async def test_the_next_state_of_a_run_is_said_with_what_was_remembered(subject: Subject, reporter: Notifier) -> None:
    memo = (await reporter.deliver(subject.report(outcome=Outcome.RUNNING))).memo
    for odd in (memo, "", "x", "-1", "٣", "9" * 5000, "1 or 1", "\x00"):
        assert isinstance(await reporter.deliver(subject.report(outcome=Outcome.FAILED), memo=odd), Receipt)


def values(asked: Asked, field: str) -> Iterator[str]:
    """A field of a request's body, if it is there; one within another has a dot."""
    body: Any = asked.json if asked.body else {}
    for name in field.split("."):
        if not isinstance(body, dict) or name not in body:
            return
        body = body[name]
    assert isinstance(body, str)
    yield body


@pytest.mark.parametrize("text", ["word " * 800, "wörd💥" * 800, "💥" * 4000], ids=["ascii", "mixed", "four bytes"])
async def test_texts_are_cut_to_the_hosts_length(host: Host, subject: Subject, reporter: Notifier, text: str) -> None:
    await reporter.deliver(subject.report(**subject.long(text)))
    assert tuple(asked.method for asked in host.asked) == subject.requests
    for field, limit in subject.limits.items():
        if field == subject.link:
            continue  # whole or not there, see test_statuses
        units = subject.counted.get(field, subject.units)
        sent = [units(value) for asked in host.asked for value in values(asked, field)]
        assert sent, field
        assert limit * 2 // 3 <= max(sent) <= limit, field


async def test_what_names_a_thing_is_refused_and_not_cut(host: Host, subject: Subject, reporter: Notifier) -> None:
    for wrong in subject.names:
        with pytest.raises(PermanentError):
            await reporter.deliver(subject.report(**wrong))
    assert host.asked == []


# What an answer means


async def test_a_refusal_is_permanent_and_says_what_is_needed(host: Host, subject: Subject, reporter: Notifier) -> None:
    for code in (400, 403, 404, 405, 409, 410, 422, 451):
        for error in await failures(host, subject, reporter, Answer(code, {"message": "no"})):
            assert (type(error), getattr(error, "status", None)) == (PermanentError, code)
            if code in (403, 404):
                assert subject.scope in str(error)


async def test_trouble_is_worth_another_try_when_the_host_says(
    host: Host, subject: Subject, reporter: Notifier
) -> None:
    for code in (408, 425, 429, 500, 502, 503, 504, 599):
        for when in ("30", "Mon, 01 Jan 2001 00:00:30 GMT"):  # seconds, or a date on the host's own clock
            trouble = Answer(code, {"message": "slow down"}, {"Retry-After": when, **DATE})
            for error in await failures(host, subject, reporter, trouble):
                assert isinstance(error, RetryableError)
                assert not isinstance(error, UnauthorizedError | TooLateError)
                assert (error.status, error.retry_after) == (code, 30.0 if subject.hears_retry_after else None)


async def test_a_refused_token_waits_for_another_one(host: Host, subject: Subject, reporter: Notifier) -> None:
    refused = Answer(401, {"message": "401 Unauthorized"})
    # An App fetches another one, and begins once more.
    for error in await failures(host, subject, reporter, refused, asked_again=int(subject.app)):
        assert type(error) is subject.refused_token
        assert getattr(error, "status", None) == 401
    assert host.granted == (2 * len(subject.requests) if subject.app else 0)


async def test_a_redirect_is_refused_and_nothing_is_sent_to_where_it_points(
    host: Host, subject: Subject, reporter: Notifier
) -> None:
    async with Host() as stranger:
        for code in (301, 302, 307, 308):
            answer = Answer(code, b"", {"Location": f"{stranger.url}/x?y"})
            for error in await failures(host, subject, reporter, answer):
                assert isinstance(error, PermanentError)
                assert f"answered {code}" in str(error)
        assert stranger.connections == 0


async def test_what_is_no_answer_of_the_api_is_worth_another_try(
    host: Host, subject: Subject, reporter: Notifier
) -> None:
    page_is_success = not subject.reads_success
    if page_is_success:
        host.default = PAGE
        await reporter.deliver(subject.report())
        return
    for answer in (PAGE, Answer(200, 7), Answer(200, b"{cut", {"Content-Type": "application/json"})):
        for error in await failures(host, subject, reporter, answer):
            assert isinstance(error, RetryableError)


async def test_a_connection_that_breaks_is_worth_another_try(host: Host, subject: Subject, reporter: Notifier) -> None:
    for error in await failures(host, subject, reporter, Answer(how="reset")):
        assert isinstance(error, RetryableError)
        assert (error.status, error.retry_after) == (None, None)


async def test_a_host_that_says_nothing_is_worth_another_try(
    host: Host, connect: Connect, subject: Subject, options: dict[str, Any]
) -> None:
    notifier = connect(subject.notifier, request_timeout=SOON, **options)
    host.failing = len(subject.requests), Answer(how="hang")
    with pytest.raises(RetryableError):
        await notifier.deliver(subject.report())
    assert len(host.asked) == len(subject.requests)


async def test_a_host_that_is_not_there_is_worth_another_try(
    connect: Connect, subject: Subject, key_file: Path
) -> None:
    async with Host() as gone:
        place = Place(gone.url, key_file)
    notifier = connect(subject.notifier, **{"url": place.url, **subject.settings(place)})
    with pytest.raises(RetryableError):
        await notifier.deliver(subject.report())


# Secrets


async def test_nothing_secret_is_told(
    host: Host, subject: Subject, reporter: Notifier, everything_logged: pytest.LogCaptureFixture
) -> None:
    told = [repr(reporter), *map(repr, vars(reporter).values()), reporter.account("group/service-xyz")]
    for answer in (Answer(403, how="echo"), Answer(500, how="echo"), Answer(how="reset")):
        for error in await failures(host, subject, reporter, answer):
            told += [str(error), repr(error), *traceback.format_exception(error)]
    told.append(repr(await reporter.deliver(subject.report())))
    told += [everything_logged.text, *(repr(record.args) for record in everything_logged.records)]
    assert not [secret for secret in SECRETS if secret in "".join(told)]


# Deadlines, threads, tasks and the loop


async def test_nothing_begins_after_the_deadline(host: Host, subject: Subject, reporter: Notifier) -> None:
    with pytest.raises(TooLateError):
        await reporter.deliver(subject.report(), until=lambda: clock() - 1)
    assert host.asked == []


async def test_what_is_under_way_at_the_deadline_is_cut_off(host: Host, subject: Subject, reporter: Notifier) -> None:
    for step in range(1, len(subject.requests) + 1):
        host.asked.clear()
        host.failing = step, Answer(how="hang")
        end = clock() + SOON
        with pytest.raises(TooLateError):
            await reporter.deliver(subject.report(context=f"tekton/{step}"), until=lambda end=end: end)  # type: ignore[misc]  # no Any
        assert len(host.asked) == step
    await host.has_no_connection()


async def test_a_cancelled_delivery_leaves_nothing_behind(
    host: Host, connect: Connect, subject: Subject, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    notifier = connect(subject.notifier, name="leaver", **options)
    host.failing = len(subject.requests), Answer(how="hang")
    before = asyncio.all_tasks()
    delivery = asyncio.create_task(notifier.deliver(subject.report()))
    await host.has(requests=len(subject.requests))
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    host.release()
    await notifier.close()
    await host.has_no_connection()
    assert not [thread.name for thread in threading.enumerate() if "leaver" in thread.name]
    assert not [task for task in asyncio.all_tasks() - before if "Host._accept" not in repr(task)]
    assert len(host.asked) == len(subject.requests)
    assert not caplog.records


async def test_the_loop_goes_on_while_requests_are_under_way(
    host: Host, connect: Connect, subject: Subject, options: dict[str, Any], longest_block: list[float]
) -> None:
    """From the first thing that a delivery does to the last, with a host that takes its time, and reports as long as they come."""
    host.holding = len(subject.requests)
    notifier = connect(subject.notifier, threads=4, **options)
    long = subject.long("word [x](y) " * 400)
    reports = [subject.report(**{**long, "context": f"tekton/{number}"}) for number in range(4)]
    async with asyncio.TaskGroup() as group:
        for report in reports:
            group.create_task(notifier.deliver(report))
        await host.has(requests=len(subject.requests))
        for _ in range(20):
            await asyncio.sleep(0.001)  # turns of the loop, which is what is tested
        host.release()
    assert len(host.asked) == 4 * len(subject.requests)
    assert max(longest_block) < LONGEST_BLOCK
