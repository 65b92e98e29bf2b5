"""Log streams when connections break, runs vanish and the service stops: no line lost or doubled, no false end."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest

from listener.demo.kubernetes import Fault, KubernetesApi
from tests.scene import PASSWORD, USER, Scene, basic, client, listener_process
from tests.unit.web.test_requests import RUNNING

NAME = "service-xyz-run-a"
POD = f"{NAME}-build-pod"


def run_with_task(cluster: KubernetesApi) -> None:
    """A running PipelineRun with one task of two steps, the first of which runs."""
    labels = {"tekton.dev/pipelineRun": NAME, "tekton.dev/pipelineTask": "build"}
    child = {"kind": "TaskRun", "name": f"{NAME}-build", "pipelineTaskName": "build"}
    cluster.create(
        "pipelineruns",
        {"metadata": {"name": NAME, "namespace": "team-a"}, "status": RUNNING | {"childReferences": [child]}},
    )
    meta = {"namespace": "team-a", "labels": labels}
    steps: list[dict[str, Any]] = [
        {"name": name, "container": f"step-{name}", "running": {}} for name in ("one", "two")
    ]
    cluster.create(
        "taskruns",
        {"metadata": {"name": f"{NAME}-build", **meta}, "status": RUNNING | {"podName": POD, "steps": steps}},
    )
    containers = [{"name": "step-one"}, {"name": "step-two"}]
    states = [{"name": container["name"], "state": {"running": {}}} for container in containers]
    cluster.create(
        "pods",
        {
            "metadata": {"name": POD, **meta},
            "spec": {"nodeName": "n", "containers": containers},
            "status": {"phase": "Running", "containerStatuses": states},
        },
    )


def printed(cluster: KubernetesApi, step: str, text: str) -> None:
    cluster.logs.append("team-a", POD, f"step-{step}", text.encode())


def succeed(cluster: KubernetesApi) -> None:
    done = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": ""}]}
    for step in ("one", "two"):
        cluster.logs.finish("team-a", POD, f"step-{step}")
    states = [{"name": f"step-{s}", "state": {"terminated": {"exitCode": 0}}} for s in ("one", "two")]
    cluster.patch("pods", "team-a", POD, {"status": {"phase": "Succeeded", "containerStatuses": states}})
    cluster.patch("taskruns", "team-a", f"{NAME}-build", {"status": done})
    cluster.patch("pipelineruns", "team-a", NAME, {"status": done})


async def lines(response: aiohttp.ClientResponse, number: int) -> list[str]:
    return [(await response.content.readline()).decode().rstrip("\n") for _ in range(number)]


async def test_a_follow_that_breaks_is_taken_up_again_without_losing_or_doubling_a_line(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        response = await session.get(f"/logs/{NAME}")
        printed(scene.cluster, "one", "same\nsame\nsa")
        assert await lines(response, 2) == ["[build : one] same"] * 2
        for _ in range(3):
            scene.cluster.logs.cut_follows()
            await scene.cluster.requests.wait_for(lambda seen: sum(s.verb == "log" for s in seen) > 2)
        printed(scene.cluster, "one", "me\nsame\n")
        printed(scene.cluster, "two", "other\n")
        succeed(scene.cluster)
        rest = (await response.read()).decode().splitlines()
    assert rest[:3] == ["[build : one] same", "[build : one] same", "[build : two] other"]
    assert rest[-1].startswith("# verdict: Succeeded (Passed")


async def test_fifty_readers_share_one_follow_per_container_and_get_the_same_bytes(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        responses = await asyncio.gather(*(session.get(f"/logs/{NAME}") for _ in range(50)))
        printed(scene.cluster, "one", "hello\n")
        for response in responses:
            assert await lines(response, 1) == ["[build : one] hello"]
        succeed(scene.cluster)
        texts = {await response.read() for response in responses}
    assert len(texts) == 1
    follows = Counter(s.query["container"] for s in scene.cluster.requests if s.verb == "log")
    assert set(follows) == {"step-one", "step-two"}
    assert max(follows.values()) <= 3  # each is asked again at its end, however many read


async def test_parallel_lines_are_never_torn(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        response = await session.get(f"/logs/{NAME}")
        for piece in ("a long li", "ne in pie", "ces\n"):
            printed(scene.cluster, "one", piece)
        assert await lines(response, 1) == ["[build : one] a long line in pieces"]
        succeed(scene.cluster)
        await response.read()


async def test_a_run_deleted_in_the_middle_ends_with_that_verdict(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        response = await session.get(f"/logs/{NAME}")
        printed(scene.cluster, "one", "hello\n")
        assert await lines(response, 1) == ["[build : one] hello"]
        scene.cluster.delete("pods", "team-a", POD)
        scene.cluster.delete("taskruns", "team-a", f"{NAME}-build")
        scene.cluster.delete("pipelineruns", "team-a", NAME)
        rest = (await response.read()).decode().splitlines()
    assert rest[-1] == "# verdict: Deleted (Run deleted before it finished)"


async def test_a_task_whose_last_word_comes_after_the_runs_is_read_all_the_same(scene: Scene) -> None:
    run_with_task(scene.cluster)
    done = {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": ""}]}
    scene.cluster.patch("taskruns", "team-a", f"{NAME}-build", {"status": {"podName": None}})
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        response = await session.get(f"/logs/{NAME}")
        await scene.cluster.wait_watchers("taskruns", 1)
        scene.cluster.patch("pipelineruns", "team-a", NAME, {"status": done})
        async with session.get(f"/status/{NAME}") as answer:
            assert answer.status == 200  # the service has seen that the run is over
        scene.cluster.patch("taskruns", "team-a", f"{NAME}-build", {"status": {"podName": POD}})
        printed(scene.cluster, "one", "late\n")
        succeed(scene.cluster)
        text = await response.text()
    assert "[build : one] late\n" in text


async def test_silence_is_broken_by_comment_lines_that_say_what_is_waited_for(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with scene.serve() as service, client(service) as session:
        service.logs._keep_alive = 0.05
        await service.runs.synced()
        response = await session.get(f"/logs/{NAME}")
        assert await lines(response, 2) == ["# ... build › one is running"] * 2
        succeed(scene.cluster)
        assert (await response.read()).splitlines()[-1].startswith(b"# verdict: Succeeded")


async def test_only_the_task_or_step_asked_for_and_escapes_stripped_or_coloured(scene: Scene) -> None:
    run_with_task(scene.cluster)
    printed(scene.cluster, "one", "\x1b[31mred\x1b[0m\x1b]0;title\x07\n")
    printed(scene.cluster, "two", "plain\n")
    succeed(scene.cluster)
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()

        async def log(**params: Any) -> list[bytes]:
            async with session.get(f"/logs/{NAME}", params=params) as response:
                return (await response.read()).splitlines()[:-1]

        assert await log() == [b"[build : one] \x1b[31mred\x1b[0m\x1b]0;title\x07", b"[build : two] plain"]
        assert await log(step="two") == [b"[build : two] plain"]
        assert await log(task="other") == []
        assert await log(color="never") == [b"[build : one] red", b"[build : two] plain"]
        coloured = await log(color="always", step="two")
    assert coloured[0].endswith(b"[build : two]\x1b[0m plain")


async def test_a_log_that_cannot_be_had_is_cut_and_says_why(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("listener.logs.recorder._PATIENCE", 0.5)
    run_with_task(scene.cluster)
    succeed(scene.cluster)
    scene.cluster.faults.add(Fault(resource="pods", status=403, body=b'{"reason":"Forbidden","message":"not you"}'))
    async with scene.serve() as service, client(service) as session:
        service.logs._keep_alive = 0.05
        await service.runs.synced()
        said: list[bytes] = []
        async with session.get(f"/logs/{NAME}") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await read_into(said, response)
    assert b"# ... the cluster cannot be watched: 403 Forbidden: not you\n" in said


async def read_into(said: list[bytes], response: aiohttp.ClientResponse) -> None:
    async for line in response.content:
        said.append(line)  # noqa: PERF401 - what came before the cut is wanted too


async def test_logs_that_the_node_no_longer_has_are_marked_and_not_passed_off_as_output(scene: Scene) -> None:
    run_with_task(scene.cluster)
    succeed(scene.cluster)
    gone = b"unable to retrieve container logs for containerd://5fe42cc0b774863105b83f440a5a7ade7bc731"
    scene.cluster.faults.add(Fault(verb="log", status=200, body=gone))
    async with scene.serve() as service, client(service) as session:
        text = await (await session.get(f"/logs/{NAME}")).text()
    assert "containerd" not in text
    assert "# build › one: no log, its log was removed from the node" in text


async def test_a_client_of_http_1_0_as_nginx_is_by_default_gets_the_log_too(scene: Scene) -> None:
    run_with_task(scene.cluster)
    printed(scene.cluster, "one", "hello\n")
    succeed(scene.cluster)
    async with scene.serve() as service:
        await service.runs.synced()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"GET /logs/{NAME} HTTP/1.0\r\nAuthorization: {basic(USER, PASSWORD)}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in head.lower()
    assert body.splitlines()[0] == b"[build : one] hello"
    assert body.splitlines()[-1].startswith(b"# verdict: Succeeded")


async def test_a_client_of_http_1_0_sees_a_reset_when_the_stream_is_cut(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with scene.serve() as service:
        await service.runs.synced()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"GET /logs/{NAME} HTTP/1.0\r\nAuthorization: {basic(USER, PASSWORD)}\r\n\r\n".encode())
        printed(scene.cluster, "one", "hello\n")
        async with asyncio.timeout(20):
            while await reader.readline() != b"[build : one] hello\n":
                assert not reader.at_eof()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_a_service_that_stops_cuts_its_streams_and_curl_exits_18(scene: Scene) -> None:
    run_with_task(scene.cluster)
    async with listener_process(scene) as process, asyncio.timeout(30):
        assert process.stderr is not None
        port = ""
        while not port:
            line = (await process.stderr.readline()).decode()
            port = line.rpartition(":")[2].strip() if "listening on" in line else ""
        url = f"http://127.0.0.1:{port}/logs/{NAME}"
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sN", "-u", f"{USER}:{PASSWORD}", url, stdout=asyncio.subprocess.PIPE
        )
        assert curl.stdout is not None
        printed(scene.cluster, "one", "hello\n")
        while await curl.stdout.readline() != b"[build : one] hello\n":
            assert curl.returncode is None
        process.send_signal(signal.SIGTERM)
        await curl.communicate()
        await process.communicate()
    assert curl.returncode == 18
    assert process.returncode == 0
