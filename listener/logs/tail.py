"""The end of one step's log, for reports: from its pod, or, where that is gone, from what was recorded.

Asked of the node with ``tailLines``, so that a log of gigabytes costs as much as a short one. Without escape sequences, as text. What cannot
be had is "", for a report is not worth an error; both requests have an end, in time and in bytes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from listener.cluster.client import Cluster, ClusterError, object_path
from listener.cluster.names import Key, is_name, is_namespace
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.summary import task_labels
from listener.logs.lines import without_escapes
from listener.logs.recording import RefusedError
from listener.logs.stream import CutError, Logs

log = logging.getLogger(__name__)

_LINES: Final = (1000, 50, 3)  # first asked for, and then where these are too long to read them all
_BYTES: Final = 64 * 1024  # what a report is given, from the end
_MOST: Final = 4 * 1024 * 1024  # what is read, for lines may be long
_PATIENCE: Final = 10.0  # seconds


class LogTail:
    """Reads the ends of logs."""

    def __init__(self, cluster: Cluster, logs: Logs) -> None:
        self._cluster, self._logs = cluster, logs

    async def read(self, run: PipelineRun, task_run: TaskRun, container: str) -> str:
        """What ``container`` of the last try of ``task_run`` printed last, in lines. Raises nothing."""
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._of_pod(task_run, container)
                if found is None:
                    found = await self._recorded(run, task_run, container)
        except (ClusterError, TimeoutError, CutError, RefusedError, OSError) as error:
            log.info("%s: told without the end of its log: %s", run.key, str(error) or type(error).__name__)
            return ""
        return without_escapes(found)[-_BYTES:].decode("utf-8", "replace")

    async def _of_pod(self, task_run: TaskRun, container: str) -> bytes | None:
        """From the node; None where the pod is not there any more, or has nothing to say."""
        pod = task_run.attempt.pod
        if not is_name(pod) or not is_namespace(container):
            return None
        path = f"{object_path('pods', Key(task_run.namespace, pod))}/log"
        kept = b""
        try:
            for lines in _LINES:
                kept, whole = await self._asked(path, container, lines)
                if whole:
                    break
        except ClusterError as error:
            log.debug("%s: %s", path, error)
            return None
        return kept or None

    async def _asked(self, path: str, container: str, lines: int) -> tuple[bytes, bool]:
        """The end of the last ``lines``, and whether it is: of more than ``_MOST`` bytes only the first are read."""
        params = {"container": container, "tailLines": str(lines)}
        kept = b""
        read = 0
        async with self._cluster.stream(path, params=params, pool="logs", read_timeout=_PATIENCE) as response:
            async for chunk in response.content.iter_any():
                read += len(chunk)
                kept = (kept + chunk)[-2 * _BYTES :]
                if read > _MOST:
                    return kept, False
        return kept, True

    async def _recorded(self, run: PipelineRun, task_run: TaskRun, container: str) -> bytes:
        label = task_labels(run).get(task_run.name, "")
        step = container.removeprefix("step-")
        if not label:
            return b""
        prefix = f"[{label} : {step}] ".encode()
        lines: list[bytes] = []
        stream = self._logs.stream(
            run.key, uid=run.uid, wait=0.0, follow=False, tail=_LINES[0], task=label, step=step, colour="never"
        )
        async for piece in stream:
            lines = [*lines, *piece.split(b"\n")][-_LINES[0] - 1 :]
        return b"\n".join(line.removeprefix(prefix) for line in lines if line.startswith(prefix))
