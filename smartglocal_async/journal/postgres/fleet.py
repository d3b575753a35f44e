"""All workers together: their limits, in a row that whoever takes has to himself, and who lives."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..leases import LONGEST_LEASE_SECONDS
from ..limits import AtWork, Limits, Room
from .schema import CLOCK
from .transaction import transaction

if TYPE_CHECKING:
    from asyncpg import Connection


_HELD: Final = (
    "owner IS NOT NULL AND step < 80 AND leased_until > $1::float8 AND leased_until <= $2::float8"
)
_REMEMBERED_SECONDS: Final = 3_600.0
"""So long a dead worker is remembered: longer than any lease."""


# Every name here is our own, and the schema's was looked at; what comes from outside is bound.
# ruff: noqa: S608
@frozen
class Fleet:
    """The statements over the row of limits and the workers' rows, of one schema."""

    schema: str
    clock: Callable[[], float] | None
    """None: the database's."""

    async def room(self, connection: "Connection[Any]") -> Room | None:
        """Give how much is left, the row locked; None where there are no limits."""
        row = await connection.fetchrow(
            "SELECT rate, concurrency, tokens, at, blocked_until "
            f"FROM {self.schema}.fleet WHERE rate IS NOT NULL OR concurrency IS NOT NULL "
            f"OR blocked_until > coalesce($1::float8, {CLOCK}) FOR UPDATE",
            None if self.clock is None else self.clock(),
        )
        if row is None:
            return None
        rate, concurrency, tokens, at, blocked_until = row
        # Asked when the row is ours: whoever waited for it would fill it up by an old clock.
        now = await self._now(connection)
        room = Room(
            limits=Limits(rate=rate, concurrency=concurrency),
            tokens=tokens,
            at=at,
            blocked_until=blocked_until,
            held=0 if concurrency is None else await self._held(connection, now),
        )
        room.advance(now)
        return room

    async def keep(self, connection: "Connection[Any]", room: Room) -> None:
        """Write what is left."""
        _ = await connection.execute(
            f"UPDATE {self.schema}.fleet SET tokens = $1, at = $2", room.tokens, room.at
        )

    async def limits(self, connection: "Connection[Any]") -> Limits:
        """Give the limits."""
        row = await connection.fetchrow(f"SELECT rate, concurrency FROM {self.schema}.fleet")
        assert row is not None  # noqa: S101 - it was there when the schema was made
        return Limits(rate=row[0], concurrency=row[1])

    async def set_limits(self, connection: "Connection[Any]", limits: Limits) -> None:
        """Write other limits."""
        _ = await connection.execute(
            f"UPDATE {self.schema}.fleet SET rate = $1, concurrency = $2",
            limits.rate,
            limits.concurrency,
        )

    async def slow_down(self, connection: "Connection[Any]", seconds: float) -> None:
        """Have nobody take anything for some time; the longest one counts."""
        now = None if self.clock is None else self.clock()
        _ = await connection.execute(
            f"UPDATE {self.schema}.fleet SET blocked_until = "
            f"greatest(blocked_until, coalesce($2::float8, {CLOCK}) + $1::float8)",
            seconds,
            now,
        )

    async def beat(self, connection: "Connection[Any]", owner: str) -> None:
        """Write that a worker is alive. The next time is soon, so no disk is waited for."""
        async with transaction(connection, "off"):
            now = await self._now(connection)
            _ = await connection.execute(
                f"INSERT INTO {self.schema}.worker (owner, seen_at) VALUES ($1, $2) "
                "ON CONFLICT (owner) DO UPDATE SET seen_at = EXCLUDED.seen_at",
                owner,
                now,
            )

    async def leave(self, connection: "Connection[Any]", owner: str) -> None:
        """Forget a worker, and those that died long ago."""
        async with transaction(connection, "off"):
            now = await self._now(connection)
            _ = await connection.execute(
                f"DELETE FROM {self.schema}.worker WHERE owner = $1 OR seen_at < $2",
                owner,
                now - _REMEMBERED_SECONDS,
            )

    async def workers(self, connection: "Connection[Any]") -> tuple[AtWork, ...]:
        """Give those who have payouts under way, and those who are alive."""
        now = await self._now(connection)
        silent = await self._silent(connection, now)
        rows = await connection.fetch(
            f"SELECT owner, count(*), max(leased_until) FROM {self.schema}.entry "
            f"WHERE {_HELD} GROUP BY owner",
            now,
            now + LONGEST_LEASE_SECONDS,
        )
        found = [
            AtWork(owner, count, until - now, silent.pop(owner, None))
            for owner, count, until in rows
        ]
        idle = (AtWork(owner, 0, 0.0, seconds) for owner, seconds in silent.items())
        found += (one for one in idle if one.is_alive)
        return tuple(sorted(found, key=lambda one: one.owner))

    async def _silent(self, connection: "Connection[Any]", now: float) -> dict[str, float]:
        """Give for how long workers have been silent; none where their table isn't to be seen."""
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
            now + LONGEST_LEASE_SECONDS,
        )
        return held
