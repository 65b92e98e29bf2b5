"""A finished log of 100 MB kept and opened again, in a folder and in an S3 server, in a process of its own; and what zlib's levels are worth."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path

import uvloop

from listener.cluster.names import Key
from listener.logs.archive_folder import FolderStore
from listener.logs.archive_store import Store
from listener.logs.spool import End, Source, Spool
from tests.archives import QUICK, RUN, archive_in, bucket_store
from tests.bench.rows import Row
from tests.s3 import S3Server

_SIZE = 100_000_000
_LEVELS = (1, 2, 3, 6)
_WORDS = (
    "compiling",
    "linking",
    "warning:",
    "unused",
    "variable",
    "PASSED",
    "test_",
    "INFO",
    "Downloading",
    "from",
    "cache",
    "src/main/",
)


def build_log(size: int) -> bytes:
    """Lines as compilers and test runners print them: words that come again, numbers and hashes that do not."""
    draw = random.Random(1)
    lines, length, number = [], 0, 0
    while length < size:
        number += 1
        words = " ".join(draw.choice(_WORDS) for _ in range(draw.randrange(3, 12)))
        line = f"2026-03-01T12:{number // 60 % 60:02}:{number % 60:02}.{draw.randrange(10**9):09}Z {words} {draw.randrange(10**6)}"
        lines.append(f"{line} {draw.getrandbits(64):x}\n".encode())
        length += len(lines[-1])
    return b"".join(lines)


def levels() -> list[Row]:
    """On one core."""
    log = build_log(_SIZE // 5)
    rows = []
    for level in _LEVELS:
        began = time.perf_counter()
        packed = len(zlib.compress(log, level, 31))
        seconds = time.perf_counter() - began
        rows.append(Row(f"zlib level {level}: throughput", "MB/s", [len(log) / seconds / 1e6]))
        rows.append(Row(f"zlib level {level}: size", "%", [100 * packed / len(log)]))
    return rows


async def archive(repeat: int) -> list[Row]:
    rows = levels()
    with S3Server() as server:
        for kind in ("folder", "s3"):
            figures = [await _measured(kind, server.url, server.bucket()) for _ in range(min(repeat, 3))]
            for what, unit in (
                ("keep", "s"),
                ("open", "s"),
                ("longest pause of the loop", "ms"),
                ("memory more than at the start", "MB"),
            ):
                rows.append(Row(f"100 MB log, {kind}: {what}", unit, [figure[what] for figure in figures]))
    return rows


async def _measured(*arguments: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.archive", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    figures: dict[str, float] = json.loads(output)
    return figures


def _spool() -> Spool:
    spool = Spool()
    source = spool.source(Source("build", "compile"))
    part = build_log(_SIZE // 100)
    for _ in range(100):
        spool.append(source, part)
    spool.finish(End("Succeeded", "all is well"))
    return spool


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _pauses(found: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        found.append(time.perf_counter() - before - 0.001)


async def measure(kind: str, url: str, bucket: str) -> dict[str, float]:
    """Seconds of ``keep`` and ``open``, the loop's longest pause meanwhile, and how much the process's peak grew."""
    with tempfile.TemporaryDirectory() as folder:
        patience = replace(QUICK, transfer=600.0, request=300.0)
        store: Store = (
            FolderStore(Path(folder))
            if kind == "folder"
            else bucket_store(url, bucket, Path(folder), patience=patience)
        )
        archive = archive_in(store)
        kept, opened = _spool(), Spool()
        await archive.find(Key("nobody", "nothing"))  # so that everything is loaded
        peak = _peak()
        pauses: list[float] = []
        watching = asyncio.create_task(_pauses(pauses))
        began = time.perf_counter()
        await archive.keep(RUN, kept)
        between = time.perf_counter()
        entry = await archive.find(Key(RUN.namespace, RUN.name))
        assert entry is not None
        await archive.open(entry, opened)
        ended = time.perf_counter()
        watching.cancel()
        assert opened.size == kept.size
        return {
            "keep": between - began,
            "open": ended - between,
            "longest pause of the loop": max(pauses) * 1000,
            "memory more than at the start": _peak() - peak,
        }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(*sys.argv[1:]))))
