"""OpenTelemetry traces (the extra ``tracing``): the way of one change of a run to its commits.

Imported only where ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its traces variant) is set. A trace is drawn when a change leads to something that is to
be sent: ``PipelineRun changed`` (from the watch event on) with ``route``; below it for each commit and context ``report`` with ``wait`` (in the
queue, or after a failure), ``deliver`` (one per attempt) and ``note`` (written on the run). Where Tekton traces its runs, theirs is the
parent. Spans go out in the background, by OTLP over HTTP; a collector that is slow or away costs spans and nothing else. No span
holds a secret or what a run prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from listener import __version__
from listener.cluster.objects import PipelineRun
from listener.reporting.ledger import LaneKey
from listener.reporting.traces import Cause, LaneTrace

PARENT: Final = "tekton.dev/pipelinerunSpanContext"  #: annotation of Tekton's own tracing: JSON with a traceparent
_CLOSING: Final = 3.0  # seconds for the last spans to go out
_WELL: Final = ("delivered", "already_there", "elsewhere", "superseded", "nothing")
_LONGEST: Final = 300  # characters of an error

Attributes = Mapping[str, str | int | bool]


class _Change:
    """A change of a run; its root span is made when something comes of it."""

    def __init__(self, run: PipelineRun) -> None:
        self.run, self.began = run, time.time_ns()
        self.routed = self.ended = 0
        self.root: Span | None = None

    def context(self, tracer: Tracer) -> Context:
        if self.root is None:
            run = self.run
            attributes: Attributes = {
                "k8s.namespace.name": run.namespace,
                "tekton.pipelinerun.name": run.name,
                "tekton.pipelinerun.uid": run.uid,
                "tekton.pipeline": run.pipeline,
                "tekton.reason": run.condition.reason if run.condition is not None else "",
            }
            self.root = tracer.start_span(
                "PipelineRun changed", _parent(run), SpanKind.CONSUMER, attributes, start_time=self.began
            )
            if self.routed:
                within = set_span_in_context(self.root, Context())
                tracer.start_span("route", within, start_time=self.began).end(self.routed)
            if self.ended:
                self.root.end(self.ended)
        return set_span_in_context(self.root, Context())

    def end(self) -> None:
        self.ended = time.time_ns()
        if self.root is not None:
            self.root.end(self.ended)


_change: ContextVar[_Change | None] = ContextVar("change", default=None)
_lane: ContextVar[_Report | None] = ContextVar("lane", default=None)


class _Report:
    """See ``LaneTrace``."""

    def __init__(self, tracer: Tracer, parent: Context, key: LaneKey, word: str) -> None:
        self.word, self._tracer, self._since = word, tracer, time.time_ns()
        attributes: Attributes = {
            "tekton_listener.host": key.host,
            "tekton_listener.repository": key.repository,
            "tekton_listener.commit": key.sha,
            "tekton_listener.context": key.context,
            "tekton_listener.state": word,
            "tekton_listener.report": key.aspect or "status",
        }
        self._span = tracer.start_span("report", parent, attributes=attributes, start_time=self._since)
        self.context = set_span_in_context(self._span, Context())
        self._attempt: Span | None = None

    @contextlib.contextmanager
    def attempt(self, number: int) -> Iterator[None]:
        now = time.time_ns()
        self._tracer.start_span("wait", self.context, start_time=self._since).end(now)
        attributes: Attributes = {"tekton_listener.attempt": number}
        self._attempt = self._tracer.start_span("deliver", self.context, SpanKind.CLIENT, attributes, start_time=now)
        token = _lane.set(self)
        try:
            yield
        finally:
            _lane.reset(token)
            self.told("nothing", None)  # unless it was told

    def told(self, result: str, error: Exception | None) -> None:
        span, self._attempt = self._attempt, None
        if span is None:
            return
        span.set_attribute("tekton_listener.result", result)
        if result not in _WELL:
            span.set_status(StatusCode.ERROR, str(error or result)[:_LONGEST])
        self._since = time.time_ns()
        span.end(self._since)

    def end(self, result: str) -> None:
        self._span.set_attribute("tekton_listener.result", result)
        if result not in _WELL:
            self._span.set_status(StatusCode.ERROR, result)
        self._span.end()


class Tracing:
    """See ``Traces``. Made once per service; ``close`` it when everything else has ended."""

    def __init__(self, endpoint: str, *, env: Mapping[str, str]) -> None:
        """``endpoint``: a collector's URL for traces. All else is as the environment variables ``OTEL_…`` say."""
        attributes = {"service.version": __version__}
        if not env.get("OTEL_SERVICE_NAME") and "service.name=" not in env.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            attributes["service.name"] = "tekton-listener"
        if pod := env.get("POD_NAME"):
            attributes["service.instance.id"] = pod
        self._provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("tekton-listener", __version__)

    @contextlib.contextmanager
    def change(self, run: PipelineRun) -> Iterator[None]:
        change = _Change(run)
        token = _change.set(change)
        try:
            yield
        finally:
            _change.reset(token)
            change.end()

    def routed(self) -> None:
        if (change := _change.get()) is not None:
            change.routed = time.time_ns()

    def cause(self) -> Cause | None:
        return _change.get()

    def begin(self, run: PipelineRun, key: LaneKey, word: str, *, cause: Cause | None) -> LaneTrace:
        change = cause if isinstance(cause, _Change) else _change.get()
        if change is None:  # a reload, or a shard that became ours
            change = _Change(run)
            change.ended = change.began
        return _Report(self._tracer, change.context(self._tracer), key, word)

    def here(self) -> LaneTrace | None:
        return _lane.get()

    def noted(self, whose: Sequence[LaneTrace], *, since: int, error: Exception | None) -> None:
        for report in whose:
            if isinstance(report, _Report):
                span = self._tracer.start_span("note", report.context, SpanKind.CLIENT, start_time=since)
                if error is not None:
                    span.set_status(StatusCode.ERROR, str(error)[:_LONGEST])
                span.end()

    async def close(self) -> None:
        """Send what is left, for some seconds at most."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            try:
                self._provider.shutdown()
            finally:
                with contextlib.suppress(RuntimeError):  # nobody waits any more
                    loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut, name="tracing-close", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await done.wait()


def _parent(run: PipelineRun) -> Context:
    """Tekton's span of the run, where it draws any; others can write that annotation, so it may hold anything."""
    with contextlib.suppress(ValueError, RecursionError):
        carrier = json.loads(run.annotations.get(PARENT, ""))
        traceparent = carrier.get("traceparent") if isinstance(carrier, dict) else None
        if isinstance(traceparent, str):
            return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    return Context()
