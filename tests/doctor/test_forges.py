"""What the other Git hosts say of tokens and repositories."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from listener.demo.githost import GitHost, HostFault
from notifiers.base import Finding, HostSettings
from notifiers.registry import discover
from tests.hosts.forge import Forge
from tests.hosts.forges import FORGES


async def findings(forge: Forge, host: GitHost, *, token: str = "secret-token", path: str = "") -> Sequence[Finding]:
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


@pytest.mark.parametrize("forge", FORGES, ids=lambda forge: forge.kind)
async def test_a_login_page_is_not_taken_for_an_answer(forge: Forge) -> None:
    async with forge.host() as host:
        host.faults.append(HostFault(when=lambda _: True, status=200, body="<html>please log in</html>"))
        assert "no answer of its API" in problems(await findings(forge, host))[0]
