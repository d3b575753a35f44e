"""What a draft adds to the tables, and the number of its commit, in one statement."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..packing import BATCH, COLUMNS, LINE

if TYPE_CHECKING:
    from asyncpg import Connection

_BY_TYPE: Final[Mapping[str, str]] = {
    "bytea": "fingerprint request result digest",
    "float8": "leased_until not_before created_at updated_at at begun_at cover_at",
    "bigint": "amount fence ordinal rows failures",
    "integer": "session_no attempts",
    "smallint": "step",
}
_TYPES: Final = {name: kind for kind, names in _BY_TYPE.items() for name in names.split()}
"""Of the columns that aren't text."""


class Raced(Exception):
    """Another process wrote a row first that a draft holds for new: take another draft."""


class Unsigned(ConnectionError):
    """The row of the writer is gone; whoever looks at a new connection learns why."""


@frozen
class _Table:
    name: str
    columns: Sequence[str]
    unique: str | None = None
    """The column by which another process may have been first; None: there is none."""


_TABLES: Final = (
    _Table("entry", COLUMNS, "key"),
    _Table("session", ("session_id", "key", "session_no"), "session_id"),
    _Table("batch", BATCH, "name"),
    _Table("attempt", LINE),
)

_Rows = Iterable[Sequence[Any]]


async def add(  # noqa: PLR0913 - a list for each table
    connection: "Connection[Any]",
    schema: str,
    writer: str,
    commits: int,
    *,
    entries: _Rows,
    sessions: _Rows,
    batches: _Rows,
    attempts: _Rows,
) -> None:
    """Add rows, and write the number of the commit, by which it can be asked about later.

    Whoever adds one of the rows at the same time is waited for. A table without new rows has its
    place in the statement, too, so that there is one statement only.

    Raises:
        Raced: another process added one of them first.
        Unsigned: the writer's row is gone.

    """
    told = [tuple(rows) for rows in (entries, sessions, batches, attempts)]
    given: list[Any] = [writer, commits]
    for table, rows in zip(_TABLES, told, strict=True):
        given.extend(zip(*rows, strict=True) if rows else [()] * len(table.columns))
    done = await connection.fetchrow(_statement(schema), *given)
    assert done is not None  # noqa: S101 - it is one row, whatever was done
    signed, *added = done
    if not signed:
        raise Unsigned
    if added != [len(rows) for rows in told]:
        raise Raced


# Every name here is our own, and the schema's was looked at; what comes from outside is bound.
# ruff: noqa: S608
@lru_cache
def _statement(schema: str) -> str:
    parts = [f"signed AS (UPDATE {schema}.writer SET commits = $2 WHERE id = $1 RETURNING 1)"]
    place = 3
    for table in _TABLES:
        parts.append(f"new_{table.name} AS ({_insert(schema, table, place)} RETURNING 1)")
        place += len(table.columns)
    names = ("signed", *(f"new_{table.name}" for table in _TABLES))
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)
    return f"WITH {', '.join(parts)} SELECT {counts}"


def _insert(schema: str, table: _Table, first: int) -> str:
    kinds = (f"{_TYPES.get(name, 'text')}[]" for name in table.columns)
    arrays = ", ".join(f"${place}::{kind}" for place, kind in enumerate(kinds, first))
    then = "" if table.unique is None else f" ON CONFLICT ({table.unique}) DO NOTHING"
    into = f"{schema}.{table.name} ({', '.join(table.columns)})"
    return f"INSERT INTO {into} SELECT * FROM unnest({arrays}){then}"
