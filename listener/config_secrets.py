"""Files with secrets: reading one, and telling whether a private key can be one. Their content is in no message."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

_MAX_SECRET: Final = 64 * 1024
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----\s+(.*?)-----END \1PRIVATE KEY-----", re.DOTALL)
_DER_SEQUENCE: Final = b"\x30"


def read_secret(path: Path) -> str:
    """A secret file's content without its last newline. Raises ``OSError``, or ``ValueError`` for an empty or huge file."""
    with path.open("rb") as file:
        content = file.read(_MAX_SECRET + 1)
    if len(content) > _MAX_SECRET:
        raise ValueError("longer than 64 KiB, that is no secret")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    if not text:
        raise ValueError("the file is empty")
    return text


def check_private_key(path: Path) -> None:
    """Raises ``OSError`` or ``ValueError`` for a file that holds no PEM private key without a passphrase (RFC 7468).

    Its numbers are not looked at: the notifier does that, and the library for it is not loaded for reading a configuration.
    """
    found = _PEM.search(read_secret(path))
    if found is None:
        raise ValueError("holds no private key in PEM format")
    label, body = found[1], found[2]
    if label == "ENCRYPTED " or "ENCRYPTED" in body:
        raise ValueError("the private key has a passphrase")
    try:
        content = base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        content = b""
    if not content.startswith(_DER_SEQUENCE):
        raise ValueError("the private key is damaged")
