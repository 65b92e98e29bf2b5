"""``python -m tests.browser.screenshots``: the pictures in ``docs/``, taken from a run of each kind, light and dark; of a phone; and of what the demo's
Git hosts and chat show.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, expect, sync_playwright

from listener.demo.stage import PORTS
from tests.browser.conftest import FLAGS, chromium
from tests.browser.world import KINDS, World
from tests.e2e.test_examples import free_ports
from tests.scene import PASSWORD, USER

FOLDER: Final = Path(__file__).parents[2] / "docs"
Scheme = Literal["light", "dark"]
_SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
_WIDE, _PHONE = (1200, 640), (390, 780)
_DEMO_PAGES: Final = {
    "merge-request": "its merge request",
    "check-run": "Check runs of an App",
    "chat": "Messages to a chat",
}


def main() -> int:
    path = chromium()
    if path is None:
        print("no Chromium on this machine; sh tests/system-packages installs one", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder), pace=0.7) as world,
        sync_playwright() as playwright,
    ):
        world.tell_all()
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for scheme in _SCHEMES:
            for kind in KINDS:
                _take(browser, world, world.page(kind), f"run-{kind}-{scheme}", scheme, _WIDE)
            _take(browser, world, f"{world.url}/runs", f"runs-{scheme}", scheme, _WIDE)
            _take(browser, world, world.page("failed"), f"phone-{scheme}", scheme, _PHONE)
        with _demo() as pages:
            for scheme in _SCHEMES:
                for name, (url, last) in pages.items():
                    _take_demo(browser, url, last, f"demo-{name}-{scheme}", scheme)
        browser.close()
    return 0


@contextlib.contextmanager
def _demo() -> Iterator[dict[str, tuple[str, str]]]:
    """The demo while it runs: of each picture the page, and what it shows when there is all to see."""
    port = free_ports(PORTS + 1)
    command = [sys.executable, "-m", "listener", "demo", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        printed = ""
        while "The story:" not in printed:
            line = demo.stdout.readline()
            assert line, printed
            printed += line
        url = {name: re.findall(rf"{label} +(http\S+)", printed)[0] for name, label in _DEMO_PAGES.items()}
        last = {"merge-request": "service-xyz-run-docs-2-", "check-run": "Annotations · 3", "chat": "succeeded on main"}
        yield {name: (url[name], last[name]) for name in last}
        demo.terminate()
        demo.communicate()


def _take_demo(browser: Browser, url: str, last: str, name: str, scheme: Scheme) -> None:
    context = browser.new_context(viewport={"width": 1000, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    expect(page.locator("main")).to_contain_text(last, timeout=90_000)
    for summary in page.locator("details:not([open]) > summary").all():
        summary.click()
    page.mouse.move(0, 0)
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def _take(browser: Browser, world: World, url: str, name: str, scheme: Scheme, size: tuple[int, int]) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        reduced_motion="reduce",
        http_credentials={"username": USER, "password": PASSWORD, "origin": world.url},
    )
    page = context.new_page()
    page.goto(url)
    if "/runs/" in url:
        running = "running" in name
        expect(page.locator("html[data-final=true]" if not running else "html[data-final=false]")).to_be_attached()
        if running:
            expect(page.locator("#viewer .line")).not_to_have_count(0)
        else:
            expect(page.locator("html[data-loaded=true]")).to_be_attached()
        expect(page.locator("#tail")).to_have_count(0)
    if "succeeded" in name:
        page.get_by_role("button", name=re.compile("unit-test › pytest")).click()
    page.mouse.move(0, 0)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


if __name__ == "__main__":
    sys.exit(main())
