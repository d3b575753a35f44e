"""The query plans of a claim: open rows of other batches aren't read, however many there are."""

import contextlib
import sqlite3
from typing import Final

import pytest
from journal_conformance import LEASE, SCOPE, new
from postgres_schemas import connected, needs_postgres, opened

import smartglocal_async as sg
from smartglocal_async.journal.postgres.queries import Queries, _free, entry_conditions
from smartglocal_async.journal.rows import Page
from smartglocal_async.journal.sqlite.tables import SQLiteRows

FRONT: Final = """
INSERT INTO {table} (key, mode, fingerprint, step, session_no, fence, attempts, batch, created_at,
updated_at) SELECT 'front-' || n, 'manual', {nothing}, 0, 0, 0, 0, 'a', 0, 0 FROM {numbers}
"""
Step = sg.journal.Step
WORKABLE: Final = [Step.NEW, Step.CREATING, Step.STARTING]


def page(batch: str | None) -> Page:
    """Return the page that a worker claims."""
    return Page(limit=9, after=None, steps=WORKABLE, batch=batch)


@pytest.mark.parametrize(
    ("batch", "plan"),
    [
        (
            "b",
            "SEARCH entry USING INDEX entry_batch_open (batch=? AND number>?)",
        ),
        (None, "SEARCH entry USING INDEX entry_open (number>?)"),
    ],
)
async def test_of_sqlite(tmp_path, batch, plan) -> None:
    """The index is read from the start of the batch, in its order: nothing is sorted."""
    path = tmp_path / "j.db"
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    await journal.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        table = SQLiteRows(database, lambda: 0.0)
        names = "after first steps limit batch now max_lease_seconds is_due is_running"
        values = dict.fromkeys(names.split(), 0)
        rows = database.execute(f"EXPLAIN QUERY PLAN {table.free_statement(page(batch))}", values)
        steps = [row[3] for row in rows]
    assert plan in steps
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN entry") for step in steps)


@needs_postgres
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_of_postgres(schema, mode) -> None:
    """The same, whether or not the values are known when the query is planned."""
    async with opened(schema):
        pass
    asked = page("b")
    statement = Queries(schema).page_statement(
        asked, _free("$5", is_due=True), "FOR UPDATE SKIP LOCKED"
    )
    front = FRONT.format(
        table=f"{schema}.entry", nothing=r"'\x03'", numbers="generate_series(1, 20000) AS n"
    )
    async with connected() as connection:
        await connection.execute(front)
        await connection.execute(f"ANALYZE {schema}.entry")
        await connection.execute(f"SET plan_cache_mode = {mode}; SET enable_seqscan = off")
        await connection.execute(f"PREPARE claim AS {statement}")
        rows = await connection.fetch("EXPLAIN EXECUTE claim (NULL, '{0, 10, 20}', 9, 'b', NULL)")
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using entry_batch_open on entry" in plan
    assert "Index Cond: ((ROW(batch, number) > ROW('b'::text, " in plan or (
        "Index Cond: ((ROW(batch, number) > ROW($4, " in plan
    )
    assert "Sort" not in plan


@pytest.mark.parametrize("batch", ["b", None])
@pytest.mark.parametrize("step", [sg.journal.Step.FAILED, sg.journal.Step.NEW])
async def test_pages_of_sqlite(tmp_path, batch, step) -> None:
    """Only rows of the step, or the open ones, are read, however many others there are."""
    journal = sg.SQLiteJournal(tmp_path / "j.db")
    await journal.open(SCOPE)
    await journal.close()
    asked = Page(limit=9, after="k", steps=[step], batch=batch)
    with contextlib.closing(sqlite3.connect(journal.path)) as database:
        table = SQLiteRows(database, lambda: 0.0)
        values = dict.fromkeys(("after", "first", "steps", "limit", "batch", "step"), 0)
        rows = database.execute(f"EXPLAIN QUERY PLAN {table.page_statement(asked)}", values)
        steps = [row[3] for row in rows]
    name = "not_paid" if step is sg.journal.Step.FAILED else "open"
    index = f"entry_batch_{name}" if batch else f"entry_{name}"
    assert any(f"SEARCH entry USING INDEX {index} (" in line for line in steps)
    assert not any("TEMP B-TREE" in line or line.startswith("SCAN entry") for line in steps)


@needs_postgres
@pytest.mark.parametrize(
    ("batch", "steps", "index"),
    [
        ("'b'", [Step.FAILED], "entry_batch_not_paid"),
        ("NULL", [Step.FAILED], "entry_not_paid"),
        ("'b'", list(Step), "entry_batch"),
        ("NULL", list(Step), "entry_pkey"),
        ("'b'", WORKABLE, "entry_batch_open"),
    ],
)
async def test_pages_of_postgres(schema, batch, steps, index) -> None:
    """The same, though all rows before are of the same batch."""
    async with opened(schema):
        pass
    name = None if batch == "NULL" else "b"
    asked = Page(limit=9, after=None, steps=steps, batch=name)
    statement = Queries(schema).page_statement(asked, entry_conditions(asked), "")
    front = FRONT.format(
        table=f"{schema}.entry", nothing=r"'\x03'", numbers="generate_series(1, 20000) AS n"
    )
    async with connected() as connection:
        await connection.execute(front.replace("'a'", "'b'"))
        await connection.execute(f"ANALYZE {schema}.entry")
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        await connection.execute(f"PREPARE page AS {statement}")
        numbers = "{" + ", ".join(str(int(step)) for step in steps) + "}"
        rows = await connection.fetch(f"EXPLAIN EXECUTE page (NULL, '{numbers}', 9, {batch})")
    plan = "\n".join(row[0] for row in rows)
    assert f"Index Scan using {index} on entry" in plan
    assert "Sort" not in plan


@needs_postgres
async def test_claims_of_batches_stay_apart(schema) -> None:
    """A batch whose name starts with another's, or sorts after it, is another batch."""
    async with opened(schema) as journal:
        batches = ("a", "b", "b ", "ba", "B", "\u00e9")
        for n, batch in enumerate([*batches, *batches, None]):
            await journal.accept(new(f"k{n:02}", batch=batch))
        for n, batch in enumerate(batches):
            claims = await journal.claim_open(9, "me", LEASE, batch=batch)
            assert [entry.key for entry in claims.entries] == [f"k{n:02}", f"k{n + 6:02}"]
            assert await journal.count_open(9, batch=batch, is_due=False) == 2
