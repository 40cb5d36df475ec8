"""What an operator watches, in the text that Prometheus reads.

Counts are of this server process since it started: add them up over servers. What is in the queue
and which workers live is read from the store when asked, and is the same on every server: take any.
"""

import time
from collections.abc import Callable, Mapping
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rotoscope import __version__, telemetry
from rotoscope.jobs.job import State
from rotoscope.jobs.store import JobStore

log = telemetry.logger()

ALIVE_S = 60.0
"""A worker that was not heard of for longer is not counted."""
KEPT_S, COUNTS_KEPT_S = 10.0, 60.0
"""How long what the store said is told again: many may scrape. Counting jobs by state reads the
whole table, which may take long, or longer than the database allows: then that alone is missing."""
STAGE_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1200, 3600)
HTTP_BUCKETS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)


class Metrics:
    """The counters of one server; safe to use from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._submitted = self._counter("jobs_submitted", "Jobs that were queued.", "model")
        self._ended = self._counter(
            "jobs_ended", "Jobs that ended, by state and code.", "state", "code"
        )
        self._lost = self._counter("jobs_lost", "Attempts whose worker was given up for lost.")
        self._stages = self._histogram(
            "stage_seconds", "Seconds of each stage of succeeded jobs.", STAGE_BUCKETS, "stage"
        )
        self._http = self._histogram(
            "http_request_seconds",
            "Seconds until an answer was sent whole; claims and events wait on purpose.",
            HTTP_BUCKETS,
            "method", "route", "status",
        )  # fmt: skip
        self._webhooks = self._counter(
            "webhook_attempts", "Webhooks sent: delivered, retrying or failed for good.", "outcome"
        )

    def watch(self, store: JobStore) -> None:
        """Tell what is in `store` too."""
        self.registry.register(_StoreCollector(store))

    def job_submitted(self, model_id: str) -> None:
        self._submitted.labels(model_id).inc()

    def job_ended(
        self, state: State, code: str = "", seconds: Mapping[str, float] | None = None
    ) -> None:
        """A job is over; `seconds` are a succeeded one's, by stage."""
        self._ended.labels(state.value, code).inc()
        for stage, took_s in (seconds or {}).items():
            self._stages.labels(stage).observe(took_s)

    def job_lost(self) -> None:
        self._lost.inc()

    def http_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._http.labels(method, route, str(status)).observe(seconds)

    def webhook_tried(self, outcome: str) -> None:
        self._webhooks.labels(outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"rotoscope_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"rotoscope_{name}", text, labels, registry=self.registry, buckets=buckets)


class _StoreCollector(Collector):
    """Asks the store at scrapes; a store that is away is told by `rotoscope_store_up`."""

    def __init__(self, store: JobStore) -> None:
        self._lock = Lock()
        self._queue = _Kept(lambda: [*_of_pools(store), *_of_workers(store)])
        self._states = _Kept(lambda: [_of_states(store)])

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not need the database."""
        return []

    def collect(self) -> list[Metric]:
        with self._lock:
            queue, states = self._queue.get(KEPT_S), self._states.get(COUNTS_KEPT_S)
        version = _gauge("info", "This server.", "version")
        version.add_metric([__version__], 1)
        up = _gauge("store_up", "Whether the queue could be read.")
        up.add_metric([], 1 if queue else 0)
        return [version, up, *queue, *states]


class _Kept:
    """What the store said, for a while; nothing where it could not be asked."""

    def __init__(self, ask: Callable[[], list[Metric]]) -> None:
        self._ask = ask
        self._said: list[Metric] = []
        self._until = float("-inf")

    def get(self, seconds: float) -> list[Metric]:
        if time.monotonic() >= self._until:
            self._said = self._try()
            self._until = time.monotonic() + seconds
        return self._said

    def _try(self) -> list[Metric]:
        try:
            return self._ask()
        except Exception:
            log.exception("metrics_incomplete")
            return []


def _of_pools(store: JobStore) -> list[Metric]:
    queued = _gauge("queue_jobs", "Queued jobs.", "pool")
    oldest = _gauge("queue_oldest_seconds", "Age of the oldest queued job.", "pool")
    running = _gauge("running_jobs", "Running jobs.", "pool")
    paused = _gauge("pool_paused", "1 while nothing is handed out.", "pool")
    for pool in store.pools():
        queued.add_metric([pool.name], pool.queued)
        oldest.add_metric([pool.name], pool.oldest_s or 0)
        running.add_metric([pool.name], pool.running)
        paused.add_metric([pool.name], int(pool.paused))
    return [queued, oldest, running, paused]


def _of_states(store: JobStore) -> Metric:
    jobs = _gauge("jobs", "Jobs that are in the table, by state.", "state")
    counts = store.counts()
    for state in State:
        jobs.add_metric([state.value], counts.get(state, 0))
    return jobs


def _of_workers(store: JobStore) -> list[Metric]:
    alive = _gauge("workers", "Workers heard of in the last minute.", "pool")
    used = _gauge("worker_gpu_memory_used_bytes", "GPU memory in use.", "worker")
    total = _gauge("worker_gpu_memory_total_bytes", "GPU memory there is.", "worker")
    by_pool: dict[str, int] = {}
    for worker in store.workers(ALIVE_S):
        by_pool[worker.pool] = by_pool.get(worker.pool, 0) + 1
        for family, fact in ((used, "gpu_memory_used_bytes"), (total, "gpu_memory_total_bytes")):
            if isinstance(value := worker.facts.get(fact), int | float):
                family.add_metric([worker.worker_id], value)
    for pool, count in by_pool.items():
        alive.add_metric([pool], count)
    return [alive, used, total]


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"rotoscope_{name}", text, labels=labels)
