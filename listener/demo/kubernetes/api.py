"""The HTTP side: paths, verbs, authentication, lists in pages, watches. Run it with ``async with KubernetesApi() as cluster``."""

from __future__ import annotations

import asyncio
import base64
import bisect
import contextlib
import json
import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from aiohttp import web

from listener.demo.kubernetes import discovery
from listener.demo.kubernetes.access import Access
from listener.demo.kubernetes.faults import Fault, Faults, Requests, Seen
from listener.demo.kubernetes.podlogs import LogOptions, PodLogs
from listener.demo.kubernetes.rbac import Accounts
from listener.demo.kubernetes.selectors import field_selector, label_selector
from listener.demo.kubernetes.statuses import (
    StatusError,
    bad_request,
    continue_expired,
    expired,
    forbidden,
    too_large_version,
    unauthorized,
)
from listener.demo.kubernetes.store import RESOURCES, Event, Json, Name, Snapshot, Store

_MAX_BODY: Final = 32 * 1024 * 1024
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

_SNAPSHOTS: Final = 16  # of lists that are read in pages at the same time; older ones have expired


class KubernetesApi:
    """One cluster. ``url`` is where it listens; the objects stay when it is stopped and started again."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: tuple[str, ...] | None = None,
        bookmark_interval: float = 60.0,
        streaming_lists: bool = True,
    ) -> None:
        """``tokens``: bearer tokens that are accepted, None for no authentication; ``bookmark_interval``: seconds."""
        self.store = Store()
        self.logs = PodLogs(self.store)
        self.faults, self.requests = Faults(), Requests()
        self.tokens, self.accounts, self.access = tokens, Accounts(self.store), Access()
        self._snapshots: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()  # of lists whose pages are being read
        self.bookmark_interval, self.streaming_lists = bookmark_interval, streaming_lists
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._watching: dict[str, int] = {}
        self._watches_changed = asyncio.Event()
        self._cut = asyncio.Event()
        # What tests and stories do to the cluster, without HTTP.
        self.get: Callable[[str, str, str], Json] = lambda resource, namespace, name: (
            self.store.get(resource, namespace, name).object
        )
        self.delete = self.store.delete
        self.patch = self.store.merge_patch

    def create(self, resource: str, body: Json) -> Json:
        """Add an object to the namespace in its metadata."""
        return self.store.create(resource, body["metadata"].get("namespace", "default"), body).object

    # Life

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[_errors])
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> KubernetesApi:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def kubeconfig(self, path: Path, *, token: str = "") -> Path:
        """Write a kubeconfig for this cluster."""
        user = {"token": token} if token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "demo", "cluster": {"server": self.url}}],
            "users": [{"name": "demo", "user": user}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo"}}],
            "current-context": "demo",
        }
        fresh = path.with_name(f"{path.name}.fresh")
        fresh.write_text(yaml.safe_dump(config))
        return fresh.replace(path)  # at once: a process that was started before may be reading it

    def cut_watches(self) -> None:
        """End every watch now; to the client it looks like its proper end."""
        self._cut.set()
        self._cut = asyncio.Event()

    def watchers(self, resource: str) -> int:
        return self._watching.get(resource, 0)

    async def wait_watchers(self, resource: str, number: int, *, timeout: float = 20.0) -> None:
        """Wait until ``number`` watches of ``resource`` are open."""
        async with asyncio.timeout(timeout):
            while self.watchers(resource) < number:
                self._watches_changed.clear()
                await self._watches_changed.wait()

    async def wait_unwatched(self, resource: str, *, timeout: float = 20.0) -> None:
        """Wait until no watch of ``resource`` is open."""
        async with asyncio.timeout(timeout):
            while self.watchers(resource):
                self._watches_changed.clear()
                await self._watches_changed.wait()

    # Requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        target = _Target.of(request)
        seen = Seen(request.method, request.path, dict(request.query), target.verb, target.resource)
        self.requests.add(seen)
        fault = self.faults.match(seen)
        if fault is not None and (answer := await _play(fault, request)) is not None:
            return answer
        fixed = discovery.answer(request.path)
        if fixed is not None:
            return _json(fixed)
        if target.resource == "selfsubjectaccessreviews" and self.access.reviews:
            return _json(self._review(_bearer(request), await _body(request)), status=201)
        if target.resource not in RESOURCES:
            raise StatusError(404, "NotFound", "the server could not find the requested resource", details={})
        self._authenticate(request, target)
        verb = "get" if target.verb == "log" else target.verb
        if not self.access.allows(verb, target.resource, target.subresource):
            raise forbidden(RESOURCES[target.resource], verb, target.namespace)
        match target.verb:
            case "get":
                return self._get(request, target)
            case "list":
                return self._list(request, target)
            case "watch":
                return await self._watch(request, target, fault)
            case "log":
                return await self._log(request, target, fault)
            case "delete":
                stored = self.store.delete(target.resource, target.namespace or "", target.name)
                if target.resource == "namespaces":
                    self.store.clear(target.name)
                return _json(stored.object)
            case _:
                return await self._write(request, target)

    def _review(self, token: str, body: Json) -> Json:
        """What who comes with ``token`` may do."""
        if self.accounts.of(token) is not None:
            return self.accounts.review(token, body)
        if self.tokens is not None and token not in self.tokens:
            raise unauthorized()
        return self.access.review(body)

    def _authenticate(self, request: web.Request, target: _Target) -> None:
        if (account := self.accounts.of(_bearer(request))) is not None:
            verb, subresource = ("get", "log") if target.verb == "log" else (target.verb, target.subresource)
            kind = RESOURCES[target.resource]
            if not self.accounts.allows(
                account, verb, kind.group, target.resource, subresource, target.namespace, target.name
            ):
                raise forbidden(kind, verb, target.namespace, user=account.user, subresource=subresource)
            return
        if self.tokens is None:
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not token:
            raise forbidden(RESOURCES[target.resource], target.verb, target.namespace)
        if scheme.lower() != "bearer" or token not in self.tokens:
            raise unauthorized()

    def _get(self, request: web.Request, target: _Target) -> web.Response:
        stored = self.store.get(target.resource, target.namespace or "", target.name)
        if "PartialObjectMetadata" in request.headers.get("Accept", ""):
            meta = stored.object["metadata"]
            return _json({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
        return web.Response(body=stored.raw, headers={"Content-Type": "application/json", **_audit()})

    async def _write(self, request: web.Request, target: _Target) -> web.Response:
        resource, namespace = target.resource, target.namespace or ""
        manager = request.headers.get("User-Agent", "demo").partition("/")[0]
        if target.verb == "patch" and request.content_type != "application/merge-patch+json":
            raise StatusError(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        if request.query.get("dryRun") == "All":
            if target.verb == "create":
                return _json({}, status=201)
            return _json(self.store.get(resource, namespace, target.name).object)
        body = await _body(request)
        if target.verb == "create" and (resource, target.subresource) == ("serviceaccounts", "token"):
            return _json(self.accounts.issue(namespace, target.name), status=201)
        if target.verb == "create":
            return _json(self.store.create(resource, namespace, body, manager=manager).object, status=201)
        if target.verb == "update":
            return _json(self.store.replace(resource, namespace, target.name, body).object)
        stored = self.store.merge_patch(
            resource, namespace, target.name, body, manager=manager, subresource=target.subresource
        )
        return _json(stored.object)

    # Lists

    def _list(self, request: web.Request, target: _Target) -> web.Response:
        query, store, kind = request.query, self.store, RESOURCES[target.resource]
        version = query.get("resourceVersion", "")
        if version.isdecimal() and int(version) > store.version:
            raise too_large_version(version, store.version)
        wanted = _wanted(query, target)
        limit = int(query.get("limit", "0") or 0)
        start = ("", "")
        if token := query.get("continue", ""):
            at, start = _read_token(token)
            known = self._snapshots.get((target.resource, at))
            if known is None or at < store.shelf(target.resource).compacted:
                raise continue_expired()
            snapshot = known
        else:
            snapshot = store.snapshot(target.resource)
        items, rest = _page(snapshot, wanted, start=start, limit=limit)
        meta: dict[str, Any] = {"continue": "", "resourceVersion": str(snapshot.version)}
        if rest:
            meta |= {"continue": _token(snapshot.version, items[-1]), "remainingItemCount": rest}
            self._snapshots[target.resource, snapshot.version] = snapshot
            if len(self._snapshots) > _SNAPSHOTS:
                self._snapshots.popitem(last=False)
        raws = b",".join(snapshot.objects[name].raw for name in items)
        body = b'{"apiVersion":"%s","items":[%s],"kind":"%sList","metadata":%s}\n' % (
            kind.api_version.encode(),
            raws,
            kind.kind.encode(),
            json.dumps(meta).encode(),
        )
        return web.Response(body=body, headers={"Content-Type": "application/json", **_audit()})

    # Watches

    async def _watch(self, request: web.Request, target: _Target, fault: Fault | None) -> web.StreamResponse:
        query = request.query
        stream_list = query.get("sendInitialEvents") == "true"
        if stream_list and not self.streaming_lists:
            raise bad_request("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
        response = web.StreamResponse(headers={"Content-Type": "application/json", **_audit()})
        response.enable_chunked_encoding()
        await response.prepare(request)
        watch = _Watch(self, response, target, query, fault)
        self._watching[target.resource] = self.watchers(target.resource) + 1
        self._watches_changed.set()
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds") or random.randint(1800, 3600))):
                await watch.run(stream_list=stream_list, cut=self._cut)
        except TimeoutError:
            pass
        except ConnectionError:
            return response
        finally:
            self._watching[target.resource] -= 1
            self._watches_changed.set()
        await response.write_eof()
        return response

    # Logs

    async def _log(self, request: web.Request, target: _Target, fault: Fault | None) -> web.StreamResponse:
        query = dict(request.query)
        namespace, pod = target.namespace or "", target.name
        options = LogOptions.of(query)
        container, begun = self.logs.check(namespace, pod, query)
        if not begun:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"Content-Type": "text/plain", **_audit()})
        response.enable_chunked_encoding()
        await response.prepare(request)
        cut_after = fault.cut_after if fault is not None else None
        name = (namespace, pod)
        async with contextlib.aclosing(self.logs.read(name, container, options, cut_after=cut_after)) as pieces:
            async for data in pieces:
                await response.write(data)
        await response.write_eof()
        return response


class _Watch:
    """One watch: what existed (if asked), then what changes."""

    def __init__(
        self, api: KubernetesApi, response: web.StreamResponse, target: _Target, query: Any, fault: Fault | None
    ) -> None:
        self._api, self._response, self._target, self._query, self._fault = api, response, target, query, fault
        self._wanted = _wanted(query, target)
        self._sent = 0

    async def run(self, *, stream_list: bool, cut: asyncio.Event) -> None:
        shelf, changed = self._api.store.shelf(self._target.resource), asyncio.Event()
        shelf.listeners.add(changed)
        try:
            await self._run(changed, stream_list=stream_list, cut=cut)
        finally:
            shelf.listeners.discard(changed)

    async def _run(self, changed: asyncio.Event, *, stream_list: bool, cut: asyncio.Event) -> None:
        store, resource = self._api.store, self._target.resource
        shelf = store.shelf(resource)
        version = self._query.get("resourceVersion", "")
        for line in self._fault.lines if self._fault else ():
            await self._response.write(line + b"\n")
        position = store.version
        if stream_list or version in ("", "0"):
            await self._existing(position, end=stream_list)
        else:
            position = int(version)
            if position < shelf.compacted:
                await self._write("ERROR", json.dumps(expired(position, shelf.compacted).body()).encode())
                return
        bookmarks = self._query.get("allowWatchBookmarks") == "true"
        loop = asyncio.get_running_loop()
        next_bookmark = loop.time() + self._api.bookmark_interval
        while not cut.is_set():
            if position < shelf.compacted:
                await self._write("ERROR", json.dumps(expired(position, shelf.compacted).body()).encode())
                return
            batch = list(store.since(resource, position))
            for event in batch:
                position = event.version
                if not await self._event(event):
                    return
            if batch:
                continue
            position = max(position, store.version)  # everything up to here was seen
            changed.clear()
            if await _woken(changed, cut, timeout=next_bookmark - loop.time()) or loop.time() < next_bookmark:
                continue
            next_bookmark = loop.time() + self._api.bookmark_interval
            if bookmarks:
                await self._bookmark(position, end=False)

    async def _existing(self, version: int, *, end: bool) -> None:
        objects = self._api.store.shelf(self._target.resource).objects
        for name in list(self._api.store.names(self._target.resource)):
            stored = objects.get(name)
            if stored is not None and self._wanted(name, stored.labels):
                await self._write("ADDED", stored.raw)
        if end:
            await self._bookmark(version, end=True)

    async def _event(self, event: Event) -> bool:
        """Send one change as this watch sees it; False when the connection is to be cut here."""
        was = event.before is not None and self._wanted(event.name, event.before)
        is_ = event.labels is not None and self._wanted(event.name, event.labels)
        kind = {(True, True): "MODIFIED", (False, True): "ADDED", (True, False): "DELETED"}.get((was, is_))
        if kind is None:
            return True
        await self._write(kind, event.raw)
        self._sent += 1
        return not (self._fault and self._fault.cut_after is not None and self._sent >= self._fault.cut_after)

    async def _bookmark(self, version: int, *, end: bool) -> None:
        kind = RESOURCES[self._target.resource]
        meta: Json = {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta | {"resourceVersion": str(version)}}
        await self._write("BOOKMARK", json.dumps(body).encode())

    async def _write(self, kind: str, raw: bytes) -> None:
        await self._response.write(b'{"type":"%s","object":%s}\n' % (kind.encode(), raw))


class _Target:
    """What a path and a method mean."""

    __slots__ = ("name", "namespace", "resource", "subresource", "verb")

    def __init__(self, *, resource: str, namespace: str | None, name: str, subresource: str, verb: str) -> None:
        self.resource, self.namespace, self.name = resource, namespace, name
        self.subresource, self.verb = subresource, verb

    @classmethod
    def of(cls, request: web.Request) -> _Target:
        parts = [part for part in request.path.split("/") if part]
        parts = parts[2:] if parts[:1] == ["api"] else parts[3:]  # /api/v1/… or /apis/GROUP/VERSION/…
        namespace = None
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = [*parts, "", "", ""][:3]
        verb = _VERBS.get(request.method) or ("get" if name else "list")
        if verb == "list" and request.query.get("watch") in ("1", "true"):
            verb = "watch"
        if verb == "get" and subresource == "log":
            verb = "log"
        return cls(resource=resource, namespace=namespace, name=name, subresource=subresource, verb=verb)


def _wanted(query: Any, target: _Target) -> Callable[[Name, Mapping[str, str]], bool]:
    labels, fields = label_selector(query.get("labelSelector", "")), field_selector(query.get("fieldSelector", ""))
    namespace = target.namespace
    return lambda name, have: (namespace is None or name[0] == namespace) and labels(have) and fields(name)


async def _body(request: web.Request) -> Json:
    try:
        body: Json = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None
    return body


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _token(version: int, last: Name) -> str:
    content = {"v": "meta.k8s.io/v1", "rv": version, "start": list(last)}
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _page(
    snapshot: Snapshot, wanted: Callable[[Name, Mapping[str, str]], bool], *, start: Name, limit: int
) -> tuple[list[Name], int]:
    """Names after ``start``, at most ``limit``, and how many there are beyond."""
    found: list[Name] = []
    for at in range(bisect.bisect_right(snapshot.names, start), len(snapshot.names)):
        name = snapshot.names[at]
        if wanted(name, snapshot.objects[name].labels):
            if limit and len(found) == limit:
                return found, len(snapshot.names) - at  # "may be an estimate", the API reference says
            found.append(name)
    return found, 0


def _read_token(token: str) -> tuple[int, Name]:
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(content["rv"]), (str(content["start"][0]), str(content["start"][1]))
    except (ValueError, KeyError, TypeError, IndexError):
        message = "invalid continue token: continue key is not valid: invalid character looking for beginning of value"
        raise bad_request(message) from None


async def _woken(changed: asyncio.Event, cut: asyncio.Event, *, timeout: float) -> bool:
    """Wait for either; False when the time ran out."""
    waiting = {asyncio.ensure_future(changed.wait()), asyncio.ensure_future(cut.wait())}
    try:
        done, _ = await asyncio.wait(waiting, timeout=max(0.0, timeout), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    return bool(done)


async def _play(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """Misbehave; None where the request goes on, only with a twist."""
    if fault.status is not None:
        return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
    if fault.reset and request.transport is not None:
        request.transport.abort()
        return web.Response()
    if fault.hang:
        await asyncio.Event().wait()
    if fault.until is not None:
        await fault.until.wait()
    return None


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except StatusError as error:
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
        return _json(error.body(), status=error.code, headers=headers)
    except ConnectionError:  # whoever asked is gone
        return web.Response()
    return answer


def _json(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = msgspec.json.encode(body) + b"\n"
    return web.Response(
        body=text, status=status, headers={"Content-Type": "application/json", **_audit(), **(headers or {})}
    )


def _audit() -> dict[str, str]:
    return {"Audit-Id": str(uuid.UUID(int=random.getrandbits(128)))}
