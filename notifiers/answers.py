"""What a Git host's answer means: try again, wait, or give up. The rules that all hosts share,
and what must hold before one is asked at all.

Retryable: network trouble, timeouts, 408, 425, 429, every 5xx, and 401, which waits for another token. Everything else that is not
success is permanent: the same request will get the same answer. 201 is success whatever comes with it: the status is there. Nothing
here makes a request, and no message ever holds a header, a path or a query.
"""

from __future__ import annotations

import email.utils
import html
import re
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from notifiers.base import CommitStatus, NotifierError, PermanentError, RateLimit, RetryableError, UnauthorizedError
from notifiers.session import AnswerTooLongError, OneRequestSession, RedirectRefusedError
from notifiers.text import cut, is_sha

MAX_RETRY_AFTER: Final = 3600.0  # seconds; a host that asks for more is asked again after this
CREATED: Final = 201
_RETRYABLE: Final = frozenset({408, 425, 429})
_SAID: Final = 300  # characters of a host's own message that are worth repeating
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def check_place(status: CommitStatus, *, why_not: str | None, host: str, what: str = "repository") -> None:
    """Raises ``PermanentError`` for a status whose repository or commit must not get into a URL; ``why_not``: what ``check_repository``
    says of it, ``what``: the host's word for a repository. Before every request, whatever was checked before."""
    if why_not is not None:
        raise PermanentError(f"{host}: {cut(status.repository, 100)!r} cannot be a {what}: {why_not}")
    if not is_sha(status.sha):
        raise PermanentError(f"{host}: {cut(status.sha, 70)!r} is no commit: 40 or 64 hex digits are needed")


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait, from ``Retry-After`` (RFC 9110: seconds or a date), between 0 and an hour; None without one.

    ``headers``: names in lower case, or any mapping that does not care; ``now``: see ``host_time``.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return clamp(float(text))
    except ValueError:
        pass
    moment = _moment(text)
    return None if moment is None else clamp(moment - host_time(headers, now=now))


def rate_limit(headers: Mapping[str, str], *, now: float | None = None) -> RateLimit | None:
    """What is left, from GitHub's ``x-ratelimit-*`` or GitLab's ``RateLimit-*``; None where the host does not say."""
    for prefix in ("x-ratelimit", "ratelimit"):
        try:
            limit, remaining = int(headers[f"{prefix}-limit"]), int(headers[f"{prefix}-remaining"])
            resets_in = clamp(float(headers[f"{prefix}-reset"]) - host_time(headers, now=now))
        except (KeyError, ValueError):
            continue
        return RateLimit(limit=limit, remaining=max(remaining, 0), resets_in=resets_in)
    return None


def host_time(headers: Mapping[str, str], *, now: float | None = None) -> float:
    """The host's own clock, from its ``Date``: what it names as a moment is meant on that one, ours may be wrong.

    Else ``now``, by default ``time.time()``.
    """
    moment = _moment(headers.get("date", ""))
    if moment is not None:
        return moment
    return time.time() if now is None else now


def _moment(text: str) -> float | None:
    """An HTTP date as seconds since 1970."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
        # A date without a zone is in UTC, not where this machine happens to stand.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def clamp(seconds: float) -> float:
    """What we are willing to wait: 0 to 3600 seconds; 0 for NaN."""
    return min(seconds, MAX_RETRY_AFTER) if seconds > 0 else 0.0


def error_of(host: str, status: int, message: str, headers: Mapping[str, str], *, hint: str = "") -> NotifierError:
    """The error for an answer with ``status``; ``message`` is what the host said, ``hint`` what to do about it."""
    words = said(message)
    text = f"{host} answered {status}: {words}" if words else f"{host} answered {status}"
    if status == 401:
        return UnauthorizedError(f"{text}; the token is refused, put a valid one into its file", status=status)
    if status in _RETRYABLE or status >= 500:
        return RetryableError(text, retry_after=retry_after(headers), status=status)
    if not 400 <= status < 500:
        hint = "that is not an answer of its API: is the url right, is there a login page or a proxy before it?"
        return RetryableError(f"{text}; {hint}", status=status)
    return PermanentError(f"{text}; {hint}" if hint else text, status=status)


def said(message: str) -> str:
    """A host's message on one line; of an HTML page its title."""
    if message.lstrip().startswith("<"):
        title = _TITLE.search(message)
        message = html.unescape(title[1]) if title else ""
    return cut(message, _SAID)


def trouble_of(host: str, error: Exception, session: OneRequestSession, *, hint: str = "") -> NotifierError:
    """The error for a request that failed with something that is not the library's own error for a status."""
    if isinstance(error, NotifierError):
        return error
    if isinstance(error, RedirectRefusedError):
        return PermanentError(
            f"{host} answered {error.status} and points to {error.target}, where no token is sent;"
            " correct the host's url or the repository's path",
            status=error.status,
        )
    if isinstance(error, AnswerTooLongError):
        return RetryableError(f"{host}: its answer has no end that is worth waiting for; is the url right?")
    if isinstance(error, requests.exceptions.RequestException | urllib3.exceptions.HTTPError | OSError):
        if isinstance(error, requests.exceptions.JSONDecodeError) and session.answer is not None:
            return error_of(host, session.answer.status_code, "", session.answer.headers, hint=hint)
        return RetryableError(f"{host}: {_reason(error)}")
    if session.answer is not None:  # the library stumbled over what came; the status still tells what it means
        return error_of(host, session.answer.status_code, "", session.answer.headers, hint=hint)
    return RetryableError(f"{host}: the request could not be made ({type(error).__name__})")


def _reason(error: BaseException) -> str:
    """What is wrong with the network, in plain words."""
    cause = _innermost(error)
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy from the environment does not work ({_words(cause)})"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({cause.verify_message}); is ca_file right?"
    if isinstance(cause, ssl.SSLError):
        return f"TLS does not work ({(cause.reason or 'unknown').replace('_', ' ').lower()}); is the url right?"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "cannot be reached (connecting took too long)"
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError) or isinstance(
        cause, TimeoutError | urllib3.exceptions.ReadTimeoutError
    ):
        return "no answer in time; the status may have arrived"
    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, ConnectionResetError | BrokenPipeError) or "Incomplete" in type(cause).__name__:
        return "the connection was lost; the status may have arrived"  # RemoteDisconnected is a ConnectionResetError
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"cannot be reached ({_words(cause)})"
    return f"the request failed ({_words(cause)})"


def _words(cause: BaseException) -> str:
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__


def _innermost(error: BaseException) -> BaseException:
    """The cause at the bottom of requests' and urllib3's nested exceptions."""
    cause = error
    for _ in range(10):
        candidates = (getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__)
        inner = next((c for c in candidates if isinstance(c, BaseException) and c is not cause), None)
        if inner is None:
            break
        cause = inner
    return cause


def hostname(url: str) -> str:
    """The host of a URL and its port, for messages."""
    return urlsplit(url).netloc.rpartition("@")[2] or url
