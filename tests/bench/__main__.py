"""``make bench``: what is promised about speed and memory, measured. Prints a table; asserts nothing, for machines differ.

Parts, by name on the command line, all of them without: ``startup`` (10,000 runs), ``large`` (100,000), ``delivery`` (a steady rate),
``burst`` (10,000 runs that end within a minute, at any rate and at a limited one), ``log`` (one of 60 MB, read in several ways),
``log-latency``, ``log-readers`` (500 of one live run), ``log-runs`` (100 with 10 readers each), ``log-record`` (200 runs without readers),
``archive`` (a log of 100 MB kept and opened again),
``page`` (a run's page with 1,000,000 lines, in a browser).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from tests.bench.archive import archive
from tests.bench.burst import burst
from tests.bench.delivery import delivery
from tests.bench.logs_many import readers, recorded, runs
from tests.bench.logs_throughput import latency, throughput
from tests.bench.page import page
from tests.bench.rows import Row, table
from tests.bench.startup import start_up

PARTS = (
    "startup", "large", "delivery", "burst", "log", "log-latency", "log-readers", "log-runs", "log-record", "archive", "page",
)  # fmt: skip


async def main(options: argparse.Namespace) -> None:
    small = options.runs
    parts: dict[str, Callable[[], Awaitable[list[Row]]]] = {
        "startup": lambda: start_up(small or 10_000, repeat=options.repeat, aims=("≤ 1.3", "≤ 120")),
        "large": lambda: start_up(small or 100_000, repeat=min(options.repeat, 3), aims=("≤ 1.3", "≤ 350")),
        "delivery": lambda: delivery(options.rate, options.seconds),
        "page": lambda: asyncio.to_thread(page, options.page_lines, repeat=min(options.repeat, 3)),
        "burst": lambda: both_bursts(small or 10_000, options.within, options.per_minute),
        "log": lambda: throughput(options.lines, repeat=options.repeat),
        "log-latency": lambda: latency(1000),
        "log-readers": lambda: both_readers(options.readers),
        "log-runs": lambda: runs(100, each=10),
        "log-record": lambda: recorded(200),
        "archive": lambda: archive(options.repeat),
    }
    rows = []
    for name in options.parts or PARTS:
        rows += await parts[name]()
    print(table(rows))


async def both_bursts(runs: int, within: float, per_minute: int) -> list[Row]:
    return [
        *await burst(runs, within=within, per_minute=None),
        *await burst(runs, within=within, per_minute=per_minute),
    ]


async def both_readers(number: int) -> list[Row]:
    return [*await readers(number, stalled=0), *await readers(number, stalled=number // 10)]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them without")
    parser.add_argument("--runs", type=int, help="of startup, large and burst, to try them out")
    parser.add_argument("--page-lines", type=int, default=1_000_000, help="of page")
    parser.add_argument("--rate", type=int, default=300, help="updates a second, of delivery")
    parser.add_argument("--seconds", type=int, default=10, help="of delivery")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--within", type=float, default=60.0, help="seconds, of burst")
    parser.add_argument("--per-minute", type=int, default=6_000, help="writes that burst's second host takes")
    parser.add_argument("--lines", type=int, default=600_000, help="of log")
    parser.add_argument("--readers", type=int, default=500, help="of log-readers")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    uvloop.run(main(parse(sys.argv[1:])))
