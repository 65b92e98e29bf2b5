"""Signing what is posted to a webhook, so that its receiver can tell who sent it, and that nobody changed it or sends it again.

Two schemes that receivers know, with one key and over the very bytes of the body:

- **Standard Webhooks**: ``webhook-id``, ``webhook-timestamp`` (seconds since 1970) and ``webhook-signature: v1,BASE64`` of HMAC-SHA256 over
  ``ID.TIMESTAMP.BODY``. The time is signed, so an old request that is sent again can be refused. A key ``whsec_BASE64`` stands for the
  bytes in it, as that standard writes keys; any other key is taken as it is.
- **WebSub and GitHub**: ``X-Hub-Signature-256: sha256=HEX`` of HMAC-SHA256 over the body alone, with the key's text as it is. It says nothing of the time.

Pure: no clock, no file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

_PREFIX: Final = "whsec_"


def signed(body: bytes, *, key: str, message_id: str, timestamp: int) -> dict[str, str]:
    """The headers that prove that ``body`` comes from somebody who has ``key``. ``timestamp``: seconds since 1970.

    Raises ``ValueError`` for a key that ``key_bytes`` cannot read. ``message_id``: printable ASCII without a dot, which separates what is signed.
    """
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    standard = hmac.new(key_bytes(key), content, hashlib.sha256).digest()
    plain = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
        "X-Hub-Signature-256": f"sha256={plain}",
    }


def key_bytes(key: str) -> bytes:
    """The bytes that ``key`` stands for. Raises ``ValueError``, without the key in it, when it begins with ``whsec_`` and no base64 follows."""
    if not key.startswith(_PREFIX):
        return key.encode()
    try:
        found = base64.b64decode(key.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        found = b""
    if not found:
        raise ValueError("a key that begins with whsec_ must go on in base64")
    return found
