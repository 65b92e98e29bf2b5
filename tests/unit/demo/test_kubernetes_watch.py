"""Lists and watches of the in-memory API server: what a client sees of each change, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from listener.demo.kubernetes import Fault, KubernetesApi

RUNS = "/apis/tekton.dev/v1/namespaces/ci/pipelineruns"


def run(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ci", **meta}, "spec": {}}


@pytest.fixture
async def http(cluster: KubernetesApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cluster.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def events(http: aiohttp.ClientSession, number: int, **params: str) -> list[dict[str, Any]]:
    """The first ``number`` events of a watch, fewer when it ends before."""
    found: list[dict[str, Any]] = []
    async with http.get(RUNS, params={"watch": "1", **params}) as response:
        async for line in response.content:
            found.append(json.loads(line))
            if len(found) >= number:
                break
    return found


def seen(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in found]


async def watching(
    cluster: KubernetesApi, http: aiohttp.ClientSession, number: int, **params: str
) -> asyncio.Task[list[dict[str, Any]]]:
    """A watch from now on, once the server has it."""
    task = asyncio.create_task(events(http, number, resourceVersion=str(cluster.store.version), **params))
    await cluster.wait_watchers("pipelineruns", 1)
    return task


async def names(http: aiohttp.ClientSession, **params: str) -> tuple[list[str], dict[str, Any]]:
    async with http.get(RUNS, params=params) as response:
        body = await response.json()
    return [item["metadata"]["name"] for item in body["items"]], body["metadata"]


async def test_a_watch_reports_each_change_in_order(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    task = await watching(cluster, http, 3)
    cluster.create("pipelineruns", run("a"))
    cluster.patch("pipelineruns", "ci", "a", {"metadata": {"labels": {"x": "1"}}})
    cluster.delete("pipelineruns", "ci", "a")
    assert seen(await task) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_an_object_that_stops_matching_is_sent_as_deleted(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pipelineruns", run("a", labels={"app": "x"}))
    task = await watching(cluster, http, 2, labelSelector="app in (x)")
    cluster.patch("pipelineruns", "ci", "a", {"metadata": {"labels": {"app": "y"}}})
    cluster.patch("pipelineruns", "ci", "a", {"metadata": {"labels": {"app": "x"}}})
    assert seen(await task) == [("DELETED", "a"), ("ADDED", "a")]


async def test_a_streaming_list_ends_with_the_annotated_bookmark(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pipelineruns", run("a"))
    found = await events(
        http, 2, sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true"
    )
    assert [event["type"] for event in found] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_from_before_the_compaction_is_told_410(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pipelineruns", run("a"))
    cluster.store.compact(cluster.store.version)
    found = await events(http, 1, resourceVersion="1")
    assert (found[0]["type"], found[0]["object"]["code"]) == ("ERROR", 410)


async def test_finalizers_hold_a_deleted_object_until_the_last_is_gone(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.create("pipelineruns", run("a", finalizers=["example.com/held"]))
    task = await watching(cluster, http, 2)
    cluster.delete("pipelineruns", "ci", "a")
    assert cluster.store.get("pipelineruns", "ci", "a").object["metadata"]["deletionTimestamp"]
    cluster.patch("pipelineruns", "ci", "a", {"metadata": {"finalizers": None}})
    assert seen(await task) == [("MODIFIED", "a"), ("DELETED", "a")]


async def test_pages_together_hold_every_object_once(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    for number in range(5):
        cluster.create("pipelineruns", run(f"run-{number}"))
    found, meta = await names(http, limit="2")
    while meta["continue"]:
        more, meta = await names(http, **{"limit": "2", "continue": meta["continue"]})
        found += more
    assert found == [f"run-{number}" for number in range(5)]


async def test_a_page_continued_after_compaction_is_told_410(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    for name in ("a", "b"):
        cluster.create("pipelineruns", run(name))
    _, meta = await names(http, limit="1")
    cluster.create("pipelineruns", run("c"))
    cluster.store.compact(cluster.store.version)
    async with http.get(RUNS, params={"limit": "1", "continue": meta["continue"]}) as response:
        assert response.status == 410


async def test_a_fault_answers_as_often_as_it_was_told_to(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    fault = cluster.faults.add(Fault(verb="list", resource="pipelineruns", times=2, status=502, body=b"bad gateway"))
    statuses = []
    for _ in range(3):
        async with http.get(RUNS) as response:
            statuses.append(response.status)
    assert (statuses, fault.hits) == ([502, 502, 200], 2)


async def test_a_reset_reaches_the_client_as_a_broken_connection(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    cluster.faults.add(Fault(verb="list", reset=True))  # each time: aiohttp asks once more by itself
    with pytest.raises(aiohttp.ClientConnectionError):
        await names(http)


async def test_objects_survive_a_restart_on_the_same_port(cluster: KubernetesApi, http: aiohttp.ClientSession) -> None:
    cluster.create("pipelineruns", run("a"))
    url = cluster.url
    await cluster.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await names(http)
    await cluster.start()
    assert cluster.url == url
    assert (await names(http))[0] == ["a"]


async def test_a_running_watch_that_a_compaction_overtakes_is_told_so(
    cluster: KubernetesApi, http: aiohttp.ClientSession
) -> None:
    task = await watching(cluster, http, 1, timeoutSeconds="1")
    cluster.create("pipelineruns", run("a"))
    cluster.store.compact(cluster.store.version)  # before the watch had its turn
    found = seen(await task)
    assert found == [("ERROR", "")]
