"""A GitHub App: whose token a status carries, how often one is fetched, what refusals mean, and that nothing secret is told."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from listener.demo.githost import Asked, HostFault
from listener.demo.github import GitHub
from notifiers.base import HostSettings, Notifier, NotifierError, PermanentError, RetryableError, UnauthorizedError
from notifiers.github import GitHubNotifier, refusal
from notifiers.github_app import OWNERS, Installations
from notifiers.github_app_requests import lifetime, signed
from notifiers.session import OneRequestSession
from tests.contract import openapi
from tests.unit.notifiers.conftest import Connect
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, status

APP = 12345
ACME, OTHER = "acme/service", "other/service"
GRANTED = {"token": "ghs_granted0123456789", "expires_at": "2001-01-01T01:00:00Z"}
DATE = {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}


class Key:
    """An RSA key in PEM, both halves."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ).decode()
        self.public = (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )


@functools.cache
def key(number: int = 1) -> Key:
    """Making one takes a tenth of a second."""
    return Key()


def replace(file: Path, content: str) -> None:
    """As Kubernetes does it."""
    fresh = file.with_name("fresh")
    fresh.write_text(content)
    fresh.replace(file)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "app.pem"
    file.write_text(key().private)
    return file


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


@pytest.fixture
def scripted(connect: Connect, host: Host, key_file: Path) -> Callable[..., Notifier]:
    """The same, for the host that answers what it is told to; its installation is configured, so it is asked for tokens only."""

    def make(**settings: Any) -> Notifier:
        given = {"token": None, "app_id": APP, "private_key_file": key_file, "installation_id": 678, **settings}
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


async def test_a_revoked_token_is_replaced_next_time(server: GitHub, app: Callable[..., Notifier]) -> None:
    notifier = app(threads=2)
    await notifier.deliver(status(repository=ACME))
    server.apps.expire_tokens()
    with pytest.raises(UnauthorizedError, match=r"Bad credentials; the token of the App's installation is refused"):
        await notifier.deliver(status(repository=ACME, context="second"))
    await notifier.deliver(status(repository=ACME, context="second"))
    assert kinds(list(server.asked)) == ["installation", "token", "status", "status", "token", "status"]
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
    with pytest.raises(UnauthorizedError):
        await notifier.deliver(status(repository=ACME))
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


MEANINGS: list[tuple[Answer, type[NotifierError]]] = [
    (Answer(403, {"message": "You have exceeded a secondary rate limit."}), RetryableError),
    (Answer(429, {"message": "slow"}, {"Retry-After": "7"}), RetryableError),
    (Answer(403, {"message": "This installation has been suspended"}), PermanentError),
    (Answer(401, b"<html>"), UnauthorizedError),
    (Answer(401, ["odd"]), UnauthorizedError),
    (Answer(301, b"", {"Location": "https://elsewhere.example.com/x"}), PermanentError),
    (Answer(200, GRANTED), RetryableError),
    (Answer(201, b"<html>"), RetryableError),
    (Answer(201, ["odd"]), RetryableError),
    (Answer(201, {"token": 7}), RetryableError),
    (Answer(201, {"token": "two words"}), RetryableError),
    (Answer(201, b"x" * (2 << 20)), RetryableError),
    (Answer(how="reset"), RetryableError),
    (Answer(201, how="cut"), RetryableError),
]


@pytest.mark.parametrize(("answer", "error"), MEANINGS, ids=lambda value: repr(value)[:60])
async def test_what_else_may_come_instead_of_a_token(
    host: Host, scripted: Callable[..., Notifier], answer: Answer, error: type[NotifierError]
) -> None:
    host.default = answer
    with pytest.raises(NotifierError) as raised:
        await scripted().deliver(status(repository=ACME))
    assert type(raised.value) is error
    assert len(host.asked) == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("found", [{}, {"id": "678"}, ["odd"], b"<html>"])
async def test_an_answer_that_names_no_installation_is_retryable(
    host: Host, scripted: Callable[..., Notifier], found: Any
) -> None:
    host.default = Answer(200, found)
    with pytest.raises(RetryableError, match="names no installation"):
        await scripted(installation_id=None).deliver(status(repository=ACME))
    assert len(host.asked) == 1


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


async def test_a_session_that_was_cut_off_makes_no_request_until_it_is_given_out_again(host: Host) -> None:
    session = OneRequestSession(host.url, timeout=5.0)
    session.abort()
    with pytest.raises(requests.exceptions.Timeout):
        await asyncio.to_thread(session.get, host.url)
    assert not host.asked
    session.rearm()
    await asyncio.to_thread(session.get, host.url)
    session.close()
    assert len(host.asked) == 1


