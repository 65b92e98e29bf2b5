"""From the commit to the broken line: what somebody finds who follows "Details", for a run of each kind."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.world import KINDS, World, name_of, run_of


def follow_details(open_page: OpenPage, world: World, kind: str) -> Page:
    """Open the commit's page, follow the link beside the run's status."""
    page = open_page(world.commit_page)
    pipeline = run_of(kind, pace=1).pipeline
    row = page.locator(".row", has_text=f"tekton/{pipeline}")
    row.get_by_role("link", name="Details").click()
    expect(page).to_have_url(f"{world.url}/runs/team-a/{name_of(kind)}")
    return page


def test_a_succeeded_run_says_so_shows_its_tasks_and_leads_back_to_the_commit(
    open_page: OpenPage, world: World
) -> None:
    page = follow_details(open_page, world, "succeeded")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Passed in \d+s · 3 tasks"))
    expect(page).to_have_title(re.compile(r"^✓ Passed"))
    tasks = page.get_by_role("navigation", name="Tasks")
    for task in ("build", "unit-test", "lint"):
        expect(tasks.get_by_text(task, exact=True)).to_be_visible()
    expect(tasks.locator("rect.span.succeeded")).to_have_count(3)
    head = page.get_by_role("button", name="build › compile")
    expect(head).to_have_attribute("aria-expanded", "false")
    head.click()
    expect(page.locator(".line").filter(has_text="compiling module 12 of 12")).to_be_visible()
    page.locator("#head").get_by_role("link", name="group/service-xyz").click()
    expect(page).to_have_url(f"{world.gitlab.url}/group/service-xyz")


def test_a_failed_run_shows_the_broken_line_without_a_click(open_page: OpenPage, world: World) -> None:
    page = follow_details(open_page, world, "failed")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Failed in \d+s"))
    expect(page.locator("#head").get_by_text("lint › ruff exited 1")).to_be_visible()
    broken = page.locator("#viewer .line").filter(has_text="F841 local variable `token` is assigned to but never used")
    expect(broken).to_be_in_viewport()
    expect(broken.locator("span.f1.bold")).to_have_text("F841")
    expect(page.get_by_role("button", name="lint › ruff")).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("button", name="lint › install")).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_role("navigation").get_by_text("exit 1")).to_be_visible()
    expect(page.get_by_role("navigation").get_by_text("did not run").first).to_be_visible()


def test_a_running_run_shows_the_step_that_runs_and_gains_lines(open_page: OpenPage, world: World) -> None:
    page = follow_details(open_page, world, "running")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Running")
    expect(page.get_by_role("button", name="Follow")).to_have_attribute("aria-pressed", "true")
    head = page.get_by_role("button", name="soak › watch")
    expect(head).to_have_attribute("aria-expanded", "true")
    last = page.locator("#viewer .line:not(.note)").last
    before = last.locator(".number").inner_text()
    expect(last.locator(".number")).not_to_have_text(before)
    expect(last).to_be_in_viewport()


def test_a_cancelled_run_shows_what_it_was_doing(open_page: OpenPage, world: World) -> None:
    page = follow_details(open_page, world, "cancelled")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Cancelled after \d+s"))
    expect(page.locator("#head").get_by_text("browser › playwright was still running")).to_be_visible()
    expect(page.locator("#viewer .line").filter(has_text="scenario 2 of 40")).to_be_visible()


def test_a_matrix_shows_what_tells_its_tasks_apart(open_page: OpenPage, world: World) -> None:
    page = follow_details(open_page, world, "matrix")
    tasks = page.get_by_role("navigation", name="Tasks")
    expect(tasks.get_by_text("matrix of 4")).to_be_visible()
    for values in ("3.11 · linux", "3.11 · mac", "3.13 · linux", "3.13 · mac"):
        expect(tasks.get_by_text(values)).to_be_visible()
    page.get_by_role("button", name="test (3.13 · mac) › pytest").click()
    expect(page.locator(".line").filter(has_text="tests/test_cli.py ..... PASSED")).to_be_visible()


def test_a_run_that_never_started_says_why(open_page: OpenPage, world: World) -> None:
    page = follow_details(open_page, world, "never-started")
    expect(page.get_by_role("heading", level=1)).to_have_text("Could not run")
    why = page.locator(".why")
    expect(why.get_by_text("The pipeline uses a task that does not exist in the cluster.")).to_be_visible()
    expect(why.get_by_text('Couldn\'t retrieve Task "sign-image"')).to_be_visible()
    expect(why.get_by_text("CouldntGetTask")).to_be_visible()
    expect(page.get_by_text("Nothing was printed.")).to_be_visible()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "running"])
def test_without_javascript_state_tasks_and_log_can_be_read(open_page: OpenPage, world: World, kind: str) -> None:
    page = open_page(world.page(kind), java_script_enabled=False)
    words = {"never-started": "Could not run", "matrix": "Passed", "succeeded": "Passed"}.get(kind, kind.capitalize())
    expect(page.get_by_role("heading", level=1)).to_contain_text(words)
    expect(page.get_by_role("navigation", name="Tasks")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_count(0)
    frame = page.frame_locator("iframe")
    printed = {"failed": "[lint : ruff]", "cancelled": "[browser : playwright]", "matrix": "[test-3 : pytest]"}
    expect(frame.locator("body")).to_contain_text(printed.get(kind, "# verdict: "))
    if kind == "failed":
        expect(page.locator("#tail")).to_contain_text("F841 local variable `token`")


def test_a_page_that_is_open_learns_that_its_run_has_ended(open_page: OpenPage, world: World) -> None:
    run = world.start("ends", "first", "second")
    page = open_page(run.url)
    run.print(b"one\n", "first")
    expect(page.locator("#viewer .line").filter(has_text="one")).to_be_visible()
    run.end_step("first")
    run.print(b"two\nthe last word\n", "second")
    expect(page.locator("#viewer .line").filter(has_text="the last word")).to_be_visible()
    page.evaluate("window.stayed = true")
    run.end(3)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Failed")
    expect(page).to_have_title(re.compile("^✕ Failed"))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("failed.svg"))
    expect(page.get_by_role("button", name="Follow")).to_be_hidden()
    expect(page.get_by_role("button", name="job › second")).to_contain_text("exit 3")
    expect(page.locator("#viewer .line").filter(has_text="the last word")).to_be_in_viewport()
    expect(page.get_by_role("status").first).to_contain_text("Failed")
    assert page.evaluate("window.stayed")


def test_nothing_moves_while_lines_come(open_page: OpenPage, world: World) -> None:
    run = world.start("calm")
    page = open_page(run.url)
    page.evaluate(
        """() => { window.shifts = []; new PerformanceObserver((list) => { for (const entry of list.getEntries())
        if (!entry.hadRecentInput) shifts.push(entry.value); }).observe({type: 'layout-shift', buffered: true}) }"""
    )
    for number in range(200):
        run.print(f"line {number}\n".encode())
    expect(page.locator("#viewer .line").filter(has_text="line 199")).to_be_visible()
    page.locator("#viewer").hover()
    page.mouse.wheel(0, -2000)
    read = page.locator("#viewer .line").filter(has_text=re.compile(r"^\d+line 100$"))
    expect(read).to_be_in_viewport()
    place = read.bounding_box()
    run.print(b"".join(b"more %d\n" % number for number in range(500)))
    expect(page.get_by_role("button", name="job › main").first).to_contain_text("700 lines")
    assert read.bounding_box() == place, "what one reads must stay where it is"
    run.end()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Passed")
    assert sum(page.evaluate("window.shifts")) < 0.02, "of the window's area times the way"


def test_a_signed_link_shows_the_whole_page_without_a_password_and_is_told_to_nobody(
    open_page: OpenPage, world: World
) -> None:
    page = open_page(world.signed_page("failed"), user=False)
    expect(page.locator("#viewer .line").filter(has_text="F841 local variable `token`")).to_be_visible()
    expect(page.get_by_role("link", name="Runs")).to_have_count(0)
    page.locator("#head").get_by_role("link", name="acme/service-xyz").click()
    expect(page).to_have_url(f"{world.github.url}/acme/service-xyz")
    asked = world.do(lambda: [one.headers for one in world.github.asked if one.path == "/acme/service-xyz"])
    assert asked
    assert all("Referer" not in headers for headers in asked)


def test_a_signed_link_of_a_run_that_goes_on_stays_up_to_date(open_page: OpenPage, world: World) -> None:
    page = open_page(world.signed_page("running"), user=False)
    with page.expect_response(lambda response: response.url.endswith("/state")) as answer:
        pass
    assert answer.value.status == 200
    expect(page.locator("#viewer .line").first).to_be_visible()


def test_a_run_that_nobody_knows_has_a_page_that_says_so(open_page: OpenPage, world: World) -> None:
    page = open_page(f"{world.url}/runs")
    response = page.request.get(f"{world.url}/runs/team-a/nope", headers={"Accept": "text/html"})
    assert response.status == 404
    assert "There is no such run" in response.text()
