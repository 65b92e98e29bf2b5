"""A GitHub App: whose token a status carries, how often one is fetched, and what a refusal leads to."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from listener.demo.githost import Asked, HostFault
from listener.demo.github import GitHub
from notifiers import github_app
from notifiers.base import HostSettings, Notifier, PermanentError, RetryableError, UnauthorizedError
from notifiers.github import GitHubNotifier, refusal
from notifiers.github_app import Installations
from notifiers.session import OneRequestSession
from tests.app_key import APP, key
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import DATE, GRANTED, TOKEN, Connect, status

ACME, OTHER = "acme/service", "other/service"


def replace(file: Path, content: str) -> None:
    """As Kubernetes does it."""
    fresh = file.with_name("fresh")
    fresh.write_text(content)
    fresh.replace(file)


@pytest.fixture
async def server() -> AsyncIterator[GitHub]:
    async with GitHub() as github:
        for path in (ACME, OTHER):
            github.add_project(path, any_commit=True)
        github.add_app(APP, key().public, {"acme": 678, "other": 910})
        yield github


@pytest.fixture
def app(connect: Connect, server: GitHub, key_file: Path) -> Callable[..., Notifier]:
    """``app(threads=1)``: a notifier for the server's App."""

    def make(**settings: Any) -> Notifier:
        given = {"url": server.url, "token": None, "app_id": APP, "private_key_file": key_file, **settings}
        return connect(GitHubNotifier, **given)

    return make


def kinds(asked: list[Asked]) -> list[str]:
    """What was asked for, in order: installation, token, status."""
    names = {"installation": "installation", "access_tokens": "token"}
    return [names.get(entry.path.rpartition("/")[2], "status") for entry in asked]


def tokens(server: GitHub) -> list[str]:
    """The tokens of the statuses, in order of arrival."""
    return [entry.headers["Authorization"].partition(" ")[2] for entry in server.asked if "/statuses/" in entry.path]


async def test_a_status_arrives_with_a_token_of_the_owners_installation(
    server: GitHub, app: Callable[..., Notifier]
) -> None:
    await app().deliver(status(repository=ACME))
    assert kinds(list(server.asked)) == ["installation", "token", "status"]
    assert [posted.path for posted in server.posted] == [ACME]
    assert tokens(server)[0].startswith("ghs_")
    assert server.asked[1].path == "/api/v3/app/installations/678/access_tokens"
    assert server.asked[1].body == b'{"permissions": {"statuses": "write"}}'


async def test_a_configured_installation_is_not_looked_up(server: GitHub, app: Callable[..., Notifier]) -> None:
    await app(installation_id=678).deliver(status(repository=ACME))
    assert kinds(list(server.asked)) == ["token", "status"]


async def test_four_threads_fetch_one_token_for_many_statuses(server: GitHub, app: Callable[..., Notifier]) -> None:
    notifier = app(threads=4)
    await asyncio.gather(
        *(
            notifier.deliver(status(repository=ACME if n % 2 else "ACME/service", context=f"c{n}"))
            for n in range(1, 40, 2)
        )
    )
    assert sorted(kinds(list(server.asked))) == ["installation", *["status"] * 20, "token"]
    assert len(set(tokens(server))) == 1


async def test_a_token_of_one_owner_is_not_used_for_another(server: GitHub, app: Callable[..., Notifier]) -> None:
    notifier = app(threads=2)
    await asyncio.gather(
        *(notifier.deliver(status(repository=path, context=f"c{n}")) for n in range(6) for path in (ACME, OTHER))
    )
    assert len(server.posted) == 12
    used = {
        entry.path.split("/")[4]: entry.headers["Authorization"] for entry in server.asked if "/statuses/" in entry.path
    }
    assert len(set(used.values())) == len(set(tokens(server))) == 2


async def test_the_installation_is_remembered_and_the_token_renewed_before_its_end(
    server: GitHub, app: Callable[..., Notifier]
) -> None:
    server.add_app(APP, key().public, {"acme": 678}, lifetime=299)
    notifier = app()
    await notifier.deliver(status(repository=ACME))
    server.add_app(APP, key().public, {"acme": 678}, lifetime=400)
    await notifier.deliver(status(repository=ACME, context="second"))
    await notifier.deliver(status(repository=ACME, context="third"))
    assert kinds(list(server.asked)) == ["installation", "token", "status", "token", "status", "status"]
    assert len(set(tokens(server))) == 2


