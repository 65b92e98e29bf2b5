"""Signed links: whom they let in, and whom not."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.cluster.names import Key
from listener.links import Signer, expiry, keys_of, scrubbed

OLD, NEW = "old-key-" + "a" * 32, "new-key-" + "b" * 32
RUN = Key("ci", "service-xyz-run-1")
UID = "6a0f0a34-1d3c-4c0e-9a8b-5a3b1d0f2c11"
CREATED = "2026-11-23T11:34:57Z"
ALPHABET = string.ascii_letters + string.digits + "-_"


def token(*keys: str, run: Key = RUN, uid: str = UID) -> str:
    return Signer(keys or (NEW,), days=30).token(run, uid=uid, created=CREATED)


def test_a_token_fits_its_run_and_says_when_it_expires() -> None:
    assert Signer([NEW], days=30).fits(token(), RUN, uid=UID)
    assert expiry(token()) == datetime(2026, 12, 23, 11, 34, 57, tzinfo=UTC)


def test_the_same_run_gets_the_same_token_and_it_needs_no_escaping() -> None:
    assert token() == token()
    assert set(token()) <= set(ALPHABET)


@pytest.mark.parametrize(
    ("run", "uid"),
    [
        (Key("ci", "service-xyz-run-2"), UID),
        (Key("other", RUN.name), UID),
        (RUN, "6a0f0a34-1d3c-4c0e-9a8b-5a3b1d0f2c12"),  # created again under the same name
        (RUN, ""),
    ],
)
def test_a_token_fits_no_other_run(run: Key, uid: str) -> None:
    assert not Signer([NEW], days=30).fits(token(), run, uid=uid)


@given(st.integers(0, 27), st.sampled_from(ALPHABET))
def test_a_token_with_a_changed_character_fits_nothing(place: int, character: str) -> None:
    good = token()
    changed = good[:place] + character + good[place + 1 :]
    assert Signer([NEW], days=30).fits(changed, RUN, uid=UID) == (changed == good)


@given(st.text(max_size=40))
def test_whatever_is_given_as_a_token_is_refused(text: str) -> None:
    assert not Signer([NEW], days=30).fits(text, RUN, uid=UID)
    expiry(text)


def test_a_replaced_key_still_opens_what_it_signed_until_it_is_taken_out() -> None:
    signed_before = token(OLD)
    both = Signer([NEW, OLD], days=30)
    assert both.fits(signed_before, RUN, uid=UID)
    assert both.token(RUN, uid=UID, created=CREATED) == token(NEW)
    assert not Signer([NEW], days=30).fits(signed_before, RUN, uid=UID)


@pytest.mark.parametrize("text", ["", "short", f"{NEW}\nshort"])
def test_weak_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at least 32 characters"):
        Signer(keys_of(text), days=30)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/s/{token()}/runs/ci/x", "/s/…/runs/ci/x"),
        ("/s/whatever", "/s/…"),
        (f"//s/{token()}/runs/ci/x", "/s/…/runs/ci/x"),
        (f"/listener/s/{token()}/runs/ci/x", "/listener/s/…/runs/ci/x"),
        ("/runs/s/service-xyz-run-1", "/runs/s/service-xyz-run-1"),
        ("/runs/ci/x", "/runs/ci/x"),
        (f"/%73/{token()}/runs/ci/x", "/%73/…/runs/ci/x"),
        (f"/listener%2Fs%2f{token()}/runs/ci/%78", "/listener%2Fs%2f…/runs/ci/%78"),
        (f"/x/%73/%{ord(token()[0]):x}{token()[1:]}", "/x/%73/…"),
        ("/runs/%73/service-xyz-run-1", "/runs/%73/service-xyz-run-1"),
    ],
)
def test_a_link_is_not_shown_in_a_log(path: str, shown: str) -> None:
    assert scrubbed(path) == shown
