"""What Bitbucket Cloud says of a token and of repositories.

A repository, project or workspace access token is nobody's: ``/user`` refuses it with 403 where a token that is no good gets 401. The scopes
come as the header ``X-OAuth-Scopes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from notifiers.base import Finding
from notifiers.examine import Get, examined, repository, token, unclear, unseen

_REACH: Final = "the token needs the scope 'repository' (access token: Repositories, Read) for this repository"


async def examine(host: str, get: Get, repositories: Sequence[str]) -> list[Finding]:
    async def who() -> list[Finding]:
        answer = await get("/user")
        name = f", it is {answer.text('display_name')}'s" if answer.text("display_name") else ""
        found = [token("ok", f"accepted{name}")]
        scopes = answer.headers.get("x-oauth-scopes")
        if scopes is None:
            found.append(token("unknown", "its scopes: Bitbucket does not say", "it needs 'repository'"))
        elif any("repository" in scope for scope in scopes.split(",")):
            found.append(token("ok", f"scopes {scopes[:200]}"))
        else:
            found.append(token("problem", f"its scopes are {scopes[:200] or 'none'}; 'repository' is missing", _REACH))
        return found

    async def one(path: str) -> Finding:
        answer = await get(f"/repositories/{path}")
        if answer.status in (403, 404):
            return unseen(path, answer, f"is the path right? {_REACH}")
        return repository(path, "ok", "seen") if answer.ok else unclear(path, answer)

    return await examined(host, who(), one, repositories)
