"""YAML with line numbers: reads a file into plain data and remembers where each field stands.

Safe tags only, no duplicate keys, bounded in size and in what aliases may blow it up to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from listener.config_logs import LogSettings
from listener.config_model import Config, Host, Leases, Runs, Service, User
from listener.config_problems import ConfigError, Problem

_MAX_BYTES: Final = 1024 * 1024
_MAX_NODES: Final = 100_000
_MAX_DEPTH: Final = 40

Where = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """A file's data, and the line of each field."""

    path: Path
    data: Any = None
    lines: dict[Where, int] = field(default_factory=dict)

    def line(self, where: Where) -> int | None:
        """The line of a field, or of the nearest one around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where)

    def problem(self, where: Where, message: str, hint: str = "") -> Problem:
        """A problem at a field."""
        if where and isinstance(where[-1], int) and where not in self.lines:
            where = where[:-1]  # one value where a list may stand
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        return Problem(str(self.path), self.line(where), name, message, hint)

    def keys(self, where: Where) -> list[str]:
        """The keys that may stand at ``where``."""
        match where:
            case ():
                model: Any = Config
            case ("users", _):
                model = User
            case ("hosts", _):
                model = Host
            case ("services", _):
                model = Service
            case ("services", _, "runs"):
                model = Runs
            case ("leases",):
                model = Leases
            case ("logs",):
                model = LogSettings
            case _:
                return []
        return list(model.model_fields)


def parse_yaml(path: Path) -> Document:
    """Read ``path``. Raises ``ConfigError``: no file, not UTF-8, not YAML, duplicate keys, not a mapping at the top."""
    document = Document(path)
    text = _text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError([Problem(str(path), mark.line + 1 if mark else None, "", _syntax(error))]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError([Problem(str(path), None, "", f"not YAML: {' '.join(str(error).split())}")]) from None
    if node is None:
        raise ConfigError([Problem(str(path), None, "", "the file is empty", "start from config/listener.yaml")])
    reader = _Reader(document)
    document.data = reader.read(node, ())
    if not isinstance(node, yaml.MappingNode) and not reader.problems:
        reader.problems.append(Problem(str(path), 1, "", "expected keys with values at the top of the file"))
    if reader.problems:
        raise ConfigError(reader.problems)
    return document


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "name the file with --config or TEKTON_LISTENER_CONFIG"
        raise ConfigError([Problem(str(path), None, "", "no such file", hint)]) from None
    except IsADirectoryError:
        raise ConfigError([Problem(str(path), None, "", "is a folder", "name the file in it")]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(str(path), None, "", f"cannot be read: {error}")]) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError([Problem(str(path), None, "", "longer than 1 MiB, that is no configuration")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(str(path), line, "", "not UTF-8 text", "save it as UTF-8")]) from None


def _syntax(error: yaml.MarkedYAMLError) -> str:
    what = error.problem or "cannot be read"
    if "\\t" in what or "tab" in what:
        return "a tab character; YAML is indented with spaces"
    context = f"{error.context}: " if error.context else ""
    return f"not YAML: {context}{what}"


class _Reader:
    """Nodes to plain data."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._constructor = yaml.constructor.SafeConstructor()
        self._nodes = 0
        self.problems: list[Problem] = []

    def read(self, node: yaml.Node, where: Where) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(where) > _MAX_DEPTH:
            raise ConfigError([self._document.problem((), "too large once its aliases are followed")])
        self._document.lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*where, number)) for number, item in enumerate(node.value)]
        return self._scalar(node, where)

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(line, where, "a key must be text")
                continue
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._complain(line, where, "merge keys (<<) are not supported", "write the keys out")
                continue
            key = str(key_node.value)
            spot = (*where, key)
            if key in data:
                first = self._document.lines.get(spot)
                self._complain(line, spot, f"is there twice, first in line {first}", "keep one")
                continue
            data[key] = self.read(value_node, spot)
            self._document.lines[spot] = line
        return data

    def _scalar(self, node: yaml.Node, where: Where) -> Any:
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
            self._complain(node.start_mark.line + 1, where, f"the tag {node.tag} is not allowed")
            return ""
        try:
            return self._constructor.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, OverflowError, ArithmeticError, KeyError, TypeError):
            self._complain(node.start_mark.line + 1, where, "cannot be read as a value", "quote it")
            return ""

    def _complain(self, line: int, where: Where, message: str, hint: str = "") -> None:
        problem = self._document.problem(where, message, hint)
        self.problems.append(Problem(problem.file, line, problem.field, problem.message, problem.hint))
