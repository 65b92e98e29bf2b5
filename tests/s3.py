"""A real S3 server (moto's) in a process of its own, and a proxy before it that does what servers and networks do on bad days."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from typing import Final, Self

from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL

PAGE: Final = 20  # names in one answer to a listing
_RUNNING: Final = re.compile(rb"Running on (http://127\.0\.0\.1:\d+)")


class S3Server:
    """``with S3Server() as server``: listens on ``server.url``, in memory, and takes any credentials."""

    def __init__(self) -> None:
        self.url = ""
        self._names = itertools.count(1)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        listens = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(listens,), daemon=True)
        self._reader.start()
        if not listens.wait(60) or not self.url:
            self.__exit__()
            raise RuntimeError("the S3 server does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self, listens: threading.Event) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if not self.url and (found := _RUNNING.search(line)):
                self.url = found[1].decode()
                listens.set()
        listens.set()

    def bucket(self) -> str:
        """A new, empty bucket."""
        name = f"bucket-{os.getpid()}-{next(self._names)}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return name


class BadDay:
    """``async with BadDay(server.url) as day``: passes requests on, until ``trouble`` is set to what is done instead."""

    def __init__(self, far: str) -> None:
        self.url = ""
        self.requests: list[tuple[str, str]] = []  #: method, and path with query
        self.key_ids: list[str] = []  #: of the requests' signatures
        self.trouble: Callable[[web.Request], web.StreamResponse | str | None] = lambda _: None
        """An answer, or "silence", or "cut" (half of the answer's body), or None for nothing."""
        self._far = far
        self._end = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._session = ClientSession(timeout=ClientTimeout(total=60), auto_decompress=False)
        application = web.Application(client_max_size=1024**3)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs))
        if found := re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", "")):
            self.key_ids.append(found[1])
        trouble = self.trouble(request)
        if isinstance(trouble, web.StreamResponse):
            return trouble
        if trouble == "silence":
            await self._end.wait()
            return web.Response(status=503)
        url = URL(self._far + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, headers=request.headers, data=request.content) as far:
            body = await far.read()
            headers = {k: v for k, v in far.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
            if trouble != "cut":
                if request.method == "HEAD":
                    return web.Response(status=far.status, headers=headers)
                return web.Response(status=far.status, headers=headers | {"Content-Length": str(len(body))}, body=body)
            response = web.StreamResponse(status=far.status, headers=headers | {"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.abort()
            return response
