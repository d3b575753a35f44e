"""A standby is promoted, with real streaming replication: commits that it may lack halt payouts."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator

import asyncpg
import pytest
from journal_conformance import LEASE, SCOPE, new
from paying import QUICK, order
from postgres_schemas import DSN, connected, execute, needs_postgres, opened
from postgres_server import Server, needs_replication, needs_server, server

import smartglocal_async as sg
from smartglocal_async.emulator import Confirmation, Rules
from smartglocal_async.journal.postgres import lineage

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Server, Server, str]]:
    """Yield a primary, its standby, and the address of whichever accepts writes."""
    with contextlib.ExitStack() as stack:
        primary = await asyncio.to_thread(stack.enter_context, server())
        standby = await asyncio.to_thread(stack.enter_context, server(primary))
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        yield primary, standby, f"postgres://tests@{hosts}/postgres?target_session_attrs=primary"


async def run_statements(own: Server, *statements: str) -> object:
    """Run statements, each in its own transaction; return the value of the last one."""
    connection = await asyncpg.connect(own.dsn, timeout=10)
    try:
        return [await connection.fetchval(statement) for statement in statements][-1]
    finally:
        await connection.close()


async def wait_until(own: Server, question: str) -> None:
    """Wait until a server answers a query with true."""
    async with asyncio.timeout(30):
        # The server sends no event, so it is polled.
        while not await run_statements(own, f"SELECT ({question}) FROM pg_sleep(0.02)"):  # noqa: S608
            continue


async def wait_for_catch_up(primary: Server) -> None:
    """Wait until the standby has everything that the primary has written."""
    await wait_until(
        primary,
        "SELECT count(*) > 0 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()",
    )


async def stop_receiving(standby: Server) -> None:
    """Stop the standby from receiving more."""
    await run_statements(
        standby, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"
    )
    await wait_until(standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")


async def wait_for_standby(primary: Server, names: str) -> None:
    """Let commits wait for these standbys, or for none."""
    await run_statements(
        primary,
        f"ALTER SYSTEM SET synchronous_standby_names = '{names}'",
        "SELECT pg_reload_conf()",
    )
    await wait_until(primary, f"SELECT current_setting('synchronous_standby_names') = '{names}'")
    if names:
        await wait_until(
            primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        )


async def fail_over(primary: Server, standby: Server) -> None:
    """Stop the primary as a power loss would, and promote the standby."""
    await asyncio.to_thread(primary.stop)
    await asyncio.to_thread(standby.promote)


@needs_server
@needs_replication
async def test_commits_that_are_lost() -> None:
    """A new worker can't know of the lost commits; the change of timeline halts it.

    A worker that was stopped meanwhile, and that wrote them, is halted, too. The halt is ended
    after a report was read.
    """
    async with pair() as (primary, standby, dsn):
        async with opened("payouts", dsn) as survivor:
            await survivor.accept(new("kept"))
            await wait_for_catch_up(primary)
            await stop_receiving(standby)
            await survivor.accept(new("lost"))
            await fail_over(primary, standby)
            async with opened("payouts", dsn) as fresh:
                assert await fresh.find("lost") is None, "it is gone"
                halt = await fresh.halted()
                assert halt is not None
                assert halt.kind is sg.journal.HaltKind.QUARANTINE
                assert "the database was at timeline 1 of the cluster" in halt.reason
                assert "and is at timeline 2 of the cluster" in halt.reason
                with pytest.raises(
                    sg.errors.Quarantined, match="nothing proves that it has the last"
                ):
                    await fresh.claim("kept", "fresh", LEASE)
                with pytest.raises(sg.errors.Quarantined):
                    await fresh.claim_open(9, "fresh", LEASE)
            with pytest.raises(sg.errors.JournalForgot, match="is an older copy"):
                await survivor.claim("kept", "survivor", LEASE)
        async with opened("payouts", dsn) as fresh:
            with pytest.raises(sg.Misuse, match="compare the provider's reports"):
                await fresh.resume()
            await fresh.check_halt()
            await fresh.resume()
            assert (await fresh.claim("kept", "fresh", LEASE)).fence == 1
        async with opened("payouts", dsn) as later:
            assert await later.halted() is None, "that timeline is known by now"


@needs_server
@needs_replication
async def test_stopped_worker_whose_commits_were_kept() -> None:
    """The commits might have been lost: the change of timeline halts, also on a reconnection."""
    async with pair() as (primary, standby, dsn), opened("payouts", dsn) as survivor:
        await survivor.accept(new("k"))
        await wait_for_catch_up(primary)
        await fail_over(primary, standby)
        with pytest.raises(sg.errors.Quarantined, match="and is at timeline 2"):
            await survivor.claim("k", "me", LEASE)


@needs_server
@needs_replication
async def test_a_synchronous_standby() -> None:
    """It has each commit that was answered, but can't prove it: a person ends the halt."""
    async with pair() as (primary, standby, dsn):
        await wait_for_standby(primary, "*")
        async with opened("payouts", dsn) as survivor:
            for n in range(20):
                await survivor.accept(new(f"k{n}"))
            await fail_over(primary, standby)
            async with opened("payouts", dsn) as fresh:
                assert await fresh.counts() == {sg.journal.Step.NEW: 20}
                with pytest.raises(sg.errors.Quarantined, match="nothing proves that it has the"):
                    await fresh.claim("k0", "fresh", LEASE)
                with pytest.raises(sg.Misuse, match="compare the provider's reports"):
                    await fresh.resume()
                await fresh.resume(unchecked=True)
                assert (await fresh.claim("k0", "fresh", LEASE)).fence == 1
            assert (await survivor.claim("k1", "survivor", LEASE)).fence == 1
        assert await run_statements(standby, "SELECT timeline FROM payouts.meta") == 2
        async with opened("payouts", dsn) as later:
            assert await later.halted() is None, "that timeline is known by now"


