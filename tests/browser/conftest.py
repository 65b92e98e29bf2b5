"""One browser for all tests of this folder, a page for each; the distribution's Chromium, for nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, sync_playwright

from tests.browser.world import World
from tests.scene import PASSWORD, USER

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OpenPage = Callable[..., Page]


def chromium() -> str | None:
    """The browser of this machine; ``CHROMIUM`` names another one."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="package")  # not longer: while Playwright is at work, this thread has an event loop
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium on this machine: sh tests/system-packages as root, or apt-get install chromium")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        except Error as error:
            pytest.skip(f"{path} does not start here: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="package")  # not longer: while Playwright is at work, this thread has an event loop
def world(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[World]:
    """A world with a run of each kind."""
    with World(Path(tmp_path_factory.mktemp("world"))) as world:
        world.tell_all()
        yield world


@pytest.fixture
def open_page(browser: Browser, world: World) -> Iterator[OpenPage]:
    """``open_page(url, **options)``: a page in a context of its own; ``fails``: an error that is to be expected. At the end of the test it must have had no errors, and have asked
    nobody but the service and the Git hosts."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []
    ours = (world.url, world.gitlab.url, world.github.url)

    def open_one(url: str, *, user: bool = True, fails: str = "never", **options: Any) -> Page:
        credentials = {"username": USER, "password": PASSWORD, "origin": world.url} if user else None
        context = browser.new_context(http_credentials=credentials, **options)  # type: ignore[arg-type]  # a plain dict will do
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        page.on("console", lambda said: wrong.append(said.text) if _is_error(said, world, fails) else None)
        page.on("request", lambda asked: wrong.append(f"asked {asked.url}") if not asked.url.startswith(ours) else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []


def _is_error(said: ConsoleMessage, world: World, fails: str) -> bool:
    return said.type == "error" and fails not in said.text and said.location["url"].startswith(world.url)
