"""Running a blocking client library beside an event loop, one HTTP request at a time.

python-gitlab and PyGithub block, and PyGithub's objects are not thread-safe: so each notifier has a few threads of its own and each
thread a client of its own, made anew when the token changes. ``OneRequestSession`` is what both libraries are given to send
with: it never retries, never follows a redirect (requests would carry ``PRIVATE-TOKEN`` to a stranger's host), never reads
``.netrc`` (which would replace the ``Authorization`` header), and remembers the last answer's headers, which python-gitlab drops.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import requests
import requests.adapters
import requests.utils

from notifiers.base import HostSettings, RetryableError

_MAX_TOKEN: Final = 64 * 1024
_OVERALL: Final = 3.0  # times the request timeout: connecting, sending and an answer that drips, all in all

C = TypeVar("C")
T = TypeVar("T")


class RedirectRefusedError(Exception):
    """The host answered with a redirect; ``target`` is where to, without path and query."""

    def __init__(self, status: int, target: str) -> None:
        super().__init__(f"{status} to {target}")
        self.status, self.target = status, target


class OneRequestSession(requests.Session):
    """A session that makes exactly the request it is asked for. Not thread-safe: one per thread."""

    def __init__(self, url: str) -> None:
        super().__init__()
        # The environment's proxies are looked up here, once; per request it would cost more than the request.
        self.proxies = dict(requests.utils.get_environ_proxies(url, no_proxy=None))
        self.trust_env = False
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.last_status = 0
        self.last_headers: dict[str, str] = {}

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send, and refuse to go anywhere else."""
        kwargs["allow_redirects"] = False
        self.last_status, self.last_headers = 0, {}
        response = super().send(request, **kwargs)
        self.last_status = response.status_code
        self.last_headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status_code < 400:
            target = urlsplit(self.last_headers.get("location", ""))
            raise RedirectRefusedError(
                response.status_code, f"{target.scheme}://{target.hostname}" if target.hostname else "?"
            )
        return response


def verify_option(settings: HostSettings) -> bool | str:
    """What to check the host's certificate against: its ``ca_file``, the environment's bundle, or the usual ones."""
    if settings.ca_file is not None:
        if not settings.ca_file.is_file():
            raise ValueError(f"ca_file {settings.ca_file}: no such file")
        return str(settings.ca_file)
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


class Token:
    """A token that may be rotated: the file is read again when it changes or when the host refuses what it held."""

    def __init__(self, settings: HostSettings) -> None:
        """Raises ``ValueError`` or ``OSError`` when there is no token."""
        self._path, self._fixed = settings.token_file, settings.token
        self._lock = threading.Lock()
        self._signature: tuple[int, int, int] | None = None
        self._value = ""
        self.generation = 0  #: grows whenever the token may have changed
        self.current()

    def current(self) -> tuple[str, int]:
        """The token and its generation. Keeps the old one while the file cannot be read."""
        with self._lock:
            if self._path is None:
                if not self._fixed:
                    raise ValueError("no token: give token_file or token_env")
                return self._fixed, self.generation
            try:
                stat = self._path.stat()
                signature = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if signature != self._signature:
                    value = _read_token(self._path)
                    self.generation += value != self._value
                    self._value, self._signature = value, signature
            except (OSError, ValueError):
                if not self._value:
                    raise
            return self._value, self.generation

    def refused(self) -> None:
        """The host said 401: look at the file anew, and make clients anew."""
        with self._lock:
            self._signature = None
            self.generation += 1


def _read_token(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_TOKEN + 1)
    text = content.decode("ascii", "replace").strip()
    if not text or len(content) > _MAX_TOKEN or not text.isprintable() or "\ufffd" in text or " " in text:
        raise ValueError(f"{path} does not hold a token")
    return text


class Workers(Generic[C]):
    """A few threads with a client each."""

    def __init__(self, settings: HostSettings, *, token: Token, make: Callable[[str], C]) -> None:
        """``make`` builds a client from a token; it makes no request."""
        self._settings, self._token, self._make = settings, token, make
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix=f"notify-{settings.name}")
        self._local = threading.local()
        self._closed = False

    async def call(self, function: Callable[[C], T]) -> T:
        """``function`` on a thread, with that thread's client. Raises what it raises, or ``RetryableError`` after too long."""
        if self._closed:
            raise RetryableError(f"{self._settings.name}: shutting down")
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        work = loop.run_in_executor(self._pool, functools.partial(context.run, self._with_client, function))
        limit = self._settings.request_timeout * _OVERALL
        try:
            async with asyncio.timeout(limit):
                return await work
        except TimeoutError:
            raise RetryableError(f"{self._settings.name}: no complete answer within {limit:g} s") from None

    def _with_client(self, function: Callable[[C], T]) -> T:
        token, generation = self._token.current()
        if getattr(self._local, "generation", None) != generation:
            self._local.client = self._make(token)
            self._local.generation = generation
        return function(self._local.client)

    async def close(self) -> None:
        """Wait for requests in flight, at most as long as one may take."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        done = asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        await asyncio.wait({done}, timeout=self._settings.request_timeout)