async def test_owners_are_forgotten_when_there_are_too_many(host: Host, key_file: Path) -> None:
    settings = HostSettings(name="x", url=host.url, app_id=APP, private_key_file=key_file, installation_id=1)
    installations = Installations(settings, api=host.url, refusal=refusal)
    session = OneRequestSession(host.url, timeout=5.0)
    host.default = Answer(201, GRANTED, DATE)

    def fetch() -> None:
        for number in range(OWNERS + 1):
            installations.of(f"owner{number}/x", session)
        installations.of(f"owner{OWNERS}/x", session)

    await asyncio.to_thread(fetch)
    assert len(host.asked) == OWNERS + 1
    await asyncio.to_thread(installations.of, "owner0/x", session)
    session.close()
    assert len(host.asked) == OWNERS + 2


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with (
        caplog.at_level(logging.DEBUG),
        caplog.at_level(logging.DEBUG, "urllib3"),
        caplog.at_level(logging.DEBUG, "github"),
    ):
        yield caplog


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422, 429, 500, 502])
@pytest.mark.parametrize("at", ["installation", "token", "status"])
async def test_no_failure_tells_a_token_a_jwt_or_the_key(
    host: Host,
    scripted: Callable[..., Notifier],
    at: str,
    code: int,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    before = {
        "installation": [],
        "token": [Answer(200, {"id": 678})],
        "status": [Answer(200, {"id": 678}), Answer(201, GRANTED)],
    }
    host.script.extend([*before[at], Answer(code, how="echo")])
    notifier = scripted(installation_id=None)
    with pytest.raises(NotifierError) as raised:
        await notifier.deliver(status(repository=ACME))
    secrets = {entry.headers["authorization"].partition(" ")[2] for entry in host.asked}
    secrets |= {secret.rpartition(".")[2] for secret in secrets} | set(key().private.splitlines()[1:-1])
    told = "".join([str(raised.value), repr(raised.value), *traceback.format_exception(raised.value)])
    told += everything_logged.text + "".join(repr(record.args) for record in everything_logged.records)
    told += f"{notifier!r} {[repr(value) for value in vars(notifier).values()]}"
    assert len(host.asked) == len(before[at]) + 1
    assert not [secret for secret in secrets if secret in told]


def elliptic() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    "content",
    ["", "no key", key().public, key().private[:300], elliptic(), key().private.replace("E", "F")],
    ids=["empty", "text", "public", "cut", "elliptic", "damaged"],
)
def test_a_file_without_a_usable_key_is_told_at_the_start(key_file: Path, content: str) -> None:
    key_file.write_text(content)
    with pytest.raises(ValueError, match=r"app\.pem does not hold an RSA private key") as raised:
        GitHubNotifier(HostSettings(name="x", url=None, app_id=1, private_key_file=key_file))
    assert not content or content not in "".join(traceback.format_exception(raised.value))


def test_settings_that_do_not_fit_are_told_at_the_start(key_file: Path) -> None:
    for fields in ({"app_id": 1}, {"private_key_file": key_file}):
        with pytest.raises(ValueError, match="both app_id and private_key_file"):
            GitHubNotifier(HostSettings(name="x", url=None, **fields))
    with pytest.raises(ValueError, match="not both"):
        GitHubNotifier(HostSettings(name="x", url=None, app_id=1, private_key_file=key_file, token=TOKEN))
    with pytest.raises(FileNotFoundError):
        GitHubNotifier(HostSettings(name="x", url=None, app_id=1, private_key_file=key_file.with_name("none")))


def test_for_whom_github_counts_a_request(key_file: Path) -> None:
    by_token = GitHubNotifier(HostSettings(name="x", url=None, token=TOKEN))
    assert by_token.account("a/b") == by_token.account("c/d")
    assert by_token.account("a/b") == f"https://api.github.com {hashlib.sha256(TOKEN.encode()).hexdigest()[:12]}"
    of_app = GitHubNotifier(HostSettings(name="x", url="https://g.example.com", app_id=1, private_key_file=key_file))
    assert of_app.account("Acme/b") == "https://g.example.com/api/v3 installation of acme"


def test_how_long_a_token_lasts() -> None:
    date = DATE["Date"]
    assert lifetime("2001-01-01T00:20:00Z", date) == 1200.0
    assert lifetime("2001-01-01T09:00:00Z", date) == 3600.0
    assert lifetime("2000-01-01T00:00:00Z", date) == 0.0
    for expires_at, date_header in ((None, date), ("soon", date), ("2001-01-01T00:20:00Z", None), ("2001-01-01", date)):
        assert lifetime(expires_at, date_header) == 3600.0


@given(st.text() | st.integers() | st.none(), st.text() | st.none())
def test_any_times_may_come(expires_at: object, date: str | None) -> None:
    assert 0 <= lifetime(expires_at, date) <= 3600


async def test_the_stand_in_answers_as_githubs_description_says_and_refuses_what_github_refuses(server: GitHub) -> None:
    session = OneRequestSession(server.url, timeout=5.0)

    def ask(method: str, path: str, token: str) -> tuple[int, Any]:
        answer = session.request(method, server.url + path, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json()

    async def asks(method: str, path: str, token: str) -> tuple[int, Any]:
        return await asyncio.to_thread(ask, method, path, token)

    good = signed(APP, key().private)
    code, found = await asks("GET", f"/repos/{ACME}/installation", good)
    assert code == 200
    openapi.check_answer("GET", f"/repos/{ACME}/installation", 200, found)
    assert await asks("GET", "/api/v3/app/installations/678", good) == (200, found)
    code, made = await asks("POST", "/app/installations/678/access_tokens", good)
    assert code == 201
    openapi.check_answer("POST", "/app/installations/678/access_tokens", 201, made)
    path = f"/repos/{OTHER}/statuses/{SHA}"
    assert (await asks("POST", path, made["token"]))[1]["message"] == "Resource not accessible by integration"
    for claims in ({"exp": 601}, {"iat": 30}, {"exp": -1}, {"sub": "no iss"}):
        assert (await asks("GET", f"/repos/{ACME}/installation", forged(**claims)))[0] == 401
    for token in (signed(APP, key(2).private), signed(1, key().private), "a.b.c"):
        assert (await asks("GET", f"/repos/{ACME}/installation", token))[0] == 401
    session.close()


def forged(*, iat: int = -60, exp: int = 300, sub: str = "") -> str:
    """A JWT whose times are that many seconds from now; with ``sub`` it lacks its issuer."""
    now = int(time.time())
    claims = {"iat": now + iat, "exp": now + exp, **({"sub": sub} if sub else {"iss": str(APP)})}
    return jwt.encode(claims, key().private, algorithm="RS256")
