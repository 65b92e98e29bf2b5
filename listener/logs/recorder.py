"""Records one run: every container of every task, each followed once, into one spool that any number of readers share.

Level-triggered: whenever the run, one of its TaskRuns or pods changes, ``_reconcile`` looks at what there is and starts what is missing;
for PipelineRuns within the run as well. The steps of a pod go into the spool in their order, parallel tasks as they come; what was over
before the recording began goes in task by task. Lines of our own tell what prints nothing: skipped tasks, retries, custom tasks, lost logs.

Complete means: the run has its verdict (or is deleted) and every log was read to its end. Only then does ``run`` return.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from listener.cluster.client import Cluster
from listener.cluster.families import Families, Family
from listener.cluster.names import Key
from listener.cluster.objects import Attempt, Child, PipelineRun, Pod, TaskRun
from listener.cluster.runs import Runs
from listener.cluster.summary import RunSummary, summarize, task_labels
from listener.logs.lines import words
from listener.logs.pod import PodRecorder, failure_of
from listener.logs.spool import Source, Spool

_CHILD_LAG: Final = 5.0  # seconds that a TaskRun may be missing from the watch although its run names it
_PATIENCE: Final = 30.0  # seconds for TaskRuns and pods of a run that is over to become known
_DEPTH: Final = 8  # of PipelineRuns within PipelineRuns
_TRUNCATED: Final = "the log is longer than this service has room for; the rest is missing here"


class StuckError(Exception):
    """The run is over and its log cannot be had, for the cluster does not say what belongs to it."""


class Recorder:
    """One run's recording. ``run()`` it in a task that you own; read ``spool`` meanwhile."""

    def __init__(self, cluster: Cluster, runs: Runs, families: Families, run: PipelineRun, *, spool: Spool) -> None:
        self.spool = spool
        self.begun = False  #: what there is already is being read
        self._cluster, self._runs, self._families = cluster, runs, families
        self._root = _Branch(self, run, label="", depth=0)
        self._branches: dict[str, _Branch] = {run.uid: self._root}  # by UID, the run's own first
        # By the branch's UID and the pod's name: the pods that had it, one after the other.
        self._followed: dict[tuple[str, str], list[_Followed]] = {}
        self._before: dict[str, asyncio.Event] = {}  # by task: set when its last attempt is read
        self._last_over: asyncio.Event | None = None  # set when the last of the tasks that were over already is read
        self._notes: dict[Source, int] = {}
        self._told: set[tuple[Source, str]] = set()
        self._waiting: set[asyncio.Event] = set()
        self._verdict_at: float | None = None  # when the run's end was seen, on the loop's clock

    # What the run is

    @property
    def key(self) -> Key:
        return self._root.key

    @property
    def lost(self) -> bool:
        """Something that the run printed is not in the spool."""
        return self.spool.truncated or any(followed.recorder.lost for followed in self._all_followed())

    def current(self) -> tuple[PipelineRun, bool]:
        """The run's newest known state, and whether it was deleted."""
        return self._root.current()

    def summary(self) -> RunSummary:
        """All that is to be said of the run, with the runs within it."""
        return self._summary_of(self._root)

    def _summary_of(self, branch: _Branch) -> RunSummary:
        run, deleted = branch.current()
        within = {one.key.name: one for one in self._branches.values() if one.depth == branch.depth + 1}
        nested = {child.name: self._summary_of(within[child.name]) for child in run.children if child.name in within}
        return summarize(run, branch.family.task_runs_seen, deleted=deleted, nested=nested)

    def progress(self) -> str:
        """What is being waited for, in a few words, for a reader to whom nothing comes."""
        for branch in self._branches.values():
            if trouble := branch.family.problem:
                return f"the cluster cannot be watched: {trouble}"
            for task in branch.family.task_runs.values():
                if not task.attempt.done:
                    return _progress_of(task, branch.family.pod(task.attempt.pod, task))
        return "waiting for tasks to start"

    # Recording

    async def run(self) -> None:
        """Record until everything is there. Raises ``StuckError`` when it cannot be had."""
        with contextlib.ExitStack() as stack:
            async with asyncio.TaskGroup() as group:
                self._stack, self._group = stack, group
                self._root.open()
                try:
                    await self._until_synced()
                    await self._until_complete()
                finally:
                    for branch in self._branches.values():
                        branch.relay.cancel()

    def _is_done(self) -> bool:
        """The run has its verdict, or is deleted."""
        run, deleted = self.current()
        if run.done or deleted:
            self._verdict_at = self._verdict_at or asyncio.get_running_loop().time()
        return self._verdict_at is not None

    def _since_verdict(self) -> float:
        return asyncio.get_running_loop().time() - self._verdict_at if self._is_done() and self._verdict_at else 0.0

    async def _until_synced(self) -> None:
        while not self._root.family.synced:
            if self._since_verdict() > _PATIENCE:
                raise StuckError(self._root.family.problem or "its TaskRuns and pods cannot be listed")
            await self.changed(timeout=1.0)

    async def _until_complete(self) -> None:
        while True:
            lagging = [missing for branch in list(self._branches.values()) for missing in self._reconcile(branch)]
            self.begun = True
            if self.spool.truncated:
                self.tell(Source(note=True), _TRUNCATED)
            if self._is_done() and all(followed.done.is_set() for followed in self._all_followed()):
                _, deleted = self.current()
                if not lagging or deleted or self._since_verdict() > self._lag():
                    for missing in lagging:
                        if missing:
                            self._tell_of(missing, f"{missing}: is gone, and its log with it")
                    return
            await self.changed(timeout=1.0 if self._is_done() else 30.0)

    def _lag(self) -> float:
        """Seconds until what is not to be seen is taken to be gone: more while the cluster cannot say what there is."""
        level = all(branch.family.synced and not branch.family.problem for branch in self._branches.values())
        return _CHILD_LAG if level else _PATIENCE

    def _reconcile(self, branch: _Branch) -> Iterator[str]:
        """Start what is missing. Gives what is still to come: labels of TaskRuns and runs that are not to be seen, "" for those that
        are, and have not ended."""
        run, _ = branch.current()
        for skipped in run.skipped:
            label = branch.label + skipped.name
            self._tell_of(label, f"{label}: skipped ({skipped.reason})")
        labels = task_labels(run)
        ready: list[tuple[str, str, Child, TaskRun, int, Attempt]] = []
        for child in run.children:
            label = branch.label + labels[child.name]
            if child.kind == "PipelineRun" and branch.depth < _DEPTH:
                yield from self._reconcile_nested(branch, child, label)
            elif child.kind != "TaskRun":
                self._tell_of(
                    label, f"{label}: {child.kind} {child.name}, which has no log of its own here", task=child.task
                )
            elif (task := branch.family.task_runs.get(child.name)) is None:
                if label not in self._before:  # what was seen before it went was read
                    yield label
            else:
                if not task.attempt.done:
                    yield ""
                for number, attempt in enumerate((*task.retries, task.attempt), start=1):
                    if not attempt.pod and (why := failure_of(attempt)):
                        self._tell_of(label, f"{label}: {why}", task=child.task)
                    if attempt.pod and not self._is_followed(branch, attempt.pod):
                        ready.append((attempt.started, label, child, task, number, attempt))
                if task.attempt.done and branch.is_read(task):
                    self.spool.task_over(label)
        for _, label, child, task, number, attempt in sorted(ready, key=lambda item: item[0]):
            source = Source(label, "", number, pipeline_task=child.task)
            self._start(branch, attempt, source, retried=number > 1 or bool(task.retries))
        if not run.done and branch is not self._root:
            yield ""

    def _reconcile_nested(self, branch: _Branch, child: Child, label: str) -> Iterator[str]:
        if any(known.label == f"{label}/" for known in self._branches.values()):
            return
        run = self._runs.get(Key(branch.key.namespace, child.name))
        if run is None:
            yield label
            return
        nested = _Branch(self, run, label=f"{label}/", depth=branch.depth + 1)
        self._branches[run.uid] = nested
        nested.open()
        yield ""

    def _start(self, branch: _Branch, attempt: Attempt, source: Source, *, retried: bool) -> None:
        """Follow one pod. What is over already is read one after another, so that a replay reads like the run went; a
        retry is read after the attempt before it."""
        done = asyncio.Event()
        if attempt.done:
            after, self._last_over = self._last_over, done
        else:
            after = self._before.get(source.task)
        self._before[source.task] = done
        pod = Key(branch.key.namespace, attempt.pod)
        recorder = PodRecorder(self._cluster, branch, self.spool, pod=pod, source=source, retried=retried)
        self._followed.setdefault((branch.uid, attempt.pod), []).append(_Followed(recorder, done))
        self._group.create_task(self._record_pod(recorder, after=after, done=done), name=f"record {pod}")

    def _is_followed(self, branch: _Branch, pod: str) -> bool:
        known = self._followed.get((branch.uid, pod))
        return known is not None and not known[-1].recorder.replaced

    def _all_followed(self) -> Iterator[_Followed]:
        return itertools.chain.from_iterable(self._followed.values())

    async def _record_pod(self, recorder: PodRecorder, *, after: asyncio.Event | None, done: asyncio.Event) -> None:
        try:
            if after is not None:
                await after.wait()
            await recorder.record()
        finally:
            done.set()
            self.wake()

    # Lines of our own, waking

    def tell(self, source: Source, text: str) -> None:
        """Put a line of our own into the spool, once, with the time as kubelet would write it."""
        if (source, text) in self._told:
            return
        self._told.add((source, text))
        number = self._notes.get(source)
        if number is None:
            number = self._notes[source] = self.spool.source(source)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        self.spool.note(number, f"{now} {words(text)}\n".encode())

    def _tell_of(self, label: str, text: str, *, task: str = "") -> None:
        self.tell(Source(label, note=True, pipeline_task=task), text)

    def wake(self) -> None:
        """Something has changed."""
        for branch in self._branches.values():
            branch.attempts = None
        for event in self._waiting:
            event.set()

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


