"""Commits whose answer is lost: none is reported that wasn't made, and none is made twice."""

import asyncio
import contextlib
import gc
import os
import warnings

import asyncpg
import pytest
from cutting_proxy import proxied
from journal_conformance import LEASE, SCOPE, bring_to, new, run_together
from postgres_schemas import (
    DSN,
    connected,
    execute,
    needs_postgres,
    opened,
)
from postgres_server import needs_server, server

import smartglocal_async as sg
from smartglocal_async.journal.postgres.transaction import transaction

Step, Event = sg.journal.Step, sg.journal.Event
Halt, HaltKind = sg.journal.Halt, sg.journal.HaltKind
pytestmark = [pytest.mark.slow, needs_postgres]


class CutOnce:
    """Cuts at the first chunk that contains a word, after it called a function."""

    def __init__(self, word: bytes, then=lambda: None) -> None:
        self.word, self.then = word, then
        self.met = asyncio.Event()

    def __call__(self, chunk: bytes) -> bool:
        """Return whether a chunk passes."""
        if self.met.is_set() or self.word not in chunk:
            return True
        self.met.set()
        self.then()
        return False


class CutAt:
    """Cuts at the n-th chunk, counted over both directions."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, _chunk: bytes) -> bool:
        """Return whether a chunk passes."""
        self.left -= 1
        return self.left != 0


@pytest.mark.slow
async def test_cut_at_every_message(schema) -> None:
    """Each step is written once, wherever the connection and the next one are cut."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        entry = await journal.take(new(), "me", LEASE)
        number, is_cut = 0, True
        while is_cut:
            number += 1
            proxy.cut()
            cut = CutAt(number)
            proxy.sent = proxy.answered = cut
            entry = await journal.advance(entry, Event.CREATE_INTENDED)
            is_cut = cut.left <= 0
            assert entry.attempts == number
        assert number > 20
        assert len(await journal.history("k")) == number


async def test_a_second_cut_while_it_asks(schema) -> None:
    """It checks again, and a write that was refused in the same commit stays refused."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await journal.accept(new("a"))
        proxy.answered, proxy.sent = CutOnce(b"COMMIT\0"), CutOnce(b"FOR UPDATE")
        proxy.sent.met.set()
        proxy.answered.then = proxy.sent.met.clear
        got = await run_together(
            journal.accept(new("b")),
            journal.accept(new("a", mode="automatic")),
            journal.accept(new("b")),
        )
        assert [type(one) for one in got] == [sg.journal.Entry, sg.KeyReused, sg.journal.Entry]
        assert proxy.sent.met.is_set()
        assert await journal.counts() == {Step.NEW: 2}


async def test_result_of_an_abandoned_commit_is_not_reused(schema) -> None:
    """The result of an abandoned commit isn't taken for that of the next one."""
    async with (
        proxied(DSN) as (proxy, dsn),
        opened(schema, dsn, patience_seconds=0.1) as journal,
    ):
        await journal.accept(new("a"))

        def away() -> None:
            proxy.is_down = True

        proxy.answered = CutOnce(b"COMMIT\0", away)
        with pytest.raises(sg.JournalUnusable, match="whether it was made is unknown"):
            await journal.accept(new("b"))
        proxy.is_down = False
        journal._now_open.writer.connection.patience_seconds = 30.0
        assert (await journal.accept(new("b"))).key == "b"
        proxy.sent = CutOnce(b"COMMIT\0")
        await journal.accept(new("c"))
        assert proxy.sent.met.is_set()
        assert await journal.find("c")


