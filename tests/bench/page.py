"""A run's page whose failed step printed a million lines, in the browser: until one sees something, until all is there, and how it goes on."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.rows import Row
from tests.browser.conftest import FLAGS, chromium
from tests.browser.world import NAMESPACE, World
from tests.scene import PASSWORD, USER

_LONG = 120_000  # milliseconds


def page(lines: int, *, repeat: int) -> list[Row]:
    """The rows. Without a browser: none."""
    path = chromium()
    if path is None:
        print("page: no Chromium on this machine")
        return []
    figures: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world, sync_playwright() as playwright:
        run = world.start("million")
        size = _print(world, run, lines)
        run.end(1)
        world.wait(_recorded(world, run.name))
        for turn in range(repeat + 1):
            with contextlib.closing(playwright.chromium.launch(executable_path=path, args=list(FLAGS))) as browser:
                figure = _measure(browser, run.url, lines)
                if turn or repeat == 0:  # the first one warms up
                    figures.append(figure)
    label = f"page of a run with {lines:,} lines ({size / 1e6:.0f} MB)"
    rows = [
        ("first", f"{label}: the last lines of the failed step are seen after", "s", "≤ 2"),
        ("whole", "… all lines are there after", "s", ""),
        ("end", "… from the end to the first line and back, each until it is seen", "s", ""),
        ("found", "… a word that is there once, in the middle: found after", "s", ""),
        ("frame", "… longest time between two frames while 200 screens are scrolled through", "s", ""),
        ("memory", "… memory of the tab's process", "MB", ""),
        ("elements", "… elements in the log", "", ""),
    ]
    return [Row(what, unit, [figure[key] for figure in figures], aim) for key, what, unit, aim in rows]


def _print(world: World, run: Any, lines: int) -> int:
    size = 0
    for start in range(0, lines, 10_000):
        piece = b"".join(
            b"%07d [INFO] compiling \x1b[36msrc/module_%d.c\x1b[0m with all warnings, linking the objects%s\n"
            % (number, number % 977, b" needle" if number == lines // 2 else b"")
            for number in range(start, min(lines, start + 10_000))
        )
        size += len(piece)
        run.print(piece)
    return size


async def _recorded(world: World, name: str) -> None:
    from listener.cluster.names import Key

    stream = world.service.logs.stream(Key(NAMESPACE, name), tail=1)
    async with contextlib.aclosing(stream):
        async for _ in stream:
            pass


def _measure(browser: Browser, url: str, lines: int) -> dict[str, float]:
    context = browser.new_context(http_credentials={"username": USER, "password": PASSWORD})
    tab = context.new_page()
    last = f"{lines - 1:07d} [INFO]"
    began = time.perf_counter()
    tab.goto(url, wait_until="commit")
    tab.locator(".line", has_text=last).first.wait_for(timeout=_LONG)
    first = time.perf_counter() - began
    tab.locator("html[data-loaded=true]").wait_for(state="attached", timeout=_LONG)
    tab.locator("#viewer .line", has_text=last).wait_for(timeout=_LONG)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    tab.evaluate("document.getElementById('viewer').scrollTop = 0")
    tab.locator("#viewer .line", has_text="0000000 [INFO]").wait_for(timeout=_LONG)
    tab.evaluate("document.getElementById('viewer').scrollTop = 1e9")
    tab.locator("#viewer .line", has_text=last).wait_for(timeout=_LONG)
    end = (time.perf_counter() - began) / 2
    frame = tab.evaluate(
        """() => new Promise((done) => { const box = document.getElementById('viewer'); let last = performance.now(), most = 0, n = 0;
        const step = (now) => { most = Math.max(most, now - last); last = now; box.scrollTop -= box.clientHeight;
        if (++n < 200) requestAnimationFrame(step); else done(most / 1000); }; requestAnimationFrame(step); })"""
    )
    began = time.perf_counter()
    tab.locator("#words").fill("needle")
    tab.locator("#words").press("Enter")
    tab.locator("#viewer .line.current", has_text="needle").wait_for(timeout=_LONG)
    found = time.perf_counter() - began
    figures = {"first": first, "whole": whole, "end": end, "found": found, "frame": frame}
    figures |= {"memory": _memory(browser, tab), "elements": tab.locator("#viewer *").count()}
    context.close()
    return figures


def _memory(browser: Browser, tab: Page) -> float:
    """MB of the largest renderer's resident memory: the tab's."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = [_resident(process["id"]) for process in processes if process["type"] == "renderer"]
    return max(sizes, default=0.0)


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
