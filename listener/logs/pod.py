"""Records one pod: the steps of one attempt of one task, in their order, sidecars beside them, init containers where they failed.

Tekton starts all containers of a pod at once and lets each step wait for the one before. All are followed from the moment they can be, for a
cancelled or timed-out pod is deleted with its logs; a step's bytes wait in a short queue until its turn has come. When the task is
over and a step stays silent, it is given up: Tekton ends a task whose later steps still wait to skip themselves.

What prints nothing gets a line of our own: a lost log, a step that exited with an error, an image that cannot be pulled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Protocol

from listener.cluster.client import Cluster
from listener.cluster.names import Key
from listener.cluster.objects import Attempt, ContainerState, Pod, StepState
from listener.cluster.outcome import image_trouble, step_at_fault
from listener.logs.follow import Phase, UnavailableError, follow
from listener.logs.spool import Source, Spool

_AHEAD: Final = 2  # chunks read ahead of a step whose turn has not come
_SILENCE: Final = 10.0  # seconds without a byte after which a step of a task that is over is given up
_SHORT_SILENCE: Final = 1.0  # the same for a step that has nothing to say, for it never ran
_SIDECAR_GRACE: Final = 1.0  # seconds that sidecars may still print once their task is over
_PATIENCE: Final = 30.0  # seconds between two looks when nothing seems to change
_HIDDEN: Final = "sidecar-tekton-log-results"
_FROM_OUTSIDE: Final = frozenset({"TaskRunCancelled", "Cancelled", "TaskRunTimeout"})


class Surroundings(Protocol):
    """What a pod's recorder is told of the run around it, always as it is now."""

    def pod(self, name: str) -> Pod | None:
        """The pod, or None while or when it is not there."""

    def pod_was_there(self, name: str) -> bool: ...

    def attempt(self, pod: str) -> Attempt | None:
        """The attempt that this pod belongs to."""

    @property
    def over(self) -> bool:
        """The run is deleted, or ended so long ago that its tasks must have ended, too."""

    async def changed(self, *, timeout: float) -> None:
        """Return when any of this may have changed, or after ``timeout`` seconds."""

    def tell(self, source: Source, text: str) -> None:
        """Put a line of our own into the spool, once."""