async def test_a_writer_that_is_cancelled(schema) -> None:
    """Waiting callers get an unknown result; later ones get their own commit."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await journal.accept(new("a"))
        writer = journal._now_open.writer

        def cancel() -> None:
            writer._task.cancel()

        proxy.answered = CutOnce(b"COMMIT\0", cancel)
        async with asyncio.timeout(20):
            got = await run_together(*(journal.accept(new(f"b{n}")) for n in range(600)))
            assert [type(one) for one in got] == [sg.JournalUnusable] * 600
            assert (await journal.accept(new("c"))).key == "c"
            assert await journal.find("c")


@pytest.mark.parametrize("steps", range(6))
async def test_a_writer_that_is_cancelled_at_a_step(schema, steps) -> None:
    """Before its first step and after each later one, no caller hangs."""
    async with opened(schema) as journal, asyncio.timeout(20), asyncio.TaskGroup() as group:
        await journal.accept(new("a"))
        writer = journal._now_open.writer
        waiting = group.create_task(run_together(*(journal.accept(new(f"b{n}")) for n in range(3))))
        for _ in range(99):
            if writer._task is None:
                await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        if writer._task is not None:
            writer._task.cancel()
        assert {type(one) for one in await waiting} <= {sg.journal.Entry, sg.JournalUnusable}
        assert (await journal.accept(new("c"))).key == "c"


async def test_a_close_that_is_cancelled(schema) -> None:
    """Closing ends the waits for an unavailable database and leaves no connection."""
    async with proxied(DSN) as (proxy, dsn):
        journal = sg.PostgresJournal(dsn, schema=schema)
        await journal.open(SCOPE)
        await journal.accept(new("a"))
        await journal.find("a")
        writer, reader = journal._now_open.writer, journal._now_open.reader
        proxy.is_down = True
        proxy.cut()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(run_together(journal.accept(new("b"))))
            await asyncio.sleep(0)
            closing = group.create_task(journal.close())
            await asyncio.sleep(0)
            closing.cancel()
        [told] = waiting.result()
        assert isinstance(told, sg.JournalUnusable)
        assert (writer._task, writer.connection._connection, reader._connection) == (
            None,
            None,
            None,
        )


async def test_callers_wait_together(schema) -> None:
    """All callers wait for an unavailable database together, not one after the other."""
    async with (
        proxied(DSN) as (proxy, dsn),
        opened(schema, dsn, patience_seconds=0.3) as journal,
    ):
        await journal.accept(new("a"))
        await journal.find("a")
        proxy.is_down = True
        proxy.cut()
        got = await run_together(
            *(journal.accept(new(f"b{n}")) for n in range(1_500)),
            *(journal.find("a") for _ in range(10)),
        )
        assert {type(one) for one in got} == {sg.JournalUnusable}
        # Each of the ten tries at least once; ten separate waits would take thirty seconds.
        assert proxy.refused < 30


async def test_cut_during_the_check(schema) -> None:
    """The next connection checks again."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await bring_to(journal, Step.STARTING)
        await execute("UPDATE {schema}.writer SET commits = 1", schema=schema)
        proxy.cut()
        proxy.sent = CutOnce(b"UPDATE " + schema.encode() + b".meta")
        with pytest.raises(sg.errors.JournalForgot, match="is an older copy"):
            await journal.claim("k", "me", LEASE)
        assert proxy.sent.met.is_set()
        await journal.halt(None)
        proxy.cut()
        assert (await journal.claim("k", "me", LEASE)).owner == "me"


async def test_an_older_copy_that_was_halted(schema) -> None:
    """The earlier halt isn't lost: an operator who ends the later one reads both reasons."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await bring_to(journal, Step.STARTING)
        await journal.halt(Halt(kind=HaltKind.CONFLICT, reason="another amount"))
        await execute("UPDATE {schema}.writer SET commits = 1", schema=schema)
        proxy.cut()
        with pytest.raises(sg.errors.JournalForgot, match=r"copy; before that: another amount$"):
            await journal.claim("k", "me", LEASE)


async def test_missing_writer_row(schema) -> None:
    """Even if the connection stays, a missing row means an older copy."""
    async with opened(schema) as journal:
        await journal.accept(new("a"))
        await execute("DELETE FROM {schema}.writer", schema=schema)
        with pytest.raises(sg.errors.JournalForgot, match="is an older copy"):
            await journal.claim("a", "me", LEASE)


async def test_missing_tables(schema) -> None:
    """The journal doesn't create empty tables in their place."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await journal.accept(new("a"))
        await execute("DROP SCHEMA {schema} CASCADE", schema=schema)
        proxy.cut()
        with pytest.raises(sg.JournalUnusable, match="find the database that has them"):
            await journal.accept(new("b"))
        async with connected() as connection:
            assert await connection.fetchval("SELECT to_regnamespace($1)", schema) is None


