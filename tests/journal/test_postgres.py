"""The journal in PostgreSQL: what it refuses, what it shares, and lost connections."""

import asyncio
import contextlib
import os
import ssl
import sys
import warnings

import pytest
from cutting_proxy import proxied
from journal_conformance import LEASE, SCOPE, bring_to, changes_for, new, run_together
from postgres_schemas import (
    DSN,
    connected,
    execute,
    needs_postgres,
    opened,
    waits_for_a_lock,
)
from postgres_server import needs_server, server
from rawserver import Peer, serve
from tls import make_certificate

import smartglocal_async as sg
from smartglocal_async.errors import JournalMisconfigured

Step, Event = sg.journal.Step, sg.journal.Event
pytestmark = [pytest.mark.both_loops, pytest.mark.slow, needs_postgres]


async def refusal(dsn, **options) -> str:
    """Return the message of a journal that can't be opened."""
    journal = sg.PostgresJournal(dsn, **options)
    with pytest.raises(sg.JournalUnusable) as caught:
        await journal.open(SCOPE)
    assert caught.value.__cause__ is None
    await journal.close()
    return str(caught.value)


def postgres(**changes: str) -> str:
    """Return the server's address with changes, including user and database."""
    host = DSN.rpartition("@")[2].removeprefix("postgres://")
    place, _, database = host.partition("/")
    user = changes.get("user")
    return f"postgres://{user + '@' if user else ''}{place}/{changes.get('database', database)}"


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "options", "field"),
    [
        ("mysql://127.0.0.1/x", {}, "PostgresJournal.dsn"),
        ("postgres://u:hidden@h:port/x", {}, "PostgresJournal.dsn"),
        ("", {}, "PostgresJournal.dsn"),
        ("postgres://u:1/hidden@h/x", {}, "PostgresJournal.dsn"),
        ("postgres://u:1?hidden@h/x", {}, "PostgresJournal.dsn"),
        ("postgres://u:1#hidden@h/x", {}, "PostgresJournal.dsn"),
        ("postgres://u:hid@den@h/x", {}, "PostgresJournal.dsn"),
        ("postgres://u:hidden@[h/x", {}, "PostgresJournal.dsn"),
        (DSN, {"schema": "Payouts"}, "PostgresJournal.schema"),
        (DSN, {"schema": "a;drop table b"}, "PostgresJournal.schema"),
        (DSN, {"schema": "pg_mine"}, "PostgresJournal.schema"),
        (DSN, {"schema": ""}, "PostgresJournal.schema"),
        (f"{DSN}?schema=", {}, "PostgresJournal.schema"),
        (f"{DSN}?schema=hid-den", {}, "PostgresJournal.schema"),
        (f"{DSN}?schema=shop&schema=mall", {}, "PostgresJournal.schema"),
        (f"{DSN}?schema=shop", {"schema": "mall"}, "PostgresJournal.schema"),
        (DSN, {"patience_seconds": 0}, "patience_seconds"),
        (DSN, {"answer_seconds": float("nan")}, "answer_seconds"),
    ],
)
def test_invalid_settings(dsn, options, field) -> None:
    """Invalid settings are named before it connects; a password isn't shown."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.PostgresJournal(dsn, **options)
    assert caught.value.field == field
    assert not any(part in str(caught.value) for part in ("hid", "den"))


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("postgres://u:p%40%2F@h/x", "h:5432/x"),
        ("postgresql://[::1]/x", "[::1]:5432/x"),
        ("postgres://u:p@[::1]:7/x", "[::1]:7/x"),
        ("postgres:///x?host=/var/run/postgresql", "/var/run/postgresql:5432/x"),
        ("postgres://%2Fvar%2Frun/x?port=7", "/var/run:7/x"),
        ("postgres://a:1,b/x?target_session_attrs=primary", "a:1,b:5432/x"),
        ("postgres://u@/?dbname=x&host=h&password=p", "h:5432/x"),
        ("postgres:///x", "localhost:5432/x"),
    ],
)
async def test_name_is_the_location(dsn, place) -> None:
    """The name is the location of the journal in any spelling of the address, no password."""
    name = f"the journal postgres://{place} (schema smartglocal)"
    assert sg.PostgresJournal(dsn)._name == name


async def test_a_schema_in_the_address(schema) -> None:
    """A schema in the address is used by the journal; the driver doesn't get it."""
    named = sg.PostgresJournal(f"{DSN}?application_name=till&schema={schema}")
    assert named.schema == schema
    await named.open(SCOPE)
    await named.accept(new())
    await named.close()
    async with opened(schema) as journal:
        assert await journal.find(new().key) is not None


