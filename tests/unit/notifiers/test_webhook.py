"""A message is one request: what it is, how it is signed, what an answer means, and when it is cut off."""

from __future__ import annotations

import asyncio
import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from notifiers.base import (
    CommitStatus,
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
from notifiers.reports import Message
from notifiers.webhook import WebhookChannel
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.messages import KEY, UID, message
from tests.unit.notifiers.scene import DATE, TOKEN, Connect, status
from tests.unit.notifiers.subject import Subject
from tests.unit.notifiers.test_session import certificate, serving
from tests.unit.notifiers.test_signatures import genuine

__all__ = ["certificate"]  # a fixture


SUBJECT = Subject(
    name="webhook",
    notifier=WebhookChannel,
    settings=lambda place: {"options": {"auth": "bearer"}},
    report=message,
    long=lambda text: {"title": text, "text": f"{text}\n\n" * 30},
    reads_success=False,
)


@pytest.fixture
def webhook(connect: Connect) -> Notifier:
    return connect(WebhookChannel, token=KEY)


# What is sent


async def test_a_message_is_one_signed_event(host: Host, webhook: Notifier) -> None:
    await webhook.deliver(message())
    assert [(asked.method, asked.path) for asked in host.asked] == [("POST", "/")]
    headers = dict(host.last.headers)
    assert headers["content-type"] == "application/cloudevents+json"
    assert host.last.json["subject"] == "ci/service-xyz-run-1"
    assert headers["webhook-id"] == host.last.json["id"] == f"{UID}-failed"
    assert genuine(headers, host.last.body)
    assert "authorization" not in headers


async def test_binary_mode_has_the_attributes_in_headers(host: Host, connect: Connect) -> None:
    await connect(WebhookChannel, token=KEY, options={"mode": "binary"}).deliver(message())
    headers = dict(host.last.headers)
    assert headers["ce-type"] == "dev.tekton-listener.pipelinerun.failed.v1"
    assert headers["content-type"] == "application/json"
    assert host.last.json["run"]["uid"] == UID
    assert genuine(headers, host.last.body)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ('{"text": "it broke"}', {}, "application/json"),
        ("it broke: € \ud800", {}, "text/plain; charset=utf-8"),
        ("<b>", {"content_type": "text/html"}, "text/html"),
        ("[" * 200_000, {}, "text/plain; charset=utf-8"),
    ],
)
async def test_a_template_of_the_operators_is_posted_as_it_is_and_signed(
    host: Host, connect: Connect, text: str, options: dict[str, str], expected: str
) -> None:
    channel = connect(WebhookChannel, token=KEY, options=options)
    await channel.deliver(message(text=text, templated=True))
    assert host.last.body == text.encode("utf-8", "replace")
    assert host.last.headers["content-type"] == expected
    assert genuine(dict(host.last.headers), host.last.body)


async def test_a_template_without_end_is_refused(host: Host, webhook: Notifier) -> None:
    with pytest.raises(PermanentError, match="more than 1024 KB"):
        await webhook.deliver(message(text="x" * 1024 * 1025, templated=True))
    assert not host.asked


async def test_a_key_may_be_a_bearer_token_instead(host: Host, connect: Connect) -> None:
    await connect(WebhookChannel, options={"auth": "bearer"}).deliver(message())
    assert host.last.headers["authorization"] == f"Bearer {TOKEN}"
    assert not [name for name in host.last.headers if "signature" in name]


async def test_without_a_key_nothing_is_signed(host: Host, connect: Connect) -> None:
    await connect(WebhookChannel, token=None).deliver(message())
    assert not {"authorization", "webhook-signature", "x-hub-signature-256"} & set(host.last.headers)


