"""Writes of another process in progress: the journal waits, and decides on the result."""

import asyncio

import pytest
from attrs import evolve
from cutting_proxy import proxied
from journal_conformance import LEASE, SCOPE, new, run_together
from postgres_schemas import (
    DSN,
    connected,
    execute,
    needs_postgres,
    opened,
    waits_for_a_lock,
)

import smartglocal_async as sg
from smartglocal_async.journal.rows import halt_text

pytestmark = [pytest.mark.slow, needs_postgres]


async def after(schema, statement, *values, asked):
    """Run a call while another process is inside a statement; return its result."""
    async with connected() as connection, asyncio.TaskGroup() as group:
        async with connection.transaction():
            await connection.execute(statement.format(schema=schema), *values)
            waiting = group.create_task(run_together(asked))
            await waits_for_a_lock(schema)
        [got] = await waiting
    return got


async def test_an_entry_that_another_one_claims(schema) -> None:
    """The entry is the other process's."""
    async with opened(schema) as journal:
        await journal.accept(new())
        claim = (
            "UPDATE {schema}.entry SET fence = 1, owner = 'other', "
            "leased_until = extract(epoch FROM clock_timestamp()) + 60"
        )
        got = await after(schema, claim, asked=journal.claim("k", "me", LEASE))
        assert isinstance(got, sg.InProgress)
        assert (await journal.find("k")).fence == 1


async def test_an_entry_that_another_one_takes_over(schema) -> None:
    """The previous holder can't write any more."""
    async with opened(schema) as journal:
        entry = await journal.take(new(), "me", LEASE)
        taken = "UPDATE {schema}.entry SET fence = 2, owner = 'other'"
        asked = journal.advance(entry, sg.journal.Event.CREATE_INTENDED)
        assert isinstance(await after(schema, taken, asked=asked), sg.errors.LostLease)
        assert await journal.history("k") == ()


async def test_a_batch_that_another_one_writes(schema) -> None:
    """The start of the batch stays."""
    async with opened(schema) as journal:
        await journal.put_batch(batch := sg.journal.Batch(name="night", rows=3))
        written = "UPDATE {schema}.batch SET begun_at = 5"
        got = await after(schema, written, asked=journal.put_batch(batch))
        assert got.begun_at == 5


async def test_a_halt_that_another_one_writes(schema) -> None:
    """A halt without an end stays, and one with an end is kept beside it."""
    async with opened(schema) as journal:
        first = sg.journal.Halt(kind=sg.journal.HaltKind.MISMATCH, reason="money moved")
        second = sg.journal.Halt(kind=sg.journal.HaltKind.QUARANTINE, reason="restored", until=4e9)
        written = "UPDATE {schema}.meta SET halt = $1"
        await after(schema, written, halt_text(first), asked=journal.halt(second))
        assert await journal.halted() == evolve(first, timed=second)


async def test_each_commit_waits_for_the_disk(schema) -> None:
    """Commits are synchronous, even if the rows were written under another role's settings."""
    async with opened(schema, f"{DSN}?options=-c%20synchronous_commit%3Doff") as journal:
        await execute(
            """
            CREATE TABLE {schema}.seen (setting text);
            CREATE FUNCTION {schema}.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO {schema}.seen VALUES (current_setting('synchronous_commit'));
                RETURN NULL; END $$;
            CREATE TRIGGER see AFTER INSERT OR UPDATE ON {schema}.entry
                FOR EACH ROW EXECUTE FUNCTION {schema}.see();
            CREATE TRIGGER see AFTER UPDATE ON {schema}.meta
                FOR EACH ROW EXECUTE FUNCTION {schema}.see();
            """,
            schema=schema,
        )
        await journal.take(new(), "me", LEASE)
        await journal.claim("k", "me", LEASE)
        await execute("DELETE FROM {schema}.writer", schema=schema)
        with pytest.raises(sg.errors.JournalForgot):
            await journal.claim("k", "me", LEASE)
        async with connected() as connection:
            seen = await connection.fetch(f"TABLE {schema}.seen")
        assert [row["setting"] for row in seen] == ["on"] * 3


async def test_two_that_open_while_one_is_cut_off(schema) -> None:
    """The second process creates what is missing."""
    async with proxied(DSN) as (proxy, dsn):
        proxy.sent = lambda chunk: b"CREATE TABLE" not in chunk
        with pytest.raises(sg.JournalUnusable):
            await sg.PostgresJournal(dsn, schema=schema).open(SCOPE)
        async with opened(schema) as journal:
            assert await journal.counts() == {}


async def test_a_commit_that_is_under_way_when_it_is_cut_off(schema) -> None:
    """The journal waits for it, and doesn't repeat it."""
    async with (
        proxied(DSN) as (proxy, dsn),
        opened(schema, dsn) as journal,
        connected() as connection,
    ):
        entry = await journal.take(new(), "me", LEASE)
        number = await connection.fetchval("SELECT hashtext($1)", schema)
        await execute(
            """
            CREATE FUNCTION {schema}.wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM pg_advisory_xact_lock_shared({number}, 0); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON {schema}.entry
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.wait();
            """,
            schema=schema,
            number=str(number),
        )
        async with asyncio.TaskGroup() as group, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1, 0)", number)
            waiting = group.create_task(journal.advance(entry, sg.journal.Event.CREATE_INTENDED))
            while not await connection.fetchval(
                "SELECT count(*) FROM pg_locks, pg_sleep(0.01) WHERE locktype = 'advisory' "
                "AND NOT granted AND classid = $1::int4::oid",
                number,
            ):
                continue
            proxy.cut()
            await waits_for_a_lock(schema)
        assert waiting.result().attempts == 1
        assert len(await journal.history("k")) == 1
