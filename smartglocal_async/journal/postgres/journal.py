"""The journal that keeps payouts in PostgreSQL."""

import asyncio
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, define, evolve, field

from ...errors import JournalUnusable, KeyReused, LeftOpen, Misuse
from ...models.validators import above_zero, discreet
from ..entries import (
    EVERY_STEP,
    KEEP,
    NO_CHANGES,
    WORKABLE,
    Attempt,
    Batch,
    BatchState,
    BatchTotal,
    Changes,
    Entry,
    Halt,
    Kept,
    NewEntry,
    OpenClaims,
    OperatorAction,
    PendingEvent,
    SamePayment,
)
from ..limits import COUNTED, Limits, WorkerInfo
from ..rows import Page, is_same
from ..states import Event, Step
from ..transitions import Transitions, holding
from .address import check_schema, checked_schema, name_of, schema_in, without_schema
from .queries import Queries
from .statements import Needs
from .workers import WorkerTable

if TYPE_CHECKING:
    from asyncpg import Connection

    from .opening import OpenJournal

T = TypeVar("T")


def _nothing(_label: str) -> None:
    """Do nothing at a fault point."""


@discreet
@define(eq=False)
class PostgresJournal:
    """A journal in a schema of a PostgreSQL database, for any number of processes.

    The schema is ``schema``, or ``?schema=NAME`` in the address; else ``smartglocal``. Opening it
    makes the tables if there are none, unless ``may_make`` is false. It needs the extra
    ``postgres``. What a method returned is on the server's disk: every commit waits for that,
    whatever the role's settings are. Calls made at the same time share a commit. Leases use the
    database's time. A database that can't be reached is retried for ``patience_seconds``; then the
    call raises `JournalUnusable`, and the next call tries again. If the answer to a commit is lost,
    the journal checks whether the commit was made. Use it only in the event loop that opened it.

    If a standby server may take over, set ``synchronous_commit`` to ``remote_apply``, and name the
    standby in ``synchronous_standby_names``: otherwise commits that it lacks are lost, and only the
    processes that wrote them notice. ``clock`` and ``fault_point`` are for tests; the latter is
    called with ``taken``, ``written``, ``committed``, ``resolved``.

    Raises:
        InvalidRequest: an address or a name of a schema that isn't valid.

    """

    dsn: str = field(repr=False)
    schema: str = field(
        default=Factory(lambda made: schema_in(made.dsn), takes_self=True),
        kw_only=True,
        converter=checked_schema,
    )
    may_make: bool = field(default=True, kw_only=True)
    patience_seconds: float = field(default=30.0, kw_only=True)
    answer_seconds: float = field(default=30.0, kw_only=True)
    """How long an answer of the database may take before the connection counts as lost."""
    clock: Callable[[], float] | None = field(default=None, kw_only=True, repr=False)
    fault_point: Callable[[str], None] = field(default=_nothing, kw_only=True, repr=False)
    _name: str = field(init=False)
    _queries: Queries = field(init=False, repr=False)
    _now_open: "OpenJournal | None" = field(default=None, init=False, repr=False)
    _opening: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("patience_seconds", self.patience_seconds)
        above_zero("answer_seconds", self.answer_seconds)
        self._name = name_of(self.dsn, self.schema)
        check_schema(self.dsn, self.schema)
        self._queries = Queries(self.schema)

    @property
    def durable(self) -> bool:
        """True: every commit reaches the disk before its caller continues."""
        return True

    @property
    def journal_id(self) -> str:
        """A random name, made with the journal."""
        return self._opened.identity.journal_id

    @property
    def secret(self) -> bytes:
        """The secret for fingerprints, made with the journal."""
        return self._opened.identity.secret

    @property
    def scope(self) -> str:
        """The server and the project that it belongs to; known once it is open."""
        return self._opened.scope

    async def open(self, scope: str) -> None:
        """Connect, and make the tables if there are none and it may; leases stay as they are.

        Raises:
            Misuse: the extra is not installed.
            JournalUnusable: the database can't be reached, refuses the user, is too old, or isn't
                durable; or the schema belongs to another scope, is of a newer version, or has no
                journal, and none may be made.

        """
        async with self._opening:
            if (opened := self._now_open) is None:
                opened = self._now_open = await self._connect(scope)
        if not is_same(opened.scope, scope):
            words = f"{self._name} belongs to {opened.scope}, not to {scope}"
            raise JournalUnusable(words)

    async def close(self) -> None:
        """Finish the pending jobs, and close the connections; closing twice is fine.

        After a fork, or when its event loop is closed, there is nothing left to finish.

        Raises:
            Misuse: it was opened in another event loop, which still runs.

        """
        async with self._opening:
            if (opened := self._now_open) is None:
                return
            if not opened.is_elsewhere:
                opened.check_place()
            self._now_open = None
            await opened.close()

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry; return it, or the existing one of its key."""
        return await self._write(_accepts((new,)), lambda transitions: transitions.accept(new))

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return await self._read(lambda connection: self._queries.find(connection, key))

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries in one commit."""
        return await self._write(_accepts(news), lambda transitions: transitions.accept_many(news))

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, respects_halt: bool = True
    ) -> Entry:
        """Lease the entry; the fence goes up."""
        return await self._write(
            Needs(keys=frozenset({key}), counted=frozenset({key})),
            lambda transitions: transitions.claim(
                key, owner, lease_seconds, respects_halt=respects_halt
            ),
        )

    async def take(
        self,
        new: NewEntry,
        owner: str,
        lease_seconds: float,
        *,
        respects_halt: bool = True,
        intends: Event | None = None,
    ) -> Entry:
        """Accept and claim in one commit."""
        return await self._write(
            evolve(_accepts((new,)), counted=frozenset({new.key})),
            lambda transitions: transitions.take(
                new, owner, lease_seconds, respects_halt=respects_halt, intends=intends
            ),
        )

    async def claim_open(
        self,
        limit: int,
        owner: str,
        lease_seconds: float,
        *,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
    ) -> OpenClaims:
        """Claim entries that can be worked on now, the oldest first."""
        page = Page(limit=limit, after=None, steps=steps, batch=batch)
        return await self._write(
            Needs(pages=(page,)),
            lambda transitions: transitions.claim_open(page, owner, lease_seconds),
        )

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write an event, and its line of the log."""
        named = changes.session_id
        sessions = frozenset({named}) if isinstance(named, str) else frozenset[str]()
        keys = frozenset({entry.key})
        counted = keys if event in COUNTED else frozenset[str]()
        needs = Needs(keys=keys, sessions=sessions, counted=counted)
        return await self._write(
            needs, lambda transitions: transitions.advance(entry, event, changes, pending, operator)
        )

    async def retry(self, entry: Entry) -> Entry:
        """Take a failed entry up again."""
        batches = frozenset[str]() if entry.batch is None else frozenset({entry.batch})
        return await self._write(
            Needs(keys=frozenset({entry.key}), batches=batches),
            lambda transitions: transitions.retry(entry),
        )

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Extend the lease, counted from now."""
        return await self._write(
            _key(entry.key), lambda transitions: transitions.renew(entry, lease_seconds)
        )

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """End the lease of the entry."""
        keys = frozenset({entry.key})
        await self._write(
            Needs(keys=keys, counted=frozenset() if entry.attempts else keys),
            lambda transitions: transitions.release(entry, not_before, backs_off=backs_off),
        )

    async def open_entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
        is_due: bool = True,
    ) -> tuple[Entry, ...]:
        """Return entries that can be worked on now, the oldest first, after the key ``after``."""
        page = Page(limit=limit, after=after, steps=steps, batch=batch)
        now = None if self.clock is None else self.clock()
        return await self._read(
            lambda connection: self._queries.open_entries(connection, page, now, is_due=is_due)
        )

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
        return await self._read(lambda connection: self._queries.entries(connection, page))

    async def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        return await self._read(lambda connection: self._queries.by_session(connection, session_id))

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        return await self._read(lambda connection: self._queries.counts(connection, batch))

    async def counts_by_batch(self) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries of each batch by step; those of no batch under None."""
        return await self._read(self._queries.counts_by_batch)

    async def totals(self, late_before: float) -> tuple[BatchTotal, ...]:
        """Count and add up the entries by batch, step and currency, in one pass over all."""
        return await self._read(lambda connection: self._queries.totals(connection, late_before))

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        return await self._read(lambda connection: self._queries.sums(connection, batch))

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again."""
        needs = Needs(batches=frozenset({batch.name}))
        return await self._write(needs, lambda transitions: transitions.put_batch(batch))

    async def set_batch_state(
        self,
        name: str,
        state: BatchState,
        reason: str | None = None,
        *,
        operator: str | None = None,
    ) -> Batch:
        """Set whether `claim_open` returns payouts of a batch."""
        return await self._write(
            Needs(batches=frozenset({name})),
            lambda transitions: transitions.set_batch_state(name, state, reason, operator),
        )

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Store how much of a batch the wallets cover, if the batch stops on a low balance."""
        needs = Needs(batches=frozenset({name}))
        return await self._write(needs, lambda transitions: transitions.cover(name, cover))

    async def batch(self, name: str) -> Batch | None:
        """Return a batch by its name."""
        return await self._read(lambda connection: self._queries.batch(connection, name))

    async def batches(self) -> tuple[Batch, ...]:
        """Return all batches, the oldest first."""
        return await self._read(self._queries.batches)

    async def count_open(self, limit: int, *, batch: str, is_due: bool = True) -> int:
        """Count the payouts of a batch that can be claimed now, up to ``limit``.

        With ``is_due=False`` those are counted that aren't settled.
        """
        page = Page(limit=limit, after=None, steps=WORKABLE, batch=batch)
        now = None if self.clock is None else self.clock()
        return await self._read(
            lambda connection: self._queries.count_open(connection, page, now, is_due=is_due)
        )

    async def halt(self, halt: Halt | None) -> None:
        """Halt all payouts; None ends the halt."""
        await self._write(Needs(sets_halt=True), lambda transitions: transitions.halt(halt))

    async def halted(self) -> Halt | None:
        """Return the halt that is in force now."""
        now, halt = await self._read(self._queries.halt)
        return holding(halt, now if self.clock is None else self.clock())

    async def check_halt(self) -> None:
        """Store that the reports were compared while a halt is in force."""
        await self._write(Needs(sets_halt=True), lambda transitions: transitions.check_halt())

    async def resume(self, *, unchecked: bool = False) -> Halt | None:
        """Lift the halt that is in force now, and return it."""
        return await self._write(
            Needs(sets_halt=True), lambda transitions: transitions.resume(unchecked=unchecked)
        )

    async def lacks(self, keys: Collection[str]) -> frozenset[str]:
        """Return the keys that are unknown, or not at a final step."""
        return await self._read(lambda connection: self._queries.lacks(connection, keys))

    async def same_payments(self, payments: Collection[bytes]) -> tuple[SamePayment, ...]:
        """Return the payouts with these digests of payee and sum."""
        return await self._read(
            lambda connection: self._queries.same_payments(connection, payments)
        )

    async def forget(self, before: float) -> int:
        """Drop personal data from payouts that were settled before a time; return how many.

        It works in several commits, and needs the right to delete from the table ``attempt``. The
        space is used again once the server has vacuumed the tables.
        """
        # Imported when used: the package works without the extra.
        from .writer import forget_some  # noqa: PLC0415

        total, last, level = 0, 0, self._opened.writer.level
        while True:
            query = partial(forget_some, schema=self.schema, level=level, before=before, after=last)
            count, reached = await self._read(query)
            total += count
            if reached is None:
                return total
            last = reached

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        return await self._read(lambda connection: self._queries.history(connection, key))

    async def actions(
        self, limit: int, *, batch: str | None = None, key: str | None = None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        return await self._read(
            lambda connection: self._queries.actions(connection, limit, batch, key)
        )

    async def revision(self) -> int:
        """Return a number that changes with each commit of payouts or batches."""
        return await self._read(self._queries.revision)

    async def stored_id(self) -> str:
        """Return the id of the journal that the schema has now: `journal_id`, if not replaced."""
        return await self._read(self._queries.stored_id)

    async def limits(self) -> Limits:
        """Return the limits that all `Payouts.run_chunk` of this journal share."""
        return await self._read(self._workers.limits)

    async def set_limits(self, limits: Limits, *, operator: str | None = None) -> None:
        """Change these limits, for all processes from now on.

        With ``operator``, the name of a person, an `OperatorAction` is written in the same commit.
        """
        await self._read(lambda connection: self._workers.set_limits(connection, limits, operator))

    async def slow_down(self, seconds: float) -> None:
        """Stop all processes from claiming payouts for this long, such as after an HTTP 429."""
        above_zero("seconds", seconds)
        await self._read(lambda connection: self._workers.slow_down(connection, seconds))

    async def beat(self, owner: str) -> None:
        """Store that a worker is alive; workers do that every 3 seconds.

        After 10 seconds of silence it counts as dead. The commit doesn't wait for the disk.
        """
        await self._read(lambda connection: self._workers.beat(connection, owner))

    async def leave(self, owner: str) -> None:
        """Remove a worker that ends, so that it doesn't count any more."""
        await self._read(lambda connection: self._workers.leave(connection, owner))

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers of all processes that have payouts in flight or are alive, by name.

        A worker that died with payouts is listed until their leases end.
        """
        return await self._read(self._workers.workers)

    @property
    def _workers(self) -> WorkerTable:
        return WorkerTable(self.schema, self.clock)

    async def _connect(self, scope: str) -> "OpenJournal":
        try:
            # Imported when used: the package works without the extra.
            from .opening import JournalSettings, opened  # noqa: PLC0415
        except ModuleNotFoundError as error:
            words = 'a journal in PostgreSQL needs: pip install "smartglocal-async[postgres]"'
            raise Misuse(words) from error
        settings = JournalSettings(
            dsn=without_schema(self.dsn),
            schema=self.schema,
            name=self._name,
            may_make=self.may_make,
            patience_seconds=self.patience_seconds,
            answer_seconds=self.answer_seconds,
            clock=self.clock,
            fault_point=self.fault_point,
        )
        return await opened(settings, scope)

    async def _write(self, needs: Needs, act: Callable[[Transitions], T]) -> T:
        return await self._opened.writer.do(needs, act)

    async def _read(self, query: "Callable[[Connection[Any]], Awaitable[T]]") -> T:
        return await self._opened.read(query)

    @property
    def _opened(self) -> "OpenJournal":
        if self._now_open is None:
            raise Misuse("the journal isn't open: `await journal.open(...)` first")
        self._now_open.check_place()
        return self._now_open

    def __del__(self) -> None:
        # The attribute is missing if __init__ raised.
        opened = getattr(self, "_now_open", None)
        if opened is not None and not sys.is_finalizing() and opened.pid == os.getpid():
            opened.drop()
            warnings.warn(
                f"{self._name} was never closed: `await journal.close()`",
                LeftOpen,
                source=self,
                stacklevel=1,
            )


def _accepts(news: Sequence[NewEntry]) -> Needs:
    of_batches = ((new.key, new.batch) for new in news if new.batch is not None)
    return Needs(keys=frozenset(new.key for new in news), news=frozenset(of_batches))


def _key(key: str) -> Needs:
    return Needs(keys=frozenset({key}))
