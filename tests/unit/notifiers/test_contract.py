"""The contract of ``notifiers.base``, held against every kind that we bring, with a token and, on GitHub, as an App.

One test for each clause. Where a clause has many odd cases, they are beside it and run for every kind as well: odd answers in
``test_deliveries``, threads, deadlines and rotated tokens in ``test_blocking``, TLS, proxies and cookies in ``test_session``, what may be told in
``test_secrets``. What only one host does is in that host's own file.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from notifiers.base import (
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    RateLimit,
    RetryableError,
    UnauthorizedError,
)
from tests.app_key import key
from tests.unit.notifiers.conftest import Connect
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.kinds import GITHUB_APP, KINDS, Kind
from tests.unit.notifiers.scene import DATE, GRANTED, PACKED, TOKEN, status

LONGEST_BLOCK = 0.5  # seconds; 0.05 are promised, a machine with other things to do gets the rest
LONG = "https://tekton.example.com/" + "x" * 2100
SECRETS = (TOKEN, PACKED, GRANTED["token"], key().private.splitlines()[1])


@pytest.fixture(params=[*KINDS, GITHUB_APP], ids=lambda kind: kind.name)
def subject(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def options(subject: Kind, host: Host, key_file: Path) -> dict[str, Any]:
    """Of the host's entry in the configuration. The host gives an App the tokens that it asks for."""
    host.grants = Answer(201, GRANTED, DATE)
    return subject.settings(key_file)


@pytest.fixture
def notifier(connect: Connect, subject: Kind, options: dict[str, Any]) -> Notifier:
    return connect(subject.notifier, **options)


def value(body: Any, field: str) -> str:
    """A field of a request's body; one within another has a dot."""
    for name in field.split("."):
        body = body[name]
    assert isinstance(body, str)
    return body


# What is said


async def test_every_outcome_is_a_state_that_the_host_knows(host: Host, subject: Kind, notifier: Notifier) -> None:
    for outcome in Outcome:
        await notifier.deliver(status(outcome=outcome))
        assert host.last.json["state"] == notifier.state(outcome)
    words = {outcome: notifier.state(outcome) for outcome in Outcome}
    assert set(words.values()) <= subject.states
    assert [outcome for outcome, word in words.items() if word == subject.success] == [Outcome.SUCCEEDED]
    final = {word for outcome, word in words.items() if outcome.final}
    assert not final & {words[Outcome.QUEUED], words[Outcome.RUNNING]}


async def test_one_report_is_one_request(host: Host, subject: Kind, notifier: Notifier) -> None:
    for number in range(3):
        await notifier.deliver(status(context=f"tekton/{number}"))
    assert [asked.method for asked in host.asked] == ["POST"] * 3
    assert host.granted == subject.app


@pytest.mark.parametrize("text", ["word " * 800, "wörd💥" * 800, "💥" * 4000], ids=["ascii", "mixed", "four bytes"])
async def test_texts_are_cut_to_the_hosts_length(host: Host, subject: Kind, notifier: Notifier, text: str) -> None:
    await notifier.deliver(status(description=text, context=f"{text}/{text}"))
    sent = host.last.json
    for field, limit in subject.limits.items():
        if field != subject.link:
            assert limit * 2 // 3 <= subject.units(value(sent, field)) <= limit, field


async def test_a_link_is_whole_or_not_there(host: Host, subject: Kind, notifier: Notifier) -> None:
    limit = subject.limits[subject.link]
    for link in (LONG[:limit], LONG[: limit + 1], "javascript:alert(1)", None):
        await notifier.deliver(status(target_url=link))
    first, *others = [asked.json.get(subject.link) for asked in host.asked]
    assert first == LONG[:limit]
    page = notifier.commit_url("group/service-xyz", status().sha)
    assert others == [page if subject.needs_link else None] * 3


async def test_a_commit_and_a_repository_have_their_pages(host: Host, notifier: Notifier) -> None:
    repository, sha = "group/service-xyz", status().sha
    page, commit = notifier.repository_url(repository), notifier.commit_url(repository, sha)
    assert page is not None
    assert commit is not None
    assert page.startswith(f"{host.url}/")
    assert commit.startswith(f"{page}/")
    assert sha in commit


# What an answer means


@pytest.mark.parametrize("code", [400, 403, 404, 409, 410, 422])
async def test_a_refusal_is_permanent(host: Host, notifier: Notifier, code: int) -> None:
    host.default = Answer(code, {"message": "no"})
    with pytest.raises(PermanentError) as raised:
        await notifier.deliver(status())
    assert raised.value.status == code
    assert len(host.asked) == 1


@pytest.mark.parametrize("code", [403, 404])
async def test_a_refusal_names_what_the_token_needs(host: Host, subject: Kind, notifier: Notifier, code: int) -> None:
    host.default = Answer(code, {"message": "no"})
    with pytest.raises(PermanentError) as raised:
        await notifier.deliver(status())
    assert subject.scope in str(raised.value)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "when", ["30", "Mon, 01 Jan 2001 00:00:30 GMT"], ids=["seconds", "a date on the host's own clock"]
)
async def test_trouble_is_worth_another_try_when_the_host_says(
    host: Host, notifier: Notifier, code: int, when: str
) -> None:
    host.default = Answer(code, {"message": "slow down"}, {"Retry-After": when, **DATE})
    with pytest.raises(RetryableError) as raised:
        await notifier.deliver(status())
    assert not isinstance(raised.value, UnauthorizedError)
    assert (raised.value.status, raised.value.retry_after) == (code, 30.0)
    assert len(host.asked) == 1