@needs_server
@needs_replication
@pytest.mark.parametrize("order", ["synchronous first", "asynchronous first"])
async def test_setting_that_changes(order) -> None:
    """The standby knows the setting only as of what it has received: it halts in any case."""
    async with pair() as (primary, standby, dsn), opened("payouts", dsn) as worker:
        names = ["*", ""] if order == "synchronous first" else ["", "*"]
        for number, name in enumerate(names):
            await wait_for_standby(primary, name)
            await worker.accept(new(f"k{number}"))
        await wait_for_catch_up(primary)
        await fail_over(primary, standby)
        async with opened("payouts", dsn) as fresh:
            halt = await fresh.halted()
        assert halt is not None
        assert halt.kind is sg.journal.HaltKind.QUARANTINE


# --- Two standbys: the one that lacks the last commits is promoted ------------------------------


@contextlib.asynccontextmanager
async def trio() -> AsyncIterator[tuple[Server, Server, str]]:
    """Return a primary with the standbys a and b; b, and the address of what takes writes."""
    with contextlib.ExitStack() as stack:
        primary = await asyncio.to_thread(stack.enter_context, server())
        standbys = [await asyncio.to_thread(stack.enter_context, server(primary)) for _ in "ab"]
        for name, standby in zip("ab", standbys, strict=True):
            await follow(standby, primary, name)
        named = "application_name IN ('a', 'b') AND state = 'streaming'"
        await wait_until(primary, f"SELECT count(*) = 2 FROM pg_stat_replication WHERE {named}")  # noqa: S608
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standbys[1].port}"
        dsn = f"postgres://tests@{hosts}/postgres?target_session_attrs=primary"
        yield primary, standbys[1], dsn


async def follow(standby: Server, primary: Server, name: str) -> None:
    """Have a standby receive what the primary writes, under a name."""
    address = f"host=127.0.0.1 port={primary.port} user=tests application_name={name}"
    await run_statements(
        standby,
        f"ALTER SYSTEM SET primary_conninfo = '{address}'",
        "SELECT pg_reload_conf()",
    )


async def name_synchronous(primary: Server, names: str) -> None:
    """Set which standbys have to confirm a commit, and wait until one of them may."""
    setting = f"ALTER SYSTEM SET synchronous_standby_names = '{names}'"
    await run_statements(primary, setting, "SELECT pg_reload_conf()")
    may = "sync_state IN ('sync', 'quorum')"
    await wait_until(primary, f"SELECT count(*) > 0 FROM pg_stat_replication WHERE {may}")  # noqa: S608


