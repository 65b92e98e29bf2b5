"""The rules for answers that need no socket."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.answers import MAX_RETRY_AFTER, clamp, error_of, retry_after, said
from notifiers.base import NotifierError, PermanentError, RetryableError

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@given(st.floats())
def test_no_wait_is_longer_than_an_hour_or_negative(seconds: float) -> None:
    assert 0.0 <= clamp(seconds) <= MAX_RETRY_AFTER


@given(st.text())
def test_any_header_may_come(text: str) -> None:
    seconds = retry_after({"retry-after": text}, now=NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("1e999", MAX_RETRY_AFTER),
        ("nan", 0.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("Fri, 99 Nov 2023 22:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, now=NOW) == seconds


@given(st.integers(100, 999), st.text(), st.text())
def test_every_status_has_a_meaning(status: int, message: str, hint: str) -> None:
    error = error_of("git.example.com", status, message, {}, hint=hint)
    assert isinstance(error, NotifierError)
    assert isinstance(error, RetryableError | PermanentError)
    assert str(error).startswith(f"git.example.com answered {status}")
    assert error.status == status


def test_a_date_without_a_zone_is_in_utc_wherever_this_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "EST5EDT")
        time.tzset()
        assert retry_after({"retry-after": "Tue, 14 Nov 2023 22:14:20 -0000"}, now=NOW) == 60.0
    time.tzset()


def test_of_a_page_the_title_is_worth_repeating() -> None:
    assert said("\n<!DOCTYPE html><html><head><TITLE lang=en>Not\nFound &amp; lost</TITLE>…") == "Not Found & lost"
    assert said("<html><p>" + "x" * 1000) == ""
    assert len(said("x" * 1000)) == 300
