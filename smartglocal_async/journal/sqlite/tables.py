"""The rows of a journal in the tables of its file, and a reader of the file."""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from attrs import define, field

from ...errors import Misuse
from ..entries import (
    EVERY_STEP,
    Attempt,
    Batch,
    BatchTotal,
    Entry,
    Halt,
    OperatorAction,
    SamePayment,
)
from ..fingerprints import SHORT, shortened
from ..limits import MAX_LEASE_SECONDS
from ..rows import (
    ACTION,
    BATCH,
    COLUMNS,
    FORGETS,
    LINE,
    MOVING,
    NOT_PAID,
    Page,
    action_of,
    action_row,
    attempt_of,
    attempt_row,
    batch_of,
    batch_row,
    entry_of,
    entry_row,
    same_payment_of,
)
from ..states import Step
from ..transitions import Transitions
from .file import check_file, check_there, stored_halt, unusable, write_halt
from .lock import used


def _insert(table: str, columns: Sequence[str]) -> str:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of our own


# All names and conditions in these statements are constants; values are bound.
_INSERT: Final = _insert("entry", COLUMNS)
_USE: Final = _insert("session", ("session_id", "key", "session_no"))
_LOG: Final = _insert("attempt", LINE)
_HISTORY: Final = f"SELECT {', '.join(LINE)} FROM attempt WHERE key = ? ORDER BY number"  # noqa: S608
_BATCH: Final = f"SELECT {', '.join(BATCH)} FROM batch WHERE name = ?"  # noqa: S608
_BATCHES: Final = f"SELECT {', '.join(BATCH)} FROM batch ORDER BY begun_at, name"  # noqa: S608
_SET_BATCH: Final = _insert("batch", BATCH).replace("INSERT", "INSERT OR REPLACE", 1)
_COUNTS: Final = """
SELECT step, count(*) FROM entry WHERE :batch IS NULL OR batch = :batch GROUP BY step
"""
_COUNTS_BY_BATCH: Final = "SELECT batch, step, count(*) FROM entry GROUP BY batch, step"
# In two halves: SQLite's sum of integers fails beyond 64 bits.
_SUMS: Final = """
SELECT step, currency, sum(amount >> 32), sum(amount & 0xffffffff) FROM entry
WHERE currency IS NOT NULL AND (:batch IS NULL OR batch = :batch) GROUP BY step, currency
"""
_TOTALS: Final = """
SELECT batch, step, currency, count(*), coalesce(sum(amount >> 32), 0),
coalesce(sum(amount & 0xffffffff), 0), sum(step < 70 AND updated_at < ?)
FROM entry GROUP BY batch, step, currency
"""
_ADD_ACTION: Final = _insert("operator_action", ACTION)
_ACTIONS: Final = f"""
SELECT {", ".join(ACTION)} FROM operator_action
WHERE (:batch IS NULL OR batch = :batch) AND (:key IS NULL OR key = :key)
ORDER BY number DESC LIMIT :limit
"""  # noqa: S608
_RARE: Final = (
    f"AND step = :step AND step IN ({', '.join(str(int(one)) for one in sorted(NOT_PAID))})"
)
_PAGE: Final = """
number > coalesce((SELECT number FROM entry WHERE key = :after), :first)
AND step IN (SELECT value FROM json_each(:steps)) {of_batch} ORDER BY number LIMIT :limit
"""
_LACKS: Final = """
SELECT value FROM json_each(?) WHERE value NOT IN (SELECT key FROM entry WHERE step >= 80)
"""
_SAME_PAYMENTS: Final = """
SELECT payment, batch, key, step, max(updated_at) FROM entry
WHERE payment IN ({marks}) AND step NOT IN (81, 82) GROUP BY payment, batch
"""
_MAX_MARKS: Final = 500
_SETTLED: Final = """
SELECT number, key, fingerprint FROM entry
WHERE number > ? AND step >= 80 AND updated_at < ? AND substr(fingerprint, 1, 1) <> ?
ORDER BY number LIMIT ?
"""
_FORGET: Final = f"""
UPDATE entry SET fingerprint = ?, {", ".join(f"{name} = NULL" for name in FORGETS)}
WHERE key = ? AND step >= 80
"""  # noqa: S608
_MAX_RECENT: Final = 4_096
_BEFORE_ALL: Final = -1
_BEHIND_ALL: Final = 2**63 - 1
_OPEN: Final = f"""step < 80
AND (leased_until IS NULL OR leased_until <= :now OR leased_until > :now + :max_lease_seconds)
AND (NOT :is_due OR not_before IS NULL OR not_before <= :now)
AND (NOT :is_running OR batch IS NULL
     OR batch NOT IN (SELECT name FROM batch WHERE state <> 'running'))
AND {_PAGE}"""  # noqa: S608
_MAY_CHANGE: Final = (*MOVING, "request")