async def test_how_long_a_token_lasts_is_told_by_the_hosts_clock_and_one_that_only_counts(
    host: Host, key_file: Path
) -> None:
    now = 1000.0
    settings = HostSettings(name="x", url=host.url, app_id=APP, private_key_file=key_file, installation_id=1)
    installations = Installations(settings, api=host.url, refusal=refusal, clock=lambda: now)
    session = OneRequestSession(host.url, timeout=5.0)
    host.default = Answer(201, GRANTED, DATE)  # in 2001, long over for this machine
    asked = []
    for now in (1000.0, 4299.0, 4301.0, 7600.0, 7602.0):  # noqa: B007 - the clock reads it
        await asyncio.to_thread(installations.of, ACME, session)
        asked.append(len(host.asked))
    session.close()
    assert asked == [1, 1, 2, 2, 3]


async def test_a_revoked_token_is_replaced_at_once(server: GitHub, app: Callable[..., Notifier]) -> None:
    notifier = app(threads=2)
    await notifier.deliver(status(repository=ACME))
    server.apps.expire_tokens()
    await notifier.deliver(status(repository=ACME, context="second"))
    assert kinds(list(server.asked)) == ["installation", "token", "status", "status", "token", "status"]
    assert [one.status for one in server.asked][2:] == [201, 401, 201, 201]
    assert len(server.posted) == 2


async def test_when_the_new_token_is_refused_too_the_delivery_waits(
    server: GitHub, app: Callable[..., Notifier]
) -> None:
    refuse = HostFault(
        when=lambda request: "/statuses/" in request.path, status=401, body='{"message": "Bad credentials"}'
    )
    server.faults.append(refuse)
    notifier = app()
    with pytest.raises(
        UnauthorizedError, match=r"Bad credentials; the token of the App's installation is refused, and so"
    ):
        await notifier.deliver(status(repository=ACME))
    assert kinds(list(server.asked)) == ["installation", "token", "status", "token", "status"]
    server.faults.remove(refuse)
    await notifier.deliver(status(repository=ACME))
    assert kinds(list(server.asked))[5:] == ["token", "status"], "a token that was refused was used again"


async def test_a_revoked_token_that_cannot_be_replaced_now_says_why(
    server: GitHub, app: Callable[..., Notifier]
) -> None:
    notifier = app()
    await notifier.deliver(status(repository=ACME))
    server.apps.expire_tokens()
    busy = HostFault(when=lambda request: request.path.endswith("/access_tokens"), times=1, status=502, body="<html>")
    server.faults.append(busy)
    with pytest.raises(RetryableError, match="answered 502") as raised:
        await notifier.deliver(status(repository=ACME, context="second"))
    assert not isinstance(raised.value, UnauthorizedError)
    await notifier.deliver(status(repository=ACME, context="second"))
    assert len(server.posted) == 2


async def test_where_the_app_is_not_installed_is_told_and_tried_again_later(
    server: GitHub, app: Callable[..., Notifier]
) -> None:
    server.add_app(APP, key().public, {"acme": 678})
    notifier = app()
    with pytest.raises(PermanentError, match=r"GitHub App 12345 is not installed for other/service: install it there"):
        await notifier.deliver(status(repository=OTHER))
    assert kinds(list(server.asked)) == ["installation"]
    server.add_app(APP, key().public, {"acme": 678, "other": 910})
    await notifier.deliver(status(repository=OTHER))
    assert len(server.posted) == 1


async def test_an_app_that_was_installed_anew_is_found_again(server: GitHub, app: Callable[..., Notifier]) -> None:
    notifier = app()
    await notifier.deliver(status(repository=ACME))
    server.add_app(APP, key().public, {"acme": 999})
    server.apps.expire_tokens()
    with pytest.raises(RetryableError, match="not installed"):
        await notifier.deliver(status(repository=ACME))
    await notifier.deliver(status(repository=ACME))
    assert kinds(list(server.asked))[3:] == ["status", "token", "installation", "token", "status"]


async def test_a_configured_installation_that_is_not_there_is_named(
    server: GitHub, app: Callable[..., Notifier]
) -> None:
    with pytest.raises(PermanentError, match="not installed for acme/service with installation_id 4"):
        await app(installation_id=4).deliver(status(repository=ACME))
    assert not server.posted


