"""Detects that the database moved to another server, or was restored: it may lack commits."""

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..entries import Halt, HaltKind
from ..rows import halt_of, halt_text

if TYPE_CHECKING:
    from asyncpg import Connection

_TIMELINE_DIGITS: Final = 8
_HEXADECIMAL: Final = 16
_TABLES: Final = """
SELECT concat_ws('.', (SELECT oid FROM pg_database WHERE datname = current_database()),
    '{schema}.meta'::regclass::oid, '{schema}.entry'::regclass::oid,
    '{schema}.session'::regclass::oid)
"""
"""The numbers (OIDs) of the database and of three tables. Each table that is created gets a new
one, and keeps it when it is moved, renamed or rewritten."""


@frozen
class Server:
    """The cluster and the timeline of a server."""

    system: str
    """The identifier that the cluster got when it was made; copies of its files keep it."""
    timeline: int
    """Goes up by one when a standby is promoted, or a backup is restored."""

    def __str__(self) -> str:
        return f"timeline {self.timeline} of the cluster {self.system}"


@frozen
class Lineage:
    """What changes if the tables are no longer those in which the last commits were made."""

    server: Server | None
    """None if the server doesn't show it."""
    tables: str
    """The numbers of the database and its tables: a dump that is restored gets other ones."""


@frozen
class Kept:
    """What the journal has stored of its lineage."""

    server: Server | None
    """None: it was never stored."""
    tables: str | None
    halt: Halt | None

    def differs(self, found: Lineage) -> bool:
        """Return whether the lineage of the server has to be stored."""
        has_moved = found.server is not None and found.server != self.server
        return has_moved or found.tables != self.tables


async def lineage_of(connection: "Connection[Any]", schema: str) -> Lineage | None:
    """Return the lineage of a server; None if it is a standby."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return None
    tables: str = await connection.fetchval(_TABLES.format(schema=schema))
    return Lineage(await _server_of(connection), tables)


async def _server_of(connection: "Connection[Any]") -> Server | None:
    """Return cluster and timeline of a server; None if it doesn't show them.

    In PostgreSQL itself, any role may ask. Services that replace its storage have no timeline.
    """
    # Imported when used: the package works without the extra.
    from asyncpg import PostgresError  # noqa: PLC0415

    try:
        row = await connection.fetchrow(
            "SELECT system_identifier::text, pg_walfile_name(pg_current_wal_lsn()) "
            "FROM pg_control_system()"
        )
    except PostgresError:
        return None
    assert row is not None  # noqa: S101 - it is one row
    # pg_control_checkpoint() would return the old timeline for a while after a promotion.
    return Server(row[0], int(row[1][:_TIMELINE_DIGITS], _HEXADECIMAL))


# The schema's name was checked; values are bound.
# ruff: noqa: S608
async def kept_in(connection: "Connection[Any]", schema: str, *, locks: bool = False) -> Kept:
    """Return what the journal has stored of its lineage."""
    row = await connection.fetchrow(
        f"SELECT system_identifier, timeline, tables, halt FROM {schema}.meta "
        f"{'FOR UPDATE' if locks else ''}"
    )
    assert row is not None  # noqa: S101 - it was there when the schema was opened
    system, timeline, tables, halt = row
    return Kept(None if system is None else Server(system, timeline), tables, halt_of(halt))


async def compare(connection: "Connection[Any]", schema: str, found: Lineage) -> None:
    """Compare the server's lineage with the stored one, and store it.

    If they differ, payouts are halted: the last commits may not be on this server. Call it within
    a transaction.

    A promoted standby can't prove that it has them. Which standbys had to confirm a commit
    (synchronous_standby_names) is known only up to what this one received: it may have been taken
    out of that list later. And its name isn't unique, needs a privilege to be read, and is removed
    by tools that promote.
    """
    kept = await kept_in(connection, schema, locks=True)
    if not kept.differs(found):
        return
    halt, server = kept.halt, found.server or kept.server
    if (reason := _reason(kept, found)) is not None:
        halt = Halt(kind=HaltKind.QUARANTINE, reason=reason).beside(halt)
    _ = await connection.execute(
        f"UPDATE {schema}.meta SET system_identifier = $1, timeline = $2, tables = $3, halt = $4",
        None if server is None else server.system,
        None if server is None else server.timeline,
        found.tables,
        None if halt is None else halt_text(halt),
    )


def _reason(kept: Kept, found: Lineage) -> str | None:
    """Describe a change and what it means; None if nothing was stored that could differ."""
    before, server = kept.server, found.server
    if before is not None and server is not None and server != before:
        moved = f"the database was at {before}, and is at {server}"
        if server.system != before.system:
            return f"{moved}: it was copied or restored, and may lack the last payouts"
        if server.timeline < before.timeline:
            return f"{moved}: it is an older copy, and may lack the last payouts"
        return (
            f"{moved}: a standby was promoted or a backup restored, and nothing proves that it has "
            "the last commits, so it may lack payouts"
        )
    if kept.tables is not None and found.tables != kept.tables:
        return (
            "its tables are not those that it was written to: a dump was restored, or the database "
            "was copied, so it may lack the last payouts"
        )
    return None
