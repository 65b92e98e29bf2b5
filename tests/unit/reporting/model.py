"""What ``test_model`` plays with: a cluster that is a real store, a host that does as it is told, and replicas that live and die."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from listener.cluster.client import ApiError, UnreachableError
from listener.cluster.decode import decode_pipeline_run
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun
from listener.cluster.reflector import Change
from listener.config import Config
from listener.demo.kubernetes.statuses import StatusError
from listener.demo.kubernetes.store import Store
from listener.reporting.reporter import Reporter
from listener.reporting.routing import Router
from notifiers.base import (
    CommitStatus,
    HostSettings,
    Notifier,
    Outcome,
    Receipt,
    RetryableError,
    TooLateError,
    UnauthorizedError,
    clock,
    for_ever,
)
from notifiers.github import STATES

NAMESPACE = "team-a"
CONDITIONS = {
    "running": {"type": "Succeeded", "status": "Unknown", "reason": "Running"},
    "succeeded": {"type": "Succeeded", "status": "True", "reason": "Succeeded"},
    "failed": {"type": "Succeeded", "status": "False", "reason": "Failed"},
    "cancelled": {"type": "Succeeded", "status": "False", "reason": "Cancelled"},
}
ANSWERS: dict[str, Callable[[], RetryableError]] = {
    "500": lambda: RetryableError("500", status=500),
    "refused": lambda: RetryableError("connection refused"),
    "429": lambda: RetryableError("429", status=429, retry_after=30.0),
    "401": lambda: UnauthorizedError("401", status=401),
    "lost": lambda: RetryableError("no answer in time"),
}


class FakeCluster:
    """The calls that reporting makes, answered by a store; the next ``outage`` of them fail."""

    def __init__(self) -> None:
        self.store = Store()
        self.outage = 0

    async def get(self, path: str, **_: Any) -> bytes:
        namespace, resource, name = await self._enter(path)
        return self._call(lambda: self.store.get(resource, namespace, name).raw)

    async def merge_patch(self, path: str, body: Mapping[str, Any]) -> bytes:
        namespace, resource, name = await self._enter(path)
        return self._call(lambda: self.store.merge_patch(resource, namespace, name, dict(body)).raw)

    async def create(self, path: str, body: Mapping[str, Any], **_: Any) -> bytes:
        namespace, resource, _name = await self._enter(path)
        return self._call(lambda: self.store.create(resource, namespace, dict(body)).raw)

    async def _enter(self, path: str) -> tuple[str, str, str]:
        await asyncio.sleep(0.01)
        if self.outage:
            self.outage -= 1
            raise UnreachableError("the API server is down")
        _, _, rest = path.partition("/namespaces/")
        namespace, resource, name = [*rest.split("/"), ""][:3]
        return namespace, resource, name

    def _call(self, function: Callable[[], bytes]) -> bytes:
        try:
            return function()
        except StatusError as error:
            raise ApiError(error.code, error.reason, str(error)) from None


class FakeHost(Notifier):
    """Shows the last state that it took in each context; answers by ``script``, and well when that is empty."""

    kind = "fake"

    def __init__(self, settings: HostSettings) -> None:
        self.shown: dict[str, tuple[str, str]] = {}  # by context: the run's name, and the word
        self.script: deque[str] = deque()
        self.taken: Counter[tuple[str, str, str]] = Counter()  # context, run, word
        self.lost: Counter[str] = Counter()  # answers lost, by context

    def state(self, outcome: Outcome) -> str:
        return STATES[outcome]

    def check_repository(self, repository: str) -> str | None:
        return None

    def account(self, repository: str) -> str:
        return "fake"

    async def deliver(
        self, status: CommitStatus, *, memo: str | None = None, until: Callable[[], float] = for_ever
    ) -> Receipt:
        await asyncio.sleep(0.02)
        if until() <= clock():
            raise TooLateError("too late")
        answer = self.script.popleft() if self.script else "good"
        if answer in ("good", "lost"):
            run = (status.target_url or "").rpartition("/")[2]
            word = STATES[status.outcome]
            self.shown[status.context] = (run, word)
            self.taken[status.context, run, word] += 1
        await asyncio.sleep(0.02)
        if answer == "good":
            return Receipt()
        self.lost[status.context] += answer == "lost"
        raise ANSWERS[answer]()

    async def close(self) -> None:
        pass


def config(*, guaranteed: bool) -> Config:
    return Config.model_validate(
        {
            "public_url": "https://listener.example.com",
            "hosts": {"host": {"kind": "fake", "token_env": "TOKEN"}},
            "services": [
                {
                    "name": "all",
                    "runs": {"namespace": NAMESPACE},
                    "repository": "host:group/project",
                    "deliver": "guaranteed" if guaranteed else "best-effort",
                }
            ],
        }
    )


class Replica:
    """One process: it sees the cluster's changes when it is shown them, and reports while it is permitted."""

    def __init__(self, cluster: FakeCluster, host: FakeHost, *, guaranteed: bool) -> None:
        self.permitted = False
        self._fence: int | None = None  # of a shard that it has taken: what it must have seen before it begins
        self._cluster = cluster
        self._known: dict[Key, PipelineRun] = {}
        self._position = 0  # the version up to which it has seen the cluster
        router = Router(config(guaranteed=guaranteed), {"host": host})
        self.reporter = Reporter(
            cluster,  # type: ignore[arg-type]  # has the calls that are made
            router=router,
            notifiers={"host": host},
            read_task_runs=_none,
            permit=lambda _: for_ever() if self.permitted else 0.0,
        )
        self._list()
        self._tasks = [asyncio.create_task(self.reporter.run()), asyncio.create_task(self.reporter.lanes.run())]

    async def see(self, number: int) -> None:
        """The next changes of the watch, at most ``number``; all there is, from a list, while it must catch up with the cluster."""
        if self._fence is not None and number:
            self._list()
        for event in list(self._cluster.store.since("pipelineruns", self._position))[:number]:
            self._apply(event.raw, deleted=event.type == "DELETED")
            self._position = event.version
        seen_all = not list(self._cluster.store.since("pipelineruns", self._position))
        if self._fence is not None and (seen_all or self._position >= self._fence):
            self._fence = None
            await self._permit(True)

    def _list(self) -> None:
        store = self._cluster.store
        for key in [key for key in self._known if tuple(key) not in store.names("pipelineruns")]:
            run = self._known.pop(key)
            self.reporter.run_changed(Change(run, run, deleted=True, unseen=True))
        for name in store.names("pipelineruns"):
            self._apply(store.get("pipelineruns", *name).raw, deleted=False)
        self._position = store.version

    def _apply(self, raw: bytes, *, deleted: bool) -> None:
        run = decode_pipeline_run(raw)
        previous = self._known.get(run.key)
        if deleted:
            self._known.pop(run.key, None)
        else:
            self._known[run.key] = run
        self.reporter.run_changed(Change(run, previous, deleted=deleted))

    @property
    def holds(self) -> bool:
        """The shard is this one's, whether it has begun or not."""
        return self.permitted or self._fence is not None

    async def take(self) -> None:
        """The shard is this one's from now on; it begins when it knows what had happened by now."""
        self._fence = self._cluster.store.version
        await self.see(0)

    async def lose(self) -> None:
        self._fence = None
        await self._permit(False)

    async def _permit(self, permitted: bool) -> None:
        self.permitted = permitted
        await self.reporter.shards_changed()

    async def die(self) -> None:
        self.permitted, self._fence = False, None
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def _none(_: PipelineRun) -> list[Any]:
    return []


@dataclass(slots=True)
class Run:
    """One PipelineRun of the model."""

    name: str
    lane: int
    age: int
    state: str = ""  #: "", running, or one of the ends
    deleted: bool = False

    @property
    def context(self) -> str:
        return f"tekton/p{self.lane}"

    def body(self) -> dict[str, Any]:
        meta = {
            "name": self.name,
            "labels": {"tekton.dev/pipeline": f"p{self.lane}"},
            "creationTimestamp": f"2026-11-23T10:{self.age // 60:02d}:{self.age % 60:02d}Z",
        }
        return {"metadata": meta, "spec": {"params": [{"name": "revision", "value": "a" * 40}]}}

    @property
    def word(self) -> str:
        """What its commit must say in the end."""
        ends = {"succeeded": "success", "failed": "failure", "cancelled": "error"}
        return ends.get(self.state) or ("error" if self.deleted else "pending")


def finalizers(cluster: FakeCluster, run: Run) -> list[str]:
    raw = cluster.store.get("pipelineruns", NAMESPACE, run.name).raw
    found: list[str] = msgspec.json.decode(raw)["metadata"].get("finalizers") or []
    return found
