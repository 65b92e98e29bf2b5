"""What GitHub says of a token or an App, and of repositories.

Classic tokens' scopes are in ``x-oauth-scopes``; a fine-grained token's permissions are told to nobody. With ``repo:status`` alone a private
repository takes statuses but is not shown. An App's installation is asked for a token that may write statuses and nothing else, so
that whoever gets one has what is needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from notifiers.base import STATUSES, Finding
from notifiers.examine import Answer, Get, examined, repository, token, unclear, unseen
from notifiers.examine_gitlab import expiry
from notifiers.reports import Comment, CommitStatus, Deployment, Labels

_SCOPE: Final = "give the token 'repo:status' (classic) or 'Commit statuses: write' (fine-grained)"
_PUSH: Final = "give the token's user write access to the repository"
_ACCEPT: Final = "the owners of its installations have to accept it"
_PERMISSIONS: Final = {
    "checks": "'Checks: write'",
    "deployments": "'Deployments: write'",
    "pull_requests": "'Pull requests: write'",
    "statuses": "'Commit statuses: write'",
}
_SCOPE_MORE: Final = (
    "give the token 'repo', or the fine-grained permissions 'Pull requests: write' and 'Deployments: write'"
)
_ENOUGH: Final = frozenset({"repo", "repo:status"})


async def examine(
    host: str, get: Get, repositories: Sequence[str], *, reports: Collection[type[CommitStatus]] = STATUSES
) -> list[Finding]:
    """With a token; ``reports``: what is to be written with it."""
    scopes: list[str] | None = None

    async def who() -> list[Finding]:
        nonlocal scopes
        answer = await get("/user")
        found = [token("ok", f"accepted, it is {answer.text('login') or 'somebody'}'s")]
        said = answer.headers.get("x-oauth-scopes")
        if said is None:
            found.append(token("unknown", "what it may do: GitHub does not tell it of fine-grained tokens", _SCOPE))
        else:
            scopes = [scope.strip() for scope in said.split(",") if scope.strip()]
            found.append(_classic(scopes))
            found += _beyond(scopes, reports)
        if ends := answer.headers.get("github-authentication-token-expiration"):
            found.append(expiry(ends))
        return found

    async def one(path: str) -> Finding:
        answer = await get(f"/repos/{path}", path)
        if answer.status == 404 and scopes is not None and "repo" not in scopes and _ENOUGH & set(scopes):
            return repository(path, "unknown", "not shown; with 'repo:status' alone GitHub shows no private repository")
        if (trouble := _trouble(path, answer, _SCOPE)) is not None:
            return trouble
        if answer.part("permissions").get("push") is True:
            return repository(path, "ok", "seen, with write access")
        return repository(path, "problem", "seen, but without write access", _PUSH)

    return await examined(host, who(), one, repositories)


async def examine_app(
    host: str,
    app: Callable[[], Awaitable[Answer]],
    get: Get,
    repositories: Sequence[str],
    *,
    needed: Collection[str] = ("statuses",),
) -> list[Finding]:
    """With an App: ``app`` asks who it is; ``needed``: what it is to write, in the words of GitHub's API."""

    async def who() -> list[Finding]:
        answer = await app()
        granted = answer.part("permissions")
        name = answer.text("name") or "the App"
        missing = [_PERMISSIONS[what] for what in sorted(needed) if granted.get(what) != "write"]
        if not missing:
            names = ", ".join(_PERMISSIONS[what] for what in sorted(needed))
            return [token("ok", f"{name}: the key is accepted, {names}")]
        verb = "is" if len(missing) == 1 else "are"
        advice = f"give the App the permission {' and '.join(missing)}; {_ACCEPT}"
        return [token("problem", f"{name}: the key is accepted, but {' and '.join(missing)} {verb} missing", advice)]

    async def one(path: str) -> Finding:
        answer = await get(f"/repos/{path}", path)
        trouble = _trouble(path, answer, "install the App for this repository")
        return trouble or repository(path, "ok", "the App is installed and may write statuses")

    return await examined(host, who(), one, repositories)


def _trouble(path: str, answer: Answer, advice: str) -> Finding | None:
    if answer.status in (403, 404):
        return unseen(path, answer, f"is the path right? {advice}")
    if not answer.ok or not isinstance(answer.data, dict):
        return unclear(path, answer)
    if answer.data.get("archived") is True:
        return repository(path, "problem", "the repository is archived and takes no statuses", "unarchive it")
    return None


def _beyond(scopes: list[str], reports: Collection[type[CommitStatus]]) -> list[Finding]:
    """What a classic token lacks for reports that are more than a status."""
    needed: dict[str, set[str]] = {}
    if Deployment in reports:
        needed["deployments"] = {"repo", "repo_deployment"}
    if Comment in reports or Labels in reports:
        needed["comments and labels"] = {"repo", "public_repo"}
    return [
        token("problem", f"{what} need the scope {' or '.join(sorted(enough))}, which is missing", _SCOPE_MORE)
        for what, enough in needed.items()
        if not enough & set(scopes)
    ]


def _classic(scopes: list[str]) -> Finding:
    names = ", ".join(scopes) or "none"
    if _ENOUGH & set(scopes):
        return token("ok", f"scopes {names}")
    if "public_repo" in scopes:
        return token("warning", f"scopes {names}: enough for public repositories only", _SCOPE)
    return token("problem", f"its scopes are {names}; 'repo:status' is missing", _SCOPE)
