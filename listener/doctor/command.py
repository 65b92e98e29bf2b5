"""``tekton-listener doctor``: everything that the service needs from the outside, asked for at once, one line each.

Reads only, but for one small object in the archive, which it deletes again. Every question has a time limit, so that what is dead hides nothing
else. No line holds a secret.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from listener.assembly import Settings, receivers_of
from listener.config import ConfigError, Loaded, auth_from_environment, load
from listener.config_problems import Problem
from listener.doctor.cluster import examine_cluster
from listener.doctor.findings import OK, PROBLEM, UNKNOWN, WARNING, Found, as_json, is_well, lines, one, summary
from listener.doctor.hosts import examine_host
from listener.doctor.places import examine_archive, examine_disk, examine_public_url
from notifiers.base import Finding
from notifiers.registry import discover, known_kinds

WELL, ILL, BAD_CONFIG = 0, 1, 2


async def examine(path: Path, env: Mapping[str, str], *, json: bool, say: Callable[[str], None]) -> int:
    """Look at everything; the exit code: 0 all well, 1 a problem was found, 2 the configuration is wrong."""
    try:
        loaded, user = load(path, known_kinds=known_kinds(), env=env), auth_from_environment(env)
        if user is None and not loaded.config.users:
            hint = "add users: to the file, or set AUTH_USERNAME and AUTH_PASSWORD"
            raise ConfigError([Problem(str(path), None, "users", "nobody may log in", hint)])
    except ConfigError as error:
        wrong = [one(p.field or "file", PROBLEM, _without_field(p), p.hint) for p in error.problems]
        _tell([Found("configuration", wrong)], json=json, say=say)
        return BAD_CONFIG
    kinds = discover(only={receiver.kind for receiver in receivers_of(loaded.config).values()})
    settings = Settings(
        config=loaded.config, folder=path.parent, kinds=kinds, env=env, environment_user=user, path=path
    )
    everything = [_configuration(loaded)]
    if not json:
        _say(everything[0], say)
    tasks = [asyncio.create_task(_found(area, work)) for area, work in _areas(settings)]
    for task in tasks:
        everything.append(await task)
        if not json:
            _say(everything[-1], say)
    say(as_json(everything) if json else summary(everything))
    return WELL if is_well(everything) else ILL


def _areas(settings: Settings) -> list[tuple[str, Awaitable[list[Finding]]]]:
    hosts = [(f"host {name}", examine_host(name, settings)) for name in settings.config.hosts]
    hosts += [(f"channel {name}", examine_host(name, settings)) for name in settings.config.channels]
    return [
        ("cluster", examine_cluster(settings.config, settings.env)),
        *hosts,
        ("archive", examine_archive(settings)),
        ("disk", examine_disk(settings)),
        ("public_url", examine_public_url(settings.config.public_url)),
    ]


async def _found(area: str, work: Awaitable[list[Finding]]) -> Found:
    try:
        return Found(area, await work)
    except Exception as error:  # a defect in one check must not hide the others
        return Found(area, [one("check", UNKNOWN, f"it failed ({type(error).__name__}), please report this")])


def _configuration(loaded: Loaded) -> Found:
    config = loaded.config
    said = f"{loaded.path}: {len(config.hosts)} hosts, {len(config.services)} services, no errors"
    warnings = [one(p.field or "file", WARNING, _without_field(p), p.hint) for p in loaded.warnings]
    return Found("configuration", [one("file", OK, said), *warnings])


def _without_field(problem: Problem) -> str:
    return str(dataclasses.replace(problem, field="", hint=""))


def _tell(everything: list[Found], *, json: bool, say: Callable[[str], None]) -> None:
    if json:
        say(as_json(everything))
        return
    for found in everything:
        _say(found, say)
    say(summary(everything))


def _say(found: Found, say: Callable[[str], None]) -> None:
    for line in lines(found):
        say(line)
