"""Times and sizes as people write them: ``30d``, ``10GiB``. Pure; errors are ``ValueError`` with a sentence for the user."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = r"(\d{1,12}(?:\.\d{1,6})?) ?"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES: Final = {
    "B": 1,
    **{f"{letter}{ending}": 1024**power for power, letter in enumerate("KMGT", 1) for ending in ("i", "iB")},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
}
DURATION: Final = rf"{_NUMBER}({'|'.join(_SECONDS)})"
SIZE: Final = rf"{_NUMBER}({'|'.join(_BYTES)})"


def seconds_of(text: object) -> float:
    """A time such as ``30s``, ``5m``, ``2h`` or ``30d``, in seconds."""
    found = re.fullmatch(DURATION, text, re.ASCII) if isinstance(text, str) else None
    if found is None:
        raise ValueError("write a number with its unit: 30s, 5m, 2h or 30d")
    return float(found[1]) * _SECONDS[found[2]]


def bytes_of(text: object) -> int:
    """A size such as ``500MiB`` or ``10GiB`` (also ``MB`` and ``GB``, which are thousands), in bytes."""
    found = re.fullmatch(SIZE, text, re.ASCII) if isinstance(text, str) else None
    if found is None:
        raise ValueError("write a number with its unit: 500MiB or 10GiB (or MB and GB, which are thousands)")
    return int(float(found[1]) * _BYTES[found[2]])
