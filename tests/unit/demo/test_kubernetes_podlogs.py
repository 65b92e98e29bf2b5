"""The pod log endpoint of the in-memory API server: before, while and after a container prints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from listener.demo.kubernetes import KubernetesApi

LOG = "/api/v1/namespaces/ci/pods/p/log"


def pod(state: dict[str, Any], *, node: str = "node1") -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "ci"},
        "spec": {"containers": [{"name": "c"}], **({"nodeName": node} if node else {})},
        "status": {"containerStatuses": [{"name": "c", "state": state}]} if state else {},
    }


@pytest.fixture
async def http(cluster: KubernetesApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cluster.url, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def read(http: aiohttp.ClientSession, **params: str) -> tuple[int, bytes]:
    async with http.get(LOG, params=params) as response:
        return response.status, await response.read()


async def test_an_unscheduled_pod_has_nothing_to_say(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pods", pod({}, node=""))
    assert await read(http, container="c", follow="true") == (204, b"")


async def test_a_waiting_container_answers_400_with_its_reason(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pods", pod({"waiting": {"reason": "ErrImageNeverPull"}}))
    status, body = await read(http, container="c")
    assert status == 400
    assert b"waiting to start: ErrImageNeverPull" in body


async def test_a_follow_streams_live_and_ends_with_the_container(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\n")
    async with http.get(LOG, params={"container": "c", "follow": "true"}) as response:
        assert await response.content.readline() == b"one\n"
        cluster.logs.append("ci", "p", "c", b"\xfftwo")
        assert await response.content.readany() == b"\xfftwo"
        cluster.logs.finish("ci", "p", "c")
        assert await response.content.read() == b""


async def test_a_follow_ends_when_its_pod_is_deleted_and_404_comes_after(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\n")
    async with http.get(LOG, params={"container": "c", "follow": "true"}) as response:
        assert await response.content.readline() == b"one\n"
        cluster.delete("pods", "ci", "p")
        assert await response.content.read() == b""
    assert (await read(http))[0] == 404


async def test_tail_lines_gives_the_last_lines(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\ntwo\nthree\n")
    assert await read(http, tailLines="2") == (200, b"two\nthree\n")
