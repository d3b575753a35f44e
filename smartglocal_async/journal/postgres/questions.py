"""Questions to the tables of PostgreSQL, outside of any draft."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..entries import Attempt, Batch, Entry, Halt
from ..leases import LONGEST_LEASE_SECONDS
from ..packing import BATCH, COLUMNS, LINE, Page, attempt_of, batch_of, entry_of, halt_of
from ..states import Step
from .schema import CLOCK

if TYPE_CHECKING:
    from asyncpg import Connection

_BEHIND_ALL: Final = 2**63 - 1


# Every name here is our own, and the schema's was looked at; what comes from outside is bound.
# ruff: noqa: S608
@frozen
class Questions:
    """The statements that only read, over the tables of one schema."""

    schema: str

    @property
    def _entries(self) -> str:
        return f"SELECT {', '.join(COLUMNS)} FROM {self.schema}.entry"

    async def find(self, connection: "Connection[Any]", key: str) -> Entry | None:
        """Give the entry of a key."""
        row = await connection.fetchrow(f"{self._entries} WHERE key = $1", key)
        return None if row is None else entry_of(row)

    async def entries(self, connection: "Connection[Any]", page: Page) -> tuple[Entry, ...]:
        """Give a page of all entries, in the order in which they came."""
        return await self._page(connection, page, "")

    async def open_entries(
        self,
        connection: "Connection[Any]",
        page: Page,
        now: float | None,
        *,
        is_due: bool,
        takes: bool = False,
    ) -> tuple[Entry, ...]:
        """Give a page of those that can be worked on now; the time is the database's if None.

        Those that it ``takes`` are locked, and of batches that are running; what another
        transaction has locked is left out.
        """
        free = _free("$5", is_due=is_due)
        if not takes:
            return await self._page(connection, page, free, now)
        paused = f"SELECT name FROM {self.schema}.batch WHERE state <> 'running'"
        free += f" AND (batch IS NULL OR batch NOT IN ({paused}))"
        lock = "FOR UPDATE SKIP LOCKED"
        return await self._page(connection, page, free, now, lock=lock)

    async def count_open(
        self, connection: "Connection[Any]", page: Page, now: float | None, *, is_due: bool
    ) -> int:
        """Count what could be taken of a batch now, or all that is open, up to the page's limit."""
        free = _free("$4", is_due=True) if is_due else "AND step < 80 AND $4::float8 IS NULL"
        found: int = await connection.fetchval(
            f"SELECT count(*) FROM (SELECT FROM {self.schema}.entry "
            f"WHERE batch = $1 AND step = ANY($2::int[]) {free} LIMIT $3) AS found",
            page.batch,
            [int(step) for step in page.steps],
            page.limit,
            now if is_due else None,
        )
        return found

    async def _page(
        self,
        connection: "Connection[Any]",
        page: Page,
        conditions: str,
        *more: object,
        lock: str = "",
    ) -> tuple[Entry, ...]:
        last = 0 if page.after is None else _BEHIND_ALL
        of_batch = "batch = $4::text" if page.batch is not None else "$4::text IS NULL"
        behind = f"coalesce((SELECT number FROM {self.schema}.entry WHERE key = $1), {last})"
        rows = await connection.fetch(
            f"{self._entries} WHERE number > {behind} AND step = ANY($2::int[]) AND {of_batch} "
            f"{conditions} ORDER BY number LIMIT $3 {lock}",
            page.after,
            [int(step) for step in page.steps],
            max(0, page.limit),
            page.batch,
            *more,
        )
        return tuple(map(entry_of, rows))

    async def by_session(self, connection: "Connection[Any]", session_id: str) -> Entry | None:
        """Give the entry that uses this session, or used and left it."""
        key = await connection.fetchval(
            f"SELECT key FROM {self.schema}.session WHERE session_id = $1", session_id
        )
        return None if key is None else await self.find(connection, key)

    async def counts(self, connection: "Connection[Any]", batch: str | None) -> Mapping[Step, int]:
        """Count the entries by step."""
        rows = await connection.fetch(
            f"SELECT step, count(*) FROM {self.schema}.entry WHERE {_of(batch)} GROUP BY step",
            batch,
        )
        return {Step(step): count for step, count in rows}

    async def counts_by_batch(
        self, connection: "Connection[Any]"
    ) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries by batch and step."""
        rows = await connection.fetch(
            f"SELECT batch, step, count(*) FROM {self.schema}.entry GROUP BY batch, step"
        )
        counts = dict[str | None, dict[Step, int]]()
        for batch, step, count in rows:
            counts.setdefault(batch, {})[Step(step)] = count
        return counts

    async def sums(
        self, connection: "Connection[Any]", batch: str | None
    ) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        rows = await connection.fetch(
            f"SELECT step, currency, sum(amount) FROM {self.schema}.entry "
            f"WHERE currency IS NOT NULL AND {_of(batch)} GROUP BY step, currency",
            batch,
        )
        return {(Step(step), currency): int(amount) for step, currency, amount in rows}

    async def batch(self, connection: "Connection[Any]", name: str) -> Batch | None:
        """Give a batch."""
        row = await connection.fetchrow(
            f"SELECT {', '.join(BATCH)} FROM {self.schema}.batch WHERE name = $1", name
        )
        return None if row is None else batch_of(row)

    async def batches(self, connection: "Connection[Any]") -> tuple[Batch, ...]:
        """Give all batches, the one that was begun first in front."""
        rows = await connection.fetch(
            f"SELECT {', '.join(BATCH)} FROM {self.schema}.batch ORDER BY begun_at, name"
        )
        return tuple(map(batch_of, rows))

    async def halt(self, connection: "Connection[Any]") -> tuple[float, Halt | None]:
        """Give the time, and the halt that was written last, though it may have ended."""
        row = await connection.fetchrow(f"SELECT {CLOCK}, halt FROM {self.schema}.meta")
        assert row is not None  # noqa: S101 - it was there when the schema was opened
        return row[0], halt_of(row[1])

    async def history(self, connection: "Connection[Any]", key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry, the oldest line first."""
        rows = await connection.fetch(
            f"SELECT {', '.join(LINE)} FROM {self.schema}.attempt WHERE key = $1 ORDER BY number",
            key,
        )
        return tuple(map(attempt_of, rows))


def _of(batch: str | None) -> str:
    return "$1::text IS NULL" if batch is None else "batch = $1::text"


def _free(now: str, *, is_due: bool) -> str:
    """Give the conditions of what nobody holds; where ``now`` is null, by the database's time."""
    time = f"coalesce({now}::float8, {CLOCK})"
    due = f"AND (not_before IS NULL OR not_before <= {time})" if is_due else ""
    over = f"leased_until <= {time} OR leased_until > {time} + {LONGEST_LEASE_SECONDS}"
    return f"AND step < 80 AND (leased_until IS NULL OR {over}) {due}"
