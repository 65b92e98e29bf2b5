"""Who is asking, and for which namespaces: Basic authentication (RFC 7617) with any number of users.

A user's password is known as such, or only as a bcrypt hash from an htpasswd file. Passwords are compared as bytes and in constant
time, and a wrong one costs the same whether the name is known or not and whatever the cost of its hash is, so that neither names
nor passwords can be told from the time an answer takes. Credentials never appear in a log, an error or ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="tekton-pipeline-listener", charset="UTF-8"'}
_MAX_HEADER: Final = 4096
_BCRYPT_BYTES: Final = 72  # of a password; htpasswd and every server that reads its files look at no more
_CHEAPEST: Final = 4  # bcrypt knows no lower cost


@dataclass(frozen=True, slots=True)
class User:
    """One who may ask: with a password, or with its hash."""

    name: str
    password: bytes = field(repr=False)
    namespaces: frozenset[str]  #: "*" stands for all
    hashed: bool = False  #: ``password`` is a bcrypt hash
    cost: int = 0  #: of the hash

    def may_read(self, namespace: str) -> bool:
        return "*" in self.namespaces or namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an ``Authorization`` header holds."""

    name: bytes = field(repr=False)  # people type a password there now and then
    password: bytes = field(repr=False)


def credentials_of(header: str | None) -> Credentials | None:
    """The credentials in an ``Authorization`` header, None where there are none that could be right."""
    if header is None or len(header) > _MAX_HEADER:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = text.partition(b":")
    return Credentials(name, password) if colon else None


class Users:
    """All who may ask."""

    def __init__(self, users: Iterable[User]) -> None:
        """Raises ``ValueError`` for a name that is there twice, and for an empty password."""
        self._key = secrets.token_bytes(32)
        self._by_name: dict[bytes, tuple[User, bytes]] = {}
        self._dearest = 0  # cost
        for user in users:
            name = self._digest(user.name.encode())
            if name in self._by_name:
                raise ValueError(f"user {user.name} is there twice")
            if not user.password:
                raise ValueError(f"user {user.name} has an empty password")
            self._by_name[name] = user, b"" if user.hashed else self._digest(user.password)
            self._dearest = max(self._dearest, user.cost if user.hashed else 0)
        self._nobody = self._digest(secrets.token_bytes(32))

    @property
    def slow(self) -> bool:
        """Whether ``check`` may take as long as a bcrypt hash does: not for the event loop."""
        return self._dearest > 0

    def digest(self, credentials: Credentials) -> bytes:
        """What tells these credentials from others, and tells nothing of them."""
        return self._digest(len(credentials.name).to_bytes(4, "big") + credentials.name + credentials.password)

    def knows(self, name: bytes) -> str | None:
        """The user's name if there is such a user: for logs, in which nothing unknown may stand."""
        user, _ = self._by_name.get(self._digest(name), (None, b""))
        return user.name if user is not None else None

    def check(self, credentials: Credentials) -> User | None:
        """The user with these credentials, or None. A wrong password takes as long for every name."""
        user, expected = self._by_name.get(self._digest(credentials.name), (None, self._nobody))
        spent = 0
        if user is not None and user.hashed:
            matches, spent = _matches(credentials.password, user.password), user.cost
            hmac.compare_digest(self._digest(credentials.password), self._nobody)
        else:
            matches = hmac.compare_digest(self._digest(credentials.password), expected)
        if matches and user is not None and credentials.password:
            return user
        self._spend(spent)
        return None

    def _spend(self, spent: int) -> None:
        """Work until the dearest hash is paid for: of two equal costs comes the next higher one."""
        if not self._dearest or spent >= self._dearest:
            return
        if not spent:
            _matches(b"x", _dummy(self._dearest))
            return
        for cost in range(spent, self._dearest):
            _matches(b"x", _dummy(cost))

    def _digest(self, text: bytes) -> bytes:
        """Equal lengths for the comparison, whatever the password's."""
        return hmac.new(self._key, text, hashlib.sha256).digest()


def _matches(password: bytes, hashed: bytes) -> bool:
    """Whether bcrypt makes ``hashed`` of ``password``: with a zero byte it cannot be, for others have cut it there."""
    import bcrypt  # only where there are such users

    try:
        same = bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:
        return False
    return same and b"\0" not in password


@functools.cache
def _dummy(cost: int) -> bytes:
    """The hash of something that nobody knows; costs nothing to make, and as much to check as a real one."""
    salt = base64.b64encode(secrets.token_bytes(39)).decode().translate(str.maketrans("+", "."))
    return f"$2b${max(cost, _CHEAPEST):02}${salt[:21]}.{salt[21:52]}".encode()
