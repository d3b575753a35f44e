"""What a draft adds to the tables, and the number of its commit, in one statement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

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
class Addition:
    """Rows that are new in a table."""

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    unique: str | None = None
    """The column by which another process may have been first; None: there is none."""


# Every name here is our own, and the schema's was looked at; what comes from outside is bound.
# ruff: noqa: S608
async def add(
    connection: "Connection[Any]",
    schema: str,
    additions: Iterable[Addition],
    writer: str,
    commits: int,
) -> None:
    """Add rows, and write the number of the commit, by which it can be asked about later.

    Whoever adds one of the rows at the same time is waited for. A table without new rows has its
    place in the statement, too, so that there is one statement only.

    Raises:
        Raced: another process added one of them first.
        Unsigned: the writer's row is gone.

    """
    told = tuple(additions)
    given: list[Any] = [writer, commits]
    parts = [f"signed AS (UPDATE {schema}.writer SET commits = $2 WHERE id = $1 RETURNING 1)"]
    for one in told:
        parts.append(f"new_{one.table} AS ({_insert(schema, one, len(given) + 1)} RETURNING 1)")
        given.extend(zip(*one.rows, strict=True) if one.rows else [()] * len(one.columns))
    names = ("signed", *(f"new_{one.table}" for one in told))
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)
    done = await connection.fetchrow(f"WITH {', '.join(parts)} SELECT {counts}", *given)
    assert done is not None  # noqa: S101 - it is one row, whatever was done
    signed, *added = done
    if not signed:
        raise Unsigned
    if added != [len(one.rows) for one in told]:
        raise Raced


def _insert(schema: str, one: Addition, first: int) -> str:
    kinds = (f"{_TYPES.get(name, 'text')}[]" for name in one.columns)
    arrays = ", ".join(f"${place}::{kind}" for place, kind in enumerate(kinds, first))
    then = "" if one.unique is None else f" ON CONFLICT ({one.unique}) DO NOTHING"
    into = f"{schema}.{one.table} ({', '.join(one.columns)})"
    return f"INSERT INTO {into} SELECT * FROM unnest({arrays}){then}"
