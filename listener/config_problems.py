"""What is wrong with a configuration, told to the person who wrote it: file, line, field, sentence, hint.

Turns pydantic's findings into the words of YAML. No ``input_value=``, no class names, no links to a library's documentation.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend."""

    file: str
    line: int | None
    field: str  #: like ``services[1].runs.name``; "" for the file as a whole
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        what = f"{self.field}: {self.message}" if self.field else self.message
        return without_tokens(f"{place}: {what} ({self.hint})" if self.hint else f"{place}: {what}")


class ConfigError(Exception):
    """A configuration that cannot be used. ``str()`` is the printable list, one problem per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Positions(Protocol):
    """Where a field stands in its file."""

    def problem(self, where: tuple[str | int, ...], message: str, hint: str = "") -> Problem: ...

    def keys(self, where: tuple[str | int, ...]) -> list[str]: ...


# What tokens of Git hosts look like. Now and then one is put where the name of its file or variable should be.
_TOKEN: Final = re.compile(
    r"\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|gl[a-z]{2,5}-[-\w.]{16,}|AT(?:BB|ATT|CTT)\w[-\w=]{15,}|[0-9a-f]{40,}|[A-Za-z0-9]{52,})"
)


def without_tokens(text: str) -> str:
    """``text`` without what looks like a token: messages stand in logs and on ``/readyz``."""
    return _TOKEN.sub("[a token?]", text)


_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "dict_type": "keys with values (a mapping)",
    "model_type": "keys with values (a mapping)",
    "model_attributes_type": "keys with values (a mapping)",
    "tuple_type": "a list",
    "list_type": "a list",
}


def did_you_mean(word: str, known: Collection[str]) -> str:
    """``did you mean …?`` for a word that is close to a known one, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def problems_of(error: ValidationError, document: Positions) -> list[Problem]:
    """One problem for each of pydantic's findings, in the order of the file."""
    entries = error.errors(include_url=False, include_context=True)
    places = [tuple(entry["loc"]) for entry in entries]
    # A list whose entries are wrong is not also "empty".
    entries = [
        entry
        for entry in entries
        if entry["type"] != "too_short" or not any(place[:-1] == tuple(entry["loc"]) for place in places if place)
    ]
    return [_problem(entry, document) for entry in entries]


def _problem(entry: Any, document: Positions) -> Problem:
    where, kind, value = tuple(entry["loc"]), entry["type"], entry.get("input")
    if kind == "missing":
        return document.problem(where[:-1], f"{where[-1]} is missing")
    if kind == "extra_forbidden":
        known = document.keys(where[:-1])
        hint = did_you_mean(str(where[-1]), known) or (f"known here: {', '.join(known)}" if known else "")
        return document.problem(where, "unknown key", hint)
    if kind == "value_error":
        return document.problem(where, str(entry["ctx"]["error"]))
    if kind in _EXPECTED:
        return document.problem(where, f"expected {_EXPECTED[kind]}, found {_found(value)}", _quote_hint(kind, value))
    if kind in ("string_too_short", "too_short"):
        return document.problem(where, "is empty")
    return document.problem(where, entry["msg"].removeprefix("Input ").strip())


def _found(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text '{value[:40]}'"
        case list():
            return "a list"
        case dict():
            return "keys with values"
        case _:
            return f"a {type(value).__name__}"


def _quote_hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool):
        return "YAML reads yes, no, on and off as true and false: quote it"
    if kind == "string_type" and not isinstance(value, (list, dict)) and value is not None:
        return "quote it"
    return ""
