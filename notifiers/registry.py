"""Which kinds of notifiers there are: ours and what other packages bring, all found by entry point."""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Final

from notifiers.base import Notifier

log = logging.getLogger(__name__)

GROUP: Final = "tekton_listener.notifiers"


def discover() -> dict[str, type[Notifier]]:
    """Notifier classes by kind. One that cannot be loaded is logged with the package it comes from and left out."""
    found: dict[str, type[Notifier]] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist is not None else "an unknown package"
        try:
            loaded = entry.load()
        except Exception as error:  # a stranger's code may raise anything
            log.error("notifier %s of %s cannot be loaded: %s", entry.name, package, error)
            continue
        if not (isinstance(loaded, type) and issubclass(loaded, Notifier)):
            log.error("notifier %s of %s is no Notifier", entry.name, package)
        elif entry.name in found and found[entry.name] is not loaded:
            log.error("notifier %s of %s: there is one of that name already", entry.name, package)
        else:
            found[entry.name] = loaded
    return found
