"""Journals of older releases: they open, continue, and know all their keys."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest
from paying import QUICK, order
from postgres_schemas import DSN, connected, needs_postgres

import smartglocal_async as sg
from smartglocal_async.journal.sqlite.tables import SQLiteReader

FOLDER: Final = Path(__file__).parents[1] / "journals"
KEY: Final = "Tm90IGEgc2VjcmV0OiBhIGtleSBmb3IgdGVzdHMuLi4="
"""The key that encrypted the requests of the samples."""
SCOPE: Final = "http://provider.example|shop"
OPEN: Final = ["m-new", "m-creating", "m-starting", "m-started", "m-confirming"]
LOCK: Final = "10417       19                  "
"""The first release's file beside the sample: process id and number of log lines."""


def make_file(path: Path, scope: str = SCOPE, lock: str | None = LOCK) -> None:
    """Create a journal file as the first release left it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript((FOLDER / "v1.sqlite.sql").read_text(encoding="utf-8"))
        database.execute("UPDATE meta SET value = ? WHERE name = 'scope'", (scope,))
        database.commit()
    if lock is not None:
        path.with_name(f"{path.name}.lock").write_text(lock, encoding="utf-8")


async def make_schema(schema: str, scope: str = SCOPE) -> None:
    """Create the journal tables as the first release left them."""
    text = (FOLDER / "v1.postgres.sql").read_text(encoding="utf-8")
    async with connected() as connection:
        await connection.execute(text.replace("journal_v1", schema))
        await connection.execute(f"UPDATE {schema}.meta SET scope = $1", scope)  # noqa: S608


@pytest.fixture
def scope(provider) -> str:
    """Return the scope of the emulator's project."""
    return f"{provider.url}|{provider.project}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
async def old(request, tmp_path, schema, scope) -> sg.journal.Journal:
    """Return a journal of the first release for the emulator's project, not open yet."""
    if request.param == "sqlite":
        make_file(tmp_path / "old.db", scope)
        return sg.SQLiteJournal(tmp_path / "old.db")
    await make_schema(schema, scope)
    return sg.PostgresJournal(DSN, schema=schema)


async def recreate_sessions(api: sg.SmartGlocal, journal_id: str) -> None:
    """Make at the emulator the sessions that the first release had made.

    Three sessions: created, started, and started with the confirm about to be sent.
    """
    for number, key in enumerate(["m-starting", "m-started", "m-confirming"], 1):
        told: dict[str, Any] = {"payout_key": key, "payout_journal": journal_id}
        made = await api.session.create(sg.CreateSession(metadata={"invoice": 7, **told}))
        assert made.id == f"ps_{number}", "the sample names it"
        if key == "m-starting":
            continue
        asked = order(key)
        told = {"payout_journal": journal_id, "payout_session": 0, "idempotency_key": key}
        start = sg.StartPayout(
            session_id=made.id,
            payment_method=asked.payment_method,
            amount_details=asked.amount_details,
            participant_details=asked.participant_details,
            metadata={"invoice": 7, **told},
        )
        await api.session.start_payout(start, key=key)


async def test_open_payouts_are_paid(old, connect, provider) -> None:
    """Open payouts are paid once, with the encrypted requests of that time; the rest stays."""
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, old, cipher=sg.RequestCipher(KEY)) as payouts:
        await recreate_sessions(api, old.journal_id)
        before = {key: await old.find(key) for key in ("m-paid", "m-failed", "m-cancelled")}
        outcomes = {one.key: one async for one in payouts.settle(deadline=30)}
        assert {key: one.state.value for key, one in outcomes.items()} == dict.fromkeys(
            OPEN, "succeeded"
        )
        for key in OPEN:
            assert provider.order(key).moved == 1
        for key, entry in before.items():
            assert await old.find(key) == entry
        assert await old.counts() == {
            sg.journal.Step.SUCCEEDED: 6,
            sg.journal.Step.FAILED: 1,
            sg.journal.Step.CANCELLED: 1,
        }
        batch = await old.batch("march")
        assert (batch.rows, batch.digest, batch.totals) == (8, b"\x01" * 32, {"usd": 80_000})
        assert batch.paid == {"usd": 60_000}
    assert provider.report().moved_twice == 0


async def test_its_keys_are_known(old, connect, provider) -> None:
    """The same order returns its entry; another one under its key is refused by name."""
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, old, cipher=sg.RequestCipher(KEY)) as payouts:
        await recreate_sessions(api, old.journal_id)
        told = await payouts.pay(order("m-paid"))
        assert (told.is_paid, told.replayed, told.session_id) == (True, True, "ps_90")
        with pytest.raises(sg.KeyReused) as caught:
            await payouts.pay(order("m-paid", 10_001))
        assert caught.value.differing_fields == ("amount_details.amount",)
        assert await payouts.payee("m-paid") is None, "it was not kept then"
        assert (await payouts.pay(order("n-1"))).is_paid
        assert await payouts.payee("n-1") == "Jane Roe, card"
    assert provider.report().sessions == 4


