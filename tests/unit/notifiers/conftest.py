"""Fixtures: a Git host on a socket, and notifiers that speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from notifiers.base import HostSettings, Notifier
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from tests.app_key import APP, key
from tests.unit.notifiers.host import Host
from tests.unit.notifiers.scene import TOKEN

Connect = Callable[..., Notifier]


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


@pytest.fixture(params=[GitLabNotifier, GitHubNotifier], ids=["gitlab", "github"])
def kind(request: pytest.FixtureRequest) -> type[Notifier]:
    """For what both hosts have in common."""
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
        given = {"token": None, "app_id": APP, "private_key_file": key_file, "installation_id": 678, **settings}
        return connect(GitHubNotifier, **given)

    return make
