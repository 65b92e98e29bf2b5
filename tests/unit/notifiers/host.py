"""A Git host that answers what a test tells it to, byte by byte if need be, and keeps what it was asked.

Bare sockets, not an HTTP library: a test has to see every request that reaches the wire, and answers that no library would send.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

CREATED: dict[str, Any] = {"id": 1, "state": "success", "status": "success", "pipeline_id": 4711}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. ``how``: whole, reset (nothing, connection dropped), hang (nothing, connection kept), drip (never an end),
    cut (half the body), drip_head (headers without end), echo (the request's headers as the message)."""

    status: int = 201
    body: Any = field(default_factory=lambda: CREATED)  #: bytes as they are, anything else as JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "whole"

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def wire(self) -> bytes:
        content = self.content()
        kind = "text/html" if isinstance(self.body, bytes) else "application/json"
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Whatever\r\n{head}\r\n".encode() + content


class Host:
    """``async with Host() as host`` listens on a free port of 127.0.0.1."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.script: deque[Answer] = deque()  #: answers to the next requests
        self.canned: tuple[tuple[str, str, Answer], ...] = ()  #: answers by method and path (a regular expression)
        self.default = Answer()  #: the answer to all others
        self.failing: tuple[int, Answer] | None = None  #: from this request on (1 is the first) the answer to all
        self.holding: int | None = None  #: from this request on answers wait for ``release``
        self.grants: Answer | None = (
            None  #: the answer to a GitHub App that asks for a token, which is then not among what was asked
        )
        self.granted = 0
        self.connections = 0
        self.open = 0
        self._tls = tls
        self._release = asyncio.Event()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        impatient: dict[str, Any] = {"ssl_shutdown_timeout": 0.1} if self._tls else {}
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls, **impatient)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def last(self) -> Asked:
        return self.asked[-1]

    def release(self) -> None:
        """Answer now what was told to hang."""
        self.holding = None
        self._release.set()

    async def has(self, requests: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= requests)

    async def has_no_connection(self) -> None:
        """Wait until every client has hung up."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.open == 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while await self._one(reader, writer, number):
                    pass
        finally:
            self._tasks.discard(task)
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()
                async with self._changed:
                    self._changed.notify_all()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        if self.grants is not None and path.endswith("/access_tokens"):
            self.granted += 1
            return await self._answer(self.grants, headers, reader, writer)
        answer = self._choose(method, path)
        if self.holding is not None and len(self.asked) + 1 >= self.holding:
            answer = dataclasses.replace(answer, how="hang")
        async with self._changed:
            self.asked.append(Asked(method, path, headers, body, number))
            self._changed.notify_all()
        return await self._answer(answer, headers, reader, writer)

    def _choose(self, method: str, path: str) -> Answer:
        if self.failing is not None and len(self.asked) + 1 >= self.failing[0]:
            return self.failing[1]
        if self.script:
            return self.script.popleft()
        fitting = (answer for verb, where, answer in self.canned if verb == method and re.search(where, path))
        return next(fitting, self.default)

    async def _answer(
        self, answer: Answer, headers: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        wire = answer.wire()
        if answer.how == "reset":
            writer.transport.abort()
            return False
        if answer.how == "hang":
            gone, told = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(self._release.wait())
            try:
                await asyncio.wait({gone, told}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hung_up, answered = gone.done(), told.done()
                gone.cancel()
                told.cancel()
                await asyncio.gather(gone, told, return_exceptions=True)
            if answered:
                writer.write(wire)
            return answered and not hung_up
        if answer.how == "cut":
            writer.write(wire[: -len(answer.content()) // 2])
            return False
        if answer.how in ("drip", "drip_head"):
            writer.write(wire.partition(b"\r\n")[0] + b"\r\n")
            if answer.how == "drip":
                writer.write(b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            while not reader.at_eof():
                writer.write(b" " if answer.how == "drip" else b"X")
                await writer.drain()
                await asyncio.sleep(0.05)  # dripping is what is tested
            return False
        if answer.how == "echo":
            wire = Answer(answer.status, {"message": f"you sent {dict(sorted(headers.items()))}"}).wire()
        writer.write(wire)
        await writer.drain()
        return True
