"""Rows 1 to 10 of the fault table: what the API server, its watch and the network in between do. Seen at the Git host and in the requests."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.assembly import Settings
from listener.demo.kubernetes import Fault
from listener.demo.kubernetes.faults import Seen
from listener.service import Service
from tests.faults.proxy import Proxy
from tests.replica import replica
from tests.runs import context, delete, move, run, start
from tests.scene import GITLAB_PATH, SHA, Scene, client


@pytest.fixture(autouse=True)
def only_gitlab(scene: Scene) -> None:
    scene.services = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
"""


def states(scene: Scene, name: str) -> list[str]:
    return [posted.state for posted in scene.gitlab.statuses(GITLAB_PATH, SHA, context(name))]


async def shows(scene: Scene, name: str, state: str) -> None:
    await scene.gitlab.wait_for(lambda _: states(scene, name)[-1:] == [state], timeout=40)


def watches(scene: Scene) -> list[Seen]:
    """The watches that were asked for, without those that are a list."""
    return [seen for seen in scene.cluster.requests if seen.verb == "watch" and "sendInitialEvents" not in seen.query]


async def watching(scene: Scene, number: int) -> None:
    """Wait until so many watches were asked for."""
    await scene.cluster.requests.wait_for(lambda _: len(watches(scene)) >= number, timeout=40)


def lists(scene: Scene) -> int:
    """How often the list was asked for, in whichever way."""
    return sum(
        seen.resource == "pipelineruns"
        and ("sendInitialEvents" in seen.query or (seen.verb == "list" and "continue" not in seen.query))
        for seen in scene.cluster.requests
    )


def not_a_list(seen: Seen) -> bool:
    return "sendInitialEvents" not in seen.query


async def troubles(service: Service) -> str:
    async with client(service, user="") as session, session.get("/readyz") as response:
        return await response.text()


def through(scene: Scene, proxy: Proxy) -> None:
    """Let the service reach its cluster through the proxy."""
    change_kubeconfig(scene, lambda config: config["clusters"][0]["cluster"].update(server=proxy.url))


