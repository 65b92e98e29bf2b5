"""Messages to anything that takes a ``POST``: each is one request, a CloudEvents 1.0 event or, from a template, just what the template says.

``url`` is where to; where the URL itself is a secret, as many are, leave ``url`` out: then the first line of the token's file is the URL and
a second one the key. With a key every request is signed (``signatures.py``), templated ones as well; with ``options: {auth: bearer}`` the
key is a bearer token instead, and nothing is signed. Options:

- ``mode``: ``structured`` (the default: one JSON object, ``application/cloudevents+json``) or ``binary`` (attributes as ``ce-*`` headers).
- ``source``: the events' source, instead of the address that the messages link to.
- ``auth``: ``signature`` (the default) or ``bearer``.
- ``content_type``: of templated messages. Without it ``application/json`` when the text is JSON, else ``text/plain; charset=utf-8``.

Every 2xx is success, and nothing is read of its body. No redirect is followed; each request has a connection of its own, for messages are far apart, and
one that the receiver closed meanwhile would cost a delivery. Logs, errors and ``repr`` show the receiver's host and port, and no more of its
URL. Not promised: that a receiver gets an event only once; that is what its id is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import requests
import yarl

from notifiers.answers import error_of, hostname, rate_limit
from notifiers.base import (
    Channel,
    CommitStatus,
    HostSettings,
    NotifierError,
    PermanentError,
    Receipt,
    RetryableError,
    UnauthorizedError,
    for_ever,
)
from notifiers.cloudevents import binary, event_id, event_of, structured
from notifiers.credentials import Token, one_line_of_ascii
from notifiers.deadline import Scopes
from notifiers.hiding import Hiding, pieces_of
from notifiers.reports import Message
from notifiers.session import base_url, target_of, verify_option
from notifiers.signatures import key_bytes, signed

MAX_TEMPLATED: Final = 1024 * 1024  # bytes
_OVERALL: Final = 3.0  # times the request timeout, as for other hosts
_READ: Final = 4096  # bytes of a refusal
_QUOTED: Final = 2048  # characters of it that are looked at; less, so that no secret is cut before it is found
_SHORTEST: Final = 8  # characters of a part of the URL's path that may be a secret
_CHOICES: Final = {"mode": ("structured", "binary"), "auth": ("signature", "bearer")}
_FREE: Final = ("source", "content_type")
_HINTS: Final = {
    404: "nobody listens at this path of its URL",
    405: "it takes no POST",
    410: "it wants no more messages: take it out of the configuration",
    413: "shorten the message's template",
    415: "it does not take this content type: try options mode or content_type",
}


@dataclass(frozen=True, slots=True)
class _Hook:
    """Where to, and what proves who we are."""

    host: str  #: and port, for messages
    url: str = field(repr=False)
    key: str = field(repr=False)  #: "" for none
    proxy: str | None = field(repr=False)
    hiding: Hiding = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class WebhookChannel(Channel):
    """Posts messages to one URL."""

    kind = "webhook"

    def __init__(self, settings: HostSettings) -> None:
        self._options = _options(settings.options)
        self._url = _configured_url(settings)
        has_token = settings.token_file is not None or settings.token is not None
        if self._url is None and not has_token:
            raise ValueError("url is missing: give url, or a token_file that holds the URL in its first line")
        if self._options["auth"] == "bearer" and not has_token:
            raise ValueError("options auth: bearer needs token_file or token_env")
        check = one_line_of_ascii if self._url is not None else _url_and_key
        self._token = (
            Token(settings, check=lambda text, origin: self._checked(check(text, origin), origin))
            if has_token
            else None
        )
        self._name, self._timeout, self._threads = settings.name, settings.request_timeout, settings.threads
        self.write_interval = settings.seconds_between_writes or 0.0
        self._verify = verify_option(settings)
        self._tls: ssl.SSLContext | None = None
        self._hook: tuple[int, _Hook] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._scopes = Scopes(settings.name)
        self._current()

    def account(self, repository: str) -> str:
        hook, _ = self._current()
        fingerprint = hashlib.sha256(f"{hook.url}\n{hook.key}".encode()).hexdigest()[:12]
        return f"{self.kind} {hook.host} {fingerprint}"

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        hook, generation = self._current()
        if not isinstance(status, Message):
            raise PermanentError(f"{hook.host}: a webhook takes messages, and no {type(status).__name__}")
        request = self._request(status, hook)
        async with self._scopes.within(self._timeout * _OVERALL, until):
            try:
                return await self._post(hook, request)
            except UnauthorizedError:
                if self._token is not None:
                    self._token.refused(generation)
                raise
            except NotifierError:
                raise
            except Exception as error:  # whatever aiohttp raises for whatever the receiver sent
                trouble = RetryableError(f"{hook.host}: {_reason(error)}")
            raise trouble  # out here, or what aiohttp says, with the URL in it, would be told with it

    async def close(self) -> None:
        await self._scopes.close(within=self._timeout)
        if self._session is not None:
            await self._session.close()

    # Where to

    def _current(self) -> tuple[_Hook, int]:
        """As the file says now."""
        text, generation = self._token.current() if self._token is not None else ("", 0)
        if self._hook is None or self._hook[0] != generation:
            url, key = (self._url, text) if self._url is not None else _split(text)
            secrets = [
                key,
                *pieces_of(url, shortest=_SHORTEST, host=False),
                *(v for _, v in yarl.URL(url, encoded=True).query.items()),
            ]
            self._hook = generation, _Hook(hostname(url), url, key, _proxy(url), Hiding(*secrets))
        return self._hook[1], generation

    def _checked(self, text: str, origin: str) -> str:
        """What a file holds, if it can be worked with."""
        key = text if self._url is not None else _split(text)[1]
        try:
            key_bytes(key)
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from None
        if self._options["auth"] == "bearer" and not key:
            raise ValueError(f"{origin}: options auth: bearer needs a second line with the token")
        return text

    # What

    def _request(self, message: Message, hook: _Hook) -> _Request:
        event = event_of(message, source=self._options["source"])
        headers, body = structured(event) if self._options["mode"] == "structured" else binary(event)
        if message.templated:
            body = message.text.encode("utf-8", "replace")
            if len(body) > MAX_TEMPLATED:
                raise PermanentError(f"{hook.host}: the templated message has more than {MAX_TEMPLATED // 1024} KB")
            headers["Content-Type"] = self._options["content_type"] or _type_of(message.text)
        if self._options["auth"] == "bearer":
            headers["Authorization"] = f"Bearer {hook.key}"
        elif hook.key:
            headers |= signed(body, key=hook.key, message_id=event_id(message), timestamp=int(time.time()))
        return _Request({"User-Agent": "tekton-pipeline-listener", "Accept-Encoding": "identity", **headers}, body)

    async def _post(self, hook: _Hook, request: _Request) -> Receipt:
        async with self._connected().post(
            yarl.URL(hook.url, encoded=True),
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            proxy=hook.proxy,
            ssl=await self._checking(hook),
        ) as answer:
            if 200 <= answer.status < 300:
                return Receipt(rate_limit=rate_limit(answer.headers))
            if 300 <= answer.status < 400:
                target = target_of(hook.url, answer.headers)
                raise PermanentError(
                    f"{hook.host} answered {answer.status} and points to {target}, where nothing is sent; correct the URL",
                    status=answer.status,
                )
            said = await _said(answer, hook, within=self._timeout)
            hint = _HINTS.get(answer.status, "")
            raise error_of(hook.host, answer.status, said, answer.headers, hint=hint)

    async def _checking(self, hook: _Hook) -> ssl.SSLContext | bool:
        """What the receiver's certificate is checked against: the same as for every other host."""
        if not hook.url.lower().startswith("https:"):
            return True
        if self._tls is None:
            self._tls = await asyncio.to_thread(_context, self._verify)  # reading a bundle takes a while
        return self._tls

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._threads, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=self._timeout),
            )
        return self._session


