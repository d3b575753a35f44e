"""Spans and metrics, read from the SDK's exporters in memory, by the semantic conventions."""

import asyncio
import io
import json

import pytest
from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import url_attributes as new_url_attributes
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.metrics import http_metrics
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.integrations import opentelemetry
from smartglocal_async.integrations.opentelemetry import OpenTelemetryObserver, error_type
from smartglocal_async.observer import AttemptEnded
from smartglocal_async.observer.measurements import METRICS

REQUEST = sg.CreateSession(metadata={"order": 1})


class Telemetry:
    """An observer with providers of its own, and what they collected."""

    def __init__(self) -> None:
        self.console = io.StringIO()
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._data: MetricsData | None = None
        self.tracers = TracerProvider()
        for exporter in (self._exporter, ConsoleSpanExporter(out=self.console)):
            self.tracers.add_span_processor(SimpleSpanProcessor(exporter))
        self.observer = OpenTelemetryObserver(self.tracers, MeterProvider([self._reader]))
        self.settings = sg.Settings(observers=[self.observer], timing=QUICK.timing)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Return the ended spans, all or those of a name."""
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if name in {None, span.name}]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        [span] = self.spans(name)
        return span

    def points(self, name: str) -> list[tuple[dict, float]]:
        """Return the points of a metric: attributes, and value or number of observations.

        They are collected at the first call: an older SDK shows a gauge only once.
        """
        data = self._data = self._data or self._reader.get_metrics_data()
        found = [
            metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [
            (dict(point.attributes), getattr(point, "value", getattr(point, "count", None)))
            for metric in found
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry() -> Telemetry:
    """Return an observer with providers in memory."""
    return Telemetry()


def faulty(run_provider, *faults: Fault):
    """Return a provider with these faults."""
    return run_provider(faults=FaultScript(faults))


def test_names_are_those_of_the_conventions() -> None:
    """Compared with the package of the semantic conventions."""
    assert opentelemetry._METHOD == http_attributes.HTTP_REQUEST_METHOD
    assert opentelemetry._RESENDS == http_attributes.HTTP_REQUEST_RESEND_COUNT
    assert opentelemetry._STATUS_CODE == http_attributes.HTTP_RESPONSE_STATUS_CODE
    assert opentelemetry._ADDRESS == server_attributes.SERVER_ADDRESS
    assert opentelemetry._PORT == server_attributes.SERVER_PORT
    assert opentelemetry._URL == url_attributes.URL_FULL
    assert opentelemetry._SCHEME == url_attributes.URL_SCHEME
    assert opentelemetry._TEMPLATE == new_url_attributes.URL_TEMPLATE
    assert opentelemetry._ERROR_TYPE == error_attributes.ERROR_TYPE
    assert opentelemetry._REQUEST_DURATION == http_metrics.HTTP_CLIENT_REQUEST_DURATION
    assert opentelemetry._SCHEMA in {schema.value for schema in Schemas}


async def test_a_call_that_is_retried(telemetry, run_provider, connect) -> None:
    """A span of the call, with one client span for each attempt; the second has a resend count."""
    provider = faulty(run_provider, Fault(FaultKind.SERVER_ERROR, nth=(1,)))
    api = connect(provider, settings=telemetry.settings)
    session = await api.session.create(REQUEST, key="order-1")

    call = telemetry.one("session/create")
    assert call.kind is SpanKind.INTERNAL
    assert call.status.status_code is StatusCode.UNSET
    assert call.attributes["smartglocal.key"] == "order-1"
    assert call.attributes["smartglocal.session_id"] == session.id
    assert call.attributes["smartglocal.attempts"] == 2
    assert [event.name for event in call.events] == ["retry.scheduled"]
    first, second = telemetry.spans("POST /api/v1/session/create")
    for attempt in (first, second):
        assert attempt.kind is SpanKind.CLIENT
        assert attempt.parent.span_id == call.context.span_id
        assert attempt.attributes["http.request.method"] == "POST"
        assert attempt.attributes["server.address"] == "127.0.0.1"
        assert attempt.attributes["server.port"] == int(provider.url.rpartition(":")[2])
        assert attempt.attributes["url.full"] == f"{provider.url}/api/v1/session/create"
        assert attempt.attributes["url.template"] == "/api/v1/session/create"
    assert first.attributes["http.response.status_code"] == 503
    assert first.attributes["error.type"] == "503"
    assert first.status.status_code is StatusCode.ERROR
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["http.response.status_code"] == 200
    assert "error.type" not in second.attributes
    assert telemetry.one("sign").parent.span_id == first.context.span_id


async def test_a_call_that_fails(telemetry, run_provider, connect) -> None:
    """The call has the class of its error."""
    provider = faulty(run_provider, Fault(FaultKind.BEFORE, rate=1))
    with pytest.raises(sg.CallFailed):
        _ = await connect(provider, settings=telemetry.settings).session.create(REQUEST)

    call = telemetry.one("session/create")
    assert call.status.status_code is StatusCode.ERROR
    assert call.attributes["error.type"] == "OutcomeUnknown"
    attempts = telemetry.spans("POST /api/v1/session/create")
    assert {span.attributes["error.type"] for span in attempts} == {"ServerDisconnectedError"}


async def test_the_parent_is_the_programs_own_span(telemetry, provider, connect) -> None:
    """The context of the caller is used, and is current again after the call."""
    api = connect(provider, settings=telemetry.settings)
    tracer = telemetry.tracers.get_tracer("shop")
    with tracer.start_as_current_span("checkout") as own:
        _ = await api.session.create(REQUEST)
        with tracer.start_as_current_span("after") as after:
            assert after.parent.span_id == own.get_span_context().span_id

    assert telemetry.one("session/create").parent.span_id == own.get_span_context().span_id


async def test_a_key_that_is_shared(telemetry, provider, connect) -> None:
    """The call that joined is linked to the one in progress."""
    api = connect(provider, settings=telemetry.settings)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            _ = group.create_task(api.session.create(REQUEST, key="a"))

    calls = telemetry.spans("session/create")
    [joined] = [span for span in calls if span.links]
    [first] = [span for span in calls if not span.links]
    assert joined.links[0].context.span_id == first.context.span_id
    assert len(telemetry.spans("POST /api/v1/session/create")) == 1
    assert telemetry.points("smartglocal.key.shared") == [
        ({"smartglocal.operation": "session/create"}, 1)
    ]


async def test_one_payout_in_one_picture(telemetry, run_provider, key, journal) -> None:
    """Calls, attempts, commits and the webhook are one trace, also in a console exporter."""
    provider = faulty(run_provider, Fault(FaultKind.BEFORE, nth=(1,), operation="session/create"))
    handled = asyncio.Event()
    webhooks = sg.Webhooks(sg.WebhookVerifier(provider.webhook_key), observers=[telemetry.observer])
    async with (
        sg.SmartGlocal(provider.project, key, provider.url, settings=telemetry.settings) as api,
        sg.Payouts(api, journal) as payouts,
        webhooks,
    ):

        @webhooks.on(sg.WebhookEvent)
        async def handle(event: sg.WebhookEvent) -> None:
            _ = await payouts.handle_event(event)
            handled.set()

        assert (await payouts.pay(order())).is_paid
        session = await api.session.status(sg.SessionRef("ps_1"))
        _ = await webhooks.accept(sg.PaymentFinished(type="payment_finished", session=session))
        await handled.wait()

    payout = telemetry.one("payout")
    assert payout.attributes["smartglocal.state"] == "succeeded"
    spans = {span.context.span_id: span for span in telemetry.spans()}
    children = [span for span in spans.values() if span.parent == payout.context]
    assert {"session/create", "session/start/payout", "session/confirm"} <= {
        span.name for span in children
    }
    assert {"journal create intended", "journal session chosen", "journal paid"} <= {
        span.name for span in children
    }
    webhook = telemetry.one("webhook payment_finished")
    confirm = telemetry.one("session/confirm")
    assert webhook.kind is SpanKind.CONSUMER
    assert [link.context for link in webhook.links] == [confirm.context]
    assert webhook.parent == confirm.context
    trace = [span for span in spans.values() if span.context.trace_id == payout.context.trace_id]
    assert {span.name for span in trace} >= {"POST /api/v1/session/create", "sign", webhook.name}
    shown = telemetry.console.getvalue()
    for name in ("payout", "session/create", "journal paid", "webhook payment_finished"):
        assert f'"name": {json.dumps(name)}' in shown
    assert shown.count(f"{payout.context.trace_id:#034x}") >= len(children)
    assert telemetry.points("smartglocal.payouts") == [({"smartglocal.state": "succeeded"}, 1)]
    assert telemetry.points("smartglocal.payout.active") == [({}, 0)]


async def test_a_webhook_in_a_span_of_the_server(telemetry, provider, connect) -> None:
    """The span of the request is its parent; the call is linked."""
    api = connect(provider, settings=telemetry.settings)
    session = await api.session.create(REQUEST)
    webhooks = sg.Webhooks(sg.WebhookVerifier(provider.webhook_key), observers=[telemetry.observer])
    tracer = telemetry.tracers.get_tracer("shop")
    async with webhooks:
        with tracer.start_as_current_span("POST /webhooks") as server:
            _ = await webhooks.accept(sg.PaymentFinished(type="payment_finished", session=session))

    webhook = telemetry.one("webhook payment_finished")
    assert webhook.parent.span_id == server.get_span_context().span_id
    assert [link.context for link in webhook.links] == [telemetry.one("session/create").context]


async def test_a_handler_that_fails(telemetry, provider) -> None:
    """Its span is an error."""
    webhooks = sg.Webhooks(sg.WebhookVerifier(provider.webhook_key), observers=[telemetry.observer])

    @webhooks.on(sg.WebhookEvent)
    async def handle(event: sg.WebhookEvent) -> None:
        raise LookupError(event)

    async with webhooks:
        _ = await webhooks.accept(sg.WebhookEvent(type="payment_finished", session=None))
    webhook = telemetry.one("webhook payment_finished")
    assert webhook.status.status_code is StatusCode.ERROR
    assert webhook.attributes["error.type"] == "handler"
    assert [event.name for event in webhook.events] == ["webhook.failed"]


async def test_metrics_of_calls(telemetry, run_provider, connect) -> None:
    """Durations, attempts, retries by cause, the budget, and what is in flight."""
    provider = faulty(run_provider, Fault(FaultKind.SERVER_ERROR, nth=(1,)))
    _ = await connect(provider, settings=telemetry.settings).session.create(REQUEST)

    operation = {"smartglocal.operation": "session/create"}
    succeeded = operation | {"smartglocal.outcome": "succeeded"}
    assert telemetry.points("smartglocal.call.duration") == [(succeeded, 1)]
    assert telemetry.points("smartglocal.call.attempts") == [(succeeded, 1)]
    assert telemetry.points("smartglocal.call.active") == [(operation, 0)]
    retries = operation | {"smartglocal.cause": "unknown"}
    assert telemetry.points("smartglocal.retries") == [(retries, 1)]
    assert telemetry.points("smartglocal.retry_budget.tokens") == [({}, 500)]
    assert telemetry.points("smartglocal.signature.duration") == [({}, 1)]
    requests = telemetry.points("http.client.request.duration")
    assert {point.get("error.type") for point, _ in requests} == {"503", None}
    for point, count in requests:
        assert count == 1
        assert set(point) - {"error.type"} == {
            *("http.request.method", "server.address", "server.port", "url.scheme"),
            "http.response.status_code",
        }


async def test_a_path_that_isnt_in_the_table(telemetry, provider, connect) -> None:
    """The names of spans and the attributes of metrics have few values."""
    api = connect(provider, settings=telemetry.settings)
    with pytest.raises(sg.CallFailed):
        _ = await api.call("orders/4711/pay", {}, attempts=1)
    assert telemetry.spans("POST")
    [(point, _)] = telemetry.points("smartglocal.call.active")
    assert point == {"smartglocal.operation": "other"}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"happened": sg.AttemptResult.ACCEPTED, "http_status": 200}, None),
        ({"happened": sg.AttemptResult.REFUSED, "http_status": 400, "code": "x"}, "400"),
        (
            {
                "happened": sg.AttemptResult.REFUSED,
                "http_status": 200,
                "code": "authentication_error",
            },
            "authentication_error",
        ),
        ({"happened": sg.AttemptResult.REFUSED, "http_status": 200, "code": "jane"}, "refused"),
        ({"happened": None}, "cancelled"),
        ({"happened": sg.AttemptResult.NOT_SENT, "cause": "ClientConnectorError: no"},) * 1
        + ("ClientConnectorError",),
        ({"happened": sg.AttemptResult.UNKNOWN, "cause": "TimeoutError: no answer"},) * 1
        + ("TimeoutError",),
        ({"happened": sg.AttemptResult.UNKNOWN, "cause": "an empty answer"}, "unknown"),
    ],
)
def test_types_of_error(facts, found) -> None:
    """Few values: a status, a documented code, a class, or what happened."""
    fields = {"cause": None, "code": None, "http_status": None, **facts}
    event = AttemptEnded(
        call=1, operation="session/create", key=None, attempt=1, elapsed_seconds=0.1, **fields
    )
    assert error_type(event) == found


def test_the_table_of_metrics() -> None:
    """Each name is used once."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)


async def test_without_providers(provider, connect) -> None:
    """Without an SDK nothing is recorded, and calls work."""
    assert get_meter_provider() is not None
    options = sg.Settings(observers=[OpenTelemetryObserver()])
    assert await connect(provider, settings=options).session.create(REQUEST)
