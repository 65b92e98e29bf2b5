"""A reflector: keeps a typed copy of one resource's objects and says what changed, whatever the connection does.

After client-go's, kept rules: list in pages, then watch from the list's resourceVersion; resume from the last one seen; 410 (as HTTP
status or as ERROR event) lists again; a new list is a REPLACE, so that what vanished meanwhile becomes a deletion with the last
known object; 429 and refused connections back off and watch again without a new list; a watch that ends at once without an
event counts as a failure. Where the server is new enough, the list comes as a stream (``sendInitialEvents``), with fallback.
Beyond client-go: one object that does not parse is counted, logged once by name and skipped, and never stops the rest; and ``relist``, for
whoever must be sure to know everything up to now.

Not promised: every intermediate state of an object. Whoever listens gets the newest one (level-triggered).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from listener.cluster.client import PAGE_TIMEOUT, ApiError, Cluster, ClusterError, SilentError, UnreachableError
from listener.cluster.decode import name_of
from listener.cluster.names import Key
from listener.cluster.objects import MalformedError
from listener.cluster.wire import PAGE_SIZE, Event, Page, error_of, read_bookmark, read_events, read_page
from listener.log_context import about

log = logging.getLogger(__name__)

SILENCE: Final = (75.0, 90.0)  # seconds; bookmarks come about once a minute
_HINT: Final = "; allow the service account to get, list and watch it there, or name other 'namespaces:'"
_EVENTS_PER_TURN: Final = 64  # handled before other tasks get the loop
_STREAM_LIST_SILENCE: Final = 15.0  # seconds without a byte until a streaming list counts as not supported
_RELISTS: Final = 3  # lists that may fail before ``relist`` gives up
_STREAM_LIST_SINCE: Final = (1, 34)  # Kubernetes version that has WatchList on by default


class Object(Protocol):
    """What the reflector needs of an object."""

    @property
    def key(self) -> Key: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """An object was added, became another, or is gone."""

    object: T  #: the newest state; of a deleted object the last known one
    previous: T | None  #: what was known before; None for a new object
    deleted: bool = False
    unseen: bool = False  #: it was deleted while nobody watched, so it may have become something else before


@dataclass(slots=True, eq=False)
class _Wish:
    """Somebody waits for a list that began after this was wished."""

    done: asyncio.Future[None]
    begun: bool = False
    failures: int = 0


class Backoff:
    """Pauses after failures: 0.8 s doubled up to 30 s, each up to twice as long at random; starts over after two healthy minutes.

    The randomness only makes them longer, as client-go's does: what fails at once is asked about once a second, and not more.
    """

    def __init__(self, *, first: float = 0.8, cap: float = 30.0, healthy: float = 120.0) -> None:
        self._first, self._cap, self._healthy = first, cap, healthy
        self._next, self._last_failure = first, 0.0

    def pause(self, *, at_least: float = 0.0) -> float:
        """Seconds to wait after the failure that just happened."""
        now = time.monotonic()
        if now - self._last_failure > self._healthy:
            self._next = self._first
        self._last_failure = now
        seconds, self._next = self._next, min(self._next * 2, self._cap / 2)
        return max(at_least, seconds * random.uniform(1.0, 2.0))  # noqa: S311 - jitter, not a secret


class Reflector(Generic[T]):
    """Keeps ``objects`` equal to what the API server holds at ``path``. Run it with ``run()``, in a task that you own."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        path: str,
        decode: Callable[[bytes | msgspec.Raw], T],
        on_change: Callable[[Change[T]], None],
        label_selector: str = "",
        backoff: Backoff | None = None,
        silence: tuple[float, float] = SILENCE,
    ) -> None:
        """``on_change`` is called for each change in order, must be quick and must not raise; ``silence``: after how many seconds
        without a byte a watch counts as dead, at least and at most."""
        self.path = path
        self.objects: dict[Key, T] = {}
        self.synced = asyncio.Event()  #: set when the first list is complete
        self.skipped = 0  #: objects and events that could not be read
        self.restarts = 0  #: watches ended by a failure
        self.lists = 0
        self._cluster, self._decode, self._on_change = cluster, decode, on_change
        self._selector = {"labelSelector": label_selector} if label_selector else {}
        self._backoff = backoff or Backoff()
        self._silence = silence
        self._resource_version = ""
        self._stream_lists: bool | None = None  # None: not known yet
        self._complained: OrderedDict[str, None] = OrderedDict()
        self._problem: tuple[str, float] | None = None
        self._wishes: list[_Wish] = []
        self._watching: asyncio.Timeout | None = None  # what ends the watch that is under way

    @property
    def problem(self) -> tuple[str, float] | None:
        """What keeps the watch from working and since when (``time.time()``), or None while it works."""
        return self._problem

    async def run(self) -> None:
        """List and watch until cancelled. Raises nothing else: every trouble is logged, waited for and tried again."""
        while True:
            try:
                while self._wishes or not self._resource_version:
                    await self._list()
                await self._watch_until_wished()
            except ClusterError as error:
                self._disappoint(error)
                await self._recover(error)

    async def _watch_until_wished(self) -> None:
        try:
            async with asyncio.timeout(None) as self._watching:
                await self._watch()
        except TimeoutError:
            pass  # somebody wants a list
        finally:
            self._watching = None

    async def relist(self) -> None:
        """Return when everything is known that had happened before this was called, however far behind the watch is.

        By a list that begins now; the watch goes on from there. A list that is refused (403, 404) is an answer, too: what may not be
        listed cannot be known any better. Raises ``ClusterError`` when lists fail again and again. ``run`` must be running.
        """
        wish = _Wish(asyncio.get_running_loop().create_future())
        self._wishes.append(wish)
        if self._watching is not None:
            self._watching.reschedule(0.0)  # now
            self._watching = None
        try:
            await wish.done
        finally:
            with contextlib.suppress(ValueError):
                self._wishes.remove(wish)

    def _fulfil(self) -> None:
        """The list that ends here began after these wishes."""
        for wish in [wish for wish in self._wishes if wish.begun]:
            self._wishes.remove(wish)
            if not wish.done.done():
                wish.done.set_result(None)

    def _disappoint(self, error: ClusterError) -> None:
        if isinstance(error, ApiError) and error.status in (403, 404):
            self._fulfil()
        for wish in list(self._wishes):
            wish.failures += wish.begun
            wish.begun = False
            if wish.failures >= _RELISTS:
                self._wishes.remove(wish)
                if not wish.done.done():
                    wish.done.set_exception(error)

    async def _recover(self, error: ClusterError) -> None:
        self.restarts += 1
        at_least = 0.0
        if isinstance(error, ApiError):
            at_least = min(error.retry_after or 0.0, 60.0)
            if error.status == 410 or error.reason in ("Expired", "Gone"):
                self._resource_version = ""
        pause = self._backoff.pause(at_least=at_least)
        if self._problem is None:
            self._problem = (str(error), time.time())
        hint = _HINT if isinstance(error, ApiError) and error.status == 403 else ""
        log.warning(
            "watching %s on %s failed, trying again in %.1f s: %s%s", self.path, self._cluster.host, pause, error, hint
        )
        await asyncio.sleep(pause)

    def _healthy(self) -> None:
        if self._problem is not None:
            log.info("watching %s works again after %.0f s", self.path, time.time() - self._problem[1])
            self._problem = None

    # Listing

    async def _list(self) -> None:
        self.lists += 1
        self._resource_version = ""  # half a list is newer than what a watch from the old one would tell
        for wish in self._wishes:
            wish.begun = True
        if await self._offers_stream_lists():
            try:
                await self._list_as_stream()
                return
            except _NoStreamListError as error:
                log.info("no streaming list of %s (%s), listing in pages", self.path, error)
                self._stream_lists = False
        await self._list_in_pages()

    async def _offers_stream_lists(self) -> bool:
        if self._stream_lists is None:
            self._stream_lists = await self._cluster.version() >= _STREAM_LIST_SINCE
        return self._stream_lists

    async def _list_in_pages(self) -> None:
        """All pages, each applied as it comes, so that memory holds one page and not the list."""
        seen: set[Key] = set()
        token, page = "", Page()
        while True:
            params = {"limit": str(PAGE_SIZE), **self._selector} | ({"continue": token} if token else {})
            body = await self._cluster.get(self.path, params=params, timeout=PAGE_TIMEOUT)
            page = read_page(body, where=f"{self.path} on {self._cluster.host}")
            for number, raw in enumerate(page.items or ()):
                if (item := self._read(raw)) is not None:
                    seen.add(item.key)
                    self._apply(item)
                if number % _EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)
            token = page.metadata.continue_
            if not token:
                break
        self._replaced(seen, page.metadata.resource_version)

    async def _list_as_stream(self) -> None:
        """The list as watch events that end with a marked bookmark. Raises ``_NoStreamListError`` where it is not offered."""
        params = {
            **self._watch_params(),
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
        }
        seen: set[Key] = set()
        opened = False
        silence = min(_STREAM_LIST_SILENCE, *self._silence)
        try:
            async with self._cluster.stream(self.path, params=params, pool="watches", read_timeout=silence) as response:
                opened = True
                async for event in self._events(response.content.iter_any()):
                    if event.type == "ADDED" and (item := self._read(event.object)) is not None:
                        seen.add(item.key)
                        self._apply(item)
                    elif event.type == "BOOKMARK":
                        meta = read_bookmark(event)
                        if (meta.annotations or {}).get("k8s.io/initial-events-end") == "true":
                            self._replaced(seen, meta.resource_version)
                            return
                    elif event.type == "ERROR":
                        raise error_of(event)
        except ValueError as error:
            raise _NoStreamListError(f"a bookmark cannot be read: {error}") from None
        except ApiError as error:
            if error.status in (400, 403, 404, 405, 406, 422, 501):
                raise _NoStreamListError(str(error)) from None
            raise
        except UnreachableError as error:
            if not opened and not isinstance(error, SilentError):
                raise
            raise _NoStreamListError(str(error)) from None
        raise _NoStreamListError("the stream ended before the list did")

    def _replaced(self, seen: set[Key], resource_version: str) -> None:
        """The list is complete: what it did not hold is gone."""
        for key in [key for key in self.objects if key not in seen]:
            self._delete(self.objects[key], unseen=True)
        self._resource_version = resource_version
        self._healthy()
        self.synced.set()
        self._fulfil()

    # Watching

    def _watch_params(self) -> dict[str, str]:
        seconds = random.randint(300, 600)  # noqa: S311 - so that watches do not all end together
        return {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds), **self._selector}

    async def _watch(self) -> None:
        """One watch, until the server ends it. Returns when that was a proper end."""
        params = self._watch_params() | {"resourceVersion": self._resource_version}
        began, events = time.monotonic(), 0
        silence = random.uniform(*self._silence)  # noqa: S311 - not all at once
        async with self._cluster.stream(self.path, params=params, pool="watches", read_timeout=silence) as response:
            async for event in self._events(response.content.iter_any()):
                events += 1
                self._handle(event)
                self._healthy()
        if not events and time.monotonic() - began < 1:
            raise UnreachableError(f"{self._cluster.host}: the watch ended at once without an event")
        self._healthy()

    def _handle(self, event: Event) -> None:
        if event.type in ("ADDED", "MODIFIED"):
            if (item := self._read(event.object)) is not None:
                self._apply(item)
                self._resource_version = item.resource_version
        elif event.type == "DELETED":
            if (item := self._read(event.object)) is not None:
                self._delete(item)
                self._resource_version = item.resource_version
            elif (known := self.objects.get(Key(*name_of(event.object).split("/", 1)))) is not None:
                self._delete(known)
        elif event.type == "BOOKMARK":
            try:
                self._resource_version = read_bookmark(event).resource_version
            except ValueError as error:
                self._skip("a bookmark", str(error))
        elif event.type == "ERROR":
            raise error_of(event)
        else:
            self._skip(f"event type {event.type!r}", "unknown")

    async def _events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
        handled = 0
        async for event in read_events(chunks, on_skip=lambda why: self._skip("an event", why)):
            yield event
            handled += 1
            if handled % _EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)

    # Keeping

    def _read(self, raw: msgspec.Raw) -> T | None:
        try:
            return self._decode(raw)
        except MalformedError as error:
            with about(run=error.name):
                self._skip(error.name, str(error))
            return None

    def _skip(self, name: str, why: str) -> None:
        self.skipped += 1
        if name not in self._complained:
            log.warning("skipped %s from %s, the others are not affected: %s", name, self.path, why)
            self._complained[name] = None
            if len(self._complained) > 1000:
                self._complained.popitem(last=False)

    def _apply(self, item: T) -> None:
        previous = self.objects.get(item.key)
        if previous is not None and previous.uid != item.uid:
            self._delete(previous, unseen=True)
            previous = None
        if previous is not None and previous.resource_version == item.resource_version:
            return
        self.objects[item.key] = item
        self._on_change(Change(item, previous))

    def _delete(self, item: T, *, unseen: bool = False) -> None:
        previous = self.objects.pop(item.key, None)
        if previous is not None:
            self._on_change(Change(item, previous, deleted=True, unseen=unseen))


class _NoStreamListError(Exception):
    """The server does not offer streaming lists, or not properly."""
