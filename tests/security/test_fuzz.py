"""Whatever is sent gets an answer that is no 5xx, or the connection's end; and the next one is answered as ever.

Raw bytes over real sockets to the real service. ``FUZZ=20`` tries twenty times as many. The same bytes are sent each time, so that a
build fails for the change that it is about.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from listener.service import Service
from listener.web.connections import HEADERS
from tests.pipeline import finished
from tests.scene import Scene, basic
from tests.security.wire import answer, connection, request

GOOD = basic("ci", "correct horse").encode()
# The service draws lots, too, in another thread; Hypothesis takes that for the strategies' doing.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")
_TIMES = int(os.environ.get("FUZZ", "1"))


def examples(number: int) -> settings:
    return settings(
        max_examples=number * _TIMES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


JUNK = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            b"",
            b"..",
            b".",
            b"%",
            b"%2",
            b"%zz",
            b"%00",
            b"%0d%0a",
            b"%2e%2e%2f",
            b"\xff",
            b"%ff%fe",
            b"%c0%ae",
            b"\xc2\x9b",
        ]
    ),
    st.sampled_from(
        [
            b"x" * 300,
            b"x" * 9000,
            b"%25" * 200,
            b"a" * 253,
            b"-" * 64,
            b"0",
            b"-1",
            b"1e400",
            b"nan",
            b"9" * 400,
            "１".encode(),
        ]
    ),
)
SAFE = JUNK.map(lambda junk: quote_from_bytes(junk, safe="%").encode())
NAME = st.one_of(st.just(b"service-xyz-run-a"), st.just(b"team-a"), SAFE)
PATH = st.one_of(
    st.lists(
        st.one_of(
            st.sampled_from([b"logs", b"status", b"runs", b"s", b"static", b"metrics", b"health", b"state"]), NAME
        ),
        max_size=6,
    ).map(lambda parts: b"/" + b"/".join(parts)),
    st.builds(
        lambda first, *rest: b"/" + b"/".join((first, *rest)),
        st.sampled_from([b"logs", b"status", b"runs"]),
        NAME,
        NAME,
    ),
)
PARAMETERS = {
    b"/logs/team-a/service-xyz-run-a": (
        b"wait",
        b"follow",
        b"tail",
        b"from",
        b"task",
        b"step",
        b"order",
        b"timestamps",
        b"color",
        b"exit-status",
    ),
    b"/status/service-xyz-run-a": (b"wait",),
    b"/runs": (b"service", b"state", b"q", b"before"),
}
PARAMETER = st.sampled_from([b"x", *(name for names in PARAMETERS.values() for name in names)])
VALUE = st.one_of(
    st.sampled_from([b"0", b"1", b"time", b"task", b"never", b"2026-11-23T11:00:00Z", b"going", b"5s", b"true"]), SAFE
)
QUERY = st.lists(st.builds(lambda name, value: name + b"=" + value, PARAMETER, VALUE), max_size=4).map(b"&".join)
ENCODED = st.one_of(JUNK, st.builds(lambda a, b: a + b":" + b, JUNK, JUNK)).map(base64.b64encode)
AUTHORIZATION = st.one_of(
    st.just(GOOD),
    st.builds(
        lambda scheme, rest: scheme + rest,
        st.sampled_from([b"Basic ", b"basic ", b"Basic", b"Basic  ", b"Basic\t", b"Bearer ", b"Digest ", b""]),
        ENCODED,
    ),
    st.binary(max_size=60),
    st.integers(0, len(GOOD)).map(lambda cut: GOOD[:cut]),
)
HEADER = st.builds(
    lambda name, value: name + b": " + value.translate(None, b"\r\n\0"),
    st.sampled_from(
        [
            b"Accept",
            b"X-Forwarded-For",
            b"Range",
            b"Cookie",
            b"Content-Length",
            b"Transfer-Encoding",
            b"Expect",
            b"Connection",
            b"Upgrade",
            b"If-None-Match",
            b"Content-Type",
            b"Host",
        ]
    ),
    st.one_of(JUNK, st.sampled_from([b"text/html", b"application/x-ndjson", b"chunked", b"websocket", b"close", b"5"])),
)
METHOD = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"get", b"X", b"\x00"]
)


class Target:
    """The service under fire, in the fixture's event loop."""

    def __init__(self, service: Service) -> None:
        self.service, self.loop = service, asyncio.get_running_loop()
        self.problems: list[str] = []
        self.statuses: Counter[int] = Counter()

    def send(self, sent: bytes) -> None:
        """From the test's thread."""
        asyncio.run_coroutine_threadsafe(self._send(sent), self.loop).result(30)

    async def _send(self, sent: bytes) -> None:
        async with connection(self.service.port) as (reader, writer):
            writer.write(sent)
            try:
                status, headers, _ = await answer(reader, timeout=0.5)
            except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                status = 0  # it waits for more, or for a run to come; or has cut the connection
            else:
                assert status < 500, (status, sent)
                for name in HEADERS:
                    assert name.lower() in headers, (name, status, sent)
        self.statuses[status] += 1
        assert not self.problems, (self.problems, sent)

    async def healthy(self) -> bool:
        async with connection(self.service.port) as (reader, writer):
            writer.write(request(b"/status/service-xyz-run-a", b"Authorization: " + GOOD))
            return (await answer(reader))[0] == 200 and self.service.failure is None


