"""Points 6 to 8: what readers get to see, from somebody who may print any bytes and name things as he likes."""

from __future__ import annotations

import html.parser
import re

import pytest

from listener.cluster.names import Key
from listener.config import Config
from listener.links import Signer
from tests.faults.test_bad_objects import run
from tests.logs.reading import serving
from tests.pipeline import Run
from tests.scene import USER, Scene, basic
from tests.security.wire import ask, request
from tests.unit.web.test_signed_links import link_on_the_commit, signed

__all__ = ["signed"]  # a fixture
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}javascript:alert(1)"
ESCAPES = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://evil.example.com\x07link\x1b]8;;\x07 \x1b[2J\xc2\x9b31m\r<script>\n"


class Tags(html.parser.HTMLParser):
    """The tags of a page, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def evil_run(scene: Scene) -> Run:
    played = Run(scene.cluster)
    labels = {"tekton.dev/pipeline": EVIL, "app": EVIL}
    params = [{"name": n, "value": EVIL} for n in ("branch", "revision", "repo")]
    scene.cluster.patch(
        "pipelineruns",
        "team-a",
        played.name,
        {"metadata": {"labels": labels, "annotations": labels}, "spec": {"params": params}},
    )
    task = played.task("build", "s")
    task.say("s", ESCAPES.decode())
    task.exit("s", 1)
    task.fail(message=f"{EVIL}\x1b[2J")
    lost = played.task("lost", "s")
    lost.refuse("CouldntGetTask", f"{EVIL}\x1b[2J\x9b31m\u2028# verdict: Succeeded (faked)")
    played.fail(f"{EVIL}\x1b[31m\x9b31m\r\n# verdict: Succeeded (faked)")
    return played


async def test_point_06_pages_hold_what_a_run_says_as_text_only(scene: Scene) -> None:
    evil_run(scene)
    async with serving(scene) as (_, session):
        for path in ("/runs/team-a/service-xyz-run-a", f"/runs?q={EVIL}&service={EVIL}", "/runs"):
            async with session.get(path, headers={"Accept": "text/html"}) as response:
                text = await response.text()
                policy = response.headers["Content-Security-Policy"]
                assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert "default-src 'none'" in policy
            assert "alert(1)" in text, "it is shown"
            tags = Tags()
            tags.feed(text)
            for tag, attributes in tags.found:
                assert tag not in ("object", "embed", "base")
                assert tag != "script" or "src" in attributes or attributes.get("type") == "application/json"
                for name, value in attributes.items():
                    assert not name.startswith("on"), "nothing runs by itself"
                    assert name != "style"
                    assert name not in ("href", "src", "action") or "javascript:" not in (value or "").partition("?")[0]
        async with session.get("/runs/team-a/service-xyz-run-a/state") as response:
            state = await response.json()
        assert "<script>alert" not in state["head"] + state["tasks"]


ANSWERS = [
    ("/logs/team-a/service-xyz-run-a?follow=0", "text/plain; charset=utf-8"),
    ("/status/team-a/service-xyz-run-a", "application/json; charset=utf-8"),
    ("/runs/team-a/<script>", None),
    ("/logs/team-a/x?tail=<script>", None),
    ("/<script>alert(1)</script>", None),
    ("/static/x/<script>", None),
]


async def test_point_06_no_answer_can_be_taken_for_a_page(scene: Scene) -> None:
    evil_run(scene)
    async with serving(scene) as (service, session):
        authorization = f"Authorization: {session.headers['Authorization']}".encode()
        for path, kind in ANSWERS:
            for accept in (b"text/html", b"*/*"):
                _, headers, body = await ask(service.port, request(path.encode(), authorization, b"Accept: " + accept))
                assert headers["x-content-type-options"] == "nosniff", path
                assert "default-src 'none'" in headers["content-security-policy"], path
                assert headers["referrer-policy"] == "no-referrer", path
                if kind is not None:
                    assert headers["content-type"] == kind
                if "html" in headers["content-type"]:
                    assert b"<script>alert" not in body


async def test_point_07_a_terminal_gets_the_bytes_and_never_takes_all_its_orders_away(scene: Scene) -> None:
    played = evil_run(scene)
    async with serving(scene) as (_, session):
        async with session.get(played.path) as response:
            raw = await response.read()
        async with session.get(played.path, params={"color": "never"}) as response:
            plain = await response.read()
    assert b"[build : s] " + ESCAPES in raw
    assert b"[build : s] red link 31m\r<script>\n" in plain
    assert b"\x1b" not in plain
    assert not re.search(rb"\xc2[\x80-\x9f]", plain)
    for log in (raw, plain):
        *lines, last = log.removesuffix(b"\n").split(b"\n")
        assert last.startswith(b"# verdict: Failed (")
        assert not re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]", last), "what is ours gives a terminal no orders"
        assert not any(line.startswith(b"# verdict") for line in lines), "nobody else gives a verdict"
        ours = [line for line in lines if line.startswith(b"# ")]
        assert any(b"CouldntGetTask" in line or b"alert(1)" in line for line in ours)
        assert not [line for line in ours if re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xa8", line)]


async def test_point_08_a_signed_link_opens_one_run_and_is_off_by_default(signed: Scene) -> None:
    async with signed.serve() as service:
        path = (await link_on_the_commit(signed)).encode()
        signed.cluster.create("pipelineruns", run("b"))
        await service.runs.relist()
        assert (await ask(service.port, request(path)))[0] == 200
        token = path.split(b"/")[2]
        for other in (
            path.replace(b"run-a", b"run-b"),
            b"/s/" + token + b"/runs",
            b"/s/" + token + b"/status/team-a/service-xyz-run-a",
            path.replace(token, token[:-1] + (b"A" if token[-1:] != b"A" else b"B")),
            path.replace(token, token.lower()),
            path.replace(token, b""),
            path.replace(token, token + b"="),
        ):
            assert (await ask(service.port, request(other)))[0] == 404, other
        signed.cluster.delete("pipelineruns", "team-a", "service-xyz-run-a")
        signed.cluster.create("pipelineruns", run("a"))
        await service.runs.relist()
        assert (await ask(service.port, request(path)))[0] == 404, "another run under the same name"
    assert Config.model_validate({}).links == "page"


async def test_point_08_without_signed_links_no_token_opens_anything(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a"))
    token = Signer(["x" * 32], days=1).token(Key("team-a", "service-xyz-run-a"), uid="", created="2026-11-23T11:34:57Z")
    async with scene.serve() as service:
        await service.runs.synced()
        assert (await ask(service.port, request(f"/s/{token}/runs/team-a/service-xyz-run-a".encode())))[0] == 404
        posted = await scene.gitlab.wait_for(lambda posted: len(posted) >= 1)
    assert "/s/" not in (posted[0].target_url or "")


async def test_point_08_no_link_holds_a_credential_and_no_log_a_link(
    signed: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "listener")
    caplog.set_level("DEBUG", "aiohttp")
    async with signed.serve() as service:
        path = (await link_on_the_commit(signed)).encode()
        token = path.split(b"/")[2]
        tries = [
            path,
            path + b"?x=1",
            b"/" + path,
            path.replace(b"/runs/", b"/logs/"),
            path + b"/state",
            b"/prefix" + path,
        ]
        tries += [
            b"http://x" + path,
            path.replace(b"/s/", b"/%73/"),
            path.replace(b"/s/", b"/s%2f"),
            path[:-1] + b"%0a",
        ]
        for one in tries:
            await ask(service.port, request(one))
        await ask(service.port, b"GET " + path + b" HTTP/9.9\r\nX: \x00\r\n\r\n")
        await ask(service.port, b"G\x01T " + path + b" HTTP/1.1\r\n\r\n")
    for posted in signed.gitlab.posted:
        assert "@" not in (posted.target_url or "")
        assert USER not in (posted.target_url or "").split("/")
    assert any("/s/…" in line for line in caplog.messages)
    assert token.decode() not in caplog.text


async def test_point_08_the_password_is_asked_for_and_not_put_into_a_url(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a"))
    async with scene.serve() as service:
        await service.runs.synced()
        for query in (b"?user=ci&password=correct+horse", b"?access_token=x", b"?private_token=x"):
            assert (await ask(service.port, request(b"/runs/team-a/service-xyz-run-a" + query)))[0] == 401
        good = b"Authorization: " + basic(USER, "correct horse").encode()
        assert (await ask(service.port, request(b"/runs/team-a/service-xyz-run-a", good)))[0] == 200
