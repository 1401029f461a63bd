"""Prometheus metrics: plain numbers on the hot path, families only when somebody scrapes.

One `Metrics` object per app, with its own registry. This module must not know where its numbers come from.
Its methods are called from the event loop, and `journal_committed` from the journal's one writer thread: every number
has one writer, so that no lock is needed. Counting costs 0.1 to 0.4 us (prometheus-client's own objects: 1 to 3 us).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.bundle import Manifest
from service.stages import Stage

LATENCY_BUCKETS: Final = (
    0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.045, 0.07, 0.1,
)  # fmt: skip
"""Upper bounds in seconds: 0.25 ms to 100 ms, with the default budget of 45 ms as one of them."""

STAGE_BUCKETS: Final = (
    0.000002, 0.000005, 0.00001, 0.00002, 0.00003, 0.00005, 0.000075, 0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.001,
    0.002, 0.005, 0.01, 0.045,
)  # fmt: skip
"""Upper bounds in seconds of one stage of a request: 2 us to the default budget of 45 ms."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
"""Of a scrape; Litestar adds the charset."""
_MOST_DEGRADED_CODES: Final = 64


class Histogram:
    """Counts of durations in fixed buckets."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, count up to it) as Prometheus wants them."""
        running = 0
        buckets = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return buckets


