"""The rows that a transaction locked, and the statement that writes their changes."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from ...idempotency import Fingerprint
from ..entries import Attempt, Batch, Entry, Halt, OperatorAction
from ..limits import is_leased
from ..rows import (
    ACTION,
    BATCH,
    COLUMNS,
    LINE,
    MOVING,
    Page,
    action_row,
    attempt_row,
    batch_of,
    batch_row,
    entry_of,
    entry_row,
    halt_of,
    halt_text,
    kinds_of,
)
from .queries import Queries
from .schema import CLOCK
from .workers import WorkerTable

if TYPE_CHECKING:
    from asyncpg import Connection

_BY_KIND: Final[Mapping[type[object], str]] = {
    bytes: "bytea",
    float: "float8",
    int: "bigint",
    str: "text",
}
"""A smaller integer column accepts a bigint that fits."""


class InsertConflict(Exception):
    """Another process inserted one of the new rows first: all rows have to be read again."""


class WriterRowMissing(ConnectionError):
    """The row of the writer is gone; the check of the next connection shows why."""


@frozen
class _TableColumns:
    name: str
    columns: Sequence[str]
    kinds: Mapping[str, type[object]]
    unique: str | None = None
    """The column on which another process may have been first; None: there is none."""


_SESSION: Final[Mapping[str, type[object]]] = {"session_id": str, "key": str, "session_no": int}
_TABLES: Final = (
    _TableColumns("entry", COLUMNS, kinds_of(Entry), "key"),
    _TableColumns("session", tuple(_SESSION), _SESSION, "session_id"),
    _TableColumns("batch", BATCH, kinds_of(Batch), "name"),
    _TableColumns("attempt", LINE, kinds_of(Attempt)),
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
    """Insert rows, and write the number of the commit, by which it can be found later.

    It waits for a transaction that is inserting one of these rows. Tables without new rows are in
    the statement, too, so that one prepared statement serves every commit.

    Raises:
        InsertConflict: another process added one of them first.
        WriterRowMissing: the writer's row is gone.

    """
    table_rows = [tuple(rows) for rows in (entries, sessions, batches, attempts)]
    given: list[Any] = [writer, commits]
    for table, rows in zip(_TABLES, table_rows, strict=True):
        given.extend(zip(*rows, strict=True) if rows else [()] * len(table.columns))
    done = await connection.fetchrow(_statement(schema), *given)
    assert done is not None  # noqa: S101 - the statement always returns one row
    signed, *added = done
    if not signed:
        raise WriterRowMissing
    if added != [len(rows) for rows in table_rows]:
        raise InsertConflict


# All names are constants, the schema's was checked, and values are bound.
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


def _insert(schema: str, table: _TableColumns, first: int) -> str:
    kinds = (f"{_BY_KIND[table.kinds[name]]}[]" for name in table.columns)
    arrays = ", ".join(f"${place}::{kind}" for place, kind in enumerate(kinds, first))
    then = "" if table.unique is None else f" ON CONFLICT ({table.unique}) DO NOTHING"
    into = f"{schema}.{table.name} ({', '.join(table.columns)})"
    return f"INSERT INTO {into} SELECT * FROM unnest({arrays}){then}"


@frozen(kw_only=True)
class Needs:
    """What a job reads or writes."""

    keys: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    batches: frozenset[str] = frozenset()
    pages: tuple[Page, ...] = ()
    """Pages of entries that can be worked on."""
    sets_halt: bool = False
    counted: frozenset[str] = frozenset()
    """The keys of payouts that a batch with rules has to count."""
    news: frozenset[tuple[str, str]] = frozenset()
    """Keys that may be new, with their batches; one of them may be claimed in the same commit."""

    @classmethod
    def of_all(cls, several: "Iterable[Needs]") -> "Needs":
        """Return what several jobs need together."""
        needs_of_all = tuple(several)
        return cls(
            keys=frozenset(chain.from_iterable(needs.keys for needs in needs_of_all)),
            sessions=frozenset(chain.from_iterable(needs.sessions for needs in needs_of_all)),
            batches=frozenset(chain.from_iterable(needs.batches for needs in needs_of_all)),
            pages=tuple(chain.from_iterable(needs.pages for needs in needs_of_all)),
            sets_halt=any(needs.sets_halt for needs in needs_of_all),
            counted=frozenset(chain.from_iterable(needs.counted for needs in needs_of_all)),
            news=frozenset(chain.from_iterable(needs.news for needs in needs_of_all)),
        )


@define(eq=False, kw_only=True)
class LockedRows:
    """The locked rows, as `Transitions` reads and changes them."""

    now: float
    """The database's time, once the rows were locked."""
    entries: dict[str, Entry]
    users: dict[str, str]
    """Session id -> the key that ever used it."""
    batches: dict[str, Batch]
    halted: Halt | None
    opened: Mapping[Page, tuple[Entry, ...]]
    """What could be worked on when it was locked, for all jobs that ask for the page."""
    wait_seconds: float | None
    """When to claim again, if a shared limit allowed no more."""
    new_keys: set[str] = field(factory=set[str], init=False)
    changed_keys: set[str] = field(factory=set[str], init=False)
    new_sessions: list[tuple[str, str, int]] = field(factory=list[tuple[str, str, int]], init=False)
    lines: list[Attempt] = field(factory=list[Attempt], init=False)
    old_batches: frozenset[str] = field(init=False)
    set_batches: set[str] = field(factory=set[str], init=False)
    is_halt_set: bool = field(default=False, init=False)
    actions: list[OperatorAction] = field(factory=list[OperatorAction], init=False)

    def __attrs_post_init__(self) -> None:
        self.old_batches = frozenset(self.batches)

    @property
    def is_changed(self) -> bool:
        """Whether there is something to write."""
        return bool(self.new_keys or self.changed_keys or self.set_batches or self.is_halt_set)

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return self.entries.get(key)

    def insert(self, entry: Entry) -> None:
        """Add the entry of a new key."""
        self.entries[entry.key] = entry
        self.new_keys.add(entry.key)

    def replace(self, found: Entry, after: Entry) -> None:
        """Replace the entry that was found under its key."""
        self.entries[found.key] = after
        if found.key not in self.new_keys:
            self.changed_keys.add(found.key)

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> Iterable[Entry]:  # noqa: ARG002 - they are
        """Return a page of the entries that can be worked on now."""
        found = (self.entries[entry.key] for entry in self.opened[page])
        return islice((entry for entry in found if not is_leased(entry, self.now)), page.limit)

    def key_of(self, session_id: str) -> str | None:
        """Return the key that uses or used a session."""
        return self.users.get(session_id)

    def use(self, session_id: str, entry: Entry) -> None:
        """Store permanently that a session belongs to an entry."""
        self.users[session_id] = entry.key
        self.new_sessions.append((session_id, entry.key, entry.session_no))

    def log(self, attempt: Attempt) -> None:
        """Add a line to the log."""
        self.lines.append(attempt)

    def add_action(self, action: OperatorAction) -> None:
        """Add what an operator changed."""
        self.actions.append(action)

    def halt(self) -> Halt | None:
        """Return the halt that was written last."""
        return self.halted

    def set_halt(self, halt: Halt | None) -> None:
        """Replace the last halt."""
        self.halted, self.is_halt_set = halt, True

    def batch(self, name: str) -> Batch | None:
        """Return a batch."""
        return self.batches.get(name)

    def set_batch(self, batch: Batch) -> None:
        """Replace the batch with this name."""
        self.batches[batch.name] = batch
        self.set_batches.add(batch.name)


