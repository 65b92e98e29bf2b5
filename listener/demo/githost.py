"""What the Git hosts in memory have in common: projects and commits, what was posted, waiting for it, and misbehaving on purpose."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import jinja2
from aiohttp import web

from listener.demo.markdown import render

_SCRIPT: Final = Path(__file__).parent / "static" / "live.js"  # by which pages follow what happens
_TEMPLATES: Final = jinja2.Environment(loader=jinja2.PackageLoader("listener.demo", "templates"), autoescape=True)
_TEMPLATES.filters["markdown"] = render


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """One status that the host took."""

    path: str
    sha: str
    context: str
    state: str
    description: str
    target_url: str | None
    ref: str | None = None
    pipeline_id: int | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that arrived, with its answer's status (0 while there is none)."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes
    status: int
    at: float


@dataclass(slots=True, kw_only=True)
class HostFault:
    """What to do to the next requests that match."""

    when: Callable[[web.Request], bool] = lambda request: request.method == "POST"
    times: int | None = None  #: None: always
    status: int | None = None
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False  #: close the connection without looking at the request
    accept_then_hang: bool = False  #: do what was asked and never answer
    drip: float | None = None  #: seconds between the bytes of the answer
    until: asyncio.Event | None = None  #: do what was asked and answer properly, but not before this is set
    hits: int = 0


@dataclass(slots=True)
class Project:
    """A repository with its commits: sha → title."""

    path: str
    commits: dict[str, str] = field(default_factory=dict)
    any_commit: bool = False
    archived: bool = False

    def has(self, sha: str) -> bool:
        return sha in self.commits or (self.any_commit and len(sha) in (40, 64))


class GitHost:
    """A server in memory. ``async with GitLab() as host`` starts it; what it holds stays when it is stopped and started."""

    name: ClassVar[str]

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, tokens: tuple[str, ...] = ("secret-token",)) -> None:
        self.tokens = set(tokens)
        self.projects: dict[str, Project] = {}
        self.posted: list[Posted] = []
        self.asked: deque[Asked] = deque(maxlen=100_000)
        self.faults: list[HostFault] = []
        self._host, self._port = host, port
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def routes(self) -> list[web.RouteDef]:
        """The host's own paths."""
        raise NotImplementedError

    def add_project(self, path: str, commits: dict[str, str] | None = None, *, any_commit: bool = False) -> Project:
        """A repository; ``any_commit``: every well-formed sha is a commit of it."""
        project = self.projects[path] = Project(path, dict(commits or {}), any_commit)
        return project

    # What arrived

    def record(self, posted: Posted) -> None:
        self.posted.append(posted)
        self._arrived.set()

    def statuses(self, path: str, sha: str, context: str | None = None) -> list[Posted]:
        """What was posted on a commit, in order of arrival."""
        return [p for p in self.posted if p.path == path and p.sha == sha and context in (None, p.context)]

    def latest(self, path: str, sha: str) -> dict[str, Posted]:
        """What a commit shows: the last status of each context."""
        return {posted.context: posted for posted in self.statuses(path, sha)}

    async def wait_for(self, condition: Callable[[list[Posted]], bool], *, timeout: float = 20.0) -> list[Posted]:
        """Wait until ``condition`` holds for what was posted; raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while not condition(self.posted):
                self._arrived.clear()
                await self._arrived.wait()
        return self.posted

    async def wait_asked(self, number: int, *, timeout: float = 20.0) -> list[Asked]:
        """Wait until ``number`` requests were answered."""
        async with asyncio.timeout(timeout):
            while len(self.asked) < number:
                self._arrived.clear()
                await self._arrived.wait()
        return list(self.asked)

    def posts(self) -> list[Asked]:
        """The writes among what was asked."""
        return [asked for asked in self.asked if asked.method == "POST"]

    # Life

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        app = web.Application(middlewares=[self._observe])
        app.add_routes(self.routes())
        app.add_routes([web.get("/-/demo/requests", self._dump), web.get("/-/demo/live.js", self._script)])
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @web.middleware
    async def _observe(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body = await request.read()
        status = 0
        try:
            answer = await self._answer(request, handler)
            status = answer.status
            return answer
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            self.asked.append(Asked(request.method, request.path, dict(request.headers), body, status, time.time()))
            self._arrived.set()

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        fault = self._fault(request)
        if fault is None:
            answer: web.StreamResponse = await handler(request)
            return answer
        if fault.reset and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if fault.accept_then_hang:
            await handler(request)
            await asyncio.Event().wait()
        if fault.until is not None:
            answer = await handler(request)
            self._arrived.set()
            await fault.until.wait()
            return answer
        if fault.drip is not None:
            return await _drip(request, await handler(request), fault.drip)
        return web.Response(status=fault.status or 500, text=fault.body, headers=fault.headers)

    def _fault(self, request: web.Request) -> HostFault | None:
        for fault in self.faults:
            if (fault.times is None or fault.hits < fault.times) and fault.when(request):
                fault.hits += 1
                return fault
        return None

    async def _dump(self, _: web.Request) -> web.Response:
        """For a benchmark in another process: when each write arrived."""
        entries = [{"path": a.path, "status": a.status, "at": a.at} for a in self.posts()]
        return web.json_response(entries)

    # Pages

    def page(self, template: str, **values: Any) -> web.Response:
        """An HTML page."""
        text = _TEMPLATES.get_template(template).render(host=self, **values)
        return web.Response(text=text, content_type="text/html")

    async def _script(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(_SCRIPT)

    def commits(self, project: Project) -> Iterator[tuple[str, str, str]]:
        """sha, title and overall state of each commit, newest first."""
        for sha, title in reversed(project.commits.items()):
            yield sha, title, self.overall(self.states(project, sha))

    def states(self, project: Project, sha: str) -> list[str]:
        """The state of each thing that a commit shows."""
        return [posted.state for posted in self.latest(project.path, sha).values()]

    def overall(self, states: list[str]) -> str:
        """One word for many states."""
        for state in ("failed", "failure", "error", "canceled", "running", "pending", "success"):
            if state in states:
                return state
        return ""


async def _drip(request: web.Request, answer: web.StreamResponse, pause: float) -> web.StreamResponse:
    body = bytes(answer.body or b"") if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    for number in range(len(body)):
        await response.write(body[number : number + 1])
        await asyncio.sleep(pause)
    await response.write_eof()
    return response
