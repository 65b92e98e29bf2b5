"""What the environment says: the only place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NO_CLUSTER: Final = "no cluster was given, so nothing was tested: KUBECONFIG=… make e2e (see CONTRIBUTING.md)"
_RUNS: Final = Path(__file__).parents[1] / "tests" / "recordings" / "runs.yaml"


DEFAULT_TIMEOUT: Final = 300.0  # seconds
_LEASE: Final = 15.0  # seconds


class SettingError(Exception):
    """A variable that says nothing usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``E2E_…`` and ``KUBECONFIG``."""

    kubeconfig: str  #: "" when none is given
    image: str = (
        ""  #: for the steps; "": the one in the file, or where the cluster does not have it, ``FALLBACK_IMAGE``
    )
    timeout: float = DEFAULT_TIMEOUT  #: seconds for whatever is waited for: a run's end, a status's arrival
    keep: bool = False  #: leave the namespace where it is
    only: tuple[str, ...] = ()  #: names of runs; all when empty
    lease: float = _LEASE  #: seconds of a Lease
    rules: Path | None = None  #: a rendered chart, whose Role or ClusterRole the service is given
    runs: Path = _RUNS

    @property
    def arrive(self) -> float:
        """Seconds for what follows at once from something that was waited for: a status, an Event, a log's last line."""
        return min(60.0, self.timeout / 5)

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Settings:
        """Raises ``SettingError``."""
        return cls(
            kubeconfig=os.pathsep.join(
                str(Path(p).absolute()) for p in env.get("KUBECONFIG", "").split(os.pathsep) if p
            ),
            image=env.get("E2E_IMAGE", ""),
            timeout=_seconds(env, "E2E_TIMEOUT", DEFAULT_TIMEOUT),
            keep=env.get("E2E_KEEP", "") not in ("", "0"),
            only=tuple(name.strip() for name in env.get("E2E_RUNS", "").split(",") if name.strip()),
            lease=_seconds(env, "E2E_LEASE", _LEASE),
            rules=Path(env["E2E_RULES"]) if env.get("E2E_RULES") else None,
        )


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = 0.0
    if number <= 0:
        raise SettingError(f"{name}={text}: give a number of seconds")
    return number
