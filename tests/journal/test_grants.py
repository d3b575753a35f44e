"""The rights on a journal's tables: what is printed is enough, and what lacks is named."""

import asyncio
import re
from datetime import UTC, datetime

import pytest
from journal_conformance import new
from paying import QUICK, order
from postgres_schemas import DSN, connected, execute, needs_postgres, opened
from till import rows

import smartglocal_async as sg
from smartglocal_async.errors import JournalMisconfigured
from smartglocal_async.journal.postgres.grants import RIGHTS, grants

FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
pytestmark = [pytest.mark.slow, needs_postgres]


@pytest.fixture
async def role(schema):
    """Return a user without any right; the address of the journal acts as this user."""
    name = f"{schema}_payer"
    await execute("CREATE ROLE {name}", name=name)
    yield name
    await execute("DROP OWNED BY {name}; DROP ROLE {name}", name=name)


async def run(statements: list[str]) -> None:
    """Run statements as the owner of the tables."""
    async with connected() as connection:
        for statement in statements:
            await connection.execute(statement)


async def refusal(address: str, schema: str, **options) -> str:
    """Return why a payout can't be written to a journal."""
    with pytest.raises(JournalMisconfigured) as caught:
        async with opened(schema, address, **options) as journal:
            await journal.take(new("k"), "payer", 30.0)
    return str(caught.value)


@pytest.fixture
def use_all(schema, role, run_provider, connect):
    """Return a function that pays, submits, looks, halts, forgets and tells that it is alive."""
    api = connect(run_provider(), settings=QUICK)
    address = f"{DSN}?role={role}"

    async def make() -> None:
        async with sg.Payouts(api, sg.PostgresJournal(DSN, schema=schema)):
            pass

    async def use() -> None:
        journal = sg.PostgresJournal(address, schema=schema)
        cipher = sg.RequestCipher(sg.RequestCipher.new_key())
        async with sg.Payouts(api, journal, cipher=cipher) as payouts:
            await journal.beat("payer")
            assert [worker.owner for worker in await journal.workers()] == ["payer"]
            await journal.leave("payer")
            assert (await payouts.pay(order("a"))).is_paid
            assert len(await journal.history("a")) > 3
            _ = await payouts.submit([order("c")], batch="night")
            _ = await journal.batches()
            await journal.set_limits(sg.journal.Limits(rate=5.0), operator="ann")
            assert [one.operator for one in await journal.actions(9)] == ["ann"]
            assert (await journal.limits()).rate == 5.0
            await payouts.quarantine()
            assert await payouts.forget(before=FUTURE) == 1

    use.make = make
    return use


async def test_what_is_printed_is_enough(schema, role, use_all) -> None:
    """With these rights a user does all that a worker does."""
    await use_all.make()
    await run(grants(schema, role))
    await use_all()


async def test_a_user_that_only_reads(schema, role) -> None:
    """It sees the payouts, and is shown which right it lacks to write one."""
    async with opened(schema) as journal:
        await journal.accept(new("k"))
    await run(grants(schema, role, only_reads=True))
    address = f"{DSN}?role={role}"
    async with opened(schema, address, may_make=False) as journal:
        assert (await journal.find("k")) is not None
        assert await journal.batches() == ()
        with pytest.raises(JournalMisconfigured, match=rf"GRANT INSERT, UPDATE ON {schema}.entry"):
            await journal.take(new("other"), "payer", 30.0)
        assert await journal.find("other") is None


NEEDED = [(table, right) for table, rights in RIGHTS.items() for right in rights]


@pytest.mark.parametrize(("table", "right"), NEEDED, ids=lambda part: part)
async def test_each_right_that_lacks_is_named(schema, role, use_all, table, right) -> None:
    """None of them can be left out: without one, the error has the statement that adds it."""
    await use_all.make()
    await run(grants(schema, role))
    await execute(f"REVOKE {right} ON {schema}.{table} FROM {role}")
    with pytest.raises(JournalMisconfigured) as caught:
        await use_all()
    words = f"have the owner of the schema run GRANT {right} ON {schema}.{table} TO {role}. "
    assert f"lacks a right (SQLSTATE 42501): {words}" in str(caught.value)


