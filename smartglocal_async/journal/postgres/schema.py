"""The tables of a journal in PostgreSQL, their migrations, and checks of the server."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ...errors import JournalUnusable
from ..rows import is_same

if TYPE_CHECKING:
    from asyncpg import Connection

CLOCK: Final = "extract(epoch FROM clock_timestamp())::float8"
"""The database's time, in seconds since 1970."""
_VERSION: Final = 4
_OLDEST_SERVER: Final = 13
_KEPT: Final = frozenset({"on", "remote_apply"})
# The fill factor leaves room for updates on the same page. There is no foreign key: its check would
# be planned while the table is empty, and that plan kept while it grows.
_TABLES: Final = """
CREATE TABLE {schema}.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL,
    scope text NOT NULL, journal_id text NOT NULL, secret bytea NOT NULL, halt text,
    system_identifier text, timeline integer, tables text);
CREATE TABLE {schema}.entry (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, key text NOT NULL UNIQUE,
    mode text NOT NULL, fingerprint bytea NOT NULL, request bytea, amount bigint, currency text,
    step smallint NOT NULL, session_no integer NOT NULL, session_id text, item_id text,
    fence bigint NOT NULL, owner text, leased_until float8, not_before float8, result bytea,
    code text, reason text, attempts integer NOT NULL, batch text, ordinal bigint,
    created_at float8 NOT NULL, updated_at float8 NOT NULL, summary bytea, payment bytea)
    WITH (fillfactor = 75);
CREATE INDEX entry_batch_open ON {schema}.entry (batch, number) WHERE step < 80;
CREATE INDEX entry_payment ON {schema}.entry (payment) WHERE payment IS NOT NULL;
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
_ACTIONS: Final = """
CREATE TABLE {schema}.operator_action (
    number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, at float8 NOT NULL,
    operator text NOT NULL, action text NOT NULL, batch text, key text, detail text);
CREATE INDEX entry_not_paid ON {schema}.entry (step, number)
    WHERE step IN (70, 81, 82);
CREATE INDEX entry_batch_not_paid ON {schema}.entry (batch, step, number)
    WHERE step IN (70, 81, 82);
"""
_MIGRATIONS: Final[Mapping[int, str]] = {
    1: """
ALTER TABLE {schema}.meta ADD COLUMN system_identifier text, ADD COLUMN timeline integer,
    ADD COLUMN is_guaranteed boolean;
ALTER TABLE {schema}.entry ADD COLUMN summary bytea, ADD COLUMN payment bytea;
CREATE INDEX entry_batch_open ON {schema}.entry (batch, number) WHERE step < 80;
CREATE INDEX entry_payment ON {schema}.entry (payment) WHERE payment IS NOT NULL;
""",
    2: "ALTER TABLE {schema}.meta DROP COLUMN is_guaranteed, ADD COLUMN tables text;",
    3: _ACTIONS,
}
"""The version of the tables -> the statements that bring them to the next version."""
_LATER: Final = "CREATE TABLE {schema}.worker (owner text PRIMARY KEY, seen_at float8 NOT NULL)"
"""Added if missing, without a new version: older releases work without it."""
_LACKS_LATER: Final = """
SELECT to_regclass($1 || '.worker') IS NULL AND has_schema_privilege($1, 'CREATE')
    AND current_setting('transaction_read_only') = 'off'
"""
_OWN: Final = (
    *("meta", "entry", "session", "attempt", "batch", "fleet", "writer", "worker"),
    "operator_action",
)
# Of a trigger's type, 1 is FOR EACH ROW and 2 is BEFORE: such a one may discard a row.
_UNFIT: Final = """
SELECT relname, relkind NOT IN ('r', 'p') AS is_no_table, relpersistence <> 'p' AS is_volatile,
    row_security_active(c.oid) AS is_filtered,
    EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid) AS has_rule,
    EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal
        AND tgenabled <> 'D' AND tgtype & 3 = 3) AS has_trigger
