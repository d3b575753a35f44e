"""The tables of a journal in PostgreSQL, and what a database must be like to hold them."""

import os
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ...errors import JournalUnusable
from ..scopes import is_same

if TYPE_CHECKING:
    from asyncpg import Connection

CLOCK: Final = "extract(epoch FROM clock_timestamp())::float8"
"""The database's time, in seconds since 1970."""
_VERSION: Final = 1
_OLDEST_SERVER: Final = 13
_KEPT: Final = frozenset({"on", "remote_apply"})
# An update finds room beside the row that it replaces. There is no foreign key: the plan of its
# check would be made while the table is empty, and kept while it grows.
_TABLES: Final = """
CREATE TABLE {schema}.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL,
    scope text NOT NULL, journal_id text NOT NULL, secret bytea NOT NULL, halt text);
CREATE TABLE {schema}.entry (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, key text NOT NULL UNIQUE,
    mode text NOT NULL, fingerprint bytea NOT NULL, request bytea, amount bigint, currency text,
    step smallint NOT NULL, session_no integer NOT NULL, session_id text, item_id text,
    fence bigint NOT NULL, owner text, leased_until float8, not_before float8, result bytea,
    code text, reason text, attempts integer NOT NULL, batch text, ordinal bigint,
    created_at float8 NOT NULL, updated_at float8 NOT NULL) WITH (fillfactor = 75);
CREATE INDEX entry_open ON {schema}.entry (number) WHERE step < 80;
CREATE INDEX entry_held ON {schema}.entry (number) WHERE owner IS NOT NULL;
CREATE INDEX entry_batch ON {schema}.entry (batch, number) WHERE batch IS NOT NULL;
CREATE TABLE {schema}.session (
    session_id text PRIMARY KEY, key text NOT NULL, session_no integer NOT NULL);
CREATE TABLE {schema}.attempt (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, key text NOT NULL,
    fence bigint NOT NULL, event text NOT NULL, step smallint NOT NULL, session_id text,
    code text, reason text, at float8 NOT NULL);
CREATE INDEX attempt_key ON {schema}.attempt (key);
CREATE TABLE {schema}.batch (
    name text PRIMARY KEY, digest bytea, rows bigint NOT NULL, totals text NOT NULL,
    begun_at float8 NOT NULL, state text NOT NULL, reason text, rules text, bound text NOT NULL,
    paid text NOT NULL, failures bigint NOT NULL, cover text, cover_at float8);
CREATE TABLE {schema}.fleet (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), rate float8, concurrency integer,
    tokens float8 NOT NULL DEFAULT 0, at float8 NOT NULL DEFAULT 0,
    blocked_until float8 NOT NULL DEFAULT 0);
INSERT INTO {schema}.fleet DEFAULT VALUES;
CREATE TABLE {schema}.writer (id text PRIMARY KEY, commits bigint NOT NULL);
"""
_LATER: Final = "CREATE TABLE {schema}.worker (owner text PRIMARY KEY, seen_at float8 NOT NULL)"
"""Added where it is missing: releases that don't know it do without, so the version is the same."""
_LACKS_LATER: Final = """
SELECT to_regclass($1 || '.worker') IS NULL AND has_schema_privilege($1, 'CREATE')
    AND current_setting('transaction_read_only') = 'off'
"""


@frozen
class Identity:
    """What makes a journal this one."""

    journal_id: str
    secret: bytes = field(repr=False)


async def lay_out(connection: "Connection[Any]", schema: str, scope: str, name: str) -> None:
    """Lay the tables out where there are none, and what came later where it may be added.

    Raises:
        JournalUnusable: the server is too old, or forgets; the text says which.

    """
    await _fit(connection, name)
    async with connection.transaction():
        # Two that begin at once would both find nothing there.
        _ = await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", schema)
        if not await _is_there(connection, schema):
            await _make(connection, schema, scope)
        if await connection.fetchval(_LACKS_LATER, schema):
            _ = await connection.execute(_LATER.format(schema=schema))


async def expect(connection: "Connection[Any]", schema: str, name: str) -> None:
    """See that somebody laid the tables out; whoever only looks makes none.

    Raises:
        JournalUnusable: nobody did.

    """
    if not await _is_there(connection, schema):
        words = "there is none; mend the address or its ?schema= (`payouts submit` begins one)"
        raise JournalUnusable(f"{name}: {words}")


async def identify(connection: "Connection[Any]", schema: str, scope: str, name: str) -> Identity:
    """See that the tables are a journal of this scope, on a server that doesn't forget.

    Raises:
        JournalUnusable: the text says why.

    """
    await _fit(connection, name)
    if not await _is_there(connection, schema):
        # Whoever lost them must not go on with empty ones.
        raise JournalUnusable(f"{name}: its tables are gone: find the database that has them")
    row = await connection.fetchrow(
        f"SELECT version, scope, journal_id, secret FROM {schema}.meta"  # noqa: S608
    )
    if row is None or row["version"] != _VERSION:
        found = "unknown" if row is None else row["version"]
        raise JournalUnusable(
            f"{name}: its tables are of version {found}, and this release knows {_VERSION}: "
            "take the release that made them, or a later one"
        )
    if not is_same(row["scope"], scope):
        words = f"{name} belongs to {row['scope']}, not to {scope}: give each a schema of its own"
        raise JournalUnusable(words)
    return Identity(row["journal_id"], row["secret"])


async def _fit(connection: "Connection[Any]", name: str) -> None:
    if (found := connection.get_server_version().major) < _OLDEST_SERVER:
        raise JournalUnusable(f"{name}: PostgreSQL {found} is too old: {_OLDEST_SERVER} or newer")
    for setting in ("fsync", "full_page_writes"):
        if await connection.fetchval(f"SHOW {setting}") != "on":
            raise JournalUnusable(
                f"{name}: the server runs with {setting}=off, and would forget payouts when its "
                "power fails; turn it on"
            )


async def _is_there(connection: "Connection[Any]", schema: str) -> bool:
    return await connection.fetchval("SELECT to_regclass($1)", f"{schema}.meta") is not None


async def _make(connection: "Connection[Any]", schema: str, scope: str) -> None:
    if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema):
        _ = await connection.execute(f"CREATE SCHEMA {schema}")
    _ = await connection.execute(_TABLES.format(schema=schema))
    _ = await connection.execute(
        f"INSERT INTO {schema}.meta (version, scope, journal_id, secret) "  # noqa: S608
        "VALUES ($1, $2, $3, $4)",
        _VERSION,
        scope,
        os.urandom(8).hex(),
        os.urandom(16),
    )


async def commit_level(connection: "Connection[Any]") -> str:
    """Give how far a commit has to be before it counts: no role or pooler may weaken it."""
    found: str = await connection.fetchval("SHOW synchronous_commit")
    return found if found in _KEPT else "on"
