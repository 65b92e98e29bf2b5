"""One container's log is followed through real sockets: what the endpoint says while it waits, breaks, rotates and goes. Cases of the spec."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from listener.cluster.client import Cluster
from listener.cluster.names import Key
from listener.demo.kubernetes import Fault, KubernetesApi
from listener.logs.follow import Phase, UnavailableError, follow
from listener.logs.lines import prefixed

SECOND = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()) * 10**9
POD, STEP = Key("ci", "p"), "step-one"
GONE = b"unable to retrieve container logs for containerd://5fe42cc0b774863105b83f440a5a7ade7bc731"


class Watched:
    """The step's phase, as a test sets it."""

    def __init__(self, phase: Phase) -> None:
        self._phase, self._changed = phase, asyncio.Event()

    def phase(self) -> Phase:
        return self._phase

    def becomes(self, phase: Phase) -> None:
        self._phase = phase
        self._changed.set()

    async def changed(self, *, timeout: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()


class Step:
    """A step of a pod, and who follows it."""

    def __init__(self, api: KubernetesApi, cluster: Cluster) -> None:
        self.api, self.cluster, self.watched = api, cluster, Watched(Phase.RUNNING)
        spec = {"nodeName": "n", "containers": [{"name": STEP}]}
        status = {"containerStatuses": [{"name": STEP, "state": {"running": {}}}]}
        api.create("pods", {"metadata": {"name": POD.name, "namespace": POD.namespace}, "spec": spec, "status": status})
        self.got = b""
        self._more = asyncio.Event()

    def prints(self, data: bytes, **when: int) -> None:
        self.api.logs.append(*POD, STEP, data, **when)  # type: ignore[arg-type]  # at or ns

    def ends(self) -> None:
        self.api.logs.finish(*POD, STEP)
        self.watched.becomes(Phase.TERMINATED)

    async def breaks(self) -> None:
        """Every follow is cut, and made anew."""
        before = self.requests()
        self.api.logs.cut_follows()
        await self.api.requests.wait_for(lambda _: self.requests() > before)

    def requests(self) -> int:
        return self.api.requests.count("log", "pods")

    async def follow(self) -> bytes:
        """What is printed, without times, to its end."""
        async with asyncio.timeout(20), contextlib.aclosing(follow(self.cluster, POD, STEP, self.watched)) as blocks:
            async for block in blocks:
                self.got += prefixed(block, b"")
                self._more.set()
        return self.got

    async def has_given(self, data: bytes) -> None:
        async with asyncio.timeout(20):
            while not self.got.endswith(data):
                self._more.clear()
                await self._more.wait()


@pytest.fixture
async def step(cluster: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Step]:
    monkeypatch.setattr("listener.logs.follow._PAUSE", (0.01, 0.05))
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
    async with _connected(kubeconfig) as connected:
        yield Step(cluster, connected)


@contextlib.asynccontextmanager
async def _connected(kubeconfig: Path) -> AsyncIterator[Cluster]:
    cluster = await Cluster.connect(env={"KUBECONFIG": str(kubeconfig)})
    try:
        yield cluster
    finally:
        await cluster.close()


async def test_case_14_neither_204_nor_400_reaches_the_log_and_its_first_line_is_there(step: Step) -> None:
    waiting = b'{"kind":"Status","reason":"BadRequest","message":"container \\"step-one\\" is waiting to start"}'
    for fault in (Fault(verb="log", status=204, times=1), Fault(verb="log", status=200, times=1)):
        step.api.faults.add(fault)
    step.api.faults.add(Fault(verb="log", status=400, body=waiting, times=2))
    step.prints(b"first\n")
    following = asyncio.create_task(step.follow())
    await step.has_given(b"first\n")
    step.ends()
    assert await following == b"first\n"


async def test_case_22_and_23_a_break_while_it_runs_loses_and_doubles_nothing(step: Step) -> None:
    following = asyncio.create_task(step.follow())
    step.prints(b"same\nsame\nsa", ns=SECOND)
    await step.has_given(b"same\nsame\n")
    for _ in range(3):
        await step.breaks()
    step.prints(b"me\nsame\n", ns=SECOND)
    await step.has_given(b"same\n" * 4)
    await step.breaks()
    step.prints(b"same\nlast", ns=SECOND + 1)
    step.ends()
    assert await following == b"same\n" * 5 + b"last\n"


async def test_case_22_connections_that_are_reset_and_errors_of_the_server_too(step: Step) -> None:
    text = b"".join(b"line %d\n" % number for number in range(1000))
    for cut in (100, 20_000, 30_000):
        step.api.faults.add(Fault(verb="log", cut_after=cut, times=1))
        step.api.faults.add(Fault(verb="log", reset=True, times=1))
        step.api.faults.add(Fault(verb="log", status=500, body=b"dial tcp 10.0.0.1:10250: connection refused", times=1))
    step.prints(text)
    step.ends()
    assert await step.follow() == text


async def test_case_24_a_log_that_rotates_while_it_is_followed_is_whole_even_where_it_breaks(step: Step) -> None:
    following = asyncio.create_task(step.follow())
    text = b""
    for number in range(20):
        more = b"".join(b"%d.%d\n" % (number, line) for line in range(1000))
        step.prints(more)
        text += more
        await step.has_given(more[-20:])
        step.api.logs.rotate(*POD, STEP, keep=10 if number % 2 else 1)
        if number % 3 == 0:
            await step.breaks()
    step.ends()
    assert await following == text


async def test_case_25_a_megabyte_a_progress_bar_odd_bytes_and_no_newline_arrive_as_they_are(step: Step) -> None:
    text = b"x" * 2**20 + b"\n1%\r50%\r100%\r\n\xff\xfe\x00\n\n\n2026-11-23T10:00:00.000000000Z mine\nno newline"
    step.prints(text)
    step.ends()
    assert await step.follow() == text + b"\n"


async def test_case_27_a_log_that_was_removed_is_unavailable_and_its_sentence_no_output(step: Step) -> None:
    step.api.faults.add(Fault(verb="log", status=200, body=GONE))
    step.ends()
    with pytest.raises(UnavailableError, match=r"^its log was removed from the node$"):
        await step.follow()
    assert step.got == b""


async def test_case_27_removed_after_it_was_read_is_no_loss_and_removed_before_its_end_is_told(step: Step) -> None:
    removed = Fault(verb="log", status=200, body=GONE, when=lambda seen: "sinceTime" in seen.query)
    step.api.faults.add(removed)
    step.prints(b"all\n")
    step.ends()
    assert await step.follow() == b"all\n"
    step.api.faults.remove(removed)
    step.api.faults.add(Fault(verb="log", when=lambda seen: "sinceTime" in seen.query, reset=True, times=2))
    step.api.faults.add(removed)
    step.got = b""
    with pytest.raises(UnavailableError, match="removed from the node, and the end of its log was not read"):
        await step.follow()
    assert step.got == b"all\n"


async def test_case_20_a_pod_that_is_deleted_leaves_what_it_has_printed(step: Step) -> None:
    following = asyncio.create_task(step.follow())
    step.prints(b"one\ntw")
    await step.has_given(b"one\n")
    step.api.delete("pods", *POD)
    step.watched.becomes(Phase.GONE)
    assert await following == b"one\ntw\n"


async def test_a_pod_that_was_never_there_has_no_log(step: Step) -> None:
    step.api.delete("pods", *POD)
    with pytest.raises(UnavailableError, match="its pod is gone"):
        await step.follow()


async def test_a_container_that_will_never_start_is_not_waited_for(step: Step) -> None:
    waiting = {"containerStatuses": [{"name": STEP, "state": {"waiting": {"reason": "ErrImagePull"}}}]}
    step.api.patch("pods", *POD, {"status": waiting})
    step.watched.becomes(Phase.GONE)
    with pytest.raises(UnavailableError, match="ErrImagePull"):
        await step.follow()


async def test_what_the_node_says_after_the_lines_is_not_the_containers(step: Step) -> None:
    complaint = b"unexpected EOF"
    line = b"2026-11-23T10:00:00.000000000Z line\n"
    step.api.faults.add(Fault(verb="log", status=200, body=line + complaint))
    step.ends()
    assert await step.follow() == b"line\n"


async def test_what_the_node_says_instead_of_a_log_is_why_there_is_none(step: Step) -> None:
    complaint = (
        b'failed to try resolving symlinks in path "/var/log/pods/ci_p/step-one/0.log": no such file or directory'
    )
    step.api.faults.add(Fault(verb="log", status=200, body=complaint))
    step.ends()
    with pytest.raises(UnavailableError, match=r"^the node says: failed to try resolving symlinks"):
        await step.follow()
    assert step.got == b""


async def test_a_node_that_could_not_for_a_moment_is_asked_again(step: Step) -> None:
    step.api.faults.add(Fault(verb="log", status=200, body=b"failed to create fsnotify watcher: too many", times=2))
    step.prints(b"line\n")
    step.ends()
    assert await step.follow() == b"line\n"


async def test_a_log_of_which_a_break_hides_the_end_is_asked_for_again_though_the_container_has_ended(
    step: Step,
) -> None:
    step.api.faults.add(Fault(verb="log", cut_after=40, times=1))
    step.prints(b"one\ntwo\nthree\n")
    step.ends()
    assert await step.follow() == b"one\ntwo\nthree\n"


async def test_a_name_that_is_none_is_not_asked_for(step: Step) -> None:
    with pytest.raises(UnavailableError):
        await anext(follow(step.cluster, POD, "../../secrets", step.watched))
    assert step.requests() == 0


async def test_whoever_stops_reading_lets_go_of_the_connection(step: Step) -> None:
    step.prints(b"one\n")
    blocks = follow(step.cluster, POD, STEP, step.watched)
    assert (await anext(blocks)).endswith(b" one\n")
    assert sum(step.api.logs.following.values()) == 1
    await blocks.aclose()
    async with asyncio.timeout(20):
        while sum(step.api.logs.following.values()):  # noqa: ASYNC110 - the cluster has no event for it
            await asyncio.sleep(0)
