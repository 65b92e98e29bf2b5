"""Signed links through the whole service: on the commit, in the browser's place, and nowhere else."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.faults.test_bad_objects import run
from tests.scene import Scene, client

KEY = "0123456789abcdef0123456789abcdef"
SIGNED = "links: signed\nsigned_links: {key_file: link-key, days: 10}\n"
PAGE = "/runs/team-a/service-xyz-run-a"


@pytest.fixture
def signed(scene: Scene) -> Scene:
    (scene.folder / "link-key").write_text(f"{KEY}\n")
    scene.more = SIGNED
    return scene


async def link_on_the_commit(scene: Scene, *, created: str | None = None) -> str:
    """Create the run ``a``; gives the path of the link on its commit."""
    body = run("a")
    if created is not None:
        body["metadata"]["creationTimestamp"] = created
    scene.cluster.create("pipelineruns", body)
    posted = await scene.gitlab.wait_for(lambda posted: len(posted) >= 1)
    return urlsplit(posted[-1].target_url or "").path


async def status_of(session: aiohttp.ClientSession, path: str, **options: str) -> tuple[int, str]:
    async with session.get(path, headers=options) as response:
        return response.status, await response.text()


async def test_the_link_on_the_commit_opens_page_state_and_log_without_a_password(signed: Scene) -> None:
    async with signed.serve() as service, client(service, user="") as session:
        path = await link_on_the_commit(signed)
        assert path.endswith(PAGE)
        async with session.get(path) as response:
            text = await response.text()
            assert response.status == 200
            assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "service-xyz-run-a" in text
        assert 'href="../../runs' not in text, "the list of runs is not for whoever has the link"
        assert (await status_of(session, f"{path}/state"))[0] == 200
        log = path.replace("/runs/", "/logs/")
        assert (await status_of(session, f"{log}?follow=0"))[1].endswith("# verdict: Succeeded (Passed)\n")
        static = text.partition('src="')[2].partition('"')[0]
        assert (await status_of(session, static.replace("../../../..", "")))[0] == 200


async def test_it_opens_nothing_else_and_not_with_a_changed_byte(signed: Scene) -> None:
    async with signed.serve() as service, client(service, user="") as session:
        path = await link_on_the_commit(signed)
        signed.cluster.create("pipelineruns", run("b"))
        await service.runs.relist()
        token = path.split("/")[2]
        wrong = [path.replace("run-a", "run-b"), path.replace("team-a", "team-b"), path.replace("run-a", "nope")]
        wrong += [
            path.replace(token, token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :]) for n in (0, 6, 27)
        ]
        answers = [await status_of(session, one) for one in wrong]
        assert [status for status, _ in answers] == [404] * 6
        assert (await status_of(session, wrong[0].replace("/runs/", "/logs/")))[0] == 404
        assert (await status_of(session, f"/s/{token}/runs"))[0] == 404
        assert (await status_of(session, PAGE))[0] == 401


async def test_it_does_not_open_a_run_that_was_created_again_under_the_name(signed: Scene) -> None:
    async with signed.serve() as service, client(service, user="") as session:
        path = await link_on_the_commit(signed)
        signed.cluster.delete("pipelineruns", "team-a", "service-xyz-run-a")
        signed.cluster.create("pipelineruns", run("a"))
        await service.runs.relist()
        assert (await status_of(session, path))[0] == 404
        assert (await status_of(session, path.replace("/runs/", "/logs/")))[0] == 404


async def test_an_expired_link_says_so_and_shows_nothing(signed: Scene) -> None:
    created = (datetime.now(UTC) - timedelta(days=11)).strftime("%Y-%m-%dT%H:%M:%SZ")
    async with signed.serve() as service, client(service, user="") as session:
        path = await link_on_the_commit(signed, created=created)
        status, text = await status_of(session, path, Accept="text/html")
        assert (status, "This link has expired" in text, "Passed" in text) == (410, True, False)
        assert (await status_of(session, path.replace("/runs/", "/logs/")))[0] == 410


async def test_without_signed_links_no_token_is_taken(scene: Scene) -> None:
    async with scene.serve() as service, client(service, user="") as session:
        path = await link_on_the_commit(scene)
        assert path == PAGE
        assert (await status_of(session, f"/s/{'A' * 28}{PAGE}"))[0] == 404


async def test_the_link_is_in_no_log(signed: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with signed.serve() as service, client(service, user="") as session:
        path = await link_on_the_commit(signed)
        token = path.split("/")[2]
        for asked in (path, f"{path}/state", path.replace("/runs/", "/logs/"), path.replace("run-a", "run-b")):
            await status_of(session, asked)
        for wrong in (f"/listener{path}", f"{path}?{'y' * 10_000}"):
            await status_of(session, wrong)
    ours = [
        r.getMessage() for r in caplog.records if not r.name.startswith(("urllib3", "github", "responses", "gitlab"))
    ]
    assert any("/s/…/runs/team-a/service-xyz-run-a" in line for line in ours)
    assert not [line for line in ours if token in line]


@pytest.mark.parametrize(
    ("more", "link"),
    [
        (
            "links: https://dash.example.com/#/$(run.namespace)/$(run.name)\n",
            "https://dash.example.com/#/team-a/service-xyz-run-a",
        ),
        ("links: page\n", "https://listener.example.com/runs/team-a/service-xyz-run-a"),
    ],
)
async def test_links_can_lead_elsewhere(scene: Scene, more: str, link: str) -> None:
    scene.more = more
    scene.cluster.create("pipelineruns", run("a"))
    async with scene.serve():
        posted = await scene.gitlab.wait_for(lambda posted: len(posted) >= 1)
    assert posted[-1].target_url == link
