"""Many readers of logs, in a process of its own. Says ``ready`` when all have their headers, and at the end what each got, as JSON.

``--stalled`` of them take nothing until the others have everything; then they read, too.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re
import socket
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import uvloop

_HELD = 4096  # bytes, more than a last line has
_MOMENT = re.compile(rb"t=(\d+) ")
_PASSING = re.compile(rb"^# \.\.\. .*\n", re.MULTILINE)


class Got:
    """What one reader got."""

    def __init__(self, path: str) -> None:
        self.path, self.error = path, ""
        self.size = 0
        self.first = self.last = 0.0
        self.ages: list[float] = []  # milliseconds, of the first line of each piece
        self._hash, self._held = hashlib.sha256(), b""

    def take(self, chunk: bytes) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.size += len(chunk)
        if found := _MOMENT.search(chunk):
            self.ages.append(self.last * 1000 - int(found[1]) / 1e6)
        if b"# ... " in chunk:
            chunk = _PASSING.sub(b"", chunk)
        held = self._held + chunk
        self._hash.update(held[:-_HELD])
        self._held = held[-_HELD:]

    def figures(self) -> dict[str, Any]:
        log, _, verdict = self._held.removesuffix(b"\n").rpartition(b"\n")
        self._hash.update(log + b"\n")
        return {
            "path": self.path, "error": self.error, "bytes": self.size, "first": self.first, "last": self.last,
            "sha256": self._hash.hexdigest(), "verdict": verdict.decode(), "ages": self.ages,
        }  # fmt: skip


async def main(options: argparse.Namespace) -> None:
    paths = [path for path in options.paths.split(",") for _ in range(options.each)]
    got = [Got(path) for path in paths]
    headers = {"Accept": options.accept}
    if options.user:
        headers["Authorization"] = "Basic " + base64.b64encode(options.user.encode()).decode()
    async with _session(options.url, headers) as session, _session(options.url, headers, small=True) as small:
        opening = [(small if number < options.stalled else session).get(one.path) for number, one in enumerate(got)]
        opened = await asyncio.gather(*opening)
        print("ready", flush=True)
        read = [take_all(response, one) for response, one in zip(opened, got, strict=True)]
        await asyncio.gather(*read[options.stalled :])
        print(time.monotonic(), flush=True)
        await asyncio.gather(*read[: options.stalled])
    print(json.dumps([one.figures() for one in got]))


def _session(url: str, headers: dict[str, str], *, small: bool = False) -> aiohttp.ClientSession:
    """``small``: the kernel takes little for a reader that takes nothing, so that the service notices."""

    def make(address: Any) -> socket.socket:
        made = socket.socket(address[0], address[1])
        if small:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return made

    timeout = aiohttp.ClientTimeout(total=None, sock_read=None if small else 120)
    connector = aiohttp.TCPConnector(limit=0, socket_factory=make)
    return aiohttp.ClientSession(url, connector=connector, timeout=timeout, headers=headers)


async def take_all(response: aiohttp.ClientResponse, got: Got) -> None:
    try:
        if response.status != 200:
            got.error = f"{response.status} {await response.text()}"
            return
        async for chunk in response.content.iter_any():
            got.take(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        got.error = repr(error)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--paths", required=True, help="with commas")
    parser.add_argument("--each", type=int, default=1, help="readers of each path")
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--user", default="", help="NAME:PASSWORD")
    parser.add_argument("--accept", default="*/*")
    return parser.parse_args(argv)


if __name__ == "__main__":
    uvloop.run(main(parse()))
