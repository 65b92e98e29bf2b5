"""A chat in memory: it takes what a webhook posts at ``/hooks``, drops what it has seen, and shows what there is to read.

The rules of a careful receiver: a CloudEvent in either mode, or any other text; with a key, only what is signed with it as Standard Webhooks say, and
not older than five minutes; a body of at most 1 MB (aiohttp's limit); an event that came before is taken and not shown again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from listener.demo.githost import GitHost
from listener.demo.gitlab import ApiFailure
from listener.demo.kubernetes.store import now

_OLDEST: Final = 300  # seconds
_SHOWN: Final = 100  # messages on the page
_KEPT: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message."""

    id: str  #: the event's source and id; "" for plain text
    type: str  #: the event's, or the content type
    subject: str
    data: dict[str, Any]  #: the event's; empty for plain text
    text: str
    at: str = field(default_factory=now)


class Chat(GitHost):
    """``key``: what requests must be signed with; "" for none."""

    name = "Chat"

    def __init__(self, *, key: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.key = key
        self.messages: deque[Received] = deque(maxlen=_KEPT)  #: in order of arrival, each once
        self.repeats = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/hooks", self._take), web.get("/", self._page)]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.key and not _genuine(request, body, self.key):
            raise ApiFailure(401, {"message": "the signature is missing, wrong or old"})
        try:
            received = _received(request, body)
        except (ValueError, KeyError, TypeError) as error:
            raise ApiFailure(400, {"message": f"not a CloudEvent: {error}"}) from None
        if received.id and received.id in {message.id for message in self.messages}:
            self.repeats += 1
        else:
            self.messages.append(received)
        return web.Response(status=202)

    async def _page(self, _: web.Request) -> web.Response:
        return self.page("chat_index.html", messages=list(self.messages)[: -_SHOWN - 1 : -1])


def _genuine(request: web.Request, body: bytes, key: str) -> bool:
    try:
        secret = base64.b64decode(key.removeprefix("whsec_")) if key.startswith("whsec_") else key.encode()
        moment = request.headers["webhook-timestamp"]
        content = b".".join((request.headers["webhook-id"].encode(), moment.encode(), body))
        expected = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(moment)) < _OLDEST
    except (KeyError, ValueError):
        return False
    given = [part.removeprefix("v1,") for part in request.headers.get("webhook-signature", "").split()]
    return fresh and any(hmac.compare_digest(signature.encode(), expected.encode()) for signature in given)


def _received(request: web.Request, body: bytes) -> Received:
    """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what calls itself an event and is none."""
    attributes: dict[str, Any] = {}
    data: Any = {}
    if request.content_type == "application/cloudevents+json":
        attributes = json.loads(body)
        data = attributes["data"]
    elif "ce-specversion" in request.headers:
        attributes = {
            name[3:].lower(): unquote(value) for name, value in request.headers.items() if name[:3].lower() == "ce-"
        }
        data = json.loads(body) if request.content_type == "application/json" else {}
    if not attributes:
        return Received(id="", type=request.content_type, subject="", data={}, text=body.decode())
    if attributes["specversion"] != "1.0" or not all(attributes[name] for name in ("id", "source", "type")):
        raise ValueError("an attribute is missing")
    return Received(
        id=f"{attributes['source']} {attributes['id']}",
        type=attributes["type"],
        subject=attributes.get("subject", ""),
        data=data if isinstance(data, dict) else {},
        text=str(data.get("text", "")) if isinstance(data, dict) else "",
    )
