"""Plays a recording of a real cluster: the recorded watch events and log chunks, in the order etcd had them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from listener.demo.kubernetes.api import KubernetesApi

_LOG_PATH: Final = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/log")
_WATCHED: Final = ("pipelineruns", "taskruns", "pods")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens."""

    at: float  #: seconds from the recording's start
    what: str  #: a resource's name, or ``log`` or ``log-end``
    name: str  #: of the object; ``pod/container`` of a log
    apply: Callable[[KubernetesApi], None]
    event: dict[str, object] | None = None  #: the recorded watch event
    data: bytes = b""  #: what was printed, of ``log``


def load(folder: Path) -> list[Step]:
    """All steps of the recording in ``folder``, in order."""
    steps: list[tuple[float, int, Step]] = []
    last = 0.0
    events = sorted((e for r in _WATCHED for e in _events(folder, r)), key=lambda entry: entry[0])
    for version, at, resource, event in events:
        last = max(last, at)  # versions are the truth; the three watches did not report at the same pace
        steps.append((last, version, _change(last, resource, event)))
    for line in (folder / "logs.jsonl").read_text().splitlines():
        steps.extend((step.at, 1_000_000_000, step) for step in _log_steps(folder, json.loads(line)))
    return [step for _, _, step in sorted(steps, key=lambda entry: entry[:2])]


def _events(folder: Path, resource: str) -> list[tuple[int, float, str, dict[str, object]]]:
    found = []
    for line in (folder / f"watch-{resource}.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["event"]["type"] != "BOOKMARK":
            version = int(entry["event"]["object"]["metadata"]["resourceVersion"])
            found.append((version, float(entry["t"]), resource, entry["event"]))
    return found


def _change(at: float, resource: str, event: dict[str, object]) -> Step:
    body = event["object"]
    assert isinstance(body, dict)  # noqa: S101 - a recording that is none is a defect here
    kind = str(event["type"])
    return Step(at, resource, body["metadata"]["name"], lambda c: c.store.replay(resource, kind, body), event)


def _log_steps(folder: Path, entry: dict[str, object]) -> list[Step]:
    url = urlsplit(str(entry["request"]).removeprefix("GET "))
    match = _LOG_PATH.fullmatch(url.path)
    if entry["status"] != 200 or match is None:
        return []
    namespace, pod = match.groups()
    container = parse_qs(url.query)["container"][0]
    name = f"{pod}/{container}"
    steps, at = [], 0
    chunks = entry["chunks"] or []
    assert isinstance(chunks, list)  # noqa: S101 - as above
    text = (folder / str(entry["file"])).read_bytes() if entry["file"] and chunks else b""
    # A container that was asked for again repeats its log: the file holds all answers, one after the other.
    for moment, size in chunks:
        piece, at = text[at : at + size], at + size
        steps.append(
            Step(float(moment), "log", name, lambda c, p=piece: c.logs.append(namespace, pod, container, p), data=piece)  # type: ignore[misc]  # mypy cannot type a lambda's default
        )
    end = float(entry["end"])  # type: ignore[arg-type]  # JSON
    steps.append(Step(end, "log-end", name, lambda c: c.logs.finish(namespace, pod, container)))
    return steps


async def replay(
    cluster: KubernetesApi,
    steps: list[Step],
    *,
    speed: float | None = None,
    after: Callable[[Step], Awaitable[None]] | None = None,
) -> None:
    """Apply ``steps``: ``speed`` times as fast as they were recorded, or at once with None; ``after`` is awaited after each."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for step in steps:
        if speed is not None and (pause := began + step.at / speed - loop.time()) > 0:
            await asyncio.sleep(pause)
        step.apply(cluster)
        await (after(step) if after is not None else asyncio.sleep(0))
