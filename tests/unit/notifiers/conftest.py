"""Fixtures: a Git host on a socket, and notifiers that speak to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from notifiers.base import HostSettings, Notifier
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from tests.app_key import key
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import DATE, GRANTED, TOKEN, Connect
from tests.unit.notifiers.subject import Place, Subject, github_app
from tests.unit.notifiers.subjects import KINDS, SENDERS, SUBJECTS

__all__ = ["Connect"]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host() as host:
        yield host


@pytest.fixture
async def connect(host: Host) -> AsyncIterator[Connect]:
    """``connect(GitLabNotifier, threads=2)``: a notifier for the host, closed at the end."""
    async with AsyncExitStack() as stack:

        def make(kind: type[Notifier], **settings: Any) -> Notifier:
            given: dict[str, Any] = {
                "name": "here",
                "url": host.url,
                "token": TOKEN,
                "request_timeout": 5.0,
                **settings,
            }
            notifier = kind(HostSettings(**given))
            stack.push_async_callback(notifier.close)
            return notifier

        yield make


@pytest.fixture(params=[kind.notifier for kind in KINDS], ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> type[Notifier]:
    """For what all hosts have in common."""
    found: type[Notifier] = request.param
    return found


@pytest.fixture(params=[kind.notifier for kind in SENDERS], ids=[kind.name for kind in SENDERS])
def sender(request: pytest.FixtureRequest) -> type[Notifier]:
    """For what belongs to sessions and threads: hosts that send in the same way need not be tried one by one."""
    found: type[Notifier] = request.param
    return found


@pytest.fixture
def notifier(connect: Connect, kind: type[Notifier]) -> Notifier:
    return connect(kind)


@pytest.fixture
def gitlab(connect: Connect) -> Notifier:
    return connect(GitLabNotifier)


@pytest.fixture
def github(connect: Connect) -> Notifier:
    return connect(GitHubNotifier)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "app.pem"
    file.write_text(key().private)
    return file


@pytest.fixture
def scripted(connect: Connect, host: Host, key_file: Path) -> Callable[..., Notifier]:
    """``scripted()``: a notifier that is given a GitHub App, whose installation is configured, so that it asks for tokens only."""

    def make(**settings: Any) -> Notifier:
        return connect(GitHubNotifier, **{**github_app(Place(host.url, key_file)), **settings})

    return make


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    """For what all notifiers and all reports have in common."""
    found: Subject = request.param
    return found


@pytest.fixture
def options(subject: Subject, host: Host, key_file: Path) -> dict[str, Any]:
    """Of the subject's entry in the configuration, for a host that answers as it should. An App is given the tokens that it asks for."""
    host.grants, host.canned = Answer(201, GRANTED, DATE), subject.answers
    return subject.settings(Place(host.url, key_file))


@pytest.fixture
def reporter(connect: Connect, subject: Subject, options: dict[str, Any]) -> Notifier:
    """The subject's notifier."""
    return connect(subject.notifier, **options)


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


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The root logger and every logger that somebody has set a level for, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        before = {name: logger.level for name, logger in logging.root.manager.loggerDict.items()
                  if isinstance(logger, logging.Logger)}  # fmt: skip
        for name in before:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield caplog
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
