"""Drafts, taken from the tables of PostgreSQL and written to them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from ..entries import Attempt, Batch, Entry, Halt
from ..packing import (
    BATCH,
    COLUMNS,
    LINE,
    MOVING,
    Page,
    attempt_row,
    batch_of,
    batch_row,
    entry_of,
    entry_row,
    halt_of,
    halt_text,
)
from .draft import Draft, Needs
from .fleet import Fleet
from .questions import Questions
from .schema import CLOCK

if TYPE_CHECKING:
    from asyncpg import Connection


class Raced(Exception):
    """Another process wrote a row first that a draft holds for new: take another draft."""


def _insert(table: str, columns: Sequence[str], then: str = "") -> str:
    marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) {then}"


# Every name here is our own, and the schema's was looked at; what comes from outside is bound.
# ruff: noqa: S608
@frozen
class Drafting:
    """The statements for drafts, over the tables of one schema."""

    schema: str
    clock: Callable[[], float] | None = None
    """None: the database's."""

    async def take(self, connection: "Connection[Any]", needs: Needs) -> Draft:
        """Read and lock what is needed, in one order for all, so that none waits in a circle."""
        entries = await connection.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM {self.schema}.entry "
            "WHERE key = ANY($1) ORDER BY key FOR UPDATE",
            sorted(needs.keys),
        )
        opened, wait_seconds = await self._opened(connection, needs)
        keyed, free = tuple(map(entry_of, entries)), tuple(chain(*opened.values()))
        now, halt, ruled = await self._meta(connection, _counting(needs, keyed, free))
        batches = await self._locked_batches(connection, needs.batches.union(ruled))
        if batches or needs.sets_halt:
            # Asked when the rows are ours: whoever waited for them has an old clock.
            now, halt, _ = await self._meta(connection, frozenset(), locks=needs.sets_halt)
        return Draft(
            now=now if self.clock is None else self.clock(),
            entries={entry.key: entry for entry in (*keyed, *free)},
            opened=opened,
            wait_seconds=wait_seconds,
            users=await self._users(connection, needs),
            batches=batches,
            halted=halt_of(halt),
        )

    async def _opened(
        self, connection: "Connection[Any]", needs: Needs
    ) -> tuple[dict[Page, tuple[Entry, ...]], float | None]:
        """Lock what can be worked on, so much more of a page as several ask for it."""
        opened = dict[Page, tuple[Entry, ...]]()
        if not needs.pages:
            return opened, None
        fleet, is_short = Fleet(self.schema, self.clock), False
        room = await fleet.room(connection)
        for page, times in Counter(needs.pages).items():
            asked = times * page.limit
            most = asked if room is None else room.most(asked)
            opened[page] = await self._locked_page(connection, evolve(page, limit=most))
            is_short = is_short or len(opened[page]) == most < asked
            if room is not None:
                room.take(len(opened[page]))
        if room is None:
            return opened, None
        await fleet.keep(connection, room)
        return opened, room.wait_seconds if is_short else None

    async def _locked_page(self, connection: "Connection[Any]", page: Page) -> tuple[Entry, ...]:
        now = None if self.clock is None else self.clock()
        return await Questions(self.schema).open_entries(
            connection, page, now, is_due=True, takes=True
        )

    async def _meta(
        self, connection: "Connection[Any]", batches: frozenset[str], *, locks: bool = False
    ) -> "tuple[float, str | None, list[str]]":
        """Give the time, the halt, and which of some batches have rules."""
        batch = f"SELECT name FROM {self.schema}.batch WHERE name = ANY($1) AND rules IS NOT NULL"
        row = await connection.fetchrow(
            f"SELECT {CLOCK}, halt, ARRAY({batch}) FROM {self.schema}.meta "
            f"{'FOR UPDATE' if locks else ''}",
            sorted(batches),
        )
        assert row is not None  # noqa: S101 - it was there when the schema was opened
        return row[0], row[1], row[2]

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

    async def _users(self, connection: "Connection[Any]", needs: Needs) -> dict[str, str]:
        if not needs.sessions:
            return {}
        rows = await connection.fetch(
            f"SELECT session_id, key FROM {self.schema}.session WHERE session_id = ANY($1)",
            sorted(needs.sessions),
        )
        return dict(rows)

    async def save(self, connection: "Connection[Any]", draft: Draft) -> None:
        """Write a draft.

        Raises:
            Raced: another process wrote one of its new rows first.

        """
        new = [entry_row(draft.entries[key]) for key in sorted(draft.new_keys)]
        await self._add(connection, f"{self.schema}.entry", COLUMNS, "key", new)
        changed = [
            (key, *entry_row(draft.entries[key], MOVING)) for key in sorted(draft.changed_keys)
        ]
        if changed:
            await connection.executemany(self._update, changed)
        session = f"{self.schema}.session"
        columns = ("session_id", "key", "session_no")
        await self._add(connection, session, columns, "session_id", sorted(draft.new_sessions))
        await self._save_rest(connection, draft)
        await self._save_lines(connection, draft.lines)

    @property
    def _update(self) -> str:
        places = ", ".join(f"{name} = ${number}" for number, name in enumerate(MOVING, 2))
        return f"UPDATE {self.schema}.entry SET {places} WHERE key = $1"

    async def _add(
        self,
        connection: "Connection[Any]",
        table: str,
        columns: Sequence[str],
        unique: str,
        rows: Sequence[Sequence[Any]],
    ) -> None:
        """Add rows; whoever adds one of them at the same time is waited for."""
        if not rows:
            return
        then = f"ON CONFLICT ({unique}) DO NOTHING RETURNING {unique}"
        added = await connection.fetchmany(_insert(table, columns, then), rows)
        if len(added) < len(rows):
            raise Raced

    async def _save_rest(self, connection: "Connection[Any]", draft: Draft) -> None:
        if draft.is_halt_set:
            await self.put_halt(connection, draft.halted)
        for name in sorted(draft.set_batches):
            row = batch_row(draft.batches[name])
            if name not in draft.old_batches:
                await self._add(connection, f"{self.schema}.batch", BATCH, "name", [row])
                continue
            _ = await connection.execute(
                f"UPDATE {self.schema}.batch SET digest = $2, rows = $3, totals = $4, "
                "begun_at = $5, state = $6, reason = $7, rules = $8, bound = $9, paid = $10, "
                "failures = $11, cover = $12, cover_at = $13 WHERE name = $1",
                *row,
            )

    async def put_halt(self, connection: "Connection[Any]", halt: Halt | None) -> None:
        """Write a halt in the place of the last one."""
        text = None if halt is None else halt_text(halt)
        _ = await connection.execute(f"UPDATE {self.schema}.meta SET halt = $1", text)

    async def _save_lines(self, connection: "Connection[Any]", lines: Sequence[Attempt]) -> None:
        if lines:
            statement = _insert(f"{self.schema}.attempt", LINE)
            await connection.executemany(statement, [attempt_row(line) for line in lines])

    async def commits_of(self, connection: "Connection[Any]", writer: str) -> int | None:
        """Give the number of a writer's last commit; one that is under way is waited for."""
        found: int | None = await connection.fetchval(
            f"SELECT commits FROM {self.schema}.writer WHERE id = $1 FOR UPDATE", writer
        )
        return found

    async def enrol(self, connection: "Connection[Any]", writer: str, commits: int) -> None:
        """Write the row in which a writer counts its commits, where there is none that is right."""
        _ = await connection.execute(
            f"INSERT INTO {self.schema}.writer (id, commits) VALUES ($1, $2) "
            "ON CONFLICT (id) DO UPDATE SET commits = EXCLUDED.commits",
            writer,
            commits,
        )

    async def sign(self, connection: "Connection[Any]", writer: str, commits: int) -> None:
        """Write the number of a commit with it, by which it can be asked about later.

        Raises:
            ConnectionError: the writer's row is gone; whoever looks at a new connection learns why.

        """
        done = await connection.execute(
            f"UPDATE {self.schema}.writer SET commits = $2 WHERE id = $1", writer, commits
        )
        if done != "UPDATE 1":
            raise ConnectionError


def _counting(needs: Needs, keyed: Iterable[Entry], free: Iterable[Entry]) -> frozenset[str]:
    """Give the batches that have to count something of this, if they have rules."""
    of_entries = (
        entry.batch
        for entry in chain(
            (entry for entry in keyed if entry.key in needs.counted),
            (entry for entry in free if not entry.attempts),
        )
        if entry.batch is not None
    )
    of_news = (batch for key, batch in needs.news if key in needs.counted)
    return frozenset(chain(of_entries, of_news))