async def check_halted(dsn: str) -> None:
    """See that a process that starts afresh is halted, and that the lost payout is gone."""
    async with opened("payouts", dsn) as fresh:
        assert await fresh.find("lost") is None, "that standby never had it"
        with pytest.raises(sg.errors.Quarantined, match="may lack payouts"):
            await fresh.take(new("lost"), "fresh", LEASE)


@needs_server
@needs_replication
@pytest.mark.parametrize("names", ["ANY 1 (a, b)", "FIRST 1 (a, b)", "a", "*"])
async def test_the_other_standby_is_promoted(names) -> None:
    """Commits waited for one of the two, and the other one takes over."""
    async with trio() as (primary, other, dsn):
        await name_synchronous(primary, names)
        async with opened("payouts", dsn) as worker:
            await worker.accept(new("kept"))
            await wait_until(
                primary,
                "SELECT count(*) = 2 FROM pg_stat_replication "
                "WHERE replay_lsn = pg_current_wal_lsn()",
            )
            await stop_receiving(other)
            await worker.accept(new("lost"))
        await fail_over(primary, other)
        await check_halted(dsn)


@needs_server
@needs_replication
async def test_a_standby_that_was_taken_out_of_the_list_is_promoted() -> None:
    """All that it has received says that every commit waited for it."""
    async with trio() as (primary, other, dsn):
        await name_synchronous(primary, "ANY 2 (a, b)")
        async with opened("payouts", dsn) as worker:
            await worker.accept(new("kept"))
            await wait_for_catch_up(primary)
            await stop_receiving(other)
            await name_synchronous(primary, "FIRST 1 (a)")
            await worker.accept(new("lost"))
        await fail_over(primary, other)
        await check_halted(dsn)


# --- Copies, without a standby ------------------------------------------------------------------


@needs_postgres
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("system_identifier = '42'", "it was copied or restored"),
        ("system_identifier = '42', timeline = timeline + 1", "it was copied or restored"),
        ("timeline = timeline + 7", "it is an older copy"),
    ],
)
async def test_tables_of_another_server(schema, change, words) -> None:
    """Another identifier or an earlier timeline means that the tables were restored."""
    async with opened(schema):
        pass
    await execute(f"UPDATE {{schema}}.meta SET {change}", schema=schema)  # noqa: S608
    for _ in range(2):
        async with opened(schema) as journal:
            with pytest.raises(sg.errors.Quarantined, match=words):
                await journal.take(new(), "me", LEASE)


needs_dump = pytest.mark.skipif(
    None in {shutil.which("pg_dump"), shutil.which("psql")},
    reason="no pg_dump and psql are installed",
)


def dumped(*options: str) -> bytes:
    """Return the dump of a part of the database."""
    command = [str(shutil.which("pg_dump")), *options, DSN]
    return subprocess.run(command, check=True, capture_output=True).stdout


def restore(dump: bytes) -> None:
    """Run the statements of a dump."""
    command = [str(shutil.which("psql")), "-q", "-v", "ON_ERROR_STOP=1", DSN]
    _ = subprocess.run(command, check=True, capture_output=True, input=dump)


@needs_postgres
@needs_dump
@pytest.mark.parametrize("may_make", [True, False])
async def test_a_dump_that_is_restored(schema, may_make) -> None:
    """In the same cluster: a process that starts afresh sees it by the tables, which are new."""
    async with opened(schema) as journal:
        await journal.accept(new("kept"))
    dump = dumped("-n", schema)
    async with opened(schema) as journal:
        assert await journal.halted() is None
        await journal.accept(new("lost"))
    await execute("DROP SCHEMA {schema} CASCADE", schema=schema)
    restore(dump)
    for _ in range(2):
        async with opened(schema, may_make=may_make) as journal:
            halt = await journal.halted()
            assert halt is not None
            assert (halt.kind, halt.until) == (sg.journal.HaltKind.QUARANTINE, None)
            with pytest.raises(sg.errors.Quarantined, match="a dump was restored, or the database"):
                await journal.take(new("lost"), "me", LEASE)
            with pytest.raises(sg.Misuse, match="compare the provider's reports"):
                await journal.resume()
    async with opened(schema) as journal:
        await journal.check_halt()
        await journal.resume()
    async with opened(schema) as journal:
        assert await journal.halted() is None, "these tables are known by now"
        await journal.accept(new("lost"))


