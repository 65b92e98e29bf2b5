"""One HTTP request to one host: the ``requests`` session that both client libraries are given to send with.

It makes exactly the request it is asked for: no retry, no redirect (requests would carry ``PRIVATE-TOKEN`` to a stranger's host,
PyGithub follows a 301 on its own), no ``.netrc`` (it would replace the ``Authorization`` header), no cookies. Proxies and CA bundles of
the environment count, but are looked up once. An answer is read up to a limit, kept for its status and headers (python-gitlab drops
them), and a request that goes on for too long can be cut off from another thread. Not promised: cutting short a name
lookup or the connecting itself; those end by the system's and the request's own timeouts.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import requests.utils

from notifiers.base import HostSettings

MAX_ANSWER: Final = 1024 * 1024  # bytes; a commit status is about one kilobyte

# At DEBUG these print each request. They may be quieter than INFO, never louder.
for _name in ("github", "gitlab", "urllib3"):
    _library = logging.getLogger(_name)
    _library.setLevel(max(_library.level, logging.INFO))


class RedirectRefusedError(Exception):
    """The host answered with a redirect; ``target`` is the scheme and host it points to, nothing more."""

    def __init__(self, status: int, target: str) -> None:
        super().__init__(f"{status} to {target}")
        self.status, self.target = status, target


class AnswerTooLongError(Exception):
    """The host's answer is longer than ``MAX_ANSWER``."""


class _Adapter(requests.adapters.HTTPAdapter):
    """One connection, kept alive. Remembers it for ``abort`` and the last answer for whoever wants to know."""

    def __init__(self, timeout: float) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.answer: requests.Response | None = None
        self.aborted = False
        self.secrets: tuple[bytes, ...] = ()
        self._timeout = timeout
        self._connection: Any = None  # urllib3's, one at a time

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if isinstance(pool.ConnectionCls, type):  # urllib3 lets a pool have a factory of its own
            pool.ConnectionCls = functools.partial(self._connect, pool.ConnectionCls)
        return pool

    def _connect(self, kind: Any, **options: Any) -> Any:
        self._connection = kind(**options)
        return self._connection

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        self.answer = None
        if self.aborted:  # between two requests of one delivery
            raise requests.exceptions.Timeout
        response = super().send(
            request, stream=True, timeout=self._timeout, verify=verify, cert=cert, proxies=dict(proxies or {})
        )
        self.answer = response
        raw = response.raw
        try:
            content = raw.read(MAX_ANSWER + 1, decode_content=True)
            if len(content) > MAX_ANSWER:
                raise AnswerTooLongError
        except BaseException:
            raw.close()
            raise
        for secret in self.secrets:
            # A host, or a proxy on the way, may repeat what it was sent, and messages are cut before they are read.
            content = content.replace(secret, b"[token]")
        response.raw = io.BytesIO(content)
        if 300 <= response.status_code < 400:
            raise RedirectRefusedError(response.status_code, target_of(request.url or "", response.headers))
        return response

    def abort(self) -> None:
        self.aborted = True
        sock = getattr(self._connection, "sock", None)
        while sock is not None and not isinstance(sock, socket.socket):
            sock = getattr(sock, "socket", None)  # TLS inside TLS, to a proxy that speaks it
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own shutdown(): that would take the TLS state from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class OneRequestSession(requests.Session):
    """A session to the host of ``url``. For one thread at a time; only ``abort`` may come from another one."""

    def __init__(self, url: str, *, timeout: float) -> None:
        """``timeout``: seconds for connecting and for each wait for bytes, whatever the caller of a request says."""
        super().__init__()
        # Per request, looking these up would cost more than the request.
        self.proxies = dict(requests.utils.get_environ_proxies(url, no_proxy=None))
        self.trust_env = False
        self._adapter = _Adapter(timeout)
        self.adapters.clear()
        self.mount("https://", self._adapter)
        self.mount("http://", self._adapter)

    @property
    def answer(self) -> requests.Response | None:
        """What the host answered to the last request, None while there is nothing. Its body may be missing."""
        return self._adapter.answer

    def forget_answer(self) -> None:
        """Before a request: what ``answer`` says afterwards is about that request."""
        self._adapter.answer = None

    def abort(self) -> None:
        """Cut off the request that another thread is making: it fails there like a lost connection, and so do those after it."""
        self._adapter.abort()

    def hide(self, *secrets: str) -> None:
        """From now on answers are read without ``secrets``: the token, and what it looks like in a header; an empty one hides nothing."""
        self._adapter.secrets = tuple(secret.encode() for secret in secrets if secret)

    def rearm(self) -> None:
        """Before a thread is given the session: requests may be made again."""
        self._adapter.aborted = False


def target_of(url: str, headers: Mapping[str, str]) -> str:
    """The scheme and host that an answer with ``headers`` points to; ``url`` is what was asked for."""
    try:
        parts = urlsplit(urljoin(url, headers.get("location", "")))
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{host}:{port}" if port else f"{parts.scheme}://{host}"


def base_url(settings: HostSettings, default: str) -> str:
    """The host's URL without a slash at its end. Raises ``ValueError`` for anything but http(s)://host[:port][/path]."""
    url = (settings.url or default).rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"url {url!r} is not http(s)://host[:port]")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"url of {parts.hostname}: leave out user, password, query and fragment")
    return url


def verify_option(settings: HostSettings) -> bool | str:
    """What to check the host's certificate against: its ``ca_file``, the environment's bundle, or certifi's.

    Raises ``ValueError`` when the file cannot be read or holds no certificate.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if settings.ca_file is None and (path := os.environ.get(name)):
            return _checked_bundle(name, path)
    return True if settings.ca_file is None else _checked_bundle("ca_file", str(settings.ca_file))


def _checked_bundle(name: str, path: str) -> str:
    try:
        if os.path.isdir(path):  # noqa: PTH112 - a directory of hashed certificates, which OpenSSL takes as it is
            ssl.create_default_context(capath=path)
        else:
            ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"{name} {path}: holds no certificate in PEM format") from None
    except OSError as error:
        raise ValueError(f"{name} {path}: {error.strerror or type(error).__name__}") from None
    return path
