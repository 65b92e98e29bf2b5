"""Messages through Apprise: who gets them, what a failure means, and that no thread outlives its time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifiers.apprise import MAX_TRIES, AppriseChannel
from notifiers.base import (
    HostSettings,
    Notifier,
    NotifierError,
    Outcome,
    PermanentError,
    RetryableError,
    TooLateError,
    UnauthorizedError,
    clock,
    for_ever,
)
from notifiers.reports import Message, RunDetails
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.mail import MailServer
from tests.unit.notifiers.messages import message
from tests.unit.notifiers.scene import LONGEST_BLOCK, PACKED, TOKEN, Connect, status
from tests.unit.notifiers.subject import Subject
from tests.unit.notifiers.test_session import certificate, serving

__all__ = ["certificate"]  # a fixture
ROOT = Path(__file__).parents[3]


def url_of(host: Host, scheme: str = "json", rest: str = "/hook") -> str:
    return f"{scheme}://{host.url.partition('://')[2]}{rest}"


SUBJECT = Subject(
    name="apprise",
    notifier=AppriseChannel,
    settings=lambda place: {"url": None, "token": f"json://user:{TOKEN}@{place.url.partition('://')[2]}/{PACKED}"},
    report=message,
    long=lambda text: {"title": text, "text": f"{text}\n\n" * 30},
    limits={"title": 250, "message": 32_768},
    refused_token=PermanentError,  # one receiver's among several
    hears_retry_after=False,  # apprise keeps it to itself
    reads_success=False,
    counts_requests=False,
)


@pytest.fixture
async def other() -> AsyncIterator[Host]:
    async with Host() as other:
        yield other


Channel = Callable[..., Notifier]


@pytest.fixture
def channel(connect: Connect, host: Host) -> Channel:
    """``channel(URL, URL)``: a channel with these receivers; without any with the host."""

    def make(*urls: str, **settings: Any) -> Notifier:
        return connect(AppriseChannel, url=None, token="\n".join(urls or [url_of(host)]), **settings)

    return make


# What is sent


@pytest.mark.parametrize(
    ("event", "outcome", "kind"),
    [
        ("failed", Outcome.FAILED, "failure"),
        ("broken", Outcome.TIMED_OUT, "failure"),
        ("succeeded", Outcome.SUCCEEDED, "success"),
        ("fixed", Outcome.SUCCEEDED, "success"),
        ("cancelled", Outcome.CANCELLED, "warning"),
        ("started", Outcome.RUNNING, "info"),
        ("something new", Outcome.SUCCEEDED, "success"),
        ("something new", Outcome.BROKEN, "failure"),
        ("something new", Outcome.DELETED, "warning"),
        ("something new", Outcome.QUEUED, "info"),
    ],
)
async def test_a_message_has_title_text_and_colour(
    host: Host, channel: Channel, event: str, outcome: Outcome, kind: str
) -> None:
    await channel().deliver(message(event=event, outcome=outcome))
    sent = host.last.json
    assert (sent["title"], sent["message"], sent["type"]) == (message().title, message().text, kind)
    assert len(host.asked) == 1


async def test_markdown_is_what_each_service_makes_of_it(host: Host, channel: Channel) -> None:
    await channel(url_of(host, rest="/?format=html")).deliver(message(text="**bold** `code`"))
    assert "<strong>bold</strong>" in host.last.json["message"]


@pytest.mark.parametrize("text", ["", " \n", "\ud800", "x" * 200_000, "💥" * 50_000])
async def test_any_text_is_sent_and_cut_to_what_the_service_takes(host: Host, channel: Channel, text: str) -> None:
    await channel().deliver(message(text=text, title="t\n" * 1000))
    sent = host.last.json
    assert 0 < len(sent["message"]) <= 32768
    assert len(sent["title"]) <= 250
    assert "\n" not in sent["title"]
    assert len(host.asked) == 1


async def test_several_services_are_several_receivers(host: Host, channel: Channel) -> None:
    urls = ["# ours", url_of(host), "", url_of(host, "xml"), url_of(host, "form"), url_of(host)]
    await channel(*urls).deliver(message())
    assert sorted(asked.headers["content-type"].partition(";")[0] for asked in host.asked) == [
        "application/json",
        "application/x-www-form-urlencoded",
        "application/xml",
    ]


async def test_a_service_that_logs_in_first_is_logged_out_of_again(host: Host, channel: Channel) -> None:
    """Matrix, and on the sending's thread: see ``send``."""
    host.default = Answer(
        200, {"access_token": "granted-0123", "user_id": "@u:h", "room_id": "!r:h", "home_server": "h"}
    )
    await channel(url_of(host, "matrix", "/!room:h").replace("://", "://user:password@")).deliver(message())
    paths = [asked.path.partition("?")[0].rsplit("/", 1)[-1] for asked in host.asked]
    assert paths[0] == "login"
    assert paths[-1] == "logout"


async def test_it_takes_messages_only(host: Host, channel: Channel) -> None:
    assert AppriseChannel.reports == {Message}
    with pytest.raises(PermanentError, match="takes messages"):
        await channel().deliver(status())
    assert not host.asked