async def _said(answer: aiohttp.ClientResponse, hook: _Hook, *, within: float) -> str:
    """What comes with a refusal; it counts without as well."""
    said = b""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(within):
            while len(said) < _READ and (more := await answer.content.read(_READ - len(said))):
                said += more
    return hook.hiding.clean(said.decode("utf-8", "replace"))[:_QUOTED]


def _options(given: Mapping[str, str]) -> dict[str, str]:
    if unknown := sorted(set(given) - set(_CHOICES) - set(_FREE)):
        raise ValueError(f"options: {', '.join(unknown)}: a webhook knows {', '.join([*_CHOICES, *_FREE])}")
    for name, choices in _CHOICES.items():
        if given.get(name, choices[0]) not in choices:
            raise ValueError(f"options {name}: {given[name]!r} is not one of {', '.join(choices)}")
    for name in _FREE:
        if not (given.get(name, "").isascii() and given.get(name, "x").isprintable()):
            raise ValueError(f"options {name}: one line of ASCII is needed")
    return {name: choices[0] for name, choices in _CHOICES.items()} | dict.fromkeys(_FREE, "") | dict(given)


def _configured_url(settings: HostSettings) -> str | None:
    """``url`` as it is written, with the slash at its end."""
    if not settings.url:
        return None
    base_url(settings, "")
    return settings.url


