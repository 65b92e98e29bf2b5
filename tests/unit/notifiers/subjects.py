"""All subjects of the contract suite, found: ``SUBJECT`` or ``SUBJECTS`` of every test file in here.

A test file that has one must not import this module or ``conftest``, which is why their helpers are in ``scene`` and ``subject``.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Final

from tests.unit.notifiers.subject import Subject

_HAS_ONE: Final = re.compile(r"^SUBJECTS?\b", re.MULTILINE)  # the others are not imported for it


def _found() -> list[Subject]:
    found: list[Subject] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if _HAS_ONE.search(path.read_text()):
            module = importlib.import_module(f"{__package__}.{path.stem}")
            found += [module.SUBJECT] if hasattr(module, "SUBJECT") else module.SUBJECTS
    return found


SUBJECTS: Final = _found()
STATUSES: Final = [subject for subject in SUBJECTS if subject.is_status]
KINDS: Final = [subject for subject in STATUSES if not subject.app]  #: of Git hosts, each once


def _senders() -> list[Subject]:
    """The first of each class that defines ``deliver``: what all kinds on one of them share is tried once."""
    firsts: dict[type, Subject] = {}
    for kind in KINDS:
        owner = next(part for part in kind.notifier.__mro__ if "deliver" in vars(part))
        firsts.setdefault(owner, kind)
    return list(firsts.values())


SENDERS: Final = _senders()
