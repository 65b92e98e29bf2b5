"""What a request asks for: the run it names, within what its user may see, and parameters with units.

Every refusal is JSON with one sentence that says what to do. The order is fixed: who are you (401), is that a name at all (400), may
you see it (404, the same as for a run that does not exist).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from aiohttp import web

from listener.cluster.names import Key, is_name, is_namespace
from listener.web.auth import CHALLENGE, User
from listener.web.logins import BusyError, Logins, ThrottledError, WrongError
from listener.web.peers import Proxies

_DURATION: Final = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,7}(?:\.\d{1,3})?)s?)?")
MAX_WAIT: Final = 24 * 3600.0


@dataclass(slots=True)
class Access:
    """Who may ask, and what a short path means; both may change while the service runs."""

    logins: Logins
    default_namespace: str | None
    proxies: Proxies = field(default_factory=Proxies)


ACCESS: Final = web.AppKey("access", Access)
PEER: Final = web.RequestKey("peer", str)  #: in a request: the client's address, which is not the proxy's


def refuse(kind: type[web.HTTPException], message: str, *, headers: Mapping[str, str] | None = None) -> NoReturn:
    """End the request with ``message`` as JSON."""
    raise kind(text=json.dumps({"message": message}) + "\n", content_type="application/json", headers=headers)


async def user_of(request: web.Request) -> User:
    """The authenticated user; or 401 with a challenge, 429 after too many wrong ones."""
    access = request.app[ACCESS]
    forwarded = request.headers.getall("X-Forwarded-For", ())
    peer = access.proxies.client(request.remote, forwarded)
    request[PEER] = peer
    try:
        return await access.logins.login(
            request.headers.get("Authorization"), peer=peer, forwarded=bool(forwarded) and peer == request.remote
        )
    except WrongError:
        refuse(web.HTTPUnauthorized, "give a user name and password (HTTP Basic)", headers=CHALLENGE)
    except ThrottledError as error:
        refuse(web.HTTPTooManyRequests, str(error), headers={"Retry-After": str(error.seconds)})
    except BusyError:
        refuse(web.HTTPServiceUnavailable, "too many logins at once; try again", headers={"Retry-After": "2"})


def key_of(request: web.Request, user: User) -> Key:
    """The run that the path names, if the user may know of it; else 400 or 404."""
    name = request.match_info["run"]
    namespace = request.match_info.get("namespace") or request.app[ACCESS].default_namespace
    if not namespace:
        refuse(
            web.HTTPBadRequest,
            "no default_namespace is configured: name the namespace in the path, /NAMESPACE/RUN after the first word",
        )
    if not is_namespace(namespace):
        refuse(web.HTTPBadRequest, "not a namespace's name: lower-case letters, digits and '-', at most 63")
    if not is_name(name):
        refuse(web.HTTPBadRequest, "not a PipelineRun's name: lower-case letters, digits, '-' and '.', at most 253")
    key = Key(namespace, name)
    if not user.may_read(namespace):
        not_found(key)
    return key


def not_found(key: Key) -> NoReturn:
    """The one answer for a run that does not exist and for one that the user may not see."""
    body = condition_json(f'PipelineRun "{key.name}" not found in namespace "{key.namespace}"', "NotFound", "Unknown")
    raise web.HTTPNotFound(text=body, content_type="application/json")


def condition_json(message: str, reason: str, status: str) -> str:
    """A condition as the original sent it: these four keys in this order."""
    body = {"message": message, "reason": reason, "type": "Succeeded", "status": status}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def seconds_of(request: web.Request, parameter: str) -> float | None:
    """A duration parameter in seconds: ``90``, ``90s``, ``2m``, ``1h30m``; None where it is not given, 400 for anything else."""
    text = request.query.get(parameter)
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        refuse(web.HTTPBadRequest, f"{parameter}: not a duration; give seconds, or for example 90s, 2m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return min(hours * 3600 + minutes * 60 + seconds, MAX_WAIT)


def number_of(request: web.Request, parameter: str, *, most: int) -> int | None:
    """A whole number from 0 to ``most``, None where it is not given; 400 for anything else."""
    text = request.query.get(parameter)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > most:
        refuse(web.HTTPBadRequest, f"{parameter}: not a whole number from 0 to {most}")
    return int(text)


def flag_of(request: web.Request, parameter: str, *, default: bool) -> bool:
    """``1`` or ``true``, ``0`` or ``false``; 400 for anything else."""
    text = request.query.get(parameter)
    if text not in (None, "1", "true", "0", "false"):
        refuse(web.HTTPBadRequest, f"{parameter}: give 1 or 0")
    return default if text is None else text in ("1", "true")


def choice_of(request: web.Request, parameter: str, choices: Sequence[str]) -> str:
    """One of ``choices``, the first where it is not given; 400 for anything else."""
    text = request.query.get(parameter, choices[0])
    if text not in choices:
        refuse(web.HTTPBadRequest, f"{parameter}: give {', '.join(choices[:-1])} or {choices[-1]}")
    return text


def check_parameters(request: web.Request, known: Mapping[str, str]) -> None:
    """400 for a parameter that would be ignored: whoever gives it counts on it."""
    for name in request.query:
        if name not in known:
            listing = ", ".join(f"{key} ({what})" for key, what in known.items())
            refuse(web.HTTPBadRequest, f"unknown parameter; known here: {listing}")
