"""The service: puts the parts together, starts them, stops them. The only file that knows them all.

Order of start: HTTP first (probes answer while the cluster is still silent), then the watch, and only when every run is known the
Leases and the deliveries. Order of stop: not ready any more, readers' streams told and cut, what is queued is delivered within
the grace period, what was delivered is noted, then everything is cancelled, and last the Leases are given back: nobody else begins
before we have ended. One task group owns every task.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

import kubernetes_asyncio.config  # noqa: F401 - takes half a second: now, and not when probes are answered
from aiohttp import web

from listener.assembly import (
    Settings,
    StartError,
    build_archive,
    build_leases,
    build_notifier,
    build_notifiers,
    build_signer,
    build_tracing,
    files_of,
    read_settings,
    receivers_of,
    users_of,
)
from listener.cluster.children import read_task_runs
from listener.cluster.client import Cluster
from listener.cluster.families import Families
from listener.cluster.names import Key
from listener.cluster.objects import Condition, PipelineRun, TaskRun
from listener.cluster.reflector import Change
from listener.cluster.runs import Runs
from listener.cluster.summary import Origin, RunSummary
from listener.config import Config
from listener.links import PREFIX, Signer
from listener.logs.recording import Room
from listener.logs.recordings import Recordings
from listener.logs.stream import Logs
from listener.logs.tail import LogTail
from listener.metrics import Metrics
from listener.reload import Reloader, Signature, signature
from listener.reporting.lane import Delivery
from listener.reporting.ledger import CHECK, STATUS
from listener.reporting.reporter import Reporter
from listener.reporting.routing import Router, Unroutable
from listener.reporting.shards import Shards
from listener.web.access_log import SERVER, AccessLog
from listener.web.app import create_app, stop_streams
from listener.web.connections import Connections, most_connections
from listener.web.logins import Logins
from listener.web.logs import Limits, Streams
from listener.web.peers import Proxies
from listener.web.probes import Trouble
from listener.web.requests import Access
from notifiers.base import Notifier, clock

log = logging.getLogger(__name__)

_PATIENCE: Final = 60.0  # seconds for the runs of all namespaces to be known before those of some are reported
_NOTING: Final = 2.0  # seconds, at least, for noting what was delivered at the end
_RELEASE: Final = 3.0  # seconds for giving the Leases back


class Service:
    """One listener. ``async with Service(settings) as service`` runs it; ``service.port`` is where it listens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._shards_changed = asyncio.Event()
        self._lanes: asyncio.Task[None] | None = None
        self.port = settings.port
        self.delivering = asyncio.Event()  #: set when every run is known and deliveries begin
        self.failed = asyncio.Event()  #: set when a part ended that must not end
        self.failure: BaseException | None = None

    async def __aenter__(self) -> Service:
        async with contextlib.AsyncExitStack() as stack:
            self._traces = build_tracing(self._settings.env)
            if self._traces is not None:
                stack.push_async_callback(self._traces.close)
            cluster = await Cluster.connect(env=self._settings.env)
            stack.push_async_callback(cluster.close)
            log.info("cluster %s, credentials from %s", cluster.host, cluster.source)
            self.leases = build_leases(
                self._settings, cluster, catch_up=lambda: self.runs.relist(), on_change=self._shards_changed.set
            )
            stack.push_async_callback(self._release)
            self._signer = build_signer(self._settings)
            self._logins = Logins(users_of(self._settings))
            stack.callback(self._logins.close)
            self._notifiers = build_notifiers(self._settings)
            stack.push_async_callback(self._close_notifiers)
            self._assemble(cluster)
            await stack.enter_async_context(self._parts())
            await self._serve(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_streams(self._app)
        try:
            await self._drain()
        finally:
            await self._stack.aclose()

    def _assemble(self, cluster: Cluster) -> None:
        settings, config = self._settings, self._settings.config

        async def task_runs(run: PipelineRun) -> list[TaskRun]:
            return await read_task_runs(cluster, run)

        self._router = self._route(settings, self._notifiers, self._signer)
        self._shards = Shards(self.leases)
        self.runs = Runs(cluster, namespaces=config.namespaces, silence=settings.watch_silence)
        self.reporter = Reporter(
            cluster,
            router=self._router,
            notifiers=self._notifiers,
            read_task_runs=task_runs,
            read_log_tail=lambda run, task_run, container: self._tail.read(run, task_run, container),
            workers=_workers(settings),
            pace=settings.pace,
            permit=self._shards.permit,
            on_delivery=self._delivered,
            traces=self._traces,
        )
        self.reloader = Reloader(
            files=lambda: files_of(self._settings), apply=self._reload, every=settings.reload_every
        )
        self._certificates = _certificates(settings)
        self.runs.on_change(self.reporter.run_changed)
        self.families = Families(cluster, namespaces=config.namespaces, silence=settings.watch_silence)
        logs = config.logs
        self.recordings = Recordings(
            cluster,
            self.runs,
            self.families,
            archive=build_archive(settings),
            room=Room(
                folder=settings.folder / logs.spool_folder if logs.spool_folder else None,
                per_run=logs.spool_bytes,
                in_all=logs.spool_total,
            ),
            wants=self._is_to_be_recorded,
            describe=self._describe,
        )
        self.runs.on_change(self._consider_recording)
        self.logs = Logs(self.runs, self.recordings)
        self._tail = LogTail(cluster, self.logs)
        self.streams = Streams(_limits(config))
        self.metrics = Metrics(
            runs=self.runs,
            reporter=self.reporter,
            leases=self.leases,
            reloader=self.reloader,
            recordings=self.recordings,
            streams=self.streams,
            logins=self._logins,
        )
        self._access = Access(self._logins, config.default_namespace, Proxies(config.trusted_proxies))
        self._app = create_app(
            access=self._access,
            runs=self.runs,
            log_source=self.logs,
            streams=self.streams,
            past=self._past,
            past_summary=self._past_summary,
            read_task_runs=task_runs,
            describe=self._describe,
            service_of=lambda run: self._router.service_of(run),
            signer=lambda: self._signer,
            troubles=self._troubles,
            metrics=self.metrics.render,
        )

    def _is_to_be_recorded(self, run: PipelineRun) -> bool:
        """Its service says so, and of all replicas it is this one's turn."""
        return self._router.records(run) and self._shards.permit(str(run.key)) > clock()

    def _consider_recordings(self) -> None:
        for run in self.runs:
            self.recordings.consider(run)

    def _consider_recording(self, change: Change[PipelineRun]) -> None:
        if not change.deleted:
            self.recordings.consider(change.object)

    async def _past(self, key: Key) -> Condition | None:
        end = await self.logs.past(key)
        return Condition(end.status, end.reason, end.message) if end is not None else None

    async def _past_summary(self, key: Key) -> RunSummary | None:
        end = await self.logs.past(key)
        return end.summary if end is not None else None

    @staticmethod
    def _route(settings: Settings, notifiers: Mapping[str, Notifier], signer: Signer | None) -> Router:
        if settings.config.links != "signed" or signer is None:
            return Router(settings.config, notifiers)

        def page(run: PipelineRun) -> str:
            token = signer.token(run.key, uid=run.uid, created=run.created)
            return f"{PREFIX}{token}/runs/{run.namespace}/{run.name}"

        return Router(settings.config, notifiers, page=page)

    def _describe(self, run: PipelineRun) -> tuple[str, tuple[Origin, ...]]:
        """Which service claims a run, and the commits that it reports to, with links back."""
        routed = self._router.route(run)
        if isinstance(routed, Unroutable):
            return routed.service, ()
        origins = []
        for target in routed:
            if target.aspect not in (STATUS, CHECK):
                continue
            notifier = self._notifiers[target.host]
            origins.append(
                Origin(
                    kind=notifier.kind,
                    repository=target.repository,
                    sha=target.sha,
                    ref=target.ref or "",
                    repository_url=notifier.repository_url(target.repository) or "",
                    commit_url=notifier.commit_url(target.repository, target.sha) or "",
                )
            )
        return (routed[0].service if routed else ""), tuple(origins)

    def _delivered(self, delivery: Delivery) -> None:
        self.metrics.delivered(delivery)

    async def _serve(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        runner = web.AppRunner(
            self._app,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=1.0,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None  # noqa: S101 - for the type checker: it is set up
        self.connections = Connections(
            runner.server,
            most=lambda: most_connections(self.streams.limits.streams),
            access_log=AccessLog,
            logger=SERVER,
        )
        try:
            listening = await asyncio.get_running_loop().create_server(
                self.connections, settings.host, settings.port, backlog=1024
            )
        except OSError as error:
            raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from None
        stack.callback(listening.close)
        self.port = listening.sockets[0].getsockname()[1]
        log.info("listening on http://%s:%d", settings.host, self.port)

    # Running

    @contextlib.asynccontextmanager
    async def _parts(self) -> AsyncIterator[None]:
        """Everything that runs, in one task."""
        running = asyncio.create_task(self._run_parts(), name="service")
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def _run_parts(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.runs.run(), name="watch")
                group.create_task(self.families.run(), name="families")
                group.create_task(self.recordings.run(), name="recordings")
                group.create_task(self.reporter.run(), name="reporter")
                await self.runs.settled(_PATIENCE)
                # What is known now stays: the collector need not look at it again and again, which takes long with many runs.
                gc.collect()
                gc.freeze()
                log.info("%d PipelineRuns known, %d lanes lead to commits", len(self.runs), len(self.reporter.lanes))
                await self.reporter.all_known()
                self._lanes = group.create_task(self.reporter.lanes.run(), name="lanes")
                self.delivering.set()
                if self._settings.path is not None:
                    group.create_task(self.reloader.run(), name="reloader")
                if self.leases is not None:
                    group.create_task(self.leases.run(), name="leases")
                    group.create_task(self._follow_shards(), name="shards")
        except BaseExceptionGroup as errors:
            log.critical("a part of the service failed", exc_info=errors)
            self.failure = errors
            self.failed.set()

    async def _follow_shards(self) -> None:
        while True:
            await self._shards_changed.wait()
            self._shards_changed.clear()
            await self.reporter.shards_changed()
            self._consider_recordings()

    async def _reload(self) -> None:
        """Go on by what the file says now. Raises ``ConfigError`` or ``StartError`` and has then changed nothing."""
        old = self._settings
        if old.path is None:
            return
        fresh = await asyncio.to_thread(read_settings, old.path, old.env, kinds=old.kinds)
        new = dataclasses.replace(old, config=fresh.config, kinds=fresh.kinds, environment_user=fresh.environment_user)
        users, certificates, signer = users_of(new), _certificates(new), build_signer(new)
        notifiers: dict[str, Notifier] = {}
        try:
            before = receivers_of(old.config)
            for name, receiver in receivers_of(new.config).items():
                same = before.get(name) == receiver and self._certificates.get(name) == certificates.get(name)
                notifiers[name] = self._notifiers[name] if same else build_notifier(name, receiver, new)
        except StartError:
            await _close(n for name, n in notifiers.items() if n is not self._notifiers.get(name))
            raise
        for field in ("namespaces", "leases"):
            if getattr(old.config, field) != getattr(new.config, field):
                log.warning("%s: the change takes effect with the next start", field)
        if _kept_where(old.config) != _kept_where(new.config):
            log.warning("logs: where logs are kept changes with the next start")
        self.streams.limits = _limits(new.config)
        replaced, self._notifiers = self._notifiers, notifiers
        self._settings, self._certificates = new, certificates
        self._logins.users, self._access.default_namespace = users, new.config.default_namespace
        self._access.proxies = Proxies(new.config.trusted_proxies)
        self._signer, self._router = signer, self._route(new, notifiers, signer)
        await self.reporter.reconfigure(self._router, notifiers, workers=_workers(new), runs=lambda: self.runs)
        self._consider_recordings()
        await _close(n for name, n in replaced.items() if n is not notifiers.get(name))

    # Stopping

    async def _drain(self) -> None:
        """Deliver what can be delivered within the grace period, and note it."""
        if self._lanes is None or self.failure is not None:
            return
        end = asyncio.get_running_loop().time() + self._settings.grace
        if not await self.reporter.lanes.drained(within=self._settings.grace):
            log.warning("stopped with statuses undelivered; they go out when the service, or another replica, goes on")
        self._lanes.cancel()
        await asyncio.wait([self._lanes])
        await self._close_notifiers()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_NOTING, end - asyncio.get_running_loop().time())):
                await self.reporter.flush()

    async def _close_notifiers(self) -> None:
        await _close(self._notifiers.values())

    async def _release(self) -> None:
        if self.leases is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RELEASE):
                    await self.leases.release()

    def _troubles(self) -> list[Trouble]:
        watches = [Trouble(path, why, since) for path, why, since in self.runs.problems]
        hosts = [Trouble(h.name, *h.problem) for h in self.reporter.lanes.hosts.values() if h.problem is not None]
        parts = (("leases", self.leases), ("configuration", self.reloader), ("archive", self.recordings))
        others = [Trouble(n, *part.problem) for n, part in parts if part is not None and part.problem is not None]
        return watches + hosts + others


async def _close(notifiers: Iterable[Notifier]) -> None:
    await asyncio.gather(*(notifier.close() for notifier in notifiers))


def _limits(config: Config) -> Limits:
    """Of log streams."""
    logs = config.logs
    return Limits(streams=logs.streams, per_user=logs.streams_per_user, idle=logs.idle, longest=logs.longest)


def _kept_where(config: Config) -> tuple[object, ...]:
    """What of ``logs:`` is looked at only at the start: the archive and the spools."""
    logs = config.logs
    archive = (logs.archive, logs.archive_options, logs.keep, logs.keep_bytes, config.records and logs.archive is None)
    return (*archive, logs.spool_folder, logs.spool_bytes, logs.spool_total)


def _workers(settings: Settings) -> dict[str, int]:
    return {name: receiver.threads for name, receiver in receivers_of(settings.config).items()}


def _certificates(settings: Settings) -> dict[str, Signature]:
    """Of each host's ca_file: connections keep what they have read, so a notifier is made anew for another one."""
    return {
        name: signature([settings.folder / receiver.ca_file])
        for name, receiver in receivers_of(settings.config).items()
        if receiver.ca_file
    }
