"""Who is asking, and for which namespaces: Basic authentication (RFC 7617) with any number of users.

Passwords are compared as bytes and in constant time, and an unknown user costs the same comparison as a known one, so that neither
names nor passwords can be told from the time an answer takes. Credentials never appear in a log, an error or ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="tekton-pipeline-listener", charset="UTF-8"'}
_MAX_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class User:
    """One who may ask."""

    name: str
    password: bytes = field(repr=False)
    namespaces: frozenset[str]  #: "*" stands for all

    def may_read(self, namespace: str) -> bool:
        return "*" in self.namespaces or namespace in self.namespaces


class Users:
    """All who may ask."""

    def __init__(self, users: Iterable[User]) -> None:
        self._key = secrets.token_bytes(32)
        self._by_name = {self._digest(user.name.encode()): (user, self._digest(user.password)) for user in users}
        self._nobody = self._digest(secrets.token_bytes(32))

    def _digest(self, text: bytes) -> bytes:
        """Equal lengths for the comparison, whatever the password's."""
        return hmac.new(self._key, text, hashlib.sha256).digest()

    def authenticate(self, header: str | None) -> User | None:
        """The user whose credentials an ``Authorization`` header carries, or None."""
        if header is None or len(header) > _MAX_HEADER:
            return None
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            credentials = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return None
        name, colon, password = credentials.partition(b":")
        user, expected = self._by_name.get(self._digest(name), (None, self._nobody))
        matches = hmac.compare_digest(self._digest(password), expected)
        return user if matches and colon else None
