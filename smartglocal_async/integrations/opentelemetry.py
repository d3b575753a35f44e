"""Traces and metrics for OpenTelemetry (extra ``opentelemetry``).

::

    observer = OpenTelemetryObserver()
    api = SmartGlocal.from_env(settings=Settings(observers=[observer]))

A call is a span, and each of its attempts an HTTP client span in it, by the semantic conventions
for HTTP. A payout is a span around its calls and its commits to the journal. The handlers of
a webhook run in a span that is linked to the call that caused it. Spans have the current span of
your program as their parent, and are current themselves, so that what runs in them is in the trace.

No header is added to a request, as the provider takes no part in the trace.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any, Final

from attrs import define, field
from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)
from yarl import URL

from ..envelope import AttemptResult
from ..error_codes import KNOWN_CODES
from ..observer.events import (
    AttemptEnded,
    AttemptStarted,
    BatchProgress,
    CallEnded,
    CallHeld,
    CallStarted,
    ClientPaused,
    JournalWritten,
    KeyShared,
    ObserverEvent,
    PayoutEnded,
    PayoutsHaltRaised,
    PayoutStarted,
    PoolWaited,
    RequestSigned,
    RetryScheduled,
    WebhookFailed,
    WebhookHandled,
    WebhookStarted,
    facts,
    shown_code,
)
from ..observer.measurements import (
    ATTEMPT_DURATION,
    METRICS,
    Metric,
    MetricKind,
    known_operation,
    measurements,
)

_NAME: Final = "smartglocal_async"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
"""The names below are those of this version; the tests compare them with the package
`opentelemetry-semantic-conventions`."""
_PREFIX: Final = "smartglocal."
_METHOD: Final = "http.request.method"
_RESENDS: Final = "http.request.resend_count"
_STATUS_CODE: Final = "http.response.status_code"
_ADDRESS: Final = "server.address"
_PORT: Final = "server.port"
_URL: Final = "url.full"
_SCHEME: Final = "url.scheme"
_TEMPLATE: Final = "url.template"
_ERROR_TYPE: Final = "error.type"
_REQUEST_DURATION: Final = "http.client.request.duration"
_HTTP_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_LEFT_OUT: Final = frozenset(
    {"call", "for_call", "with_call", "payout", "delivery", "elapsed_seconds", "method", "url"}
)
"""Facts that a span shows in another way."""
_MAX_CAUSES: Final = 10_000
_NANOSECONDS: Final = 1_000_000_000
_FAULT: Final = 400
_EXCEPTION: Final = re.compile(r"([A-Z][A-Za-z]*(?:Error|Failed|Again|Disconnected))\b")

Attributes = dict[str, str | int | float | bool]
Place = tuple[str, int]
"""What a span is of, and its number."""


@define(eq=False)
class _Open:
    """A span that didn't end yet."""

    span: Span
    token: Token[Context]
    begun: float
    http: Attributes = field(factory=Attributes)
    """The attributes of the metric of an attempt."""


