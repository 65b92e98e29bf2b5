"""``/runs`` in the browser: by service, with filters, and from there to a run."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.world import World, name_of


def test_the_list_filters_by_state_and_text_and_leads_to_a_run(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{world.url}/runs")
    expect(page.get_by_role("heading", name="service-xyz")).to_be_visible()
    page.get_by_label("State").select_option("broke")
    expect(page).to_have_url(re.compile("state=broke"))
    expect(page.locator("main .sentence").get_by_text("Could not run")).to_be_visible()
    expect(page.locator("main").get_by_text("Passed")).to_have_count(0)
    page.get_by_label("Text").fill(name_of("failed"))
    page.get_by_label("Text").press("Enter")
    expect(page.locator("main li")).to_have_count(1)
    page.locator("main li a").click()
    expect(page).to_have_url(world.page("failed"))


def test_the_filters_work_without_javascript(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{world.url}/runs", java_script_enabled=False)
    page.get_by_label("State").select_option("cancelled")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("main li")).to_have_count(1)
    page.get_by_label("Text").fill("no such thing")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No run fits.")).to_be_visible()