if TYPE_CHECKING:
    from asyncpg import Connection


# All names are constants, the schema's was checked, and values are bound.
# ruff: noqa: S608
@frozen
class StatementBuilder:
    """Locks, reads and writes the rows of transactions, in the tables of one schema."""

    schema: str
    clock: Callable[[], float] | None = None
    """None: the database's clock."""

    async def warm(self, connection: "Connection[Any]") -> None:
        """Use each statement once, for a key that doesn't exist, before rows are locked.

        The driver prepares each statement when it is first used. If the process were stopped then,
        the server wouldn't count the transaction as idle, and its locks would be held without end.
        """
        no_key = os.urandom(8).hex()
        just = frozenset({no_key})
        rows = await self.take(connection, Needs(keys=just, sessions=just, batches=just))
        nothing = Fingerprint(())
        rows.entries[no_key] = Entry(
            key=no_key, mode="", fingerprint=nothing, created_at=0, updated_at=0
        )
        rows.batches[no_key] = Batch(name=no_key)
        rows.changed_keys.add(no_key)
        rows.set_batches.add(no_key)
        rows.old_batches = just
        with suppress(WriterRowMissing):
            await self.save(connection, rows, no_key, 0)

    async def take(self, connection: "Connection[Any]", needs: Needs) -> LockedRows:
        """Read and lock what is needed; always in the same order, so that no deadlock can occur."""
        entries = await connection.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM {self.schema}.entry "
            "WHERE key = ANY($1) ORDER BY key FOR UPDATE",
            sorted(needs.keys),
        )
        opened, wait_seconds = await self._opened(connection, needs)
        keyed, free = tuple(map(entry_of, entries)), tuple(chain(*opened.values()))
        counting = _counting(needs, keyed, free)
        now, halt, ruled, users = await self._meta(connection, counting, needs.sessions)
        batches = await self._locked_batches(connection, needs.batches.union(ruled))
        if batches or needs.sets_halt:
            # Read after the rows are locked: a time from before the wait would be old.
            now, halt, *_ = await self._meta(connection, locks=needs.sets_halt)
        return LockedRows(
            now=now if self.clock is None else self.clock(),
            entries={entry.key: entry for entry in (*keyed, *free)},
            opened=opened,
            wait_seconds=wait_seconds,
            users=dict(users),
            batches=batches,
            halted=halt_of(halt),
        )

    async def _opened(
        self, connection: "Connection[Any]", needs: Needs
    ) -> tuple[dict[Page, tuple[Entry, ...]], float | None]:
        """Lock entries that can be worked on, as many as all jobs ask for together."""
        opened = dict[Page, tuple[Entry, ...]]()
        if not needs.pages:
            return opened, None
        workers, is_short = WorkerTable(self.schema, self.clock), False
        remaining = await workers.remaining_limits(connection)
        for page, times in Counter(needs.pages).items():
            wanted = times * page.limit
            allowed = wanted if remaining is None else remaining.allowed(wanted)
            opened[page] = await self._locked_page(connection, evolve(page, limit=allowed))
            is_short = is_short or len(opened[page]) == allowed < wanted
            if remaining is not None:
                remaining.take(len(opened[page]))
        if remaining is None:
            return opened, None
        await workers.keep(connection, remaining)
        return opened, remaining.wait_seconds if is_short else None

    async def _locked_page(self, connection: "Connection[Any]", page: Page) -> tuple[Entry, ...]:
        now = None if self.clock is None else self.clock()
        return await Queries(self.schema).open_entries(
            connection, page, now, is_due=True, takes=True
        )

    async def _meta(
        self,
        connection: "Connection[Any]",
        batches: Iterable[str] = (),
        sessions: Iterable[str] = (),
        *,
        locks: bool = False,
    ) -> "tuple[float, str | None, list[str], list[tuple[str, str]]]":
        """Return the time, the halt, which batches have rules, and the keys of some sessions."""
        batch = f"SELECT name FROM {self.schema}.batch WHERE name = ANY($1) AND rules IS NOT NULL"
        user = (
            f"SELECT ARRAY[session_id, key] FROM {self.schema}.session WHERE session_id = ANY($2)"
        )
        row = await connection.fetchrow(
            f"SELECT {CLOCK}, halt, ARRAY({batch}), ARRAY({user}) FROM {self.schema}.meta "
            f"{'FOR UPDATE' if locks else ''}",
            sorted(batches),
            sorted(sessions),
        )
        assert row is not None  # noqa: S101 - it was there when the schema was opened
        return row[0], row[1], row[2], row[3]

    async def _locked_batches(
        self, connection: "Connection[Any]", names: frozenset[str]
    ) -> dict[str, Batch]:
        if not names:
            return {}
        rows = await connection.fetch(
            f"SELECT {', '.join(BATCH)} FROM {self.schema}.batch "
            "WHERE name = ANY($1) ORDER BY name FOR UPDATE",
            sorted(names),
        )
        return {batch.name: batch for batch in map(batch_of, rows)}

    async def save(
        self, connection: "Connection[Any]", rows: LockedRows, writer: str, commits: int
    ) -> None:
        """Write a rows, and the number of the commit with it.

        Raises:
            InsertConflict: another process wrote one of its new rows first.
            WriterRowMissing: the writer's row is gone.

        """
        changed = [
            (key, rows.entries[key].request is not None, *entry_row(rows.entries[key], MOVING))
            for key in sorted(rows.changed_keys)
        ]
        if changed:
            await connection.executemany(self._update, changed)
        if rows.is_halt_set:
            await self.put_halt(connection, rows.halted)
        for action in rows.actions:
            await self.add_action(connection, action)
        for name in sorted(rows.set_batches & rows.old_batches):
            _ = await connection.execute(self._update_batch, *batch_row(rows.batches[name]))
        # Always in the same order, so that no deadlock can occur.
        await add(
            connection,
            self.schema,
            writer,
            commits,
            entries=[entry_row(rows.entries[key]) for key in sorted(rows.new_keys)],
            sessions=sorted(rows.new_sessions),
            batches=[
                batch_row(rows.batches[name])
                for name in sorted(rows.set_batches - rows.old_batches)
            ],
            attempts=map(attempt_row, rows.lines),
        )

    @property
    def _update(self) -> str:
        places = ", ".join(f"{name} = ${number}" for number, name in enumerate(MOVING, 3))
        # The request is large, so it isn't written again with each step.
        return (
            f"UPDATE {self.schema}.entry SET {places}, request = CASE WHEN $2 THEN request END "
            "WHERE key = $1"
        )

    @property
    def _update_batch(self) -> str:
        name, *others = BATCH
        places = ", ".join(f"{one} = ${number}" for number, one in enumerate(others, 2))
        return f"UPDATE {self.schema}.batch SET {places} WHERE {name} = $1"

    async def add_action(self, connection: "Connection[Any]", action: OperatorAction) -> None:
        """Insert what an operator changed."""
        places = ", ".join(f"${number}" for number in range(1, len(ACTION) + 1))
        _ = await connection.execute(
            f"INSERT INTO {self.schema}.operator_action ({', '.join(ACTION)}) VALUES ({places})",
            *action_row(action),
        )

    async def put_halt(self, connection: "Connection[Any]", halt: Halt | None) -> None:
        """Replace the last halt."""
        text = None if halt is None else halt_text(halt)
        _ = await connection.execute(f"UPDATE {self.schema}.meta SET halt = $1", text)

    async def commits_of(self, connection: "Connection[Any]", writer: str) -> int | None:
        """Return the number of a writer's last commit; wait for one that is in progress."""
        found: int | None = await connection.fetchval(
            f"SELECT commits FROM {self.schema}.writer WHERE id = $1 FOR UPDATE", writer
        )
        return found

    async def add_writer(self, connection: "Connection[Any]", writer: str, commits: int) -> None:
        """Insert or correct the row in which a writer counts its commits."""
        _ = await connection.execute(
            f"INSERT INTO {self.schema}.writer (id, commits) VALUES ($1, $2) "
            "ON CONFLICT (id) DO UPDATE SET commits = EXCLUDED.commits",
            writer,
            commits,
        )


def _counting(needs: Needs, keyed: Iterable[Entry], free: Iterable[Entry]) -> frozenset[str]:
    """Return the batches that have to count these entries, if they have rules."""
    of_entries = (
        entry.batch
        for entry in chain(
            (entry for entry in keyed if entry.key in needs.counted),
            (entry for entry in free if not entry.attempts),
        )
        if entry.batch is not None
    )
    of_new_keys = (batch for key, batch in needs.news if key in needs.counted)
    return frozenset(chain(of_entries, of_new_keys))