async def test_a_schema_that_may_not_be_used(schema, role) -> None:
    """Without USAGE nothing is visible: that is named first, then all that lacks."""
    async with opened(schema):
        pass
    words = await refusal(f"{DSN}?role={role}", schema)
    assert (
        f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, UPDATE ON {schema}.meta" in words
    )


async def test_a_user_that_may_make_nothing(schema, role) -> None:
    """Neither the schema nor its tables: the text says who can, or what to grant."""
    address = f"{DSN}?role={role}"
    async with connected() as connection:
        database = await connection.fetchval("SELECT current_database()")
    words = await refusal(address, schema)
    assert f"GRANT CREATE ON DATABASE {database} TO {role}" in words
    await run([f"CREATE SCHEMA {schema}", f"GRANT USAGE ON SCHEMA {schema} TO {role}"])
    words = await refusal(address, schema)
    assert f"GRANT CREATE ON SCHEMA {schema} TO {role}" in words
    await run([f"GRANT CREATE ON SCHEMA {schema} TO {role}"])
    async with opened(schema, address) as journal:
        await journal.take(new("k"), "payer", 30.0)


@pytest.mark.parametrize(
    ("role", "written"),
    [("payer", "payer"), ("Night Payer", '"Night Payer"'), ('a"b', '"a""b"'), ("all", '"all"')],
)
def test_names_of_users_are_quoted(role, written) -> None:
    """A name can't end the statement."""
    statements = grants("shop", role)
    assert all(f" TO {written};" in statement for statement in statements)
    assert len(statements) == len(RIGHTS) + 2


async def test_the_statements_on_the_command_line(till, schema, role) -> None:
    """They are printed for the schema of the address, and can be run as they are."""
    async with opened(schema):
        pass
    at = f"{DSN}?schema={schema}"
    printed = till("journal", "grants", role, "--journal", at).stdout
    assert printed == "".join(f"{one}\n" for one in grants(schema, role))
    assert till.json("journal", "grants", role, "--journal", at) == {
        "statements": grants(schema, role)
    }
    await run([printed])
    async with opened(schema, f"{DSN}?role={role}") as journal:
        await journal.open_entries(5)
    reading = till("journal", "grants", role, "--read-only", "--journal", at).stdout
    assert set(re.findall(r"GRANT ([A-Z, ]+) ON", reading)) == {"USAGE", "SELECT"}
    assert "USER: is empty" in till("journal", "grants", "", "--journal", at, exits=2).stderr
    refused = till("journal", "grants", role, "--journal", "p.journal", exits=2).stderr
    assert "--journal: must be the address of a journal in PostgreSQL" in refused


def test_a_worker_that_lacks_a_right_ends(till, schema, monkeypatch) -> None:
    """It doesn't try for ever: exit code 2, and the statement to run."""
    role = f"{schema}_worker"
    till.opens()
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    at = f"{DSN}?schema={schema}"
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    asyncio.run(execute("CREATE ROLE {name}", name=role))
    try:
        asyncio.run(run(grants(schema, role)))
        asyncio.run(execute(f"REVOKE UPDATE ON {schema}.entry FROM {role}"))
        worker = till.child("work", "--journal", f"{at}&role={role}")
        _, err = worker.communicate(timeout=60)
        assert worker.returncode == 2, err
        assert f"GRANT UPDATE ON {schema}.entry TO {role}" in err
        asyncio.run(run(grants(schema, role)))
        till("work", "--journal", f"{at}&role={role}", "--until-done")
    finally:
        asyncio.run(execute("DROP OWNED BY {name}; DROP ROLE {name}", name=role))
    assert till.provider.report().moved == 3
