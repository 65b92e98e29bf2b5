"""What apprise says while it works: heard by us, and printed nowhere.

apprise tells what went wrong by its log alone, and its messages may hold a URL's parts, what a receiver answered, or at DEBUG whole requests. So
its logger, and those of the libraries that it signs requests with, lead nowhere but here, whatever the service's own log level is; and from here goes on only
what the caller asks for: a status, a known reason, or the last warning without secrets.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
from collections.abc import Iterator
from typing import Final

from notifiers.hiding import Hiding
from notifiers.text import cut

_MAX_HEARD: Final = 200  # records of one sending
_MAX_LENGTH: Final = 2000  # characters of one
_SAID: Final = 200
_STATUS: Final = re.compile(r"\berror=(\d{3})\b")
_AROUND_STATUS: Final = re.compile(r"^Failed to [^:]*:\s*|[,\s]*error=\d{3}\.?$")
_NO_REASON: Final = ("Could not load", "Unparseable", "Unsupported URL")
# smtplib's exceptions in apprise's words, and its own word for a recipient
_SMTP: Final = re.compile(r"\((\d{3}), b['\"]|was refused: (\d{3})\b")
_SHOW_URLS: Final = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)
_NETWORK: Final = {
    "certificate_verify_failed": "its certificate is not accepted; is ca_file right?",
    "connection refused": "cannot be reached (Connection refused)",
    "no route to host": "cannot be reached (No route to host)",
    "network is unreachable": "cannot be reached (Network is unreachable)",
    "name or service not known": "its name cannot be resolved",
    "failed to resolve": "its name cannot be resolved",
    "name resolution": "its name cannot be resolved",
    "connect timeout": "cannot be reached (connecting took too long)",
    "timed out": "no answer in time; the message may have arrived",
    "connection reset": "the connection was lost; the message may have arrived",
    "connection aborted": "the connection was lost; the message may have arrived",
    "remote end closed": "the connection was lost; the message may have arrived",
    "unexpectedly closed": "the connection was lost; the message may have arrived",
    "proxyerror": "the proxy from the environment does not work",
}


class Heard:
    """The records of one sending, in memory for as long as it takes."""

    def __init__(self) -> None:
        self._records: list[tuple[int, str]] = []

    def add(self, level: int, text: str) -> None:
        if len(self._records) < _MAX_HEARD:
            self._records.append((level, text[:_MAX_LENGTH]))

    def statuses(self) -> list[int]:
        """The HTTP statuses that apprise took for failures."""
        warnings = (text for level, text in self._records if level >= logging.WARNING)
        return [int(status) for text in warnings for status in _STATUS.findall(text)]

    def smtp_codes(self) -> list[int]:
        """The reply codes of a mail server that would not."""
        return [int(a or b) for _, text in self._records for a, b in _SMTP.findall(text)]

    def network(self) -> str:
        """What is wrong with the network, in words of ours; "" for nothing that we know."""
        for _, text in self._records:
            if "socket exception" in (low := text.lower()):
                return next((words for sign, words in _NETWORK.items() if sign in low), "")
        return ""

    def last_warning(self, hiding: Hiding) -> str:
        """The last reason that apprise warned of, in one line and without secrets; "" for none."""
        warnings = [text for level, text in self._records if level >= logging.WARNING]
        reasons = [_AROUND_STATUS.sub("", text) for text in warnings if not text.startswith(_NO_REASON)]
        return cut(hiding.clean(reasons[-1]), _SAID) if reasons else ""


_hearing: contextvars.ContextVar[Heard | None] = contextvars.ContextVar("notifiers_apprise_heard", default=None)


def _hear(record: logging.LogRecord) -> bool:
    """Keep ``record`` where somebody listens, and give it to no handler."""
    heard = _hearing.get()
    if heard is not None:
        with contextlib.suppress(Exception):  # whatever was to be formatted
            heard.add(record.levelno, record.getMessage())
    return False


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """What apprise logs inside, on this thread."""
    heard = Heard()
    token = _hearing.set(heard)
    try:
        yield heard
    finally:
        _hearing.reset(token)


def _is_not_ours(_: logging.LogRecord) -> bool:
    return _hearing.get() is None


def _lead_nowhere() -> None:
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)  # the reasons of failures are told at DEBUG only
    logger.addFilter(_hear)
    for name in _SHOW_URLS:
        logging.getLogger(name).addFilter(_is_not_ours)  # from other threads these may go on as before
    for name in ("requests_oauthlib", "oauthlib", "MARKDOWN", "paho", "slixmpp"):
        library = logging.getLogger(name)
        library.setLevel(max(library.level, logging.INFO))


_lead_nowhere()
