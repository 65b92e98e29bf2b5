"""A GitHub App in the configuration: the whole of it or a token, and a file that holds a private key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from listener.assembly import Settings, build_notifiers
from listener.config import ConfigError, Loaded, load
from notifiers.base import HostSettings
from notifiers.github import GitHubNotifier
from tests.app_key import key

FILE = """
public_url: https://listener.example.com
hosts:
  github: {%s}
services:
  - name: xyz
    runs: {namespace: ci}
    repository: github:acme/xyz
"""
BOTH = "kind: github, app_id: 12345, private_key_file: app.pem"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "app.pem").write_text(key().private)
    return tmp_path / "listener.yaml"


def loaded(path: Path, host: str) -> Loaded:
    path.write_text(FILE % host)
    return load(path, known_kinds=("gitlab", "github", "bitbucket"), env={"TOKEN": "t"})


def problems(path: Path, host: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(path, host)
    return [str(problem).removeprefix(f"{path}:4: hosts.github") for problem in caught.value.problems]


@pytest.mark.parametrize("more", ["", ", installation_id: 678"])
def test_an_app_takes_the_place_of_a_token(path: Path, more: str) -> None:
    host = loaded(path, BOTH + more).config.hosts["github"]
    assert (host.app_id, host.private_key_file) == (12345, "app.pem")
    assert host.installation_id == (678 if more else None)


async def test_the_notifier_gets_the_app_with_its_keys_whole_path(path: Path) -> None:
    given: list[HostSettings] = []

    class Recording(GitHubNotifier):
        def __init__(self, settings: HostSettings) -> None:
            given.append(settings)
            super().__init__(settings)

    config = loaded(path, BOTH + ", installation_id: 678").config
    notifiers = build_notifiers(Settings(config=config, folder=path.parent, env={}, kinds={"github": Recording}))
    (settings,) = given
    assert (settings.app_id, settings.installation_id) == (12345, 678)
    assert settings.private_key_file == path.parent / "app.pem"
    assert settings.token is None
    await notifiers["github"].close()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (f"{BOTH}, token_env: TOKEN", ".app_id: give token_env or a GitHub App, not both"),
        ("kind: github, token_env: TOKEN, installation_id: 678", ".installation_id: give token_env or a GitHub App, not both"),
        ("kind: github, app_id: 1", ": private_key_file is missing (a GitHub App needs app_id and private_key_file; installation_id may be left out)"),
        ("kind: github, private_key_file: app.pem", ": app_id is missing (a GitHub App needs app_id and private_key_file; installation_id may be left out)"),
        ("kind: github, installation_id: 678", ": app_id and private_key_file are missing (a GitHub App needs app_id and private_key_file; installation_id may be left out)"),
        (BOTH.replace("github,", "gitlab,"), ".app_id: is for hosts of kind github (give token_file (or token_env))"),
        (BOTH.replace("github,", "bitbucket,"), ".app_id: is for hosts of kind github (give token_file (or token_env))"),
        (BOTH.replace("12345", "0"), ".app_id: should be greater than or equal to 1"),
        (BOTH.replace("12345", "Iv1.abc"), ".app_id: expected a whole number, found the text 'Iv1.abc'"),
        (BOTH.replace("app.pem", "no.pem"), ".private_key_file: no.pem: No such file or directory (mount the secret there, or correct the path)"),
        ("kind: github", ": no secret: give token_file (or token_env)"),
    ],
)  # fmt: skip
def test_half_of_an_app_or_more_than_one_secret_is_told_with_what_to_do(path: Path, host: str, said: str) -> None:
    assert problems(path, host) == [said]


def with_passphrase() -> str:
    form, secret = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, form, secret).decode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("ghp_token", "holds no private key in PEM format"),
        (key().public, "holds no private key in PEM format"),
        (key().private[:500], "holds no private key in PEM format"),
        (key().private.replace("M", "#"), "the private key is damaged"),
        (key().private.replace("MII", "AII", 1), "the private key is damaged"),
        (with_passphrase(), "the private key has a passphrase"),
    ],
    ids=["empty", "token", "public", "cut", "characters", "start", "passphrase"],
)
def test_a_file_that_holds_no_private_key_is_told_without_its_content(path: Path, content: str, said: str) -> None:
    (path.parent / "app.pem").write_text(content)
    (found,) = problems(path, BOTH)
    assert found == f".private_key_file: app.pem: {said} (GitHub gives one on the App's page, under 'Private keys')"