async def test_commit_of_a_failed_transaction() -> None:
    """PostgreSQL answers the commit of a failed transaction without an error."""
    async with connected() as connection:

        async def fail() -> None:
            with contextlib.suppress(asyncpg.DivisionByZeroError):
                await connection.execute("SELECT 1 / 0")

        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            async with transaction(connection, "on"):
                await fail()


# --- Closing ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_closed_when_its_event_loop_is_gone(schema) -> None:
    """Nothing has to be finished, and it can be opened again."""
    journal = sg.PostgresJournal(DSN, schema=schema)

    async def leave() -> None:
        await journal.open(SCOPE)
        await journal.accept(new("a"))
        waiting.append(asyncio.ensure_future(journal.accept(new("b"))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def again() -> None:
        await journal.close()
        await journal.open(SCOPE)
        assert await journal.find("a")
        await journal.close()

    waiting: list[asyncio.Future[object]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    asyncio.run(again())
    waiting.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


async def test_not_closed_from_another_event_loop(schema) -> None:
    """It is refused, and the journal stays open."""
    async with opened(schema) as journal:
        await journal.accept(new("a"))

        def elsewhere() -> None:
            asyncio.run(journal.close())

        with pytest.raises(sg.Misuse, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        assert await journal.find("a")


async def test_closed_after_a_fork(schema) -> None:
    """The parent's connections stay open."""
    async with opened(schema) as journal:
        await journal.accept(new("a"))
        connection = journal._now_open.writer.connection._connection
        journal._now_open.pid = os.getpid() + 1
        still_open = journal._now_open
        await journal.close()
        assert not connection.is_closed()
        still_open.pid = os.getpid()
        await still_open.close()
        assert connection.is_closed()


# --- A server of its own ------------------------------------------------------------------------


@needs_server
@pytest.mark.slow
async def test_transaction_number_reused_after_a_crash() -> None:
    """After a crash, another transaction may get the number of one that was undone."""
    # The server writes nothing by itself, so it loses the information that the number was assigned.
    with server(wal_writer_delay="10s") as own:
        async with proxied(own.dsn) as (proxy, dsn), opened("payouts", dsn) as journal:
            await journal.accept(new("first"))

            def crash() -> None:
                proxy.is_down = True
                own.stop()

            proxy.sent = CutOnce(b"COMMIT\0", crash)
            async with asyncio.TaskGroup() as group:
                told = group.create_task(journal.accept(new("mine")))
                await proxy.sent.met.wait()
                await asyncio.to_thread(own.start)
                async with opened("payouts", own.dsn) as other:
                    for n in range(5):
                        await other.accept(new(f"other{n}"))
                    proxy.is_down = False
            assert told.result().key == "mine"
            assert await journal.find("mine")


@contextlib.asynccontextmanager
async def without_its_standby(own):
    """Let a server wait for a standby that doesn't exist."""
    connection = await asyncpg.connect(own.dsn)
    try:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names TO 'nobody'")
        await connection.execute("SELECT pg_reload_conf()")
        while not await connection.fetchval(
            "SELECT current_setting('synchronous_standby_names') = 'nobody' FROM pg_sleep(0.01)"
        ):
            continue
        yield connection
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names TO ''")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


@needs_server
@pytest.mark.slow
async def test_a_backend_that_is_ended_while_it_waits_for_a_standby() -> None:
    """It has committed, but no standby has it, so callers wait until one has."""
    with server() as own:
        async with opened("payouts", own.dsn, answer_seconds=2.0, patience_seconds=0.5) as journal:
            await journal.accept(new("a"))
            async with without_its_standby(own) as connection, asyncio.TaskGroup() as group:
                waiting = group.create_task(run_together(journal.accept(new("b"))))
                while not await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) "
                    "FROM pg_stat_activity, pg_sleep(0.01) WHERE wait_event = 'SyncRep'"
                ):
                    continue
                [told] = await waiting
                assert isinstance(told, sg.JournalUnusable)