async def test_urls_are_read_again_when_their_file_changes(
    host: Host, other: Host, connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "urls"
    file.write_text(url_of(host))
    channel = connect(AppriseChannel, url=None, token=None, token_file=file)
    await channel.deliver(message())
    account = channel.account("group/service-xyz")
    file.write_text(url_of(other) + "\n# moved\n")
    await channel.deliver(message())
    file.write_text("nonsense, while somebody edits it")
    await channel.deliver(message())
    assert (len(host.asked), len(other.asked)) == (1, 2)
    assert channel.account("group/service-xyz") != account


# What a failure means


@pytest.mark.parametrize("code", [302, 400, 401, 403, 404, 410, 413, 422])
async def test_a_refusal_is_permanent(host: Host, channel: Channel, code: int) -> None:
    host.default = Answer(code, {"message": "no"}, {"Location": "http://127.0.0.1:9/"} if code == 302 else {})
    with pytest.raises(PermanentError, match=rf"JSON \(line 1\) answered {code}") as raised:
        await channel().deliver(message())
    assert raised.value.status == code
    assert len(host.asked) == 1


async def test_a_redirect_is_refused_whatever_the_url_says(host: Host, other: Host, channel: Channel) -> None:
    host.default = Answer(307, b"", {"Location": f"{other.url}/x"})
    with pytest.raises(PermanentError, match="it points elsewhere"):
        await channel(url_of(host, rest="/?redirect=yes")).deliver(message())
    assert other.connections == 0


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503])
async def test_trouble_is_worth_another_try(host: Host, channel: Channel, code: int) -> None:
    host.default = Answer(code, {"message": "no"})
    with pytest.raises(RetryableError, match=rf"JSON \(line 1\) answered {code}") as raised:
        await channel().deliver(message())
    assert raised.value.status == code
    assert not isinstance(raised.value, UnauthorizedError)
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("how", "why"), [("reset", "connection was lost"), ("hang", "no answer in time"), ("drip", "no complete answer")]
)
async def test_no_answer_is_worth_another_try(host: Host, channel: Channel, how: str, why: str) -> None:
    host.default = Answer(200, how=how)
    with pytest.raises(RetryableError, match=rf"JSON \(line 1\).*{why}"):
        await channel(request_timeout=0.2).deliver(message())
    assert len(host.asked) == 1


async def test_a_receiver_that_is_not_there_is_worth_another_try(channel: Channel) -> None:
    async with Host() as gone:
        url = url_of(gone)
    notifier = channel(url)
    for _ in range(MAX_TRIES + 1):
        with pytest.raises(RetryableError, match="Connection refused"):
            await notifier.deliver(message())


async def test_who_has_the_message_does_not_get_it_again_while_others_are_tried(
    host: Host, other: Host, channel: Channel
) -> None:
    notifier = channel(url_of(host), url_of(other))
    other.script.extend([Answer(503), Answer(how="reset")])
    for _ in range(2):
        with pytest.raises(RetryableError, match="line 2"):
            await notifier.deliver(message())
    await notifier.deliver(message())
    assert (len(host.asked), len(other.asked)) == (1, 3)
    await notifier.deliver(message(event="succeeded", outcome=Outcome.SUCCEEDED))
    assert (len(host.asked), len(other.asked)) == (2, 4), "another message goes to both"


async def test_a_refusal_is_told_once_the_others_have_it(host: Host, other: Host, channel: Channel) -> None:
    notifier = channel(url_of(host), url_of(other))
    host.default = Answer(403)
    other.script.append(Answer(503))
    with pytest.raises(RetryableError, match="line 2"):
        await notifier.deliver(message())
    with pytest.raises(PermanentError, match=r"line 1.* answered 403"):
        await notifier.deliver(message())
    assert (len(host.asked), len(other.asked)) == (1, 2)


