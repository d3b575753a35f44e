"""The rights on a journal's tables: as statements for their owner, and what a user lacks."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from ...errors import JournalMisconfigured, JournalUnusable
from .address import name_of, schema_in, without_schema
from .connection import CONNECT_SECONDS, unusable

if TYPE_CHECKING:
    from asyncpg import Connection

RIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    "meta": ("SELECT", "UPDATE"),
    "entry": ("SELECT", "INSERT", "UPDATE"),
    "session": ("SELECT", "INSERT"),
    "attempt": ("SELECT", "INSERT", "DELETE"),
    "batch": ("SELECT", "INSERT", "UPDATE"),
    "fleet": ("SELECT", "UPDATE"),
    "writer": ("SELECT", "INSERT", "UPDATE"),
    "worker": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "operator_action": ("SELECT", "INSERT"),
}
"""Table -> what a worker does with its rows; ``DELETE`` on ``attempt`` is for forgetting."""
_QUEUE: Final = ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules")
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_$]*")
_RESERVED: Final = frozenset({"all", "current_role", "current_user", "public", "session_user"})


def grants(schema: str, role: str, *, only_reads: bool = False) -> list[str]:
    """Return the statements that let a role use a journal; its owner or a superuser runs them.

    The tables must exist: their owner opens the journal once, as with ``payouts submit``. With
    ``only_reads`` the role can look (``status``, ``report``, ``batches``) and change nothing.
    """
    name = _quoted(role)
    statements = [f"GRANT USAGE ON SCHEMA {schema} TO {name};"]
    for table, rights in RIGHTS.items():
        granted = "SELECT" if only_reads else ", ".join(rights)
        statements.append(f"GRANT {granted} ON {schema}.{table} TO {name};")
    if not only_reads:
        statements.append(_grant_queue(schema, name))
    return statements


def _grant_queue(schema: str, name: str) -> str:
    """Return a statement for the tables of the queue, which the first worker makes."""
    tables = ", ".join(f"{schema}.{table}" for table in _QUEUE)
    return (
        f"DO $$ BEGIN IF to_regclass('{schema}.{_QUEUE[0]}') IS NOT NULL THEN\n"
        f"    GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {name};\n"
        f"    GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {name};\n"
        "END IF; END $$;"
    )


def _quoted(role: str) -> str:
    if _PLAIN.fullmatch(role) is not None and role not in _RESERVED:
        return role
    doubled = role.replace('"', '""')
    return f'"{doubled}"'


_MISSING: Final = """
SELECT needed.name, string_agg(needed.privilege, ', ' ORDER BY needed.number) AS privileges
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS needed (name, privilege, number)
JOIN pg_class c ON relnamespace = to_regnamespace($1) AND relname = needed.name
WHERE NOT has_table_privilege(c.oid, needed.privilege)
GROUP BY needed.name ORDER BY min(needed.number)
"""
_PLACES: Final = """
SELECT current_user AS role, current_database() AS database,
    to_regnamespace($1) IS NOT NULL AS has_schema,
    coalesce(has_schema_privilege(to_regnamespace($1), 'USAGE'), false) AS may_use,
    EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = 'meta')
        AS has_tables
"""


async def explained(dsn: str, schema: str, name: str, error: BaseException) -> JournalUnusable:
    """Return the error to raise for this one; if it is for a missing right, the text names it."""
    found = unusable(name, error)
    if not isinstance(error, asyncpg.InsufficientPrivilegeError):
        return found
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return found
    try:
        return JournalMisconfigured(f"{name}: {await _missing(connection, schema)}")
    finally:
        connection.terminate()


async def check_rights(address: str) -> None:
    """Check that the user of an address has every right that a worker needs on its journal.

    Raises:
        JournalMisconfigured: it lacks one; the text has the statements that grant it.
        JournalUnusable: the database can't be reached, or refuses the user.

    """
    dsn, schema = without_schema(address), schema_in(address)
    name = name_of(dsn, schema)
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unusable(name, error) from error
    try:
        if await _lacking(connection, schema):
            raise JournalMisconfigured(f"{name}: {await _missing(connection, schema)}")
    finally:
        connection.terminate()


async def _lacking(connection: "Connection[Any]", schema: str) -> list[Any]:
    """Return the tables with the rights that the user lacks on each."""
    pairs = [(table, right) for table, rights in RIGHTS.items() for right in rights]
    tables, rights = zip(*pairs, strict=True)
    found: list[Any] = await connection.fetch(_MISSING, schema, tables, rights)
    return found


async def _missing(connection: "Connection[Any]", schema: str) -> str:
    [place] = await connection.fetch(_PLACES, schema)
    role, database = _quoted(place["role"]), _quoted(place["database"])
    begins = f"the user {role} lacks a right (SQLSTATE 42501): "
    if not place["has_schema"]:
        return (
            f"{begins}it may not make the schema. Have a user that may open the journal once, or "
            f"run GRANT CREATE ON DATABASE {database} TO {role}"
        )
    if place["may_use"] and not place["has_tables"]:
        return (
            f"{begins}it may not make the tables. Have the owner of the schema open the journal "
            f"once, or run GRANT CREATE ON SCHEMA {schema} TO {role}"
        )
    missing = [
        f"GRANT {row['privileges']} ON {schema}.{row['name']} TO {role}"
        for row in await _lacking(connection, schema)
    ]
    if not place["may_use"]:
        missing = [f"GRANT USAGE ON SCHEMA {schema} TO {role}", *missing]
    listed = "; ".join(missing) or "the rights on the tables of the queue"
    return (
        f"{begins}have the owner of the schema run {listed}. `smartglocal payouts journal grants "
        f"{role}` prints all statements"
    )
