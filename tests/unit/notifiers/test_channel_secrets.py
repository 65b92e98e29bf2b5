"""Whatever a URL or a key is, and whatever goes wrong: no log, no error and no ``repr`` tells it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import string
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from notifiers.apprise import AppriseChannel
from notifiers.apprise_urls import receivers
from notifiers.base import HostSettings, Notifier, NotifierError
from notifiers.hiding import Hiding, pieces_of
from notifiers.webhook import WebhookChannel
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.messages import message

ANSWERS = ["whole", "echo", "reset", "cut", "drip_head"]
secret = st.text(string.ascii_letters + string.digits, min_size=8, max_size=40).filter(lambda s: s.lower() not in TOLD)
odd_secret = st.text(string.ascii_letters + string.digits + "+%&=$!~ äß", min_size=10, max_size=30)
TOLD = "localhost tekton-pipeline-listener application json cloudevents accept encoding identity"


class _Everything(logging.Handler):
    """All that is logged by anybody, at DEBUG."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + repr(record.args))


@contextlib.contextmanager
def hearing() -> Iterator[_Everything]:
    everything, root = _Everything(), logging.getLogger()
    known = [logging.getLogger(name) for name in list(root.manager.loggerDict)]
    before = {logger: logger.level for logger in (root, *known)}
    root.addHandler(everything)
    for logger in before:
        logger.setLevel(logging.DEBUG)
    try:
        yield everything
    finally:
        root.removeHandler(everything)
        for logger, level in before.items():
            logger.setLevel(level)


async def told_by(notifier: Notifier) -> list[str]:
    """What it says of itself and of a delivery."""
    told = [repr(notifier), *map(repr, vars(notifier).values()), notifier.account("a/b")]
    with hearing() as heard:
        try:
            await notifier.deliver(message())
        except NotifierError as error:
            told += [str(error), repr(error), *traceback.format_exception(error)]
        await notifier.close()
    return told + heard.lines


def of_channel(kind: type[Notifier], lines: str, answer: Answer) -> str:
    async def play() -> list[str]:
        async with Host() as host:
            host.default = answer
            place = host.url.partition("://")[2]
            text = lines.replace("HOST", place)
            told = await told_by(kind(HostSettings(name="chat", url=None, token=text, request_timeout=0.1)))
            assert host.asked
        return told

    return "\n".join(asyncio.run(play()))


def answer_of(code: int, how: str, before: int, *secrets: str) -> Answer:
    """One that repeats what it was sent: the headers with ``echo``, and else everything, behind so many characters."""
    body = (
        f"{'x' * before} you sent http://localhost/{'/'.join(secrets)}?x={' '.join(secrets)} {quote(' '.join(secrets))}"
    )
    return Answer(code, {"message": body}, how=how)


BEFORE = st.integers(0, 300)  # messages are cut at 300
many = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(
    path=secret, query=secret, key=secret, code=st.sampled_from([302, 400, 401, 403, 429, 500]),
    how=st.sampled_from(ANSWERS), before=BEFORE,
)  # fmt: skip
@example(path="pathpath1", query="queryquery2", key="keykeykey3", code=403, how="whole", before=10)
@example(path="pathpath1", query="queryquery2", key="keykeykey3", code=500, how="whole", before=270)
@example(path="pathpath1", query="queryquery2", key="keykeykey3", code=400, how="echo", before=0)
def test_of_a_webhook(path: str, query: str, key: str, code: int, how: str, before: int) -> None:
    lines = f"http://HOST/hooks/{path}?sig={query}\n{key}"
    told = of_channel(WebhookChannel, lines, answer_of(code, how, before, path, query, key))
    for hidden in (path, query, key):
        assert hidden.lower()[:8] not in told.lower(), "not even a part of it, where a message was cut"


