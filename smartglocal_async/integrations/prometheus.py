"""Metrics for Prometheus (extra ``prometheus``).

::

    observer = PrometheusObserver()
    api = SmartGlocal.from_env(settings=Settings(observers=[observer]))

The metrics are in the registry of `prometheus_client`, which your program exposes as usual:
``prometheus_client.start_http_server(9000)``, or ``make_asgi_app()``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

from attrs import frozen
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import REGISTRY, Collector

from ..errors import InvalidRequest
from ..observer.events import ObserverEvent
from ..observer.measurements import METRICS, Metric, MetricKind, measurements


class PrometheusObserver:
    """An observer that counts in a registry; for clients and for `Webhooks` alike.

    Make one for a registry, and share it between the clients and the `Webhooks` of a program.

    Raises:
        InvalidRequest: the registry has an observer, or other metrics of these names.

    """

    content_type: ClassVar[str] = CONTENT_TYPE_LATEST
    """The media type of what `exposition` returns."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        try:
            self._collectors = {metric.name: _collector(metric, registry) for metric in METRICS}
        except ValueError as error:
            words = "has metrics of another PrometheusObserver; share that one, or make a registry"
            raise InvalidRequest("registry", words) from error

    def __call__(self, event: ObserverEvent, /) -> None:
        """Add what an event measures."""
        for metric, value, labels in measurements(event):
            collector = self._collectors[metric.name]
            child = collector.labels(**labels) if metric.attributes else collector
            if isinstance(child, Histogram):
                child.observe(value)
            elif isinstance(child, Gauge) and metric.kind is MetricKind.GAUGE:
                child.set(value)
            else:
                child.inc(value)

    def exposition(self) -> bytes:
        """Return the metrics of the registry in Prometheus's text format."""
        return generate_latest(self.registry)


@frozen
class GaugeValues:
    """A gauge with its values, by the values of its labels."""

    name: str
    description: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


class GaugeReader(Collector):
    """Gauges that are read when they are asked for, with the metrics of the process."""

    content_type: ClassVar[str] = CONTENT_TYPE_LATEST
    """The media type of what `exposition` returns."""

    def __init__(self, read: Callable[[], Iterable[GaugeValues]]) -> None:
        self._read = read
        self._registry = own_registry()
        self._registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        for gauge in self._read():
            family = GaugeMetricFamily(gauge.name, gauge.description, labels=gauge.labels)
            for labels, value in gauge.values.items():
                family.add_metric(labels, value)
            yield family

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)


def own_registry() -> CollectorRegistry:
    """Return a new registry, with the metrics of the process and of Python."""
    registry = CollectorRegistry()
    for collect in (ProcessCollector, PlatformCollector, GCCollector):
        _ = collect(registry=registry)
    return registry


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name = metric.prometheus_name
    match metric.kind:
        case MetricKind.COUNTER:
            return Counter(name, metric.description, metric.attributes, registry=registry)
        case MetricKind.UP_DOWN | MetricKind.GAUGE:
            return Gauge(name, metric.description, metric.attributes, registry=registry)
        case MetricKind.HISTOGRAM:
            return Histogram(
                name,
                metric.description,
                metric.attributes,
                registry=registry,
                buckets=metric.buckets,
            )
