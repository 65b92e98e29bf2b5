"""What a Bitbucket Data Center says of itself, a token and repositories. ``X-AUSERNAME`` names whose token it took."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from notifiers.base import Finding
from notifiers.examine import Get, examined, repository, token, unclear, unseen

_REACH: Final = "the HTTP access token needs 'Repository read' for this repository"
_SINCE: Final = (7, 14)


async def examine(host: str, get: Get, repositories: Sequence[str]) -> list[Finding]:
    async def who() -> list[Finding]:
        answer = await get("/application-properties")
        name = answer.headers.get("x-ausername", "")
        found = [token("ok", f"accepted, it is {name[:100]}'s") if name else token("unknown", "whether it is accepted")]
        version = re.match(r"(\d+)\.(\d+)", answer.text("version"))
        if version is not None:
            new = (int(version[1]), int(version[2])) >= _SINCE
            said = f"Data Center {answer.text('version')}"
            advice = "" if new else "7.14 or later is needed for statuses of a repository"
            found.append(Finding(what="version", state="ok" if new else "problem", said=said, advice=advice))
        return found

    async def one(path: str) -> Finding:
        project, _, slug = path.removeprefix("scm/").partition("/")
        answer = await get(f"/projects/{project}/repos/{slug}")
        if answer.status in (403, 404):
            return unseen(path, answer, f"is the path right? {_REACH}")
        if answer.ok and isinstance(answer.data, dict) and answer.data.get("archived") is True:
            return repository(path, "problem", "the repository is archived and takes no statuses", "unarchive it")
        return repository(path, "ok", "seen") if answer.ok else unclear(path, answer)

    return await examined(host, who(), one, repositories)