async def test_a_url_that_is_a_secret_comes_from_the_tokens_file_with_its_key(
    host: Host, connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "hook"
    file.write_text(f"{host.url}/services/T0/B%2F0/?sig=a%3Db\n{KEY}\n")
    channel = connect(WebhookChannel, url=None, token=None, token_file=file)
    await channel.deliver(message())
    assert host.last.path == "/services/T0/B%2F0/?sig=a%3Db", "to the letter"
    assert genuine(dict(host.last.headers), host.last.body)
    account = channel.account("group/service-xyz")
    file.write_text(f"{host.url}/another\n")
    await channel.deliver(message())
    assert host.last.path == "/another"
    assert "webhook-signature" not in host.last.headers
    assert channel.account("group/service-xyz") != account


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"url": None, "token": None}, "url is missing"),
        ({"url": None, "token": "just-a-key"}, "first line must be the URL"),
        ({"url": None, "token": "https://u:secret-p@h/secret-path"}, "leave user"),
        ({"url": None, "token": "https://h/secret-path\nkey\nmore"}, "no third"),
        ({"url": None, "token": "https://h/secret-path\nsecret key"}, "does not hold a token"),
        ({"url": None, "token": "https://h:0/secret-path"}, "first line must be the URL"),
        ({"token": "whsec_secret-path!"}, "base64"),
        ({"token": None, "options": {"auth": "bearer"}}, "needs token_file"),
        ({"url": None, "token": "https://h/x", "options": {"auth": "bearer"}}, "needs a second line"),
        ({"options": {"mode": "batch"}}, "structured, binary"),
        ({"options": {"header_X": "1"}}, "a webhook knows mode, auth"),
        ({"options": {"source": "a\nb"}}, "one line of ASCII"),
        ({"url": "ftp://h"}, "http"),
    ],
)
def test_settings_that_cannot_work_say_why_and_nothing_secret(
    connect: Connect, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        connect(WebhookChannel, **settings)
    assert "secret" not in str(raised.value)


async def test_it_takes_messages_only(host: Host, webhook: Notifier) -> None:
    assert WebhookChannel.reports == {Message}
    with pytest.raises(PermanentError, match="takes messages"):
        await webhook.deliver(status())
    assert not host.asked
    assert webhook.word(CommitStatus, Outcome.FAILED) == "failed"
    assert webhook.check_repository("what/ever") is None


# What an answer means


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_every_2xx_is_success_whatever_comes_with_it(host: Host, webhook: Notifier, code: int) -> None:
    host.default = Answer(code, b"" if code == 204 else b"x" * 100_000)
    await webhook.deliver(message())
    if code != 204:  # which has no body
        host.default = Answer(code, how="drip")
    await webhook.deliver(message())
    assert len(host.asked) == 2


@pytest.mark.parametrize("code", [400, 403, 404, 405, 409, 410, 413, 415, 422])
async def test_a_refusal_is_permanent(host: Host, webhook: Notifier, code: int) -> None:
    host.default = Answer(code, {"message": "no"})
    with pytest.raises(PermanentError, match=f"answered {code}: .*no") as raised:
        await webhook.deliver(message())
    assert raised.value.status == code
    assert len(host.asked) == 1


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
async def test_trouble_is_worth_another_try_when_the_receiver_says(host: Host, webhook: Notifier, code: int) -> None:
    host.default = Answer(code, b"<html><title>Busy</title>", {"Retry-After": "30", **DATE})
    with pytest.raises(RetryableError, match=f"answered {code}: Busy") as raised:
        await webhook.deliver(message())
    assert (raised.value.status, raised.value.retry_after) == (code, 30.0)
    assert len(host.asked) == 1


async def test_a_refused_key_is_read_again(host: Host, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old\n")
    channel = connect(WebhookChannel, token=None, token_file=file, options={"auth": "bearer"})
    host.default = Answer(401, b"")
    with pytest.raises(UnauthorizedError):
        await channel.deliver(message())
    file.write_text("new\n")
    host.default = Answer()
    await channel.deliver(message())
    assert [asked.headers["authorization"] for asked in host.asked] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_nothing_is_sent_to_where_it_points(
    host: Host, webhook: Notifier, code: int
) -> None:
    async with Host() as stranger:
        host.default = Answer(code, b"", {"Location": f"{stranger.url}/secret?x"})
        with pytest.raises(PermanentError, match=f"answered {code} and points to {stranger.url}, where nothing"):
            await webhook.deliver(message())
        assert stranger.connections == 0


async def test_a_refusal_that_never_ends_counts_for_its_status(host: Host, connect: Connect) -> None:
    host.default = Answer(410, how="drip")
    with pytest.raises(PermanentError, match="it wants no more messages"):
        await connect(WebhookChannel, request_timeout=0.2).deliver(message())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("reset", "connection was lost"),
        ("hang", "no answer in time"),
        ("drip_head", "no complete answer|not HTTP"),
    ],
)
async def test_no_answer_is_worth_another_try(host: Host, connect: Connect, how: str, why: str) -> None:
    host.default = Answer(how=how)
    with pytest.raises(RetryableError, match=why) as raised:
        await connect(WebhookChannel, request_timeout=0.2).deliver(message())
    assert raised.value.status is None
    assert len(host.asked) == 1