@pytest.fixture
def slack(host: Host, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a Slack that is the host; apprise has no option for that."""
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"{host.url}/services")
    return "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


async def test_what_fails_without_a_reason_is_not_tried_for_ever(host: Host, channel: Channel, slack: str) -> None:
    host.default = Answer(200, b"no_service")  # as Slack may say no
    notifier = channel(f"{slack}/#general")
    for _ in range(MAX_TRIES - 1):
        with pytest.raises(RetryableError, match=r"Slack \(line 1\) answered 200"):
            await notifier.deliver(message())
    with pytest.raises(PermanentError, match=f"given up after {MAX_TRIES} tries"):
        await notifier.deliver(message())
    assert len(host.asked) == MAX_TRIES


# Mail


async def test_mail_arrives(channel: Channel) -> None:
    async with MailServer() as server:
        url = f"mailto://user:password@127.0.0.1:{server.port}/?from=a@example.com&to=b@example.com&mode=insecure"
        await channel(url).deliver(message())
        assert len(server.mails) == 1
        assert message().title in server.mails[0]


@pytest.mark.parametrize(
    ("answers", "error", "why"),
    [
        ({"auth": "535 5.7.8 wrong password"}, PermanentError, "mail server answered 535"),
        ({"rcpt": "550 5.1.1 nobody here"}, PermanentError, "mail server answered 550"),
        ({"rcpt": "451 4.7.1 greylisted"}, RetryableError, "mail server answered 451"),
        ({"data": "554 5.7.1 spam"}, PermanentError, "mail server answered 554"),
    ],
)
async def test_a_mail_servers_no_is_permanent_and_its_not_now_is_not(
    channel: Channel, answers: dict[str, str], error: type[NotifierError], why: str
) -> None:
    async with MailServer(**answers) as server:
        url = f"mailto://user:password@127.0.0.1:{server.port}/?from=a@example.com&to=b@example.com&mode=insecure"
        with pytest.raises(error, match=why):
            await channel(url).deliver(message())


# Threads, deadlines, and the end


@pytest.fixture
def threads() -> Iterator[Callable[[], list[str]]]:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("notify-here")]

    yield names
    assert not names()


async def test_no_request_begins_after_the_deadline(host: Host, channel: Channel) -> None:
    with pytest.raises(TooLateError):
        await channel().deliver(message(), until=clock)
    assert host.connections == 0


@pytest.mark.parametrize("how", ["hang", "drip", "drip_head"])
async def test_a_request_under_way_is_cut_off_at_the_deadline_and_its_thread_with_it(
    host: Host, channel: Channel, threads: Callable[[], list[str]], how: str
) -> None:
    host.default = Answer(200, how=how)
    end = clock() + 0.1
    notifier = channel(request_timeout=30.0)
    with pytest.raises(TooLateError):
        await notifier.deliver(message(), until=lambda: end)
    await host.has_no_connection()
    await notifier.close()
    assert not threads()


async def test_between_two_requests_of_one_receiver_the_deadline_counts_as_well(
    host: Host, channel: Channel, slack: str
) -> None:
    host.default = Answer(200, b"ok")
    end = [for_ever()]

    def until() -> float:
        if host.asked:  # the first room has it
            end[0] = 0.0
        return end[0]

    with pytest.raises(TooLateError):
        await channel(f"{slack}/#one/#two").deliver(message(), until=until)
    assert len(host.asked) == 1


async def test_dripping_receivers_keep_no_thread_from_others(
    host: Host, other: Host, channel: Channel, threads: Callable[[], list[str]]
) -> None:
    host.default = Answer(200, how="drip")
    notifier = channel(url_of(host), url_of(other), threads=1, request_timeout=0.2)
    for number in range(3):
        with pytest.raises(RetryableError):
            await notifier.deliver(message(details=RunDetails(uid=f"{number}")))
    await host.has_no_connection()
    host.default = Answer(200)
    await notifier.deliver(message())
    assert other.asked


async def test_tls_is_checked_against_the_channels_own_ca(connect: Connect, certificate: Path) -> None:
    async with Host(tls=serving(certificate)) as secure:
        trusting = connect(AppriseChannel, url=None, token=url_of(secure, "jsons"), ca_file=certificate)
        await trusting.deliver(message())
        with pytest.raises(RetryableError, match="certificate is not accepted"):
            await connect(AppriseChannel, url=None, token=url_of(secure, "jsons")).deliver(message())
        assert len(secure.asked) == 1


async def test_a_cancelled_delivery_leaves_nothing_behind(
    host: Host, channel: Channel, threads: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    notifier = channel()
    host.default = Answer(how="hang")
    before = asyncio.all_tasks()
    delivery = asyncio.create_task(notifier.deliver(message()))
    await host.has(requests=1)
    assert threads()
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    await notifier.close()
    await host.has_no_connection()
    assert not threads()
    assert not asyncio.all_tasks() - before
    assert not caplog.records


async def test_closing_lets_a_request_end_and_begins_no_other(host: Host, channel: Channel) -> None:
    notifier = channel()
    host.default = Answer(how="hang")
    delivery = asyncio.create_task(notifier.deliver(message()))
    await host.has(requests=1)
    closing = asyncio.create_task(notifier.close())
    await asyncio.sleep(0)
    with pytest.raises(RetryableError, match="shutting down"):
        await notifier.deliver(message(event="started"))
    host.release()
    await closing
    await delivery


async def test_the_loop_goes_on_and_no_more_threads_than_told_are_at_work(
    host: Host, channel: Channel, threads: Callable[[], list[str]], longest_block: list[float]
) -> None:
    notifier = channel(threads=2)
    host.script.extend([Answer(200, how="hang")] * 2)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(notifier.deliver(message(details=RunDetails(uid=f"{number}"))))
        await host.has(requests=2)
        for _ in range(20):
            await asyncio.sleep(0.001)  # turns of the loop, which is what is tested
        assert len(threads()) == 2
        host.release()
    assert len(host.asked) == 6
    assert max(longest_block) < LONGEST_BLOCK


# Without the package


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValueError, match=r"pip install 'tekton-pipeline-listener\[chat\]'"):
        AppriseChannel(HostSettings(name="chat", url=None, token="json://localhost"))


def test_the_package_is_imported_by_those_who_use_it_only() -> None:
    code = "import sys, notifiers.apprise; print('apprise' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "False"
