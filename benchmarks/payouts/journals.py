"""What a journal takes: room for each payout, time to claim behind a million others, and to open.

Of a file of SQLite, and of the database that SMARTGLOCAL_TEST_POSTGRES names, or its default.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.payouts.calls import fingerprint_of
from smartglocal_async.payouts.orders import payee_summary
from smartglocal_async.payouts.preflight import payment_digest

from ..goals import table
from ..machine import say
from ..setting import Setting
from ..spread import Spread
from .work import POSTGRES, has_postgres

_SCOPE: Final = "https://provider.example|shop"
_SCHEMA: Final = "benchmark_journals"
_PAGE: Final = 100
_CLAIMS: Final = 30
_RESUMES: Final = 5
_LUMP: Final = 500
_KEY: Final = "Tm90IGEgc2VjcmV0OiBhIGtleSBmb3IgdGVzdHMuLi4="
_MILLI: Final = 1e3
_FRONT: Final = """
INSERT INTO {table} (key, mode, fingerprint, step, session_no, fence, attempts, batch, ordinal,
created_at, updated_at, amount, currency)
SELECT 'front-' || n, 'manual', {empty}, 0, 0, 0, 0, 'front', n, 0, 0, 100, 'usd' FROM {numbers}
"""
_COUNTING: Final = (
    "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {count}) "
    "SELECT n FROM c)"
)


@frozen(kw_only=True)
class Room:
    """What one kind of journal takes."""

    name: str
    settled_bytes: float
    """Of a payout that is settled."""
    forgotten_bytes: float
    """Of one that is settled and forgotten."""
    front: int
    """Open rows of another batch, which come first."""
    alone_ms: list[float]
    """To claim a page of rows, with nothing in front."""
    behind_ms: list[float]
    """The same, with those rows in front."""
    resume_ms: list[float]
    """From a journal with all of these rows that isn't open to the first one claimed."""


@frozen
class _Place:
    """A journal to measure, and what else has to be done to its rows."""

    name: str
    journal: sg.journal.Journal
    fill: Callable[[int], Awaitable[None]]
    """Adds this many open rows of an earlier batch."""
    room: Callable[[], Awaitable[int]]
    """Returns how many bytes it takes, without what is free."""
    again: Callable[[], sg.journal.Journal]
    """Returns one more journal over the same rows."""


def _order(number: int) -> sg.PayoutOrder:
    return sg.PayoutOrder(
        key=f"salary-2026-11-{number:07}",
        payment_method=sg.GlobalAccount(
            iban=f"DE{number % 97:02}37040044{number:010}", swift_bic_code="COBADEFFXXX"
        ),
        amount_details=sg.AmountDetails(100_000 + number % 1_000, "eur"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(
                first_name="Jane",
                last_name=f"Roe-{number}",
                country_iso3="DEU",
                city="Berlin",
                address_line="Unter den Linden 77",
                postal_code="10117",
            )
        ),
        metadata={"invoice": number},
    )


async def _pay(journal: sg.journal.Journal, count: int) -> None:
    """Write what `Payouts` writes for successful payouts with manual confirmation."""
    cipher = sg.RequestCipher(_KEY)
    for begin in range(0, count, _LUMP):
        orders = [_order(n) for n in range(begin, min(begin + _LUMP, count))]
        news = [
            sg.journal.NewEntry(
                key=order.key,
                mode="manual",
                fingerprint=fingerprint_of(order, journal.secret),
                request=cipher.encrypt(codec("v1").encode(order), order.key),
                amount=order.amount_details.amount,
                currency=order.amount_details.currency,
                batch="salaries",
                ordinal=begin + place,
                summary=cipher.encrypt(payee_summary(order).encode(), order.key, purpose="summary"),
                payment=payment_digest(order, journal.secret),
            )
            for place, order in enumerate(orders)
        ]
        _ = await journal.accept_many(news)
        async with asyncio.TaskGroup() as group:
            for new in news:
                _ = group.create_task(_pay_one(journal, new))


async def _pay_one(journal: sg.journal.Journal, new: sg.journal.NewEntry) -> None:
    event, learned = sg.journal.Event, sg.journal.PendingEvent
    entry = await journal.take(new, "host:1:abcd", 30.0, intends=event.CREATE_INTENDED)
    session = sg.journal.Changes(session_id=f"ps_{new.key}_0123456789abcdef")
    entry = await journal.advance(entry, event.SESSION_CHOSEN, session)
    item = sg.journal.Changes(item_id=f"po_{new.key}_0123456789abcdef")
    entry = await journal.advance(
        entry, event.CONFIRM_INTENDED, item, pending=learned(event.START_KNOWN)
    )
    _ = await journal.advance(entry, event.PAID, pending=learned(event.CONFIRM_KNOWN))


