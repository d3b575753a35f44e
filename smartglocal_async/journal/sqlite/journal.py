"""The journal that keeps payouts in a file of SQLite."""

import asyncio
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

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
    Learned,
    NewEntry,
    OpenClaims,
)
from ..packing import Page
from ..scopes import is_same
from ..states import Event, Step
from ..writing import Writing
from .file import Opened
from .table import Table
from .writer import Writer

T = TypeVar("T")


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()


def _nothing(_label: str) -> None:
    """Do nothing at a fault point."""


@define(eq=False)
class SQLiteJournal:
    """A journal in one file, for one process at a time; the default for payouts.

    It is made by whoever opens it first, unless ``may_make`` is false: then there has to be one.
    What a method gave back is on the disk. Those who ask at the same time share a commit. It may
    be used from several event loops, and not across a fork. ``fault_point`` is for tests: it is
    called in the writing thread with ``opened``, ``taken``, ``written``, ``committed``, ``told``.
    """

    path: Path = field(converter=_absolute)
    may_make: bool = field(default=True, kw_only=True)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)  # noqa: TID251 - the clock itself
    fault_point: Callable[[str], None] = field(default=_nothing, kw_only=True, repr=False)
    _writer: Writer | None = field(default=None, init=False, repr=False)
    _last: Writer | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @property
    def durable(self) -> bool:
        """It is: every commit reaches the disk before anybody is told."""
        return True

    @property
    def journal_id(self) -> str:
        """A random name, given when the journal was made."""
        return self._opened.journal_id

    @property
    def secret(self) -> bytes:
        """The secret for the fingerprints, made with the journal."""
        return self._opened.secret

    async def open(self, scope: str) -> None:
        """Take the file into use, and make it if it isn't there and may be; every lease in it ends.

        Raises:
            JournalUnusable: another process has it, it belongs to another scope, is of a newer
                version, no journal, damaged, read-only, on a full disk, or can't be synced.

        """
        with self._lock:
            if (writer := self._writer) is None:
                writer = Writer(self.path, scope, self.clock, self.fault_point, self.may_make)
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
        """Finish what was asked for, and let the file go; closing twice is fine."""
        if self._writer is not None:
            self._let_go(self._writer)
        if self._last is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._last.join)

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry, or give the one that is there."""
        return await self._write(lambda writing: writing.accept(new))

    async def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        return await self._read(lambda table: table.find(key))

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries in one commit."""
        return await self._write(lambda writing: writing.accept_many(news))

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, heeds_halt: bool = True
    ) -> Entry:
        """Take the entry for some time; the fence goes up."""
        return await self._write(
            lambda writing: writing.claim(key, owner, lease_seconds, heeds_halt=heeds_halt)
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
            lambda writing: writing.take(
                new, owner, lease_seconds, heeds_halt=heeds_halt, intends=intends
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
        """Take entries that can be worked on now, the oldest first."""
        page = Page(limit=limit, after=None, steps=steps, batch=batch)
        return await self._write(lambda writing: writing.claim_open(page, owner, lease_seconds))

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        learned: Learned | None = None,
    ) -> Entry:
        """Write a step, and a line of the log with it."""
        return await self._write(lambda writing: writing.advance(entry, event, changes, learned))

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Lengthen the lease, counted from now."""
        return await self._write(lambda writing: writing.renew(entry, lease_seconds))

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """Give the entry back."""
        await self._write(lambda writing: writing.release(entry, not_before, backs_off=backs_off))

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
        return await self._read(
            lambda table: tuple(table.free(page, is_due=is_due, is_running=False))
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
        return await self._read(lambda table: table.entries(page))

    async def by_session(self, session_id: str) -> Entry | None:
        """Give the entry that uses this session, or used and left it."""
        return await self._read(lambda table: table.by_session(session_id))

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        return await self._read(lambda table: table.counts(batch))

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        return await self._read(lambda table: table.sums(batch))

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again."""
        return await self._write(lambda writing: writing.put_batch(batch))

    async def set_batch_state(
        self, name: str, state: BatchState, reason: str | None = None
    ) -> Batch:
        """Have `claim_open` give payouts of a batch, or none."""
        return await self._write(lambda writing: writing.set_batch_state(name, state, reason))

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Say how much of a batch the wallets pay for, where it stops on a low balance."""
        return await self._write(lambda writing: writing.cover(name, cover))

    async def batch(self, name: str) -> Batch | None:
        """Give a batch by its name."""
        return await self._read(lambda table: table.batch(name))

    async def halt(self, halt: Halt | None) -> None:
        """Put the brake on; None lifts it."""
        await self._write(lambda writing: writing.halt(halt))

    async def halted(self) -> Halt | None:
        """Give the halt that holds now."""
        return await self._write(lambda writing: writing.halted())

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry, the oldest line first."""
        return await self._read(lambda table: table.history(key))

    async def _write(self, act: Callable[[Writing], T]) -> T:
        return await self._read(lambda table: act(Writing(table, self.clock)))

    async def _read(self, act: Callable[[Table], T]) -> T:
        return await self._open_writer.do(act)

    @property
    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise Misuse("the journal isn't open: `await journal.open(...)` first")
        return self._writer

    @property
    def _opened(self) -> Opened:
        if (opened := self._open_writer.opened) is None:
            raise Misuse("the journal isn't open yet: `await journal.open(...)` first")
        return opened

    def _let_go(self, writer: Writer) -> None:
        with self._lock:
            if self._writer is writer:
                self._writer, self._last = None, writer
        writer.stop()

    def __del__(self) -> None:
        # Nothing is there yet when the journal was refused at birth.
        writer = getattr(self, "_writer", None)
        if writer is not None and not sys.is_finalizing():
            writer.stop()
            warnings.warn(
                f"the journal {self.path} was never closed: `await journal.close()`",
                LeftOpen,
                source=self,
                stacklevel=1,
            )
