"""Seeded secrets are hunted through logs, spans and metrics."""

import logging

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from paying import QUICK, order
from prometheus_client import CollectorRegistry
from secret_search import SecretSearch
from seeds import ACCOUNT, CARD, EMAIL, IBAN, METADATA, NAME, PAYEE, PHONE, SECRETS, WHO, requests

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.integrations.opentelemetry import OpenTelemetryObserver
from smartglocal_async.integrations.prometheus import PrometheusObserver


class Sinks:
    """Every sink, and a search in all that they hold."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "smartglocal_async")
        self.caplog = caplog
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.prometheus = PrometheusObserver(CollectorRegistry())
        self.observers = (
            OpenTelemetryObserver(tracers, MeterProvider([self.reader])),
            self.prometheus,
        )
        self.settings = sg.Settings(
            observers=self.observers, timing=QUICK.timing, rules=sg.RuleUse.OFF
        )

    def found(self) -> list[str]:
        """Return what was found in all of them; each sink must have something."""
        search = SecretSearch(SECRETS)
        search.search_logs(self.caplog.records)
        spans = "".join(span.to_json() for span in self.exporter.get_finished_spans())
        metrics = self.reader.get_metrics_data().to_json()
        scraped = self.prometheus.exposition().decode()
        for where, text in (("spans", spans), ("metrics", metrics), ("prometheus", scraped)):
            assert "smartglocal" in text
            search.search(where, text)
        assert self.caplog.records
        return search.found


@pytest.fixture
def sinks(caplog) -> Sinks:
    """Return every sink."""
    return Sinks(caplog)


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.HANG])
async def test_calls(kind, sinks, run_provider, connect) -> None:
    """With each fault of the provider."""
    provider = run_provider(faults=FaultScript((Fault(kind, nth=(1, 2), seconds=0.001),)))
    api = connect(provider, settings=sinks.settings)
    for request in requests():
        _ = [one async for one in api.session.create_many([request])]
    assert sinks.found() == []


@pytest.mark.parametrize("own_key", [CARD, IBAN, ACCOUNT, NAME, EMAIL, f"+{PHONE}", PHONE])
async def test_keys(own_key, sinks, provider, connect) -> None:
    """A key that is personal data itself is masked in each of them."""
    api = connect(provider, settings=sinks.settings)
    _ = await api.session.create(sg.CreateSession(metadata={"order": 1}), key=own_key)
    with pytest.raises(sg.CallFailed):
        _ = await api.session.status(sg.SessionRef(own_key))
    assert sinks.found() == []
    assert any(getattr(record, "sg_key", None) == "***" for record in sinks.caplog.records)


@pytest.mark.parametrize("own_key", ["order-1", EMAIL])
async def test_payouts(own_key, sinks, run_provider, connect, journal) -> None:
    """A payout with its webhooks; the name of the batch is personal data."""
    lost = Fault(FaultKind.AFTER, nth=(1,), operation="session/confirm")
    provider = run_provider(faults=FaultScript((lost,)))
    pay = order(
        own_key,
        payment_method=sg.BankCard(number=CARD),
        participant_details=sg.ParticipantDetails(recipient=PAYEE),
        customer=WHO,
        metadata=METADATA,
    )
    webhooks = sg.Webhooks(sg.WebhookVerifier(provider.webhook_key), observers=sinks.observers)
    api = connect(provider, settings=sinks.settings)
    async with sg.Payouts(api, journal) as payouts, webhooks:

        @webhooks.on(sg.WebhookEvent)
        async def handle(event: sg.WebhookEvent) -> None:
            _ = await payouts.handle_event(event)

        outcomes = [one async for one in payouts.pay_all([pay], batch=NAME)]
        session = await api.session.status(sg.SessionRef("ps_1"))
        _ = await webhooks.accept(sg.PaymentFinished(type="payment_finished", session=session))
        with pytest.raises(sg.WebhookRefused):
            _ = await webhooks.receive({"x-partner-sign": "no"}, f'{{"card": "{CARD}"}}'.encode())
    assert [one.state for one in outcomes] == [sg.PayoutState.SUCCEEDED]
    assert sinks.found() == []
