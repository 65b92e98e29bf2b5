"""The end of a step's log, for reports: from the pod, or from what was recorded; bounded, and never an error."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from listener.cluster.decode import decode_task_run
from listener.cluster.names import Key
from listener.cluster.objects import TaskRun
from listener.demo.kubernetes import Fault
from listener.logs.tail import LogTail
from tests.logs.reading import reading, serving
from tests.pipeline import Run, Task
from tests.scene import Scene

Read = Callable[..., Awaitable[str]]


@pytest.fixture
def run(scene: Scene) -> Run:
    return Run(scene.cluster)


@contextlib.asynccontextmanager
async def tails(scene: Scene, run: Run) -> AsyncIterator[Read]:
    """The service, ready to read the end of a task's log."""
    async with serving(scene) as (service, _):
        tail: LogTail = service._tail

        async def read(task: Task, container: str = "step-pytest") -> str:
            found = service.runs.get(Key(run.namespace, run.name))
            assert found is not None
            return await tail.read(found, seen(scene, task), container)

        yield read


def seen(scene: Scene, task: Task) -> TaskRun:
    return decode_task_run(msgspec.json.encode(scene.cluster.get("taskruns", task.run.namespace, task.name)))


async def test_it_is_what_the_pods_container_printed_last_without_escapes(scene: Scene, run: Run) -> None:
    task = run.task("test", "pytest", "report")
    task.say("pytest", "".join(f"line {number}\n" for number in range(1500)) + "\x1b[31mE   assert\x1b[0m caf\xe9\n")
    task.exit("pytest", 1)
    async with tails(scene, run) as read:
        lines = (await read(task)).splitlines()
        assert lines[-2:] == ["line 1499", "E   assert café"]
        assert len(lines) == 1000
        assert await read(task, "../other") == ""


async def test_of_long_lines_it_is_the_end_and_no_more_than_64_kilobytes(scene: Scene, run: Run) -> None:
    task = run.task("test", "pytest")
    for _ in range(6):
        task.say("pytest", "x" * 1_000_000 + "\n")
    task.say("pytest", b"\xff" * 10 + b"the end\n")
    task.exit("pytest", 1)
    async with tails(scene, run) as read:
        text = await read(task)
    assert text.endswith("the end\n")
    assert len(text.encode()) < 200_000


async def test_of_a_task_that_is_tried_again_it_is_the_last_try(scene: Scene, run: Run) -> None:
    task = run.task("test", "pytest")
    task.say("pytest", "first\n")
    task.exit("pytest", 1)
    task.retry()
    task.say("pytest", "second\n")
    task.exit("pytest", 1)
    async with tails(scene, run) as read:
        assert await read(task) == "second\n"


async def test_when_the_pod_is_gone_it_is_what_was_recorded(scene: Scene, run: Run) -> None:
    task = run.task("test", "pytest")
    async with serving(scene) as (service, session), reading(session, run.path) as reader:
        task.say("pytest", "one\n\x1b[1mtwo\x1b[0m\n")
        await reader.until("two")
        task.interrupt("TaskRunTimeout")
        found = service.runs.get(Key(run.namespace, run.name))
        assert found is not None
        text = await service._tail.read(found, seen(scene, task), "step-pytest")
        run.fail()
        await reader.rest()
        again = await service._tail.read(found, seen(scene, task), "step-pytest")
    assert text.rstrip("\n") == again.rstrip("\n") == "one\ntwo"


async def test_what_cannot_be_read_is_nothing(scene: Scene, run: Run) -> None:
    task = run.task("test", "pytest")
    task.say("pytest", "one\n")
    task.exit("pytest", 1)
    async with tails(scene, run) as read:
        assert await read(task) == "one\n"
        for fault in (Fault(verb="log", status=403), Fault(verb="log", status=500), Fault(verb="log", reset=True)):
            scene.cluster.faults.add(fault)
            assert await read(task) == ""
            scene.cluster.faults.remove(fault)
        task.refuse("CouldntGetTask", "no pod")
        assert await read(task) == ""
