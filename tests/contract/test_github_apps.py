"""The GitHub in memory's Apps keep the real one's rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from listener.demo.github import GitHub
from notifiers.github_app_requests import signed
from notifiers.session import OneRequestSession
from tests.app_key import APP, key
from tests.contract import openapi
from tests.scene import SHA

ACME, OTHER = "acme/service", "other/service"


@pytest.fixture
async def server() -> AsyncIterator[GitHub]:
    async with GitHub() as github:
        for path in (ACME, OTHER):
            github.add_project(path, any_commit=True)
        github.add_app(APP, key().public, {"acme": 678, "other": 910})
        yield github


async def test_answers_are_as_githubs_description_says_and_what_it_refuses_is_refused(server: GitHub) -> None:
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
    for claims in ({"exp": 660}, {"iat": 30}, {"exp": -1}, {"sub": "no iss"}):
        assert (await asks("GET", f"/repos/{ACME}/installation", forged(**claims)))[0] == 401
    for token in (signed(APP, key(2).private), signed(1, key().private), "a.b.c"):
        assert (await asks("GET", f"/repos/{ACME}/installation", token))[0] == 401
    session.close()


def forged(*, iat: int = -60, exp: int = 300, sub: str = "") -> str:
    """A JWT whose times are that many seconds from now; with ``sub`` it lacks its issuer."""
    now = int(time.time())
    claims = {"iat": now + iat, "exp": now + exp, **({"sub": sub} if sub else {"iss": str(APP)})}
    return jwt.encode(claims, key().private, algorithm="RS256")