@many
@given(
    user=secret, password=odd_secret, path=odd_secret, header=secret,
    code=st.sampled_from([302, 400, 401, 403, 429, 500]), how=st.sampled_from(ANSWERS), before=BEFORE,
)  # fmt: skip
@example(user="useruser1", password="pass/word 2", path="path path3", header="header44", code=403, how="echo", before=0)
@example(
    user="useruser1", password="pass/word 2", path="path path3", header="header44", code=200, how="drip_head", before=0
)
def test_of_an_apprise_url(user: str, password: str, path: str, header: str, code: int, how: str, before: int) -> None:
    url = f"json://{user}:{quote(password, safe='')}@HOST/{quote(path, safe='')}/?+X-Token={header}"
    told = of_channel(AppriseChannel, url, answer_of(code, how, before, user, password, path, header))
    for hidden in (user, password, path, header, quote(password, safe=""), quote(path, safe="")):
        assert hidden.lower() not in told.lower()


SCHEMES = ["slack", "json", "mailto", "tgram", "discord", "matrix", "pagerduty", "workflows", "ntfy", "nonsense"]


@given(scheme=st.sampled_from(SCHEMES), rest=st.from_regex(r"[!-~]{0,60}", fullmatch=True))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_of_a_line_that_is_refused(scheme: str, rest: str) -> None:
    with hearing() as heard:
        try:
            receivers(f"{scheme}://{rest}", "the file")
            told = ""
        except ValueError as error:
            told = str(error)
    told = (told + "\n".join(heard.lines)).lower()
    # Short words may well be in our own sentence; what is long is not there by chance.
    for piece in pieces_of(f"{scheme}://{rest}", shortest=12):
        assert piece == f"{scheme}://" or piece.lower() not in told


@given(hidden=secret, before=st.text(max_size=30), after=st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_hiding_finds_a_secret_anywhere(hidden: str, before: str, after: str) -> None:
    assert hidden.lower() not in Hiding(hidden).clean(f"{before}{hidden}{after}").replace("[hidden]", "").lower()


def test_hiding_leaves_words() -> None:
    hiding = Hiding("s3cr3t-key", "", "abc")
    assert hiding.clean("channel_not_found: abc") == "channel_not_found: abc"
    assert hiding.clean("see https://h/x?y for T0KEN456789012345678901") == "see [url] for [hidden]"
    assert "s3cr3t" not in repr(hiding)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("syslog://", "about this machine"),
        ("vapid://u@example.com/t", "about this machine"),
        ("windows://", "disabled here|about this machine"),
        ("macosx://", "disabled here|about this machine"),
        ("dbus://", "disabled here|not installed|about this machine"),
        ("gnome://", "disabled here|not installed|about this machine"),
        ("blink1://", "disabled here|not installed|about this machine"),
        ("file:///etc/passwd", "is no service"),
        ("config:///etc/passwd", "is no service"),
        ("https://example.com/urls.yml", "no such service"),
        ("mailto://u:p@example.com?pgppub=/etc/passwd", "reads a file"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?Template=/etc/passwd", "reads a file"),
        ("fcm://project@APIKEY/x?keyfile=/etc/passwd", "reads a file"),
        ("nothing-like-it://x", "no such service"),
        ("json://", "cannot be used"),
        ("no url at all", "not an Apprise URL"),
        ("json://h/a b", "without spaces"),
        ("json://h/\x1b", "not an Apprise URL"),
        ("", "is empty"),
        ("# nobody", "is empty"),
        ("\n".join(f"json://h{n}" for n in range(40)), "32 are the most"),
        ("x" * 70_000, "more than 64 KB"),
    ],
)
def test_a_url_that_is_not_for_messages_to_others_is_refused(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        AppriseChannel(HostSettings(name="chat", url=None, token=line))


def test_an_option_that_reads_a_file_and_that_we_do_not_know_is_refused_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("notifiers.apprise_urls._FILE_OPTIONS", frozenset())
    line = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?template=/etc/passwd"
    with pytest.raises(ValueError, match=r"slack:// with a file is refused"):
        receivers(line, "the file")


@pytest.mark.parametrize("settings", [{"url": "https://h"}, {"options": {"mode": "x"}}, {"token": None}], ids=str)
def test_what_apprise_does_not_take_is_said(settings: dict[str, object], tmp_path: Path) -> None:
    given: dict[str, object] = {"name": "chat", "url": None, "token": "json://h", **settings}
    with pytest.raises(ValueError, match=r"takes no url|kind apprise has none|is empty"):
        AppriseChannel(HostSettings(**given))  # type: ignore[arg-type]  # what a configuration may hold
