"""What a GitLab says of a token and of projects.

``GET /personal_access_tokens/self`` describes personal, project and group access tokens with their scopes; other tokens are unknown to it.
A project's ``permissions`` name direct memberships; what comes through invited groups is in ``/members/all/:user`` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import quote

from notifiers.base import Finding
from notifiers.examine import Answer, Get, examined, repository, token, unclear, unseen

_DEVELOPER: Final = 30
_ROLES: Final = {0: "no role", 5: "Minimal access", 10: "Guest", 15: "Planner", 20: "Reporter", 30: "Developer",
                 40: "Maintainer", 50: "Owner"}  # fmt: skip
_SCOPE: Final = "make a token with the scope 'api' and the role Developer, and put it into the host's token file"
_ROLE: Final = "give the token's user at least the role Developer in the project"
_SOON: Final = 14  # days


async def examine(host: str, get: Get, repositories: Sequence[str]) -> list[Finding]:
    """``get`` asks below ``/api/v4``."""
    user: dict[str, Any] = {}

    async def who() -> list[Finding]:
        itself = await get("/personal_access_tokens/self")
        found = _scopes(itself)
        answer = await get("/user")
        if answer.ok and isinstance(answer.data, dict):
            user.update(answer.data)
            found.append(token("ok", f"accepted, it is {answer.text('username') or 'somebody'}'s"))
        elif not itself.ok:
            found.append(token("problem", f"GitLab answers {answer.status} to who it is", _SCOPE))
        return found

    async def project(path: str) -> Finding:
        where = f"/projects/{quote(path, safe='')}"
        answer = await get(where)
        if answer.status in (403, 404):
            return unseen(path, answer, f"is the path right? {_ROLE}; the token needs the scope 'api'")
        if not answer.ok or not isinstance(answer.data, dict):
            return unclear(path, answer)
        if answer.data.get("archived") is True:
            return repository(path, "problem", "the project is archived and takes no statuses", "unarchive it")
        level = _level(answer)
        if level < _DEVELOPER and type(user.get("id")) is int:
            member = await get(f"{where}/members/all/{user['id']}")
            if member.ok and isinstance(member.data, dict) and type(member.data.get("access_level")) is int:
                level = max(level, member.data["access_level"])
        if level >= _DEVELOPER or user.get("is_admin") is True:
            said = _ROLES.get(level, f"access level {level}") if level >= _DEVELOPER else "administrator"
            return repository(path, "ok", f"seen, as {said}")
        return repository(path, "problem", f"seen, but as {_ROLES.get(level, f'access level {level}')} only", _ROLE)

    return await examined(host, who(), project, repositories)


def _scopes(answer: Answer) -> list[Finding]:
    if answer.status == 403:
        return [token("problem", "the token lacks the scope 'api'", _SCOPE)]
    scopes = answer.data.get("scopes") if answer.ok and isinstance(answer.data, dict) else None
    if not isinstance(scopes, list):
        return [token("unknown", "its scopes: GitLab describes only access tokens, and since 15.5")]
    names = ", ".join(map(str, scopes)) or "none"
    if "api" not in scopes:
        return [token("problem", f"its scopes are {names}; 'api' is missing", _SCOPE)]
    found = [token("ok", f"scopes {names}")]
    if ends := answer.text("expires_at"):
        found.append(expiry(ends))
    return found


def expiry(ends: str) -> Finding:
    """``ends``: a date (ISO 8601)."""
    try:
        days = (date.fromisoformat(ends[:10]) - datetime.now(UTC).date()).days
    except ValueError:
        return token("unknown", "when it ends cannot be read")
    if days < _SOON:
        return token(
            "warning", f"ends on {ends[:10]}", "make a new one in time; its file is read again when it changes"
        )
    return token("ok", f"good until {ends[:10]}")


def _level(answer: Answer) -> int:
    levels = [0]
    for access in answer.part("permissions").values():
        level = access.get("access_level") if isinstance(access, dict) else None
        if type(level) is int:
            levels.append(level)
    return max(levels)