class Problems(logging.Handler):
    """Exceptions and errors that the service logs."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        malformed = record.exc_info and type(record.exc_info[1]).__module__ == "aiohttp.http_exceptions"
        if (
            record.name.startswith(("listener", "aiohttp", "asyncio"))
            and not malformed
            and "failed logins" not in record.getMessage()
        ):
            self._found.append(self.format(record))


@pytest.fixture
async def target(scene: Scene) -> AsyncIterator[Target]:
    finished(scene.cluster)
    async with scene.serve() as service:
        await service.runs.synced()
        target = Target(service)
        handler = Problems(target.problems)
        logging.getLogger().addHandler(handler)
        yield target
        logging.getLogger().removeHandler(handler)
        assert await target.healthy()
        async with asyncio.timeout(20):
            while len(service.streams):  # of connections that were cut a moment ago
                service.streams.closed.clear()
                await service.streams.closed.wait()
        assert target.statuses[0] < target.statuses.total() / 2, "most of it is answered"
        assert len(target.statuses) > 1


async def test_point_12_any_path_and_query(target: Target) -> None:
    @examples(80)
    @given(PATH, QUERY, st.sampled_from([GOOD, None]))
    def fuzz(path: bytes, query: bytes, authorization: bytes | None) -> None:
        headers = [b"Authorization: " + authorization] if authorization else []
        target.send(request(path + (b"?" + query + b"&wait=0&follow=0" if query else b"?wait=0"), *headers))

    await asyncio.to_thread(fuzz)


async def test_point_12_any_parameter(target: Target) -> None:
    wanted = st.sampled_from(sorted(PARAMETERS)).flatmap(
        lambda path: st.tuples(
            st.just(path), st.sampled_from(PARAMETERS[path]), VALUE, st.sampled_from(PARAMETERS[path]), VALUE
        )
    )

    @examples(150)
    @given(wanted)
    def fuzz(asked: tuple[bytes, bytes, bytes, bytes, bytes]) -> None:
        path, name, value, another, second = asked
        target.send(
            request(path + b"?" + name + b"=" + value + b"&" + another + b"=" + second, b"Authorization: " + GOOD)
        )

    await asyncio.to_thread(fuzz)


async def test_point_09_any_authorization(target: Target) -> None:
    @examples(120)
    @given(
        AUTHORIZATION,
        st.sampled_from([b"/status/service-xyz-run-a?wait=0", b"/runs", b"/logs/service-xyz-run-a?follow=0"]),
    )
    def fuzz(authorization: bytes, path: bytes) -> None:
        target.send(request(path, b"Authorization: " + authorization.translate(None, b"\r\n")))

    await asyncio.to_thread(fuzz)


async def test_point_12_any_method_and_header(target: Target) -> None:
    @examples(100)
    @example(b"GET", b"/health", [b"Expect: \xff"], b"")  # aiohttp repeats it in its answer
    @given(
        METHOD,
        st.sampled_from([b"/health", b"/readyz", b"/metrics", b"/runs", b"/logs/x?wait=0"]),
        st.lists(HEADER, max_size=4),
        JUNK,
    )
    def fuzz(method: bytes, path: bytes, headers: list[bytes], body: bytes) -> None:
        target.send(request(path, b"Authorization: " + GOOD, b"Connection: close", *headers, method=method) + body)

    await asyncio.to_thread(fuzz)


async def test_point_12_any_bytes(target: Target) -> None:
    pieces = st.sampled_from(
        [
            b"GET ",
            b"/",
            b" HTTP/1.1",
            b"\r\n",
            b"\n",
            b"Host: x",
            b": ",
            b"\0",
            b"HTTP/",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01",
            b" ",
        ]
    )

    @examples(80)
    @given(st.lists(st.one_of(pieces, JUNK), max_size=12).map(b"".join))
    def fuzz(sent: bytes) -> None:
        target.send(sent + b"\r\n\r\n")

    await asyncio.to_thread(fuzz)
