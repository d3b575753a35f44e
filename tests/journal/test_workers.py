"""Active workers of a journal: each records its presence regularly, by the database's clock."""

import pytest
from journal_conformance import SetClock, new
from postgres_schemas import DSN, connected, execute, needs_postgres, opened

import smartglocal_async as sg

pytestmark = [pytest.mark.slow, needs_postgres]

LEASE = 30.0


async def test_active_workers(schema):
    """A worker is active for 10 seconds after its last record, or until it ends."""
    clock = SetClock()
    async with opened(schema, clock=clock) as one, opened(schema, clock=clock) as other:
        assert await one.workers() == ()
        await one.beat("b")
        clock.now += 4
        await other.beat("a")
        assert await one.workers() == (
            sg.journal.WorkerInfo("a", 0, 0.0, 0.0),
            sg.journal.WorkerInfo("b", 0, 0.0, 4.0),
        )
        clock.now += 6
        assert [worker.owner for worker in await other.workers()] == ["a", "b"]
        clock.now += 0.5
        assert [worker.owner for worker in await other.workers()] == ["a"]
        await one.beat("b")
        await other.leave("a")
        assert await one.workers() == (sg.journal.WorkerInfo("b", 0, 0.0, 0.0),)


async def test_killed_worker_with_payouts(schema):
    """A killed worker is listed until its leases end; one without records as long as its leases."""
    clock = SetClock()
    async with opened(schema, clock=clock) as journal:
        await journal.accept_many([new(f"k{n}") for n in range(5)])
        await journal.beat("died")
        await journal.claim_open(2, "died", LEASE)
        await journal.claim_open(3, "job", LEASE)
        clock.now += 11
        died, job = await journal.workers()
        assert (died, died.is_alive) == (sg.journal.WorkerInfo("died", 2, LEASE - 11, 11.0), False)
        assert (job, job.is_alive) == (sg.journal.WorkerInfo("job", 3, LEASE - 11, None), True)
        clock.now += LEASE
        assert await journal.workers() == ()


async def test_a_clock_that_is_set_back(schema):
    """After the clock is set back, no dead worker stays listed for an hour."""
    clock = SetClock()
    async with opened(schema, clock=clock) as journal:
        await journal.beat("w")
        clock.now -= 3_000
        assert await journal.workers() == ()
        await journal.beat("w")
        assert [worker.owner for worker in await journal.workers()] == ["w"]


async def test_workers_killed_long_ago(schema):
    """A worker that ends deletes their rows, so that rows don't pile up."""
    clock = SetClock()
    async with opened(schema, clock=clock) as journal:
        for name in ("killed", "leaves", "stays"):
            await journal.beat(name)
        clock.now += 3_601
        await journal.beat("stays")
        await journal.leave("leaves")
        async with connected() as connection:
            rows = await connection.fetch(f"SELECT owner FROM {schema}.worker")  # noqa: S608
        assert [row[0] for row in rows] == ["stays"]


async def test_a_journal_of_an_older_release(schema):
    """The missing table is added; it has no version of its own."""
    async with opened(schema) as journal:
        await journal.accept(new("k"))
    await execute("DROP TABLE {schema}.worker", schema=schema)
    async with opened(schema) as journal:
        await journal.beat("w")
        assert [worker.owner for worker in await journal.workers()] == ["w"]
        assert await journal.find("k") is not None
    async with connected() as connection:
        assert await connection.fetchval(f"SELECT version FROM {schema}.meta") == 4  # noqa: S608


@pytest.fixture
async def role(schema):
    """Return a role with the rights that a journal of an older release needed."""
    name = f"{schema}_payer"
    async with opened(schema):
        pass
    rights = "SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema}"
    try:
        await execute("DROP TABLE {schema}.worker", schema=schema)
        await execute("CREATE ROLE {name}", name=name)
        await execute("GRANT USAGE ON SCHEMA {schema} TO {name}", schema=schema, name=name)
        await execute(f"GRANT {rights} TO {{name}}", schema=schema, name=name)
        yield name
    finally:
        await execute("DROP OWNED BY {name}; DROP ROLE {name}", name=name)


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_role_without_the_right(schema, role, is_there):
    """It pays as before; the active workers aren't known."""
    if is_there:
        async with opened(schema):
            pass  # Another role, which has the right, adds the table.
    async with opened(schema, f"{DSN}?role={role}") as journal:
        entry = await journal.take(new("k"), "payer", LEASE)
        with pytest.raises(sg.JournalUnusable):
            await journal.beat("payer")
        (worker,) = await journal.workers()
        assert (worker.owner, worker.payouts, worker.is_alive) == ("payer", 1, True)
        await journal.release(entry)
