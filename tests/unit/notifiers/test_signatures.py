"""Signatures that others can check: with the documentation's example, and against the standards' own test vectors."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from notifiers.signatures import key_bytes, signed
from tests.unit.notifiers.messages import KEY

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "webhook.md"


def genuine(headers: dict[str, str], body: bytes, key: str = KEY) -> bool:
    """What the documentation tells receivers to do."""
    found = re.search(r"```python verify\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert found is not None
    assert len(list(filter(None, found[1].splitlines()))) == 6
    names = {"headers": headers, "body": body, "key": key}
    exec(found[1], names)  # noqa: S102 - which is what is tested
    return bool(names["genuine"])


def sent(body: bytes = b'{"a": 1}', *, timestamp: int | None = None, key: str = KEY) -> dict[str, str]:
    return signed(
        body, key=key, message_id="run-failed", timestamp=int(time.time()) if timestamp is None else timestamp
    )


def test_the_documented_check_takes_what_is_genuine_and_nothing_else() -> None:
    headers, body = sent(), b'{"a": 1}'
    assert genuine(headers, body)
    assert not genuine(headers, body + b" ")
    assert not genuine(headers | {"webhook-id": "another"}, body)
    assert not genuine(headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}, body)
    assert not genuine(headers, body, "whsec_AAAA")
    assert not genuine(sent(timestamp=int(time.time()) - 400), body), "an old request that is sent again"


def test_standard_webhooks_own_example() -> None:
    body = b'{"test": 2432232314}'
    headers = signed(body, key=KEY, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_githubs_own_example() -> None:
    headers = signed(b"Hello, World!", key="It's a Secret to Everybody", message_id="x", timestamp=0)
    assert headers["X-Hub-Signature-256"] == ("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")


@pytest.mark.parametrize("key", ["whsec_", "whsec_not base64!", "whsec_A"])
def test_a_key_that_says_base64_and_is_none_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="whsec_ must go on in base64") as raised:
        key_bytes(key)
    assert key not in str(raised.value) or key == "whsec_"


def test_any_other_key_is_taken_as_it_is() -> None:
    assert key_bytes("correct horse") == b"correct horse"
