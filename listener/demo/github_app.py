"""The GitHub in memory's Apps: it verifies JWTs with the App's public key and gives out tokens of installations that end.

Rules from GitHub's REST documentation ("Generating a JSON Web Token for a GitHub App", "Apps"): RS256; ``iat`` not in the future, ``exp`` at
most ten minutes ahead, ``iss`` the App's number; a token begins with ``ghs_``, ends after an hour, and may be limited to permissions that
the installation has.
"""

from __future__ import annotations

import random
import string
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import jwt
from aiohttp import web

from listener.demo.gitlab import ApiFailure

_LONGEST: Final = 600  # seconds that a JWT may last from now
_PERMISSIONS: Final = {
    "metadata": "read", "checks": "write", "deployments": "write", "pull_requests": "write", "statuses": "write",
}  # fmt: skip
_DOCS: Final = "https://docs.github.com/rest/apps"
_USER_URLS: Final = (
    "url", *(f"{what}_url" for what in ("avatar", "events", "followers", "following", "gists", "html", "organizations",
                                        "received_events", "repos", "starred", "subscriptions"))
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class App:
    """An App and where it is installed: owner → number of the installation."""

    app_id: int
    public_key: str
    installations: dict[str, int]
    lifetime: float  #: seconds that its next tokens last
    permissions: dict[str, str] = field(default_factory=lambda: dict(_PERMISSIONS))


@dataclass(slots=True)
class Issued:
    """A token of an installation."""

    app_id: int
    owner: str
    permissions: dict[str, str]
    ends: float  # time.monotonic()


class Apps:
    """All Apps of one host, and the tokens that they were given."""

    def __init__(self) -> None:
        self._apps: dict[int, App] = {}
        self._issued: dict[str, Issued] = {}

    def add(self, app: App) -> App:
        """A new App, or another one under the number of an old one."""
        self._apps[app.app_id] = app
        return app

    def expire_tokens(self) -> None:
        """All tokens that were given out end now."""
        for issued in self._issued.values():
            issued.ends = 0.0

    def owner_of(self, token: str) -> str | None:
        """The owner whose repositories ``token`` reaches, in lower case; None for a token that is unknown or has ended."""
        issued = self.issued(token)
        return issued.owner if issued is not None else None

    def issued(self, token: str) -> Issued | None:
        """What is known of a token; None for one that is unknown or has ended."""
        issued = self._issued.get(token)
        return issued if issued is not None and issued.ends > time.monotonic() else None

    def routes(self, prefix: str) -> list[web.RouteDef]:
        installation = f"{prefix}/app/installations/{{installation:[0-9]+}}"
        return [
            web.get(f"{prefix}/app", self._itself),
            web.get(f"{prefix}/repos/{{owner}}/{{repo}}/installation", self._of_repository),
            web.get(installation, self._by_number),
            web.post(f"{installation}/access_tokens", self._grant),
        ]

    async def _of_repository(self, request: web.Request) -> web.Response:
        app, owner = self._app(request), request.match_info["owner"].lower()
        found = next((name for name in app.installations if name.lower() == owner), None)
        if found is None:
            _fail(404, "Not Found")
        return web.json_response(_shown(request, app, found))

    async def _itself(self, request: web.Request) -> web.Response:
        app = self._app(request)
        name = f"app-{app.app_id}"
        body = {"id": app.app_id, "slug": name, "name": name, "permissions": app.permissions, "events": []}
        return web.json_response(body | {"installations_count": len(app.installations)})

    async def _by_number(self, request: web.Request) -> web.Response:
        app = self._app(request)
        return web.json_response(_shown(request, app, _owner(request, app)))

    async def _grant(self, request: web.Request) -> web.Response:
        app = self._app(request)
        owner = _owner(request, app)
        body: dict[str, Any] = await request.json() if await request.read() else {}
        wanted: dict[str, str] = body.get("permissions") or app.permissions
        if any(app.permissions.get(name) not in (level, "write") for name, level in wanted.items()):
            _fail(422, "The permissions requested are not granted to this installation.")
        token = "ghs_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))
        ends_at = time.monotonic() + app.lifetime
        self._issued[token] = Issued(app.app_id, owner.lower(), {"metadata": "read", **wanted}, ends_at)
        ends = datetime.now(UTC) + timedelta(seconds=app.lifetime)
        answer = {
            "token": token,
            "expires_at": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
            "permissions": {"metadata": "read", **wanted},
            "repository_selection": "all",
        }
        return web.json_response(answer, status=201)

    def _app(self, request: web.Request) -> App:
        """Whose JWT it is."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
            app = self._apps.get(int(claims["iss"]))
        except (jwt.InvalidTokenError, KeyError, ValueError):
            app = None
        if scheme.lower() != "bearer":
            _fail(401, "Requires authentication")
        if app is None:
            _fail(401, "A JSON web token could not be decoded")
        try:
            claims = jwt.decode(token, app.public_key, algorithms=["RS256"], options={"require": ["iat", "exp", "iss"]})
        except jwt.ImmatureSignatureError:
            claimed = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
            _fail(401, claimed)
        except jwt.ExpiredSignatureError:
            _fail(401, "'Expiration time' claim ('exp') must be a numeric value representing the future time")
        except jwt.InvalidTokenError:
            _fail(401, "A JSON web token could not be decoded")
        if claims["exp"] > time.time() + _LONGEST:
            _fail(401, "'Expiration time' claim ('exp') is too far in the future")
        return app


def _owner(request: web.Request, app: App) -> str:
    number = int(request.match_info["installation"])
    found = next((owner for owner, installation in app.installations.items() if installation == number), None)
    if found is None:
        _fail(404, "Not Found")
    return found


def _fail(status: int, message: str) -> NoReturn:
    raise ApiFailure(status, {"message": message, "documentation_url": _DOCS, "status": str(status)})


def _shown(request: web.Request, app: App, owner: str) -> dict[str, Any]:
    """An installation as the API shows it."""
    base = str(request.url.origin())
    number = app.installations[owner]
    account = {
        "login": owner,
        "id": 1,
        "node_id": "O_1",
        "type": "Organization",
        "site_admin": False,
        "gravatar_id": "",
    }
    return {
        "id": number,
        "app_id": app.app_id,
        "app_slug": f"app-{app.app_id}",
        "account": account | dict.fromkeys(_USER_URLS, f"{base}/{owner}"),
        "target_id": 1,
        "target_type": "Organization",
        "repository_selection": "all",
        "access_tokens_url": f"{base}/app/installations/{number}/access_tokens",
        "repositories_url": f"{base}/installation/repositories",
        "html_url": f"{base}/organizations/{owner}/settings/installations/{number}",
        "permissions": app.permissions,
        "events": [],
        "single_file_name": None,
        "suspended_by": None,
        "suspended_at": None,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }
