"""What containers print, and the log endpoint's answers while they wait, print, end and are gone.

Kept as containerd keeps it and served as kubelet serves it. What is appended at once shares one time, to the nanosecond, and is one
piece here however many lines it has: serving it costs no work per line. A piece that does not end a line is what containerd marks ``P``:
the next one goes on with the line, without a time of its own in the answer; ``sinceTime`` and ``sinceSeconds`` leave out whole pieces,
so that the rest of such a line may come alone and without a time, as it does from a real node. Unlike containerd, an unfinished line
can be read before the container has ended, and a CR before a newline is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from listener.demo.kubernetes.statuses import StatusError, bad_request
from listener.demo.kubernetes.store import Json, Name, Store

_SECOND: Final = 1_000_000_000


class _Piece(NamedTuple):
    """What was printed at once."""

    at: int  #: nanoseconds since 1970
    data: bytes
    starts_line: bool

    def stamped(self, offset: int) -> bytes:
        """From ``offset`` on, with the time before each line that begins here; at an offset other than 0 one does."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.at // _SECOND))
        stamp = f"{moment}.{self.at % _SECOND:09d}Z ".encode()
        data = self.data[offset:]
        body = data.removesuffix(b"\n")
        start = stamp if self.starts_line or offset else b""
        return start + body.replace(b"\n", b"\n" + stamp) + data[len(body) :]


class _Place(NamedTuple):
    """A place in a log: a piece, and a byte in it."""

    piece: int = 0
    offset: int = 0


@dataclass(slots=True)
class _Log:
    """One container's log."""

    pieces: list[_Piece] = field(default_factory=list)
    first: _Place = field(default_factory=_Place)  #: what comes before was rotated away
    finished: bool = False
    pod_uid: str = ""  #: "" while it is printed for a pod that is still to come
    listeners: set[asyncio.Event] = field(default_factory=set)

    def tell(self) -> None:
        for listener in self.listeners:
            listener.set()

    def last_lines(self, number: int) -> _Place:
        """Where the last ``number`` lines begin, of those not rotated away; an unfinished one counts."""
        place = _Place(len(self.pieces))
        if number <= 0 or not self.pieces:
            return place
        wanted = number + self.pieces[-1].data.endswith(b"\n")
        for index in range(len(self.pieces) - 1, self.first.piece - 1, -1):
            data = self.pieces[index].data
            if (newlines := data.count(b"\n")) >= wanted:
                return max(self.first, _Place(index, len(data.rsplit(b"\n", wanted)[0]) + 1))
            wanted -= newlines
        return self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What is asked of a log: the query's PodLogOptions."""

    follow: bool = False
    timestamps: bool = False
    since: int = 0  #: nanoseconds since 1970
    tail: int | None = None  #: lines
    limit: int | None = None  #: bytes of the answer

    @classmethod
    def of(cls, query: dict[str, str]) -> LogOptions:
        """Raises ``StatusError`` for what the API server refuses."""
        since = 0
        if "sinceSeconds" in query:
            since = time.time_ns() - _number(query, "sinceSeconds", least=1) * _SECOND
        if "sinceTime" in query:
            if "sinceSeconds" in query:
                raise _invalid("sinceSeconds", "at most one of `sinceTime` or `sinceSeconds` may be specified")
            try:  # kubelet is asked in whole seconds, whatever the API server was asked
                since = int(datetime.fromisoformat(query["sinceTime"]).timestamp()) * _SECOND
            except ValueError:
                raise bad_request(f'parsing time "{query["sinceTime"]}" as "2006-01-02T15:04:05Z07:00"') from None
        return cls(
            follow=query.get("follow") in ("true", "1"),
            timestamps=query.get("timestamps") in ("true", "1"),
            since=since,
            tail=_number(query, "tailLines", least=0) if "tailLines" in query else None,
            limit=_number(query, "limitBytes", least=1) if "limitBytes" in query else None,
        )


