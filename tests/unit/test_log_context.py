"""Lines say which run, host, repository and attempt they belong to: those of libraries and worker threads, too."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from listener import log_format
from listener.demo.githost import HostFault
from listener.log_context import about, fields
from listener.logs.archive_store import step
from listener.web.about import about_run
from listener.web.auth import Users
from listener.web.logins import Logins
from listener.web.requests import ACCESS, Access
from notifiers.base import HostSettings
from notifiers.blocking import Workers
from notifiers.credentials import Token
from tests.faults.outside import QUICK
from tests.runs import move, start
from tests.scene import GITHUB_PATH, GITLAB_PATH, Scene, client

RUN = "team-a/service-xyz-run-a"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What goes to stderr as JSON."""
    root, text = logging.getLogger(), io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(log_format.JsonFormatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


async def test_one_filter_gives_the_story_of_one_run(scene: Scene, written: io.StringIO) -> None:
    scene.gitlab.faults.append(HostFault(status=502, body="bad gateway", times=1))
    del scene.github.projects[GITHUB_PATH]  # refused for good
    async with scene.serve(pace=QUICK) as service:
        start(scene.cluster, "other", None)
        start(scene.cluster, "a", "succeeded")
        await scene.gitlab.wait_for(lambda posted: {p.context for p in posted} >= {"tekton/service-xyz-run-a"})
        async with client(service) as session:
            assert (await session.get(f"/status/{RUN}")).status == 200
            assert (await session.get("/status/service-xyz-run-a")).status == 200, "the short form, too"
    story = [entry for entry in entries(written.getvalue()) if entry.get("run") == RUN]
    said = [(e["logger"], e.get("host"), e.get("repository"), e.get("attempt")) for e in story]
    assert ("listener.reporting.reporter", "gitlab", GITLAB_PATH, 1) in said
    assert ("listener.reporting.reporter", "github", GITHUB_PATH, 1) in said
    assert [name for name, *_ in said].count("listener.access") == 2
    assert any("refused success for good" in e["message"] for e in story)
    mentioned = [e for e in entries(written.getvalue()) if "service-xyz-run-a" in e["message"]]
    assert all(entry.get("run") == RUN for entry in mentioned), "no line of its own is left out"


async def test_a_status_that_is_tried_again_counts_its_attempts(scene: Scene, written: io.StringIO) -> None:
    scene.gitlab.faults.append(HostFault(status=502, body="bad gateway", times=1))
    async with scene.serve(pace=QUICK):
        start(scene.cluster, "a", "succeeded")
        await scene.gitlab.wait_for(lambda posted: bool(posted))
    tries = [e for e in entries(written.getvalue()) if e.get("host") == "gitlab" and e.get("run") == RUN]
    assert [e["attempt"] for e in tries] == [1, 2]
    assert [e["level"] for e in tries] == ["warning", "info"]


async def test_a_run_that_leads_nowhere_and_one_whose_recording_fails_are_named(
    scene: Scene, written: io.StringIO
) -> None:
    (scene.folder / "file").write_text("in the way")
    scene.more = "logs: {record: true, spool_folder: file/nowhere}\n"
    async with scene.serve(pace=QUICK):
        start(scene.cluster, "a", "running", sha="main")
        await scene.cluster.requests.wait_for(lambda seen: any(s.resource == "events" for s in seen))
        move(scene.cluster, "a", "running")
    story = [entry for entry in entries(written.getvalue()) if entry.get("run") == RUN]
    assert {entry["logger"] for entry in story} >= {"listener.reporting.reporter", "listener.logs.recordings"}


async def test_lines_from_a_workers_thread_say_what_they_are_about(scene: Scene, written: io.StringIO) -> None:
    settings = HostSettings(name="here", url=scene.gitlab.url, token="t")
    workers: Workers[None] = Workers(settings, url=scene.gitlab.url, token=Token(settings), make=lambda *_: None)
    stranger = logging.getLogger("urllib3.connectionpool")
    try:
        with about(run=RUN, attempt=3):
            await workers.call(lambda *_: stranger.warning("Retrying"))
        await workers.call(lambda *_: stranger.warning("nobody's"))
        await step(stranger.warning, "nobody's either")
    finally:
        await workers.close()
    first, *others = entries(written.getvalue())
    assert (first["run"], first["attempt"]) == (RUN, 3)
    assert not any("run" in entry for entry in others)


async def test_lines_that_are_written_while_a_run_is_asked_for_name_it() -> None:
    async def tell(_: web.Request) -> web.Response:
        return web.json_response(dict(fields()))

    app = web.Application(middlewares=[about_run])
    app[ACCESS] = Access(Logins(Users([])), "team-a")
    app.add_routes([web.get("/logs/{namespace}/{run}", tell), web.get("/status/{run}", tell), web.get("/runs", tell)])
    async with TestServer(app) as server, ClientSession(server.make_url("/")) as session:
        for path, run in (
            (f"/logs/{RUN}", RUN),
            ("/status/service-xyz-run-a", RUN),
            ("/runs", None),
            ("/logs/team-a/no%20name", None),
            ("/logs/..%2f/x", None),
        ):
            async with session.get(path) as answer:
                assert (await answer.json()).get("run") == run, path


def test_for_people_it_stands_at_the_end_of_the_line_and_before_a_traceback() -> None:
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s failed", ("it",), None)
    formatter = log_format.ConsoleFormatter()
    assert formatter.format(record).endswith("ERROR   it failed")
    with about(run=RUN, host="gitlab"), about(attempt=2, repository=GITLAB_PATH):
        assert formatter.format(record).endswith(f"it failed run={RUN} host=gitlab repository={GITLAB_PATH} attempt=2")
        record.exc_info = (ValueError, ValueError("why"), None)
        assert "attempt=2\nValueError: why" in formatter.format(record)
