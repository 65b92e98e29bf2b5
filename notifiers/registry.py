"""Which kinds of notifiers there are: ours and what other packages bring, all found by entry point.

An entry point in the group ``tekton_listener.notifiers`` is named after its class's ``kind``. What cannot be used is logged with the
package it comes from and left out, and never keeps the rest from working. A kind that we bring ourselves cannot be replaced: a notifier
is handed a token.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
from collections.abc import Collection
from typing import Final

from notifiers.base import Notifier

log = logging.getLogger(__name__)

GROUP: Final = "tekton_listener.notifiers"
_OURS: Final = f"{__package__}."


def known_kinds() -> frozenset[str]:
    """The kinds that packages say they bring; nothing is loaded for it."""
    return frozenset(entry.name for entry in importlib.metadata.entry_points(group=GROUP))


def needs_token(kind: str) -> bool:
    """Whether an entry of ``kind`` is to have a secret: a host that we know takes nothing from strangers, of a plug-in we cannot tell."""
    entries = importlib.metadata.entry_points(group=GROUP, name=kind)
    return any(entry.value.startswith(_OURS) for entry in entries)


def discover(only: Collection[str] | None = None) -> dict[str, type[Notifier]]:
    """Notifier classes by kind; ``only``: the kinds to load, for a client library takes its memory (PyGithub: 15 MB).

    Raises nothing; what is left out is logged as an error.
    """
    found: dict[str, type[Notifier]] = {}
    entries = [entry for entry in importlib.metadata.entry_points(group=GROUP) if only is None or entry.name in only]
    for entry in sorted(entries, key=lambda entry: (not entry.value.startswith(_OURS), entry.name, entry.value)):
        package = entry.dist.name if entry.dist is not None else "an unknown package"
        try:
            loaded = entry.load()
        except Exception as error:  # a stranger's code may raise anything
            log.error("notifier %s of %s cannot be loaded: %s: %s", entry.name, package, type(error).__name__, error)
            continue
        if (why := _unusable(entry.name, loaded, found)) is not None:
            log.error("notifier %s of %s is left out: %s", entry.name, package, why)
        else:
            found[entry.name] = loaded
    return found


def _unusable(name: str, loaded: object, found: dict[str, type[Notifier]]) -> str | None:
    if not (isinstance(loaded, type) and issubclass(loaded, Notifier)):
        return f"{loaded!r} is not a class derived from notifiers.base.Notifier"
    if inspect.isabstract(loaded):
        return f"{loaded.__name__} lacks {', '.join(sorted(loaded.__abstractmethods__))}"
    kind = getattr(loaded, "kind", None)
    if kind != name:
        return f"{loaded.__name__}.kind is {kind!r}, the entry point's name must be the same"
    other = found.get(name)
    if other is not None and other is not loaded:
        return f"there is already {other.__module__}.{other.__qualname__} of that kind"
    return None