class PodRecorder:
    """One pod into the spool."""

    def __init__(
        self, cluster: Cluster, around: Surroundings, spool: Spool, *, pod: Key, source: Source, retried: bool
    ) -> None:
        """``source``: task and attempt, without a step; ``retried``: say which attempt this is."""
        self._cluster, self._around, self._spool = cluster, around, spool
        self._pod, self._source, self._retried = pod, source, retried
        self.lost = False  #: something that was printed could not be had
        self._beside = 0  # chunks that came of sidecars
        self._uid = ""  # of the pod, once it was seen

    async def record(self) -> None:
        """Everything that the pod printed, from its first byte to its last."""
        label = self._source.task
        if self._retried:
            self._tell(f"{label}: attempt {self._source.attempt}")
        while not (containers := self._containers()) and not self._is_gone():
            await self._around.changed(timeout=_PATIENCE)
        if not containers:
            self.lost = not self._trouble()
            self._tell(f"{label}: {self._trouble() or f'its pod {self._pod.name} is gone, and its log with it'}")
            return
        await self._record_containers(containers)
        await self._until_over()
        if self.replaced:  # what its TaskRun says is about another pod
            return
        self._tell_exits()
        attempt = self._attempt()
        if trouble := self._trouble() or (failure_of(attempt) if attempt is not None else ""):
            self._tell(f"{label}: {trouble}")

    # Containers

    async def _record_containers(self, containers: list[ContainerState]) -> None:
        steps = [c.name for c in containers if _is_step(c)]
        async with asyncio.TaskGroup() as group:
            beside = {c.name: group.create_task(self._record_beside(c.name)) for c in containers if _is_beside(c)}
            readers = [_Reader(name) for name in steps]
            over = group.create_task(self._until_task_is_over())
            releases = [over]
            for reader in readers:
                reading = group.create_task(self._read_ahead(reader))
                releases.append(group.create_task(self._release(reader, reading, over)))
            for reader in readers:
                await self._record_step(reader)
            for container in self._containers() or containers:
                if container.init and container.exit_code and container.name not in (*beside, _HIDDEN):
                    await self._record_beside(container.name)
            await self._until_sidecars_are_read(beside)
            for task in (*beside.values(), *releases):
                task.cancel()

    async def _until_sidecars_are_read(self, beside: dict[str, asyncio.Task[None]]) -> None:
        """To their ends where they have ended, for the steps of a replay are read in no time; others have a moment to print their last."""
        silent = 0.0
        while beside and silent < _SILENCE:
            before = self._beside
            await asyncio.wait(beside.values(), timeout=_SIDECAR_GRACE)
            if not any(not task.done() and self.phase(name) is Phase.TERMINATED for name, task in beside.items()):
                return
            silent = silent + _SIDECAR_GRACE if self._beside == before else 0.0

    async def _record_step(self, reader: _Reader) -> None:
        name = step_name(reader.container)
        number: int | None = None
        while (chunk := await reader.queue.get()) is not None:
            if number is None:
                number = self._spool.source(self._of(name))
            self._spool.append(number, chunk)
        if reader.lost and not self._never_started(reader.container):
            self.lost = True
            what = reader.lost if number is not None else f"no log, {reader.lost}"
            self._tell(f"{self._source.task} › {name}: {what}", step=name)

    async def _record_beside(self, container: str) -> None:
        """A sidecar, or an init container that failed."""
        number: int | None = None
        with contextlib.suppress(UnavailableError):
            async with contextlib.aclosing(self._follow(container)) as chunks:
                async for chunk in chunks:
                    self._beside += 1
                    if number is None:
                        number = self._spool.source(self._of(container))
                    self._spool.append(number, chunk)

    def _follow(self, container: str) -> AsyncGenerator[bytes, None]:
        return follow(self._cluster, self._pod, container, _Container(self, container))

    async def _read_ahead(self, reader: _Reader) -> None:
        """Read one step; its chunks wait in the queue until its turn comes."""
        try:
            async with contextlib.aclosing(self._follow(reader.container)) as chunks:
                async for chunk in chunks:
                    await reader.put(chunk)
        except UnavailableError as error:
            reader.lost = str(error)
        finally:
            reader.ended = True
        await reader.put(None)

    async def _until_task_is_over(self) -> None:
        """Once for all steps: each change wakes whoever waits for one, and there may be hundreds of pods."""
        while not self._is_over():
            await self._around.changed(timeout=_PATIENCE)

    async def _release(self, reader: _Reader, reading: asyncio.Task[None], over: asyncio.Task[None]) -> None:
        """Give up a step that stays silent when the task is ``over``."""
        await asyncio.wait([over])
        while not reader.ended:
            before = reader.chunks
            await asyncio.sleep(_SILENCE if not self._never_started(reader.container) else _SHORT_SILENCE)
            if reader.chunks == before and not reader.blocked and not reader.ended:
                reading.cancel()
                await asyncio.wait({reading})
                reader.lost = "the cluster does not give it" if not reader.chunks else "the end of its log was not read"
                await reader.put(None)
                return

    # What pod and TaskRun say

    def _found(self) -> Pod | None:
        """The pod, or None while or when it is not there."""
        found = self._around.pod(self._pod.name)
        if found is not None:
            self._uid = self._uid or found.uid
        return found if found is not None and found.uid == self._uid else None

    @property
    def replaced(self) -> bool:
        """Tekton has made another pod of this name: a pod that is deleted while its task runs is made again."""
        found = self._around.pod(self._pod.name)
        return found is not None and self._uid not in ("", found.uid)

    def _containers(self) -> list[ContainerState]:
        found = self._found()
        return list(found.containers) if found is not None else []

    def _attempt(self) -> Attempt | None:
        return self._around.attempt(self._pod.name)

    def _is_gone(self) -> bool:
        """True when the pod is not there and will not come (again)."""
        if self._found() is not None:
            return False
        attempt = self._attempt()
        return self._around.pod_was_there(self._pod.name) or self._around.over or attempt is None or attempt.done

    def _is_over(self) -> bool:
        attempt = self._attempt()
        return self._around.over or self.replaced or (attempt is not None and attempt.done)

    async def _until_over(self) -> None:
        """Its TaskRun says a moment later what became of the steps."""
        while not self._is_over() and self._attempt() is not None:
            await self._around.changed(timeout=_PATIENCE)

    def phase(self, container: str) -> Phase:
        """Where a container stands."""
        found = self._found()
        if found is None:
            return Phase.DELETED if self._is_gone() else Phase.WAITING
        state = next((c for c in found.containers if c.name == container), None)
        if state is not None and state.terminated:
            return Phase.TERMINATED
        if state is not None and state.started:
            return Phase.RUNNING
        over = found.phase in ("Succeeded", "Failed") or self._is_over()
        return Phase.GONE if state is None or over else Phase.WAITING

    async def changed(self, *, timeout: float) -> None:
        await self._around.changed(timeout=timeout)

    def _never_started(self, container: str) -> bool:
        """True for a step that had no chance to print: its image never came, the task ended before its container began (an init container
        failed), or a step before it failed in a way that it was never told of (out of memory), so that it waits for its turn until
        its pod goes."""
        attempt = self._attempt()
        steps = attempt.steps if attempt is not None else ()
        step = next((s for s in steps if s.container == container), None)
        if step is None or step.termination_reason == "Skipped" or self._trouble():
            return True
        if attempt is not None and attempt.done and step.waiting_reason:
            return True
        broken = step_at_fault(steps)
        return broken is not None and not step.terminated and steps.index(broken) < steps.index(step)

    def _trouble(self) -> str:
        """Why a task failed without any step printing why: an image that cannot be pulled, a container that cannot start."""
        attempt = self._attempt()
        if attempt is None or not attempt.done or attempt.condition is None or attempt.condition.status != "False":
            return ""
        if trouble := image_trouble(attempt.condition.message):
            return trouble
        return next((s.message for s in attempt.steps if s.reason in ("StartError", "ContainerCannotRun")), "")

    # Lines of our own

    def _tell_exits(self) -> None:
        attempt = self._attempt()
        for step in attempt.steps if attempt is not None else ():
            if said := exit_of(step):
                self._tell(f"{self._source.task} › {step.name} {said}", step=step.name)

    def _of(self, step: str, *, note: bool = False) -> Source:
        return Source(self._source.task, step, self._source.attempt, note, self._source.pipeline_task)

    def _tell(self, text: str, *, step: str = "") -> None:
        self._around.tell(self._of(step, note=True), text)


