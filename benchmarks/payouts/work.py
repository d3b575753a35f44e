"""The payouts of the benchmarks, and the ways to pay them."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
from attrs import frozen

import smartglocal_async as sg

from ..machine import pin_other

CONCURRENCY: Final = 64
PROJECT: Final = "demo"
POSTGRES: Final = os.environ.get("SMARTGLOCAL_TEST_POSTGRES", "postgres://127.0.0.1:5432/test")
BY_HAND: Final = "the same five calls, by hand, no journal"
MEMORY: Final = "Payouts, a journal in memory"
SQLITE: Final = "Payouts, SQLiteJournal"
POSTGRESQL: Final = "Payouts, PostgresJournal"

Payer = Callable[[Iterable[sg.PayoutOrder]], Awaitable[int]]
"""Pays, and returns how many were paid."""


@frozen
class Place:
    """Where payouts are paid, and where their journals are."""

    url: str
    pem: bytes
    folder: Path
    server_core: int | None
    """The core of the servers, including the database."""


def order(number: int, run: str) -> sg.PayoutOrder:
    """Return a payout of 1 USD."""
    return sg.PayoutOrder(
        key=f"{run}-{number}",
        payment_method=sg.EncryptedCard(number_hash="hash-from-the-widget"),
        amount_details=sg.AmountDetails(100, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
    )


def orders(count: int) -> Iterable[sg.PayoutOrder]:
    """Yield this many payouts with new keys."""
    run = uuid4().hex
    return (order(number, run) for number in range(count))


async def by_hand(api: sg.SmartGlocal, source: Iterable[sg.PayoutOrder]) -> int:
    """Pay with the client alone, as a script would: no journal, and no status checks."""
    waiting, paid = iter(source), 0

    async def work() -> None:
        nonlocal paid
        for one in waiting:
            session = await api.session.create(sg.CreateSession(), key=f"{one.key}:create")
            ref = sg.SessionRef(session.id)
            start = sg.StartPayout(
                session_id=session.id,
                payment_method=one.payment_method,
                amount_details=one.amount_details,
                participant_details=one.participant_details,
            )
            _ = await api.session.start_payout(start, key=one.key)
            _ = await api.session.status(ref)
            done = await api.session.confirm(ref)
            while not done.is_final:
                done = await api.session.status(ref)
            paid += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            _ = group.create_task(work())
    return paid


async def through(payouts: sg.Payouts, source: Iterable[sg.PayoutOrder]) -> int:
    """Pay with a journal; return how many were paid."""
    paid = 0
    async for outcome in payouts.pay_all(source, concurrency=CONCURRENCY):
        paid += outcome.is_paid
    return paid


@asynccontextmanager
async def paying_by_hand(place: Place) -> AsyncGenerator[Payer]:
    """Return the way without a journal."""
    async with sg.SmartGlocal(PROJECT, place.pem, place.url) as api:
        yield partial(by_hand, api)


def paying_with(
    make: Callable[[Place], sg.journal.Journal],
) -> Callable[[Place], AbstractAsyncContextManager[Payer]]:
    """Return the way with a journal."""

    @asynccontextmanager
    async def paying(place: Place) -> AsyncGenerator[Payer]:
        async with (
            sg.SmartGlocal(PROJECT, place.pem, place.url) as api,
            sg.Payouts(api, make(place)) as payouts,
        ):
            yield partial(through, payouts)

    return paying


@asynccontextmanager
async def paying_with_postgres(place: Place) -> AsyncGenerator[Payer]:
    """Return the way with a journal in a database, whose schema is dropped at the end."""
    schema = f"bench_{uuid4().hex}"
    journal = sg.PostgresJournal(POSTGRES, schema=schema)
    try:
        async with (
            sg.SmartGlocal(PROJECT, place.pem, place.url) as api,
            sg.Payouts(api, journal) as payouts,
        ):
            await _pin_database(place.server_core)
            yield partial(through, payouts)
    finally:
        connection = await asyncpg.connect(POSTGRES)
        _ = await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await connection.close()


async def _pin_database(core: int | None) -> None:
    """Keep the database off the client's core, as if it were on another machine."""
    connection = await asyncpg.connect(POSTGRES)
    rows = await connection.fetch("SELECT pid FROM pg_stat_activity")
    await connection.close()
    pinned = [pin_other(row["pid"], "postgres", core) for row in rows]
    if not all(pinned):
        words = "the database can't be pinned, and takes time from the client's core, or is away"
        print(f"... {words}", file=sys.stderr, flush=True)


async def has_postgres() -> bool:
    """Return whether a PostgreSQL server is available."""
    try:
        connection = await asyncpg.connect(POSTGRES, timeout=5)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


WAYS: Final[Mapping[str, Callable[[Place], AbstractAsyncContextManager[Payer]]]] = {
    BY_HAND: paying_by_hand,
    MEMORY: paying_with(lambda _: sg.journal.MemoryJournal(unsafe=True)),
    SQLITE: paying_with(lambda place: sg.SQLiteJournal(place.folder / f"{uuid4().hex}.db")),
    POSTGRESQL: paying_with_postgres,
}
