"""Metrics in Prometheus's text format, read by its own parser; health over HTTP."""

import asyncio

import aiohttp
import pytest
from paying import QUICK, order
from places import ROOT
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.integrations.health import health_endpoints, journal_problems
from smartglocal_async.integrations.prometheus import PrometheusObserver, own_registry
from smartglocal_async.journal.entries import Halt, HaltKind
from smartglocal_async.observer.events import ClientPaused
from smartglocal_async.observer.measurements import METRICS, metrics_table

REQUEST = sg.CreateSession(metadata={"order": 1})


def samples(text: str) -> dict[tuple[str, frozenset], float]:
    """Read the exposition with Prometheus's parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def get(url: str) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def ready() -> dict[str, str]:
    """Everything is ready."""
    return {}


async def test_metrics_are_scraped(run_provider, connect, journal) -> None:
    """What a call with a retry and a payout measured is read by Prometheus's own parser."""
    provider = run_provider(
        faults=FaultScript((Fault(FaultKind.GARBAGE, nth=(1,), operation="session/create"),))
    )
    observer = PrometheusObserver(CollectorRegistry())
    settings = sg.Settings(observers=[observer], timing=QUICK.timing)
    api = connect(provider, settings=settings)
    _ = await api.session.create(REQUEST)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts.pay(order())
    async with health_endpoints("0", ready, observer) as url:
        status, text = await get(f"{url}/metrics")

    found = samples(text)
    create = ("operation", "session/create")
    assert status == 200
    key = "smartglocal_retries_total", frozenset({create, ("cause", "unknown")})
    assert found[key] == 2
    succeeded = frozenset({create, ("outcome", "succeeded")})
    assert found["smartglocal_call_duration_seconds_count", succeeded] == 2
    assert found["smartglocal_call_attempts_sum", succeeded] == 4
    assert found["smartglocal_retry_budget_tokens", frozenset()] == 500
    assert found["smartglocal_call_active", frozenset({create})] == 0
    assert found["smartglocal_payouts_total", frozenset({("state", "succeeded")})] == 1
    names = {name for name, _ in found}
    assert "smartglocal_journal_commit_duration_seconds_bucket" in names
    assert "smartglocal_signature_duration_seconds_sum" in names


def test_the_page_lists_every_metric() -> None:
    """The table of the page is the one that the code prints."""
    page = (ROOT / "docs/how-to/observability.md").read_text("utf-8")
    assert f"\n\n{metrics_table()}\n\n" in page


def test_every_metric_has_a_collector() -> None:
    """All of them are exposed, with their help."""
    text = PrometheusObserver(CollectorRegistry()).exposition().decode()
    for metric in METRICS:
        assert metric.description in text


async def test_healthy(journal) -> None:
    """Without an observer there are no metrics, and the answer says what to install."""
    await journal.open("demo")
    async with health_endpoints("127.0.0.1:0", lambda: journal_problems(journal)) as url:
        assert await get(f"{url}/healthz") == (200, '{"status": "ok"}')
        assert await get(f"{url}/readyz") == (200, '{"status": "ready"}')
        status, text = await get(f"{url}/metrics")
        assert status == 501
        assert "smartglocal-async[prometheus]" in text
        assert (await get(f"{url}/other"))[0] == 404


async def test_not_ready(journal) -> None:
    """A halt and a journal that isn't open are named, without their reason."""
    async with health_endpoints("0", lambda: journal_problems(journal)) as url:
        status, text = await get(f"{url}/readyz")
        assert (status, '"journal": "Misuse"' in text) == (503, True)
        await journal.open("demo")
        await journal.halt(Halt(kind=HaltKind.CONFLICT, reason="the payout 'jane'"))
        status, text = await get(f"{url}/readyz")
        assert status == 503
        assert '{"payouts": "halted: conflict"}' in text
        assert "jane" not in text
        assert (await get(f"{url}/healthz"))[0] == 200


async def test_a_check_that_hangs(monkeypatch) -> None:
    """It isn't waited for."""
    monkeypatch.setattr("smartglocal_async.integrations.health._CHECK_SECONDS", 1.0)

    async def hang() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async with health_endpoints("0", hang) as url:
        status, text = await get(f"{url}/readyz")
    assert status == 503
    assert "no result within 1 s" in text


@pytest.mark.parametrize("address", ["", "port", "127.0.0.1:", "1:70000", "host:-1"])
async def test_addresses_that_are_refused(address) -> None:
    """The text shows the form."""
    with pytest.raises(sg.InvalidRequest, match="expected a port, or HOST:PORT"):
        async with health_endpoints(address, ready):
            pass


async def test_a_port_in_use() -> None:
    """It is named."""
    async with health_endpoints("0", ready) as url:
        port = url.rpartition(":")[2]
        with pytest.raises(sg.InvalidRequest, match=f"{port} can't be used"):
            async with health_endpoints(port, ready):
                pass


def test_a_registry_of_its_own() -> None:
    """It has the metrics of the process."""
    assert b"python_gc_objects_collected" in PrometheusObserver(own_registry()).exposition()


def test_a_registry_that_has_an_observer() -> None:
    """A second one is refused with what to do; the first one goes on."""
    registry = CollectorRegistry()
    first = PrometheusObserver(registry)
    with pytest.raises(sg.InvalidRequest, match="registry: has metrics of another PrometheusObs"):
        _ = PrometheusObserver(registry)
    first(ClientPaused(call=1, operation="session/create", seconds=1.0))
    assert b"smartglocal_client_pauses_total 1.0" in first.exposition()
