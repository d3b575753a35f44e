"""Payouts over a database that is cut off, goes away, or is killed: each is made once."""

import asyncio
from contextlib import aclosing

import pytest
from cutting_proxy import proxied
from paying import QUICK, order
from postgres_schemas import DSN, needs_postgres
from postgres_server import needs_server, server

import smartglocal_async as sg

pytestmark = pytest.mark.thorough

COUNT = 60


def journal_of(dsn: str, schema: str = "payouts", **options) -> sg.PostgresJournal:
    """Give a journal."""
    return sg.PostgresJournal(dsn, schema=schema, **options)


async def pay(api, journal, told, at=None) -> None:
    """Pay a batch; keep what comes, and do something ``at`` the tenth outcome."""
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
    """Count how often each was paid, by the provider."""
    return [provider.order(f"k{n}").moved for n in range(COUNT)]


@needs_postgres
async def test_a_database_that_is_cut_off(provider, connect, schema) -> None:
    """Its connections are made anew; nobody who pays hears of it."""
    api, told = connect(provider, settings=QUICK), []
    async with proxied(DSN) as (proxy, dsn):

        async def cut() -> None:
            proxy.cut()

        await pay(api, journal_of(dsn, schema), told, cut)
    assert [outcome.state for outcome in told] == [sg.PayoutState.SUCCEEDED] * COUNT
    assert moved(provider) == [1] * COUNT


@needs_postgres
async def test_a_database_that_goes_away(provider, connect, schema) -> None:
    """Nothing more is sent, the message says why, and the same batch goes on later."""
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
        # Whoever comes later finds the leases of the dead over.
        later = journal_of(DSN, schema, clock=lambda: 4e9)
        await pay(api, later, told)
    assert [outcome.state for outcome in told] == [sg.PayoutState.SUCCEEDED] * COUNT
    assert any(outcome.replayed for outcome in told)
    assert moved(provider) == [1] * COUNT


@needs_server
@pytest.mark.thorough
async def test_a_server_that_is_killed_in_the_middle(provider, connect) -> None:
    """It comes again, and the batch goes on as if nothing had been."""
    api, told = connect(provider, settings=QUICK), []
    with server() as own:

        async def restart() -> None:
            await asyncio.to_thread(own.stop)
            await asyncio.to_thread(own.start)

        await pay(api, journal_of(own.dsn), told, restart)
    assert [outcome.state for outcome in told] == [sg.PayoutState.SUCCEEDED] * COUNT
    assert moved(provider) == [1] * COUNT
