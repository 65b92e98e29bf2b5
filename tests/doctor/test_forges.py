"""What the other Git hosts say of tokens and repositories."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from notifiers.base import Finding, HostSettings
from notifiers.registry import discover
from tests.hosts.azure_devops import AzureDevOps
from tests.hosts.bitbucket import BitbucketCloud
from tests.hosts.bitbucket_server import BitbucketServer
from tests.hosts.forges import FORGES, Forge
from tests.hosts.gitea import Gitea

Host = Gitea | BitbucketCloud | BitbucketServer | AzureDevOps


async def findings(forge: Forge, host: Host, *, token: str = "secret-token", path: str = "") -> Sequence[Finding]:
    settings = HostSettings(name="here", url=forge.url(host), token=token, request_timeout=3.0)
    notifier = discover(only=[forge.kind])[forge.kind](settings)
    try:
        found = await notifier.examine([path or forge.repository])
    finally:
        await notifier.close()
    assert token not in repr(found)
    return found


def problems(found: Sequence[Finding]) -> list[str]:
    return [f"{f.what}: {f.said}" for f in found if f.state == "problem"]


@pytest.mark.parametrize("forge", FORGES, ids=lambda forge: forge.kind)
async def test_a_token_is_taken_or_refused_and_a_repository_seen_or_not(forge: Forge) -> None:
    async with forge.host() as host:
        host.add_project(forge.repository)
        found = await findings(forge, host)
        assert problems(found) == []
        assert [f.state for f in found if f.what.startswith("repository")] == ["ok"]
        assert host.posts() == []
        owner, _, name = forge.repository.partition("/")
        assert "not there" in problems(await findings(forge, host, path=f"{owner}/other-{name}"))[0]
        refused = await findings(forge, host, token="another")
        assert [(f.what, f.state) for f in refused] == [("reachable", "ok"), ("token", "problem")]
        host.weak_tokens = {"weak-token"}
        weak = await findings(forge, host, token="weak-token")
        assert problems(weak), weak
        assert forge.scope in "".join(f.advice for f in weak)


async def test_gitea_names_a_user_without_write_access_and_an_archived_repository() -> None:
    forge = FORGES[0]
    async with Gitea() as host:
        host.add_project(forge.repository)
        host.readers = {"reader-token"}
        assert "without write access" in problems(await findings(forge, host, token="reader-token"))[0]
        host.projects[forge.repository].archived = True
        assert "archived" in problems(await findings(forge, host))[0]


async def test_a_data_center_that_is_too_old_is_told() -> None:
    forge = FORGES[2]
    async with BitbucketServer() as host:
        host.add_project(forge.repository)
        host.version = "7.6.0"
        assert problems(await findings(forge, host)) == ["version: Data Center 7.6.0"]


async def test_a_login_page_is_not_taken_for_an_answer() -> None:
    from listener.demo.githost import HostFault

    forge = FORGES[0]
    async with Gitea() as host:
        host.faults.append(HostFault(when=lambda _: True, status=200, body="<html>please log in</html>"))
        assert "no answer of its API" in problems(await findings(forge, host))[0]
