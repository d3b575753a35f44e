"""The table of workers, and the row of the limits that they share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..limits import MAX_LEASE_SECONDS, Limits, RemainingLimits, WorkerInfo
from .schema import CLOCK, commit_level
from .transaction import transaction

if TYPE_CHECKING:
    from asyncpg import Connection


_HELD: Final = (
    "owner IS NOT NULL AND step < 80 AND leased_until > $1::float8 AND leased_until <= $2::float8"
)
_REMEMBERED_SECONDS: Final = 3_600.0
"""How long the row of a dead worker is kept: longer than any lease."""


# All names are constants, the schema's was checked, and values are bound.
# ruff: noqa: S608
@frozen
class WorkerTable:
    """The statements over the row of limits and the workers' rows, of one schema."""

    schema: str
    clock: Callable[[], float] | None
    """None: the database's."""

    async def remaining_limits(self, connection: "Connection[Any]") -> RemainingLimits | None:
        """Lock the row of limits, and return what they allow now; None without limits."""
        row = await connection.fetchrow(
            "SELECT rate, concurrency, tokens, at, blocked_until "
            f"FROM {self.schema}.fleet WHERE rate IS NOT NULL OR concurrency IS NOT NULL "
            f"OR blocked_until > coalesce($1::float8, {CLOCK}) FOR UPDATE",
            None if self.clock is None else self.clock(),
        )
        if row is None:
            return None
        rate, concurrency, tokens, at, blocked_until = row
        # Read after the row is locked: a time from before the wait would be old.
        now = await self._now(connection)
        remaining = RemainingLimits(
            limits=Limits(rate=rate, concurrency=concurrency),
            tokens=tokens,
            at=at,
            blocked_until=blocked_until,
            held=0 if concurrency is None else await self._held(connection, now),
        )
        remaining.advance(now)
        return remaining

    async def keep(self, connection: "Connection[Any]", remaining: RemainingLimits) -> None:
        """Write the tokens that are left."""
        _ = await connection.execute(
            f"UPDATE {self.schema}.fleet SET tokens = $1, at = $2", remaining.tokens, remaining.at
        )

    async def limits(self, connection: "Connection[Any]") -> Limits:
        """Return the limits."""
        row = await connection.fetchrow(f"SELECT rate, concurrency FROM {self.schema}.fleet")
        assert row is not None  # noqa: S101 - it was there when the schema was made
        return Limits(rate=row[0], concurrency=row[1])

    async def set_limits(
        self, connection: "Connection[Any]", limits: Limits, operator: str | None
    ) -> None:
        """Replace the limits, and write which operator did."""
        async with transaction(connection, await commit_level(connection)):
            _ = await connection.execute(
                f"UPDATE {self.schema}.fleet SET rate = $1, concurrency = $2",
                limits.rate,
                limits.concurrency,
            )
            if operator is not None:
                _ = await connection.execute(
                    f"INSERT INTO {self.schema}.operator_action (at, operator, action, detail) "
                    "VALUES ($1, $2, 'limits', $3)",
                    await self._now(connection),
                    operator,
                    str(limits),
                )

    async def slow_down(self, connection: "Connection[Any]", seconds: float) -> None:
        """Stop all processes from claiming for some time; the longest pause counts."""
        now = None if self.clock is None else self.clock()
        _ = await connection.execute(
            f"UPDATE {self.schema}.fleet SET blocked_until = "
            f"greatest(blocked_until, coalesce($2::float8, {CLOCK}) + $1::float8)",
            seconds,
            now,
        )

    async def beat(self, connection: "Connection[Any]", owner: str) -> None:
        """Store that a worker is alive; without waiting for the disk, since it is repeated soon."""
        async with transaction(connection, "off"):
            now = await self._now(connection)
            _ = await connection.execute(
                f"INSERT INTO {self.schema}.worker (owner, seen_at) VALUES ($1, $2) "
                "ON CONFLICT (owner) DO UPDATE SET seen_at = EXCLUDED.seen_at",
                owner,
                now,
            )

    async def leave(self, connection: "Connection[Any]", owner: str) -> None:
        """Delete a worker, and those that died long ago."""
        async with transaction(connection, "off"):
            now = await self._now(connection)
            _ = await connection.execute(
                f"DELETE FROM {self.schema}.worker WHERE owner = $1 OR seen_at < $2",
                owner,
                now - _REMEMBERED_SECONDS,
            )

    async def workers(self, connection: "Connection[Any]") -> tuple[WorkerInfo, ...]:
        """Return the workers that have payouts in flight, or are alive."""
        now = await self._now(connection)
        silent = await self._silent(connection, now)
        rows = await connection.fetch(
            f"SELECT owner, count(*), max(leased_until) FROM {self.schema}.entry "
            f"WHERE {_HELD} GROUP BY owner",
            now,
            now + MAX_LEASE_SECONDS,
        )
        found = [
            WorkerInfo(owner, count, until - now, silent.pop(owner, None))
            for owner, count, until in rows
        ]
        idle = (WorkerInfo(owner, 0, 0.0, seconds) for owner, seconds in silent.items())
        found += (one for one in idle if one.is_alive)
        return tuple(sorted(found, key=lambda one: one.owner))

    async def _silent(self, connection: "Connection[Any]", now: float) -> dict[str, float]:
        """Return for how long workers have been silent; none if their table can't be read."""
        table = f"{self.schema}.worker"
        if not await connection.fetchval(
            "SELECT has_table_privilege(to_regclass($1), 'SELECT')", table
        ):
            return {}
        rows = await connection.fetch(
            f"SELECT owner, $1::float8 - seen_at FROM {table} WHERE seen_at > $1::float8 - $2",
            now,
            _REMEMBERED_SECONDS,
        )
        return dict(map(tuple, rows))

    async def _now(self, connection: "Connection[Any]") -> float:
        if self.clock is not None:
            return self.clock()
        now: float = await connection.fetchval(f"SELECT {CLOCK}")
        return now

    async def _held(self, connection: "Connection[Any]", now: float) -> int:
        held: int = await connection.fetchval(
            f"SELECT count(*) FROM {self.schema}.entry WHERE {_HELD}",
            now,
            now + MAX_LEASE_SECONDS,
        )
        return held