@needs_postgres
@needs_dump
@pytest.mark.parametrize("table", ["entry", "session"])
async def test_one_table_that_is_restored(schema, table) -> None:
    """It is enough: the others don't show which payouts it lacks."""
    async with opened(schema) as journal:
        await journal.accept(new())
    dump = dumped("-t", f"{schema}.{table}")
    await execute(f"DROP TABLE {{schema}}.{table}", schema=schema)
    restore(dump)
    async with opened(schema) as journal:
        with pytest.raises(sg.errors.Quarantined, match="its tables are not those"):
            await journal.take(new(), "me", LEASE)


@needs_postgres
async def test_a_database_that_is_copied(schema) -> None:
    """CREATE DATABASE ... TEMPLATE keeps the numbers of the tables, and has one of its own."""
    name = f"copied_{schema}"
    async with connected() as connection:
        first, second = (f"{DSN.rpartition('/')[0]}/{name}_{number}" for number in (1, 2))
        await connection.execute(f"CREATE DATABASE {name}_1")
        async with opened(schema, first) as journal:
            await journal.accept(new())
        await connection.execute(f"CREATE DATABASE {name}_2 TEMPLATE {name}_1")
        try:
            async with opened(schema, second) as copy:
                with pytest.raises(sg.errors.Quarantined, match="or the database was copied"):
                    await copy.take(new(), "me", LEASE)
            async with opened(schema, first) as journal:
                assert await journal.halted() is None
        finally:
            for number in (1, 2):
                await connection.execute(f"DROP DATABASE {name}_{number} WITH (FORCE)")


@needs_postgres
async def test_tables_that_are_renamed_and_rewritten(schema) -> None:
    """They are the same tables."""
    async with opened(schema) as journal:
        await journal.accept(new())
    async with connected() as connection:
        for table in ("meta", "entry", "session"):
            await connection.execute(f"VACUUM FULL {schema}.{table}")
            await connection.execute(f"REINDEX TABLE {schema}.{table}")
        await connection.execute(f"CLUSTER {schema}.entry USING entry_pkey")
        async with opened(schema) as journal:
            assert await journal.halted() is None
        await connection.execute(f"ALTER SCHEMA {schema} RENAME TO {schema}_n")
        try:
            async with opened(f"{schema}_n") as journal:
                assert await journal.halted() is None
                assert (await journal.take(new(), "me", LEASE)).fence == 1
        finally:
            await connection.execute(f"ALTER SCHEMA {schema}_n RENAME TO {schema}")


@needs_postgres
async def test_tables_that_were_never_compared(schema) -> None:
    """As those of an earlier release: they are stored when they are opened, and halt nothing."""
    async with opened(schema) as journal:
        await journal.accept(new())
    await execute(
        "ALTER TABLE {schema}.meta DROP COLUMN tables, ADD COLUMN is_guaranteed boolean; "
        "UPDATE {schema}.meta SET version = 2; DROP TABLE {schema}.operator_action; "
        "DROP INDEX {schema}.entry_not_paid, {schema}.entry_batch_not_paid",
        schema=schema,
    )
    async with opened(schema, may_make=False) as journal:
        assert await journal.halted() is None
        assert (await journal.take(new(), "me", LEASE)).fence == 1
    async with connected() as connection:
        row = await connection.fetchrow(f"SELECT version, tables FROM {schema}.meta")  # noqa: S608
    assert row["version"] == 4
    assert row["tables"].count(".") == 3


@needs_postgres
async def test_tables_of_a_server_that_shows_no_timeline(schema, monkeypatch) -> None:
    """They are compared all the same, and what is stored of the server stays."""

    async def nothing(_connection: object) -> None:
        return None

    async with opened(schema) as journal:
        await journal.accept(new())
    monkeypatch.setattr(lineage, "_server_of", nothing)
    async with opened(schema) as journal:
        assert await journal.halted() is None
    await execute("UPDATE {schema}.meta SET tables = '1.2.3.4'", schema=schema)
    async with opened(schema) as journal:
        assert await journal.halted() is not None
    async with connected() as connection:
        timeline = await connection.fetchval(f"SELECT timeline FROM {schema}.meta")  # noqa: S608
    assert timeline == 1


