"""What costs every test time and shows nothing: a hundred authorities to trust, the same entry points to read.

A TLS context reads all certificates of the machine, 25 ms for each of several thousand contexts; the tests' servers are on loopback and
have certificates of their own, so there is one authority to trust, and it signs none of them. Entry points are read again for each
configuration, from the metadata of a hundred packages; here once for each state of ``sys.path``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import certifi
import pytest

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_END = "-----END CERTIFICATE-----\n"

#: What these variables were, for the few commands that ask a package index.
OUTSIDE: dict[str, str] = {}


def outside() -> dict[str, str]:
    """The environment as it was given to us."""
    return {name: value for name, value in os.environ.items() if name not in _TRUST} | OUTSIDE


@contextmanager
def one_authority(folder: Path) -> Iterator[None]:
    """Trust one certificate authority, in this process and in those that it starts."""
    OUTSIDE.update({name: os.environ[name] for name in _TRUST if name in os.environ})
    first, end, _ = Path(certifi.where()).read_text().partition(_END)
    bundle = folder / "one-authority.pem"
    bundle.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        for name in _TRUST:
            patch.delenv(name, raising=False)
        patch.setenv("SSL_CERT_FILE", str(bundle))
        yield


@contextmanager
def entry_points_once() -> Iterator[None]:
    """Read entry points once, until a package comes or goes."""
    read = importlib.metadata.entry_points
    known: dict[tuple[Any, ...], Any] = {}

    @functools.wraps(read)
    def entry_points(**wanted: str) -> Any:
        key = (*sorted(wanted.items()), *map(_state, sys.path))
        if key not in known:
            known[key] = read(**wanted)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", entry_points)
        yield


def _state(place: str) -> tuple[str, int]:
    try:
        return place, os.stat(place or ".").st_mtime_ns  # noqa: PTH116 - a hundred thousand times
    except OSError:
        return place, 0
