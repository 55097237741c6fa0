"""Metrics for Prometheus: this process's own, and all workers' through the store."""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepocr.service.http.context import Service
from deepocr.service.state.store import Store, StoreUnavailableError

# what workers count under `family:label` in the store
_SHARED: tuple[tuple[str, str, str, str], ...] = (
    ("tasks", "deepocr_tasks", "Tasks that became final", "state"),
    ("pages", "deepocr_pages", "Pages that were settled", "status"),
    ("verdicts", "deepocr_verdicts", "Pages that were checked", "verdict"),
    ("tokens", "deepocr_tokens", "Tokens of engines that count in tokens", "kind"),
    ("stage_s", "deepocr_stage_seconds", "Seconds that pages spent in each stage", "stage"),
    ("stage_n", "deepocr_stage_pages", "Pages that went through each stage", "stage"),
)


class _Shared(Collector):
    """The last values read from the store."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


async def shared_figures(service: Service) -> Collector:
    """Current values; if the store does not answer, only the fact that it does not."""
    up = GaugeMetricFamily("deepocr_queue_up", "1 when the queue can be reached")
    families: list[Metric] = [up]
    try:
        families += await service.ask(lambda: [*_counters(service.store), *_gauges(service.store)])
        up.add_metric([], 1)
    except StoreUnavailableError:
        up.add_metric([], 0)
    return _Shared(families)


def _counters(store: Store) -> Iterator[Metric]:
    counters = store.counters()
    for family, name, text, label in _SHARED:
        metric = CounterMetricFamily(name, text, labels=[label])
        for key, value in sorted(counters.items()):
            prefix, _, rest = key.partition(":")
            if prefix == family:
                metric.add_metric([rest], value)
        yield metric


def _gauges(store: Store) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("deepocr_tasks_waiting", "Tasks not begun", labels=["lane"])
    for lane, count in store.pending().items():
        waiting.add_metric([lane], count)
    yield waiting
    workers = store.workers()
    ready = GaugeMetricFamily("deepocr_workers", "Workers with an engine that is ready")
    ready.add_metric([], len(workers))
    yield ready
    for key, name, text in (
        ("pages_running", "deepocr_pages_running", "Pages that are read now"),
        ("pages_at_once", "deepocr_pages_at_once", "Pages the worker can read at once"),
        ("device_memory_bytes", "deepocr_device_memory_bytes", "GPU memory held"),
    ):
        gauge = GaugeMetricFamily(name, text, labels=["worker", "engine"])
        for worker_id, info in workers.items():
            gauge.add_metric([worker_id, info["engine"]], info[key])
        yield gauge
    start = GaugeMetricFamily(
        "deepocr_start_seconds", "Of the engine's start", labels=["worker", "engine", "stage"]
    )
    for worker_id, info in workers.items():
        for stage, seconds in info["start_s"].items():
            start.add_metric([worker_id, info["engine"], stage], seconds)
    yield start


class RequestFigures:
    """ASGI middleware: requests by route and status, and how long they took."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "deepocr_requests", "HTTP requests", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "deepocr_request_seconds", "Until the answer was sent", ["route"], registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            # the route's pattern, not the path: every task id would become a time series
            route = getattr(scope.get("route"), "path", "other")
            self._requests.labels(_method(scope["method"]), route, str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - started_s)


def _method(method: str) -> str:
    """The method, with unknown ones as one: clients may send any word."""
    known = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
    return method if method in known else "other"
