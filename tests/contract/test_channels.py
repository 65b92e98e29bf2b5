"""The channels against a chat that keeps a careful receiver's rules: what they say is taken, shown once, and genuine."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from listener.demo.chat import Chat
from listener.demo.githost import HostFault
from notifiers.apprise import AppriseChannel
from notifiers.base import HostSettings, Notifier, Outcome, RetryableError, UnauthorizedError
from notifiers.webhook import WebhookChannel
from tests.unit.notifiers.messages import DETAILS, KEY, message


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with Chat(key=KEY) as chat:
        yield chat


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def webhook(stack: AsyncExitStack, chat: Chat, **settings: Any) -> Notifier:
    given: dict[str, Any] = {"token": KEY, "request_timeout": 5.0, **settings}
    notifier = WebhookChannel(HostSettings(name="hook", url=f"{chat.url}/hooks", **given))
    stack.push_async_callback(notifier.close)
    return notifier


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_every_event_is_taken_and_a_repeat_is_known_as_one(chat: Chat, stack: AsyncExitStack, mode: str) -> None:
    notifier = webhook(stack, chat, options={"mode": mode})
    events = ["started", "succeeded", "failed", "cancelled", "broken", "fixed"]
    for event in events:
        for _ in range(2):
            await notifier.deliver(message(event=event))
    assert [received.data["event"] for received in chat.messages] == events
    assert chat.repeats == len(events)
    assert {received.subject for received in chat.messages} == {"ci/service-xyz-run-1"}


async def test_both_modes_are_the_same_event(chat: Chat, stack: AsyncExitStack) -> None:
    for mode in ("structured", "binary"):
        await webhook(stack, chat, options={"mode": mode}).deliver(message())
    assert (len(chat.messages), chat.repeats) == (1, 1)


@pytest.mark.parametrize("outcome", Outcome)
async def test_every_outcome_is_taken(chat: Chat, stack: AsyncExitStack, outcome: Outcome) -> None:
    await webhook(stack, chat).deliver(message(outcome=outcome))
    assert chat.messages[0].data["outcome"] == outcome.value


async def test_a_lost_answer_makes_no_second_message(chat: Chat, stack: AsyncExitStack) -> None:
    notifier = webhook(stack, chat, request_timeout=0.2)
    chat.faults.append(HostFault(accept_then_hang=True, times=1))
    with pytest.raises(RetryableError, match="may have arrived"):
        await notifier.deliver(message())
    await notifier.deliver(message())
    assert (len(chat.messages), chat.repeats) == (1, 1)


@pytest.mark.parametrize("key", ["whsec_AAAA", "plain", None])
async def test_who_has_another_key_is_not_believed(chat: Chat, stack: AsyncExitStack, key: str | None) -> None:
    with pytest.raises(UnauthorizedError, match="signature is missing, wrong or old"):
        await webhook(stack, chat, token=key).deliver(message())
    assert not chat.messages


async def test_the_page_shows_what_came_and_nothing_of_it_is_markup(chat: Chat, stack: AsyncExitStack) -> None:
    notifier = webhook(stack, chat)
    await notifier.deliver(message(title="<script>alert(1)</script>", text="<b>it broke</b>"))
    await notifier.deliver(message(text="plain words", templated=True))
    async with aiohttp.ClientSession() as session, session.get(chat.url) as answer:
        page = await answer.text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;it broke" in page
    assert "plain words" in page
    assert "<script>" not in page


async def test_a_large_run_is_taken(chat: Chat, stack: AsyncExitStack) -> None:
    details = dataclasses.replace(DETAILS, log_tail="error: 💥\n" * 50_000)
    await webhook(stack, chat).deliver(message(details=details, text="€" * 200_000))
    assert chat.messages[0].data["log_tail"].endswith("error: 💥\n")


async def test_apprise_posts_there_as_well(stack: AsyncExitStack) -> None:
    async with Chat() as chat:
        url = f"{chat.url.replace('http', 'json')}/hooks"
        notifier = AppriseChannel(HostSettings(name="chat", url=None, token=url, request_timeout=5.0))
        stack.push_async_callback(notifier.close)
        await notifier.deliver(message())
        assert message().title in chat.messages[0].text
