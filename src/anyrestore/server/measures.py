"""What /metrics says: counts and times in Prometheus's text, in a registry of the application's own.

Labels come from fixed tables: no client can make new ones. Nothing names a client, a picture or a version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from anyrestore.server.orders import Load

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 240)


class Measures:
    """The counters of one application.

    Args:
        ready: whether every worker can work.
        load: what is going on in the engine.
        bytes_in_flight: of uploads that are being received or wait, and of what the page keeps.
    """

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(
        self, *, ready: Callable[[], bool], load: Callable[[], Load], bytes_in_flight: Callable[[], int]
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "anyrestore_requests",
            "Requests that were answered.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._errors = Counter(
            "anyrestore_errors", "Answers that were errors.", ("code",), registry=self._registry
        )
        self._seconds = Histogram(
            "anyrestore_request_seconds",
            "From a request's headers to its answer's end.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._work = Histogram(
            "anyrestore_restore_seconds",
            "That a worker took for a picture.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._pixels = Counter(
            "anyrestore_pixels", "Pixels that were restored.", ("model",), registry=self._registry
        )
        left = "Clients that left before their answer."
        self._left = Counter("anyrestore_clients_left", left, registry=self._registry)
        open_now = "Requests that are being answered."
        self.open = Gauge("anyrestore_requests_open", open_now, registry=self._registry)
        self._gauge("anyrestore_ready", "Whether every worker can work.", ready)
        self._gauge("anyrestore_upload_bytes", "Of uploads received or waiting.", bytes_in_flight)
        self._gauge("anyrestore_orders_waiting", "Pictures that wait for a worker.", lambda: load().waiting)
        self._gauge("anyrestore_orders_running", "Pictures that workers have.", lambda: load().running)
        self._gauge("anyrestore_pixels_in", "Pixels that are let in.", lambda: load().pixels)
        self._gauge("anyrestore_workers", "Workers that have their models.", lambda: load().workers)
        restarts = "Workers that were started in the place of one that ended."
        self._registry.register(_Counted("anyrestore_worker_restarts", restarts, lambda: load().restarts))

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` and `method` are from fixed tables."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def failed(self, code: str) -> None:
        """Count an error by its code."""
        self._errors.labels(code).inc()

    def left(self) -> None:
        """Count a client that did not wait."""
        self._left.inc()

    def restored(self, model: str, pixels: int, seconds: float) -> None:
        """Count a picture."""
        self._work.labels(model).observe(seconds)
        self._pixels.labels(model).inc(pixels)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        Gauge(name, meaning, registry=self._registry).set_function(value)


class _Counted(Collector):
    """A counter that somebody else keeps."""

    def __init__(self, name: str, meaning: str, value: Callable[[], int]) -> None:
        self._name, self._meaning, self._value = name, meaning, value

    def collect(self) -> Iterable[Metric]:
        """As Prometheus's registry asks for it."""
        yield CounterMetricFamily(self._name, self._meaning, value=self._value())
