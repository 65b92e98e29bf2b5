"""What the audit says of what a database answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.security.audit import FINE, UNKNOWN, VULNERABLE, judged, named_in

GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED: dict[str, Any] = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([GOOD], FINE, "nothing is known against 1 packages"),
        ([GOOD, BAD, SKIPPED], VULNERABLE, "VULNERABLE: b 2: CVE-1, mended in 3"),
        ([GOOD, SKIPPED], UNKNOWN, "NOT AUDITED: c: Dependency not found"),
        ([], UNKNOWN, "NOT AUDITED in full"),
    ],
)
def test_silence_is_no_clean_bill(
    packages: list[dict[str, Any]], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(packages, source="x") == code
    assert words in capsys.readouterr().out


def test_an_sbom_names_its_parts_and_its_subject() -> None:
    document = {
        "components": [{"name": "A_b.c", "version": "1"}],
        "metadata": {"component": {"name": "us", "version": "2"}},
    }
    assert named_in(document) == {("a-b-c", "1"), ("us", "2")}
