"""What containers print, and the log endpoint's answers while they wait, print, end and are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from listener.demo.kubernetes.statuses import bad_request
from listener.demo.kubernetes.store import Json, Name, Store


@dataclass(slots=True)
class _Log:
    """One container's log."""

    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    finished: bool = False
    listeners: set[asyncio.Event] = field(default_factory=set)

    def tell(self) -> None:
        for listener in self.listeners:
            listener.set()


class PodLogs:
    """All logs there are, by pod and container."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logs: dict[tuple[str, str, str], _Log] = {}
        self.cut = asyncio.Event()  #: set by ``cut_follows``
        self.following: dict[tuple[str, str, str], int] = {}  #: open follows

    def _log(self, namespace: str, pod: str, container: str) -> _Log:
        return self._logs.setdefault((namespace, pod, container), _Log())

    def append(self, namespace: str, pod: str, container: str, data: bytes, *, at: float | None = None) -> None:
        """The container prints ``data``."""
        log = self._log(namespace, pod, container)
        log.chunks.append((time.time() if at is None else at, data))
        log.tell()

    def finish(self, namespace: str, pod: str, container: str) -> None:
        """The container has ended; follows end."""
        log = self._log(namespace, pod, container)
        log.finished = True
        log.tell()

    def cut_follows(self) -> None:
        """Break every open follow: to the client it looks like a clean end."""
        self.cut.set()
        self.cut = asyncio.Event()

    def check(self, namespace: str, pod: str, query: dict[str, str]) -> tuple[str, bool]:
        """The container asked for, and whether it has begun. Raises ``StatusError`` as the real one answers."""
        body = self._store.get("pods", namespace, pod).object
        spec = body.get("spec", {})
        known = [c["name"] for key in ("initContainers", "containers") for c in spec.get(key) or ()]
        container = query.get("container") or (known[0] if len(known) == 1 else "")
        if not container:
            choose = " ".join(known)
            raise bad_request(f"a container name must be specified for pod {pod}, choose one of: [{choose}]")
        if container not in known:
            raise bad_request(f"container {container} is not valid for pod {pod}")
        if query.get("previous") == "true":
            raise bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')
        state = _state(body, container)
        if not spec.get("nodeName") and not state:
            return container, False
        if "running" not in state and "terminated" not in state:
            reason = (state.get("waiting") or {}).get("reason", "PodInitializing")
            raise bad_request(f'container "{container}" in pod "{pod}" is waiting to start: {reason}')
        return container, True

    async def read(self, name: Name, container: str, *, follow: bool, cut_after: int | None) -> AsyncIterator[bytes]:
        """What was printed, and with ``follow`` what will be until the container ends or its pod goes."""
        log = self._log(*name, container)
        key = (*name, container)
        self.following[key] = self.following.get(key, 0) + 1
        sent, at, cut = 0, 0, self.cut
        pods, changed = self._store.shelf("pods"), asyncio.Event()
        pods.listeners.add(changed)
        log.listeners.add(changed)
        try:
            while True:
                changed.clear()
                while at < len(log.chunks):
                    data = log.chunks[at][1]
                    at += 1
                    if cut_after is not None and sent + len(data) >= cut_after:
                        yield data[: cut_after - sent]
                        return
                    sent += len(data)
                    yield data
                if not follow or log.finished or cut.is_set() or self._silently_over(name, container, log):
                    return
                await _either(changed, cut)
        finally:
            pods.listeners.discard(changed)
            log.listeners.discard(changed)
            self.following[key] -= 1

    def _silently_over(self, name: Name, container: str, log: _Log) -> bool:
        """The pod is gone, or a container that nobody gave a log to has ended."""
        pod = self._store.shelf("pods").objects.get(name)
        return pod is None or (not log.chunks and "terminated" in _state(pod.object, container))

    def text(self, name: Name, container: str, query: dict[str, str]) -> bytes:
        """The log so far with ``timestamps``, ``tailLines``, ``sinceSeconds``, ``sinceTime`` and ``limitBytes``."""
        since = 0.0
        if "sinceSeconds" in query:
            since = time.time() - float(query["sinceSeconds"])
        if "sinceTime" in query:
            since = datetime.fromisoformat(query["sinceTime"]).timestamp()
        lines: list[bytes] = []
        for at, data in self._log(*name, container).chunks:
            if at < since:
                continue
            stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()
            printed = data.splitlines(keepends=True)
            lines += [stamp + line for line in printed] if query.get("timestamps") == "true" else printed
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :] if int(query["tailLines"]) else []
        text = b"".join(lines)
        return text[: int(query["limitBytes"])] if "limitBytes" in query else text


async def _either(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _state(body: Json, container: str) -> dict[str, Any]:
    status = body.get("status", {})
    for key in ("initContainerStatuses", "containerStatuses"):
        for entry in status.get(key) or ():
            if entry["name"] == container:
                return dict(entry.get("state") or {})
    return {}


def plain(text: bytes) -> web.Response:
    """A whole log as an answer."""
    return web.Response(body=text, headers={"Content-Type": "text/plain"})
