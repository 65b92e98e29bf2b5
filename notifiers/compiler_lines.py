"""Messages of compilers, linters and test runners in a log: which file, which line, how bad, and what is wrong.

Known: ``path:line[:column]: error: …`` (gcc, clang, javac, mypy, shellcheck, …), ``path:line:column: …`` without a word (go, ruff, flake8,
golangci-lint), ``path(line,column): error …`` (tsc, MSBuild), ``[ERROR] path:[line,column] …`` (Maven), ``error[…]: …`` with `` --> path:line:column`` below it (rustc, ruff), pytest and Python's
tracebacks. Whatever else a log holds is skipped. Promised: a result whatever comes, in time that grows with the log's length and no faster:
every repetition in a pattern is possessive or bounded. Not promised: that a path exists in the repository; a log is anybody's text.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

LONGEST_LOG: Final = 1_000_000  # characters at a log's end that are looked at
LONGEST_LINE: Final = 70_000  # of one line; no host shows more of a message
_LONGEST_PATH: Final = 1024

# Escape sequences of terminals: CSI (colours), OSC (links; gcc and ruff print them) and their like, and the short ones.
_ESCAPE: Final = re.compile(
    r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]?|[\]PX^_][^\x07\x1b\r\n]*+(?:\x07|\x1b\\)?|[ -/]*+[0-~]?)|\x9b[0-?]*+[ -/]*+[@-~]?"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_END: Final = re.compile(r"\r\n?|\n")
_PREFIX: Final = re.compile(r"(?:\[([^\[\]]{1,200}+)\] )?+(?:vet: )?")  # ``[task : step] ``, ``[javac] ``, go vet's own

_PATH: Final = r"[^\s:\"'`<>|]{1,1024}+"
_NUMBER: Final = r"\d{1,9}+"
_COLONS: Final = re.compile(rf"({_PATH}):({_NUMBER})(?::({_NUMBER}))?((?::{_NUMBER}){{0,2}}+)(?::(?=\s|$)| -(?= ))")
_PARENTHESES: Final = re.compile(rf"\(({_NUMBER})(?:,({_NUMBER}))?(?:[,-]{_NUMBER}){{0,2}}+\) ?:")
_MAVEN: Final = re.compile(rf"({_PATH}):\[({_NUMBER}),({_NUMBER})\](?=\s)")
_ARROW: Final = re.compile(rf"\s{{1,12}}+-->\s({_PATH}):({_NUMBER}):({_NUMBER})\s*+$")
_FRAME: Final = re.compile(rf'\s{{1,12}}+File "([^"]{{1,1024}}+)", line ({_NUMBER})')
_RAISED: Final = re.compile(r"[A-Za-z_][\w.]{0,200}+(?::\s|$)")  # ``NameError: name …``, ``pkg.errors.Bad``
_PYTEST_END: Final = re.compile(r"\s([A-Za-z_][\w.]{0,200}+)\s*+$")  # ``AssertionError``
_PYTEST_IN: Final = re.compile(r"\sin \S")
_WORD: Final = re.compile(
    r"\s{0,4}+(?i:(fatal error|internal compiler error|error|fatal|warning|warn|note|notice|info|information|hint|help|remark|style))"
    r"(?:\s?\[([^\]\s]{1,80}+)\]|\s([A-Z]{1,10}+\d{1,8}+))?\s?:(?=\s|$)"
)
_BRACKET: Final = re.compile(r"\s?\[(?i:(error|warning|info))\]\s")  # yamllint
_PYLINT_WARNING: Final = re.compile(r"\s[CRW]\d{4}: ")

_FOREIGN: Final = frozenset({"..", "site-packages", "dist-packages", "node_modules"})
_HOSTS: Final = frozenset({"com", "org", "net", "io", "dev", "local", "internal", "localdomain", "svc", "lan"})


class Level(enum.Enum):
    """How bad it is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_LEVELS: Final = {"warning": Level.WARNING, "warn": Level.WARNING, "style": Level.WARNING} | dict.fromkeys(
    ("note", "notice", "info", "information", "hint", "help", "remark"), Level.NOTE
)
_ORDER: Final = tuple(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One message about one line of one file."""

    path: str  #: relative to the repository, with ``/``
    line: int  #: from 1
    column: int | None  #: from 1, where it is known
    level: Level
    message: str  #: one line, not empty


def remarks(log: str) -> list[Remark]:
    """All that ``log`` says about files of the repository, each once: errors, then warnings, then notes, in the log's order."""
    reader = _Reader()
    for line in _LINE_END.split(log[-LONGEST_LOG:]):
        reader.read(_CONTROL.sub("", _ESCAPE.sub("", line[:LONGEST_LINE])))
    return sorted(reader.found, key=lambda remark: _ORDER.index(remark.level))


def in_repository(path: str) -> str | None:
    """``path`` as the repository has it, or None for a file that is none of its own.

    A step works in ``/workspace/NAME``, where the repository was cloned to. No other absolute path is in it, ``/tekton`` (a step's own script)
    neither, nor what packages bring.
    """
    path = path.replace("\\", "/")
    parts = path.split("/")
    if path.startswith("/"):
        if parts[1] != "workspace" or not parts[2:] or not parts[2]:
            return None
        parts = parts[3:]
    parts = [part for part in parts if part not in ("", ".")]
    relative = "/".join(parts)
    if not parts or len(relative) > _LONGEST_PATH or not relative.isprintable() or _FOREIGN.intersection(parts):
        return None
    return relative if _is_file(parts) else None


def _is_file(parts: list[str]) -> bool:
    """False for what is more likely a host before its port, a time or a number."""
    name = parts[-1]
    _, dot, extension = name.rpartition(".")
    if dot:
        letters = any(character.isalpha() for character in extension)
        return letters and (len(parts) > 1 or extension.lower() not in _HOSTS)
    return len(parts) > 1 or name.lower().endswith("file")  # Makefile, Dockerfile, …


class _Reader:
    """What has been read so far: some messages take two lines and more."""

    def __init__(self) -> None:
        self.found: dict[Remark, None] = {}
        self._before = ""  # the line before this one
        self._heading = ""  # what this line has in brackets before all else
        self._frame: tuple[str, int] | None = None  # of a traceback, the innermost one in the repository
        self._said = ""  # what pytest says in its first line with an E

    def read(self, line: str) -> None:
        self._heading = ""
        for _ in range(2):  # ``[task : step] [ERROR] ``
            if (prefix := _PREFIX.match(line)) is not None and prefix.end() < len(line):
                self._heading, line = prefix[1] or self._heading, line[prefix.end() :]
        self._read(line)
        self._before = line

    def _read(self, line: str) -> None:
        if (arrow := _ARROW.match(line)) is not None:
            self._below_a_message(arrow)
        elif (frame := _FRAME.match(line)) is not None:
            self._enter(frame[1], frame[2])
        elif line.startswith("E  "):
            self._explain(line[1:].strip())
        elif not self._located(line) and line[:1].strip():
            self._raised(line)

    # One line says it all

    def _located(self, line: str) -> bool:
        """True for a line that begins with a place."""
        if (place := _COLONS.match(line)) is not None:
            path, number, column, more = place.groups()
            self._about(path, number, column, line[place.end() :], certain=bool(column) and not more)
            return True
        if (place := _MAVEN.match(line)) is not None:
            self._add(place[1], place[2], place[3], _level(self._heading), line[place.end() :])
            return True
        place = _PARENTHESES.search(line)
        if place is None or re.fullmatch(_PATH, line[: place.start()].strip()) is None:
            return False
        self._about(line[: place.start()].strip(), place[1], place[2], line[place.end() :], certain=False)
        return True

    def _about(self, path: str, number: str, column: str | None, rest: str, *, certain: bool) -> None:
        """``certain``: it is a message even without a word like "error"."""
        if (word := _WORD.match(rest)) is not None:
            self._add(path, number, column, *_level_and_message(word, rest))
        elif (word := _BRACKET.match(rest)) is not None:
            self._add(path, number, column, _level(word[1]), rest[word.end() :])
        elif certain:
            if "." in path and rest.strip():
                level = Level.WARNING if _PYLINT_WARNING.match(rest) else Level.ERROR
                self._add(path, number, column, level, rest)
        elif not column and path.endswith(".py"):
            self._pytest(path, number, rest)

    # Several lines together

    def _below_a_message(self, arrow: re.Match[str]) -> None:
        """rustc and ruff: the message, and below it an arrow to the place."""
        path, number, column = arrow[1], arrow[2], arrow[3]
        if (word := _WORD.match(self._before)) is not None:
            self._add(path, number, column, *_level_and_message(word, self._before))
        elif self._before[:1].strip():
            self._add(path, number, column, Level.ERROR, self._before)

    def _pytest(self, path: str, number: str, rest: str) -> None:
        if (end := _PYTEST_END.match(rest)) is not None:  # the last line of a failure
            self._add(path, number, None, Level.ERROR, self._said or end[1])
            self._said, self._frame = "", None
        elif _PYTEST_IN.match(rest) is not None:  # --tb=short: what happened comes below
            self._enter(path, number)

    def _explain(self, text: str) -> None:
        if self._before.startswith("E  "):
            return
        if self._frame is not None:
            self._add(self._frame[0], str(self._frame[1]), None, Level.ERROR, text)
            self._frame = None
        else:
            self._said = text

    def _enter(self, path: str, number: str) -> None:
        """One frame of a traceback: those in the repository count, the innermost one is meant."""
        if in_repository(path) is not None:
            self._frame = (path, int(number))

    def _raised(self, line: str) -> None:
        """The first line of a traceback, or what follows its last frame."""
        if self._frame is not None and _RAISED.match(line) is not None:
            self._add(self._frame[0], str(self._frame[1]), None, Level.ERROR, line)
        self._frame = None

    def _add(self, path: str, number: str, column: str | None, level: Level, message: str) -> None:
        relative, line, position = in_repository(path), int(number), int(column or 0)
        if relative is None or line < 1:
            return
        text = message.strip() or level.value
        self.found[Remark(path=relative, line=line, column=position or None, level=level, message=text)] = None


def _level(word: str) -> Level:
    return _LEVELS.get(word.lower(), Level.ERROR)


def _level_and_message(word: re.Match[str], line: str) -> tuple[Level, str]:
    """Of a match of ``_WORD``; a code goes before the message."""
    message, code = line[word.end() :].strip(), word[2] or word[3]
    return _level(word[1]), f"{code}: {message}" if code else message
