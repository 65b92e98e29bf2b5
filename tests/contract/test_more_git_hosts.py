"""The notifiers against hosts that keep the published rules: whatever a run may say is taken, and what is wrong is refused and understood."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from notifiers.base import CommitStatus, HostSettings, Notifier, Outcome, PermanentError, UnauthorizedError
from notifiers.registry import discover
from tests.hosts.forge import Forge
from tests.hosts.forges import FORGES
from tests.scene import SHA

Host = Any  # a stand-in: GitHost with more to it
OTHER = "0" * 40
HUGE = "https://tekton.example.com/" + "x" * 3000


@pytest.fixture(params=FORGES, ids=lambda forge: forge.kind)
def forge(request: pytest.FixtureRequest) -> Forge:
    found: Forge = request.param
    return found


@pytest.fixture
async def host(forge: Forge) -> AsyncIterator[Host]:
    async with forge.host() as host:
        host.add_project(forge.repository, {SHA: "Add a feature"})
        host.weak_tokens.add("weak-token")
        yield host


Connect = Callable[..., Notifier]


@pytest.fixture
async def connect(forge: Forge, host: Host) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        def make(token: str = "secret-token") -> Notifier:
            notifier = discover(only=[forge.kind])[forge.kind](
                HostSettings(name="here", url=forge.url(host), token=token, request_timeout=5.0)
            )
            stack.push_async_callback(notifier.close)
            return notifier

        yield make


@pytest.fixture
def status(forge: Forge) -> CommitStatus:
    return CommitStatus(
        repository=forge.repository,
        sha=SHA,
        context="tekton/build",
        outcome=Outcome.RUNNING,
        description="Running",
        target_url="https://tekton.example.com/runs/ci/build-1",
        ref="main",
    )


async def test_every_outcome_is_taken_once_and_again(host: Host, connect: Connect, status: CommitStatus) -> None:
    notifier = connect()
    for outcome in Outcome:
        for _ in range(2):
            await notifier.deliver(dataclasses.replace(status, outcome=outcome))
    assert [posted.state for posted in host.posted] == [notifier.state(outcome) for outcome in Outcome for _ in "12"]
    assert {posted.context for posted in host.posted} == {"tekton/build"}


@pytest.mark.parametrize(
    "odd",
    [
        {"description": "word " * 500, "context": "c" * 500},
        {"description": "💥" * 500, "context": "💥" * 300 + "/" + "💥" * 300},
        {"target_url": None},
        {"target_url": HUGE},
        {"target_url": "javascript:alert(1)"},
        {"ref": None},
        {"ref": "r" * 500},
        {"description": ""},
        {"description": "\ud800 lone \x00 control"},
        {"context": "no-slash"},
        {"context": "tekton/a/b"},
    ],
    ids=lambda odd: "-".join(odd),
)
async def test_whatever_a_run_says_is_taken(
    host: Host, connect: Connect, status: CommitStatus, odd: dict[str, Any]
) -> None:
    await connect().deliver(dataclasses.replace(status, **odd))
    assert [asked.status for asked in host.posts()] in ([200], [201], [204])


async def test_long_contexts_that_begin_alike_do_not_overwrite_each_other(
    host: Host, connect: Connect, status: CommitStatus, forge: Forge
) -> None:
    notifier = connect()
    for end in "ab":
        await notifier.deliver(dataclasses.replace(status, context=f"tekton/{'x' * 400}{end}"))
    assert len(host.latest(forge.repository, SHA)) == 2


async def test_a_wrong_token_waits_for_another_one(connect: Connect, status: CommitStatus) -> None:
    with pytest.raises(UnauthorizedError):
        await connect("wrong-token").deliver(status)


async def test_a_weak_token_is_told_what_it_lacks(connect: Connect, status: CommitStatus, forge: Forge) -> None:
    with pytest.raises((PermanentError, UnauthorizedError)) as raised:
        await connect("weak-token").deliver(status)
    assert isinstance(raised.value, PermanentError) == bool(forge.scope)
    assert forge.scope in str(raised.value)


async def test_a_repository_that_is_not_there_is_a_refusal(connect: Connect, status: CommitStatus) -> None:
    with pytest.raises(PermanentError) as raised:
        await connect().deliver(dataclasses.replace(status, repository="other/repository"))
    assert raised.value.status == 404


async def test_a_commit_that_is_not_there_is_a_refusal(
    host: Host, connect: Connect, status: CommitStatus, forge: Forge
) -> None:
    forge.trust(host, "secret-token")
    with pytest.raises(PermanentError) as raised:
        await connect().deliver(dataclasses.replace(status, sha=OTHER))
    assert raised.value.status == 404


# That the hosts in memory refuse at all


async def answer(host: Host, forge: Forge, **change: Any) -> int:
    """The status that the host answers to a request that is well-formed but for ``change``; None leaves a field out."""
    url = forge.url(host)
    notifier: Any = discover(only=[forge.kind])[forge.kind](HostSettings(name="x", url=url, token="secret-token"))
    said: dict[str, Any] = {"context": "t/b", "outcome": Outcome.RUNNING, "description": "d", "target_url": HUGE[:60]}
    post = notifier.post(CommitStatus(repository=forge.repository, sha=SHA, **said))
    body = {name: value for name, value in {**post.body, **change}.items() if value is not None}
    async with (
        aiohttp.ClientSession(headers=notifier.login("secret-token").headers) as session,
        session.post(notifier.api(url) + post.path, json=body) as response,
    ):
        return response.status


async def test_a_host_takes_what_is_well_formed_and_no_state_that_it_does_not_know(host: Host, forge: Forge) -> None:
    assert await answer(host, forge) in (200, 201, 204)
    assert await answer(host, forge, state="Succeeded") in (400, 422)


async def test_a_host_refuses_what_is_too_long_or_missing(host: Host, forge: Forge) -> None:
    assert [await answer(host, forge, **change) for change in forge.wrong] == [
        422 if "state" in change else 400 for change in forge.wrong
    ]