FROM pg_class c WHERE relnamespace = to_regnamespace($1) AND relname = ANY ($2)
ORDER BY relname
"""


@frozen
class Identity:
    """What identifies a journal."""

    journal_id: str
    secret: bytes = field(repr=False)


async def create_tables(connection: "Connection[Any]", schema: str, scope: str, name: str) -> None:
    """Create the tables if there are none, and add newer ones if that is allowed.

    Raises:
        JournalUnusable: the server is too old, or isn't durable; the text says which.

    """
    await _fit(connection, name)
    async with connection.transaction():
        # Two processes that begin at once would both find no tables.
        _ = await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", schema)
        if not await _is_there(connection, schema):
            await _make(connection, schema, scope)
        if await connection.fetchval(_LACKS_LATER, schema):
            _ = await connection.execute(_LATER.format(schema=schema))
    await migrate(connection, schema, name)


async def migrate(connection: "Connection[Any]", schema: str, name: str) -> None:
    """Migrate tables of an older release to this release's version.

    Raises:
        JournalUnusable: this role may not; the text says which role may.

    """
    # Imported when used: the package works without the extra.
    from asyncpg import InsufficientPrivilegeError, ReadOnlySQLTransactionError  # noqa: PLC0415

    if await _version_of(connection, schema) not in _MIGRATIONS:
        return  # They have this version, or identify() refuses them.
    try:
        async with connection.transaction():
            _ = await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", schema)
            while (version := await _version_of(connection, schema)) in _MIGRATIONS:
                _ = await connection.execute(_MIGRATIONS[version].format(schema=schema))
                _ = await connection.execute(
                    f"UPDATE {schema}.meta SET version = $1",  # noqa: S608
                    version + 1,
                )
    except (InsufficientPrivilegeError, ReadOnlySQLTransactionError):
        raise JournalUnusable(
            f"{name}: its tables were made by an older release: have their owner open it once with "
            "this release on the primary server (`payouts status` will do), which brings them to "
            f"version {_VERSION}"
        ) from None


async def _version_of(connection: "Connection[Any]", schema: str) -> int:
    """Return the version of the tables; 0 if there are none."""
    if not await _is_there(connection, schema):
        return 0
    version: int | None = await connection.fetchval(f"SELECT version FROM {schema}.meta")  # noqa: S608
    return version or 0


async def expect(connection: "Connection[Any]", schema: str, name: str) -> None:
    """Check that the tables exist; a reader must not create them.

    Raises:
        JournalUnusable: they don't.

    """
    if not await _is_there(connection, schema):
        words = "there is none; fix the address or its ?schema= (`payouts submit` makes a new one)"
        raise JournalUnusable(f"{name}: {words}")
    await migrate(connection, schema, name)


async def identify(connection: "Connection[Any]", schema: str, scope: str, name: str) -> Identity:
    """Check that the tables are a journal of this scope, on a durable server.

    Raises:
        JournalUnusable: the text says why.

    """
    await _fit(connection, name)
    if not await _is_there(connection, schema):
        # A journal that lost its tables must not go on with empty ones.
        raise JournalUnusable(f"{name}: its tables are gone: find the database that has them")
    await _check_tables(connection, schema, name)
    row = await connection.fetchrow(
        f"SELECT version, scope, journal_id, secret FROM {schema}.meta"  # noqa: S608
    )
    if row is None or row["version"] != _VERSION:
        found = "unknown" if row is None else row["version"]
        raise JournalUnusable(
            f"{name}: its tables are of version {found}, and this release knows {_VERSION}: "
            "use the release that made them, or a later one"
        )
    if not is_same(row["scope"], scope):
        words = f"{name} belongs to {row['scope']}, not to {scope}: give each its own schema"
        raise JournalUnusable(words)
    return Identity(row["journal_id"], row["secret"])


async def _fit(connection: "Connection[Any]", name: str) -> None:
    if (found := connection.get_server_version().major) < _OLDEST_SERVER:
        raise JournalUnusable(f"{name}: PostgreSQL {found} is too old: {_OLDEST_SERVER} or newer")
    for setting in ("fsync", "full_page_writes"):
        if await connection.fetchval(f"SHOW {setting}") != "on":
            raise JournalUnusable(
                f"{name}: the server runs with {setting}=off, and would lose payouts when its "
                "power fails; turn it on"
            )


async def _check_tables(connection: "Connection[Any]", schema: str, name: str) -> None:
    """Check that what is written to the tables stays in them.

    Raises:
        JournalUnusable: a crash would empty one, or something else decides what is written or read.

    """
    for row in await connection.fetch(_UNFIT, schema, _OWN):
        table = f"{schema}.{row['relname']}"
        if row["is_no_table"]:
            problem = "is no table"
        elif row["is_volatile"]:
            problem = (
                "is UNLOGGED, so a crash of the server empties it: run `ALTER TABLE "
                f"{table} SET LOGGED`, and if the server crashed since it was changed, `payouts "
                "journal quarantine` before it is used again"
            )
        elif row["is_filtered"]:
            problem = "has row security, which hides rows from this user: disable it"
        elif row["has_rule"]:
            problem = "has a rule, which may replace what is written: drop it"
        elif row["has_trigger"]:
            problem = "has a trigger BEFORE ... FOR EACH ROW, which may discard rows: drop it"
        else:
            continue
        raise JournalUnusable(f"{name}: its table {table} {problem}")


async def _is_there(connection: "Connection[Any]", schema: str) -> bool:
    return await connection.fetchval("SELECT to_regclass($1)", f"{schema}.meta") is not None


async def _make(connection: "Connection[Any]", schema: str, scope: str) -> None:
    if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema):
        _ = await connection.execute(f"CREATE SCHEMA {schema}")
    _ = await connection.execute((_TABLES + _ACTIONS).format(schema=schema))
    _ = await connection.execute(
        f"INSERT INTO {schema}.meta (version, scope, journal_id, secret) "  # noqa: S608
        "VALUES ($1, $2, $3, $4)",
        _VERSION,
        scope,
        os.urandom(8).hex(),
        os.urandom(16),
    )


async def commit_level(connection: "Connection[Any]") -> str:
    """Return how far a commit has to be before it counts: no role or pooler may weaken it."""
    found: str = await connection.fetchval("SHOW synchronous_commit")
    return found if found in _KEPT else "on"
