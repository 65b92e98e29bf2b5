"""What a Git host's answer means: try again, wait, or give up. The rules that GitLab and GitHub share.

Retryable: network trouble, timeouts, 408, 425, 429, every 5xx, and 401, which waits for another token. Everything else that is not
success is permanent: the same request will get the same answer. Pure functions, and no message ever holds a header or a query.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import requests

from notifiers.base import NotifierError, PermanentError, RetryableError, UnauthorizedError
from notifiers.blocking import RedirectRefusedError
from notifiers.text import cut

MAX_RETRY_AFTER: Final = 3600.0  # seconds; a host that asks for more is asked again after this
_RETRYABLE: Final = frozenset({408, 425, 429})


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait, from ``Retry-After`` (RFC 9110: seconds or a date), between 0 and an hour; None without one.

    ``headers`` have lower-case names; ``now`` is ``time.time()``.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = moment.timestamp() - (time.time() if now is None else now)
    return clamp(seconds)


def clamp(seconds: float) -> float:
    """What we are willing to wait."""
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds == seconds else 0.0


def error_of(host: str, status: int, message: str, headers: Mapping[str, str], *, hint: str = "") -> NotifierError:
    """The error for an answer with ``status``; ``message`` is what the host said, ``hint`` what to do about it."""
    text = f"{host} answered {status}: {cut(message, 300)}" if message else f"{host} answered {status}"
    if status == 401:
        return UnauthorizedError(f"{text}; the token is refused, put a valid one into its file", status=status)
    if status in _RETRYABLE or status >= 500:
        return RetryableError(text, retry_after=retry_after(headers), status=status)
    return PermanentError(f"{text}; {hint}" if hint else text, status=status)


def trouble_of(host: str, error: Exception) -> NotifierError:
    """The error for a request that got no proper answer."""
    if isinstance(error, NotifierError):
        return error
    if isinstance(error, RedirectRefusedError):
        return PermanentError(
            f"{host} redirects ({error.status}) to {error.target}; correct the host's url or the path"
        )
    if isinstance(error, requests.exceptions.SSLError):
        return RetryableError(f"{host}: its certificate is not accepted ({_cause(error)}); is ca_file right?")
    if isinstance(error, requests.exceptions.Timeout):
        return RetryableError(f"{host}: no answer in time")
    if isinstance(error, requests.exceptions.ConnectionError):
        return RetryableError(f"{host}: cannot be reached ({_cause(error)})")
    if isinstance(error, requests.exceptions.RequestException):
        return RetryableError(f"{host}: the request broke off ({type(error).__name__})")
    return RetryableError(f"{host}: its answer could not be understood ({type(error).__name__})")


def _cause(error: BaseException) -> str:
    """The innermost reason of urllib3's nested exceptions, in words, without URLs."""
    cause: BaseException = error
    for _ in range(8):
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        if isinstance(inner, BaseException):
            cause = inner
        elif cause.__cause__ is not None or cause.__context__ is not None:
            cause = cause.__cause__ or cause.__context__ or cause
        else:
            break
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__


def hostname(url: str) -> str:
    """The host of a URL, for messages."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or url
