"""What a Gitea or Forgejo says of a token and of repositories.

Its scopes it tells nobody; ``/user`` needs ``read:user``, which a token for statuses need not have: a 403 there is no trouble.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from notifiers.base import Finding
from notifiers.examine import Get, examined, repository, token, unclear, unseen

_REACH: Final = "the token needs the scope 'write:repository', and its user write access to the repository"


async def examine(host: str, get: Get, repositories: Sequence[str]) -> list[Finding]:
    async def who() -> list[Finding]:
        answer = await get("/user")
        if answer.status not in (200, 403):
            return [token("problem", f"Gitea answers {answer.status} to who it is; is the url right?")]
        name = f", it is {answer.text('login')}'s" if answer.text("login") else ""
        return [token("ok", f"accepted{name}; its scopes are told to nobody, 'write:repository' is needed")]

    async def one(path: str) -> Finding:
        answer = await get(f"/repos/{path}")
        if answer.status in (403, 404):
            return unseen(path, answer, f"is the path right? {_REACH}")
        if not answer.ok or not isinstance(answer.data, dict):
            return unclear(path, answer)
        if answer.data.get("archived") is True:
            return repository(path, "problem", "the repository is archived and takes no statuses", "unarchive it")
        if answer.part("permissions").get("push") is True:
            return repository(path, "ok", "seen, with write access")
        return repository(path, "problem", "seen, but without write access", _REACH)

    return await examined(host, who(), one, repositories)