@pytest.mark.parametrize(
    ("more", "name"), [("", "smartglocal"), ("?application_name=till%201", "till 1")]
)
async def test_the_name_of_its_connections(schema, more, name) -> None:
    """The connections have our name, or the one in the address."""
    own = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    async with opened(schema, f"{DSN}{more}") as journal:
        for link in (journal._opened.writer.connection, journal._opened.reader):
            assert await link.through(lambda connection: connection.fetchval(own)) == name


async def test_unreachable_servers() -> None:
    """Each error has its message, without the password."""
    words = await refusal("postgres://someone:hidden@127.0.0.1:1/x")
    assert "nothing listens there" in words
    assert "postgres://127.0.0.1:1/x (schema smartglocal)" in words
    assert "hidden" not in words + repr(sg.PostgresJournal("postgres://a:hidden@h/x"))
    assert "no such database" in await refusal(postgres(database="nobody_has_this"))
    assert "refuses" in await refusal(postgres(user="nobody_is_this"))
    assert "it knows no such setting" in await refusal(f"{DSN}?shcema=shop")
    assert "a setting of the address, after its ?, can't be used" in await refusal(
        f"{DSN}?sslmode=maybe"
    )


async def test_a_server_without_tls() -> None:
    """If the address requires TLS, a server that has none isn't called unreachable."""

    def answer_no(peer: Peer) -> None:
        _ = peer.connection.recv(8)  # The request for TLS.
        peer.send(b"N")
        peer.hold()

    with serve(answer_no) as server:
        address = f"postgres://127.0.0.1:{server.port}/x?sslmode=require"
        with pytest.raises(JournalMisconfigured, match="it offers no TLS, and sslmode"):
            await sg.PostgresJournal(address).open(SCOPE)


async def test_a_certificate_that_is_not_trusted(secured, tmp_path) -> None:
    """The text says which setting of the address names the authority."""

    def take_tls(peer: Peer) -> None:
        _ = peer.connection.recv(8)
        peer.send(b"S")
        with contextlib.suppress(ssl.SSLError, OSError):
            secured.server.wrap_socket(peer.connection, server_side=True).close()

    with serve(take_tls) as server:
        address = f"postgres://127.0.0.1:{server.port}/x?sslmode=verify-ca"
        other = make_certificate(tmp_path).certificate
        with pytest.raises(JournalMisconfigured, match="isn't trusted here: set sslrootcert"):
            await sg.PostgresJournal(f"{address}&sslrootcert={other}").open(SCOPE)


async def test_a_statement_that_is_cancelled(schema) -> None:
    """A statement_timeout isn't called a lost connection."""
    async with opened(schema):
        pass
    async with connected() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {schema}.entry")
        address = f"{DSN}?statement_timeout=100"
        async with opened(schema, address, may_make=False, patience_seconds=0.5) as journal:
            with pytest.raises(
                sg.JournalUnusable, match="statement_timeout of this user"
            ) as caught:
                await journal.find("k")
    assert not isinstance(caught.value, JournalMisconfigured)


async def test_reader_needs_an_existing_journal(schema) -> None:
    """A reader doesn't create a journal; it gets an error, or opens an existing one."""
    assert f"(schema {schema}): there is none" in await refusal(DSN, schema=schema, may_make=False)
    async with connected() as connection:
        assert await connection.fetchval("SELECT to_regnamespace($1)", schema) is None
    async with opened(schema) as made, opened(schema, may_make=False) as found:
        assert found.journal_id == made.journal_id


async def test_a_schema_of_another_release(schema) -> None:
    """An unknown version is left unchanged."""
    async with opened(schema):
        pass
    await execute("UPDATE {schema}.meta SET version = 7", schema=schema)
    words = await refusal(DSN, schema=schema)
    assert "of version 7, and this release knows 4" in words


