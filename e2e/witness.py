"""The witness: follows every container's log by itself, so that what the listener shows can be held against it, byte for byte.

It asks the API's log endpoint with ``follow=true`` from the moment it sees the pod, and again once a second and whenever the pod changes
until the container prints. A log is whole
when the endpoint ended it and the container had ended by then; it is asked for again, from its beginning, where the stream broke
before. Of a pod that was deleted before it could be followed, or in the middle, the witness has a part, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from e2e.api import Api, Json
from e2e.mirror import Mirror

_AGAIN: Final = 1.0  # seconds between two tries
_SILENCE: Final = 900.0  # seconds that a follow may be silent
_SILENT: Final = 3.0  # the same, once the run is over
_HIDDEN: Final = "sidecar-tekton-log-results"


@dataclass(slots=True)
class Seen:
    """One container's log."""

    run: str
    task: str  #: the TaskRun's name without the run's: tells a matrix's tasks apart
    step: str  #: as the listener names it: ``NAME`` of a step, ``sidecar-NAME``
    pod: str
    created: str  #: of the pod
    data: bytes = b""
    whole: bool = False
    answers: list[int] = field(default_factory=list)  #: the statuses that the endpoint gave


class Witness:
    """All containers of all pods that show up in ``pods``. Its tasks end with ``close``."""

    def __init__(self, api: Api, pods: Mirror, namespace: str) -> None:
        self._api, self._pods, self._namespace = api, pods, namespace
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._moved: dict[str, asyncio.Event] = {}  # by pod's UID
        self.seen: dict[tuple[str, str], Seen] = {}
        pods.listeners.append(self._look)

    def of(self, run: str) -> dict[tuple[str, str], list[Seen]]:
        """By task and step; the attempts of a retried task in their order."""
        found: dict[tuple[str, str], list[Seen]] = {}
        for one in sorted(self.seen.values(), key=lambda one: (one.created, one.pod)):
            if one.run == run:
                found.setdefault((one.task, one.step), []).append(one)
        return found

    async def settled(self, run: str, *, timeout: float) -> None:
        """Wait until the logs of a run that is over are read; what is not read by then stays a part.

        A step that waits for one that was killed waits for ever, and its container with it: what stays silent is given up.
        """
        keys = [key for key, seen in self.seen.items() if seen.run == run]
        size = -1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while waiting := [self._tasks[key] for key in keys if not self._tasks[key].done()]:
                    before, size = size, sum(len(self.seen[key].data) for key in keys)
                    if size == before:
                        return
                    await asyncio.wait(waiting, timeout=_SILENT)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _look(self, pod: Json) -> None:
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        run, task_run = labels.get("tekton.dev/pipelineRun"), labels.get("tekton.dev/taskRun", "")
        if not run:
            return
        self._moved.setdefault(str(meta["uid"]), asyncio.Event()).set()
        for container in pod["spec"].get("containers") or ():
            name, key = str(container["name"]), (str(meta["uid"]), str(container["name"]))
            if key in self.seen or name == _HIDDEN or not name.startswith(("step-", "sidecar-")):
                continue
            self.seen[key] = Seen(
                run=run,
                task=task_run.removeprefix(f"{run}-"),
                step=name.removeprefix("step-"),
                pod=str(meta["name"]),
                created=str(meta["creationTimestamp"]),
            )
            self._tasks[key] = asyncio.create_task(self._follow(self.seen[key], name, uid=key[0]))

    async def _follow(self, seen: Seen, container: str, *, uid: str) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{seen.pod}/log"
        params = {"container": container, "follow": "true"}
        moved = self._moved[uid]
        while True:
            moved.clear()
            data = b""
            try:
                async with self._api.stream(path, params=params, silence=_SILENCE) as response:
                    seen.answers.append(response.status)
                    if response.status == 200:
                        async for chunk in response.content.iter_any():
                            data += chunk
                            seen.data = max(seen.data, data, key=len)
            except (aiohttp.ClientError, OSError, TimeoutError):
                response = None
            pod = self._pods.objects.get(seen.pod)
            there = pod is not None and pod["metadata"]["uid"] == uid
            ended = there and _ended(pod or {}, container)
            if response is not None and response.status == 200 and ended:
                seen.data, seen.whole = data, not data.startswith(b"unable to retrieve container logs")
                return
            if not there or (ended and response is not None and response.status in (400, 404)):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN):
                    await moved.wait()


def _ended(pod: Json, container: str) -> bool:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status["name"] == container:
            return "terminated" in (status.get("state") or {})
    return False