@needs_postgres
async def test_a_halt_that_holds_already(schema) -> None:
    """Its reason stays, and a report that was read before no longer counts."""
    async with opened(schema) as journal:
        await journal.halt(
            sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="a session of ours")
        )
        await journal.check_halt()
    await execute("UPDATE {schema}.meta SET system_identifier = '42'", schema=schema)
    async with opened(schema) as journal:
        halt = await journal.halted()
        assert halt is not None
        assert halt.reason.endswith("may lack the last payouts; before that: a session of ours")
        with pytest.raises(sg.Misuse):
            await journal.resume()


@needs_postgres
async def test_read_only_role(schema) -> None:
    """It may read, also after a change; the next role that may write stores the change."""
    role = f"{schema}_role"
    async with opened(schema) as journal:
        await journal.accept(new())
    async with connected() as connection:
        await connection.execute(
            f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; "
            f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
        )
        await execute("UPDATE {schema}.meta SET timeline = timeline + 1", schema=schema)
        try:
            reading = sg.PostgresJournal(DSN.replace("//", f"//{role}@"), schema=schema)
            await reading.open(SCOPE)
            assert await reading.find("k") is not None
            assert await reading.halted() is None
            await reading.close()
            async with opened(schema) as journal:
                assert await journal.halted() is not None
        finally:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def pay(payouts: sg.Payouts, orders: list[sg.PayoutOrder], told: dict[str, bool]) -> None:
    """Pay orders, and note which are reported as paid."""
    async for outcome in payouts.pay_all(orders, concurrency=4):
        told[outcome.key] = outcome.is_paid


@needs_server
@needs_replication
@pytest.mark.parametrize("is_synchronous", [True, False], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_payouts_over_a_failover(
    mode, is_synchronous, run_provider, connect, tmp_path
) -> None:
    """Payouts are under way as the primary is lost; after the report, the rest is paid, once."""
    is_manual = mode is sg.Mode.MANUAL
    confirmation = Confirmation.MANUAL if is_manual else Confirmation.AUTOMATIC
    provider = run_provider(rules=Rules(confirmation=confirmation))
    api, told = connect(provider, settings=QUICK), dict[str, bool]()
    orders = [order(f"k-{n}") for n in range(24)]
    async with pair() as (primary, standby, dsn):
        journal = sg.PostgresJournal(dsn, schema="payouts", patience_seconds=5)
        async with sg.Payouts(api, journal, mode=mode) as payouts:
            if is_synchronous:
                await wait_for_standby(primary, "*")
            await pay(payouts, orders[:8], told)
            await wait_for_catch_up(primary)
            if not is_synchronous:
                await stop_receiving(standby)
            paying = asyncio.ensure_future(pay(payouts, orders[8:], told))
            async with asyncio.timeout(60):
                while provider.report().moved < 12:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await fail_over(primary, standby)
            with contextlib.suppress(sg.SmartGlocalError):
                await paying
        told_before = sum(told.values())
        journal = sg.PostgresJournal(dsn, schema="payouts")
        async with sg.Payouts(api, journal, mode=mode) as payouts:
            with pytest.raises(sg.PayoutsHalted):
                await pay(payouts, orders, told)
            report = tmp_path / "report.csv"
            report.write_text(provider.payouts_report(), encoding="utf-8", newline="")
            adopted = await payouts.adopt(sg.payouts.PayoutReport(path=report))
            _ = await payouts.reconcile(sg.payouts.PayoutReport(path=report))
            await payouts.resume_journal()
            await pay(payouts, orders, told)
    moved = [provider.order(one.key).moved for one in orders]
    assert told == dict.fromkeys((one.key for one in orders), True)
    assert moved == [1] * len(orders)
    assert told_before >= 8
    if is_synchronous:
        assert adopted == 0, "every commit that was answered is there"
    else:
        assert adopted >= 4
