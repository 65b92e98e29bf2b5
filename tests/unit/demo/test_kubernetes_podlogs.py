"""The pod log endpoint of the in-memory API server: before, while and after a container prints."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.podlogs import LogOptions

LOG = "/api/v1/namespaces/ci/pods/p/log"
SECOND = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()) * 10**9


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


async def test_an_unfinished_last_line_counts_as_a_line(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\ntwo\n")
    cluster.logs.append("ci", "p", "c", b"thr")
    cluster.logs.append("ci", "p", "c", b"ee")
    assert await read(http, tailLines="1") == (200, b"three")
    assert await read(http, tailLines="2") == (200, b"two\nthree")
    assert await read(http, tailLines="9") == (200, b"one\ntwo\nthree")
    assert await read(http, tailLines="0") == (200, b"")


async def test_each_line_has_its_time_to_the_nanosecond(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\n\ntwo\n", ns=SECOND + 5)
    cluster.logs.append("ci", "p", "c", b"\xff\r\n", at=SECOND / 1e9 + 1)
    assert await read(http, timestamps="true") == (
        200,
        (
            b"2026-11-23T10:00:00.000000005Z one\n2026-11-23T10:00:00.000000005Z \n2026-11-23T10:00:00.000000005Z two\n"
            b"2026-11-23T10:00:01.000000000Z \xff\r\n"
        ),
    )
    assert await read(http) == (200, b"one\n\ntwo\n\xff\r\n")


async def test_a_line_printed_in_pieces_has_the_time_of_its_first_and_can_lose_that_to_since(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pods", pod({"running": {}}))
    for number, piece in enumerate((b"a\nb", b"c", b"d\ne\n")):
        cluster.logs.append("ci", "p", "c", piece, ns=SECOND + number * 10**9)
    times = [f"2026-11-23T10:00:0{number}.000000000Z ".encode() for number in range(3)]
    whole = times[0] + b"a\n" + times[0] + b"bcd\n" + times[2] + b"e\n"
    assert await read(http, timestamps="true") == (200, whole)
    late = {"timestamps": "true", "sinceTime": "2026-11-23T12:00:02.7+02:00"}
    assert await read(http, **late) == (200, b"d\n" + times[2] + b"e\n")
    assert await read(http, timestamps="true", tailLines="1") == (200, times[2] + b"e\n")


async def test_a_follow_takes_the_same_options(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\ntwo\n", ns=SECOND)
    params = {"follow": "true", "timestamps": "true", "tailLines": "1", "sinceTime": "2026-11-23T10:00:00Z"}
    async with http.get(LOG, params=params) as response:
        assert await response.content.readline() == b"2026-11-23T10:00:00.000000000Z two\n"
        cluster.logs.append("ci", "p", "c", b"old\n", ns=SECOND - 1)
        cluster.logs.append("ci", "p", "c", b"new\n", ns=SECOND + 1)
        assert await response.content.readline() == b"2026-11-23T10:00:00.000000001Z new\n"
        cluster.logs.finish("ci", "p", "c")
        assert await response.content.read() == b""


async def test_limit_bytes_counts_the_times_and_ends_a_follow(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\n", ns=SECOND)
    cluster.logs.append("ci", "p", "c", b"two\n", ns=SECOND)
    assert await read(http, limitBytes="6", follow="true") == (200, b"one\ntw")
    assert await read(http, limitBytes="3", timestamps="true", follow="true") == (200, b"202")


async def test_since_seconds_leaves_out_what_is_older(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"old\n", ns=SECOND)
    cluster.logs.append("ci", "p", "c", b"now\n")
    assert await read(http, sinceSeconds="3600") == (200, b"now\n")


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"tailLines": "-1"}, 422),
        ({"limitBytes": "0"}, 422),
        ({"sinceSeconds": "x"}, 400),
        ({"sinceTime": "yesterday"}, 400),
        ({"sinceTime": "2026-11-23T10:00:00Z", "sinceSeconds": "1"}, 422),
    ],
)
async def test_options_that_make_no_sense_are_refused(
    cluster: KubernetesApi, http: aiohttp.ClientSession, params: dict[str, str], status: int
) -> None:
    cluster.create("pods", pod({"running": {}}))
    assert (await read(http, **params))[0] == status


async def test_what_was_rotated_away_is_gone_for_new_readers_and_not_for_those_who_read(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"one\ntwo\n", ns=SECOND)
    cluster.logs.append("ci", "p", "c", b"three\n", ns=SECOND)
    async with http.get(LOG, params={"follow": "true"}) as response:
        assert await response.content.readline() == b"one\n"
        cluster.logs.rotate("ci", "p", "c", keep=2)
        assert await read(http) == (200, b"two\nthree\n")
        assert await read(http, tailLines="5", timestamps="true") == (
            200,
            b"2026-11-23T10:00:00.000000000Z two\n2026-11-23T10:00:00.000000000Z three\n",
        )
        cluster.logs.append("ci", "p", "c", b"four\n")
        cluster.logs.finish("ci", "p", "c")
        assert await response.content.read() == b"two\nthree\nfour\n"
    cluster.logs.rotate("ci", "p", "c", keep=0)
    assert await read(http) == (200, b"")


async def test_serving_a_big_log_costs_no_work_per_line(cluster: KubernetesApi) -> None:
    cluster.create("pods", pod({"running": {}}))
    cluster.logs.append("ci", "p", "c", b"a line of a log\n" * 100_000)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        pieces = [piece async for piece in cluster.logs.read(("ci", "p"), "c", LogOptions(timestamps=True))]
    finally:
        sys.setprofile(None)
    assert b"".join(pieces).count(b"Z a line of a log\n") == 100_000
    assert calls < 1000