async def test_its_payouts_are_forgotten(old, scope) -> None:
    """Settled payouts are deleted with their requests, which older releases kept for ever."""
    await old.open(scope)
    assert (await old.find("m-paid")).request is not None
    assert await old.forget(1_790_000_000.0) == 3
    assert (await old.find("m-paid")).request is None
    assert (await old.find("m-failed")).reason is None
    assert (await old.find("m-new")).request is not None
    await old.close()


def shape_of(path: Path) -> set[tuple[str, str, str, int]]:
    """Return the columns and indexes of a file."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        columns = database.execute(
            'SELECT m.name, c.name, c.type, c."notnull" FROM sqlite_master AS m, '
            "pragma_table_info(m.name) AS c WHERE m.type = 'table'"
        )
        indexes = database.execute(
            "SELECT tbl_name, name, sql, 0 FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"
        )
        return {*columns, *indexes}


async def test_an_old_file_is_as_a_new_one_then(tmp_path) -> None:
    """Column by column, index by index; a reader alone changes nothing, and reads it."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    make_file(old)
    before = old.read_bytes()
    async with SQLiteReader(old) as reader:
        assert await reader.counts() == {
            sg.journal.Step.NEW: 1,
            sg.journal.Step.CREATING: 1,
            sg.journal.Step.STARTING: 1,
            sg.journal.Step.STARTED: 1,
            sg.journal.Step.CONFIRMING: 1,
            sg.journal.Step.SUCCEEDED: 1,
            sg.journal.Step.FAILED: 1,
            sg.journal.Step.CANCELLED: 1,
        }
        entries = await reader.entries(9, batch="march")
        assert [entry.key for entry in entries][:5] == OPEN
        assert {entry.summary for entry in entries} == {None}
    assert old.read_bytes() == before
    for path in (old, new):
        journal = sg.SQLiteJournal(path)
        await journal.open(SCOPE)
        assert await journal.halted() is None
        await journal.close()
    assert shape_of(old) == shape_of(new)


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        (LOCK, None),
        (None, None),
        ("10417       20                  ", "its log had 20 lines, and has 19"),
    ],
)
async def test_commit_count_of_an_old_file(tmp_path, lock, words) -> None:
    """The first release counted log lines beside the file, once it was opened."""
    make_file(tmp_path / "old.db", lock=lock)
    journal = sg.SQLiteJournal(tmp_path / "old.db")
    for _ in range(2):
        await journal.open(SCOPE)
        halt = await journal.halted()
        assert (halt and halt.reason.partition(":")[0]) == words
        await journal.close()


async def test_restored_old_file(tmp_path) -> None:
    """Restored over the file that this release made of it, it is an older copy."""
    make_file(tmp_path / "old.db")
    journal = sg.SQLiteJournal(tmp_path / "old.db")
    await journal.open(SCOPE)
    await journal.close()
    (tmp_path / "old.db").unlink()
    make_file(tmp_path / "old.db", lock=None)
    await journal.open(SCOPE)
    halt = await journal.halted()
    await journal.close()
    assert halt is not None
    assert halt.kind is sg.journal.HaltKind.FORGOT
    assert halt.reason == "it had 20 commits, and has 19: it is an older copy"


@needs_postgres
async def test_old_tables_are_as_new_ones_then(schema) -> None:
    """Column by column, index by index."""
    shapes = []
    for name in (schema, f"{schema}_n"):
        if name == schema:
            await make_schema(name)
        journal = sg.PostgresJournal(DSN, schema=name)
        await journal.open(SCOPE)
        await journal.close()
        async with connected() as connection:
            columns = await connection.fetch(
                "SELECT table_name, column_name, data_type, is_nullable "
                "FROM information_schema.columns WHERE table_schema = $1",
                name,
            )
            indexes = await connection.fetch(
                "SELECT tablename, indexname, replace(indexdef, $1, ''), '' FROM pg_indexes "
                "WHERE schemaname = $1",
                name,
            )
            shapes.append({tuple(row) for row in (*columns, *indexes)})
            if name != schema:
                await connection.execute(f"DROP SCHEMA {name} CASCADE")
    assert shapes[0] == shapes[1]


@needs_postgres
async def test_old_tables_that_this_role_may_not_change(schema) -> None:
    """Their owner has to open them once; nothing is changed in part."""
    await make_schema(schema)
    role = f"{schema}_role"
    async with connected() as connection:
        await connection.execute(
            f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; "
            f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {role}"
        )
        try:
            dsn = DSN.replace("postgres://", f"postgres://{role}@")
            journal = sg.PostgresJournal(dsn, schema=schema)
            with pytest.raises(sg.JournalUnusable, match="have their owner open it once"):
                await journal.open(SCOPE)
            version = await connection.fetchval(f"SELECT version FROM {schema}.meta")  # noqa: S608
            assert version == 1
            owner = sg.PostgresJournal(DSN, schema=schema, may_make=False)
            await owner.open(SCOPE)
            await owner.close()
            await journal.open(SCOPE)
            assert (await journal.find("m-new")).step is sg.journal.Step.NEW
            await journal.close()
        finally:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