async def test_a_permission_that_is_missing_is_told(server: GitHub, app: Callable[..., Notifier]) -> None:
    server.add_app(APP, key().public, {"acme": 678}).permissions = {"metadata": "read"}
    with pytest.raises(PermanentError, match=r"answered 422: The permissions requested .* 'Commit statuses: write'"):
        await app().deliver(status(repository=ACME))


async def test_a_rotated_key_is_used_and_one_that_cannot_be_read_is_not(
    server: GitHub, app: Callable[..., Notifier], key_file: Path
) -> None:
    server.add_app(APP, key().public, {"acme": 678}, lifetime=10)  # each status needs a token
    notifier = app()
    await notifier.deliver(status(repository=ACME))
    replace(key_file, "half of a k")
    await notifier.deliver(status(repository=ACME))
    replace(key_file, key(2).private)
    server.add_app(APP, key(2).public, {"acme": 678}, lifetime=10)
    await notifier.deliver(status(repository=ACME))
    assert len(server.posted) == 3
    assert {entry.status for entry in server.asked} == {200, 201}


async def test_a_refused_key_is_told_and_read_again(
    server: GitHub, app: Callable[..., Notifier], key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_app(APP, key(2).public, {"acme": 678})
    notifier = app()
    seen = os.stat(key_file)  # noqa: PTH116 - Path's own is about to be replaced
    monkeypatch.setattr(Path, "stat", lambda self, **_: seen)  # a file system whose stat shows no change
    replace(key_file, key(2).private)
    with pytest.raises(
        UnauthorizedError, match=r"answered 401: A JSON web token .*; the App's key is refused: are app_id"
    ):
        await notifier.deliver(status(repository=ACME))
    assert kinds(list(server.asked)) == ["installation"]
    await notifier.deliver(status(repository=ACME))
    assert len(server.posted) == 1


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_trouble_at_the_token_endpoint_is_retryable_and_no_status_is_posted(
    server: GitHub, app: Callable[..., Notifier], code: int
) -> None:
    fault = HostFault(when=lambda request: request.path.endswith("/access_tokens"), times=1, status=code, body="<html>")
    server.faults.append(fault)
    notifier = app()
    with pytest.raises(RetryableError, match=f"answered {code}") as raised:
        await notifier.deliver(status(repository=ACME))
    assert raised.value.status == code
    assert kinds(list(server.asked)) == ["installation", "token"]
    await notifier.deliver(status(repository=ACME))
    assert kinds(list(server.asked))[2:] == ["token", "status"]


async def test_a_token_request_without_end_holds_no_thread_and_no_status_follows_it(
    host: Host, scripted: Callable[..., Notifier]
) -> None:
    host.default = Answer(201, how="drip")
    notifier = scripted(threads=2, request_timeout=0.2)
    results = await asyncio.gather(
        *(notifier.deliver(status(repository=ACME)) for _ in range(2)), return_exceptions=True
    )
    assert {type(result) for result in results} == {RetryableError}
    await host.has_no_connection()
    host.default = Answer()
    host.script.append(Answer(201, GRANTED, DATE))
    asked = len(host.asked)
    await notifier.deliver(status(repository=ACME))
    assert [entry.path.split("/")[3] for entry in host.asked[asked:]] == ["app", "repos"]


async def test_owners_are_forgotten_when_there_are_too_many(
    host: Host, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_app, "OWNERS", 3)
    settings = HostSettings(name="x", url=host.url, app_id=APP, private_key_file=key_file, installation_id=1)
    installations = Installations(settings, api=host.url, refusal=refusal)
    session = OneRequestSession(host.url, timeout=5.0)
    host.default = Answer(201, GRANTED, DATE)

    def fetch() -> None:
        for number in range(3 + 1):
            installations.of(f"owner{number}/x", session)
        installations.of("owner3/x", session)

    await asyncio.to_thread(fetch)
    assert len(host.asked) == 3 + 1
    await asyncio.to_thread(installations.of, "owner0/x", session)
    session.close()
    assert len(host.asked) == 3 + 2


def test_for_whom_github_counts_a_request(key_file: Path) -> None:
    by_token = GitHubNotifier(HostSettings(name="x", url=None, token=TOKEN))
    assert by_token.account("a/b") == by_token.account("c/d")
    assert by_token.account("a/b") == f"https://api.github.com {hashlib.sha256(TOKEN.encode()).hexdigest()[:12]}"
    of_app = GitHubNotifier(HostSettings(name="x", url="https://g.example.com", app_id=1, private_key_file=key_file))
    assert of_app.account("Acme/b") == "https://g.example.com/api/v3 installation of acme"
