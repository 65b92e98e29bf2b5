"""Each Git host and channel: does it answer, does it take the token, does it show us the repositories that the configuration names?

The notifiers know their hosts (``Notifier.examine``). A host that does not answer costs its own time and nobody else's.
"""

from __future__ import annotations

import asyncio
from typing import Final

from listener.assembly import Settings, StartError, build_notifier, receivers_of
from listener.config import Config
from listener.doctor.findings import PROBLEM, UNKNOWN, one
from notifiers.base import Finding, Notifier, NotifierError
from notifiers.reports import CheckRun, Comment, CommitStatus, Deployment, Labels

_QUESTION: Final = 10.0  # seconds for one question; a notifier's whole request takes three of its timeouts at most
_HOST: Final = 60.0  # seconds for all questions to a host
_THREADS: Final = 4


def repositories_of(config: Config, host: str) -> list[str]:
    """The paths on ``host`` that services name as they are, without ``$(…)``."""
    named = [text for service in config.services for text in (*service.repository, *service.fallback_repository)]
    paths = [path for name, _, path in (text.partition(":") for text in named) if name == host]
    return list(dict.fromkeys(path for path in paths if "$(" not in path))


def reports_of(config: Config, host: str) -> frozenset[type[CommitStatus]]:
    """What services would send to ``host``."""
    found: set[type[CommitStatus]] = set()
    for service in config.services:
        if not any(text.startswith(f"{host}:") for text in (*service.repository, *service.fallback_repository)):
            continue
        app = config.hosts[host].app_id is not None
        found.add(CheckRun if "checks" in service.report and app else CommitStatus)
        wanted = {Comment: service.comment, Labels: service.labels, Deployment: service.environment}
        found.update(report for report, setting in wanted.items() if setting)
    return frozenset(found)


async def examine_host(name: str, settings: Settings) -> list[Finding]:
    """All there is to say of one entry of ``hosts:`` or ``channels:``. Raises nothing."""
    entry = receivers_of(settings.config)[name]
    quick = {"timeout": min(entry.timeout, _QUESTION / 3), "threads": max(entry.threads, _THREADS)}
    try:
        notifier = build_notifier(name, entry.model_copy(update=quick), settings)
    except StartError as error:
        return [one("token", PROBLEM, str(error))]
    try:
        reports = reports_of(settings.config, name) if name in settings.config.hosts else frozenset()
        return await _examine(notifier, repositories_of(settings.config, name), reports)
    finally:
        await notifier.close()


async def _examine(
    notifier: Notifier, repositories: list[str], reports: frozenset[type[CommitStatus]]
) -> list[Finding]:
    found, good = [], []
    for path in repositories:
        if (why := notifier.check_repository(path)) is not None:
            found.append(one(f"repository {path}", PROBLEM, why, "correct it in services:"))
        else:
            good.append(path)
    try:
        async with asyncio.timeout(_HOST):
            told = list(await notifier.examine(good, reports=reports & notifier.reports))
    except TimeoutError:
        told = [one("reachable", UNKNOWN, f"not everything could be asked within {_HOST:g} s")]
    except NotifierError as error:
        told = [one("reachable", UNKNOWN, str(error))]
    except Exception as error:  # a plug-in's defect must not hide the other hosts; its text must not be trusted
        told = [one("reachable", UNKNOWN, f"the notifier {notifier.kind} failed ({type(error).__name__})")]
    return [
        *(
            told
            or [one("reachable", UNKNOWN, f"its settings can be used; the notifier {notifier.kind} cannot tell more")]
        ),
        *found,
    ]
