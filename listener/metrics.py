"""Prometheus metrics, counted where ``service`` joins the parts, so that no part knows of them.

Names begin with ``tekton_listener_``. Host names come from the configuration, so the number of time series is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from listener import __version__
from listener.cluster.lease import Leases
from listener.cluster.runs import Runs
from listener.logs.recordings import Recordings
from listener.reload import Reloader
from listener.reporting.lane import Delivery
from listener.reporting.reporter import Reporter
from listener.web.logins import Logins

_RESULTS: Final = ("delivered", "already_there", "retry", "permanent", "elsewhere", "late")  # see ``Delivery``
_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """All metrics of one service."""

    def __init__(
        self,
        *,
        runs: Runs,
        reporter: Reporter,
        leases: Leases | None,
        reloader: Reloader,
        recordings: Recordings,
        streams: Sized,
        logins: Logins,
    ) -> None:
        """``streams``: the log streams that are open."""
        self._registry, self._reporter = CollectorRegistry(), reporter
        self._deliveries = Counter(
            "tekton_listener_deliveries",
            "Attempts to put a commit status on a Git host, by how they ended",
            ["host", "result"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tekton_listener_delivery_seconds",
            "From a run's change to its status on the Git host",
            ["host"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_State(runs, reporter, leases, reloader))
        self._registry.register(_Logs(recordings, streams))
        self._registry.register(_Logins(logins))

    def delivered(self, delivery: Delivery) -> None:
        """Count one delivery's end."""
        self._deliveries.labels(delivery.lane.host, delivery.result).inc()
        if delivery.result in ("delivered", "already_there"):
            self._seconds.labels(delivery.lane.host).observe(delivery.waited)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        for host in self._reporter.lanes.hosts:
            for result in _RESULTS:  # so that they begin at 0: increase() does not see a series that begins at 1
                self._deliveries.labels(host, result)
            self._seconds.labels(host)
        return generate_latest(self._registry)


class _State:
    """What is not counted but looked up when somebody asks."""

    def __init__(self, runs: Runs, reporter: Reporter, leases: Leases | None, reloader: Reloader) -> None:
        self._runs, self._reporter, self._leases, self._reloader = runs, reporter, leases, reloader

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("tekton_listener", "The version that runs", value={"version": __version__})
        yield _gauge("runs", "PipelineRuns known", len(self._runs))
        yield _counter("runs_seen", "PipelineRuns seen since the start, each once", self._reporter.seen)
        yield _gauge(
            "runs_unroutable",
            "PipelineRuns that a service claims but that lead to no commit",
            len(self._reporter.unroutable),
        )
        yield _gauge("lanes", "Commits and contexts kept", len(self._reporter.lanes))
        yield _gauge("ready", "1 when every PipelineRun is known", int(self._runs.ready))
        yield _counter(
            "ledger_failures", "Deliveries that could not be noted on their run", self._reporter.ledger.failures
        )
        yield _counter("events_dropped", "Events that could not be written", self._reporter.events.dropped)
        yield _counter("config_reloads", "Changes of the configuration that were taken over", self._reloader.done)
        yield _counter(
            "config_reload_failures", "Changes of the configuration that were refused", self._reloader.failed
        )
        yield _gauge(
            "config_current", "1 while the newest configuration is in force", int(self._reloader.problem is None)
        )
        held = len(self._leases.held) if self._leases is not None else 0
        yield _gauge("leases_held", "Shards that this replica reports, 0 without leases", held)
        shards = self._leases.shards if self._leases is not None else 0
        yield _gauge("shards", "Shards that the work is divided into, 0 without leases", shards)
        yield from self._hosts()
        yield from self._watches()

    def _hosts(self) -> Iterator[Metric]:
        ill = _by_host("host_ill", "1 while something keeps statuses from arriving at the host")
        refused = _by_host("host_token_refused", "1 while the host refuses a token of ours")
        held = _by_host("host_held_seconds", "Until the host, or its account held longest, is asked again")
        waiting = _by_host("lanes_waiting", "Commits and contexts whose newest state has not arrived")
        oldest = _by_host("lanes_oldest_seconds", "Age of the oldest state that has not arrived")
        flying = _by_host("requests_in_flight", "Statuses that are being sent right now")
        left = _by_host(
            "rate_limit_remaining", "Requests left of the host's rate limit, of the account with the fewest"
        )
        for host in self._reporter.lanes.hosts.values():
            ill.add_metric([host.name], 0 if host.problem is None else 1)
            refused.add_metric([host.name], int(any(budget.refused for budget in host.budgets())))
            held.add_metric([host.name], host.held)
            waiting.add_metric([host.name], len(host.waiting))
            oldest.add_metric([host.name], host.oldest)
            flying.add_metric([host.name], host.circuit.in_flight)
            known = [budget.left for budget in host.budgets() if budget.left is not None]
            if known:
                left.add_metric([host.name], min(known))
        yield from (ill, refused, held, waiting, oldest, left, flying)

    def _watches(self) -> Iterator[Metric]:
        restarts = CounterMetricFamily(
            "tekton_listener_watch_restarts", "Watches begun anew after a failure", labels=["path"]
        )
        ill = GaugeMetricFamily("tekton_listener_watch_ill", "1 while a watch does not work", labels=["path"])
        skipped = CounterMetricFamily(
            "tekton_listener_objects_skipped", "Objects and events that could not be read", labels=["path"]
        )
        for reflector in self._runs.reflectors:
            restarts.add_metric([reflector.path], reflector.restarts)
            skipped.add_metric([reflector.path], reflector.skipped)
            ill.add_metric([reflector.path], 0 if reflector.problem is None else 1)
        yield ill
        yield restarts
        yield skipped


class _Logs:
    """What logs take, when somebody asks."""

    def __init__(self, recordings: Recordings, streams: Sized) -> None:
        self._recordings, self._streams = recordings, streams

    def collect(self) -> Iterable[Metric]:
        recordings = self._recordings
        yield _gauge("log_streams", "Log streams that are open", len(self._streams))
        yield _gauge("log_recordings", "Runs whose log is being recorded", recordings.at_work)
        yield _gauge("log_spool_bytes", "Bytes of all logs that are not in the archive only", recordings.size)
        yield _gauge("log_spool_busy_bytes", "Bytes of those that are written or read right now", recordings.busy)
        yield _gauge("log_spool_limit_bytes", "Bytes that all of them may have together", recordings.room.in_all)
        if (free := recordings.room.free) is not None:
            yield _gauge("log_spool_disk_free_bytes", "Bytes that are free on the disk where they are", free)
        yield _gauge("archive_ill", "1 while logs cannot be archived", int(recordings.problem is not None))
        yield _counter("logs_archived", "Finished logs put into the archive", recordings.kept)
        yield _counter("log_archive_failures", "Finished logs that could not be archived", recordings.not_kept)


class _Logins:
    """Who did not get in."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    def collect(self) -> Iterable[Metric]:
        yield _counter("logins_failed", "Logins with wrong credentials", self._logins.failed)
        yield _counter(
            "logins_throttled", "Logins that were not looked at after too many failures", self._logins.throttled
        )


def _by_host(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tekton_listener_{name}", what, labels=["host"])


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"tekton_listener_{name}", what, value=value)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tekton_listener_{name}", what, value=value)