class _Reader:
    """A step's queue, and how its reading goes."""

    def __init__(self, container: str) -> None:
        self.container = container
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self.lost = ""  # why there is no log
        self.chunks = 0
        self.blocked = False
        self.ended = False

    async def put(self, chunk: bytes | None) -> None:
        self.chunks += 1
        self.blocked = True
        await self.queue.put(chunk)
        self.blocked = False


@dataclass(frozen=True, slots=True)
class _Container:
    """One container as ``follow`` sees it."""

    recorder: PodRecorder
    name: str

    def phase(self) -> Phase:
        return self.recorder.phase(self.name)

    async def changed(self, *, timeout: float) -> None:
        await self.recorder.changed(timeout=timeout)


def _is_step(container: ContainerState) -> bool:
    return not container.init and container.name.startswith("step-")


def _is_beside(container: ContainerState) -> bool:
    """A sidecar, also one that Tekton makes an init container of (``enable-kubernetes-sidecar``), or a container that others put into
    the pod, which may well be its first: a service mesh's proxy ends after the steps, so they must not wait for it."""
    if container.name.startswith("sidecar-"):
        return container.name != _HIDDEN
    return not container.init and not _is_step(container)


def exit_of(step: StepState) -> str:
    """What to say of how a step ended; "" for one that succeeded, has not ended, or only ran into an earlier failure."""
    if step.exit_code in (None, 0) or step.termination_reason == "Skipped":
        return ""
    if step.termination_reason == "Continued":
        return f"exited {step.exit_code}, and the task goes on (onError: continue)"
    if step.reason in ("TaskRunCancelled", "TaskRunTimeout", "TaskRunImagePullFailed"):
        return {"TaskRunCancelled": "was cancelled", "TaskRunTimeout": "timed out"}.get(step.reason, "")
    reason = f" ({step.reason})" if step.reason not in ("", "Error", "Completed") else ""
    return f"exited {step.exit_code}{reason}"


def failure_of(attempt: Attempt) -> str:
    """Why an attempt failed of which no step failed: its pod was refused or evicted, a result is missing; "" for any other."""
    condition = attempt.condition
    if condition is None or condition.status != "False" or condition.reason in _FROM_OUTSIDE:
        return ""
    if any(step.exit_code and step.termination_reason != "Continued" for step in attempt.steps):
        return ""
    return condition.message or condition.reason


def step_name(container: str) -> str:
    """A step's name from its container's."""
    return container.removeprefix("step-")