class Endpoint:
    """Requests of one route: latency, and a count by status."""

    __slots__ = ("latency", "statuses")

    def __init__(self) -> None:
        self.latency = Histogram()
        self.statuses: dict[int, int] = {}

    def observe(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.latency.observe(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Metrics:
    """Everything the service counts.

    `registry` is open to other collectors of the same app; `scrape` renders all of it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Families(self))
        # Memory, processor time, open files and start of this process, read from /proc by a scrape (elsewhere: nothing).
        ProcessCollector(registry=self.registry)
        self.endpoints: dict[str, Endpoint] = {}
        self.decisions: dict[tuple[str, str], int] = {}
        self.degraded_codes: dict[str, int] = {}
        self.outcomes: dict[tuple[str, str, str], int] = {}
        self.stages: dict[tuple[str, Stage], Histogram] = {}
        self.unexpected: dict[str, int] = {}
        self.unreadable: dict[tuple[str, str], int] = {}
        self.journal_latency = Histogram()
        self.journal_events = 0
        self.journal_batches = 0
        self.journal_lost = 0
        self.journal_queue: Callable[[], int] = int
        self.journal_failing: Callable[[], bool] = bool
        self.journal_free: Callable[[], int] = int
        self.bundle: Callable[[], Manifest | None] = _no_bundle
        self.engines: Callable[[], Mapping[str, str]] = dict
        self.in_flight: Callable[[], int] = int
        self.connections: Callable[[], int] = int
        self.let_go: Mapping[str, int] = {}
        self.restarts: int | None = None
        self.store_refusing: Callable[[], Sequence[str]] = tuple
        self.store_behind: Callable[[], bool] = bool
        self.store_written: Callable[[], Mapping[str, int]] = dict
        self.store_left_out: Callable[[], Mapping[str, int]] = dict

    def endpoint(self, route: str) -> Endpoint:
        """Return the counters of a route, to be fetched once at start; `route` is a template without ids."""
        return self.endpoints.setdefault(route, Endpoint())

    def decision(self, kind: str, action: str, degraded: Iterable[str]) -> None:
        """Count one decision by kind and action (or verdict), and everything it had to do without."""
        key = (kind, action)
        self.decisions[key] = self.decisions.get(key, 0) + 1
        for code in degraded:
            if code not in self.degraded_codes and len(self.degraded_codes) >= _MOST_DEGRADED_CODES:
                code = "other"
            self.degraded_codes[code] = self.degraded_codes.get(code, 0) + 1

    def outcome(self, kind: str, status: str | None, result: str) -> None:
        """Count one reported outcome."""
        key = (kind, status or "none", result)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def stages_spent(self, kind: str, spent: Mapping[Stage, int]) -> None:
        """Count the stages of one request of a kind, in nanoseconds each."""
        for stage, nanoseconds in spent.items():
            histogram = self.stages.get((kind, stage))
            if histogram is None:
                histogram = self.stages[kind, stage] = Histogram(STAGE_BUCKETS)
            histogram.observe(nanoseconds / 1e9)

    def state_unreadable(self, kind: str, trouble: str) -> None:
        """Count an entity's state that could not be read, and so counted as never seen."""
        self.unreadable[kind, trouble] = self.unreadable.get((kind, trouble), 0) + 1

    def error(self, route: str) -> None:
        """Count an answer of 500: a bug."""
        self.unexpected[route] = self.unexpected.get(route, 0) + 1

    def journal_committed(self, events: int, seconds: float) -> None:
        """Count one batch made durable, and how long at most any of its events waited for that."""
        self.journal_batches += 1
        self.journal_events += events
        self.journal_latency.observe(seconds)

    def journal_failed(self, events: int) -> None:
        """Count events that could not be made durable."""
        self.journal_lost += events

    async def scrape_alone(self) -> bytes:
        """Render everything, of the only process there is."""
        return self.scrape()

    def scrape(self) -> bytes:
        """Render everything in the Prometheus text format."""
        return generate_latest(self.registry)


def _no_bundle() -> None:
    return None


class _Families(Collector):
    """Turns the plain numbers into metric families when they are scraped."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._server()
        yield from self._answers()
        yield from self._journal()
        yield from self._store()
        yield from self._bundle()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "pointsman_requests", "Requests by route and status.", labels=["route", "status"]
        )
        latency = HistogramMetricFamily(
            "pointsman_request_seconds", "From the first byte of a request to its answer.", labels=["route"]
        )
        for route, endpoint in list(self._metrics.endpoints.items()):
            for status, count in list(endpoint.statuses.items()):
                requests.add_metric([route, str(status)], count)
            latency.add_metric([route], endpoint.latency.cumulative(), endpoint.latency.total)
        errors = CounterMetricFamily("pointsman_unexpected_errors", "Answers of 500: bugs.", labels=["route"])
        # From the start, at zero: of a series that begins at 1 Prometheus sees no increase.
        for route in dict.fromkeys((*self._metrics.endpoints, *self._metrics.unexpected)):
            errors.add_metric([route], self._metrics.unexpected.get(route, 0))
        stages = HistogramMetricFamily(
            "pointsman_stage_seconds", "Time by stage, of the requests that are timed.", labels=["kind", "stage"]
        )
        for (kind, stage), histogram in list(self._metrics.stages.items()):
            stages.add_metric([kind, stage], histogram.cumulative(), histogram.total)
        yield requests
        yield latency
        yield stages
        yield errors

    def _server(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield GaugeMetricFamily("pointsman_requests_in_flight", "Requests under way.", value=metrics.in_flight())
        yield GaugeMetricFamily("pointsman_connections", "Connections open.", value=metrics.connections())
        let_go = CounterMetricFamily(
            "pointsman_clients_let_go", "Connections ended because the client did not go on, by where.", labels=["at"]
        )
        for at, count in list(metrics.let_go.items()):
            let_go.add_metric([at], count)
        yield let_go
        if metrics.restarts is not None:
            yield GaugeMetricFamily(
                "pointsman_worker_restarts", "How often this worker was started again.", value=metrics.restarts
            )

    def _answers(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "pointsman_decisions", "Decisions by kind and action or verdict.", labels=["kind", "action"]
        )
        for (kind, action), count in list(self._metrics.decisions.items()):
            decisions.add_metric([kind, action], count)
        degraded = CounterMetricFamily(
            "pointsman_degraded", "Decisions that had to do without something, by what.", labels=["code"]
        )
        for code, count in list(self._metrics.degraded_codes.items()):
            degraded.add_metric([code], count)
        outcomes = CounterMetricFamily(
            "pointsman_outcomes", "Outcomes reported, and what was done.", labels=["kind", "status", "result"]
        )
        for key, count in list(self._metrics.outcomes.items()):
            outcomes.add_metric(list(key), count)
        unreadable = CounterMetricFamily(
            "pointsman_state_unreadable",
            "States of another version, or corrupt, taken as never seen.",
            labels=["entity", "trouble"],
        )
        for (kind, trouble), count in list(self._metrics.unreadable.items()):
            unreadable.add_metric([kind, trouble], count)
        yield decisions
        yield degraded
        yield outcomes
        yield unreadable

    def _journal(self) -> Iterator[Metric]:
        metrics = self._metrics
        latency = HistogramMetricFamily(
            "pointsman_journal_append_seconds", "From the first append of a batch to durable, by batch."
        )
        latency.add_metric([], metrics.journal_latency.cumulative(), metrics.journal_latency.total)
        yield latency
        yield CounterMetricFamily("pointsman_journal_events", "Events made durable.", value=metrics.journal_events)
        yield CounterMetricFamily("pointsman_journal_batches", "Commits of the journal.", value=metrics.journal_batches)
        yield CounterMetricFamily("pointsman_journal_lost", "Events not made durable.", value=metrics.journal_lost)
        yield GaugeMetricFamily(
            "pointsman_journal_queue", "Events waiting for a commit.", value=metrics.journal_queue()
        )
        yield GaugeMetricFamily(
            "pointsman_journal_failing", "1 while the journal takes nothing.", value=float(metrics.journal_failing())
        )
        yield GaugeMetricFamily(
            "pointsman_journal_free_bytes", "Free space of the journal's disk.", value=metrics.journal_free()
        )

    def _store(self) -> Iterator[Metric]:
        metrics = self._metrics
        refusing = GaugeMetricFamily(
            "pointsman_store_refusing",
            "1 while calls of this sort are not made, for the store does not answer.",
            labels=["call"],
        )
        refused = metrics.store_refusing()
        for call in ("reads", "claims", "behind", "outcomes"):
            refusing.add_metric([call], float(call in refused))
        yield refusing
        yield GaugeMetricFamily(
            "pointsman_store_behind", "1 while the store may lack updates.", value=float(metrics.store_behind())
        )
        written = CounterMetricFamily(
            "pointsman_store_written_later", "Events that the store missed and was given later.", labels=["kind"]
        )
        for kind, count in metrics.store_written().items():
            written.add_metric([kind], count)
        yield written
        left_out = CounterMetricFamily(
            "pointsman_store_left_out",
            "Events that the store may lack and will not be given, by why.",
            labels=["reason"],
        )
        for reason, count in metrics.store_left_out().items():
            left_out.add_metric([reason], count)
        yield left_out

    def _bundle(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "pointsman_bundle_info", "The active bundle.", labels=["version", "fingerprint", "policy"]
        )
        created = GaugeMetricFamily("pointsman_bundle_created_timestamp_seconds", "When the active bundle was made.")
        manifest = self._metrics.bundle()
        if manifest is not None:
            info.add_metric([manifest.version, manifest.feature_fingerprint, manifest.policy.version], 1)
            created.add_metric([], manifest.created_at.timestamp())
        engines = GaugeMetricFamily(
            "pointsman_model_engine", "1 for what evaluates a model of the active bundle.", labels=["model", "engine"]
        )
        for model, engine in self._metrics.engines().items():
            engines.add_metric([model, engine], 1)
        yield info
        yield created
        yield engines
