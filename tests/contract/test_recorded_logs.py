"""The recorded runs' logs, as a CI job reads them: live from before the run exists, and again afterwards."""

from __future__ import annotations

import asyncio
import re

import pytest

from listener.demo.kubernetes.replay import replay
from tests.contract.test_recorded_runs import EXPECTED
from tests.scene import RECORDINGS, Scene, client, recording

VERDICTS = {"success": "Succeeded", "failed": "Failed", "canceled": "Cancelled"}
LINE = re.compile(rb"\[([^\]]+) : ([^\]]+)\] (.*)", re.DOTALL)


def recorded(run: str) -> dict[tuple[str, str], bytes]:
    """What each step of a run printed: (pod without the run's name, step) → bytes."""
    found = {}
    for path in RECORDINGS.joinpath("logs").glob(f"service-xyz-run-{run}-*.step-*.log"):
        pod, _, step = path.name.removesuffix(".log").partition(".step-")
        found[pod.removeprefix(f"service-xyz-run-{run}-"), step] = path.read_bytes()
    return found


def by_source(stream: bytes) -> dict[tuple[str, str], bytes]:
    """The payload of each (task, step) of a stream, put together again."""
    texts: dict[tuple[str, str], bytes] = {}
    for line in stream.split(b"\n")[:-1]:
        if match := LINE.fullmatch(line):
            key = match[1].decode(), match[2].decode()
            texts[key] = texts.get(key, b"") + match[3] + b"\n"
        else:
            assert line.startswith(b"# "), line[:100]
    return texts


def assert_whole(run: str, stream: bytes) -> None:
    """Everything that every step printed is there, byte for byte, under its prefix, and nothing else."""
    expected: dict[tuple[str, str], bytes] = {}
    for (pod, step), text in sorted(recorded(run).items()):
        task = re.sub(r"-pod(-retry\d+)?$", "", pod)
        ending = b"" if text.endswith(b"\n") or not text else b"\n"
        expected[task, step] = expected.get((task, step), b"") + text + ending
    streamed = {key: text for key, text in by_source(stream).items() if not key[1].startswith("sidecar-")}
    assert streamed == {key: text for key, text in expected.items() if text}


def assert_verdict(run: str, stream: bytes) -> None:
    gitlab_states, _, description = EXPECTED[run]
    last = stream.splitlines()[-1].decode()
    assert last.startswith(f"# verdict: {VERDICTS[gitlab_states[-1]]} ({description}")


async def test_every_run_streams_whole_from_before_it_exists_and_again_when_it_is_over(scene: Scene) -> None:
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        scene.cluster.cut_watches()  # and the watch comes back
        readers = {run: await session.get(f"/logs/team-a/service-xyz-run-{run}") for run in EXPECTED}
        for response in readers.values():
            assert response.status == 200
            assert (await response.content.readline()).startswith(
                b"# ... waiting for PipelineRun team-a/service-xyz-run-"
            )
        async with asyncio.TaskGroup() as group:
            group.create_task(replay(scene.cluster, recording(), speed=20))
            streams = {run: group.create_task(response.read()) for run, response in readers.items()}
        for run, stream in streams.items():
            assert_whole(run, stream.result())
            assert_verdict(run, stream.result())
        for run in EXPECTED:
            async with session.get(f"/logs/service-xyz-run-{run}") as response:
                assert (await response.read()).splitlines()[-1] == streams[run].result().splitlines()[-1]


async def test_a_finished_run_is_replayed_whole_to_who_comes_late(scene: Scene) -> None:
    steps = recording()
    await replay(scene.cluster, steps)
    async with scene.serve() as service, client(service) as session:
        for run in ("r68g8", "fail1", "retry", "matrix", "bytes", "unnamed", "skip", "onerror", "oom"):
            async with session.get(f"/logs/service-xyz-run-{run}") as response:
                stream = await response.read()
            assert_whole(run, stream)
            assert_verdict(run, stream)


async def test_steps_that_print_nothing_are_told_of_in_lines_of_our_own(scene: Scene) -> None:
    await replay(scene.cluster, recording())
    async with scene.serve() as service, client(service) as session:
        streams = {}
        for run in ("skip", "custom", "imgpull", "initfail", "cancel", "badref"):
            async with session.get(f"/logs/service-xyz-run-{run}") as response:
                streams[run] = (await response.read()).decode()
    assert "# b: skipped (When Expressions evaluated to false)\n" in streams["skip"]
    assert "# c: CustomRun service-xyz-run-custom-c, which has no log of its own here\n" in streams["custom"]
    assert '# a: Container image "registry.example.com/ci/none:1" is not present' in streams["imgpull"]
    assert "# a: failed to create containerd task" in streams["initfail"]
    assert "# slow: its pod service-xyz-run-cancel-slow-pod is gone, and its log with it\n" in streams["cancel"]
    assert streams["badref"].splitlines()[-1].startswith("# verdict: Failed (Could not run: Pipeline team-a/")


async def test_retries_come_in_order_and_are_marked(scene: Scene) -> None:
    await replay(scene.cluster, recording())
    async with scene.serve() as service, client(service) as session:
        response = await session.get("/logs/service-xyz-run-retry")
        lines = (await response.text()).splitlines()
    marks = [line for line in lines if line.startswith("# flaky: attempt")]
    assert marks == ["# flaky: attempt 1", "# flaky: attempt 2", "# flaky: attempt 3"]
    assert [line for line in lines if line.startswith("[flaky : try] attempt")] == ["[flaky : try] attempt"] * 3


@pytest.mark.parametrize("run", sorted(path.name.split(".")[0] for path in RECORDINGS.glob("tkn/*.logs.txt")))
async def test_everything_that_tkn_printed_of_a_step_is_in_ours(scene: Scene, run: str) -> None:
    steps = recording()
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        response = await session.get(f"/logs/{run}")
        async with asyncio.TaskGroup() as group:
            group.create_task(replay(scene.cluster, [step for step in steps if run in step.name], speed=40))
            reading = group.create_task(response.read())
    ours = by_source(reading.result())
    for (task, step), text in by_source(tkn_output(run)).items():
        task = "m-0" if task == "m" else task  # tkn does not tell a matrix's tasks apart, we do
        if (task, step) in {("a", "sidecar-db"), ("report", "r")}:
            continue  # no step, and a step whose log the recording does not hold
        for line in text.splitlines():  # tkn tears long lines and swallows EOFLOG: each piece it printed is in ours
            assert line in ours[task, step]


def tkn_output(run: str) -> bytes:
    """What tkn printed, without its empty lines."""
    lines = RECORDINGS.joinpath(f"tkn/{run}.logs.txt").read_bytes().split(b"\n")
    return b"".join(line + b"\n" for line in lines if line)
