"""Reading the YAML file. Every problem is found at once, each with its file, line, field and what to do about it.

The types are pydantic models (``config_model``); what one type cannot say is in ``config_checks``. Reading promises that any
file whatever gives either a ``Config`` or a ``ConfigError``. Secrets never enter a model: it holds the names of files and
environment variables, and ``read_secret`` reads them where they are needed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from listener.config_checks import Checks, Parts
from listener.config_logs import LogSettings, Place
from listener.config_model import Channel, Config, Host, Leases, Receiver, Runs, Service, SignedLinks, User
from listener.config_problems import ConfigError, Problem, problems_of
from listener.config_secrets import read_secret
from listener.config_yaml import parse_yaml

__all__ = [
    "Channel",
    "Config",
    "ConfigError",
    "Host",
    "Leases",
    "Loaded",
    "LogSettings",
    "Place",
    "Problem",
    "Receiver",
    "Runs",
    "Service",
    "SignedLinks",
    "User",
    "load",
    "read_secret",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is right, and what is worth a warning."""

    config: Config
    warnings: tuple[Problem, ...]
    path: Path


def load(
    path: Path, *, known_kinds: Collection[str], env: Mapping[str, str] = os.environ, check_files: bool = True
) -> Loaded:
    """Read and check ``path``. Raises ``ConfigError`` with every problem.

    ``known_kinds``: kinds of hosts for which there is a notifier; ``check_files``: secrets and certificates must be readable.
    """
    document = parse_yaml(path)
    problems: list[Problem] = []
    config: Config | None = None
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        problems = problems_of(error, document)
    checks = Checks(Parts.of(document.data), document, env=env, known_kinds=known_kinds)
    checks.run(check_files=check_files)
    if config is not None and config.leases is not None:
        checks.check_leases(config.leases)
    if config is not None:
        checks.check_links(config, check_files=check_files)
        checks.check_logs(config, check_files=check_files)
    problems += checks.problems
    if config is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    if (
        config.public_url is None
        and config.links in ("page", "signed")
        and any(service.target_url is None for service in config.services)
    ):
        checks.warn((), "public_url is not set: statuses on commits will carry no link to the log")
    if config.public_url and config.public_url.startswith("http://"):
        checks.warn(("public_url",), f"{config.public_url} is not encrypted: passwords can be read on the way")
    return Loaded(config, tuple(checks.warnings), path)


def auth_from_environment(env: Mapping[str, str]) -> tuple[str, str] | None:
    """``AUTH_USERNAME`` and ``AUTH_PASSWORD``, or None when neither is set. Raises ``ConfigError`` for half of it."""
    name, password = env.get("AUTH_USERNAME"), env.get("AUTH_PASSWORD")
    if name is None and password is None:
        return None
    if not name or not password:
        missing = "AUTH_USERNAME" if not name else "AUTH_PASSWORD"
        raise ConfigError([Problem("environment", None, missing, "is empty or not set", "set both, or neither")])
    if ":" in name:
        raise ConfigError([Problem("environment", None, "AUTH_USERNAME", "holds a ':'", "a user name cannot")])
    return name, password


def json_schema() -> dict[str, Any]:
    """The file's JSON schema, for editors."""
    schema = Config.model_json_schema()
    repository = schema["$defs"]["Service"]["properties"]["repository"]
    repository["anyOf"] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    for key in ("type", "items", "minItems"):
        repository.pop(key, None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Tekton Pipeline Listener"}


def schema_text() -> str:
    """What ``config/listener.schema.json`` holds."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
