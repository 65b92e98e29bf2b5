"""The receivers that a file of Apprise URLs names, one per line, with comments behind ``#`` at a line's beginning.

Everything in such a URL may be a secret: so a receiver is named by its service and its line, and errors show no more. Refused are services that
run a program or show something on this machine, and options that read or write a file here: whoever may write the token's file shall not come
by more than messages. Making a receiver makes no request.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from notifiers.apprise_log import listening
from notifiers.hiding import Hiding, pieces_of

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

MAX_RECEIVERS: Final = 32
_MAX_TEXT: Final = 64 * 1024  # characters
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,40})://(.*)")
# By the names of apprise's modules: they run programs, show something here, write to the system's log or a device, or keep their keys in files.
_LOCAL: Final = frozenset({"blink1", "dbus", "glib", "gnome", "macosx", "syslog", "vapid", "windows"})
_FILE_OPTIONS: Final = frozenset({"keyfile", "pgpprv", "pgppub", "subfile", "template"})
_ELSEWHERE: Final = {
    "file": "a file of URLs is no service; write its lines here",
    "config": "a configuration of apprise's own is no service; write its URLs here",
}


@dataclass(frozen=True, slots=True)
class Receiver:
    """One line of the file."""

    name: str  #: ``Slack (line 2)``: all that may be told
    url: str = field(repr=False)
    digest: str  #: another one for another URL
    hiding: Hiding = field(repr=False)


def receivers(text: str, origin: str) -> list[Receiver]:
    """Those in ``text``, each of them tried. Raises ``ValueError`` that names ``origin`` and the line, and shows nothing of a URL.

    The first call loads apprise's services, which takes 0.2 s and 20 MB.
    """
    _load()
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{origin} has more than {_MAX_TEXT // 1024} KB")
    found: dict[str, Receiver] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line and not line.startswith("#"):
            receiver = _receiver(line, number, origin)
            found.setdefault(receiver.digest, receiver)
    if not found:
        raise ValueError(f"{origin} is empty: Apprise URLs are needed, one per line, in token_file or token_env")
    if len(found) > MAX_RECEIVERS:
        raise ValueError(f"{origin} has {len(found)} URLs, {MAX_RECEIVERS} are the most; make it two channels")
    return list(found.values())


def _receiver(line: str, number: int, origin: str) -> Receiver:
    place = f"{origin}, line {number}"
    match = _SCHEME.fullmatch(line)
    if match is None or not line.isascii() or not line.isprintable() or " " in line:
        raise ValueError(f"{place}: not an Apprise URL; one URL a line, in ASCII and without spaces, is needed")
    scheme = match[1].lower()
    if scheme in _ELSEWHERE:
        raise ValueError(f"{place}: {scheme}:// is refused: {_ELSEWHERE[scheme]}")
    if named := sorted({key.lower() for key, _ in parse_qsl(line.partition("?")[2])} & _FILE_OPTIONS):
        raise ValueError(f"{place}: {scheme}:// with {', '.join(named)}= is refused: it reads a file of this machine")
    hiding = Hiding(*pieces_of(line))
    with listening() as heard:
        made = instance(line, asset())
    if made is None:
        raise ValueError(f"{place}: {scheme}:// cannot be used: {_why_not(scheme, heard.last_warning(hiding))}")
    module = type(made).__module__.split(".")[2:3]
    if made.category != "native" or not module or module[0] in _LOCAL:
        raise ValueError(
            f"{place}: {scheme}:// is refused: it is about this machine, and sends nothing to anybody else"
        )
    if _reads_a_file(made):
        raise ValueError(f"{place}: {scheme}:// with a file is refused: it would be read from this machine")
    return Receiver(
        f"{made.service_name} (line {number})", line, hashlib.sha256(line.encode()).hexdigest()[:16], hiding
    )


def asset() -> AppriseAsset:
    """What all services are given: nothing is written to disk, no redirect is followed, no key is made."""
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="tekton-pipeline-listener",
        app_desc="Tekton Pipeline Listener",
        storage_mode="memory",
        http_redirects=False,
        pgp_autogen=False,
        pem_autogen=False,
        secure_logging=True,
    )


def instance(url: str, asset: AppriseAsset) -> NotifyBase | None:
    """The service behind ``url``; None when there is none, and then apprise has logged why."""
    from apprise import Apprise

    return Apprise.instantiate(url, asset=asset)


def _manager() -> Any:
    from apprise import manager_plugins

    untyped: Any = manager_plugins
    return untyped.NotificationManager()


def _load() -> None:
    """Import apprise's services, once and where it is waited for, and not at the first message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some services import what newer Pythons have no more
        _manager().load_modules()


def _why_not(scheme: str, said: str) -> str:
    manager = _manager()
    if scheme not in manager:
        return "apprise knows no such service, or not this form of its URL"
    plugin = manager[scheme]
    if not plugin.enabled:
        needed = plugin.requirements.get("packages_required") or []
        names = ", ".join([needed] if isinstance(needed, str) else needed)
        return f"it needs packages that are not installed ({names})" if names else "apprise has it disabled here"
    return said or "its URL is not as apprise wants it"


def _reads_a_file(made: NotifyBase) -> bool:
    """Whether an option that we do not know gave the service something to attach or to load."""
    from apprise import AppriseAttachment

    return any(isinstance(value, AppriseAttachment) and len(value) > 0 for value in vars(made).values())
