"""Kubernetes Events on PipelineRuns: ``kubectl describe pipelinerun`` tells why a commit has no status.

core/v1 Events, one per run, reason and message: what is said again counts it up, as the API's other writers do. Said is
cheap: ``tell`` only queues, the queue is bounded, and an Event that cannot be written is dropped after a few tries.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from listener.cluster.client import ApiError, Cluster, ClusterError, collection_path, object_path, worth_a_retry
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun
from listener.log_context import about

log = logging.getLogger(__name__)

COMPONENT: Final = "tekton-pipeline-listener"
_MAX_QUEUED: Final = 1_000
_MAX_TOLD: Final = 10_000
_MAX_MESSAGE: Final = 1024  # characters; the API's limit
_MAX_NAME: Final = 200


class _Count(msgspec.Struct):
    count: int | None = None


class Events:
    """Writes Events. Run it with ``run()``, in a task that you own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._queue: asyncio.Queue[tuple[Key, dict[str, Any]]] = asyncio.Queue(_MAX_QUEUED)
        self._told: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self.dropped = 0  #: Events that were not written

    def tell(self, run: PipelineRun, reason: str, message: str) -> None:
        """Have a Warning on ``run`` written soon; once, however often it is told. ``reason``: CamelCase, for machines."""
        message = message[:_MAX_MESSAGE]
        said = (run.uid, reason, message)
        if said in self._told:
            return
        self._told[said] = None
        if len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        try:
            self._queue.put_nowait(_event(run, reason, message))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            key, event = await self._queue.get()
            with about(run=str(key)):
                try:
                    await self._write(key, event)
                except ClusterError as error:
                    self.dropped += 1
                    log.warning("%s: could not write the Event %r: %s", key, event["message"], error)
                finally:
                    self._queue.task_done()

    async def flush(self) -> None:
        """Wait until what was told is written; for the end of the service, while ``run`` still runs."""
        await self._queue.join()

    async def _write(self, key: Key, event: dict[str, Any]) -> None:
        attempts = AsyncRetrying(
            retry=retry_if_exception(worth_a_retry),
            stop=stop_after_attempt(4),
            wait=wait_random_exponential(multiplier=0.3, max=5),
            reraise=True,
        )
        try:
            await attempts(self._cluster.create, collection_path("events", key.namespace), event)
        except ApiError as error:
            if error.status == 409:
                await attempts(self._count_up, Key(key.namespace, event["metadata"]["name"]), event["lastTimestamp"])
            elif error.status != 404:  # the namespace is gone
                raise

    async def _count_up(self, key: Key, now: str) -> None:
        path = object_path("events", key)
        try:
            known = msgspec.json.decode(await self._cluster.get(path), type=_Count)
        except (msgspec.DecodeError, UnicodeDecodeError):
            known = _Count()
        await self._cluster.merge_patch(path, {"count": (known.count or 1) + 1, "lastTimestamp": now})


def _event(run: PipelineRun, reason: str, message: str) -> tuple[Key, dict[str, Any]]:
    digest = hashlib.sha256(f"{run.uid} {reason} {message}".encode()).hexdigest()[:16]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return run.key, {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{run.name[:_MAX_NAME].rstrip('-.')}.{digest}", "namespace": run.namespace},
        "involvedObject": {
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "name": run.name,
            "namespace": run.namespace,
            "uid": run.uid,
            "resourceVersion": run.resource_version,
        },
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