async def test_without_the_extra(monkeypatch, schema) -> None:
    """The message says what to install."""
    for name in [
        name for name in sys.modules if name.startswith("smartglocal_async.journal.postgres.")
    ]:
        if name.rpartition(".")[2] in {"opening", "writer", "connection"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(sg.Misuse, match=r"smartglocal-async\[postgres\]"):
        await sg.PostgresJournal(DSN, schema=schema).open(SCOPE)


async def test_a_journal_that_is_not_open(schema) -> None:
    """Before opening and after closing."""
    journal = sg.PostgresJournal(DSN, schema=schema)
    with pytest.raises(sg.Misuse, match="isn't open"):
        await journal.find("k")
    await journal.open(SCOPE)
    await journal.close()
    with pytest.raises(sg.Misuse, match="isn't open"):
        await journal.accept(new())


async def test_belongs_to_its_event_loop_and_process(schema) -> None:
    """It can be used only in the event loop and the process that opened it."""
    async with opened(schema) as journal:

        def elsewhere() -> None:
            asyncio.run(journal.find("k"))

        with pytest.raises(sg.Misuse, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        journal._now_open.pid = os.getpid() + 1
        with pytest.raises(sg.Misuse, match="before a fork"):
            await journal.find("k")
        journal._now_open.pid = os.getpid()


async def test_repr_shows_no_secret(schema) -> None:
    """No repr shows its secret or a password, however deep a debugger looks."""
    dsn = f"{DSN}?password=hidden"
    async with opened(schema, dsn) as journal:
        await journal.accept(new())
        shown = "".join(map(repr, (journal, journal._now_open, journal._now_open.writer)))
        assert "hidden" not in shown
        assert repr(journal.secret) not in shown


async def test_it_warns_when_it_is_left_open(schema) -> None:
    """The warning names the journal."""
    journal = sg.PostgresJournal(DSN, schema=schema)
    await journal.open(SCOPE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del journal
    assert any(schema in str(one.message) for one in caught if one.category is sg.errors.LeftOpen)


async def prepared_statements(connection) -> set[str]:
    """Return the prepared statements of a connection."""
    rows = await connection.fetch("SELECT statement FROM pg_prepared_statements")
    return {row[0] for row in rows}


async def test_nothing_is_prepared_while_rows_are_locked(schema) -> None:
    """A process stopped at that moment would hold the locks, and no server timeout would end it."""
    async with opened(schema) as journal:
        link = journal._now_open.writer.connection
        _ = await link.through(prepared_statements)
        ready = await link.through(prepared_statements)
        rules = sg.journal.BatchRules(spend={"usd": 10_000})
        await journal.put_batch(sg.journal.Batch(name="b", rules=rules))
        intends = Event.CREATE_INTENDED
        entry = await journal.take(
            new("a", batch="b", amount=1, currency="usd"), "me", LEASE, intends=intends
        )
        entry = await journal.renew(entry, LEASE)
        chosen = sg.journal.Changes(session_id="s-a")
        entry = await journal.advance(entry, Event.SESSION_CHOSEN, chosen)
        await journal.advance(entry, Event.PAID)
        await bring_to(journal, Step.CONFIRMED, "c")
        await journal.accept_many([new(f"k{n}") for n in range(3)])
        assert await link.through(prepared_statements) == ready
        assert (await journal.batch("b")).paid == {"usd": 1}


async def test_repeated_row_numbers(schema) -> None:
    """If a failover repeats numbers, that is no race, so it isn't retried for ever."""
    async with opened(schema) as journal:
        await journal.accept(new("a"))
        await execute("ALTER SEQUENCE {name}.entry_number_seq RESTART", name=schema)
        with pytest.raises(sg.Misuse, match="23505"):
            await journal.accept(new("b"))
        assert await journal.find("b") is None


# --- Sharing ------------------------------------------------------------------------------------


async def test_concurrent_writes_share_a_commit(schema) -> None:
    """Two commits for two hundred writes: the first one goes alone."""
    labels: list[str] = []
    async with opened(schema, fault_point=labels.append) as journal:
        await run_together(*(journal.accept(new(f"k{n}")) for n in range(200)))
        assert labels.count("committed") <= 2
        assert sum((await journal.counts()).values()) == 200


async def test_bad_value_does_not_affect_other_writes(schema) -> None:
    """A bad value in a shared commit fails only for its caller."""
    async with opened(schema) as journal:
        bad = [new("nul\0"), new("\ud800"), new("big", amount=2**70)]
        got = await run_together(*(journal.accept(one) for one in [new("a"), *bad, new("b")]))
        assert [type(one) for one in got] == [
            sg.journal.Entry,
            sg.Misuse,
            sg.Misuse,
            sg.Misuse,
            sg.journal.Entry,
        ]
        assert {entry.key for entry in await journal.entries(9)} == {"a", "b"}


async def test_a_waiter_that_is_cancelled(schema) -> None:
    """The other callers aren't affected."""
    async with opened(schema) as journal, asyncio.TaskGroup() as group:
        first = group.create_task(journal.accept(new("a")))
        second = group.create_task(journal.accept(new("b")))
        third = group.create_task(journal.accept(new("c")))
        await asyncio.sleep(0)
        second.cancel()
        assert (await first).key == "a"
        assert (await third).key == "c"


async def test_many_open_it_at_once(schema) -> None:
    """The tables are created once."""
    async with contextlib.AsyncExitStack() as stack:
        journals = [sg.PostgresJournal(DSN, schema=schema) for _ in range(8)]
        for journal in journals:
            stack.push_async_callback(journal.close)
        assert await run_together(*(journal.open(SCOPE) for journal in journals)) == [None] * 8
        assert len({journal.journal_id for journal in journals}) == 1
        assert len({journal.secret for journal in journals}) == 1


@contextlib.asynccontextmanager
async def several(schema, count, **options):
    """Return several journals over the same rows, as for several processes."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(schema, **options)) for _ in range(count)]


async def test_new_key_is_accepted_once(schema) -> None:
    """The others get the existing row, or are refused by name."""
    async with several(schema, 4) as journals:
        keys = [f"k{n}" for n in range(50)]
        got = await run_together(*(one.accept(new(key)) for key in keys for one in journals))
        assert all(isinstance(entry, sg.journal.Entry) for entry in got)
        assert [entry.key for entry in await journals[0].entries(99)] != []
        assert (await journals[0].counts()) == {Step.NEW: 50}
        batch = sg.journal.Batch(name="night", rows=3)
        put = await run_together(*(one.put_batch(batch) for one in journals))
        assert len({one.begun_at for one in put}) == 1


async def test_one_journal_holds_an_entry(schema) -> None:
    """After the lease another journal claims it, and the previous one can't write."""
    async with several(schema, 4, clock=(clock := SetClock())) as journals:
        first = journals[0]
        await first.accept(new())
        got = await run_together(
            *(one.claim("k", f"o{n}", LEASE) for n, one in enumerate(journals))
        )
        assert sorted(type(one).__name__ for one in got) == ["Entry", *["InProgress"] * 3]
        [old] = [one for one in got if isinstance(one, sg.journal.Entry)]
        clock.now += LEASE
        taken = await journals[3].claim("k", "another", LEASE)
        assert taken.fence == old.fence + 1
        with pytest.raises(sg.errors.LostLease):
            await first.advance(old, Event.CREATE_INTENDED)
        await journals[3].advance(taken, Event.CREATE_INTENDED)


async def test_session_belongs_to_one_key(schema) -> None:
    """Of two that choose a session at the same time, one gets it."""
    async with several(schema, 2) as (one, two):
        ways = [await bring_to(one, Step.CREATING, "a"), await bring_to(two, Step.CREATING, "b")]
        got = await run_together(
            *(
                journal.advance(entry, Event.SESSION_CHOSEN, changes_for(Event.SESSION_CHOSEN, "s"))
                for journal, entry in zip((one, two), ways, strict=True)
            )
        )
        assert sorted(type(each).__name__ for each in got) == ["Entry", "SessionTaken"]


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def test_all_batches(schema) -> None:
    """Batches in the order of their start, each with its state."""
    async with opened(schema, clock=iter(range(10)).__next__) as journal:
        assert await journal.batches() == ()
        for name in ("b", "a"):
            _ = await journal.put_batch(sg.journal.Batch(name=name, rows=2, totals={"usd": 5}))
        paused = await journal.set_batch_state("a", sg.journal.BatchState.PAUSED, "look")
        assert [(one.name, one.state) for one in await journal.batches()] == [
            ("b", sg.journal.BatchState.RUNNING),
            ("a", sg.journal.BatchState.PAUSED),
        ]
        assert (await journal.batches())[1] == paused


async def test_the_counts_of_each_batch(schema) -> None:
    """Counts by step, also for entries without a batch; a batch without entries isn't listed."""
    async with opened(schema) as journal:
        assert await journal.counts_by_batch() == {}
        _ = await journal.put_batch(sg.journal.Batch(name="empty"))
        for key, batch in (("k1", "a"), ("k2", "a"), ("k3", "b"), ("k4", None)):
            _ = await journal.accept(new(key, batch=batch))
        entry = await journal.claim("k2", "me", 30)
        _ = await journal.advance(entry, sg.journal.Event.WITHDRAWN)
        assert await journal.counts_by_batch() == {
            "a": {sg.journal.Step.NEW: 1, sg.journal.Step.CANCELLED: 1},
            "b": {sg.journal.Step.NEW: 1},
            None: {sg.journal.Step.NEW: 1},
        }


async def test_due_entries_of_a_batch(schema) -> None:
    """Counted up to a limit; leased, waiting and settled entries aren't due."""
    now = [100.0]
    async with opened(schema, clock=lambda: now[0]) as journal:
        _ = await journal.accept_many([new(f"k{n}", batch="night") for n in range(6)])
        _ = await journal.accept(new("other", batch="day"))
        assert await journal.count_open(10, batch="night") == 6
        assert await journal.count_open(4, batch="night") == 4
        assert await journal.count_open(10, batch="nothing") == 0
        waiting = await journal.claim("k1", "me", LEASE)
        await journal.release(waiting, not_before=now[0] + 5 * LEASE)
        _ = await journal.claim("k2", "me", LEASE)
        taken = await journal.claim("k3", "me", LEASE)
        _ = await journal.advance(taken, Event.WITHDRAWN)
        assert await journal.count_open(10, batch="night") == 3
        now[0] += 2 * LEASE
        assert await journal.count_open(10, batch="night") == 4
        assert await journal.count_open(10, batch="night", is_due=False) == 5
        now[0] += 5 * LEASE
        assert await journal.count_open(10, batch="night") == 5


async def test_the_time_is_the_database_s(schema) -> None:
    """The time is the database's, not the process's."""
    async with opened(schema) as journal, connected() as connection:
        entry = await journal.take(new(), "me", LEASE)
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        assert 0 <= now - entry.created_at < 60
        assert entry.leased_until == pytest.approx(entry.created_at + LEASE, abs=1)


async def test_a_commit_waits_for_the_disk(schema) -> None:
    """Commits are synchronous whatever the settings of the role are."""
    dsn = f"{DSN}?options=-c%20synchronous_commit%3Doff"
    async with opened(schema, dsn) as journal:
        link, level = journal._now_open.writer.connection, journal._now_open.writer.level
        await journal.accept(new())
        assert await link.through(lambda one: one.fetchval("SHOW synchronous_commit")) == "off"
        assert level == "on"
    dsn = f"{DSN}?options=-c%20synchronous_commit%3Dremote_apply"
    async with opened(schema, dsn) as journal:
        assert journal._now_open.writer.level == "remote_apply"


# --- Lost connections ---------------------------------------------------------------------------


async def test_a_connection_that_is_ended(schema) -> None:
    """Another connection is opened, for writes and for reads."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await journal.accept(new("a"))
        assert await journal.find("a")
        proxy.cut()
        assert (await journal.accept(new("b"))).key == "b"
        assert await journal.find("b")
        proxy.cut()
        assert await journal.find("a")


@pytest.mark.parametrize("word", [b"SELECT key", b"INSERT INTO", b"UPDATE test", b"COMMIT"])
async def test_cut_off_before_a_statement(schema, word) -> None:
    """The statement wasn't carried out, so it is repeated, and written once."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        entry = await journal.take(new(), "me", LEASE)
        left = [True]

        def passes(chunk: bytes) -> bool:
            if left and word in chunk:
                left.clear()
                return False
            return True

        proxy.cut()
        proxy.sent = passes
        after = await journal.advance(entry, Event.CREATE_INTENDED)
        assert left == []
        assert after.step is Step.CREATING
        assert [line.event for line in await journal.history("k")] == [Event.CREATE_INTENDED]


async def test_a_commit_whose_answer_is_lost(schema) -> None:
    """The commit is checked and not repeated; the caller gets what was written."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        entry = await journal.take(new(), "me", LEASE)
        left = [True]

        def passes(chunk: bytes) -> bool:
            if left and b"COMMIT\0" in chunk:
                left.clear()
                return False
            return True

        proxy.answered = passes
        after = await journal.advance(entry, Event.CREATE_INTENDED)
        assert left == []
        assert after.step is Step.CREATING
        assert [line.event for line in await journal.history("k")] == [Event.CREATE_INTENDED]
        again = await journal.advance(after, Event.CREATE_INTENDED)
        assert again.attempts == after.attempts + 1


async def test_unavailable_database(schema) -> None:
    """After a while callers get an error, and the next one connects again."""
    async with (
        proxied(DSN) as (proxy, dsn),
        opened(schema, dsn, patience_seconds=0.2) as journal,
    ):
        entry = await journal.take(new(), "me", LEASE)
        proxy.is_down = True
        proxy.cut()
        got = await run_together(
            journal.advance(entry, Event.CREATE_INTENDED),
            journal.accept(new("b")),
            journal.find("k"),
        )
        assert [type(one) for one in got] == [sg.JournalUnusable] * 3
        assert all("(schema test_" in str(one) for one in got)
        assert got[0] is not got[1]
        proxy.is_down = False
        assert (await journal.find("k")).step is Step.NEW
        assert (await journal.advance(entry, Event.CREATE_INTENDED)).step is Step.CREATING


async def test_rows_that_another_program_holds(schema) -> None:
    """The journal waits for them."""
    async with opened(schema) as journal, connected() as connection:
        await journal.accept(new())
        async with asyncio.TaskGroup() as group, connection.transaction():
            await connection.execute(f"LOCK TABLE {schema}.entry")
            waiting = group.create_task(journal.claim("k", "me", LEASE))
            await waits_for_a_lock(schema)
            assert not waiting.done()
        assert waiting.result().fence == 1


async def test_an_older_copy_is_noticed(schema) -> None:
    """A server that lacks what this process wrote halts all users of the journal."""
    async with proxied(DSN) as (proxy, dsn), opened(schema, dsn) as journal:
        await bring_to(journal, Step.STARTING)
        forget = "UPDATE {schema}.writer SET commits = 1; UPDATE {schema}.entry SET fence = 0"
        await execute(forget, schema=schema)
        proxy.cut()
        with pytest.raises(sg.errors.JournalForgot, match="is an older copy"):
            await journal.claim("k", "me", LEASE)
        assert (await journal.halted()).kind is sg.journal.HaltKind.FORGOT
    async with opened(schema) as journal:
        with pytest.raises(sg.errors.JournalForgot):
            await journal.take(new("b"), "me", LEASE)


async def test_another_journal_in_its_place(schema) -> None:
    """Nothing is written to it."""
    async with (
        proxied(DSN) as (proxy, dsn),
        opened(schema, dsn, patience_seconds=10.0) as journal,
    ):
        await execute("DROP SCHEMA {schema} CASCADE", schema=schema)
        async with opened(schema):
            proxy.cut()
        with pytest.raises(sg.JournalUnusable, match="another journal now"):
            await journal.accept(new())


@pytest.mark.parametrize(
    "column",
    [
        "note text",
        "note text NOT NULL DEFAULT 'none'",
        "seen timestamptz NOT NULL DEFAULT now()",
        "twice bigint GENERATED ALWAYS AS (1 + 1) STORED",
    ],
)
async def test_added_columns(schema, column) -> None:
    """Columns that an operator added don't matter: rows are written and read by name."""
    async with opened(schema) as journal:
        pass
    for table in ("entry", "session", "attempt", "batch", "meta", "writer", "fleet"):
        await execute("ALTER TABLE {schema}.{table} ADD " + column, schema=schema, table=table)
    async with opened(schema) as journal:
        await journal.put_batch(sg.journal.Batch(name="may", rows=1))
        entry = await bring_to(journal, Step.STARTED, batch="may")
        assert await journal.find("k") == entry
        assert await journal.by_session("s-k") == entry
        assert (await journal.batch("may")).rows == 1
        assert [line.step for line in await journal.history("k")][-1] is Step.STARTED
        await journal.release(entry)
        claimed = await journal.claim_open(9, "me", LEASE, batch="may")
        assert [one.key for one in claimed.entries] == ["k"]


# --- Tables that don't keep what is written ------------------------------------------------------

DISCARDS = """
CREATE FUNCTION {schema}.discard() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RETURN NULL; END';
CREATE TRIGGER discards {when} ON {schema}.{table} FOR EACH {each}
    EXECUTE FUNCTION {schema}.discard();
"""


@pytest.mark.parametrize("table", ["entry", "session", "meta", "writer", "worker"])
async def test_unlogged_tables_are_refused(schema, table) -> None:
    """A crash of the server would empty them, and their payouts be made again."""
    async with opened(schema) as journal:
        await journal.accept(new())
    await execute("ALTER TABLE {schema}.{table} SET UNLOGGED", schema=schema, table=table)
    words = f"{schema}.{table} is UNLOGGED, so a crash of the server empties it"
    for may_make in (True, False):
        assert words in await refusal(DSN, schema=schema, may_make=may_make)
    await execute("ALTER TABLE {schema}.{table} SET LOGGED", schema=schema, table=table)
    async with opened(schema) as journal:
        assert await journal.find(new().key) is not None


async def test_a_table_that_becomes_unlogged_while_it_is_used(schema) -> None:
    """The next connection of the same process finds it."""
    async with (
        proxied(DSN) as (proxy, dsn),
        opened(schema, dsn, patience_seconds=10.0) as journal,
    ):
        await journal.accept(new())
        await execute("ALTER TABLE {schema}.entry SET UNLOGGED", schema=schema)
        proxy.cut()
        with pytest.raises(sg.JournalUnusable, match="entry is UNLOGGED"):
            await journal.accept(new("b"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "CREATE RULE r AS ON INSERT TO {schema}.session DO INSTEAD NOTHING",
            "session has a rule, which may replace what is written",
        ),
        (
            DISCARDS.replace("{when}", "BEFORE INSERT").replace("{each}", "ROW"),
            "entry has a trigger BEFORE ... FOR EACH ROW",
        ),
        (
            (
                "ALTER TABLE {schema}.entry RENAME TO of_old; "
                "CREATE VIEW {schema}.entry AS SELECT * FROM {schema}.of_old"
            ),
            "entry is no table",
        ),
    ],
    ids=["rule", "trigger", "view"],
)
async def test_what_may_replace_rows_is_refused(schema, change, words) -> None:
    """What was confirmed to be written wouldn't be there."""
    async with opened(schema) as journal:
        await journal.accept(new())
    await execute(change, schema=schema, table="entry")
    assert words in await refusal(DSN, schema=schema)


async def test_hidden_rows_are_refused(schema) -> None:
    """Row security lets a user see a part of the payouts only."""
    async with opened(schema):
        pass
    await execute(
        "CREATE ROLE {schema} LOGIN; GRANT ALL ON SCHEMA {schema} TO {schema}; "
        "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {schema}; "
        "ALTER TABLE {schema}.entry ENABLE ROW LEVEL SECURITY",
        schema=schema,
    )
    try:
        said = await refusal(postgres(user=schema), schema=schema)
        assert "entry has row security, which hides rows from this user" in said
        async with opened(schema):
            pass  # It hides nothing from the owner.
    finally:
        await execute("DROP OWNED BY {schema}; DROP ROLE {schema}", schema=schema)


@pytest.mark.parametrize(
    ("when", "each", "more"),
    [
        ("AFTER INSERT", "ROW", ""),
        ("BEFORE INSERT", "STATEMENT", ""),
        ("BEFORE INSERT", "ROW", "; ALTER TABLE {schema}.entry DISABLE TRIGGER discards"),
    ],
)
async def test_other_triggers_are_allowed(schema, when, each, more) -> None:
    """Those of an audit, or of a replication, can't change what is written."""
    async with opened(schema):
        pass
    change = DISCARDS.replace("{when}", when).replace("{each}", each) + more
    await execute(change, schema=schema, table="entry")
    async with opened(schema) as journal:
        await journal.accept(new())
        assert await journal.find(new().key) is not None


# --- A server of its own ------------------------------------------------------------------------


@needs_server
@pytest.mark.slow
async def test_server_without_fsync_is_refused() -> None:
    """fsync=off would lose payouts."""
    with server(fsync="off") as own:
        assert "runs with fsync=off" in await refusal(own.dsn)


@needs_server
@pytest.mark.slow
async def test_server_killed_and_restarted() -> None:
    """No acknowledged write is missing, and waiting callers continue."""
    with server() as own:
        async with opened("payouts", own.dsn) as journal:
            told = []

            async def accept(key: str) -> None:
                told.append((await journal.accept(new(key))).key)

            await accept("first")
            async with asyncio.TaskGroup() as group:
                for n in range(200):
                    group.create_task(accept(f"k{n}"))
                await asyncio.to_thread(own.stop)
                await asyncio.to_thread(own.start)
            found = {entry.key for entry in await journal.entries(999)}
            assert len(told) == 201
            assert found == set(told)