def change_kubeconfig(scene: Scene, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the kubeconfig that the service will read, and keep it so."""
    path = Path(scene.env()["KUBECONFIG"])
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))
    scene.cluster.kubeconfig = lambda path, *, token="": path  # type: ignore[method-assign]  # keep it so


async def test_row_01_api_server_restart_resumes_from_the_last_resource_version(scene: Scene) -> None:
    async with scene.serve():
        await scene.cluster.wait_watchers("pipelineruns", 1)
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        await scene.cluster.requests.wait_for(lambda _: bool(scene.cluster.requests.count("patch", "pipelineruns")))
        last = scene.cluster.store.version  # the annotation was the last write
        await scene.cluster.stop()
        move(scene.cluster, "a", "succeeded")
        await scene.cluster.start()
        await shows(scene, "a", "success")
    assert lists(scene) == 1, "it listed again although nothing was lost"
    assert int(watches(scene)[-1].query["resourceVersion"]) in (last - 1, last)
    assert states(scene, "a") == ["running", "success"]


@pytest.mark.parametrize("how", ["event", "HTTP status"])
async def test_row_02_410_as_event_and_as_http_status_lists_again_and_what_vanished_is_a_deletion(
    scene: Scene, how: str
) -> None:
    async with scene.serve():
        await scene.cluster.wait_watchers("pipelineruns", 1)
        start(scene.cluster, "vanishes")
        start(scene.cluster, "ends")
        await shows(scene, "vanishes", "running")
        await shows(scene, "ends", "running")
        await scene.cluster.stop()
        delete(scene.cluster, "vanishes")
        move(scene.cluster, "ends", "succeeded")
        if how == "event":
            scene.cluster.store.compact(scene.cluster.store.version)
        else:
            scene.cluster.faults.add(Fault(verb="watch", when=not_a_list, times=1, status=410))
        await scene.cluster.start()
        await shows(scene, "vanishes", "canceled")
        await shows(scene, "ends", "success")
    assert lists(scene) == 2


async def test_row_03_compaction_in_the_middle_of_a_paged_list_lists_again(scene: Scene) -> None:
    scene.cluster.streaming_lists = False
    for number in range(600):
        start(scene.cluster, str(number), "succeeded", pipeline=f"p{number}")

    def compact(seen: Seen) -> bool:
        if seen.verb == "list" and "continue" in seen.query and not compacted:
            compacted.append(seen)
            start(scene.cluster, "meanwhile", "succeeded")
            scene.cluster.store.compact(scene.cluster.store.version)
        return False

    compacted: list[Seen] = []
    scene.cluster.faults.add(Fault(when=compact))
    async with scene.serve() as service:
        await service.runs.synced()
        assert len(service.runs) == 601
        start(scene.cluster, "new", "succeeded")
        await shows(scene, "new", "success")
    assert compacted
    assert lists(scene) >= 2


async def test_row_04_half_open_watch_is_noticed(scene: Scene) -> None:
    async with Proxy(scene.cluster.url) as proxy:
        through(scene, proxy)
        async with scene.serve(watch_silence=(0.5, 0.6)) as service:
            await service.runs.synced()
            await watching(scene, 1)
            start(scene.cluster, "a")
            await shows(scene, "a", "running")
            proxy.freeze()
            move(scene.cluster, "a", "succeeded")
            await shows(scene, "a", "success")
    assert lists(scene) == 1


def test_row_04_by_default_that_takes_at_most_90_s() -> None:
    default = next(field.default for field in dataclasses.fields(Settings) if field.name == "watch_silence")
    assert default == (75.0, 90.0), "bookmarks come about once a minute; more than 90 s is too late"


@pytest.mark.parametrize("status", [429, 502])
async def test_row_05_429_or_502_with_text_on_the_watch_backs_off_and_is_never_an_event(
    scene: Scene, status: int
) -> None:
    body = b'{"type":"ADDED","object":{}}\nToo many requests, or a bad gateway\n'
    fault = Fault(verb="watch", when=not_a_list, status=status, body=body, times=3)
    async with scene.serve() as service:
        await watching(scene, 1)
        start(scene.cluster, "first", "succeeded")  # a watch that ends without an event would be another trouble
        await shows(scene, "first", "success")
        scene.cluster.faults.add(fault)
        scene.cluster.cut_watches()
        await watching(scene, 3)
        assert f"{status}" in await troubles(service)
        await watching(scene, 5)
        start(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")
        assert service.runs.reflectors[0].skipped == 0
        assert "[]" in await troubles(service)
    asked = [seen.at for seen in watches(scene)][2:]
    assert lists(scene) == 1
    assert sum(after - before for before, after in itertools.pairwise(asked)) > 0.4 * (len(asked) - 1)


async def test_row_06_empty_200_again_and_again_backs_off(scene: Scene) -> None:
    fault = Fault(verb="watch", when=not_a_list, status=200, times=3)
    async with scene.serve():
        await watching(scene, 1)
        start(scene.cluster, "first", "succeeded")  # a watch that ends without an event would be another trouble
        await shows(scene, "first", "success")
        scene.cluster.faults.add(fault)
        scene.cluster.cut_watches()
        await watching(scene, 5)
        start(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")
    asked = [seen.at for seen in watches(scene)][2:]
    assert min(after - before for before, after in itertools.pairwise(asked)) > 0.3, "no pause"
    assert lists(scene) == 1


async def test_row_07_a_6_mb_event_and_utf_8_split_across_chunks(scene: Scene) -> None:
    async with Proxy(scene.cluster.url, pieces=4093) as proxy:
        through(scene, proxy)
        async with scene.serve() as service:
            await scene.cluster.wait_watchers("pipelineruns", 1)
            start(scene.cluster, "huge", "succeeded", annotations={"example.com/huge": "ü€🙂" * 700_000})
            failed = run("split", "failed")
            failed["status"]["conditions"][0]["message"] = "ü€🙂" * 5_000
            scene.cluster.create("pipelineruns", failed)
            await shows(scene, "huge", "success")
            await shows(scene, "split", "failed")
            assert service.runs.reflectors[0].skipped == 0


async def test_row_08_malformed_object_and_unknown_event_type_are_skipped_and_counted(scene: Scene) -> None:
    garbage = (
        json.dumps(
            {"type": "MODIFIED", "object": {"metadata": {"name": "x", "namespace": "team-a", "labels": 7}}}
        ).encode(),
        json.dumps({"type": "SURPRISE", "object": {"metadata": {"name": "y"}}}).encode(),
        b"{}",
    )
    scene.cluster.faults.add(Fault(verb="watch", when=not_a_list, lines=garbage, times=1))
    async with replica(scene) as one:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        start(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")
        assert await one.metric("objects_skipped_total") == 3
        assert await one.metric("watch_restarts_total") == 0
        await one.logged("skipped team-a/x")


@pytest.mark.parametrize("status", [400, 404, 405, 422, 501])
async def test_row_09_streaming_list_unsupported_falls_back(scene: Scene, status: int) -> None:
    start(scene.cluster, "a", "succeeded")
    scene.cluster.faults.add(Fault(verb="watch", when=lambda seen: not not_a_list(seen), status=status))
    async with scene.serve():
        await shows(scene, "a", "success")
        start(scene.cluster, "b", "succeeded")
        await shows(scene, "b", "success")
    assert scene.cluster.requests.count("list", "pipelineruns") == 1


async def test_row_10_service_account_token_rotated_is_read_again(scene: Scene) -> None:
    token = scene.folder / "service-account-token"
    token.write_text("first")
    scene.cluster.tokens = ("first",)
    change_kubeconfig(scene, lambda config: config["users"][0].update(user={"tokenFile": str(token)}))
    async with scene.serve() as service:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        start(scene.cluster, "a")
        await shows(scene, "a", "running")
        scene.cluster.tokens = ("second",)
        scene.cluster.cut_watches()
        await watching(scene, 2)
        token.write_text("second")
        move(scene.cluster, "a", "succeeded")
        await shows(scene, "a", "success")
        assert service.runs.reflectors[0].lists == 1
