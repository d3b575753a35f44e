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


@frozen
class Addition:
    """Rows that are new in a table."""

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


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

    Whoever adds one of the rows at the same time is waited for.

    Raises:
        Raced: another process added one of them first.
        ConnectionError: the writer's row is gone; whoever looks at a new connection learns why.

    """
    filled = [one for one in additions if one.rows]
    given: list[Any] = [writer, commits]
    parts = [f"signed AS (UPDATE {schema}.writer SET commits = $2 WHERE id = $1 RETURNING 1)"]
    for one in filled:
        kinds = (f"{_TYPES.get(name, 'text')}[]" for name in one.columns)
        arrays = (f"${place}::{kind}" for place, kind in enumerate(kinds, len(given) + 1))
        parts.append(
            f"new_{one.table} AS (INSERT INTO {schema}.{one.table} ({', '.join(one.columns)}) "
            f"SELECT * FROM unnest({', '.join(arrays)}) ON CONFLICT DO NOTHING RETURNING 1)"
        )
        given.extend(zip(*one.rows, strict=True))
    names = ("signed", *(f"new_{one.table}" for one in filled))
    counts = ", ".join(f"(SELECT count(*) FROM {name})" for name in names)
    done = await connection.fetchrow(f"WITH {', '.join(parts)} SELECT {counts}", *given)
    assert done is not None  # noqa: S101 - it is one row, whatever was done
    signed, *added = done
    if not signed:
        raise ConnectionError
    if added != [len(one.rows) for one in filled]:
        raise Raced
