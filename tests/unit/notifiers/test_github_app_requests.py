"""What may come instead of an App's installation or its token, what a key must be, and that nothing secret is told."""

from __future__ import annotations

import logging
import timeit
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from notifiers.base import HostSettings, Notifier, NotifierError, PermanentError, RetryableError, UnauthorizedError
from notifiers.github import GitHubNotifier
from notifiers.github_app_requests import lifetime, signed
from tests.app_key import key
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import DATE, GRANTED, TOKEN, status

ACME = "acme/service"

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
    script = [*before[at], Answer(code, how="echo")]
    if (at, code) == ("status", 401):  # a new token is fetched, and refused
        script += [Answer(201, {**GRANTED, "token": "ghs_another0123456789"}), Answer(code, how="echo")]
    host.script.extend(script)
    notifier = scripted(installation_id=None)
    with pytest.raises(NotifierError) as raised:
        await notifier.deliver(status(repository=ACME))
    secrets = {entry.headers["authorization"].partition(" ")[2] for entry in host.asked}
    secrets |= {part[:20] for secret in secrets for part in secret.split(".")} | set(key().private.splitlines()[1:-1])
    told = "".join([str(raised.value), repr(raised.value), *traceback.format_exception(raised.value)])
    told += everything_logged.text + "".join(repr(record.args) for record in everything_logged.records)
    told += f"{notifier!r} {[repr(value) for value in vars(notifier).values()]}"
    assert len(host.asked) == len(script)
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


def test_signing_does_not_check_the_key_again_and_again() -> None:
    """Checking takes fifty times as long, and nothing else in the process runs meanwhile."""
    pem = key().private

    def fastest(function: Callable[[], object]) -> float:
        return min(timeit.repeat(function, number=1, repeat=5))

    checked = fastest(lambda: serialization.load_pem_private_key(pem.encode(), None))
    assert fastest(lambda: signed(1, pem)) < checked / 2


def test_a_key_whose_numbers_do_not_fit_together_is_told_at_the_start(tmp_path: Path) -> None:
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    odd = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d + 2,
        dmp1=numbers.dmp1,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path / "odd.pem"
    file.write_bytes(odd.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain))
    with pytest.raises(ValueError, match="does not hold an RSA private key"):
        GitHubNotifier(HostSettings(name="x", url=None, app_id=1, private_key_file=file))
