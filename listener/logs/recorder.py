"""Records one run: every container of every task, each followed once, into one spool that any number of readers share.

Level-triggered: whenever the run, one of its TaskRuns or pods changes, ``_reconcile`` looks at what there is and starts what is
missing. The steps of a pod go into the spool in their order, parallel tasks as they come; what was over before the recording began
goes in task by task. Lines of our own (source 0) tell what prints nothing: skipped tasks, retries, custom tasks, lost logs.

Complete means: the run has its verdict (or is deleted) and every log was read to its end. Only then does the spool end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from listener.cluster.children import run_selector
from listener.cluster.client import Cluster, collection_path
from listener.cluster.decode import decode_pod, decode_task_run
from listener.cluster.names import Key
from listener.cluster.objects import Attempt, Child, ContainerState, PipelineRun, Pod, TaskRun
from listener.cluster.outcome import image_trouble
from listener.cluster.reflector import Reflector
from listener.cluster.runs import Runs
from listener.logs.follow import Phase, UnavailableError, follow
from listener.logs.spool import Lines, Spool

log = logging.getLogger(__name__)

_AHEAD: Final = 8  # chunks read ahead of a step whose turn has not come
_CHILD_LAG: Final = 5.0  # seconds that a TaskRun may be missing from the watch although its run names it
_PATIENCE: Final = 30.0  # seconds for TaskRuns and pods of a run that is over to become known
_SILENCE: Final = 5.0  # seconds without a byte after which a step of a task that is over is given up
_SIDECAR_GRACE: Final = 1.0  # seconds that sidecars may still print once their task is over
_HIDDEN: Final = "sidecar-tekton-log-results"
COMMENT: Final = 0  # the source of our own lines


class StuckError(Exception):
    """The run is over and its log cannot be had, for the cluster does not say what belongs to it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose bytes they are."""

    task: str
    step: str

    @property
    def prefix(self) -> bytes:
        """As ``tkn`` writes it."""
        return f"[{self.task} : {self.step}] ".encode()


class Recorder:
    """One run's recording. ``run()`` it in a task that you own; read ``spool`` and ``sources`` meanwhile."""

    def __init__(self, cluster: Cluster, runs: Runs, run: PipelineRun, *, spool: Spool) -> None:
        self.key, self.uid, self.spool = run.key, run.uid, spool
        self.sources: list[Source] = [Source("", "")]  # index 0: our own lines
        self.complete = False  #: True once the spool holds everything and a verdict can be given
        self._cluster, self._runs, self._run = cluster, runs, run
        selector = run_selector(run.name)
        self._task_runs: Reflector[TaskRun] = Reflector(
            cluster,
            path=collection_path("taskruns", run.namespace),
            decode=decode_task_run,
            on_change=lambda _: self._changed(),
            label_selector=selector,
        )
        self._pods: Reflector[Pod] = Reflector(
            cluster,
            path=collection_path("pods", run.namespace),
            decode=decode_pod,
            on_change=lambda change: self._pod_changed(change.object),
            label_selector=selector,
        )
        self._seen_pods: set[str] = set()
        self._followed: dict[str, asyncio.Task[None]] = {}  # by pod
        self._told: set[str] = set()
        self._waiting: set[asyncio.Event] = set()
        self._attempts: dict[str, asyncio.Event] = {}  # by task: set when its last attempt is read
        self._over: asyncio.Event | None = None  # set when the last of the tasks that were over already is read

    # What the run is

    def current(self) -> tuple[PipelineRun, bool]:
        """The run's newest known state, and whether it was deleted."""
        run = self._runs.get(self.key)
        if run is not None and run.uid == self.uid:
            self._run = run
            return run, False
        self._run = self._runs.deleted(self.uid) or self._run
        return self._run, True

    def progress(self) -> str:
        """What is being waited for, in a few words, for a reader to whom nothing comes."""
        if trouble := self.trouble():
            return f"the cluster cannot be watched: {trouble}"
        for task in self._task_runs.objects.values():
            if task.attempt.done:
                continue
            pod = self._pods.objects.get(Key(self.key.namespace, task.attempt.pod))
            if pod is not None and pod.unscheduled:
                return f"{task.task} waits for a node: {pod.unscheduled}"
            for container in pod.containers if pod is not None else ():
                if container.waiting_message:
                    return f"{task.task}: {container.waiting_reason}: {container.waiting_message}"
            running = [step.name for step in task.attempt.steps if step.running]
            return f"{task.task} › {running[0]} is running" if running else f"{task.task} is starting"
        return "waiting for tasks to start"

    # Recording

    async def run(self) -> None:
        """Record until everything is there. A defect in here ends the spool without ``complete``."""
        try:
            with self._runs.watching(self.key) as run_changed:
                async with asyncio.TaskGroup() as group:
                    watches = [group.create_task(r.run()) for r in (self._task_runs, self._pods)]
                    watches.append(group.create_task(self._relay(run_changed)))
                    await self._until_synced()
                    await self._until_complete(group)
                    for watch in watches:
                        watch.cancel()
            self.complete = True
        finally:
            self.spool.end()

    async def _until_synced(self) -> None:
        """Wait until TaskRuns and pods are known. Raises ``StuckError`` when the run has ended and they still are not."""
        loop = asyncio.get_running_loop()
        verdict_at: float | None = None
        while not (self._task_runs.synced.is_set() and self._pods.synced.is_set()):
            run, deleted = self.current()
            if run.done or deleted:
                verdict_at = verdict_at or loop.time()
                if loop.time() - verdict_at > _PATIENCE:
                    raise StuckError(self.trouble() or "its TaskRuns and pods cannot be listed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._task_runs.synced.wait()
                    await self._pods.synced.wait()

    def trouble(self) -> str:
        """Why the cluster does not let the run's parts be watched, or ""."""
        return next((r.problem[0] for r in (self._task_runs, self._pods) if r.problem is not None), "")

    async def _until_complete(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        verdict_at: float | None = None
        while True:
            run, deleted = self.current()
            missing = self._reconcile(group, run, deleted=deleted)
            if run.done or deleted:
                verdict_at = verdict_at or loop.time()
                overdue = deleted or loop.time() - verdict_at > _CHILD_LAG
                # The three watches do not run at one pace: a task that is not over yet will be, or its pod is still to come.
                lagging = missing or not all(task.attempt.done for task in self._task_runs.objects.values())
                if all(task.done() for task in self._followed.values()) and (overdue or not lagging):
                    for child in missing:
                        self._tell(f"{child.task or child.name}: its TaskRun {child.name} is gone, and its log with it")
                    return
            await self.changed(timeout=1.0 if verdict_at else 30.0)

    def _reconcile(self, group: asyncio.TaskGroup, run: PipelineRun, *, deleted: bool) -> list[Child]:
        """Start what is missing. Gives the TaskRuns that the run names and that are not to be seen."""
        for skipped in run.skipped:
            self._tell(f"{skipped.name}: skipped ({skipped.reason})")
        missing = []
        labels = task_labels(run)
        ready: list[tuple[str, str, Attempt, int, TaskRun]] = []
        for child in run.children:
            label = labels[child.name]
            if child.kind != "TaskRun":
                self._tell(f"{label}: {child.kind} {child.name}, which has no log of its own here")
                continue
            task = self._task_runs.objects.get(Key(run.namespace, child.name))
            if task is None:
                missing.append(child)
                continue
            for number, attempt in enumerate((*task.retries, task.attempt), start=1):
                if attempt.pod and attempt.pod not in self._followed:
                    ready.append((attempt.started, label, attempt, number, task))
        for _, label, attempt, number, task in sorted(ready, key=lambda item: item[0]):
            self._start(group, label, attempt, number=number, retried=bool(task.retries))
        return missing

    def _start(self, group: asyncio.TaskGroup, label: str, attempt: Attempt, *, number: int, retried: bool) -> None:
        """Follow one pod. What is over already is read one after another, so that a replay reads like the run went; a
        retry is read after the attempt before it."""
        done = asyncio.Event()
        if attempt.done:
            after, self._over = self._over, done
        else:
            after = self._attempts.get(label)
        self._attempts[label] = done
        title = f"{label}: attempt {number}" if retried or number > 1 else ""
        self._followed[attempt.pod] = group.create_task(
            self._record_pod(label, Key(self.key.namespace, attempt.pod), title=title, after=after, done=done)
        )

    async def _record_pod(
        self, label: str, pod: Key, *, title: str, after: asyncio.Event | None, done: asyncio.Event
    ) -> None:
        try:
            if after is not None:
                await after.wait()
            if title:
                self._tell(title)
            while not (containers := self._containers(pod)) and not self._pod_is_gone(pod):
                await self.changed(timeout=30.0)
            if not containers:
                self._tell(self._epitaph(label, pod))
                return
            await self._record_containers(label, pod, containers)
            if trouble := self._trouble(pod):
                self._tell(f"{label}: {trouble}")
        finally:
            done.set()
            self._changed()

    async def _record_containers(self, label: str, pod: Key, containers: list[ContainerState]) -> None:
        steps = [c for c in containers if not c.init and not c.name.startswith("sidecar-")]
        sidecars = [c for c in containers if not c.init and c.name.startswith("sidecar-") and c.name != _HIDDEN]
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._record_sidecar(label, pod, c.name)) for c in sidecars]
            queues = [asyncio.Queue[bytes | None](_AHEAD) for _ in steps]
            lost: dict[str, str] = {}
            for container, queue in zip(steps, queues, strict=True):
                reader = _Reader(queue)
                reading = group.create_task(self._read_ahead(pod, container.name, reader, lost))
                beside.append(group.create_task(self._release(pod, reader, reading)))
            for container, queue in zip(steps, queues, strict=True):
                source = self._source(label, container.name)
                lines = Lines()
                while (chunk := await queue.get()) is not None:
                    self.spool.append(source, lines.feed(chunk))
                self.spool.append(source, lines.rest())
                if container.name in lost and not self._never_started(pod, container.name):
                    self._tell(f"{label} › {_step_name(container.name)}: no log, {lost[container.name]}")
            for container in self._containers(pod) or containers:
                if container.init and container.exit_code:
                    await self._record_sidecar(label, pod, container.name)
            if sidecars:
                await asyncio.wait(beside, timeout=_SIDECAR_GRACE)
            for task in beside:
                task.cancel()

    def _follow(self, pod: Key, name: str) -> AsyncGenerator[bytes, None]:
        return follow(self._cluster, pod, name, _Container(self, pod, name))

    async def _read_ahead(self, pod: Key, name: str, reader: _Reader, lost: dict[str, str]) -> None:
        """Read one step; its chunks wait in the queue until its turn comes."""
        try:
            async with contextlib.aclosing(self._follow(pod, name)) as chunks:
                async for chunk in chunks:
                    await reader.put(chunk)
        except UnavailableError as error:
            lost[name] = str(error)
        finally:
            reader.ended = True
        await reader.put(None)

    async def _release(self, pod: Key, reader: _Reader, reading: asyncio.Task[None]) -> None:
        """Once the task is over, a step that stays silent is given up: Tekton ends a task whose later steps still wait to skip."""
        while not self._is_over(pod):
            await self.changed(timeout=30.0)
        while not reader.ended:
            before = reader.chunks
            await asyncio.sleep(_SILENCE)
            if reader.chunks == before and not reader.blocked and not reader.ended:
                reading.cancel()
                await asyncio.wait({reading})
                await reader.put(None)
                return

    async def _record_sidecar(self, label: str, pod: Key, name: str) -> None:
        source, lines = self._source(label, name), Lines()
        with contextlib.suppress(UnavailableError):
            async with contextlib.aclosing(self._follow(pod, name)) as chunks:
                async for chunk in chunks:
                    self.spool.append(source, lines.feed(chunk))
        self.spool.append(source, lines.rest())

    # What pods and TaskRuns say

    def _containers(self, pod: Key) -> list[ContainerState]:
        found = self._pods.objects.get(pod)
        return list(found.containers) if found is not None else []

    def _attempt(self, pod: Key) -> Attempt | None:
        for task in self._task_runs.objects.values():
            for attempt in (task.attempt, *task.retries):
                if attempt.pod == pod.name:
                    return attempt
        return None

    def _pod_is_gone(self, pod: Key) -> bool:
        """True when the pod is not there and will not come (again)."""
        if pod in self._pods.objects:
            return False
        attempt = self._attempt(pod)
        _, deleted = self.current()
        return pod.name in self._seen_pods or deleted or attempt is None or attempt.done

    def _is_over(self, pod: Key) -> bool:
        attempt = self._attempt(pod)
        _, deleted = self.current()
        return deleted or (attempt is not None and attempt.done)

    def _never_started(self, pod: Key, name: str) -> bool:
        """True for a step that had no chance to print: its image never came, or the task ended before."""
        attempt = self._attempt(pod)
        step = next((s for s in attempt.steps if s.container == name), None) if attempt is not None else None
        return step is None or step.termination_reason == "Skipped" or bool(self._trouble(pod))

    def phase(self, pod: Key, name: str) -> Phase:
        """Where a container stands."""
        found = self._pods.objects.get(pod)
        if found is None:
            return Phase.GONE if self._pod_is_gone(pod) else Phase.WAITING
        state = next((c for c in found.containers if c.name == name), None)
        if state is not None and state.terminated:
            return Phase.TERMINATED
        if state is not None and state.started:
            return Phase.RUNNING
        attempt = self._attempt(pod)
        over = found.phase in ("Succeeded", "Failed") or (attempt is not None and attempt.done)
        return Phase.GONE if state is None or over else Phase.WAITING

    def _trouble(self, pod: Key) -> str:
        """Why a task failed without any step printing why: an image that cannot be pulled, a container that cannot start."""
        attempt = self._attempt(pod)
        if attempt is None or not attempt.done or attempt.condition is None or attempt.condition.status != "False":
            return ""
        if trouble := image_trouble(attempt.condition.message):
            return trouble
        return next((s.message for s in attempt.steps if s.reason in ("StartError", "ContainerCannotRun")), "")

    def _epitaph(self, label: str, pod: Key) -> str:
        return f"{label}: {self._trouble(pod) or f'its pod {pod.name} is gone, and its log with it'}"

    # Lines of our own, sources, waking

    def _source(self, label: str, container: str) -> int:
        self.sources.append(Source(label, _step_name(container)))
        return len(self.sources) - 1

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.spool.append(COMMENT, f"# {' '.join(text.split())}\n".encode())

    def _pod_changed(self, pod: Pod) -> None:
        self._seen_pods.add(pod.name)
        self._changed()

    def _changed(self) -> None:
        for event in self._waiting:
            event.set()

    async def _relay(self, run_changed: asyncio.Event) -> None:
        while True:
            await run_changed.wait()
            run_changed.clear()
            self._changed()

    async def changed(self, *, timeout: float) -> None:
        """Return when something about the run may have changed, or after ``timeout`` seconds."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await event.wait()
        finally:
            self._waiting.discard(event)


class _Reader:
    """A step's queue, and how its reading goes."""

    def __init__(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._queue = queue
        self.chunks = 0
        self.blocked = False
        self.ended = False

    async def put(self, chunk: bytes | None) -> None:
        self.chunks += 1
        self.blocked = True
        await self._queue.put(chunk)
        self.blocked = False


@dataclass(frozen=True, slots=True)
class _Container:
    """One container as ``follow`` sees it."""

    recorder: Recorder
    pod: Key
    name: str

    def phase(self) -> Phase:
        return self.recorder.phase(self.pod, self.name)

    async def changed(self, *, timeout: float) -> None:
        await self.recorder.changed(timeout=timeout)


def task_labels(run: PipelineRun) -> dict[str, str]:
    """What to call each child of ``run`` in prefixes: the pipeline task's name; a matrix's tasks get what tells them apart."""
    count = Counter(child.task for child in run.children)
    labels = {}
    for child in run.children:
        own = child.name.removeprefix(f"{run.name}-")
        labels[child.name] = child.task if child.task and count[child.task] == 1 else own
    return labels


def _step_name(container: str) -> str:
    return container.removeprefix("step-")
