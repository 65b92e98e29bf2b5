"""What a reader can ask for, beside the whole log as text."""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import pytest

from tests.logs.reading import read, reading, serving
from tests.pipeline import Run
from tests.scene import Scene

PATH = "/logs/team-a/service-xyz-run-a"
NDJSON = {"Accept": "application/x-ndjson"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


def two_tasks(scene: Scene) -> Run:
    """A finished run whose two tasks printed in turn."""
    run = Run(scene.cluster)
    one, two = run.task("one", "a", "b"), run.task("two", "c")
    one.say("a", "1\n2\n")
    two.say("c", "3\n")
    one.say("b", "4\n")
    one.complete()
    two.complete()
    run.succeed()
    return run


async def objects(session: aiohttp.ClientSession, **params: Any) -> list[dict[str, Any]]:
    async with session.get(PATH, params=params, headers=NDJSON) as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        return [json.loads(line) for line in (await response.read()).splitlines()]


async def test_follow_0_gives_what_is_there_and_says_that_the_run_goes_on(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.task("build").say("s", "so far\n")
    async with serving(scene) as (_, session):
        lines = await read(session, PATH, follow=0)
        assert lines[0] == "[build : s] so far"
        assert lines[1:] == ["# verdict: Running (Running: build)"]
        assert await read(session, "/logs/team-a/service-xyz-run-none", follow=0) == [
            "# verdict: NotFound (PipelineRun team-a/service-xyz-run-none did not appear)"
        ]


async def test_follow_0_of_a_finished_run_is_the_whole_log(scene: Scene) -> None:
    two_tasks(scene)
    async with serving(scene) as (_, session):
        assert await read(session, PATH, follow=0) == await read(session, PATH)


@pytest.mark.parametrize("lines", [0, 1, 3, 4, 5, 1000])
async def test_tail_gives_the_last_lines_and_then_the_verdict(scene: Scene, lines: int) -> None:
    two_tasks(scene)
    async with serving(scene) as (_, session):
        whole = await read(session, PATH)
        assert (
            await read(session, PATH, tail=lines)
            == whole[:-1][len(whole) - 1 - min(lines, len(whole) - 1) :] + whole[-1:]
        )


async def test_tail_of_a_run_that_goes_on_gives_its_last_lines_and_what_follows(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    task.say("s", "".join(f"{number}\n" for number in range(1000)))
    async with serving(scene) as (_, session), reading(session, PATH, tail=2) as reader:
        assert [await reader.line(), await reader.line()] == ["[build : s] 998", "[build : s] 999"]
        task.say("s", "1000\n")
        assert await reader.line() == "[build : s] 1000"


async def test_timestamps_stand_before_each_lines_text(scene: Scene) -> None:
    two_tasks(scene)
    async with serving(scene) as (_, session):
        lines = await read(session, PATH, timestamps=1)
        plain = await read(session, PATH)
    assert all(re.fullmatch(rf"\[\w+ : \w\] {TIME} \d", line) for line in lines[:-1])
    assert [re.sub(f"{TIME} ", "", line) for line in lines] == plain


async def test_order_task_keeps_each_tasks_lines_together_live_and_on_replay(scene: Scene) -> None:
    run = Run(scene.cluster)
    one, two = run.task("one"), run.task("two")
    one.say("s", "1\n")
    async with serving(scene) as (_, session):
        async with reading(session, PATH, order="task") as reader:
            assert await reader.line() == "[one : s] 1"
            two.say("s", "2\n")
            one.say("s", "3\n")
            assert await reader.line() == "[one : s] 3"
            two.say("s", "4\n")
            one.complete()
            assert [await reader.line(), await reader.line()] == ["[two : s] 2", "[two : s] 4"]
            run.skip("three", "not wanted")
            two.complete()
            run.succeed()
            rest = await reader.rest()
        assert rest[:-1] == ["# three: skipped (not wanted)"]
        replayed = await read(session, PATH, order="task")
    assert replayed == [*(f"[{t} : s] {n}" for t, n in (("one", 1), ("one", 3), ("two", 2), ("two", 4))), *rest]


async def test_ndjson_has_one_object_per_line_and_the_verdict_last(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.skip("deploy", "not wanted")
    task = run.task("build", "compile")
    task.say("compile", b'tab\there "quoted" \xff \x1b[31mred\n')
    task.exit("compile", 2)
    task.fail()
    run.fail()
    async with serving(scene) as (_, session):
        skipped, line, exited, last = await objects(session)
    assert (skipped["task"], skipped["note"]) == ("deploy", "deploy: skipped (not wanted)")
    assert line["text"] == 'tab\there "quoted" \ufffd \x1b[31mred'
    assert (line["task"], line["step"], line["attempt"]) == ("build", "compile", 1)
    assert re.fullmatch(TIME, line["time"])
    assert exited["note"] == "build › compile exited 2"
    assert last["verdict"] == "Failed"
    assert last["sentence"].endswith("build › compile exited 2")


async def test_ndjson_offsets_are_where_the_same_reader_or_one_of_the_text_goes_on(scene: Scene) -> None:
    two_tasks(scene)
    async with serving(scene) as (_, session):
        async with session.get(PATH) as response:
            text = await response.read()
        whole = await objects(session)
        for number, one in enumerate(whole[:-1]):
            assert await objects(session, **{"from": one["offset"]}) == whole[number + 1 :]
            async with session.get(PATH, params={"from": one["offset"]}) as response:
                assert await response.read() == text[one["offset"] :]


async def test_ndjson_says_what_is_waited_for(scene: Scene) -> None:
    async with serving(scene) as (_, session):
        waiting, last = await objects(session, wait="0.05")
    assert waiting["waiting"].startswith("waiting for PipelineRun team-a/service-xyz-run-a")
    assert last["verdict"] == "NotFound"


async def test_a_sidecar_is_shown_and_can_be_asked_for(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", sidecars=("db",))
    task.say("sidecar-db", "ready to accept connections\n")
    task.say("s", "connected\n")
    async with serving(scene) as (_, session):
        async with reading(session, PATH) as reader:
            lines = {await reader.line(), await reader.line()}
            assert lines == {"[build : sidecar-db] ready to accept connections", "[build : s] connected"}
            task.complete()
            task.end_container("sidecar-db")
            run.succeed()
            await reader.rest()
        only = await read(session, PATH, step="db")
    assert only[0] == "[build : sidecar-db] ready to accept connections"
    assert len(only) == 2
