"""The log stream before there is anything to stream: cases 1 to 4, 13 and 14 of the specification."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from listener.demo.kubernetes import Fault
from tests.logs.reading import read, reading, serving
from tests.pipeline import Run
from tests.scene import PASSWORD, USER, Scene, client

PATH = "/logs/team-a/service-xyz-run-a"


async def test_case_01_a_run_that_is_created_later_is_waited_for_and_streamed_whole(scene: Scene) -> None:
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        assert await reader.any_line() == (
            "# ... waiting for PipelineRun team-a/service-xyz-run-a to be created, up to 60 s"
        )
        run = Run(scene.cluster)
        task = run.task("build", "compile")
        task.say("compile", "one\ntwo\n")
        assert await reader.line() == "[build : compile] one"
        task.complete()
        run.succeed()
        rest = await reader.rest()
    assert rest[0] == "[build : compile] two"
    assert rest[-1].startswith("# verdict: Succeeded (Passed in ")


async def test_case_01_while_it_is_waited_for_lines_say_how_long_it_still_may_take(scene: Scene) -> None:
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.01
        async with reading(session, PATH, wait="90") as reader:
            lines = [await reader.any_line() for _ in range(3)]
    assert lines[0].endswith("to be created, up to 90 s")
    assert all(line.startswith("# ... still waiting for PipelineRun team-a/service-xyz-run-a, ") for line in lines[1:])


async def test_case_02_a_run_that_never_appears_ends_with_the_verdict_not_found(scene: Scene) -> None:
    async with serving(scene) as (_, session):
        lines = await read(session, PATH, wait="0.05")
    assert lines == ["# verdict: NotFound (PipelineRun team-a/service-xyz-run-a did not appear within 0.05 s)"]


@pytest.mark.parametrize(("parameters", "code"), [("wait=0.05", 0), ("wait=0.05&exit-status=1", 18)])
async def test_case_02_curl_can_tell_that_a_run_never_appeared(scene: Scene, parameters: str, code: int) -> None:
    assert shutil.which("curl"), "curl is needed: apt-get install curl"
    async with serving(scene) as (service, _):
        curl = await asyncio.create_subprocess_exec(
            "curl", "-fsSN", "-u", f"{USER}:{PASSWORD}", f"http://127.0.0.1:{service.port}{PATH}?{parameters}",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await curl.communicate()
    assert out.splitlines()[-1].startswith(b"# verdict: NotFound")
    assert curl.returncode == code


async def test_case_03_a_run_that_fails_validation_gives_its_conditions_message(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.move("False", "PipelineValidationFailed", "Pipeline team-a/build can't be Run: task lint is missing")
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines == ["# verdict: Failed (Could not run: Pipeline team-a/build can't be Run: task lint is missing)"]


@pytest.mark.parametrize(("user", "password"), [("", ""), (USER, "wrong"), ("other", PASSWORD)])
async def test_case_04_without_the_right_credentials_there_is_no_byte_of_the_log(
    scene: Scene, user: str, password: str
) -> None:
    run = Run(scene.cluster)
    run.task("build").say("s", "secret\n")
    async with scene.serve() as service, client(service, user=user, password=password) as session:
        await service.runs.synced()
        async with session.get(PATH) as response:
            assert response.status == 401
            assert b"secret" not in await response.read()


async def test_case_13_a_pod_without_a_node_is_waited_for_with_the_reason_and_then_read_from_its_first_line(
    scene: Scene,
) -> None:
    run = Run(scene.cluster)
    task = run.task("build", scheduled=False)
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.02
        async with reading(session, PATH) as reader:
            line = await reader.any_line()
            while "waits for a node" not in line:
                line = await reader.any_line()
            assert line == (
                "# ... build waits for a node: Unschedulable: 0/3 nodes are available: 3 Insufficient memory."
            )
            task.schedule()
            task.start()
            task.say("s", "first\nsecond\n")
            assert [await reader.line(), await reader.line()] == ["[build : s] first", "[build : s] second"]
            task.complete()
            run.succeed()
            assert (await reader.rest())[-1].startswith("# verdict: Succeeded")


async def test_case_14_answers_of_a_container_that_still_waits_never_reach_the_reader(scene: Scene) -> None:
    waiting = b'{"kind":"Status","code":400,"reason":"BadRequest","message":"container is waiting to start"}'
    scene.cluster.faults.add(Fault(verb="log", status=204, times=2))
    scene.cluster.faults.add(Fault(verb="log", status=400, body=waiting, times=2))
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "first\n")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        assert await reader.line() == "[build : s] first"
        task.say("s", "last\n")
        task.complete()
        run.succeed()
        rest = await reader.rest()
    assert rest[:-1] == ["[build : s] last"]
    assert scene.cluster.requests.count("log", "pods") > 4
