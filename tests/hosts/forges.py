"""All Git hosts in memory that keep their makers' rules, found: ``FORGE`` of every file in here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from tests.hosts.forge import Forge


def _found() -> list[Forge]:
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("_", "forge")))
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    return [module.FORGE for module in modules if hasattr(module, "FORGE")]


FORGES: Final = _found()