async def _claims(journal: sg.journal.Journal, batch: str) -> list[float]:
    taken: list[float] = []
    for number in range(_CLAIMS):
        begun = time.perf_counter()
        claims = await journal.claim_open(_PAGE, f"worker-{number}", 30.0, batch=batch)
        taken.append((time.perf_counter() - begun) * _MILLI)
        assert len(claims.entries) == _PAGE, "there are enough"  # noqa: S101 - as it is measured
        async with asyncio.TaskGroup() as group:
            for entry in claims.entries:
                _ = group.create_task(journal.release(entry))
    return taken


async def _measure(place: _Place, payouts: int, front: int) -> Room:
    journal = place.journal
    await journal.open(_SCOPE)
    try:
        empty = await place.room()
        await _pay(journal, payouts)
        settled = (await place.room() - empty) / payouts
        _ = await journal.forget(time.time() + 1)  # noqa: TID251 - of now
        forgotten = (await place.room() - empty) / payouts
        _ = await journal.accept_many([_new(n, "alone") for n in range(2 * _PAGE)])
        alone = await _claims(journal, "alone")
        await place.fill(front)
        _ = await journal.accept_many([_new(n, "behind") for n in range(2 * _PAGE)])
        behind = await _claims(journal, "behind")
    finally:
        await journal.close()
    return Room(
        name=place.name,
        settled_bytes=settled,
        forgotten_bytes=forgotten,
        front=front,
        alone_ms=alone,
        behind_ms=behind,
        resume_ms=[await _resume(place) for _ in range(_RESUMES)],
    )


async def _resume(place: _Place) -> float:
    """Return the milliseconds from a journal that isn't open to the first row that is claimed."""
    begun, journal = time.perf_counter(), place.again()
    await journal.open(_SCOPE)
    (first,) = await journal.open_entries(1)
    _ = await journal.claim(first.key, "the benchmark", 30)
    taken = (time.perf_counter() - begun) * _MILLI
    await journal.close()
    return taken


def _new(number: int, batch: str) -> sg.journal.NewEntry:
    print_of = fingerprint_of(_order(number), b"secret")
    return sg.journal.NewEntry(
        key=f"{batch}-{number}", mode="manual", fingerprint=print_of, batch=batch, ordinal=number
    )


def _file_place(folder: str) -> _Place:
    path = Path(folder, "payouts.db")

    async def fill(count: int) -> None:
        numbers = _COUNTING.format(count=count)
        statement = _FRONT.format(table="entry", empty="X'03'", numbers=numbers)
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            _ = database.execute(statement)
            database.commit()

    async def room() -> int:
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int(pages - free) * int(size)

    return _Place("SQLite", sg.SQLiteJournal(path), fill, room, lambda: sg.SQLiteJournal(path))


async def _postgres(payouts: int, front: int, dsn: str) -> Room:
    import asyncpg  # noqa: PLC0415 - an extra

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            _ = await connection.execute(statement)
        finally:
            await connection.close()

    async def fill(count: int) -> None:
        numbers = f"generate_series(1, {count}) AS n"
        await run(_FRONT.format(table=f"{_SCHEMA}.entry", empty=r"'\x03'", numbers=numbers))
        await run(f"VACUUM ANALYZE {_SCHEMA}.entry")

    async def room() -> int:
        connection = await asyncpg.connect(dsn)
        try:
            for table in ("entry", "attempt", "session"):
                _ = await connection.execute(f"VACUUM FULL {_SCHEMA}.{table}")
            size = await connection.fetchval(
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c "
                "WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
                _SCHEMA,
            )
        finally:
            await connection.close()
        return int(size)

    await run(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
    try:

        def again() -> sg.PostgresJournal:
            return sg.PostgresJournal(dsn, schema=_SCHEMA)

        place = _Place("PostgreSQL", again(), fill, room, again)
        return await _measure(place, payouts, front)
    finally:
        await run(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")


def measure(setting: Setting) -> list[Room]:
    """Return what each kind of journal takes."""
    payouts, front = (500, 10_000) if setting.is_quick else (20_000, 1_000_000)
    say(f"a journal in SQLite, of {payouts:,} settled payouts and {front:,} open ones")
    rooms = [asyncio.run(_measure(_file_place(str(setting.folder)), payouts, front))]
    if asyncio.run(has_postgres()):
        say("the same in PostgreSQL")
        rooms.append(asyncio.run(_postgres(payouts, front, POSTGRES)))
    return rooms


def tables(found: Sequence[Room]) -> str:
    """Return what each kind of journal takes, as a table."""
    rows = [
        (
            room.name,
            f"{room.settled_bytes:,.0f}",
            f"{room.forgotten_bytes:,.0f}",
            Spread.of(room.alone_ms).text(1),
            Spread.of(room.behind_ms).text(1),
            Spread.of(room.resume_ms).text(1),
        )
        for room in found
    ]
    heads = (
        "Journal",
        "bytes of a settled payout",
        "of a forgotten one",
        f"ms to claim {_PAGE} rows",
        f"the same behind {found[0].front:,} open rows",
        "ms to open it, and claim the first",
    )
    return table(heads, rows)