@pytest.mark.parametrize("how", ["reset", "hang", "drip", "drip_head"])
async def test_no_answer_is_worth_another_try(
    host: Host, connect: Connect, subject: Kind, options: dict[str, Any], how: str
) -> None:
    notifier = connect(subject.notifier, request_timeout=0.2, **options)
    host.default = Answer(200, how=how)
    with pytest.raises(RetryableError) as raised:
        await notifier.deliver(status())
    assert raised.value.status in (None, 200)
    assert len(host.asked) == 1


async def test_a_host_that_is_not_there_is_worth_another_try(
    connect: Connect, subject: Kind, options: dict[str, Any]
) -> None:
    async with Host() as gone:
        url = gone.url
    with pytest.raises(RetryableError, match="Connection refused"):
        await connect(subject.notifier, url=url, **options).deliver(status())


async def test_a_refused_token_waits_for_another_one(host: Host, subject: Kind, notifier: Notifier) -> None:
    host.default = Answer(401, {"message": "401 Unauthorized"})
    with pytest.raises(UnauthorizedError) as raised:
        await notifier.deliver(status())
    assert raised.value.status == 401
    assert len(host.asked) == (2 if subject.app else 1), "an App fetches another one and tries once more"
    assert host.granted == (2 if subject.app else 0)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_nothing_is_sent_to_where_it_points(
    host: Host, notifier: Notifier, code: int
) -> None:
    async with Host() as stranger:
        host.default = Answer(code, b"", {"Location": f"{stranger.url}/x"})
        with pytest.raises(PermanentError, match=f"answered {code} and points to {stranger.url}"):
            await notifier.deliver(status())
        assert stranger.connections == 0
    assert len(host.asked) == 1


async def test_a_count_of_what_is_left_is_passed_on_where_it_is_one(
    host: Host, subject: Kind, notifier: Notifier
) -> None:
    left = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "978307230"}
    host.default = Answer(headers={**left, **DATE})
    receipt = await notifier.deliver(status())
    counts_load = subject.name == "azure-devops"
    assert receipt.rate_limit == (None if counts_load else RateLimit(limit=100, remaining=7, resets_in=30.0))


# Secrets


@pytest.mark.parametrize(
    "answer",
    [Answer(401, how="echo"), Answer(403, how="echo"), Answer(500, how="echo"), Answer(how="reset"), Answer()],
    ids=repr,
)
async def test_nothing_secret_is_told(
    host: Host, subject: Kind, notifier: Notifier, answer: Answer, everything_logged: pytest.LogCaptureFixture
) -> None:
    host.default = answer
    told = [repr(notifier), *map(repr, vars(notifier).values())]
    try:
        await notifier.deliver(status())
    except NotifierError as error:
        told += [str(error), repr(error), *traceback.format_exception(error)]
    told += [everything_logged.text, *(repr(record.args) for record in everything_logged.records)]
    assert host.asked
    assert not [secret for secret in SECRETS if secret in "".join(told)]


# Threads, tasks and the loop


async def test_a_cancelled_delivery_leaves_nothing_behind(
    host: Host, connect: Connect, subject: Kind, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    notifier = connect(subject.notifier, name="leaver", **options)
    host.script.append(Answer(how="hang"))
    before = asyncio.all_tasks()
    delivery = asyncio.create_task(notifier.deliver(status()))
    await host.has(requests=1)
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    host.release()
    await notifier.close()
    await host.has_no_connection()
    assert not [thread.name for thread in threading.enumerate() if "leaver" in thread.name]
    assert not asyncio.all_tasks() - before
    assert len(host.asked) == 1
    assert not caplog.records


@pytest.fixture
async def longest_block() -> AsyncIterator[list[float]]:
    """Seconds between one turn of the loop and the next one, as they come."""
    loop, gaps = asyncio.get_running_loop(), [0.0]

    async def tick() -> None:
        while True:
            began = loop.time()
            await asyncio.sleep(0.001)  # what is measured
            gaps.append(loop.time() - began)

    ticking = asyncio.create_task(tick())
    yield gaps
    ticking.cancel()


async def test_the_loop_goes_on_while_requests_are_under_way(
    host: Host, connect: Connect, subject: Kind, options: dict[str, Any], longest_block: list[float]
) -> None:
    """From the first thing that a delivery does to the last, with a host that takes its time and says a lot."""
    host.script.extend([Answer(how="hang")] * 4)
    host.default = Answer(body={"state": "success", "filler": ["x" * 1000] * 900})
    notifier = connect(subject.notifier, threads=4, **options)
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(notifier.deliver(status()))
        await host.has(requests=4)
        for _ in range(20):
            await asyncio.sleep(0.001)  # turns of the loop, which is what is tested
        host.release()
    assert len(host.asked) == 12
    assert max(longest_block) < LONGEST_BLOCK
