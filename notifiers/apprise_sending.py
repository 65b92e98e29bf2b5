"""One message to one receiver, on a thread, by a library that blocks; and what came of it.

What apprise tells of a failure is False, and its log: a 4xx is permanent, 408, 425, 429 and 5xx are worth another try, and so is a network that does
not work. A mail server's 5xx reply is permanent, its 4xx is not. What tells nothing of the kind is tried again as well, but not for ever: see
``Progress``. A refused token (401) is permanent here: it is one receiver's among several.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from notifiers.apprise_leash import Leash, LeashError
from notifiers.apprise_log import Heard, listening
from notifiers.apprise_urls import Receiver, asset, instance
from notifiers.base import NotifierError, PermanentError, RetryableError
from notifiers.reports import Message, Outcome
from notifiers.text import cut, one_line

if TYPE_CHECKING:
    from apprise import NotifyBase, NotifyType

_TITLE: Final = 250  # characters; services cut further
_BODY: Final = 40_000  # the longest that a service takes is 32,768
_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
_TYPES: Final = {
    "failed": "failure", "broken": "failure", "succeeded": "success", "fixed": "success", "cancelled": "warning",
    "started": "info",
}  # fmt: skip
_SHORTEST: Final = 0.05  # seconds; a timeout of nothing is an error to sockets


class UnclearError(RetryableError):
    """It did not arrive, and nothing says why: trying again for ever would help nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A message as apprise takes it."""

    title: str
    body: str  #: Markdown
    kind: str  #: failure, success, warning, info

    @classmethod
    def of(cls, message: Message) -> Note:
        """``message``, with something to say whatever is missing."""
        body = message.text.encode("utf-8", "replace").decode()[:_BODY]
        title = cut(message.title, _TITLE)
        return cls(title=title, body=body.strip() or one_line(message.description) or title or "-", kind=_kind(message))


def _kind(message: Message) -> str:
    fallback = "info"
    if message.outcome.final:
        fallback = "failure" if message.outcome.failure else "warning"
        fallback = "success" if message.outcome is Outcome.SUCCEEDED else fallback
    return _TYPES.get(message.event, fallback)


def send(receiver: Receiver, note: Note, leash: Leash, *, timeout: float, ca_file: str | None) -> NotifierError | None:
    """Send ``note``; None when the receiver has it. Blocks. The error is given, not raised: what it would be raised from holds
    the URL, and would keep the service's object alive beyond this thread, which says good-bye to its server when it goes.
    """
    taken, trouble = False, ""
    with listening() as heard, leash.on_this_thread():
        try:
            taken = _sent(receiver, note, leash, timeout=timeout, ca_file=ca_file)
        except LeashError:
            pass
        except Exception as error:  # a plugin may raise anything
            trouble = type(error).__name__
    if taken:
        return None
    if leash.held or leash.late:  # a request is given no more time than there is, so it may end by its own timeout
        return leash.error(receiver.name)
    if trouble:
        return UnclearError(f"{receiver.name}: {trouble} in apprise")
    return _error(receiver, heard)


def _sent(receiver: Receiver, note: Note, leash: Leash, *, timeout: float, ca_file: str | None) -> bool:
    service = instance(receiver.url, asset())
    if service is None:
        return False
    _put_on(leash, service, timeout=timeout, ca_file=ca_file)
    return _notify(service, note)


def _put_on(leash: Leash, service: NotifyBase, *, timeout: float, ca_file: str | None) -> None:
    """Our rules for a service's requests, whatever its URL says."""
    seconds = max(min(timeout, leash.left()), _SHORTEST)
    service.socket_connect_timeout = service.socket_read_timeout = seconds
    service.redirects = False
    if ca_file is not None and service.verify_certificate:
        service.verify_certificate = ca_file  # type: ignore[assignment]  # requests takes a path as well
    rate, last = float(service.request_rate_per_sec or 0.0), [0.0]

    def throttle(last_io: object = None, wait: float | None = None) -> None:
        """As the service's own: a pause between two requests, or the one that the server asked for."""
        since = time.monotonic() - last[0]
        leash.wait(float(wait) if wait is not None else rate - since if last[0] else 0.0)
        last[0] = time.monotonic()

    # Of this one object, and without a reference to it: a cycle would be collected on any thread.
    service.throttle = throttle  # type: ignore[method-assign]  # which is meant


def _notify(service: NotifyBase, note: Note) -> bool:
    from apprise import NotifyFormat, NotifyType, OverflowMode

    kind: NotifyType = NotifyType(note.kind)
    upstream = service.overflow_mode == OverflowMode.UPSTREAM  # which means that too long a text is refused
    return bool(
        service.notify(
            body=note.body,
            title=note.title,
            notify_type=kind,
            overflow=OverflowMode.TRUNCATE if upstream else None,
            body_format=NotifyFormat.MARKDOWN,
        )
    )


def _error(receiver: Receiver, heard: Heard) -> NotifierError:
    """What a False means, from what was logged."""
    said = heard.last_warning(receiver.hiding)
    if statuses := heard.statuses():
        # Several targets behind one URL: what may still arrive decides.
        status = next((s for s in statuses if s in _WORTH_ANOTHER_TRY or s >= 500), statuses[-1])
        text = f"{receiver.name} answered {status}: {said}" if said else f"{receiver.name} answered {status}"
        if status in _WORTH_ANOTHER_TRY or status >= 500:
            return RetryableError(text, status=status)
        if status < 300:
            return UnclearError(text, status=status)
        if status < 400:
            text = f"{text}; it points elsewhere, where nothing is sent: correct its URL"
        return PermanentError(text, status=status)
    if codes := heard.smtp_codes():
        text = f"{receiver.name}: the mail server answered {codes[-1]}: {said}"
        return PermanentError(text) if all(code >= 500 for code in codes) else RetryableError(text)
    if network := heard.network():
        return RetryableError(f"{receiver.name}: {network}")
    return UnclearError(f"{receiver.name}: {said or 'apprise did not say why'}")
