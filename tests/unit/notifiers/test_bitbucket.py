"""What Bitbucket Cloud is told, and what its answers mean."""

from __future__ import annotations

import base64

import pytest

from notifiers.base import HostSettings, Notifier, PermanentError
from notifiers.bitbucket import BitbucketNotifier
from tests.hosts.bitbucket import BitbucketCloud
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, Connect, status, token_of
from tests.unit.notifiers.subject import Subject

SUBJECT = Subject(
    name="bitbucket",
    notifier=BitbucketNotifier,
    states=frozenset({"INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"}),
    success="SUCCESSFUL",
    scope="'repository'",
    link="url",
    needs_link=True,
    limits={"key": 40, "description": 255, "name": 255, "url": 450},
)


@pytest.fixture
def bitbucket(connect: Connect) -> Notifier:
    return connect(BitbucketNotifier)


async def test_what_is_posted(host: Host, bitbucket: Notifier) -> None:
    await bitbucket.deliver(status(repository="acme/service.xyz", ref="feature/x"), memo="7")
    asked = host.last
    path = f"/2.0/repositories/acme/service.xyz/commit/{SHA}/statuses/build"
    assert (asked.method, asked.path) == ("POST", path)
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.json == {
        "key": "tekton/build",
        "state": "SUCCESSFUL",
        "name": "tekton/build",
        "description": "Passed in 2m 14s · 5 tasks",
        "url": "https://tekton.example.com/runs/ci/build-1",
        "refname": "feature/x",
    }


async def test_contexts_that_begin_alike_keep_keys_of_their_own(host: Host, bitbucket: Notifier) -> None:
    contexts = [f"tekton/the-pipeline-that-builds-the-service-for-{target}" for target in ("arm64", "amd64")]
    for context in contexts:
        await bitbucket.deliver(status(context=context))
    assert [asked.json["name"] for asked in host.asked] == contexts
    first, second = (asked.json["key"] for asked in host.asked)
    assert first != second
    assert first.startswith("tekton/the-pipeline-that-builds")


async def test_an_accounts_api_token_comes_with_its_mail_address(host: Host, connect: Connect) -> None:
    await connect(BitbucketNotifier, token=f"me@example.com:{TOKEN}").deliver(status())
    assert token_of(host.last) == TOKEN
    packed = base64.b64encode(f"me@example.com:{TOKEN}".encode()).decode()
    host.default = Answer(403, f"you sent {packed} and {TOKEN}")
    with pytest.raises(PermanentError, match=r"you sent \[token\] and \[token\]"):
        await connect(BitbucketNotifier, token=f"me@example.com:{TOKEN}").deliver(status())


async def test_what_bitbucket_says_is_repeated_once(host: Host, bitbucket: Notifier) -> None:
    message = "url: Enter a valid URL."
    host.default = Answer(
        400, {"type": "error", "error": {"message": message, "fields": {"url": ["Enter a valid URL."]}}}
    )
    with pytest.raises(PermanentError) as raised:
        await bitbucket.deliver(status())
    assert str(raised.value).endswith(f"answered 400: {message}")


async def test_who_did_not_create_a_status_is_told_why_it_cannot_be_changed(host: Host, bitbucket: Notifier) -> None:
    host.default = Answer(403, {"type": "error", "error": {"message": "Forbidden", "detail": "not yours"}})
    with pytest.raises(PermanentError, match=r"Forbidden: not yours; .*a status that another user has created"):
        await bitbucket.deliver(status())


def offline(url: str | None = None) -> BitbucketNotifier:
    return BitbucketNotifier(HostSettings(name="b", url=url, token="x"))


@pytest.mark.parametrize("path", ["acme/service", "a/b", "a_b-c/x.y_z-", "Team/Repo", "w/" + "r" * 62])
def test_paths_that_bitbucket_can_have(path: str) -> None:
    assert offline().check_repository(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "acme", "acme/", "/x", "a/b/c", "a/..", "../x", "a/b.git", "a b/c", "a/b%2e", "a/b?c", "a/b#c", "a/b\n", "ü/b", "a/{b}",
     "a/" + "r" * 63],
)  # fmt: skip
def test_paths_that_bitbucket_cannot_have(path: str) -> None:
    assert offline().check_repository(path)


@pytest.mark.parametrize(
    "url", [None, "https://bitbucket.org", "https://api.bitbucket.org/", "https://www.bitbucket.org"]
)
def test_the_public_host_has_its_api_and_its_pages_apart(url: str | None) -> None:
    notifier = offline(url)
    assert notifier.api(url or notifier.public_url) == "https://api.bitbucket.org/2.0"
    assert notifier.commit_url("w/r", "abc") == "https://bitbucket.org/w/r/commits/abc"


def test_a_host_that_is_called_alike_is_another_one() -> None:
    url = "https://api.bitbucket.org.example.com"
    assert offline(url).api(url) == f"{url}/2.0"
    assert offline(url).commit_url("w/r", "abc") == f"{url}/w/r/commits/abc"


async def test_a_status_belongs_to_who_created_it() -> None:
    async with BitbucketCloud() as host:
        host.add_project("group/service-xyz", {SHA: "Add a feature"})
        host.tokens.add("second-token")
        settings = [HostSettings(name="here", url=host.url, token=token) for token in ("secret-token", "second-token")]
        first, second = map(BitbucketNotifier, settings)
        await first.deliver(status())
        with pytest.raises(PermanentError, match="a status that another user has created"):
            await second.deliver(status())
        for notifier in (first, second):
            await notifier.close()
