"""The rows of a journal, in the tables of its file."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from attrs import define, field

from ..entries import Attempt, Batch, Entry, Halt
from ..leases import LONGEST_LEASE_SECONDS
from ..packing import (
    BATCH,
    COLUMNS,
    LINE,
    MOVING,
    Page,
    attempt_of,
    attempt_row,
    batch_of,
    batch_row,
    entry_of,
    entry_row,
    halt_of,
)
from ..states import Step
from .file import write_halt


def _insert(table: str, columns: Sequence[str]) -> str:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of our own


# Every name and every condition here is our own; what comes from outside is bound.
_ENTRY: Final = f"SELECT {', '.join(COLUMNS)} FROM entry"  # noqa: S608
_FIND: Final = f"{_ENTRY} WHERE key = ?"
_INSERT: Final = _insert("entry", COLUMNS)
_USE: Final = _insert("session", ("session_id", "key", "session_no"))
_LOG: Final = _insert("attempt", LINE)
_HISTORY: Final = f"SELECT {', '.join(LINE)} FROM attempt WHERE key = ? ORDER BY number"  # noqa: S608
_BATCH: Final = f"SELECT {', '.join(BATCH)} FROM batch WHERE name = ?"  # noqa: S608
_SET_BATCH: Final = _insert("batch", BATCH).replace("INSERT", "INSERT OR REPLACE", 1)
_COUNTS: Final = """
SELECT step, count(*) FROM entry WHERE :batch IS NULL OR batch = :batch GROUP BY step
"""
_SUMS: Final = """
SELECT step, currency, sum(amount) FROM entry
WHERE currency IS NOT NULL AND (:batch IS NULL OR batch = :batch) GROUP BY step, currency
"""
_PAGE: Final = """
number > coalesce((SELECT number FROM entry WHERE key = :after), :first)
AND step IN (SELECT value FROM json_each(:steps))
AND (:batch IS NULL OR batch = :batch) ORDER BY number LIMIT :limit
"""
_ALL: Final = f"{_ENTRY} WHERE {_PAGE}"
_MOST_RECENT: Final = 4_096
_BEFORE_ALL: Final = -1
_BEHIND_ALL: Final = 2**63 - 1
_OPEN: Final = f"""{_ENTRY}
WHERE step < 80
AND (leased_until IS NULL OR leased_until <= :now OR leased_until > :now + :longest_lease)
AND (NOT :is_due OR not_before IS NULL OR not_before <= :now)
AND (NOT :is_running OR batch IS NULL
     OR batch NOT IN (SELECT name FROM batch WHERE state <> 'running'))
AND {_PAGE}"""  # noqa: S608


@cache  # There are few ways in which a row changes.
def _update(columns: tuple[str, ...]) -> str:
    return f"UPDATE entry SET {', '.join(f'{name} = ?' for name in columns)} WHERE key = ?"  # noqa: S608


def _values(page: Page) -> dict[str, object]:
    return {
        "after": page.after,
        "first": _BEFORE_ALL if page.after is None else _BEHIND_ALL,
        "steps": json.dumps([int(step) for step in page.steps]),
        "batch": page.batch,
        "limit": max(0, page.limit),
    }


@define(eq=False)
class Table:
    """The rows, as the thread that opened the file reads and writes them.

    Nobody else may write to the file, so what was written not long ago is known without a look.
    """

    connection: sqlite3.Connection
    clock: Callable[[], float]
    _recent: dict[str, Entry] = field(factory=dict[str, Entry], init=False, repr=False)

    @property
    def wait_seconds(self) -> float | None:
        """No limit is shared: there is one process."""
        return None

    def forget(self) -> None:
        """Forget what was written: it was rolled back."""
        self._recent.clear()

    def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        if (recent := self._recent.get(key)) is not None:
            return recent
        row = self.connection.execute(_FIND, (key,)).fetchone()
        return None if row is None else entry_of(row)

    def insert(self, entry: Entry) -> None:
        """Add the entry of a key that isn't there."""
        _ = self.connection.execute(_INSERT, entry_row(entry))
        self._keep(entry)

    def replace(self, found: Entry, after: Entry) -> None:
        """Put an entry in the place of the one that was found under its key."""
        # Only what changed: the indexes of all other columns are left alone.
        values = {name: getattr(after, name) for name in MOVING}
        changed = {name: value for name, value in values.items() if value != getattr(found, name)}
        if changed:
            _ = self.connection.execute(_update(tuple(changed)), [*changed.values(), found.key])
        self._keep(after)

    def _keep(self, entry: Entry) -> None:
        if entry.owner is None:
            _ = self._recent.pop(entry.key, None)  # Nobody is at it any more.
            return
        if len(self._recent) >= _MOST_RECENT:
            self._recent.clear()
        self._recent[entry.key] = entry

    def key_of(self, session_id: str) -> str | None:
        """Give the key that ever used a session."""
        row = self.connection.execute(
            "SELECT key FROM session WHERE session_id = ?", (session_id,)
        ).fetchone()
        return None if row is None else row[0]

    def use(self, session_id: str, entry: Entry) -> None:
        """Remember for ever that a session is an entry's."""
        values = (session_id, entry.key, entry.session_no)
        _ = self.connection.execute(_USE, values)

    def log(self, attempt: Attempt) -> None:
        """Add a line to the log."""
        _ = self.connection.execute(_LOG, attempt_row(attempt))

    def halt(self) -> Halt | None:
        """Give the halt that was written last."""
        row = self.connection.execute("SELECT value FROM meta WHERE name = 'halt'").fetchone()
        return None if row is None else halt_of(row[0])

    def set_halt(self, halt: Halt | None) -> None:
        """Write a halt in the place of the last one."""
        write_halt(self.connection, halt)

    def batch(self, name: str) -> Batch | None:
        """Give a batch."""
        row = self.connection.execute(_BATCH, (name,)).fetchone()
        return None if row is None else batch_of(row)

    def set_batch(self, batch: Batch) -> None:
        """Write a batch in the place of the one with its name."""
        _ = self.connection.execute(_SET_BATCH, batch_row(batch))

    def entries(self, page: Page) -> tuple[Entry, ...]:
        """Give a page of all entries, in the order in which they came."""
        return tuple(map(entry_of, self.connection.execute(_ALL, _values(page))))

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> tuple[Entry, ...]:
        """Give a page of those that can be worked on now."""
        asked = {
            "is_due": is_due,
            "is_running": is_running,
            "now": self.clock(),
            "longest_lease": LONGEST_LEASE_SECONDS,
        }
        rows = self.connection.execute(_OPEN, {**_values(page), **asked})
        return tuple(map(entry_of, rows))

    def by_session(self, session_id: str) -> Entry | None:
        """Give the entry that uses this session, or used and left it."""
        key = self.key_of(session_id)
        return None if key is None else self.find(key)

    def counts(self, batch: str | None) -> Mapping[Step, int]:
        """Count the entries by step."""
        rows = self.connection.execute(_COUNTS, {"batch": batch})
        return {Step(step): count for step, count in rows}

    def sums(self, batch: str | None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        rows = self.connection.execute(_SUMS, {"batch": batch})
        return {(Step(step), currency): amount for step, currency, amount in rows}

    def history(self, key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry, the oldest line first."""
        rows = self.connection.execute(_HISTORY, (key,))
        return tuple(map(attempt_of, rows))
