"""What the service answers to good and to bad requests."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import pytest

from listener.demo.kubernetes import Fault
from tests.faults.test_bad_objects import run
from tests.scene import PASSWORD, USER, Scene, basic, client

FAILED = {"conditions": [{"type": "Succeeded", "status": "False", "reason": "Failed", "message": "Tasks Completed: 1"}]}
RUNNING = {"conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": "Incomplete: 1"}]}


async def get(session: aiohttp.ClientSession, path: str, **options: Any) -> tuple[int, str, dict[str, str]]:
    async with session.get(path, **options) as response:
        return response.status, await response.text(), dict(response.headers)


async def test_health_is_the_originals_and_needs_no_password(scene: Scene) -> None:
    async with scene.serve() as service, client(service, user="") as session:
        status, text, headers = await get(session, "/health")
    assert (status, text) == (200, '{"status":1}')
    assert headers["Content-Type"].startswith("application/json")


async def test_status_of_a_succeeded_run_is_200_with_the_originals_keys_in_their_order(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a"))
    async with scene.serve() as service, client(service) as session:
        for path in ("/status/team-a/service-xyz-run-a", "/status/service-xyz-run-a"):
            status, text, _ = await get(session, path)
            assert status == 200
            assert text == '{"message":"done","reason":"Succeeded","type":"Succeeded","status":"True"}'


async def test_status_of_a_failed_run_is_400(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a", status=FAILED))
    async with scene.serve() as service, client(service) as session:
        status, text, _ = await get(session, "/status/service-xyz-run-a")
    assert status == 400
    assert text == '{"message":"Tasks Completed: 1","reason":"Failed","type":"Succeeded","status":"False"}'


async def test_status_of_a_run_that_does_not_finish_in_time_is_400_with_what_it_is_now(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a", status=RUNNING))
    async with scene.serve() as service, client(service) as session:
        status, text, _ = await get(session, "/status/service-xyz-run-a", params={"wait": "0"})
    assert status == 400
    assert text == '{"message":"Incomplete: 1","reason":"Running","type":"Succeeded","status":"Unknown"}'


async def test_status_answers_the_moment_the_run_ends(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a", status=RUNNING))
    async with scene.serve() as service, client(service) as session:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        asking = asyncio.create_task(get(session, "/status/service-xyz-run-a", params={"wait": "10m"}))
        done, _ = await asyncio.wait({asking}, timeout=0.2)
        assert not done
        scene.cluster.patch("pipelineruns", "team-a", "service-xyz-run-a", {"status": run("a")["status"]})
        assert (await asking)[0] == 200


async def test_status_of_an_unknown_run_is_404_at_once_and_with_wait_when_it_does_not_come(scene: Scene) -> None:
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        for params in ({}, {"wait": "0.05"}):
            status, text, _ = await get(session, "/status/nope", params=params)
            assert status == 404
            assert '"reason":"NotFound"' in text


@pytest.mark.parametrize("path", ["/status/x", "/logs/x", "/runs/team-a/x", "/logs/team-b/x", "/status/B%20AD"])
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        basic(USER, "wrong"),
        basic("nobody", PASSWORD),
        "Basic !!!",
        "Bearer x",
        "Basic",
        basic("", ""),
        "Basic " + "A" * 9000,
    ],
)
async def test_wrong_credentials_are_401_with_a_challenge(scene: Scene, path: str, authorization: str | None) -> None:
    async with scene.serve() as service, client(service, user="") as session:
        headers = {"Authorization": authorization} if authorization else {}
        status, text, answer = await get(session, path, headers=headers)
    if authorization and len(authorization) > 8190:
        assert status in (400, 401)  # aiohttp refuses a header of that length before we see it
        return
    assert status == 401
    assert answer["WWW-Authenticate"].startswith('Basic realm="')
    assert PASSWORD not in text


@pytest.mark.parametrize(
    "path",
    [
        "/status/UPPER",
        "/logs/a_b",
        "/logs/team-a/-x",
        "/logs/team-a/x..y",
        "/status/team_a/x",
        "/logs/team-a/" + "x" * 254,
        "/logs/team-a/x%00",
        "/status/x?wait=soon",
        "/status/x?wait=-1",
        "/status/x?wait=",
        "/status/x?color=never",
        "/logs/x?color=blue",
        "/logs/x?tail=five",
        "/logs/x?tail=-1",
        "/logs/x?tail=5&from=7",
        "/logs/x?tail=5&order=task",
        "/logs/x?from=1.5",
        "/logs/x?order=size",
        "/logs/x?follow=yes",
        "/logs/x?timestamps=",
        "/logs/x?exit-status=2",
        "/logs/x?folow=1",
    ],
)
async def test_malformed_names_and_parameters_are_400_with_a_sentence(scene: Scene, path: str) -> None:
    async with scene.serve() as service, client(service) as session:
        status, text, headers = await get(session, path)
    assert status == 400, text
    assert headers["Content-Type"].startswith("application/json")
    assert '"message"' in text


async def test_a_foreign_namespace_answers_like_a_run_that_does_not_exist(scene: Scene) -> None:
    body = run("a")
    scene.cluster.store.create("pipelineruns", "team-b", body)
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        foreign = await get(session, "/status/team-b/service-xyz-run-a")
        unknown = await get(session, "/status/team-b/nope")
        logs = await get(session, "/logs/team-b/service-xyz-run-a")
        page = await get(session, "/runs/team-b/service-xyz-run-a")
    assert foreign[0] == unknown[0] == logs[0] == page[0] == 404
    assert foreign[1].replace("service-xyz-run-a", "nope") == unknown[1]


async def test_several_users_see_their_own_namespaces_and_the_environments_user_sees_all(scene: Scene) -> None:
    scene.cluster.store.create("pipelineruns", "team-b", run("b"))
    async with scene.serve(environment_user=("admin", "pässwörd")) as service:
        await service.runs.synced()
        async with client(service, user="admin", password="pässwörd") as session:
            assert (await get(session, "/status/team-b/service-xyz-run-b"))[0] == 200
        async with client(service) as session:
            assert (await get(session, "/status/team-b/service-xyz-run-b"))[0] == 404


async def test_logs_of_a_run_that_never_appears_end_with_a_verdict(scene: Scene) -> None:
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        status, text, headers = await get(session, "/logs/nope", params={"wait": "0.05"})
    assert status == 200
    assert text.splitlines()[-1] == "# verdict: NotFound (PipelineRun team-a/nope did not appear within 0.05 s)"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_before_the_cluster_has_answered_nothing_is_claimed_about_runs(scene: Scene) -> None:
    scene.cluster.faults.add(Fault(resource="pipelineruns", status=503, body=b"down"))
    async with scene.serve() as service, client(service) as session:
        asking = asyncio.create_task(get(session, "/status/x", params={"wait": "6"}))
        await scene.cluster.requests.wait_for(lambda seen: any(s.resource == "pipelineruns" for s in seen))
        ready, text, _ = await get(session, "/readyz")
        status, why, _ = await asking
    assert ready == 503
    assert "/apis/tekton.dev/v1/pipelineruns" in text
    assert status == 503
    assert "503" in why


async def test_a_namespace_that_may_not_be_watched_does_not_hold_up_the_others(scene: Scene) -> None:
    scene.more = "namespaces: [team-a, team-b]\n"
    forbidden = Fault(when=lambda seen: "/namespaces/team-b/" in seen.path, status=403, body=b'{"reason":"Forbidden"}')
    scene.cluster.faults.add(forbidden)
    scene.cluster.create("pipelineruns", run("a"))
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced("team-a")
        assert (await get(session, "/status/service-xyz-run-a"))[0] == 200
        async with asyncio.timeout(5):
            await service.runs.settled(0.01)
        assert (await get(session, "/readyz"))[0] == 503


async def test_metrics_and_probes_need_no_password_and_tell_of_deliveries(scene: Scene) -> None:
    scene.cluster.create("pipelineruns", run("a"))
    async with scene.serve() as service, client(service, user="") as session:
        await scene.gitlab.wait_for(lambda posted: len(posted) == 1)
        await service.reporter.lanes.drained()
        assert (await get(session, "/livez"))[0] == 200
        assert (await get(session, "/readyz"))[1] == '{"ready": true, "troubles": []}'
        text = (await get(session, "/metrics"))[1]
    assert 'tekton_listener_deliveries_total{host="gitlab",result="delivered"} 1.0' in text
    assert "tekton_listener_runs 1.0" in text


async def test_the_page_escapes_what_a_run_says_and_allows_only_scripts_of_its_own(scene: Scene) -> None:
    message = "<script>alert(1)</script>"
    status = {"conditions": [{"type": "Succeeded", "status": "False", "reason": "CouldntGetTask", "message": message}]}
    scene.cluster.create("pipelineruns", run("a", status=status))
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        code, text, headers = await get(session, "/runs/team-a/service-xyz-run-a")
    assert code == 200
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: {basic(USER, PASSWORD)}\n{'wrapped' * 3}==",  # as ``base64`` without ``-w0`` breaks it
        f"Authorization : {basic(USER, PASSWORD)}",
        f"Authorization: {basic(USER, PASSWORD)}\x01",
    ],
)
async def test_a_request_that_is_malformed_does_not_bring_its_password_into_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with scene.serve() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"GET /health HTTP/1.1\nHost: x\n{line}\n\n".replace("\n", "\r\n").encode())
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
    logged = "\n".join(logging.Formatter("%(message)s").format(record) for record in caplog.records)
    assert " 400 " in logged
    assert "wrapped" not in logged
    assert basic(USER, PASSWORD) not in logged


async def test_a_path_cannot_write_a_line_of_its_own_into_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with scene.serve() as service, client(service) as session:
        status, _, _ = await get(session, "/logs/a%0Afake")
    assert status == 400
    assert any("/logs/a%0Afake" in record.getMessage() for record in caplog.records)
    assert not any("\n" in record.getMessage() for record in caplog.records)
