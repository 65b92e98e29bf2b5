"""What a deployment's memo says: which deployment a run has on the host, whatever the host is.

Pure. The memo is kept in an annotation that others can write, so it may be anything: what it names is believed only as far as the token
reaches, in the report's own repository.
"""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST = 200  # characters


@dataclass(frozen=True, slots=True)
class Known:
    """The deployment of one run."""

    number: int | None  #: the host's; None: one was asked for, and what became of it is not known
    finished: bool  #: its final state has been said
    run: str  #: the run's uid

    @property
    def memo(self) -> str:
        return f"{'?' if self.number is None else self.number} {'done' if self.finished else 'open'} {self.run}"


def known(memo: str | None) -> Known | None:
    """What ``memo`` says; None for one that no deployment has written."""
    number, *rest = (memo or "")[:_LONGEST].split(" ", 2)
    if len(rest) != 2 or rest[0] not in ("done", "open"):
        return None
    if number != "?" and not (number.isascii() and number.isdecimal() and len(number) < 19):
        return None
    return Known(None if number == "?" else int(number), rest[0] == "done", rest[1])
