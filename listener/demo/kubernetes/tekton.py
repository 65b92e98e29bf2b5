"""Tekton in memory: whoever creates a PipelineRun that was recorded once gets that recording, as his run.

A run is known by its ``spec.pipelineSpec`` (whatever image it names), and plays under its own name, in its own namespace, with its own times:
TaskRuns, pods and logs appear as they did on the real cluster, ``speed`` times as fast. Where the recorded run was cancelled or
released by somebody, the play waits for somebody to do it. Beside that: what a run owned is deleted with it, and a new namespace gets its
``default`` service account. Metadata that others write on the run (annotations, finalizers) stays. A run that nobody recorded stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.replay import Step, load
from listener.demo.kubernetes.statuses import StatusError
from listener.demo.kubernetes.store import Json, Name

_TIME: Final = re.compile(r"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")
_TKN: Final = re.compile(rb"\[(\S+) : (\S+)\] (.*\n)")
_UID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class _Recording:
    """One recorded run."""

    name: str
    namespace: str
    steps: tuple[Step, ...]
    created: datetime


class RecordedTekton:
    """The controllers of a cluster. ``async with RecordedTekton(cluster, folder)`` runs them."""

    def __init__(
        self, cluster: KubernetesApi, folder: Path, *, speed: float = 1.0, steps: list[Step] | None = None
    ) -> None:
        """``folder`` holds a recording and its ``runs.yaml``; ``steps``: what to play instead of what was recorded there."""
        self._cluster, self._speed = cluster, speed
        self._recordings = _by_pipeline(folder, load(folder) if steps is None else steps)
        self._plays: dict[Name, asyncio.Task[None]] = {}
        self._owned: dict[Name, list[tuple[str, Name]]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RecordedTekton:
        self._watching = asyncio.create_task(self._run(self._cluster.store.version))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._watching, *self._plays.values()) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, position: int) -> None:
        store, changed = self._cluster.store, asyncio.Event()
        shelves = [store.shelf(resource) for resource in ("pipelineruns", "namespaces")]
        for shelf in shelves:
            shelf.listeners.add(changed)
        while True:
            for event in store.since("namespaces", position):
                if event.type == "ADDED":
                    account = {"metadata": {"name": "default", "namespace": event.name[1]}}
                    self._cluster.create("serviceaccounts", account)
            for event in list(store.since("pipelineruns", position)):
                if event.type == "ADDED":
                    self._start(event.name)
                elif event.type == "DELETED":
                    self._collect(event.name)
            position = store.version
            changed.clear()
            await changed.wait()

    def _start(self, name: Name) -> None:
        stored = self._cluster.store.shelf("pipelineruns").objects.get(name)
        recording = self._recordings.get(_fingerprint(stored.object)) if stored is not None else None
        if stored is not None and recording is not None:
            self._plays[name] = asyncio.create_task(self._play_while_it_is_there(name, recording, stored.object))

    def _collect(self, name: Name) -> None:
        """What the run owned goes with it."""
        if (play := self._plays.pop(name, None)) is not None:
            play.cancel()
        for resource, owned in self._owned.pop(name, ()):
            with contextlib.suppress(StatusError):
                self._cluster.delete(resource, *owned)

    async def _play_while_it_is_there(self, name: Name, recording: _Recording, run: Json) -> None:
        with contextlib.suppress(StatusError):  # deleted in the middle
            await self._play(name, recording, run)

    async def _play(self, name: Name, recording: _Recording, run: Json) -> None:
        loop = asyncio.get_running_loop()
        retold = _Retelling(recording, run, speed=self._speed)
        base = loop.time() - recording.steps[0].at / self._speed
        for step in recording.steps:
            await asyncio.sleep(max(0.0, base + step.at / self._speed - loop.time()))
            waited = await self._until_told(name, step)
            base += waited
            retold.pause(waited)
            self._apply(name, step, retold)

    async def _until_told(self, name: Name, step: Step) -> float:
        """Wait until the run's ``spec.status`` is what it was when this happened; gives the seconds."""
        if step.what != "pipelineruns" or step.event is None:
            return 0.0
        wanted = _object(step)["spec"].get("status") or ""
        loop, shelf, changed = asyncio.get_running_loop(), self._cluster.store.shelf("pipelineruns"), asyncio.Event()
        began = loop.time()
        shelf.listeners.add(changed)
        try:
            while (self._cluster.get("pipelineruns", *name)["spec"].get("status") or "") != wanted:
                changed.clear()
                await changed.wait()
        finally:
            shelf.listeners.discard(changed)
        return loop.time() - began

    def _apply(self, name: Name, step: Step, retold: _Retelling) -> None:
        if step.what in ("log", "log-end"):
            pod, _, container = retold.text(step.name).partition("/")
            if step.what == "log":
                self._cluster.logs.append(name[0], pod, container, step.data)
            else:
                self._cluster.logs.finish(name[0], pod, container)
            return
        body: Json = json.loads(retold.text(json.dumps(_object(step))))
        if step.what == "pipelineruns":
            self._update(name, body)
            return
        kind = str(step.event["type"]) if step.event is not None else ""
        if kind == "ADDED":
            self._owned.setdefault(name, []).append((step.what, (name[0], body["metadata"]["name"])))
        body["metadata"]["resourceVersion"] = "0"
        self._cluster.store.replay(step.what, kind, body)

    def _update(self, name: Name, body: Json) -> None:
        """What the controller wrote on the run: its status, and labels of its own."""
        current = self._cluster.get("pipelineruns", *name)
        if not body.get("status") or current["metadata"].get("deletionTimestamp"):
            return
        labels = {**(current["metadata"].get("labels") or {}), **(body["metadata"].get("labels") or {})}
        patch = {"metadata": {"labels": labels}, "status": body["status"]}
        self._cluster.store.merge_patch("pipelineruns", *name, patch, manager="controller")


