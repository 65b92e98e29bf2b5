"""Requests as bytes, for what no client library would send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """An open connection to the service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def request(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    """A request's head."""
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: x", *headers, b"", b""])


async def answer(reader: asyncio.StreamReader, *, timeout: float = 20.0) -> tuple[int, dict[str, str], bytes]:
    """The next answer: status, headers in lower case, body. Raises ``EOFError`` where the connection ends without one."""
    async with asyncio.timeout(timeout):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        status = int(first.split(" ")[1])
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return status, headers, body
        return status, headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def ask(port: int, head: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    async with connection(port) as (reader, writer):
        writer.write(head)
        return await answer(reader)
