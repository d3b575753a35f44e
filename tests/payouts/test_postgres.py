"""Payouts over a database that is cut off, stopped or killed: each is made once."""

import asyncio
import csv
import json
from contextlib import aclosing

import pytest
from cutting_proxy import proxied
from paying import QUICK, order
from postgres_schemas import DSN, needs_postgres
from postgres_server import needs_server, server

import smartglocal_async as sg

pytestmark = pytest.mark.slow

COUNT = 60


def journal_of(dsn: str, schema: str = "payouts", **options) -> sg.PostgresJournal:
    """Return a journal."""
    return sg.PostgresJournal(dsn, schema=schema, **options)


async def pay(api, journal, told, at=None) -> None:
    """Pay a batch; collect the outcomes, and call ``at`` at the tenth."""
    orders = [order(f"k{n}") for n in range(COUNT)]
    async with (
        sg.Payouts(api, journal) as payouts,
        aclosing(payouts.pay_all(orders, concurrency=8, batch="night")) as outcomes,
    ):
        async for outcome in outcomes:
            told.append(outcome)
            if at is not None and len(told) == 10:
                await at()


def moved(provider) -> list[int]:
    """Return how often the provider paid each payout."""
    return [provider.order(f"k{n}").moved for n in range(COUNT)]


@needs_postgres
async def test_a_database_that_is_cut_off(provider, connect, schema) -> None:
    """The connections are opened again, and the caller gets no error."""
    api, told = connect(provider, settings=QUICK), []
    async with proxied(DSN) as (proxy, dsn):

        async def cut() -> None:
            proxy.cut()

        await pay(api, journal_of(dsn, schema), told, cut)
    assert [outcome.state for outcome in told] == [sg.PayoutState.SUCCEEDED] * COUNT
    assert moved(provider) == [1] * COUNT


@needs_postgres
async def test_a_database_that_goes_away(provider, connect, schema) -> None:
    """Nothing more is sent, the error names the reason, and the batch can be continued later."""
    api, told = connect(provider, settings=QUICK), []
    async with proxied(DSN) as (proxy, dsn):

        async def go_away() -> None:
            proxy.is_down = True
            proxy.cut()

        with pytest.raises(sg.JournalUnusable) as caught:
            await pay(api, journal_of(dsn, schema, patience_seconds=0.1), told, go_away)
        assert f"(schema {schema})" in str(caught.value)
        assert "hash" not in str(caught.value)
        assert sum(moved(provider)) < COUNT
        assert max(moved(provider)) == 1

        proxy.is_down = False
        told.clear()
        # By then the leases of the killed process have ended.
        later = journal_of(DSN, schema, clock=lambda: 4e9)
        await pay(api, later, told)
    assert [outcome.state for outcome in told] == [sg.PayoutState.SUCCEEDED] * COUNT
    assert any(outcome.replayed for outcome in told)
    assert moved(provider) == [1] * COUNT


@needs_server
@pytest.mark.slow
async def test_a_server_that_is_killed_in_the_middle(provider, connect) -> None:
    """The server is started again, and the batch continues."""
    api, told = connect(provider, settings=QUICK), []
    with server() as own:

        async def restart() -> None:
            await asyncio.to_thread(own.stop)
            await asyncio.to_thread(own.start)

        await pay(api, journal_of(own.dsn), told, restart)
    assert [outcome.state for outcome in told] == [sg.PayoutState.SUCCEEDED] * COUNT
    assert moved(provider) == [1] * COUNT


@needs_postgres
async def test_a_report_with_text_that_a_database_refuses(
    provider, connect, schema, tmp_path
) -> None:
    """NUL and half a surrogate pair in an id or a key: the rest of the report is read."""
    journal = journal_of(DSN, schema)
    path = tmp_path / "report.csv"
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        paid = await payouts.pay(order())
        with path.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            names = sg.payouts.ReportColumns()
            writer.writerow([names.payout_id, names.session_id, names.metadata, names.kind])
            for session_id, key in (("ps_\0", "k-8"), ("ps_9", "a\0b"), ("ps_9", "\ud800")):
                told = json.dumps({"payout_key": key, "payout_journal": journal.journal_id})
                writer.writerow(["po_\0", session_id, told, "Advice"])
            told = json.dumps({"payout_key": "k-1", "payout_journal": journal.journal_id})
            writer.writerow([paid.payout_id, paid.session_id, told, "Advice"])
        found = await payouts.reconcile(sg.payouts.PayoutReport(path=path))
        assert (found.rows, found.agreed) == (4, 1)
        assert found.counts == {sg.payouts.DiscrepancyKind.FORGOTTEN: 3}
        found = await payouts.reconcile(sg.payouts.PayoutReport(path=path), adopt=True)
        assert (found.adopted, found.agreed) == (1, 1)
        assert found.counts == {sg.payouts.DiscrepancyKind.FORGOTTEN: 2}