@cache  # There are few ways in which a row changes.
def _update(columns: tuple[str, ...]) -> str:
    return f"UPDATE entry SET {', '.join(f'{name} = ?' for name in columns)} WHERE key = ?"  # noqa: S608


def _values(page: Page) -> dict[str, object]:
    of_batch = {} if page.batch is None else {"batch": page.batch}
    return {
        "step": page.rare_step,
        "after": page.after,
        "first": _BEFORE_ALL if page.after is None else _BEHIND_ALL,
        "steps": json.dumps([int(step) for step in page.steps]),
        "limit": max(0, page.limit),
        **of_batch,
    }


def _of_batch(page: Page) -> str:
    return "" if page.batch is None else "AND batch = :batch"


@define(eq=False)
class SQLiteRows:
    """The rows, for the thread that opened the file.

    No other process may write to the file, so recently written rows can be cached.
    """

    connection: sqlite3.Connection
    clock: Callable[[], float]
    _recent: dict[str, Entry] = field(factory=dict[str, Entry], init=False, repr=False)
    _entry: str = field(init=False, repr=False)
    """Selects entries; columns that a file of an older release lacks are NULL."""
    _has_actions: bool = field(init=False, repr=False)
    """Whether the file has the table of actions and the indexes that are as old."""

    def __attrs_post_init__(self) -> None:
        found = self.connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = 'operator_action'"
        )
        self._has_actions = bool(found.fetchone()[0])
        rows = self.connection.execute("SELECT name FROM pragma_table_info('entry')")
        there = {name for (name,) in rows}
        names = (name if name in there else f"NULL AS {name}" for name in COLUMNS)
        self._entry = f"SELECT {', '.join(names)} FROM entry"  # noqa: S608

    @property
    def wait_seconds(self) -> float | None:
        """Always None: with one process, no limits are shared."""
        return None

    def forget(self) -> None:
        """Clear the cache after a rollback."""
        self._recent.clear()

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        if (recent := self._recent.get(key)) is not None:
            return recent
        row = self.connection.execute(f"{self._entry} WHERE key = ?", (key,)).fetchone()
        return None if row is None else entry_of(row)

    def insert(self, entry: Entry) -> None:
        """Add the entry of a new key."""
        _ = self.connection.execute(_INSERT, entry_row(entry))
        self._keep(entry)

    def replace(self, found: Entry, after: Entry) -> None:
        """Replace the entry that was found under its key."""
        # Only changed columns, so that the indexes of all others aren't touched.
        values = {name: getattr(after, name) for name in _MAY_CHANGE}
        changed = {name: value for name, value in values.items() if value != getattr(found, name)}
        if changed:
            _ = self.connection.execute(_update(tuple(changed)), [*changed.values(), found.key])
        self._keep(after)

    def _keep(self, entry: Entry) -> None:
        if entry.owner is None:
            _ = self._recent.pop(entry.key, None)  # No worker has it any more.
            return
        if len(self._recent) >= _MAX_RECENT:
            self._recent.clear()
        self._recent[entry.key] = entry

    def key_of(self, session_id: str) -> str | None:
        """Return the key that uses or used a session."""
        row = self.connection.execute(
            "SELECT key FROM session WHERE session_id = ?", (session_id,)
        ).fetchone()
        return None if row is None else row[0]

    def use(self, session_id: str, entry: Entry) -> None:
        """Store permanently that a session belongs to an entry."""
        values = (session_id, entry.key, entry.session_no)
        _ = self.connection.execute(_USE, values)

    def log(self, attempt: Attempt) -> None:
        """Add a line to the log."""
        _ = self.connection.execute(_LOG, attempt_row(attempt))

    def add_action(self, action: OperatorAction) -> None:
        """Add what an operator changed."""
        _ = self.connection.execute(_ADD_ACTION, action_row(action))

    def actions(self, limit: int, batch: str | None, key: str | None) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        if not self._has_actions:
            return ()
        values = {"batch": batch, "key": key, "limit": max(0, limit)}
        return tuple(map(action_of, self.connection.execute(_ACTIONS, values)))

    def totals(self, late_before: float) -> tuple[BatchTotal, ...]:
        """Count and add up the entries by batch, step and currency."""
        rows = self.connection.execute(_TOTALS, (late_before,))
        return tuple(
            BatchTotal(batch, Step(step), currency, count, (high << 32) + low, late)
            for batch, step, currency, count, high, low, late in rows
        )

    def revision(self) -> int:
        """Return a number that changes with each commit of another connection."""
        found: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return found

    def stored_id(self) -> str:
        """Return the id of the journal that the file has now."""
        # The cached pages may be those of a file that was overwritten by a copy of another one.
        _ = self.connection.execute("PRAGMA shrink_memory")
        found: str = self.connection.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[
            0
        ]
        return found

    def halt(self) -> Halt | None:
        """Return the halt that was written last."""
        return stored_halt(self.connection)

    def set_halt(self, halt: Halt | None) -> None:
        """Replace the last halt."""
        write_halt(self.connection, halt)

    def batch(self, name: str) -> Batch | None:
        """Return a batch."""
        row = self.connection.execute(_BATCH, (name,)).fetchone()
        return None if row is None else batch_of(row)

    def batches(self) -> tuple[Batch, ...]:
        """Return all batches, the oldest first."""
        return tuple(map(batch_of, self.connection.execute(_BATCHES)))

    def counts_by_batch(self) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries of each batch by step; those of no batch under None."""
        counts = dict[str | None, dict[Step, int]]()
        for batch, step, count in self.connection.execute(_COUNTS_BY_BATCH):
            counts.setdefault(batch, {})[Step(step)] = count
        return counts

    def set_batch(self, batch: Batch) -> None:
        """Replace the batch with this name."""
        _ = self.connection.execute(_SET_BATCH, batch_row(batch))

    def entries(self, page: Page) -> tuple[Entry, ...]:
        """Return a page of all entries in the order of acceptance."""
        rows = self.connection.execute(self.page_statement(page), _values(page))
        return tuple(map(entry_of, rows))

    def page_statement(self, page: Page) -> str:
        """Return the statement for a page of all entries.

        It names the index by which only rows of its steps are read, if there is one.
        """
        index, more = "", _of_batch(page)
        of_batch = "" if page.batch is None else "batch_"
        if page.rare_step is not None and self._has_actions:
            index, more = f"INDEXED BY entry_{of_batch}not_paid", f"{more} {_RARE}"
        elif page.steps and all(step < Step.SUCCEEDED for step in page.steps):
            # A file of the first release has no index of a batch's open rows.
            index = f"INDEXED BY entry_{of_batch if self._has_actions else ''}open"
            more = f"{more} AND step < 80"
        return f"{self._entry} {index} WHERE {_PAGE.format(of_batch=more)}"

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> tuple[Entry, ...]:
        """Return a page of the entries that can be worked on now."""
        conditions = {
            "is_due": is_due,
            "is_running": is_running,
            "now": self.clock(),
            "max_lease_seconds": MAX_LEASE_SECONDS,
        }
        rows = self.connection.execute(self.free_statement(page), {**_values(page), **conditions})
        return tuple(map(entry_of, rows))

    def free_statement(self, page: Page) -> str:
        """Return the statement for entries that can be worked on now.

        It names its index: without one that begins with the batch, SQLite would read all open rows
        of the batches before this one.
        """
        index = "entry_open" if page.batch is None else "entry_batch_open"
        where = _OPEN.format(of_batch=_of_batch(page))
        return f"{self._entry} INDEXED BY {index} WHERE {where}"

    def lacks(self, keys: Collection[str]) -> frozenset[str]:
        """Return the keys that are unknown, or not settled."""
        rows = self.connection.execute(_LACKS, (json.dumps(list(keys)),))
        return frozenset(key for (key,) in rows)

    def same_payments(self, payments: Collection[bytes]) -> tuple[SamePayment, ...]:
        """Return the payouts with these digests of payee and sum."""
        digests, found = list(set(payments)), list[SamePayment]()
        for begin in range(0, len(digests), _MAX_MARKS):
            some = digests[begin : begin + _MAX_MARKS]
            statement = _SAME_PAYMENTS.format(marks=", ".join("?" * len(some)))
            found.extend(map(same_payment_of, self.connection.execute(statement, some)))
        return tuple(found)

    def forget_some(self, before: float, after: int, limit: int) -> tuple[int, int | None]:
        """Forget up to ``limit`` payouts that were settled before a time, after a row number.

        Returns how many were, and the number of the last one; None if there are no more.
        """
        # Otherwise overwritten data stays in the file until its page is used again.
        _ = self.connection.execute("PRAGMA secure_delete = 1").fetchall()
        rows = self.connection.execute(_SETTLED, (after, before, SHORT, limit)).fetchall()
        shorts = [(shortened(text), key) for _, key, text in rows]
        _ = self.connection.executemany(_FORGET, shorts)
        keys = [(key,) for _, key in shorts]
        _ = self.connection.executemany("DELETE FROM attempt WHERE key = ?", keys)
        _ = self.connection.execute("PRAGMA secure_delete = 0").fetchall()
        return len(rows), rows[-1][0] if rows else None

    def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        key = self.key_of(session_id)
        return None if key is None else self.find(key)

    def counts(self, batch: str | None) -> Mapping[Step, int]:
        """Count the entries by step."""
        rows = self.connection.execute(_COUNTS, {"batch": batch})
        return {Step(step): count for step, count in rows}

    def sums(self, batch: str | None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        rows = self.connection.execute(_SUMS, {"batch": batch})
        return {(Step(step), code): (high << 32) + low for step, code, high, low in rows}

    def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        rows = self.connection.execute(_HISTORY, (key,))
        return tuple(map(attempt_of, rows))


T = TypeVar("T")
_BUSY_SECONDS: Final = 5.0


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()


@define(eq=False)
class SQLiteReader:
    """Reads the journal in a file: ``async with SQLiteReader(path) as reader: ...``.

    It needs no scope, takes no lock and ends no lease; each result is one consistent state.

    Raises:
        JournalUnusable: on opening: the file doesn't exist, is of a newer version, isn't a journal,
            or is damaged. Later: the file can't be read.

    """

    path: Path = field(converter=_absolute)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)  # noqa: TID251 - the clock itself
    _rows: SQLiteRows | None = field(default=None, init=False, repr=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)
    _use: ExitStack = field(factory=ExitStack, init=False, repr=False)

    async def __aenter__(self) -> Self:
        self._rows = await asyncio.to_thread(self._opened)
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        async with self._lock:
            if self._rows is not None:
                self._rows.connection.close()
                self._rows = None
        self._use.close()

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Return a page of all entries in the order of acceptance."""
        page = Page(limit=limit, after=after, steps=steps, batch=batch)
        return await self._read(lambda rows: rows.entries(page))

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        return await self._read(lambda rows: rows.counts(batch))

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        return await self._read(lambda rows: rows.sums(batch))

    async def batch(self, name: str) -> Batch | None:
        """Return a batch by its name."""
        return await self._read(lambda rows: rows.batch(name))

    async def batches(self) -> tuple[Batch, ...]:
        """Return all batches, the oldest first."""
        return await self._read(lambda rows: rows.batches())

    async def counts_by_batch(self) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries of each batch by step; those of no batch under None."""
        return await self._read(lambda rows: rows.counts_by_batch())

    async def totals(self, late_before: float) -> tuple[BatchTotal, ...]:
        """Count and add up the entries by batch, step and currency, in one pass over all."""
        return await self._read(lambda rows: rows.totals(late_before))

    async def revision(self) -> int:
        """Return a number that changes with each commit of another process."""
        return await self._read(lambda rows: rows.revision())

    async def stored_id(self) -> str:
        """Return the id of the journal that the file has now."""
        return await self._read(lambda rows: rows.stored_id())

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return await self._read(lambda rows: rows.find(key))

    async def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        return await self._read(lambda rows: rows.by_session(session_id))

    async def actions(
        self, limit: int, *, batch: str | None = None, key: str | None = None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        return await self._read(lambda rows: rows.actions(limit, batch, key))

    async def halted(self) -> Halt | None:
        """Return the halt that is in force now."""
        return await self._read(lambda rows: Transitions(rows, self.clock).halted())

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        return await self._read(lambda rows: rows.history(key))

    async def _read(self, act: Callable[[SQLiteRows], T]) -> T:
        _ = await self._lock.acquire()
        if self._rows is None:
            self._lock.release()
            raise Misuse("the reader isn't open: use it with `async with`")
        reading = asyncio.ensure_future(asyncio.to_thread(act, self._rows))
        reading.add_done_callback(self._has_read)
        try:
            return await asyncio.shield(reading)
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    def _has_read(self, reading: "asyncio.Future[Any]") -> None:
        # A caller that was cancelled has left; the thread used the file until now all the same.
        self._lock.release()
        if not reading.cancelled():
            _ = reading.exception()

    def _opened(self) -> SQLiteRows:
        check_there(self.path)
        path = self.path.resolve()
        self._use.enter_context(used(path))
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # `_lock` lets in one thread at a time.
            )
        except sqlite3.Error as error:
            self._use.close()
            raise unusable(self.path, error) from error
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            self._use.close()
            raise
        return SQLiteRows(connection, self.clock)

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            _ = check_file(connection, self.path, may_be_new=False)
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