async def test_a_receiver_that_is_not_there_is_worth_another_try(connect: Connect) -> None:
    async with Host() as gone:
        url = gone.url
    with pytest.raises(RetryableError, match="cannot be reached"):
        await connect(WebhookChannel, url=url).deliver(message())
    with pytest.raises(RetryableError, match="name cannot be resolved"):
        await connect(WebhookChannel, url="http://nowhere.invalid/").deliver(message())


async def test_what_is_not_http_is_worth_another_try(connect: Connect) -> None:
    async def chat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(chat, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RetryableError, match=r"not HTTP") as raised:
            await connect(WebhookChannel, url=f"http://127.0.0.1:{port}/{TOKEN}").deliver(message())
    assert TOKEN not in "".join(traceback.format_exception(raised.value)), "aiohttp says it with the URL"


async def test_a_count_of_what_is_left_is_passed_on(host: Host, webhook: Notifier) -> None:
    host.default = Answer(
        headers={"RateLimit-Limit": "100", "RateLimit-Remaining": "7", "RateLimit-Reset": "978307230", **DATE}
    )
    receipt = await webhook.deliver(message())
    assert receipt.rate_limit == RateLimit(limit=100, remaining=7, resets_in=30.0)


async def test_tls_is_checked_against_the_receivers_own_ca(connect: Connect, certificate: Path) -> None:
    async with Host(tls=serving(certificate)) as secure:
        await connect(WebhookChannel, url=secure.url, ca_file=certificate).deliver(message())
        assert len(secure.asked) == 1
        with pytest.raises(RetryableError, match=r"certificate is not accepted .* ca_file"):
            await connect(WebhookChannel, url=secure.url).deliver(message())
        with pytest.raises(RetryableError, match=r"connection was lost|TLS|not HTTP"):
            await connect(WebhookChannel, url=secure.url.replace("https", "http")).deliver(message())
        assert len(secure.asked) == 1


async def test_the_environments_proxy_is_asked(host: Host, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", host.url.replace("http://", "http://me:secret@"))
    await connect(WebhookChannel, url="http://hooks.example.com/x").deliver(message())
    assert host.last.path == "http://hooks.example.com/x"
    assert host.last.headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in host.last.headers


# Deadlines, and the end


async def test_no_request_begins_after_the_deadline(host: Host, webhook: Notifier) -> None:
    with pytest.raises(TooLateError):
        await webhook.deliver(message(), until=clock)
    assert host.connections == 0


async def test_a_request_under_way_is_cut_off_at_the_deadline_which_may_move(host: Host, webhook: Notifier) -> None:
    host.default = Answer(how="hang")
    ends = [clock() + 0.05]

    def until() -> float:
        if len(ends) < 2 and clock() >= ends[0]:
            ends.append(clock() + 0.05)  # it was moved while the request was under way
        return ends[-1]

    with pytest.raises(TooLateError):
        await webhook.deliver(message(), until=until)
    assert len(ends) == 2
    await host.has_no_connection()


async def test_a_cancelled_delivery_leaves_nothing_behind(
    host: Host, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    channel = connect(WebhookChannel)
    host.default = Answer(how="hang")
    before = asyncio.all_tasks()
    delivery = asyncio.create_task(channel.deliver(message()))
    await host.has(requests=1)
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    await channel.close()
    await host.has_no_connection()
    assert not asyncio.all_tasks() - before
    assert not caplog.records


async def test_closing_lets_a_request_end_and_begins_no_other(host: Host, connect: Connect) -> None:
    channel = connect(WebhookChannel)
    host.default = Answer(how="hang")
    delivery = asyncio.create_task(channel.deliver(message()))
    await host.has(requests=1)
    closing = asyncio.create_task(channel.close())
    await asyncio.sleep(0)
    with pytest.raises(RetryableError, match="shutting down"):
        await channel.deliver(message())
    host.release()
    await closing
    await delivery
    assert len(host.asked) == 1


async def test_closing_cuts_off_what_does_not_end(host: Host, connect: Connect) -> None:
    channel = connect(WebhookChannel, request_timeout=0.2)
    host.default = Answer(how="drip_head")
    delivery = asyncio.create_task(channel.deliver(message()))
    await host.has(requests=1)
    await channel.close()
    with pytest.raises(NotifierError):
        await delivery
    await channel.close()
    await host.has_no_connection()


async def test_many_at_once_are_as_many_connections_as_threads_say(host: Host, connect: Connect) -> None:
    channel = connect(WebhookChannel, threads=2)
    host.script.extend([Answer(how="hang")] * 2)
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(channel.deliver(message()))
        await host.has(requests=2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert host.open == 2
        host.release()
    assert len(host.asked) == 6
    assert json.loads(host.last.body)["specversion"] == "1.0"
