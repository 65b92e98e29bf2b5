"""What the cluster and the network before it do wrong, rows 1 to 10 of the fault table: nothing is lost, nothing is told twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from listener.demo.kubernetes import Fault
from listener.demo.kubernetes.faults import Seen
from listener.reporting.ledger import ANNOTATION
from tests.faults.outside import shows, states, value
from tests.hearing import hearing
from tests.proxy import Proxy
from tests.replica import replica
from tests.runs import context, delete, move, run, start
from tests.scene import GITLAB_PATH, SHA, Scene

QUIET: dict[str, Any] = {"watch_silence": (0.3, 0.4)}  # for clusters that send bookmarks every 50 ms


def is_watch(seen: Seen) -> bool:
    """A watch that goes on from a version, and not a list in its clothes."""
    return seen.verb == "watch" and seen.resource == "pipelineruns" and "sendInitialEvents" not in seen.query


def is_list(seen: Seen) -> bool:
    """A list, or the first page of one."""
    if seen.resource != "pipelineruns" or "continue" in seen.query:
        return False
    return seen.verb == "list" or "sendInitialEvents" in seen.query


def asked(scene: Scene, what: Any) -> list[Seen]:
    return [seen for seen in scene.cluster.requests if what(seen)]


async def watched(scene: Scene, number: int = 1) -> None:
    """Wait until so many watches have begun, lists in their clothes not counted."""
    await scene.cluster.requests.wait_for(lambda requests: sum(map(is_watch, requests)) >= number)


def begins_a_second(requests: list[Seen]) -> bool:
    """At most one request a second, with one in advance, from the second on."""
    first, *others = [seen.at for seen in requests]
    return all(number <= at - first + 1 for number, at in enumerate(others, start=1))


async def test_row_01_api_server_restart_resumes_from_the_last_resource_version(scene: Scene) -> None:
    with hearing() as heard:
        async with scene.serve() as service:
            await watched(scene)
            seen = int(scene.cluster.create("pipelineruns", run("before"))["metadata"]["resourceVersion"])
            await shows(scene.gitlab, before="running")
            last = scene.cluster.store.version
            await scene.cluster.stop()
            move(scene.cluster, "before", "succeeded")
            start(scene.cluster, "meanwhile", "failed")
            await heard.logged("trying again in")
            await scene.cluster.start()
            await shows(scene.gitlab, before="success", meanwhile="failed")
            assert service.runs.reflectors[0].lists == 1
    assert len(asked(scene, is_list)) == 1
    first, *_, second = asked(scene, is_watch)
    assert int(first.query["resourceVersion"]) < seen <= int(second.query["resourceVersion"]) <= last
    assert states(scene.gitlab, "before") == ["running", "success"]


async def test_row_01_api_server_restart_watches_come_back_jittered(scene: Scene) -> None:
    names = [f"team-{letter}" for letter in "abcdefghijkl"]
    scene.more = f"namespaces: [{', '.join(names)}]\n"
    async with replica(scene) as one:
        await watched(scene, len(names))
        await scene.cluster.stop()
        await one.logged("trying again in", times=len(names))
        await scene.cluster.start()
        await watched(scene, 2 * len(names))
        first = [line for line in one.log if "trying again in" in line][: len(names)]
    pauses = {line.partition("trying again in ")[2].partition(" s")[0] for line in first}
    assert len(pauses) > 1
    assert len(asked(scene, is_list)) == len(names)


@pytest.mark.parametrize("how", ["event", "status"])
async def test_row_02_410_as_event_and_as_http_status_lists_again_and_what_vanished_is_a_deletion(
    scene: Scene, how: str
) -> None:
    async with scene.serve() as service:
        await watched(scene)
        start(scene.cluster, "stays")
        start(scene.cluster, "vanishes", sha=SHA)
        await shows(scene.gitlab, stays="running", vanishes="running")
        await scene.cluster.stop()
        delete(scene.cluster, "vanishes")
        start(scene.cluster, "came", "succeeded")
        old = scene.cluster.store.version
        if how == "event":
            scene.cluster.store.compact(old)
        else:
            too_old = Fault(when=lambda s: is_watch(s) and int(s.query["resourceVersion"]) < old, status=410)
            scene.cluster.faults.add(too_old)
        await scene.cluster.start()
        await shows(scene.gitlab, stays="running", vanishes="canceled", came="success")
        move(scene.cluster, "stays", "succeeded")
        await shows(scene.gitlab, stays="success")
        assert service.runs.reflectors[0].lists == 2
    assert len(asked(scene, is_list)) == 2
    assert states(scene.gitlab, "vanishes") == ["running", "canceled"]
    gone = scene.gitlab.latest(GITLAB_PATH, SHA)[context("vanishes")]
    assert gone.description == "Run deleted before it finished"


async def test_row_03_compaction_in_the_middle_of_a_paged_list_lists_again(scene: Scene) -> None:
    cluster = scene.cluster
    cluster.streaming_lists = False
    start(cluster, "first")
    start(cluster, "vanishes")
    for number in range(1100):
        cluster.create("pipelineruns", {"metadata": {"name": f"stranger-{number}", "namespace": "team-a"}})
    compacted: list[Seen] = []

    def compact(seen: Seen) -> bool:
        if "continue" in seen.query and not compacted:
            compacted.append(seen)
            delete(cluster, "vanishes")
            start(cluster, "came", "succeeded")
            cluster.store.compact(cluster.store.version)
        return False  # the cluster itself answers, by its own rules

    cluster.faults.add(Fault(when=compact))
    async with scene.serve() as service:
        await shows(scene.gitlab, first="running", came="success", vanishes="canceled")
        assert service.runs.reflectors[0].lists == 2
        assert len(service.runs) == 1102
    pages = [s for s in cluster.requests if s.verb == "list" and s.resource == "pipelineruns"]
    assert ["continue" in s.query for s in pages] == [False, True, False, True, True]


async def test_row_04_half_open_watch_behind_a_frozen_proxy_is_noticed(scene: Scene) -> None:
    scene.cluster.bookmark_interval = 0.05
    with hearing() as heard:
        async with Proxy(scene) as proxy, scene.serve(env=proxy.env(), **QUIET) as service:
            await watched(scene)
            start(scene.cluster, "before")
            await shows(scene.gitlab, before="running")
            before = proxy.watches
            proxy.freeze()
            start(scene.cluster, "after", "succeeded")
            move(scene.cluster, "before", "succeeded")
            await shows(scene.gitlab, before="success", after="success")
            assert proxy.frozen
            assert proxy.watches > before
            assert service.runs.reflectors[0].lists == 1
        assert heard.count("no answer in time")


async def test_row_05_429_or_502_with_text_on_the_watch_backs_off_and_is_never_an_event(scene: Scene) -> None:
    text = json.dumps({"type": "ADDED", "object": run("never", uid="u", resourceVersion="999999")}).encode() + b"\n"
    slow_down = Fault(when=is_watch, times=2, status=429, body=text)
    bad_gateway = Fault(when=is_watch, times=1, status=502, body=b"<html>bad gateway</html>\n" + text)
    scene.cluster.faults.add(slow_down)
    scene.cluster.faults.add(bad_gateway)
    async with scene.serve() as service:
        await watched(scene)
        start(scene.cluster, "good", "succeeded")
        await shows(scene.gitlab, good="success")
        reflector = service.runs.reflectors[0]
        assert (reflector.lists, reflector.restarts, reflector.skipped) == (1, 3, 0)
        assert reflector.problem is None
        assert len(service.runs) == 1
    assert len(asked(scene, is_watch)) == 4
    assert begins_a_second(asked(scene, is_watch))
    assert states(scene.gitlab, "never") == []


async def test_row_06_empty_200_again_and_again_backs_off(scene: Scene) -> None:
    scene.cluster.faults.add(Fault(when=is_watch, times=2, status=200))
    async with scene.serve() as service:
        await watched(scene)
        start(scene.cluster, "good", "succeeded")
        await shows(scene.gitlab, good="success")
        assert service.runs.reflectors[0].lists == 1
        assert await value(service, "watch_restarts_total") == 2
    assert len(asked(scene, is_watch)) == 3
    assert begins_a_second(asked(scene, is_watch))


async def test_row_07_a_6_mb_event_is_parsed(scene: Scene) -> None:
    async with Proxy(scene, pieces=(9973, 65521, 1)) as proxy, scene.serve(env=proxy.env()) as service:
        await watched(scene)
        start(scene.cluster, "huge", "succeeded", annotations={"example.com/huge": "ü" * 3_100_000})
        start(scene.cluster, "next", "succeeded")
        await shows(scene.gitlab, huge="success", next="success")
        reflector = service.runs.reflectors[0]
        assert (reflector.lists, reflector.restarts, reflector.skipped) == (1, 0, 0)


async def test_row_07_utf_8_split_across_chunks_is_parsed(scene: Scene) -> None:
    said = "Größe 漢字 🚀 paßt nicht"
    broken = {"type": "Succeeded", "status": "False", "reason": "CouldntGetPipeline", "message": said}
    body = run("umlaut", None) | {"status": {"conditions": [broken]}}
    async with Proxy(scene, pieces=(1, 2, 3)) as proxy, scene.serve(env=proxy.env()) as service:
        await watched(scene)
        scene.cluster.create("pipelineruns", body)
        await shows(scene.gitlab, umlaut="failed")
        assert service.runs.reflectors[0].skipped == 0
    assert said in scene.gitlab.latest(GITLAB_PATH, SHA)[context("umlaut")].description


async def test_row_08_malformed_object_and_unknown_event_type_are_skipped_and_counted(scene: Scene) -> None:
    bad = {"metadata": {"name": "service-xyz-run-bad", "namespace": "team-a", "labels": 7}}
    lines = [{"type": "ADDED", "object": bad}, {"type": "MODIFIED", "object": bad}, {"type": "SURPRISE", "object": bad}]
    garbage = (*(json.dumps(line).encode() for line in lines), b"<html>")
    scene.cluster.faults.add(Fault(when=is_watch, times=1, lines=garbage))
    start(scene.cluster, "before", "succeeded")
    with hearing() as heard:
        async with scene.serve() as service:
            await watched(scene)
            start(scene.cluster, "after", "succeeded")
            await shows(scene.gitlab, before="success", after="success")
            assert await value(service, "objects_skipped_total", path="/apis/tekton.dev/v1/pipelineruns") == 4
            assert await value(service, "watch_restarts_total") == 0
            assert service.runs.reflectors[0].lists == 1
    assert heard.count("skipped team-a/service-xyz-run-bad") == 1


@pytest.mark.parametrize("how", ["400", "404", "no answer", "no end", "an end too early"])
async def test_row_09_streaming_list_unsupported_falls_back(scene: Scene, how: str) -> None:
    scene.cluster.bookmark_interval = 0.05 if how != "no end" else 60
    old = (b"sendInitialEvents", b"whateverThatMeans") if how == "no end" else (b"", b"")

    def is_streaming(seen: Seen) -> bool:
        return "sendInitialEvents" in seen.query

    match how:
        case "400":
            scene.cluster.streaming_lists = False
        case "404":
            scene.cluster.faults.add(Fault(when=is_streaming, status=404))
        case "no answer":
            scene.cluster.faults.add(Fault(when=is_streaming, hang=True))
        case "an end too early":
            scene.cluster.faults.add(Fault(when=is_streaming, status=200))
        case _:  # a server that does not know the parameter: to it this is an ordinary watch
            pass
    start(scene.cluster, "before", "succeeded")
    async with Proxy(scene, replace=old) as proxy, scene.serve(env=proxy.env(), **QUIET) as service:
        await shows(scene.gitlab, before="success")
        await watched(scene)
        start(scene.cluster, "after", "succeeded")
        await shows(scene.gitlab, after="success")
        assert service.runs.reflectors[0].skipped == 0
    assert sum(is_list(s) and s.verb == "list" for s in scene.cluster.requests) == 1
    if how != "no end":
        assert len(asked(scene, is_streaming)) == 1


@pytest.mark.parametrize("where", ["token", "tokenFile"])
async def test_row_10_service_account_token_rotated_and_read_again_after_a_401(scene: Scene, where: str) -> None:
    file, kubeconfig = scene.folder / "cluster-token", scene.folder / "kubeconfig-of-ours"

    def rotate(token: str) -> None:
        scene.cluster.tokens = (token,)
        file.write_text(token)
        scene.cluster.kubeconfig(kubeconfig, token=token)
        if where == "tokenFile":
            config = yaml.safe_load(kubeconfig.read_text())
            config["users"][0]["user"] = {"tokenFile": str(file)}
            kubeconfig.write_text(yaml.safe_dump(config))

    rotate("old")
    with hearing() as heard:
        async with scene.serve(env={"KUBECONFIG": str(kubeconfig)}) as service:
            await watched(scene)
            start(scene.cluster, "before")
            await shows(scene.gitlab, before="running")
            rotate("new")
            scene.cluster.cut_watches()
            start(scene.cluster, "after", "succeeded")
            move(scene.cluster, "before", "succeeded")
            await shows(scene.gitlab, before="success", after="success")
            assert service.runs.reflectors[0].lists == 1
    old, refused, new = asked(scene, is_watch)
    assert old.query["resourceVersion"] <= refused.query["resourceVersion"] == new.query["resourceVersion"]
    assert not heard.count("WARNING")


async def test_row_10_a_write_refused_with_401_is_made_again_with_the_token_of_now(scene: Scene) -> None:
    kubeconfig = scene.folder / "kubeconfig-of-ours"
    scene.cluster.tokens = ("old",)
    scene.cluster.kubeconfig(kubeconfig, token="old")
    async with scene.serve(env={"KUBECONFIG": str(kubeconfig)}):
        start(scene.cluster, "before", "succeeded")
        await scene.cluster.requests.wait_for(lambda requests: any(s.verb == "patch" for s in requests))
        await watched(scene)
        scene.cluster.tokens = ("new",)  # the watch goes on: it was let in before
        scene.cluster.kubeconfig(kubeconfig, token="new")
        start(scene.cluster, "one", "succeeded")
        await shows(scene.gitlab, one="success")
        await shows(scene.github, one="success")
    assert len(asked(scene, is_watch)) == 1
    noted = scene.cluster.store.get("pipelineruns", "team-a", "service-xyz-run-one").object["metadata"]["annotations"]
    assert noted[ANNOTATION].count("success") == 2
