"""``tekton-listener check-config``: is the file right, and what would become of this run?

Prints every problem of the configuration at once, each with line and field. Given a PipelineRun, says which service claims it, which
repository and commit it leads to and what the commit would say; or, service by service, why none does. Asks no cluster and no host.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from listener.cluster.decode import decode_pipeline_run
from listener.cluster.objects import MalformedError, PipelineRun
from listener.cluster.outcome import outcome, sentence
from listener.config import Config, ConfigError, auth_from_environment, load
from listener.reporting.aspects import REPORTS
from listener.reporting.ledger import CHECK, STATUS
from listener.reporting.routing import Router, Unroutable
from listener.reporting.target import Target
from notifiers.base import HostSettings, Notifier
from notifiers.registry import discover

_MAX_RUN_FILE = 8 * 1024 * 1024


class _RunFileError(Exception):
    pass


def check(path: Path, *, run: Path | None, check_files: bool, env: Mapping[str, str]) -> int:
    """Check ``path``, explain ``run``; the exit code: 0 fine, 1 the run leads nowhere, 2 something is wrong with a file."""
    kinds = discover()
    problems: list[str] = []
    loaded = None
    try:
        loaded = load(path, known_kinds=kinds, env=env, check_files=check_files)
        auth_from_environment(env)
    except ConfigError as error:
        problems = str(error).splitlines()
    if loaded is None or problems:
        for line in problems:
            print(line)
        return 2
    for problem in loaded.warnings:
        print(f"warning: {problem}")
    print(
        f"{path}: {_count(len(loaded.config.hosts), 'host')}, {_count(len(loaded.config.services), 'service')}, no errors"
    )
    if run is None:
        return 0
    try:
        pipeline_run = read_run(run)
    except _RunFileError as error:
        print(f"{run}: {error}", file=sys.stderr)
        return 2
    try:
        lines, leads = explain(loaded.config, pipeline_run, kinds)
    except ValueError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0 if leads else 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def read_run(path: Path) -> PipelineRun:
    """A PipelineRun from YAML or JSON. Raises ``_RunFileError`` with what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _RunFileError("no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _RunFileError(f"cannot be read: {error}") from None
    if len(text) > _MAX_RUN_FILE:
        raise _RunFileError("longer than 8 MiB; that is no PipelineRun")
    try:
        documents = [document for document in yaml.load_all(text, Loader=_TextDates) if document is not None]
    except yaml.YAMLError as error:
        raise _RunFileError(f"not YAML: {' '.join(str(error).split())}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise _RunFileError(f"holds {len(documents)} documents; give one PipelineRun")
    document: dict[str, Any] = documents[0]
    if document.get("kind") != "PipelineRun":
        raise _RunFileError(f"kind is {document.get('kind')!r}; give a PipelineRun")
    metadata = document.setdefault("metadata", {})
    if isinstance(metadata, dict):
        metadata.setdefault("namespace", "default")
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = f"{metadata['generateName']}xxxxx"
    try:
        return decode_pipeline_run(json.dumps(document, default=str).encode())
    except MalformedError as error:
        raise _RunFileError(f"not a PipelineRun as Tekton has them: {error}") from None


class _TextDates(yaml.SafeLoader):
    """Times stay text, as the API server sends them."""


_TextDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def explain(config: Config, run: PipelineRun, kinds: Mapping[str, type[Notifier]]) -> tuple[list[str], bool]:
    """What would become of ``run``, in lines to print, and whether it leads to a commit."""
    notifiers = _offline_notifiers(config, kinds)
    routed = Router(config, notifiers).route(run)
    head = f"PipelineRun {run.key} (pipeline {run.pipeline})"
    if isinstance(routed, Unroutable):
        return [f"{head}: service {routed.service} claims it, but nothing would be posted", f"  {routed.reason}"], False
    if not routed:
        lines = [f"{head}: no service claims it; nothing would be posted"]
        for service in config.services:
            wants = [f"namespace {service.runs.namespace}", f"name {service.runs.name}"]
            wants += [f"label {key}={value}" for key, value in service.runs.labels.items()]
            lines.append(f"  {service.name} wants {', '.join(wants)}")
        return lines, False
    what = outcome(run)
    lines = [head]
    page = f"{config.public_url}/runs/{run.namespace}/{run.name}"
    for target in routed:
        signed = ", signed when it is posted" if config.links == "signed" and target.url == page else ""
        if target.aspect not in (STATUS, CHECK):
            lines.append(f"  also        {_also(target)}")
            continue
        state = notifiers[target.host].word(REPORTS[target.aspect], what)
        lines += [
            f"  service     {target.service}",
            f"  repository  {target.repository} on {target.host}",
            *_fallback(target),
            f"  commit      {target.sha} ({target.commit_from})",
            f"  context     {target.context}",
            f"  {'check run' if target.aspect == CHECK else 'state':<11} {state}: {sentence(run)}",
            f"  link        {target.url or 'none (public_url is not set)'}{signed}",
        ]
        if target.policy.tasks:
            lines.append(f"  tasks       one status for each, {target.context}/TASK")
        if target.ref:
            lines.append(f"  ref         {target.ref}")
    return lines, True


def _also(target: Target) -> str:
    """What is told beside the status, to whom and when."""
    policy = target.policy
    match target.aspect:
        case "comment":
            return f"comment on its merge or pull request in {target.repository}, {policy.comment}"
        case "labels":
            names = ", ".join(f"{label} ({state})" for state, label in policy.labels.items())
            return f"labels on its merge or pull request in {target.repository}: {names}"
        case "deployment":
            return f"deployment to {target.place} in {target.repository}"
        case _:
            events = ", ".join(sorted({event for rule in policy.rules[target.host] for event in rule.on}))
            return f"message to {target.host}, on {events}"


def _fallback(target: Target) -> list[str]:
    if target.fallback is not None:
        return [f"  fallback    {target.fallback.repository} on {target.host}, where the first one answers 403 or 404"]
    return [f"  fallback    none: {target.no_fallback}"] if target.no_fallback else []


def _offline_notifiers(config: Config, kinds: Mapping[str, type[Notifier]]) -> dict[str, Notifier]:
    """Notifiers for what they know without their host: words and paths. They get no token and make no request."""
    return {
        name: kinds[host.kind](HostSettings(name=name, url=host.url, token="unused", threads=1))  # noqa: S106 - none is needed
        for name, host in config.hosts.items()
    }
