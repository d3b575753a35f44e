"""The journal that keeps payouts in PostgreSQL."""

import asyncio
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, define, evolve, field

from ...errors import JournalUnusable, KeyReused, LeftOpen, Misuse
from ...values.exactness import above_zero
from ..entries import (
    EVERY_STEP,
    KEEP,
    NO_CHANGES,
    WORKABLE,
    Attempt,
    Batch,
    BatchState,
    Changes,
    Entry,
    Halt,
    Kept,
    Learned,
    NewEntry,
    OpenClaims,
)
from ..limits import AtWork, Limits
from ..packing import Page
from ..ruling import COUNTED
from ..scopes import is_same
from ..states import Event, Step
from ..writing import Writing, holding
from .address import check_schema, checked_schema, name_of, schema_in, without_schema
from .draft import Needs
from .fleet import Fleet
from .questions import Questions

if TYPE_CHECKING:
    from asyncpg import Connection

    from .opening import Opened

T = TypeVar("T")


def _nothing(_label: str) -> None:
    """Do nothing at a fault point."""


@define(eq=False)
class PostgresJournal:
    """A journal in a schema of a PostgreSQL database, for any number of processes.

    The schema is ``schema``, or stands in the address, as ``?schema=NAME``; else ``smartglocal``.
    It is made by whoever opens it first, unless ``may_make`` is false: then there has to be one. It
    needs the extra ``postgres``. What a method gave back is on the server's disk: every commit
    waits for it, whatever the role's settings say. Those who ask at the same time share a commit.
    The time of leases is the database's. A database that is gone is tried again for
    ``patience_seconds``, then what was asked for raises `JournalUnusable`; the next that is asked
    for tries anew. A commit whose answer was lost is asked about. It is used from the event loop
    that opened it. Where a standby server may take over, set ``synchronous_commit`` to
    ``remote_apply``, and name it in ``synchronous_standby_names``: what it lacks else is forgotten,
    and noticed only by those who wrote it. ``clock`` and ``fault_point`` are for tests; the latter
    is called with ``taken``, ``written``, ``committed``, ``told``.

    Raises:
        InvalidRequest: an address or a name of a schema that can't be one.

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
    _questions: Questions = field(init=False, repr=False)
    _now_open: "Opened | None" = field(default=None, init=False, repr=False)
    _opening: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("patience_seconds", self.patience_seconds)
        above_zero("answer_seconds", self.answer_seconds)
        self._name = name_of(self.dsn, self.schema)
        check_schema(self.dsn, self.schema)
        self._questions = Questions(self.schema)

    @property
    def durable(self) -> bool:
        """It is: every commit reaches the disk before anybody is told."""
        return True

    @property
    def journal_id(self) -> str:
        """A random name, given when the journal was made."""
        return self._opened.identity.journal_id

    @property
    def secret(self) -> bytes:
        """The secret for the fingerprints, made with the journal."""
        return self._opened.identity.secret

    @property
    def scope(self) -> str:
        """The server and the project whose it is: known once it is open."""
        return self._opened.scope

    async def open(self, scope: str) -> None:
        """Connect, and make the tables where there are none and it may; leases stay as they are.

        Raises:
            Misuse: the extra is not installed.
            JournalUnusable: the database can't be reached, refuses, is too old, or forgets; or the
                schema is another scope's, or of a newer version, or has no journal, and none may
                be made.

        """
        async with self._opening:
            if (opened := self._now_open) is None:
                opened = self._now_open = await self._connect(scope)
        if not is_same(opened.scope, scope):
            words = f"{self._name} belongs to {opened.scope}, not to {scope}"
            raise JournalUnusable(words)

    async def close(self) -> None:
        """Finish what was asked for, and let the connections go; closing twice is fine.

        After a fork, or when its event loop is gone, there is nothing left to finish.

        Raises:
            Misuse: it was opened in another event loop, which is there still.

        """
        async with self._opening:
            if (opened := self._now_open) is None:
                return
            if not opened.is_elsewhere:
                opened.check_place()
            self._now_open = None
            await opened.close()

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry, or give the one that is there."""
        return await self._write(_accepts((new,)), lambda writing: writing.accept(new))

    async def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        return await self._ask(lambda connection: self._questions.find(connection, key))

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries in one commit."""
        return await self._write(_accepts(news), lambda writing: writing.accept_many(news))

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, heeds_halt: bool = True
    ) -> Entry:
        """Take the entry for some time; the fence goes up."""
        return await self._write(
            Needs(keys=frozenset({key}), counted=frozenset({key})),
            lambda writing: writing.claim(key, owner, lease_seconds, heeds_halt=heeds_halt),
        )

    async def take(
        self,
        new: NewEntry,
        owner: str,
        lease_seconds: float,
        *,
        heeds_halt: bool = True,
        intends: Event | None = None,
    ) -> Entry:
        """Accept and claim in one commit."""
        return await self._write(
            evolve(_accepts((new,)), counted=frozenset({new.key})),
            lambda writing: writing.take(
                new, owner, lease_seconds, heeds_halt=heeds_halt, intends=intends
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
        """Take entries that can be worked on now, the oldest first."""
        page = Page(limit=limit, after=None, steps=steps, batch=batch)
        return await self._write(
            Needs(pages=(page,)), lambda writing: writing.claim_open(page, owner, lease_seconds)
        )

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        learned: Learned | None = None,
    ) -> Entry:
        """Write a step, and a line of the log with it."""
        named = changes.session_id
        sessions = frozenset({named}) if isinstance(named, str) else frozenset[str]()
        keys = frozenset({entry.key})
        counted = keys if event in COUNTED else frozenset[str]()
        needs = Needs(keys=keys, sessions=sessions, counted=counted)
        return await self._write(
            needs, lambda writing: writing.advance(entry, event, changes, learned)
        )

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Lengthen the lease, counted from now."""
        return await self._write(
            _key(entry.key), lambda writing: writing.renew(entry, lease_seconds)
        )

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """Give the entry back."""
        keys = frozenset({entry.key})
        await self._write(
            Needs(keys=keys, counted=frozenset() if entry.attempts else keys),
            lambda writing: writing.release(entry, not_before, backs_off=backs_off),
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
        """Give entries that can be worked on now, the oldest first, behind the key ``after``."""
        page = Page(limit=limit, after=after, steps=steps, batch=batch)
        now = None if self.clock is None else self.clock()
        return await self._ask(
            lambda connection: self._questions.open_entries(connection, page, now, is_due=is_due)
        )

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Give a page of all entries, in the order in which they came."""
        page = Page(limit=limit, after=after, steps=steps, batch=batch)
        return await self._ask(lambda connection: self._questions.entries(connection, page))

    async def by_session(self, session_id: str) -> Entry | None:
        """Give the entry that uses this session, or used and left it."""
        return await self._ask(
            lambda connection: self._questions.by_session(connection, session_id)
        )

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        return await self._ask(lambda connection: self._questions.counts(connection, batch))

    async def counts_by_batch(self) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries of each batch by step; those of no batch stand under None."""
        return await self._ask(self._questions.counts_by_batch)

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        return await self._ask(lambda connection: self._questions.sums(connection, batch))

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again."""
        needs = Needs(batches=frozenset({batch.name}))
        return await self._write(needs, lambda writing: writing.put_batch(batch))

    async def set_batch_state(
        self, name: str, state: BatchState, reason: str | None = None
    ) -> Batch:
        """Have `claim_open` give payouts of a batch, or none."""
        return await self._write(
            Needs(batches=frozenset({name})),
            lambda writing: writing.set_batch_state(name, state, reason),
        )

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Say how much of a batch the wallets pay for, where it stops on a low balance."""
        needs = Needs(batches=frozenset({name}))
        return await self._write(needs, lambda writing: writing.cover(name, cover))

    async def batch(self, name: str) -> Batch | None:
        """Give a batch by its name."""
        return await self._ask(lambda connection: self._questions.batch(connection, name))

    async def batches(self) -> tuple[Batch, ...]:
        """Give all batches, the one that was begun first in front."""
        return await self._ask(self._questions.batches)

    async def count_open(self, most: int, *, batch: str, is_due: bool = True) -> int:
        """Count what could be taken of a batch now, up to so many; or all that isn't settled."""
        page = Page(limit=most, after=None, steps=WORKABLE, batch=batch)
        now = None if self.clock is None else self.clock()
        return await self._ask(
            lambda connection: self._questions.count_open(connection, page, now, is_due=is_due)
        )

    async def halt(self, halt: Halt | None) -> None:
        """Put the brake on; None lifts it."""
        await self._write(Needs(sets_halt=True), lambda writing: writing.halt(halt))

    async def halted(self) -> Halt | None:
        """Give the halt that holds now."""
        now, halt = await self._ask(self._questions.halt)
        return holding(halt, now if self.clock is None else self.clock())

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry, the oldest line first."""
        return await self._ask(lambda connection: self._questions.history(connection, key))

    async def limits(self) -> Limits:
        """Give what all `Payouts.run_chunk` over this journal may do together."""
        return await self._ask(self._fleet.limits)

    async def set_limits(self, limits: Limits) -> None:
        """Have all of them, in whichever process, go by other limits from now on."""
        await self._ask(lambda connection: self._fleet.set_limits(connection, limits))

    async def slow_down(self, seconds: float) -> None:
        """Have all of them take nothing for so long: the provider asked for it, say by a 429."""
        above_zero("seconds", seconds)
        await self._ask(lambda connection: self._fleet.slow_down(connection, seconds))

    async def beat(self, owner: str) -> None:
        """Say that a worker is alive, as those of the cluster do every 3 seconds.

        After 10 without a word it counts as dead. It is no payout's: no disk is waited for.
        """
        await self._ask(lambda connection: self._fleet.beat(connection, owner))

    async def leave(self, owner: str) -> None:
        """Say that a worker is at its end: it counts no more, at once."""
        await self._ask(lambda connection: self._fleet.leave(connection, owner))

    async def workers(self) -> tuple[AtWork, ...]:
        """Give those who have payouts under way, and workers who are alive, by name.

        In whichever process. A worker that died with payouts is there until their leases end.
        """
        return await self._ask(self._fleet.workers)

    @property
    def _fleet(self) -> Fleet:
        return Fleet(self.schema, self.clock)

    async def _connect(self, scope: str) -> "Opened":
        try:
            # Imported when used: the package works without the extra.
            from .opening import Setting, opened  # noqa: PLC0415
        except ModuleNotFoundError as error:
            words = 'a journal in PostgreSQL needs: pip install "smartglocal-async[postgres]"'
            raise Misuse(words) from error
        setting = Setting(
            dsn=without_schema(self.dsn),
            schema=self.schema,
            name=self._name,
            may_make=self.may_make,
            patience_seconds=self.patience_seconds,
            answer_seconds=self.answer_seconds,
            clock=self.clock,
            fault_point=self.fault_point,
        )
        return await opened(setting, scope)

    async def _write(self, needs: Needs, act: Callable[[Writing], T]) -> T:
        return await self._opened.writer.do(needs, act)

    async def _ask(self, question: "Callable[[Connection[Any]], Awaitable[T]]") -> T:
        return await self._opened.ask(question)

    @property
    def _opened(self) -> "Opened":
        if self._now_open is None:
            raise Misuse("the journal isn't open: `await journal.open(...)` first")
        self._now_open.check_place()
        return self._now_open

    def __del__(self) -> None:
        # Nothing is there yet when the journal was refused at birth.
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
