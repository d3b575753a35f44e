"""Drafts, taken from the tables of PostgreSQL and written to them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from ...idempotency import Fingerprint
from ..entries import Batch, Entry, Halt
from ..packing import (
    BATCH,
    COLUMNS,
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
from .adding import Unsigned, add
from .draft import Draft, Needs
from .fleet import Fleet
from .questions import Questions
from .schema import CLOCK

if TYPE_CHECKING:
    from asyncpg import Connection


# Every name here is our own, and the schema's was looked at; what comes from outside is bound.
# ruff: noqa: S608
@frozen
class Drafting:
    """The statements for drafts, over the tables of one schema."""

    schema: str
    clock: Callable[[], float] | None = None
    """None: the database's."""

    async def warm(self, connection: "Connection[Any]") -> None:
        """Use each statement once, for nobody, before rows are locked.

        The driver prepares one with no end that the server would take for idle: a process that is
        stopped then would hold its locks for as long.
        """
        nobody = os.urandom(8).hex()
        just = frozenset({nobody})
        draft = await self.take(connection, Needs(keys=just, sessions=just, batches=just))
        nothing = Fingerprint(())
        draft.entries[nobody] = Entry(
            key=nobody, mode="", fingerprint=nothing, created_at=0, updated_at=0
        )
        draft.batches[nobody] = Batch(name=nobody)
        draft.changed_keys.add(nobody)
        draft.set_batches.add(nobody)
        draft.old_batches = just
        with suppress(Unsigned):
            await self.save(connection, draft, nobody, 0)

    async def take(self, connection: "Connection[Any]", needs: Needs) -> Draft:
        """Read and lock what is needed, in one order for all, so that none waits in a circle."""
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
            # Asked when the rows are ours: whoever waited for them has an old clock.
            now, halt, *_ = await self._meta(connection, locks=needs.sets_halt)
        return Draft(
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
        self,
        connection: "Connection[Any]",
        batches: Iterable[str] = (),
        sessions: Iterable[str] = (),
        *,
        locks: bool = False,
    ) -> "tuple[float, str | None, list[str], list[tuple[str, str]]]":
        """Give the time, the halt, which batches have rules, and whose some sessions are."""
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
        self, connection: "Connection[Any]", draft: Draft, writer: str, commits: int
    ) -> None:
        """Write a draft, and the number of the commit with it.

        Raises:
            Raced: another process wrote one of its new rows first.
            Unsigned: the writer's row is gone.

        """
        changed = [
            (key, *entry_row(draft.entries[key], MOVING)) for key in sorted(draft.changed_keys)
        ]
        if changed:
            await connection.executemany(self._update, changed)
        if draft.is_halt_set:
            await self.put_halt(connection, draft.halted)
        for name in sorted(draft.set_batches & draft.old_batches):
            _ = await connection.execute(self._update_batch, *batch_row(draft.batches[name]))
        # In one order for all, so that none waits in a circle.
        await add(
            connection,
            self.schema,
            writer,
            commits,
            entries=[entry_row(draft.entries[key]) for key in sorted(draft.new_keys)],
            sessions=sorted(draft.new_sessions),
            batches=[
                batch_row(draft.batches[name])
                for name in sorted(draft.set_batches - draft.old_batches)
            ],
            attempts=map(attempt_row, draft.lines),
        )

    @property
    def _update(self) -> str:
        places = ", ".join(f"{name} = ${number}" for number, name in enumerate(MOVING, 2))
        return f"UPDATE {self.schema}.entry SET {places} WHERE key = $1"

    @property
    def _update_batch(self) -> str:
        return (
            f"UPDATE {self.schema}.batch SET digest = $2, rows = $3, totals = $4, "
            "begun_at = $5, state = $6, reason = $7, rules = $8, bound = $9, paid = $10, "
            "failures = $11, cover = $12, cover_at = $13 WHERE name = $1"
        )

    async def put_halt(self, connection: "Connection[Any]", halt: Halt | None) -> None:
        """Write a halt in the place of the last one."""
        text = None if halt is None else halt_text(halt)
        _ = await connection.execute(f"UPDATE {self.schema}.meta SET halt = $1", text)

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
