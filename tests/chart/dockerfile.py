"""The Dockerfile as data: what its last stage sets, runs and starts, so that tests do what it says and not what they believe."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart.rendering import ROOT

PATH = ROOT / "Dockerfile"


@dataclass(slots=True)
class Stage:
    """One stage: from FROM to the next one."""

    base: str
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)  #: ARG, with their defaults
    copied: list[list[str]] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def stages(path: Path = PATH) -> list[Stage]:
    """All stages, in their order."""
    found: list[Stage] = []
    for line in _instructions(path.read_text()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append(Stage(rest.split()[0]))
            continue
        stage = found[-1]
        match word:
            case "ENV":
                stage.environment |= dict(part.split("=", 1) for part in shlex.split(rest))
            case "ARG":
                name, _, default = rest.partition("=")
                stage.arguments[name] = default
            case "COPY":
                stage.copied.append(rest.split())
            case "RUN":
                stage.run.append(rest)
            case "USER":
                stage.user = rest
            case "ENTRYPOINT":
                stage.entrypoint = json.loads(rest)
            case "CMD":
                stage.command = json.loads(rest)
            case "HEALTHCHECK":
                stage.health = json.loads(rest[rest.index("CMD ") + 4 :])
            case "LABEL" | "WORKDIR" | "EXPOSE":
                pass
            case _:
                raise ValueError(f"the tests do not know what {word} does: {line}")
    return found


def _instructions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
