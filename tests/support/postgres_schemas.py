"""Schemas of a PostgreSQL server for tests, each dropped at the end."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import asyncpg
import pytest
from journal_conformance import SCOPE

import smartglocal_async as sg

ADDRESS = "SMARTGLOCAL_TEST_POSTGRES"
DSN = os.environ.get(ADDRESS, "postgres://127.0.0.1:5432/test")


async def _reach() -> None:
    connection = await asyncpg.connect(DSN, timeout=5)
    await connection.close()


@cache
def missing() -> str | None:
    """Return why there is no server to test with, or None if there is one."""
    try:
        asyncio.run(_reach())
    except (OSError, asyncpg.PostgresError) as error:
        return f"no PostgreSQL at {ADDRESS}, nor at its default: {type(error).__name__}"
    return None


needs_postgres = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the test's own."""
    connection = await asyncpg.connect(DSN, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def schemas() -> AsyncIterator[list[str]]:
    """Yield a list for names of schemas, which are dropped at the end."""
    names: list[str] = []
    try:
        yield names
    finally:
        async with connected() as connection:
            for name in names:
                await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def new_schema() -> str:
    """Return the name of a new schema."""
    return f"test_{uuid.uuid4().hex[:16]}"


@contextlib.asynccontextmanager
async def opened(schema: str, dsn: str = DSN, **options: Any) -> AsyncIterator[sg.PostgresJournal]:
    """Yield an open journal."""
    journal = sg.PostgresJournal(dsn, schema=schema, **options)
    try:
        await journal.open(SCOPE)
        yield journal
    finally:
        await journal.close()


async def execute(statement: str, **names: str) -> None:
    """Run a statement with schema names in braces."""
    async with connected() as connection:
        await connection.execute(statement.format(**names))


async def waits_for_a_lock(schema: str) -> None:
    """Wait until a statement on a schema waits for another connection's lock."""
    async with connected() as connection, asyncio.timeout(20):
        # The server sends no event when a statement begins to wait, so it is polled.
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity, pg_sleep(0.01) "
            "WHERE wait_event_type = 'Lock' AND query LIKE $1",
            f"%{schema}%",
        ):
            continue