class PodLogs:
    """All logs there are, by pod and container."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logs: dict[tuple[str, str, str], _Log] = {}
        self.cut = asyncio.Event()  #: set by ``cut_follows``
        self.rate: float | None = (
            None  #: bytes per second of each answer, as a kubelet has its limits; None: as fast as it goes
        )
        self.following: dict[tuple[str, str, str], int] = {}  #: answers under way

    def _log(self, namespace: str, pod: str, container: str) -> _Log:
        """The log of the pod that has this name now: one that is created again has none yet."""
        stored = self._store.shelf("pods").objects.get((namespace, pod))
        uid = str(stored.object["metadata"]["uid"]) if stored is not None else ""
        log = self._logs.get((namespace, pod, container))
        if log is None or (uid and log.pod_uid not in ("", uid)):
            log = self._logs[namespace, pod, container] = _Log()
        log.pod_uid = uid or log.pod_uid
        return log

    def append(
        self, namespace: str, pod: str, container: str, data: bytes, *, at: float | None = None, ns: int | None = None
    ) -> None:
        """The container prints ``data``, now or ``at`` so many seconds, or ``ns`` nanoseconds, since 1970."""
        if not data:
            return
        log = self._log(namespace, pod, container)
        if ns is None:
            ns = time.time_ns() if at is None else round(at * _SECOND)
        starts_line = not log.pieces or log.pieces[-1].data.endswith(b"\n")
        log.pieces.append(_Piece(ns, data, starts_line))
        log.tell()

    def finish(self, namespace: str, pod: str, container: str) -> None:
        """The container has ended; follows end."""
        log = self._log(namespace, pod, container)
        log.finished = True
        log.tell()

    def rotate(self, namespace: str, pod: str, container: str, *, keep: int) -> None:
        """All but the last ``keep`` lines are gone for whoever asks from now on; open follows go on."""
        log = self._log(namespace, pod, container)
        log.first = log.last_lines(keep)

    def cut_follows(self) -> None:
        """Break every open follow: to the client it looks like a clean end."""
        self.cut.set()
        self.cut = asyncio.Event()

    def check(self, namespace: str, pod: str, query: dict[str, str]) -> tuple[str, bool]:
        """The container asked for, and whether it has begun. Raises ``StatusError`` as the real one answers."""
        body = self._store.get("pods", namespace, pod).object
        spec = body.get("spec", {})
        known = [c["name"] for key in ("initContainers", "containers") for c in spec.get(key) or ()]
        container = query.get("container") or (known[0] if len(known) == 1 else "")
        if not container:
            choose = " ".join(known)
            raise bad_request(f"a container name must be specified for pod {pod}, choose one of: [{choose}]")
        if container not in known:
            raise bad_request(f"container {container} is not valid for pod {pod}")
        if query.get("previous") == "true":
            raise bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')
        state = _state(body, container)
        if not spec.get("nodeName") and not state:
            return container, False
        if "running" not in state and "terminated" not in state:
            reason = (state.get("waiting") or {}).get("reason", "PodInitializing")
            raise bad_request(f'container "{container}" in pod "{pod}" is waiting to start: {reason}')
        return container, True

    async def read(
        self, name: Name, container: str, options: LogOptions, *, cut_after: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """What was printed, and with ``follow`` what will be until the container ends or its pod goes.

        It ends after ``cut_after`` bytes as if that were its end.
        """
        key, cut = (*name, container), self.cut
        log = self._log(*key)
        self.following[key] = self.following.get(key, 0) + 1
        pods, changed = self._store.shelf("pods"), asyncio.Event()
        pods.listeners.add(changed)
        log.listeners.add(changed)
        bounds = [bound for bound in (options.limit, cut_after) if bound is not None]
        left = min(bounds) if bounds else None
        place = log.first if options.tail is None else log.last_lines(options.tail)
        sent, began = 0, time.monotonic()
        try:
            while True:
                changed.clear()
                while place.piece < len(log.pieces):
                    piece, offset = log.pieces[place.piece], place.offset
                    place = _Place(place.piece + 1)
                    if piece.at < options.since or offset == len(piece.data):
                        continue
                    data = piece.stamped(offset) if options.timestamps else piece.data[offset:]
                    if left is not None and len(data) >= left:
                        yield data[:left]
                        return
                    left = left - len(data) if left is not None else None
                    yield data
                    sent += len(data)
                    if self.rate is not None and (early := sent / self.rate - (time.monotonic() - began)) > 0:
                        await asyncio.sleep(early)
                if not options.follow or log.finished or cut.is_set() or self._silently_over(name, container, log):
                    return
                await _either(changed, cut)
        finally:
            pods.listeners.discard(changed)
            log.listeners.discard(changed)
            self.following[key] -= 1

    def _silently_over(self, name: Name, container: str, log: _Log) -> bool:
        """The pod is gone, or another has its name, or a container that nobody gave a log to has ended."""
        pod = self._store.shelf("pods").objects.get(name)
        if pod is None or log.pod_uid not in ("", str(pod.object["metadata"]["uid"])):
            return True
        return not log.pieces and "terminated" in _state(pod.object, container)


async def _either(*events: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _state(body: Json, container: str) -> dict[str, Any]:
    status = body.get("status", {})
    for key in ("initContainerStatuses", "containerStatuses"):
        for entry in status.get(key) or ():
            if entry["name"] == container:
                return dict(entry.get("state") or {})
    return {}


def _number(query: dict[str, str], key: str, *, least: int) -> int:
    try:
        number = int(query[key])
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{query[key]}": invalid syntax') from None
    if number < least:
        raise _invalid(key, f"must be greater than or equal to {least}")
    return number


def _invalid(key: str, why: str) -> StatusError:
    return StatusError(422, "Invalid", f'PodLogOptions "" is invalid: {key}: Invalid value: {why}')
