"""A Tekton Triggers EventListener in memory: a CI job posts to it, and a moment later a PipelineRun appears.

Does what ``config/examples/trigger.yaml`` tells a real one to do: the run is named ``service-xyz-run-$(eventid)`` and carries the
commit as ``revision``. ``pipeline`` in the body says which of the story's pipelines runs: ``build`` passes, ``lint`` fails.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

from aiohttp import web

from listener.cluster.names import is_name
from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.story import COMMITS, MAIN, PIPELINES, branch_of
from listener.demo.teller import Chapter, StoryRun, tell

_DELAY: Final = 1.0  # seconds from the event to the PipelineRun, about what the real one takes


class EventListener:
    """Run it with ``async with``; ``url`` is where events go."""

    def __init__(self, cluster: KubernetesApi, *, namespace: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> EventListener:
        app = web.Application()
        app.add_routes([web.post("/", self._event)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _event(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        name = f"service-xyz-run-{body.get('eventid', '')}"
        pipeline = str(body.get("pipeline", "build"))
        if not is_name(name) or pipeline not in PIPELINES:
            return web.json_response({"errorMessage": "eventid or pipeline is not usable"}, status=400)
        sha = str(body.get("revision", ""))
        run = StoryRun(
            name=name,
            namespace=self._namespace,
            pipeline=pipeline,
            sha=sha,
            branch=str(body.get("branch") or (branch_of(COMMITS[sha]) if sha in COMMITS else MAIN)),
            tasks=PIPELINES[pipeline],
        )
        task = asyncio.create_task(self._tell(run))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        answer = {"eventListener": "service-xyz", "namespace": self._namespace, "eventID": str(uuid.uuid4())}
        return web.json_response(answer, status=202)

    async def _tell(self, run: StoryRun) -> None:
        await asyncio.sleep(_DELAY)
        await tell(self._cluster, Chapter(title="A CI job started a run", runs=(run,)))
