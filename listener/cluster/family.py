"""What belongs to one run, as lists and a watch tell it, each at its own pace; no sockets here. ``families`` tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun, Pod, TaskRun

T = TypeVar("T", bound=TaskRun | Pod)


class Members(Generic[T]):
    """One run's objects of one resource.

    A list is the truth of its moment; of what the watch says, only what is newer than the last list counts. Where versions cannot be
    compared, what the watch said while a list was under way counts as newer.
    """

    def __init__(self, run: Key, mine: Callable[[T], bool], changed: Callable[[], None]) -> None:
        self.run = run
        self.objects: dict[str, T] = {}
        self.last: dict[str, T] = {}  # the newest known state, of what is gone, too
        self.synced = asyncio.Event()
        self.listing = asyncio.Lock()
        self.problem = ""  # with its list
        self._mine, self._changed = mine, changed
        self._level = ""  # the version of the last list
        self._touched: dict[str, str] = {}  # by events since the last list began: names and versions

    def apply(self, item: T) -> None:
        """The watch says: it is there, and so."""
        if self._mine(item) and self._is_news(item.name, item.resource_version):
            self._put(item)
            self._changed()

    def gone(self, name: str, *, uid: str, version: str) -> None:
        """The watch says: it is deleted."""
        known = self.objects.get(name)
        if known is not None and known.uid != uid:
            return  # an earlier one of this name
        if self._is_news(name, version) and known is not None:
            del self.objects[name]
            self._changed()

    def begin_list(self) -> None:
        self._touched = {}

    def listed(self, items: Sequence[T], *, version: str) -> None:
        """A list is complete. Where the watch has said something newer since it began, the watch is right."""
        newer = {name for name, seen in self._touched.items() if not _is_known(seen, version)}
        there = {item.name: item for item in items if self._mine(item)}
        for name in [name for name in self.objects if name not in there and name not in newer]:
            del self.objects[name]
        for name, item in there.items():
            if name not in newer:
                self._put(item)
        self._level, self._touched = version, {}
        self.problem = ""
        self.synced.set()
        self._changed()

    def _is_news(self, name: str, version: str) -> bool:
        if _is_known(version, self._level):
            return False
        self._touched[name] = version
        return True

    def _put(self, item: T) -> None:
        self.objects[item.name] = self.last[item.name] = item


class Family:
    """What belongs to one run. Made by ``Families.of``, which keeps its members."""

    def __init__(self, run: PipelineRun, changed: Callable[[], None], trouble: Callable[[], str]) -> None:
        """``trouble``: says what keeps the watches from working, or ""."""
        self.run = run.key
        self.task_run_members = Members[TaskRun](run.key, lambda task: task.run_uid in ("", run.uid), changed)
        self.pod_members = Members[Pod](run.key, lambda _: True, changed)
        self._trouble = trouble

    @property
    def synced(self) -> bool:
        """TaskRuns and pods are known, as they were at some moment since this family is followed."""
        return self.task_run_members.synced.is_set() and self.pod_members.synced.is_set()

    @property
    def problem(self) -> str:
        """What keeps the cluster from saying what belongs to the run, or ""."""
        return self._trouble() or self.task_run_members.problem or self.pod_members.problem

    @property
    def task_runs(self) -> dict[str, TaskRun]:
        """By name."""
        return self.task_run_members.objects

    @property
    def task_runs_seen(self) -> list[TaskRun]:
        """Those that are gone in the meantime, too, as they were last."""
        return list(self.task_run_members.last.values())

    def pod(self, name: str, task: TaskRun | None = None) -> Pod | None:
        """The pod of this name; not one that a TaskRun of the same name had before ``task``."""
        return _of_task(self.pod_members.objects.get(name), task)

    def pod_was_there(self, name: str, task: TaskRun | None = None) -> bool:
        """A pod of this name is there or was; one that a TaskRun of the same name had before ``task`` does not count."""
        return _of_task(self.pod_members.last.get(name), task) is not None


def _of_task(pod: Pod | None, task: TaskRun | None) -> Pod | None:
    return pod if pod is None or task is None or pod.task_run_uid in ("", task.uid) else None


def _is_known(version: str, level: str) -> bool:
    """Whether what has this resourceVersion is part of a list of that one. Both are numbers wherever etcd is below; else nobody knows."""
    return version.isdecimal() and level.isdecimal() and int(version) <= int(level)
