"""What Gitea and Forgejo are told, and what their answers mean."""

from __future__ import annotations

import pytest

from notifiers.base import HostSettings, Notifier, PermanentError, RetryableError
from notifiers.gitea import GiteaNotifier
from tests.hosts.gitea import Gitea
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, Connect, status
from tests.unit.notifiers.subject import Subject

SUBJECT = Subject(
    name="gitea",
    notifier=GiteaNotifier,
    states=frozenset({"pending", "success", "error", "failure", "warning"}),
    success="success",
    scope="'write:repository'",
    limits={"description": 255, "context": 255, "target_url": 2048},
)


@pytest.fixture
def gitea(connect: Connect) -> Notifier:
    return connect(GiteaNotifier)


async def test_what_is_posted(host: Host, gitea: Notifier) -> None:
    await gitea.deliver(status(repository="acme/service.xyz", ref="main"), memo="7")
    asked = host.last
    assert (asked.method, asked.path) == ("POST", f"/api/v1/repos/acme/service.xyz/statuses/{SHA}")
    assert asked.headers["authorization"] == f"token {TOKEN}"
    assert asked.json == {
        "state": "success",
        "context": "tekton/build",
        "description": "Passed in 2m 14s · 5 tasks",
        "target_url": "https://tekton.example.com/runs/ci/build-1",
    }


async def test_a_gitea_below_a_path(host: Host, connect: Connect) -> None:
    await connect(GiteaNotifier, url=f"{host.url}/git/").deliver(status())
    assert host.last.path == f"/git/api/v1/repos/group/service-xyz/statuses/{SHA}"


async def test_an_unknown_commit_is_a_refusal_where_gitea_says_so(host: Host, gitea: Notifier) -> None:
    message = f"GetCommit[{SHA}]: object does not exist [id: {SHA}, rel_path: ]"
    host.default = Answer(500, {"message": message, "url": f"{host.url}/api/swagger"})
    with pytest.raises(PermanentError, match=r"answered 500: GetCommit.*pushed to this repository") as raised:
        await gitea.deliver(status())
    assert raised.value.status == 404, "a fallback repository is for that"


async def test_a_failure_without_words_may_pass(host: Host, gitea: Notifier) -> None:
    host.default = Answer(500, {"message": "", "url": f"{host.url}/api/swagger"})
    with pytest.raises(RetryableError):
        await gitea.deliver(status())


async def test_an_archived_repository_is_named(host: Host, gitea: Notifier) -> None:
    host.default = Answer(423, {"message": "gitea/test.git is archived"})
    with pytest.raises(PermanentError, match="the repository is archived"):
        await gitea.deliver(status())


def offline(url: str | None = None) -> GiteaNotifier:
    return GiteaNotifier(HostSettings(name="g", url=url, token="x"))


@pytest.mark.parametrize(
    "path", ["acme/service", "a/b", "A-1.b_c/x.y_z-", "o/.profile", "o/" + "r" * 100, "u" * 40 + "/r"]
)
def test_paths_that_gitea_can_have(path: str) -> None:
    assert offline().check_repository(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "acme", "acme/", "/x", "a/b/c", "a/..", "a/.", "../x", "-a/b", "a-/b", "a--b/c", "a/b.git", "a/b.wiki", "a/b.rss", "a b/c",
     "a/b c", "a/b%2e", "a/b?c", "a/b#c", "a\\b/c", "a/b\n", "ü/b", "a/" + "r" * 101, "u" * 41 + "/r", "a/-"],
)  # fmt: skip
def test_paths_that_gitea_cannot_have(path: str) -> None:
    assert offline().check_repository(path)


def test_a_commit_has_its_page() -> None:
    assert offline().commit_url("o/r", "abc") == "https://gitea.com/o/r/commit/abc"
    assert offline("https://codeberg.org/").commit_url("o/r", "abc") == "https://codeberg.org/o/r/commit/abc"


# What the doctor is told


async def problems(host: Gitea, token: str) -> list[str]:
    notifier = GiteaNotifier(HostSettings(name="here", url=host.url, token=token, request_timeout=3.0))
    try:
        found = await notifier.examine(["acme/service-xyz"])
    finally:
        await notifier.close()
    return [finding.said for finding in found if finding.state == "problem"]


async def test_a_user_without_write_access_and_an_archived_repository_are_named() -> None:
    async with Gitea() as host:
        host.add_project("acme/service-xyz")
        host.readers = {"reader-token"}
        assert "without write access" in (await problems(host, "reader-token"))[0]
        host.projects["acme/service-xyz"].archived = True
        assert "archived" in (await problems(host, "secret-token"))[0]
