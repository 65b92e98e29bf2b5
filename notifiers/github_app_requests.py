"""What a GitHub App asks GitHub for, one request each: the installation that sees a repository, and a token of an installation.

GitHub's rules (REST documentation, "Apps", and "Authenticating as a GitHub App"): an App proves itself with a JWT that its private key signs
(RS256); a token lasts an hour. No message holds a token, a JWT or a key. Nothing is kept here, see ``github_app``.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import jwt as pyjwt
import requests
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from github import Auth

from notifiers.answers import CREATED, error_of, hostname, said, trouble_of
from notifiers.base import HostSettings, NotifierError, PermanentError, RetryableError, UnauthorizedError
from notifiers.credentials import one_line_of_ascii
from notifiers.session import OneRequestSession, verify_option

LONGEST: Final = 3600.0  # seconds that GitHub says a token lasts
STATUSES: Final = ("statuses",)  # what a token may write if nothing else is said
_NAMES: Final = {"statuses": "Commit statuses"}  # where GitHub's pages have another name than its API
_SUSPENDED: Final = "is the App's installation suspended?"

Refusal = Callable[[str, int, str, Mapping[str, str]], NotifierError]  # host, status, message, headers


class AppRequests:
    """One App on one host. Keeps nothing but the settings; raises ``NotifierError`` and nothing else."""

    def __init__(self, settings: HostSettings, *, app_id: int, api: str, refusal: Refusal) -> None:
        self._app_id, self._configured = app_id, settings.installation_id
        self._api, self._host, self._refusal = api, hostname(api), refusal
        self._verify = verify_option(settings)

    def installation(self, repository: str, jwt: str, session: OneRequestSession) -> int:
        """The App's installation that sees ``repository``."""
        found = self._ask(session, jwt, "GET", f"/repos/{repository}/installation", repository=repository)
        number = _object(found).get("id")
        if type(number) is not int:
            raise RetryableError(f"{self._host}: its answer names no installation; is the url right?")
        return number

    def token(
        self,
        installation: int,
        repository: str,
        jwt: str,
        session: OneRequestSession,
        permissions: tuple[str, ...] = STATUSES,
    ) -> tuple[str, float]:
        """A new token of an installation, and how many seconds after the request it ends. ``repository`` is for messages.

        ``permissions``: all that it shall be able to write, in the API's words.
        """
        path = f"/app/installations/{installation}/access_tokens"
        answer = self._ask(session, jwt, "POST", path, repository=repository, permissions=permissions)
        data = _object(answer)
        try:
            token = one_line_of_ascii(data["token"], "the answer")
        except (KeyError, ValueError, AttributeError):
            raise RetryableError(f"{self._host}: its answer holds no token; is the url right?") from None
        return token, lifetime(data.get("expires_at"), answer.headers.get("date"))

    def itself(self, jwt: str, session: OneRequestSession) -> requests.Response:
        """What GitHub says of the App."""
        return self._ask(session, jwt, "GET", "/app", repository="")

    def _ask(
        self,
        session: OneRequestSession,
        jwt: str,
        method: str,
        path: str,
        *,
        repository: str,
        permissions: tuple[str, ...] = (),
    ) -> requests.Response:
        """One request as the App. Raises what any answer but the wanted one means."""
        session.forget_answer()
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {jwt}",
            "User-Agent": "tekton-pipeline-listener",
        }
        json = {"permissions": dict.fromkeys(permissions, "write")} if permissions else None
        try:
            answer = session.request(method, self._api + path, json=json, headers=headers, verify=self._verify)
        except Exception as error:  # whatever comes of whatever the host sent
            raise trouble_of(self._host, error, session) from None
        if answer.status_code == (200 if method == "GET" else CREATED):
            return answer
        raise self._refused(answer, repository, jwt, permissions) from None

    def _refused(
        self, answer: requests.Response, repository: str, jwt: str, permissions: tuple[str, ...]
    ) -> NotifierError:
        """The error for an answer to a request that was made as the App."""
        # A host, or a proxy on the way, may repeat what it was sent; here it is whole, further on a message is cut.
        status, message = answer.status_code, str(_object(answer).get("message") or "").replace(jwt, "[token]")
        if status == 401:
            what = f"{self._host} answered 401: {said(message)}; the App's key is refused"
            advice = "are app_id and private_key_file of the same App, and is this machine's clock right?"
            return UnauthorizedError(f"{what}: {advice}", status=status)
        error = self._refusal(self._host, status, message, answer.headers)
        if not isinstance(error, PermanentError):
            return error
        hint = _SUSPENDED if status == 403 else ""
        if status == 422:
            names = " and ".join(
                f"'{_NAMES.get(name, name.replace('_', ' ').capitalize())}: write'" for name in permissions
            )
            hint = f"the App needs the permission {names}, and the repository's owner has to accept it"
        if status == 404:
            number = f" with installation_id {self._configured}" if self._configured is not None else ""
            hint = f"the GitHub App {self._app_id} is not installed for {repository}{number}: install it there, or correct app_id"
        return error_of(self._host, status, message, answer.headers, hint=hint)


def lifetime(expires_at: object, date: str | None) -> float:
    """Seconds from an answer's ``Date`` until its ``expires_at`` (ISO 8601), between 0 and an hour.

    Where one of them is missing or cannot be read: an hour, as documented; a token that ends before that is refused with 401 and replaced.
    """
    try:
        seconds = (
            datetime.fromisoformat(str(expires_at)) - email.utils.parsedate_to_datetime(date or "")
        ).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return LONGEST
    return min(max(seconds, 0.0), LONGEST)


def usable_key(text: str, origin: str) -> str:
    """``text`` if it is an RSA private key in PEM that can sign, else raises ``ValueError``; ``origin`` is its file."""
    try:
        load_pem_private_key(text.encode(), None)  # with a look at all its numbers
        signed(1, text)
    except Exception:  # PyJWT's, cryptography's and OpenSSL's errors have no common base; none may quote the key
        raise ValueError(f"{origin} does not hold an RSA private key in PEM format without a passphrase") from None
    return text


def signed(app_id: int, key: str) -> str:
    """A JWT of the App, good for five minutes, issued a minute ago: GitHub takes ten minutes at most and no time to come.

    ``key`` has been checked (``usable_key``). PyJWT would check it again each time: 50 ms in which no other thread runs, the event loop's neither.
    """
    private: Any = load_pem_private_key(key.encode(), None, unsafe_skip_rsa_key_validation=True)
    return Auth.AppAuth(
        app_id, sign_func=lambda payload: pyjwt.encode(payload, private, algorithm="RS256")
    ).create_jwt()


def _object(answer: requests.Response) -> dict[str, Any]:
    """The answer's JSON object; whatever else it is becomes its message."""
    try:
        data = answer.json()
    except ValueError:
        return {"message": answer.text}
    return data if isinstance(data, dict) else {}
