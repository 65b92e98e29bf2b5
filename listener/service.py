"""The service: puts the parts together, starts them, stops them. The only file that knows them all.

Order of start: HTTP first (probes answer while the cluster is still silent), then the watch, and only when every run is known the
deliveries. Order of stop: no new connections, readers' streams cut, what is queued is delivered within the grace period, what was
delivered is noted, then everything else is cancelled. One task group owns every task.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from listener.cluster.children import read_task_runs
from listener.cluster.client import Cluster
from listener.cluster.objects import PipelineRun, TaskRun
from listener.cluster.runs import Runs
from listener.config import Config, Host, read_secret
from listener.logs.stream import Logs
from listener.metrics import Metrics
from listener.reporting.ledger import Ledger
from listener.reporting.reporter import Reporter
from listener.reporting.routing import Router
from listener.web.app import create_app
from listener.web.auth import User, Users
from listener.web.probes import Trouble
from notifiers.base import HostSettings, Notifier

log = logging.getLogger(__name__)

_PATIENCE: Final = 60.0  # seconds for the runs of all namespaces to be known before those of some are reported
GRACE: Final = 15.0  # seconds for what is queued to be delivered at the end
_ACCESS: Final = logging.getLogger("listener.access")


class StartError(Exception):
    """The service cannot run as it is set up; one sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a service is made from."""

    config: Config
    folder: Path  #: file names in the configuration are relative to this
    kinds: Mapping[str, type[Notifier]]
    env: Mapping[str, str]
    environment_user: tuple[str, str] | None = None  #: AUTH_USERNAME and AUTH_PASSWORD
    host: str = "0.0.0.0"  # noqa: S104 - a service in a pod listens on every address
    port: int = 8080
    grace: float = GRACE


class Service:
    """One listener. ``async with Service(settings) as service`` runs it; ``service.port`` is where it listens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self.port = settings.port
        self.failed = asyncio.Event()  #: set when a part ended that must not end
        self.failure: BaseException | None = None

    async def __aenter__(self) -> Service:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            cluster = await Cluster.connect(env=settings.env)
            stack.push_async_callback(cluster.close)
            log.info("cluster %s, credentials from %s", cluster.host, cluster.source)
            notifiers = build_notifiers(settings)
            for notifier in notifiers.values():
                stack.push_async_callback(notifier.close)
            self._assemble(cluster, notifiers)
            await stack.enter_async_context(self._parts())
            await self._serve(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _assemble(self, cluster: Cluster, notifiers: Mapping[str, Notifier]) -> None:
        settings, config = self._settings, self._settings.config

        async def task_runs(run: PipelineRun) -> list[TaskRun]:
            return await read_task_runs(cluster, run)

        self.runs = Runs(cluster, namespaces=config.namespaces)
        self.reporter = Reporter(
            router=Router(config, notifiers),
            notifiers=notifiers,
            ledger=Ledger(cluster),
            read_task_runs=task_runs,
            workers={name: host.threads for name, host in config.hosts.items()},
            on_delivery=lambda delivery: self.metrics.delivered(delivery),
        )
        self.metrics = Metrics(runs=self.runs, reporter=self.reporter)
        self.runs.on_change(self.reporter.run_changed)
        self.logs = Logs(cluster, self.runs, read_task_runs=task_runs)
        self._app = create_app(
            users=Users(users_of(settings)),
            default_namespace=config.default_namespace,
            runs=self.runs,
            log_source=self.logs,
            read_task_runs=task_runs,
            troubles=self._troubles,
            metrics=self.metrics.render,
        )

    async def _serve(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        runner = web.AppRunner(
            self._app, handle_signals=False, handler_cancellation=True, access_log_class=AccessLog, shutdown_timeout=1.0
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise StartError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from None
        self.port = runner.addresses[0][1]
        log.info("listening on http://%s:%d", settings.host, self.port)

    @contextlib.asynccontextmanager
    async def _parts(self) -> AsyncIterator[None]:
        """Everything that runs, in one task; at the end the queue is drained first."""
        running = asyncio.create_task(self._run_parts(), name="service")
        try:
            yield
            await self._drain()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def _run_parts(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.runs.run(), name="watch")
                group.create_task(self.logs.run(), name="logs")
                group.create_task(self.reporter.ledger.run(), name="ledger")
                await self.runs.settled(_PATIENCE)
                # What is known now stays: the collector need not look at it again and again, which takes long with many runs.
                gc.collect()
                gc.freeze()
                log.info("%d PipelineRuns known, %d of them lead to a commit", len(self.runs), len(self.reporter.lanes))
                group.create_task(self.reporter.lanes.run(), name="lanes")
        except BaseExceptionGroup as errors:
            log.critical("a part of the service failed", exc_info=errors)
            self.failure = errors
            self.failed.set()

    async def _drain(self) -> None:
        if not self.runs.ready:
            return
        try:
            async with asyncio.timeout(self._settings.grace):
                await self.reporter.lanes.drained()
                await self.reporter.ledger.flush()
        except TimeoutError:
            log.warning("stopped with statuses undelivered; they go out when the service starts again")

    def _troubles(self) -> list[Trouble]:
        watches = [Trouble(path, why, since) for path, why, since in self.runs.problems]
        hosts = [Trouble(h.name, *h.problem) for h in self.reporter.lanes.hosts.values() if h.problem is not None]
        return watches + hosts


def build_notifiers(settings: Settings) -> dict[str, Notifier]:
    """A notifier for each entry of ``hosts:``. Raises ``StartError`` that names the entry."""
    notifiers = {}
    for name, host in settings.config.hosts.items():
        if host.kind not in settings.kinds:
            raise StartError(f"hosts.{name}: the notifier {host.kind} cannot be loaded, the log says why")
        try:
            notifiers[name] = settings.kinds[host.kind](_host_settings(name, host, settings))
        except (ValueError, OSError) as error:
            raise StartError(f"hosts.{name}: {error}") from None
    return notifiers


def _host_settings(name: str, host: Host, settings: Settings) -> HostSettings:
    return HostSettings(
        name=name,
        url=host.url,
        token_file=settings.folder / host.token_file if host.token_file else None,
        token=settings.env.get(host.token_env) if host.token_env else None,
        app_id=host.app_id,
        private_key_file=settings.folder / host.private_key_file if host.private_key_file else None,
        installation_id=host.installation_id,
        ca_file=settings.folder / host.ca_file if host.ca_file else None,
        threads=host.threads,
    )


def users_of(settings: Settings) -> list[User]:
    """The users of the configuration and of the environment. Raises ``StartError`` for an unreadable password file."""
    users = []
    for user in settings.config.users:
        try:
            if user.password_file is not None:
                password = read_secret(settings.folder / user.password_file)
            else:
                password = settings.env[user.password_env or ""]
        except (OSError, ValueError, KeyError) as error:
            raise StartError(f"password of user {user.name}: {error}") from None
        users.append(User(user.name, password.encode(), frozenset(user.namespaces)))
    if settings.environment_user is not None:
        name, password = settings.environment_user
        users.append(User(name, password.encode(), frozenset({"*"})))
    return users


class AccessLog(AbstractAccessLogger):
    """One line per request, without query strings, for these may carry what must not be logged."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        _ACCESS.info(
            "%s %s %s %d %d bytes %.3f s", request.remote, request.method, request.path, response.status,
            response.body_length, time,
        )  # fmt: skip
