"""What a namespace holds of one resource, as it is now: a list and a watch, for as long as the suite runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Final

import aiohttp

from e2e.api import Api, ApiError, Json, path_of

_PAUSE: Final = 1.0  # seconds before another try
_WATCH: Final = 240  # seconds


class Mirror:
    """``objects`` by name. ``changed`` callbacks are called with each object that is new or other, and with what is gone."""

    def __init__(self, api: Api, resource: str, namespace: str) -> None:
        self._api, self._resource, self._namespace = api, resource, namespace
        self.objects: dict[str, Json] = {}
        self.last: dict[str, Json] = {}  #: also of what is gone by now
        self.synced = asyncio.Event()
        self.listeners: list[Callable[[Json], None]] = []
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; trouble is waited out."""
        while True:
            try:
                await self._watch(await self._list())
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError, ValueError):
                await asyncio.sleep(_PAUSE)

    async def until(self, condition: Callable[[], object], *, timeout: float, what: str) -> None:
        """Wait until ``condition`` holds; raises ``AssertionError`` that says ``what`` did not happen."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {timeout:g} s: {what}") from None

    async def _list(self) -> str:
        answer = await self._api.call("GET", path_of(self._resource, self._namespace))
        found = {str(item["metadata"]["name"]): item for item in answer["items"]}
        for name in set(self.objects) - set(found):
            del self.objects[name]
        for item in found.values():
            self._take(item)
        self.synced.set()
        self._changed.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> None:
        path = path_of(self._resource, self._namespace)
        params = {
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH),
            "allowWatchBookmarks": "true",
        }
        async with self._api.stream(path, params=params, silence=_WATCH + 30.0) as response:
            if response.status != 200:
                raise ApiError(response.status, await response.text())
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._event(json.loads(line))

    def _event(self, event: Json) -> None:
        if event["type"] == "ERROR":
            raise ApiError(int(event["object"].get("code") or 0), str(event["object"].get("message")))
        if event["type"] == "BOOKMARK":
            return
        if event["type"] == "DELETED":
            self.objects.pop(str(event["object"]["metadata"]["name"]), None)
            self._changed.set()
            return
        self._take(event["object"])
        self._changed.set()

    def _take(self, item: Json) -> None:
        name = str(item["metadata"]["name"])
        if self.objects.get(name) != item:
            self.objects[name] = self.last[name] = item
            for listener in self.listeners:
                listener(item)


def condition(run: Json | None) -> Json:
    """A run's condition ``Succeeded``, or {}."""
    for entry in ((run or {}).get("status") or {}).get("conditions") or ():
        if entry.get("type") == "Succeeded":
            return dict(entry)
    return {}


def done(run: Json | None) -> bool:
    return condition(run).get("status") in ("True", "False")
