"""What Azure DevOps says of a token and of repositories.

A token with "Code (status)" alone may not read a repository, so the statuses of a commit that is not there are asked for: a repository that
is there answers with an empty list, or that it has no such commit (TF401175), one that is not with TF401019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from notifiers.base import Finding
from notifiers.examine import Get, examined, repository, token, unclear, unseen

_REACH: Final = "the token needs the scope 'Code (status)', and its user 'Contribute' to the repository"
_NO_COMMIT: Final = "0" * 40
_VERSION: Final = "api-version=7.1"


async def examine(host: str, get: Get, repositories: Sequence[str]) -> list[Finding]:
    async def who() -> list[Finding]:
        answer = await get("/_apis/connectionData?api-version=7.1-preview")
        if answer.status == 404:
            said = "no organization or collection of that name"
            return [Finding(what="url", state="problem", said=said, advice="correct the host's url")]
        user = answer.part("authenticatedUser").get("providerDisplayName")
        if isinstance(user, str) and user != "Anonymous":
            return [token("ok", f"accepted, it is {user[:100]}'s")]
        return [token("unknown", "whose it is", "it needs the scope 'Code (status)'")]

    async def one(path: str) -> Finding:
        project, _, name = path.replace("/_git/", "/", 1).partition("/")
        answer = await get(f"/{project}/_apis/git/repositories/{name}/commits/{_NO_COMMIT}/statuses?{_VERSION}")
        if answer.ok or (answer.status == 404 and "TF401175" in answer.text("message")):
            return repository(path, "ok", "seen, the token may read its statuses")
        if answer.status in (403, 404):
            return unseen(path, answer, f"is the path right? {_REACH}")
        return unclear(path, answer)

    return await examined(host, who(), one, repositories)
