"""Who is alive over a journal: workers say so now and then, by the database's clock."""

import pytest
from journal_conformance import SetClock, new
from postgres_schemas import DSN, connected, execute, needs_postgres, opened

import smartglocal_async as sg

pytestmark = [pytest.mark.thorough, needs_postgres]

LEASE = 30.0


async def test_who_is_alive(schema):
    """Idle or not, until 10 seconds after the last word; or until it says that it leaves."""
    clock = SetClock()
    async with opened(schema, clock=clock) as one, opened(schema, clock=clock) as other:
        assert await one.workers() == ()
        await one.beat("b")
        clock.now += 4
        await other.beat("a")
        assert await one.workers() == (sg.AtWork("a", 0, 0.0, 0.0), sg.AtWork("b", 0, 0.0, 4.0))
        clock.now += 6
        assert [worker.owner for worker in await other.workers()] == ["a", "b"]
        clock.now += 0.5
        assert [worker.owner for worker in await other.workers()] == ["a"]
        await one.beat("b")
        await other.leave("a")
        assert await one.workers() == (sg.AtWork("b", 0, 0.0, 0.0),)


async def test_who_died_with_payouts(schema):
    """It is told until its leases end; who never says anything lives as long as his leases."""
    clock = SetClock()
    async with opened(schema, clock=clock) as journal:
        await journal.accept_many([new(f"k{n}") for n in range(5)])
        await journal.beat("died")
        await journal.claim_open(2, "died", LEASE)
        await journal.claim_open(3, "job", LEASE)
        clock.now += 11
        died, job = await journal.workers()
        assert (died, died.is_alive) == (sg.AtWork("died", 2, LEASE - 11, 11.0), False)
        assert (job, job.is_alive) == (sg.AtWork("job", 3, LEASE - 11, None), True)
        clock.now += LEASE
        assert await journal.workers() == ()


async def test_a_clock_that_is_set_back(schema):
    """Nobody is alive for an hour because of it."""
    clock = SetClock()
    async with opened(schema, clock=clock) as journal:
        await journal.beat("w")
        clock.now -= 3_000
        assert await journal.workers() == ()
        await journal.beat("w")
        assert [worker.owner for worker in await journal.workers()] == ["w"]


async def test_those_who_died_long_ago(schema):
    """Whoever leaves takes them along: their rows don't pile up."""
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
    """What it lacks is added, and its version stays: that release goes on with it, too."""
    async with opened(schema) as journal:
        await journal.accept(new("k"))
    await execute("DROP TABLE {schema}.worker", schema=schema)
    async with opened(schema) as journal:
        await journal.beat("w")
        assert [worker.owner for worker in await journal.workers()] == ["w"]
        assert await journal.find("k") is not None
    async with connected() as connection:
        assert await connection.fetchval(f"SELECT version FROM {schema}.meta") == 1  # noqa: S608


@pytest.fixture
async def role(schema):
    """Give a role that may do what one needed for a journal of an older release."""
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
    """It pays as before, and who is alive isn't known."""
    if is_there:
        async with opened(schema):
            pass  # Somebody else, who has the right, adds the table.
    async with opened(schema, f"{DSN}?role={role}") as journal:
        entry = await journal.take(new("k"), "payer", LEASE)
        with pytest.raises(sg.JournalUnusable):
            await journal.beat("payer")
        (worker,) = await journal.workers()
        assert (worker.owner, worker.payouts, worker.is_alive) == ("payer", 1, True)
        await journal.release(entry)
