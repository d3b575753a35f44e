"""The reading statements, which take no locks except for claims."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..entries import Attempt, Batch, BatchTotal, Entry, Halt, OperatorAction, SamePayment
from ..limits import MAX_LEASE_SECONDS
from ..rows import (
    ACTION,
    BATCH,
    COLUMNS,
    LINE,
    NOT_PAID,
    Page,
    action_of,
    attempt_of,
    batch_of,
    entry_of,
    halt_of,
    same_payment_of,
)
from ..states import Step
from .schema import CLOCK

if TYPE_CHECKING:
    from asyncpg import Connection

_BEHIND_ALL: Final = 2**63 - 1
_NOT_PAID: Final = ", ".join(str(int(step)) for step in sorted(NOT_PAID))


# All names are constants, the schema's was checked, and values are bound.
# ruff: noqa: S608
@frozen
class Queries:
    """The reading statements for the tables of one schema."""

    schema: str

    @property
    def _entries(self) -> str:
        return f"SELECT {', '.join(COLUMNS)} FROM {self.schema}.entry"

    async def find(self, connection: "Connection[Any]", key: str) -> Entry | None:
        """Return the entry of a key."""
        row = await connection.fetchrow(f"{self._entries} WHERE key = $1", key)
        return None if row is None else entry_of(row)

    async def entries(self, connection: "Connection[Any]", page: Page) -> tuple[Entry, ...]:
        """Return a page of all entries in the order of acceptance."""
        return await self._page(connection, page, entry_conditions(page))

    async def open_entries(
        self,
        connection: "Connection[Any]",
        page: Page,
        now: float | None,
        *,
        is_due: bool,
        takes: bool = False,
    ) -> tuple[Entry, ...]:
        """Return a page of the entries that can be worked on ``now``; None: the database's time.

        With ``takes`` only those of running batches, and they are locked; entries that another
        transaction has locked are skipped.
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
        """Count the claimable entries of a batch, or all open ones, up to the page's limit."""
        free = _free("$4", is_due=True) if is_due else "AND step < 80 AND $4::float8 IS NULL"
        found: int = await connection.fetchval(
            f"SELECT count(*) FROM (SELECT FROM {self.schema}.entry "
            f"WHERE (batch, number) > ($1::text, 0) AND (batch, number) < ($1, {_BEHIND_ALL}) "
            f"AND step = ANY($2::int[]) {free} LIMIT $3) AS found",
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
        rows = await connection.fetch(
            self.page_statement(page, conditions, lock), *page_values(page), *more
        )
        return tuple(map(entry_of, rows))

    def page_statement(self, page: Page, conditions: str, lock: str) -> str:
        """Return the statement for a page of entries.

        For a batch it compares and orders by batch and number together: only then does the planner
        read their index from the beginning of the batch, instead of all open rows before it.
        """
        last = 0 if page.after is None else _BEHIND_ALL
        after = f"coalesce((SELECT number FROM {self.schema}.entry WHERE key = $1), {last})"
        if page.rare_step is not None:
            # Compared with its index from the first row on, for the same reason.
            columns, begin = "step, number", f"{page.rare_step:d}"
            if page.batch is not None:
                columns, begin = f"batch, {columns}", f"$4::text, {begin}"
            within = (
                f"({columns}) > ({begin}, {after}) AND ({columns}) < ({begin}, {_BEHIND_ALL}) "
                f"AND step IN ({_NOT_PAID})"
            )
            if page.batch is None:
                within += " AND $4::text IS NULL"
            order = columns
        elif page.batch is None:
            within, order = f"number > {after} AND $4::text IS NULL", "number"
        else:
            within = (
                f"(batch, number) > ($4::text, {after}) "
                f"AND (batch, number) < ($4::text, {_BEHIND_ALL})"
            )
            order = "batch, number"
        return (
            f"{self._entries} WHERE {within} AND step = ANY($2::int[]) "
            f"{conditions} ORDER BY {order} LIMIT $3 {lock}"
        )

    async def by_session(self, connection: "Connection[Any]", session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
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

    async def totals(
        self, connection: "Connection[Any]", late_before: float
    ) -> tuple[BatchTotal, ...]:
        """Count and add up the entries by batch, step and currency."""
        rows = await connection.fetch(
            "SELECT batch, step, currency, count(*), coalesce(sum(amount), 0), "
            "count(*) FILTER (WHERE step < 70 AND updated_at < $1) "
            f"FROM {self.schema}.entry GROUP BY batch, step, currency",
            late_before,
        )
        return tuple(
            BatchTotal(batch, Step(step), currency, count, int(amount), late)
            for batch, step, currency, count, amount, late in rows
        )

    async def revision(self, connection: "Connection[Any]") -> int:
        """Return a number that changes with each commit of payouts or batches."""
        found: int = await connection.fetchval(
            f"SELECT coalesce(sum(commits), 0)::bigint FROM {self.schema}.writer"
        )
        return found

    async def stored_id(self, connection: "Connection[Any]") -> str:
        """Return the id of the journal that the schema has now."""
        found: str = await connection.fetchval(f"SELECT journal_id FROM {self.schema}.meta")
        return found

    async def actions(
        self, connection: "Connection[Any]", limit: int, batch: str | None, key: str | None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        rows = await connection.fetch(
            f"SELECT {', '.join(ACTION)} FROM {self.schema}.operator_action "
            "WHERE ($2::text IS NULL OR batch = $2) AND ($3::text IS NULL OR key = $3) "
            "ORDER BY number DESC LIMIT $1",
            max(0, limit),
            batch,
            key,
        )
        return tuple(map(action_of, rows))

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
        """Return a batch."""
        row = await connection.fetchrow(
            f"SELECT {', '.join(BATCH)} FROM {self.schema}.batch WHERE name = $1", name
        )
        return None if row is None else batch_of(row)

    async def batches(self, connection: "Connection[Any]") -> tuple[Batch, ...]:
        """Return all batches, the oldest first."""
        rows = await connection.fetch(
            f"SELECT {', '.join(BATCH)} FROM {self.schema}.batch ORDER BY begun_at, name"
        )
        return tuple(map(batch_of, rows))

    async def halt(self, connection: "Connection[Any]") -> tuple[float, Halt | None]:
        """Return the database's time, and the last written halt, even if it has ended."""
        row = await connection.fetchrow(f"SELECT {CLOCK}, halt FROM {self.schema}.meta")
        assert row is not None  # noqa: S101 - it was there when the schema was opened
        return row[0], halt_of(row[1])

    async def lacks(self, connection: "Connection[Any]", keys: Collection[str]) -> frozenset[str]:
        """Return the keys that are unknown, or not settled."""
        rows = await connection.fetch(
            f"SELECT key FROM {self.schema}.entry WHERE key = ANY($1) AND step >= 80", list(keys)
        )
        return frozenset(keys).difference(key for (key,) in rows)

    async def same_payments(
        self, connection: "Connection[Any]", payments: Collection[bytes]
    ) -> tuple[SamePayment, ...]:
        """Return the payouts with these digests of payee and sum, the last one of each batch."""
        rows = await connection.fetch(
            "SELECT DISTINCT ON (payment, batch) payment, batch, key, step, updated_at "
            f"FROM {self.schema}.entry WHERE payment = ANY($1) AND step NOT IN (81, 82) "
            "ORDER BY payment, batch, updated_at DESC",
            list(payments),
        )
        return tuple(map(same_payment_of, rows))

    async def history(self, connection: "Connection[Any]", key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        rows = await connection.fetch(
            f"SELECT {', '.join(LINE)} FROM {self.schema}.attempt WHERE key = $1 ORDER BY number",
            key,
        )
        return tuple(map(attempt_of, rows))


def entry_conditions(page: Page) -> str:
    """Return the condition by which the planner uses the right index for a page of all entries.

    It doesn't conclude from a comparison of rows that the batch isn't null.
    """
    if page.rare_step is not None:
        return ""
    if all(step < Step.SUCCEEDED for step in page.steps):
        return "AND step < 80"
    return "" if page.batch is None else "AND batch IS NOT NULL"


def page_values(page: Page) -> tuple[object, ...]:
    """Return the leading values of the statement for a page."""
    return page.after, [int(step) for step in page.steps], max(0, page.limit), page.batch


def _of(batch: str | None) -> str:
    return "$1::text IS NULL" if batch is None else "batch = $1::text"


def _free(now: str, *, is_due: bool) -> str:
    """Return the conditions of entries without a valid lease; null ``now``: the database's time."""
    time = f"coalesce({now}::float8, {CLOCK})"
    due = f"AND (not_before IS NULL OR not_before <= {time})" if is_due else ""
    over = f"leased_until <= {time} OR leased_until > {time} + {MAX_LEASE_SECONDS}"
    return f"AND step < 80 AND (leased_until IS NULL OR {over}) {due}"
