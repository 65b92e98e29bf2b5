"""Traces of real deliveries, as a collector on a socket gets them: one per change of state, from the watch event to the note on the run."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import AsyncIterator

import pytest

from listener.assembly import build_tracing
from listener.demo.githost import HostFault, Posted
from tests.faults.collector import Collector
from tests.faults.outside import QUICK
from tests.runs import move, start
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


@pytest.fixture
def traced(scene: Scene, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Scene:
    plain = scene.env()
    monkeypatch.setattr(scene, "env", lambda: {**plain, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    return scene


def _shows(state: str, posted: list[Posted]) -> bool:
    return posted[-1].state == state


async def test_one_trace_leads_from_the_watch_event_to_the_note_on_the_run(traced: Scene, collector: Collector) -> None:
    async with traced.serve():
        start(traced.cluster, "a", "succeeded")
        await traced.gitlab.wait_for(lambda posted: bool(posted))
        await traced.github.wait_for(lambda posted: bool(posted))
    (root,) = collector.named("PipelineRun changed")
    assert root.parent == ""
    assert root.attributes["tekton.pipelinerun.name"] == "service-xyz-run-a"
    assert {span.trace for span in collector.spans} == {root.trace}
    assert collector.below(root) == ["route", "report", "report"]
    for host, path in (("gitlab", GITLAB_PATH), ("github", GITHUB_PATH)):
        (report,) = collector.named("report", host=host)
        assert report.attributes["tekton_listener.repository"] == path
        assert report.attributes["tekton_listener.commit"] == SHA
        assert report.attributes["tekton_listener.result"] == "delivered"
        assert collector.below(report) == ["wait", "deliver", "note"]
        assert root.begin <= report.begin <= report.end
        assert not report.failed
    assert collector.resource["service.name"] == "tekton-listener"
    assert "secret-token" not in repr(collector.spans)


async def test_each_change_of_state_is_a_trace_and_changes_that_say_nothing_new_are_none(
    traced: Scene, collector: Collector
) -> None:
    async with traced.serve():
        start(traced.cluster, "a", None)
        await traced.gitlab.wait_for(lambda posted: len(posted) == 1)
        for state, shown in (("running", "running"), ("running", "running"), ("succeeded", "success")):
            move(traced.cluster, "a", state)
            await traced.gitlab.wait_for(functools.partial(_shows, shown))
    assert [span.attributes["tekton_listener.state"] for span in collector.named("report", host="gitlab")] == [
        "pending",
        "running",
        "success",
    ]
    traces = [span.trace for span in collector.named("report", host="gitlab")]
    assert len(set(traces)) == 3
    assert {span.trace for span in collector.spans} == set(traces)


async def test_every_attempt_is_a_span_with_the_wait_before_it(traced: Scene, collector: Collector) -> None:
    traced.gitlab.faults.append(HostFault(status=502, body="bad gateway", times=2))
    del traced.github.projects[GITHUB_PATH]
    async with traced.serve(pace=QUICK):
        start(traced.cluster, "a", "succeeded")
        await traced.gitlab.wait_for(lambda posted: bool(posted))
        await traced.github.wait_asked(1)
    (report,) = collector.named("report", host="gitlab")
    assert collector.below(report) == ["wait", "deliver", "wait", "deliver", "wait", "deliver", "note"]
    attempts = [span for span in collector.named("deliver") if span.parent == report.id]
    assert [span.failed for span in attempts] == [True, True, False]
    assert [span.attributes["tekton_listener.attempt"] for span in attempts] == [1, 2, 3]
    (refused,) = collector.named("report", host="github")
    assert refused.failed
    assert refused.attributes["tekton_listener.result"] == "permanent"


async def test_a_newer_state_takes_over_from_one_that_still_waits(traced: Scene, collector: Collector) -> None:
    fault = HostFault(status=503, body="down")
    traced.gitlab.faults.append(fault)
    async with traced.serve(pace=QUICK):
        start(traced.cluster, "a", "running")
        await traced.gitlab.wait_asked(1)
        move(traced.cluster, "a", "succeeded")
        await traced.github.wait_for(lambda posted: posted[-1:] != [] and posted[-1].state == "success")
        fault.times = 0
        await traced.gitlab.wait_for(lambda posted: bool(posted))
    first, last = collector.named("report", host="gitlab")
    assert first.attributes["tekton_listener.result"] == "superseded"
    assert last.attributes["tekton_listener.result"] == "delivered"
    assert first.trace != last.trace
    changed = next(span for span in collector.named("PipelineRun changed") if span.trace == last.trace)
    assert changed.attributes["tekton.reason"] == "Succeeded"


async def test_tektons_own_span_is_the_parent_and_nonsense_there_is_none(traced: Scene, collector: Collector) -> None:
    carrier = json.dumps({"traceparent": f"00-{TRACE}-{PARENT}-01"})
    async with traced.serve():
        for name, text in (("a", carrier), ("b", "{"), ("c", '{"traceparent": "00-zz-1-01"}'), ("d", "[1]")):
            start(traced.cluster, name, "succeeded", annotations={"tekton.dev/pipelinerunSpanContext": text})
        await traced.gitlab.wait_for(lambda posted: len(posted) == 4)
        await traced.github.wait_for(lambda posted: len(posted) == 4)
    roots = {span.attributes["tekton.pipelinerun.name"][-1]: span for span in collector.named("PipelineRun changed")}
    assert (roots["a"].trace, roots["a"].parent) == (TRACE, PARENT)
    assert {roots[name].parent for name in "bcd"} == {""}


async def test_a_collector_that_hangs_holds_up_neither_deliveries_nor_the_end(
    traced: Scene, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")  # seconds; only our own bound is left
    collector.hang = True
    async with asyncio.timeout(20), traced.serve():
        start(traced.cluster, "a", "succeeded")
        await traced.gitlab.wait_for(lambda posted: bool(posted))
    await collector.asked()


def test_without_an_endpoint_nothing_is_loaded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert build_tracing({}) is None
    assert build_tracing({**there, "OTEL_SDK_DISABLED": "true"}) is None
    assert build_tracing({**there, "OTEL_TRACES_EXPORTER": "none"}) is None
    assert not caplog.records
    assert build_tracing({**there, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
    assert "sent with http/protobuf" in caplog.text
    monkeypatch.delitem(sys.modules, "listener.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    assert build_tracing(there) is None
    assert "tekton-pipeline-listener[tracing]" in caplog.text


async def test_the_traces_endpoint_goes_before_the_general_one(collector: Collector) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
    }
    tracing = build_tracing(env)
    assert tracing is not None
    await asyncio.wait_for(tracing.close(), 5)