def _url_and_key(text: str, origin: str) -> str:
    """A URL, and maybe a key in the line below; no error shows either of them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= 2:
        raise ValueError(
            f"{origin}: without url, the file's first line is the URL, a second line the key, and there is no third"
        )
    url, *keys = [one_line_of_ascii(line, origin) for line in lines]
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and bool(yarl.URL(url, encoded=True).host)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{origin}: without url, the file's first line must be the URL, http(s)://host[:port]/…")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{origin}: leave user, password and fragment out of the URL")
    return "\n".join([url, *keys])


def _split(text: str) -> tuple[str, str]:
    url, _, key = text.partition("\n")
    return url, key


def _type_of(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"


def _context(verify: bool | str) -> ssl.SSLContext:
    path = verify if isinstance(verify, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH
    folder = Path(path).is_dir()  # of hashed certificates, as the environment may say
    return ssl.create_default_context(capath=path) if folder else ssl.create_default_context(cafile=path)


def _proxy(url: str) -> str | None:
    """The environment's proxy for ``url``."""
    return requests.utils.select_proxy(url, dict(requests.utils.get_environ_proxies(url, no_proxy=None)))


def _reason(error: Exception) -> str:
    """What is wrong with the network, in plain words and without the URL."""
    match error:
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            return "the proxy from the environment does not work"
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as cause):
            return f"its certificate is not accepted ({cause.verify_message}); is ca_file right?"
        case aiohttp.ClientSSLError():
            return "TLS does not work; is the URL right?"
        case aiohttp.ClientConnectorDNSError():
            return f"its name cannot be resolved ({error.os_error.strerror})"
        case aiohttp.ConnectionTimeoutError():
            return "cannot be reached (connecting took too long)"
        case aiohttp.ServerTimeoutError():
            return "no answer in time; the message may have arrived"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached ({error.os_error.strerror or type(error.os_error).__name__})"
        case (
            aiohttp.ServerDisconnectedError()
            | aiohttp.ClientOSError()
            | aiohttp.ClientPayloadError()
            | ConnectionError()
        ):
            return "the connection was lost; the message may have arrived"
        case aiohttp.ClientResponseError():
            return "what it answers is not HTTP; is the URL right?"
    return f"the request could not be made ({type(error).__name__})"