@dataclass(frozen=True, slots=True)
class _Followed:
    recorder: PodRecorder
    done: asyncio.Event


class _Branch:
    """The run, or a PipelineRun within it: its state, its family. What ``PodRecorder`` sees of it."""

    family: Family
    relay: asyncio.Task[None]

    def __init__(self, recorder: Recorder, run: PipelineRun, *, label: str, depth: int) -> None:
        self.key, self.uid, self.label, self.depth = run.key, run.uid, label, depth
        self._recorder, self._run = recorder, run
        self.attempts: dict[str, tuple[TaskRun, Attempt]] | None = None  #: by pod, until something changes

    def open(self) -> None:
        """Look at it from now on."""
        recorder = self._recorder
        run_changed = recorder._stack.enter_context(recorder._runs.watching(self.key))
        self.family = recorder._stack.enter_context(recorder._families.of(self._run, on_change=recorder.wake))
        self.relay = recorder._group.create_task(self._relay(run_changed), name=f"watch {self.key}")

    async def _relay(self, run_changed: asyncio.Event) -> None:
        while True:
            await run_changed.wait()
            run_changed.clear()
            self._recorder.wake()

    def current(self) -> tuple[PipelineRun, bool]:
        runs = self._recorder._runs
        run = runs.get(self.key)
        if run is not None and run.uid == self.uid:
            self._run = run
            return run, False
        self._run = runs.deleted(self.uid) or self._run
        return self._run, True

    def is_read(self, task: TaskRun) -> bool:
        """Every pod of ``task`` was read to its end."""
        followed = self._recorder._followed
        pods = [attempt.pod for attempt in (*task.retries, task.attempt) if attempt.pod]
        return all((found := followed.get((self.uid, pod))) is not None and found[-1].done.is_set() for pod in pods)

    def _task_of(self, pod: str) -> tuple[TaskRun, Attempt] | None:
        if self.attempts is None:
            tasks = self.family.task_runs.values()
            self.attempts = {one.pod: (task, one) for task in tasks for one in (*task.retries, task.attempt)}
        return self.attempts.get(pod)

    def pod(self, name: str) -> Pod | None:
        found = self._task_of(name)
        return self.family.pod(name, found[0] if found else None)

    def pod_was_there(self, name: str) -> bool:
        found = self._task_of(name)
        return self.family.pod_was_there(name, found[0] if found else None)

    def attempt(self, pod: str) -> Attempt | None:
        found = self._task_of(pod)
        return found[1] if found else None

    @property
    def over(self) -> bool:
        _, deleted = self.current()
        return deleted or self._recorder._since_verdict() > _CHILD_LAG

    async def changed(self, *, timeout: float) -> None:
        await self._recorder.changed(timeout=min(timeout, 1.0) if self._recorder._is_done() else timeout)

    def tell(self, source: Source, text: str) -> None:
        self._recorder.tell(source, text)


def _progress_of(task: TaskRun, pod: Pod | None) -> str:
    if pod is not None and pod.unscheduled:
        return f"{task.task} waits for a node: {pod.unscheduled}"
    for container in pod.containers if pod is not None else ():
        if container.waiting_message:
            return f"{task.task}: {container.waiting_reason}: {container.waiting_message}"
    running = [step.name for step in task.attempt.steps if step.running]
    return f"{task.task} › {running[0]} is running" if running else f"{task.task} is starting"
