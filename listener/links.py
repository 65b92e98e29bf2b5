"""Links to a run's page that need no password: signed (HMAC-SHA256), bound to one run by its UID, expiring.

A token stands in the path, ``/s/TOKEN/runs/NAMESPACE/RUN``, so that every link on the page keeps it without anybody adding it. What it
opens is this one run's page, state and log, until it expires. It says nothing by itself but the moment at which it expires; the signature
covers that moment, the namespace, the name and the UID, so that it fits no other run, not even one that was created later under the same
name. The same run gives the same link whenever it is asked for, so a status is not sent again because of it.

Not promised: that whoever has the link keeps it to himself. It is as public as the commit that it stands on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from listener.cluster.names import Key
from listener.cluster.objects import parse_time

PREFIX: Final = "/s/"
_SHORTEST_KEY: Final = 32  # characters
_EXPIRY: Final = struct.Struct(">Q")
_EXPIRY_BYTES: Final = 5  # seconds since 1970 fit for 34,000 years
_MAC_BYTES: Final = 16
_TOKEN_LENGTH: Final = (_EXPIRY_BYTES + _MAC_BYTES) * 4 // 3  # base64 without padding
_TOKEN: Final = re.compile(r"[-\w=]+", re.ASCII)
_SLASH: Final = re.compile(r"(/|%2f)", re.IGNORECASE)
# Also where a proxy has put something before it, or somebody a slash too many.
_IN_PATH: Final = re.compile(rf"^/+s/+[^/]*|/s/[-\w=]{{{_TOKEN_LENGTH}}}(?![^/])", re.ASCII)


class Signer:
    """Makes and checks tokens. The first key signs, all of them are accepted: so a key can be replaced without breaking links."""

    def __init__(self, keys: Sequence[str], *, days: float) -> None:
        """``days``: from a run's creation to its links' end. Raises ``ValueError`` for keys that are too short, or none."""
        if not keys or any(len(key) < _SHORTEST_KEY for key in keys):
            raise ValueError(
                f"each line must be a key of at least {_SHORTEST_KEY} characters, for example openssl rand -hex 32"
            )
        self._keys = [hashlib.sha256(b"tekton-listener link key\0" + key.encode()).digest() for key in keys]
        self._seconds = days * 86400

    def token(self, key: Key, *, uid: str, created: str) -> str:
        """The token of a run that was ``created`` then (RFC 3339)."""
        born = parse_time(created) or datetime.fromtimestamp(0, UTC)
        expires = _EXPIRY.pack(int(born.timestamp() + self._seconds))[-_EXPIRY_BYTES:]
        return base64.urlsafe_b64encode(expires + self._mac(self._keys[0], expires, key, uid)).decode()

    def fits(self, token: str, key: Key, *, uid: str) -> bool:
        """Whether ``token`` was made for this run with one of our keys, expired or not. Takes the same time for every token."""
        parts = _parts(token)
        if parts is None or not uid:
            return False
        expires, mac = parts
        found = [hmac.compare_digest(mac, self._mac(secret, expires, key, uid)) for secret in self._keys]
        return any(found)

    def _mac(self, secret: bytes, expires: bytes, key: Key, uid: str) -> bytes:
        said = b"\0".join((b"1", expires.hex().encode(), key.namespace.encode(), key.name.encode(), uid.encode()))
        return hmac.new(secret, said, hashlib.sha256).digest()[:_MAC_BYTES]


def expiry(token: str) -> datetime | None:
    """When ``token`` expires, as it says itself; None for what is no token."""
    parts = _parts(token)
    if parts is None:
        return None
    seconds = int.from_bytes(parts[0], "big")
    return datetime.fromtimestamp(min(seconds, 253402300799), UTC)


def keys_of(text: str) -> list[str]:
    """The keys in a secret: one a line, the newest first."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def scrubbed(path: str) -> str:
    """A request's path, as it was sent, as it may stand in a log."""
    shown = _IN_PATH.sub("/s/…", path)
    return _without_encoded(shown) if "%" in shown else shown


def _without_encoded(path: str) -> str:
    """As ``scrubbed``, where some of it is percent-encoded: ``/%73/TOKEN`` is ``/s/TOKEN`` to whoever answers it."""
    parts = _SLASH.split(path)  # each second one is a slash
    said = [unquote(part) for part in parts]
    first = True
    for place in range(0, len(parts) - 2, 2):
        token = said[place + 2]
        if said[place] == "s" and (first or (len(token) == _TOKEN_LENGTH and _TOKEN.fullmatch(token))):
            parts[place + 2] = "…"
        first = first and not said[place]
    return "".join(parts)


def _parts(token: str) -> tuple[bytes, bytes] | None:
    if len(token) != _TOKEN_LENGTH or not token.isascii():
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw[:_EXPIRY_BYTES], raw[_EXPIRY_BYTES:]