class OpenTelemetryObserver:
    """An observer that makes spans and metrics; for clients and for `Webhooks` alike.

    Share one between the clients and the `Webhooks` of a program, so that a webhook is linked to
    the call that caused it. Without providers, those that OpenTelemetry has set globally are used;
    ``clock`` returns nanoseconds since 1970.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider, schema_url=_SCHEMA)
        self._clock = clock
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider, schema_url=_SCHEMA)
        self._instruments: dict[str, Any] = {
            metric.name: _instrument(meter, metric)
            for metric in METRICS
            if metric is not ATTEMPT_DURATION
        }
        self._requests = meter.create_histogram(
            _REQUEST_DURATION,
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_HTTP_BUCKETS,
        )
        self._open: dict[Place, _Open] = {}
        # By session: the last call that changed it, in this process.
        self._causes: OrderedDict[str, SpanContext] = OrderedDict()

    def __call__(self, event: ObserverEvent, /) -> None:
        """Make spans and metrics of an event."""
        for metric, value, labels in measurements(event):
            if metric is not ATTEMPT_DURATION:
                self._measure(metric, value, labels)
        self._trace(event)

    def _measure(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        instrument = self._instruments[metric.name]
        attributes = {f"{_PREFIX}{name}": text for name, text in labels.items()}
        if metric.kind is MetricKind.HISTOGRAM:
            instrument.record(value, attributes)
        elif metric.kind is MetricKind.GAUGE:
            instrument.set(value, attributes)
        else:
            instrument.add(value, attributes)

    def _trace(self, event: ObserverEvent) -> None:
        match event:
            case CallStarted() | CallEnded() | AttemptStarted() | AttemptEnded():
                self._trace_call(event)
            case RequestSigned() | JournalWritten():
                self._add_span(event)
            case RetryScheduled() | ClientPaused() | CallHeld() | PoolWaited() | KeyShared():
                self._add_event(event)
            case PayoutStarted() | PayoutEnded():
                self._trace_payout(event)
            case WebhookStarted() | WebhookHandled():
                self._trace_webhook(event)
            case PayoutsHaltRaised() | WebhookFailed() | BatchProgress():
                # Part of the span that is current, if there is one.
                trace.get_current_span().add_event(event.name, _attributes(event))
            case _:
                return

    # --- Calls ---------------------------------------------------------------------------------

    def _trace_call(self, event: CallStarted | CallEnded | AttemptStarted | AttemptEnded) -> None:
        match event:
            case CallStarted():
                self._start(("call", event.call), event.operation, _attributes(event))
            case CallEnded():
                self._end_call(event)
            case AttemptStarted():
                self._start_attempt(event)
            case AttemptEnded():
                self._end_attempt(event)

    def _end_call(self, event: CallEnded) -> None:
        ended = self._end(("call", event.call), _attributes(event), event.error)
        if ended is not None and event.session_id and event.operation != "session/status":
            self._causes[event.session_id] = ended.span.get_span_context()
            self._causes.move_to_end(event.session_id)
            while len(self._causes) > _MAX_CAUSES:
                _ = self._causes.popitem(last=False)

    def _start_attempt(self, event: AttemptStarted) -> None:
        url = URL(event.url)
        http: Attributes = {_METHOD: event.method, _ADDRESS: url.host or "", _SCHEME: url.scheme}
        if url.port is not None:
            http[_PORT] = url.port
        attributes = http | {
            _URL: str(facts(event)["url"]),
            f"{_PREFIX}operation": known_operation(event.operation),
        }
        if event.attempt > 1:
            attributes[_RESENDS] = event.attempt - 1
        name = event.method
        if known_operation(event.operation) == event.operation:
            name, attributes[_TEMPLATE] = f"{name} {url.path}", url.path
        place = "attempt", event.call
        self._start(place, name, attributes, kind=SpanKind.CLIENT, http=http)

    def _end_attempt(self, event: AttemptEnded) -> None:
        place = "attempt", event.call
        if place not in self._open:
            return  # It got no slot in the pool, so nothing was sent.
        found: Attributes = {}
        if event.http_status is not None:
            found[_STATUS_CODE] = event.http_status
        if event.happened is not None:
            found[f"{_PREFIX}happened"] = event.happened.value
        error = error_type(event)
        ended = self._end(place, found, error)
        if ended is None:
            return
        _ = found.pop(f"{_PREFIX}happened", None)
        if error is not None:
            found[_ERROR_TYPE] = error
        self._requests.record(self._now() - ended.begun, ended.http | found)

    def _add_event(
        self, event: RetryScheduled | ClientPaused | CallHeld | PoolWaited | KeyShared
    ) -> None:
        call = self._open.get(("call", event.call))
        if call is None:
            return
        call.span.add_event(event.name, _attributes(event))
        if isinstance(event, KeyShared):
            other = self._open.get(("call", event.with_call))
            if other is not None:
                call.span.add_link(other.span.get_span_context())

    def _add_span(self, event: RequestSigned | JournalWritten) -> None:
        """Make a span of something that took its time and is over."""
        name = "sign" if isinstance(event, RequestSigned) else f"journal {event.written or 'claim'}"
        ends = self._clock()
        span = self._tracer.start_span(
            name,
            attributes=_attributes(event),
            start_time=ends - int(event.seconds * _NANOSECONDS),
        )
        if isinstance(event, JournalWritten) and event.error is not None:
            _fail(span, event.error)
        span.end(ends)

    # --- Payouts and webhooks ------------------------------------------------------------------

    def _trace_payout(self, event: PayoutStarted | PayoutEnded) -> None:
        place = "payout", event.payout
        if isinstance(event, PayoutStarted):
            self._start(place, "payout", _attributes(event))
        else:
            error = event.error or ("unknown" if event.state == "unknown" else None)
            _ = self._end(place, _attributes(event), error)

    def _trace_webhook(self, event: WebhookStarted | WebhookHandled) -> None:
        place = "webhook", event.delivery
        if isinstance(event, WebhookHandled):
            _ = self._end(place, _attributes(event), None if event.is_handled else "handler")
            return
        cause = self._causes.get(event.session_id or "")
        parent, links = None, [] if cause is None else [Link(cause)]
        if cause is not None and not trace.get_current_span().get_span_context().is_valid:
            # Without a span of the server, the webhook is shown in the trace of its cause.
            parent = trace.set_span_in_context(trace.NonRecordingSpan(cause))
        self._start(
            place,
            f"webhook {shown_code(event.type)}" if event.type else "webhook",
            _attributes(event),
            kind=SpanKind.CONSUMER,
            parent=parent,
            links=links,
        )

    # --- Spans ---------------------------------------------------------------------------------

    def _start(  # noqa: PLR0913 - what a span is made of
        self,
        place: Place,
        name: str,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: Context | None = None,
        links: list[Link] | None = None,
        http: Attributes | None = None,
    ) -> None:
        """Start a span, and make it the current one until it ends."""
        span = self._tracer.start_span(
            name, parent, kind, attributes, links, start_time=self._clock()
        )
        token = context.attach(trace.set_span_in_context(span))
        self._open[place] = _Open(span, token, self._now(), http or {})

    def _end(self, place: Place, attributes: Attributes, error: str | None) -> _Open | None:
        opened = self._open.pop(place, None)
        if opened is None:
            return None
        opened.span.set_attributes(attributes)
        if error is not None:
            _fail(opened.span, error)
        opened.span.end(self._clock())
        context.detach(opened.token)
        return opened

    def _now(self) -> float:
        return self._clock() / _NANOSECONDS


def error_type(event: AttemptEnded) -> str | None:
    """Return the ``error.type`` of an attempt; None if it succeeded.

    The HTTP status from 400 on; else the provider's code if it is documented, the class of the
    exception below HTTP, or what happened, such as ``unknown`` or ``refused``.
    """
    if event.happened is AttemptResult.ACCEPTED:
        return None
    if event.http_status is not None and event.http_status >= _FAULT:
        return str(event.http_status)
    if event.happened is None:
        return "cancelled"
    if event.code in KNOWN_CODES:
        return event.code
    found = _EXCEPTION.match(event.cause or "")
    return found[1] if found is not None else event.happened.name.lower()


def _fail(span: Span, error: str) -> None:
    span.set_attribute(_ERROR_TYPE, error)
    span.set_status(Status(StatusCode.ERROR))


def _attributes(event: ObserverEvent) -> Attributes:
    shown = facts(event)
    return {f"{_PREFIX}{name}": shown[name] for name in shown if name not in _LEFT_OUT}


def _instrument(meter: metrics.Meter, metric: Metric) -> object:
    name, unit, description = metric.name, metric.unit, metric.description
    match metric.kind:
        case MetricKind.COUNTER:
            return meter.create_counter(name, unit, description)
        case MetricKind.UP_DOWN:
            return meter.create_up_down_counter(name, unit, description)
        case MetricKind.GAUGE:
            return meter.create_gauge(name, unit, description)
        case MetricKind.HISTOGRAM:
            return meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=metric.buckets
            )