class _Retelling:
    """The recording's names, identifiers and times, turned into those of the run that plays now."""

    def __init__(self, recording: _Recording, run: Json, *, speed: float) -> None:
        meta = run["metadata"]
        recorded = _object(recording.steps[0])["metadata"]
        self._recording, self._speed = recording, speed
        self._names = re.compile(
            rf"{re.escape(recording.name)}|\"{re.escape(recording.namespace)}\"|\b{re.escape(recording.namespace)}/"
        )
        self._new = {
            recording.name: meta["name"],
            f'"{recording.namespace}"': json.dumps(meta["namespace"]),
            f"{recording.namespace}/": f"{meta['namespace']}/",
        }
        self._uids: dict[str, str] = {recorded["uid"]: meta["uid"]}
        self._began = datetime.now(UTC)

    def pause(self, seconds: float) -> None:
        """Somebody was waited for."""
        self._began += timedelta(seconds=seconds)

    def text(self, text: str) -> str:
        text = self._names.sub(lambda match: self._new[match[0]], text)
        text = _UID.sub(lambda match: self._uids.setdefault(match[0], str(uuid.uuid4())), text)
        return _TIME.sub(self._time, text)

    def _time(self, match: re.Match[str]) -> str:
        recorded = datetime.fromisoformat(f"{match[1]}+00:00")
        moment = self._began + (recorded - self._recording.created) / self._speed
        return moment.strftime(f"%Y-%m-%dT%H:%M:%S{match[2] or ''}Z")


def _by_pipeline(folder: Path, steps: list[Step]) -> dict[str, _Recording]:
    found = {}
    for run in yaml.safe_load_all((folder / "runs.yaml").read_text()):
        name = run["metadata"]["name"]
        its = tuple(step for step in steps if step.name == name or step.name.startswith(f"{name}-"))
        if its:
            created = datetime.fromisoformat(_object(its[0])["metadata"]["creationTimestamp"])
            its = _with_what_tkn_saw(folder, name, its)
            found[_fingerprint(run)] = _Recording(name, run["metadata"]["namespace"], its, created)
    return found


def _with_what_tkn_saw(folder: Path, name: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """A container whose log the recording came too late for, and tkn did not: it prints when its end was seen."""
    printed = {step.name for step in steps if step.what == "log"}
    missing: dict[str, bytes] = {}
    path = folder / "tkn" / f"{name}.logs.txt"
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        if match := _TKN.fullmatch(line):
            container = f"{name}-{match[1].decode()}-pod/step-{match[2].decode()}"
            missing[container] = missing.get(container, b"") + match[3]
    found = []
    for step in steps:
        if step.what == "pods":
            for status in _object(step).get("status", {}).get("containerStatuses") or ():
                container = f"{step.name}/{status['name']}"
                if "terminated" in (status.get("state") or {}) and container not in printed and container in missing:
                    data = missing.pop(container)
                    found.append(Step(step.at, "log", container, lambda _: None, data=data))
                    found.append(Step(step.at, "log-end", container, lambda _: None))
        found.append(step)
    return tuple(found)


def _object(step: Step) -> dict[str, Any]:
    body = (step.event or {})["object"]
    assert isinstance(body, dict)  # noqa: S101 - a recording that is none is a defect here
    return body


def _fingerprint(run: Json) -> str:
    """What tells one pipeline from another: everything but where its images are and when they are pulled."""
    text = json.dumps(run.get("spec", {}).get("pipelineSpec"), sort_keys=True)
    return re.sub(r'"(image|imagePullPolicy)": "[^"]*"', "", text)
