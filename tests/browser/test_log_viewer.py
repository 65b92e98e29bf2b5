"""The log on the page: hostile bytes, addresses of lines, search, wrapping, keys, and very many lines."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from listener.web.logs import STREAMS
from tests.browser.conftest import OpenPage
from tests.browser.world import LiveRun, World

HOSTILE = (
    b"<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>\n"
    b"\x1b]0;a title\x07after the title\n"
    b"\x1b]8;;https://evil.example.com/\x1b\\a link\x1b]8;;\x1b\\ and text\n"
    b"\x1b[31mred \x1b[1;4mbold \x1b[0mplain \x1b[38;5;196mred too \x1b[38;2;0;255;0mgreen\x1b[m\n"
    b"broken \x1b[31;\n"
    b"still red? \x1b[999;1m bold\x1b[0m\n"
    b"\x1b]52;c;aGVsbG8=\x07clipboard\x1b[2J\x1b[1;1Hhome\x1bP1$r\x1b\\done\n"
    b"bytes \xff\xfe\x00\x07\x08 end\n"
    b"10%\r50%\r\x1b[K100% done\r\n"
    b"javascript:alert(1) [lint : ruff] fake\n"
    b"# verdict: Succeeded (a fake one)\n"
    b"right \xe2\x80\xae to left\n" + b"x" * 1_000_000 + b"\n"
    b"the end, without a newline"
)


@pytest.fixture(scope="module")
def hostile(world: World) -> LiveRun:
    run = world.start("hostile")
    run.print(HOSTILE)
    run.end(1)
    return run


@pytest.fixture(scope="module")
def large(world: World) -> LiveRun:
    run = world.start("large", "build", "test")
    for start in range(0, 60_000, 6_000):
        run.print(
            b"".join(
                b"%06d compiling \x1b[32mmodule\x1b[0m %d of the program\n" % (n, n)
                for n in range(start, start + 6_000)
            ),
            "build",
        )
    run.print(b"".join(b"test %d passed\n" % number for number in range(300)), "test")
    run.print(b"a needle, just once\n" + b"word " * 400 + b"\n", "test")
    run.end()
    return run


@pytest.fixture
def page(open_page: OpenPage, large: LiveRun) -> Page:
    page = open_page(large.url)
    expect(page.locator("html[data-loaded=true]")).to_be_attached()
    return page


def lines(page: Page) -> list[str]:
    return page.locator("#viewer .line .text").all_inner_texts()


def test_hostile_bytes_are_shown_harmlessly(open_page: OpenPage, world: World, hostile: LiveRun) -> None:
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(hostile.url)
    expect(page.locator("html[data-loaded=true]")).to_be_attached()
    page.get_by_role("button", name="job › main").first.focus()
    page.locator("#viewer").evaluate("box => { box.scrollTop = 0 }")
    expect(page.locator("#viewer .line").first).to_contain_text("<script>window.pwned = 1</script>")
    shown = lines(page)
    assert shown[0] == "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
    assert shown[1] == "after the title"
    assert shown[2] == "a link and text"
    assert shown[3] == "red bold plain red too green"
    assert shown[4:7] == ["broken ", "still red?  bold", "clipboardhomedone"]
    assert shown[7] == "bytes �� end"
    assert shown[8] == "100% done"
    assert shown[9:11] == ["javascript:alert(1) [lint : ruff] fake", "# verdict: Succeeded (a fake one)"]
    assert page.locator("#viewer a:not(.number)").count() == 0, "nothing that a step prints becomes a link"
    coloured = page.locator("#viewer .line").nth(3).locator("span[class]:not(.number):not(.text)")
    assert [c.split() for c in coloured.evaluate_all("nodes => nodes.map(n => n.className)")] == [
        ["f1"],
        ["f1", "bold", "underline"],
        ["f9"],
        ["f10"],
    ]
    expect(page.locator("#viewer .line").nth(12)).to_contain_text("this line has 1,000,000 bytes")
    expect(page.locator("#viewer .line").nth(13)).to_contain_text("the end, without a newline")
    assert len(shown[12]) < 11_000
    assert page.evaluate("window.pwned") is None
    assert page.title().startswith("✕ Failed")
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(world.url).netloc}


def test_the_raw_log_is_what_was_printed(open_page: OpenPage, hostile: LiveRun) -> None:
    page = open_page(hostile.url)
    with page.expect_download() as started:
        page.get_by_role("link", name="Raw").click()
    raw = started.value.path().read_bytes()
    assert started.value.suggested_filename == f"{hostile.name}.log"
    assert b"[job : main] bytes \xff\xfe\x00\x07\x08 end\n" in raw
    assert b"[job : main] 10%\r50%\r\x1b[K100% done\r\n" in raw
    assert b"x" * 1_000_000 in raw


def test_of_very_many_lines_only_those_that_are_seen_exist(page: Page) -> None:
    page.get_by_role("button", name="job › build").click()
    expect(page.locator("#viewer .line").first).to_contain_text("000000 compiling module 0")
    assert page.locator("#viewer .line").count() < 150
    page.locator("#viewer").focus()
    page.keyboard.press("End")
    expect(page.locator("#viewer")).to_contain_text("059999 compiling module 59999 of the program")
    assert page.locator("#viewer .line").count() < 150
    page.keyboard.press("Home")
    expect(page.locator("#viewer .line").first).to_contain_text("000000 compiling")
    expect(page.get_by_role("button", name="job › build").first).to_contain_text("60,000 lines")


def test_a_line_has_an_address_that_leads_back_to_it(page: Page, open_page: OpenPage, large: LiveRun) -> None:
    page.get_by_role("button", name="job › test").click()
    page.locator("#viewer .line", has_text="test 6 passed").locator(".number").click()
    assert page.url == f"{large.url}#job/test:7"
    page.locator("#viewer .line", has_text="test 9 passed").locator(".number").click(modifiers=["Shift"])
    assert page.url == f"{large.url}#job/test:7-10"
    expect(page.locator("#viewer .line.selected")).to_have_count(4)
    other = open_page(f"{large.url}#job/build:54321")
    chosen = other.locator("#viewer .line.selected")
    expect(chosen).to_be_in_viewport()
    expect(chosen).to_contain_text("054320 compiling module 54320")


def test_search_finds_what_is_folded_and_goes_from_place_to_place(page: Page) -> None:
    page.keyboard.press("/")
    words = page.get_by_role("searchbox")
    expect(words).to_be_focused()
    words.fill("NEEDLE")
    expect(page.locator("#found")).to_have_text("1 found")
    words.press("Enter")
    expect(page.locator("#found")).to_have_text("1 of 1")
    expect(page.locator("#viewer .line.current mark")).to_have_text("needle")
    expect(page.locator("#viewer .line.current")).to_be_in_viewport()
    words.fill("module 4242 of")
    words.press("Enter")
    hit = page.locator("#viewer .line.current")
    expect(hit).to_contain_text("004242 compiling")
    expect(hit).to_be_in_viewport()
    words.fill("compiling")
    expect(page.locator("#found")).to_have_text("10,000+ found")
    words.press("Escape")
    expect(page.locator("#viewer mark")).to_have_count(0)


def test_long_lines_can_be_wrapped_and_the_choice_is_remembered(page: Page, large: LiveRun) -> None:
    page.get_by_role("button", name="job › test").click()
    page.locator("#viewer").focus()
    page.keyboard.press("End")
    long = page.locator("#viewer .line", has_text="word word")
    expect(long).to_be_visible()
    assert long.evaluate("row => row.getBoundingClientRect().height") == 20
    page.get_by_role("button", name="Wrap").click()
    page.locator("#viewer").evaluate("box => { box.scrollTop = box.scrollHeight }")
    expect(long).to_be_visible()
    assert long.evaluate("row => row.getBoundingClientRect().height") > 100
    assert page.locator("#viewer").evaluate("box => box.scrollWidth <= box.clientWidth")
    page.reload()
    expect(page.get_by_role("button", name="Wrap")).to_have_attribute("aria-pressed", "true")


def test_times_can_be_shown(page: Page) -> None:
    page.get_by_role("button", name="job › test").click()
    expect(page.locator("#viewer .line .time")).to_have_count(0)
    page.keyboard.press("t")
    expect(page.locator("#viewer .line .time").first).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))


def test_steps_open_and_close_by_keyboard(page: Page) -> None:
    head = page.get_by_role("button", name="job › test")
    head.focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-expanded", "true")
    expect(head).to_be_focused()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-expanded", "false")
    page.get_by_role("button", name="Open all").click()
    expect(page.get_by_role("button", name="Close all")).to_be_visible()


def test_a_connection_that_breaks_is_taken_up_where_it_broke(open_page: OpenPage, world: World) -> None:
    run = world.start("breaks")
    run.print(b"before\n")
    page = open_page(run.url, fails="ERR_INCOMPLETE_CHUNKED_ENCODING")
    expect(page.locator("#viewer .line").filter(has_text="before")).to_be_visible()
    with page.expect_request(lambda request: "&from=" in request.url, timeout=20_000) as again:
        world.do(lambda: cut_all(world))
    assert re.search(r"&from=\d+$", again.value.url)
    run.print(b"after\n")
    expect(page.locator("#viewer .line").filter(has_text="after")).to_be_visible()
    assert [text for text in lines(page) if text in ("before", "after")] == ["before", "after"]
    run.end()
    expect(page.locator("html[data-loaded=true]")).to_be_attached()


def cut_all(world: World) -> None:
    """Cut the connection of everybody who reads a log."""
    for one in world.service._app[STREAMS]:
        if one.request.transport is not None:
            one.request.transport.abort()


TWO_TASKS = """async (base) => {
  const { Log } = await import(new URL('model.js', base)), { Viewer } = await import(new URL('viewer.js', base));
  const log = new Log({ tasks: [], place: null });
  const print = (task, from, to) => {
    for (let n = from; n < to; n++) {
      const bytes = new TextEncoder().encode(`${task} ${n}`);
      log.line(task, 'main', bytes, 0, bytes.length, 1);
    }
  };
  print('above', 0, 30); print('below', 0, 200);
  for (const section of log.sections) section.open = true;
  const box = document.getElementById('viewer');
  box.replaceChildren();
  const viewer = new Viewer(box, log);
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const find = () => [...box.querySelectorAll('.text')].find((node) => node.textContent === 'below 50').getBoundingClientRect().top;
  viewer.render(); await frame();
  box.scrollTop = 1500; await frame();
  const before = find();
  print('above', 30, 530); viewer.changed(); await frame();
  const printed = find();
  viewer.wrap(true); await frame();
  viewer.toggle(log.sections[0]); await frame();
  return [before, printed, find(), box.scrollHeight];
}"""


def test_what_one_reads_stays_where_it_is_whatever_happens_above_it(page: Page) -> None:
    url = page.locator("script[type=module]").get_attribute("src") or ""
    base = page.evaluate("src => new URL(src, document.baseURI).href", url)
    before, printed, folded, height = page.evaluate(TWO_TASKS, base)
    assert printed == before
    assert folded == before
    assert height < 200 * 20 + 500


# What the scripts' pure parts make of lines, in the browser that runs them.

LINES = [
    ("plain", ["plain"]),
    ("10%\r20%\r30%", ["30%"]),
    ("kept\r", ["kept"]),
    ("old\r\x1b[Knew", ["new"]),
    ("\x1b[2K\rold\x1b[2K\rnew", ["new"]),
    ("a\tb", ["a\tb"]),
    ("bell\x07 and back\x08space", ["bell and backspace"]),
    ("\x1b]0;title\x1b\\text", ["text"]),
    ("\x1b]never ends", []),
    ("cut \x1b[3", ["cut "]),
    ("\x1b(Bcharset", ["charset"]),
    ("\x9b31mC1", ["C1"]),
    ("\x1b", []),
    ("", []),
]
STYLES = [("31", "f1"), ("1;31", "f1 bold"), ("91", "f9"), ("42", "b2"), ("38;5;9", "f9"), ("38;5;200", "f13"), ("38;2;255;0;0", "f9"), ("38;2;1", ""), ("0", ""), ("", ""), ("48:5:4", "b4"), ("7", "inverse"), ("38;5;999", "")]  # fmt: skip


def test_the_terminal_rules(page: Page) -> None:
    url = page.locator("script[type=module]").get_attribute("src") or ""
    module = page.evaluate("src => new URL(src.replace('run.js', 'ansi.js'), document.baseURI).href", url)
    shown = page.evaluate(
        "async ([module, lines]) => { const { pieces } = await import(module);"
        " return lines.map((line) => pieces(line).pieces.map((piece) => piece.text)) }",
        [module, [line for line, _ in LINES]],
    )
    assert ["".join(texts) for texts in shown] == ["".join(expected) for _, expected in LINES]
    found = page.evaluate(
        "async ([module, all]) => { const { classes, sgr } = await import(module); return all.map((p) => classes(sgr(0, p))) }",
        [module, [parameters for parameters, _ in STYLES]],
    )
    assert found == [expected for _, expected in STYLES]
