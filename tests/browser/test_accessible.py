"""The pages for everybody: axe finds nothing serious, in light and in dark, wide and narrow; everything can be reached by keyboard."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.world import KINDS, World

_AXE = next(Path(axe_playwright_python.__file__).parent.glob("axe.min.js")).read_text()
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_COLOURS = ["color-contrast", "link-in-text-block"]


@pytest.mark.parametrize("kind", [*KINDS, "list"])
def test_axe_finds_nothing_serious(open_page: OpenPage, world: World, kind: str) -> None:
    found = []
    page = open_page(f"{world.url}/runs" if kind == "list" else world.page(kind), bypass_csp=True)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if kind == "failed":
        expect(page.locator("#viewer .line").first).to_be_visible()
    page.evaluate(_AXE)
    looks = [("light", 1280, _TAGS), ("dark", 1280, _COLOURS)] + ([("light", 390, _TAGS)] if kind == "failed" else [])
    for scheme, width, rules in looks:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the words
        page.set_viewport_size({"width": width, "height": 800})
        report = page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], runOnly: rules})", rules)
        found += [
            f"{scheme} {width}: {violation['id']}: {node['html'][:120]}: {node['failureSummary'][:300]}"
            for violation in report["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
    assert found == []


@pytest.mark.parametrize("kind", ["failed", "matrix", "never-started", "list"])
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, world: World, kind: str) -> None:
    url = f"{world.url}/runs" if kind == "list" else world.page(kind)
    page = open_page(url, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_log_is_reached_by_keyboard(open_page: OpenPage, world: World) -> None:
    page = open_page(world.page("failed"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the log")).to_be_focused()
    link = page.locator("#head").get_by_role("link", name="lint › ruff exited 1")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer .line").filter(has_text="Found 1 error.")).to_be_in_viewport()
