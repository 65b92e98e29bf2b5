"""An OTLP collector that takes traces over HTTP and keeps the spans, or misbehaves as it is told."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Span:
    """What of a span is of interest."""

    name: str
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """``async with Collector() as collector`` listens on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.hang = False
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.post("/v1/traces", self._take)])
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.hang:
            self._came.set()
            await asyncio.Event().wait()
        message = ExportTraceServiceRequest()
        message.ParseFromString(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        for group in message.resource_spans:
            self.resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [_span(span) for span in scope.spans]
        self._came.set()
        return web.Response(body=b"", content_type="application/x-protobuf")

    async def asked(self) -> None:
        """Wait until somebody has sent something."""
        async with asyncio.timeout(20):
            await self._came.wait()

    def named(self, name: str, **attributes: Any) -> list[Span]:
        """Spans of this name with these attributes (without their prefix), as they began."""
        wanted = {f"tekton_listener.{key}": value for key, value in attributes.items()}
        found = [s for s in self.spans if s.name == name and wanted.items() <= s.attributes.items()]
        return sorted(found, key=lambda span: span.begin)

    def below(self, span: Span) -> list[str]:
        """The names of its children, in order."""
        return [s.name for s in sorted(self.spans, key=lambda s: s.begin) if s.parent == span.id]


def _span(span: Any) -> Span:
    attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        failed=span.status.code == 2,
        attributes=attributes,
    )
