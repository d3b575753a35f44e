"""The journal that stores payouts in a SQLite file."""

import asyncio
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from attrs import define, field

from ...errors import JournalUnusable, KeyReused, LeftOpen, Misuse
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
    NewEntry,
    OpenClaims,
    OperatorAction,
    PendingEvent,
    SamePayment,
)
from ..rows import Page, is_same
from ..states import Event, Step
from ..transitions import Transitions
from .file import OpenFile
from .tables import SQLiteRows
from .writer import SQLiteWriter

T = TypeVar("T")


_BEFORE_ALL: Final = -1
_SOME: Final = 1_000


def _forget_some(rows: SQLiteRows, before: float, after: int) -> tuple[int, int | None]:
    return rows.forget_some(before, after, _SOME)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()


def _nothing(_label: str) -> None:
    """Do nothing at a fault point."""


@define(eq=False)
class SQLiteJournal:
    """A journal in one file, for one process at a time; the default for payouts.

    Opening it makes the file if it doesn't exist, unless ``may_make`` is false. What a method
    returned is on disk. Calls made at the same time share a commit. It may be used from several
    event loops, but not across a fork. ``fault_point`` is for tests: it is called in the writing
    thread with ``opened``, ``taken``, ``written``, ``committed``, ``resolved``.
    """

    path: Path = field(converter=_absolute)
    may_make: bool = field(default=True, kw_only=True)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)  # noqa: TID251 - the clock itself
    fault_point: Callable[[str], None] = field(default=_nothing, kw_only=True, repr=False)
    _writer: SQLiteWriter | None = field(default=None, init=False, repr=False)
    _last: SQLiteWriter | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @property
    def durable(self) -> bool:
        """True: every commit reaches the disk before its caller continues."""
        return True

    @property
    def journal_id(self) -> str:
        """A random name, made with the journal."""
        return self._opened.journal_id

    @property
    def secret(self) -> bytes:
        """The secret for fingerprints, made with the journal."""
        return self._opened.secret

    async def open(self, scope: str) -> None:
        """Open the file, and make it if it doesn't exist and may be made; every lease in it ends.

        Raises:
            JournalUnusable: another process has it, it belongs to another scope, is of a newer
                version, isn't a journal, is damaged, read-only, on a full disk, or can't be synced.

        """
        with self._lock:
            if (writer := self._writer) is None:
                writer = SQLiteWriter(self.path, scope, self.clock, self.fault_point, self.may_make)
                self._writer = writer
                writer.start(after=self._last)
        if not is_same(writer.scope, scope):
            raise JournalUnusable(
                f"the journal {self.path} belongs to {writer.scope}, not to {scope}"
            )
        try:
            await writer.do(lambda _: None)
        except BaseException:
            self._let_go(writer)
            raise

    async def close(self) -> None:
        """Finish the pending requests and close the file; closing twice is fine."""
        if self._writer is not None:
            self._let_go(self._writer)
        if self._last is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._last.join)

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry; return it, or the existing one of its key."""
        return await self._write(lambda transitions: transitions.accept(new))

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return await self._read(lambda rows: rows.find(key))

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries in one commit."""
        return await self._write(lambda transitions: transitions.accept_many(news))

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, respects_halt: bool = True
    ) -> Entry:
        """Lease the entry; the fence goes up."""
        return await self._write(
            lambda transitions: transitions.claim(
                key, owner, lease_seconds, respects_halt=respects_halt
            )
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
            lambda transitions: transitions.take(
                new, owner, lease_seconds, respects_halt=respects_halt, intends=intends
            )
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
            lambda transitions: transitions.claim_open(page, owner, lease_seconds)
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
        return await self._write(
            lambda transitions: transitions.advance(entry, event, changes, pending, operator)
        )

    async def retry(self, entry: Entry) -> Entry:
        """Take a failed entry up again."""
        return await self._write(lambda transitions: transitions.retry(entry))

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Extend the lease, counted from now."""
        return await self._write(lambda transitions: transitions.renew(entry, lease_seconds))

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """End the lease of the entry."""
        await self._write(
            lambda transitions: transitions.release(entry, not_before, backs_off=backs_off)
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
        return await self._read(
            lambda rows: tuple(rows.free(page, is_due=is_due, is_running=False))
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
        return await self._read(lambda rows: rows.entries(page))

    async def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        return await self._read(lambda rows: rows.by_session(session_id))

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        return await self._read(lambda rows: rows.counts(batch))

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        return await self._read(lambda rows: rows.sums(batch))

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again."""
        return await self._write(lambda transitions: transitions.put_batch(batch))

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
            lambda transitions: transitions.set_batch_state(name, state, reason, operator)
        )

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Store how much of a batch the wallets cover, if the batch stops on a low balance."""
        return await self._write(lambda transitions: transitions.cover(name, cover))

    async def batch(self, name: str) -> Batch | None:
        """Return a batch by its name."""
        return await self._read(lambda rows: rows.batch(name))

    async def batches(self) -> tuple[Batch, ...]:
        """Return all batches, the oldest first."""
        return await self._read(lambda rows: rows.batches())

    async def counts_by_batch(self) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries of each batch by step; those of no batch under None."""
        return await self._read(lambda rows: rows.counts_by_batch())

    async def halt(self, halt: Halt | None) -> None:
        """Halt all payouts; None ends the halt."""
        await self._write(lambda transitions: transitions.halt(halt))

    async def halted(self) -> Halt | None:
        """Return the halt that is in force now."""
        return await self._write(lambda transitions: transitions.halted())

    async def check_halt(self) -> None:
        """Store that the reports were compared while a halt is in force."""
        await self._write(lambda transitions: transitions.check_halt())

    async def resume(self, *, unchecked: bool = False) -> Halt | None:
        """Lift the halt that is in force now, and return it."""
        return await self._write(lambda transitions: transitions.resume(unchecked=unchecked))

    async def lacks(self, keys: Collection[str]) -> frozenset[str]:
        """Return the keys that are unknown, or not at a final step."""
        return await self._read(lambda rows: rows.lacks(keys))

    async def same_payments(self, payments: Collection[bytes]) -> tuple[SamePayment, ...]:
        """Return the payouts with these digests of payee and sum."""
        return await self._read(lambda rows: rows.same_payments(payments))

    async def forget(self, before: float) -> int:
        """Drop personal data from payouts that were settled before a time; return how many.

        It commits in between, so that other calls aren't blocked. The file doesn't shrink; its free
        space is used again.
        """
        total, last = 0, _BEFORE_ALL
        while True:
            count, reached = await self._read(partial(_forget_some, before=before, after=last))
            total += count
            if reached is None:
                return total
            last = reached

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        return await self._read(lambda rows: rows.history(key))

    async def actions(
        self, limit: int, *, batch: str | None = None, key: str | None = None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        return await self._read(lambda rows: rows.actions(limit, batch, key))

    async def _write(self, act: Callable[[Transitions], T]) -> T:
        return await self._read(lambda rows: act(Transitions(rows, self.clock)))

    async def _read(self, act: Callable[[SQLiteRows], T]) -> T:
        return await self._open_writer.do(act)

    @property
    def _open_writer(self) -> SQLiteWriter:
        if self._writer is None:
            raise Misuse("the journal isn't open: `await journal.open(...)` first")
        return self._writer

    @property
    def _opened(self) -> OpenFile:
        if (opened := self._open_writer.opened) is None:
            raise Misuse("the journal isn't open yet: `await journal.open(...)` first")
        return opened

    def _let_go(self, writer: SQLiteWriter) -> None:
        with self._lock:
            if self._writer is writer:
                self._writer, self._last = None, writer
        writer.stop()

    def __del__(self) -> None:
        # The attribute is missing if __init__ raised.
        writer = getattr(self, "_writer", None)
        if writer is not None and not sys.is_finalizing():
            writer.stop()
            warnings.warn(
                f"the journal {self.path} was never closed: `await journal.close()`",
                LeftOpen,
                source=self,
                stacklevel=1,
            )
