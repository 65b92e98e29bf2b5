"""Apache's htpasswd files: one ``NAME:HASH`` a line, bcrypt only. Reading one makes no request and checks no password.

Promises that any file whatever gives either entries or an ``HtpasswdError`` with each wrong line and what to do about it. No message
holds a hash or a line's content: a password may stand there in the clear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 1024 * 1024
_MOST: Final = 10_000  # users; a directory of people wants a proxy with single sign-on before the service
WEAKEST: Final = 10  #: a cost below this gets a warning
DEAREST: Final = 14  #: about a second a login; each one more doubles it
# 22 characters of salt, the last of which has four bits to spare that must be 0, and 31 of hash.
_HASH: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_RECIPE: Final = "make it with htpasswd -B -C 12 FILE NAME"
_MOST_PROBLEMS: Final = 10
_KINDS: Final = (
    (re.compile(r"\$apr1\$|\$1\$"), "an MD5 hash"),
    (re.compile(r"\{SHA\}"), "a SHA-1 hash"),
    (re.compile(r"\$5\$|\$6\$"), "a SHA-2 hash of crypt"),
    (re.compile(r"\$2"), "no whole bcrypt hash"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One user of a file."""

    name: str
    hash: bytes = field(repr=False)
    cost: int  #: bcrypt's: a check takes twice as long for each one more
    line: int


class HtpasswdError(ValueError):
    """A file that cannot be used. ``problems``: line and sentence."""

    def __init__(self, problems: list[tuple[int | None, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"line {line}: {text}" if line else text for line, text in problems))


def read_htpasswd(path: Path) -> tuple[Entry, ...]:
    """The users of a file, at least one. Raises ``OSError`` or ``HtpasswdError``."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise HtpasswdError([(None, "longer than 1 MiB, that is no htpasswd file")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise HtpasswdError([(line, "not UTF-8 text; save the file as UTF-8")]) from None
    return parse_htpasswd(text)


def parse_htpasswd(text: str) -> tuple[Entry, ...]:
    """As ``read_htpasswd``, from what the file holds."""
    entries: dict[str, Entry] = {}
    problems: list[tuple[int | None, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        entry = _entry(line, number)
        if isinstance(entry, str):
            problems.append((number, entry))
        elif entry.name in entries:
            problems.append((number, f"its user is there already, in line {entries[entry.name].line}; keep one"))
        else:
            entries[entry.name] = entry
        if len(problems) >= _MOST_PROBLEMS or len(entries) > _MOST:
            break
    if len(entries) > _MOST:
        problems.append((None, f"more than {_MOST} users"))
    if not entries and not problems:
        problems.append((None, f"holds no user; {_RECIPE}"))
    if problems:
        raise HtpasswdError(problems)
    return tuple(entries.values())


def _entry(line: str, number: int) -> Entry | str:
    """The line's user, or what is wrong with it."""
    name, colon, rest = line.partition(":")
    if not colon:
        return f"not NAME:HASH; {_RECIPE}"
    if not name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "no user name before the ':', or one with control characters"
    found = _HASH.fullmatch(rest)
    if found is None:
        kind = next((words for start, words in _KINDS if start.match(rest)), "no bcrypt hash")
        return f"{kind}; only bcrypt ($2y$, $2b$, $2a$) is taken: {_RECIPE}"
    cost = int(found[1])
    if not 4 <= cost <= DEAREST:
        return f"its cost is {cost}; 4 to {DEAREST} are taken, a check would take too long otherwise: {_RECIPE}"
    return Entry(name, rest.encode(), cost, number)
