"""Reads what the page shows of a whole journal, at intervals and not with each request."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from attrs import Factory, define, evolve, field, frozen

from ....errors import JournalUnusable
from ....journal.entries import WORKABLE, BatchTotal, Halt, OperatorAction
from ....journal.limits import Limits, WorkerInfo
from ....journal.postgres.journal import PostgresJournal
from ....journal.states import Step
from ....payouts.orders import PayoutState, state_of
from ....payouts.review import OLD_SECONDS, NeedsReview, review_of
from ....retry import Timing
from ..batches import SETTLED
from ..journals import StoredBook
from ..watch import RateWindow, WatchRow, held_word

_MIN_SECONDS: Final = 1.0
_SHARE: Final = 10
"""Reading may take this part of the time: counting millions of rows loads the database."""
_RECOUNT_SECONDS: Final = 600.0
"""Counted again after this time without a commit, too: open payouts become late."""
_MAX_CASES: Final = 20
_MAX_SCANNED: Final = 500
_MAX_ACTIONS: Final = 200

Sums = Mapping[tuple[PayoutState, str], int]


@frozen(kw_only=True)
class BatchSample(WatchRow):
    """One batch at one time."""

    sums: Sums
    """By state and currency, in minor units."""


@frozen(kw_only=True)
class JournalSample:
    """What the page shows of a whole journal, at one time."""

    at: datetime = field(eq=False)
    batches: tuple[BatchSample, ...]
    """The newest first."""
    halt: Halt | None
    workers: tuple[WorkerInfo, ...] | None
    """None: a journal in a file has no workers."""
    limits: Limits | None
    cases: tuple[NeedsReview, ...]
    """The first payouts that need review."""
    case_count: int
    actions: tuple[OperatorAction, ...]
    """The last changes by operators."""

    def batch(self, name: str) -> BatchSample | None:
        """Return a batch by its name."""
        return next((one for one in self.batches if one.name == name), None)

    @property
    def counts(self) -> Counter[PayoutState]:
        """How many payouts are in each state."""
        counts = Counter[PayoutState]()
        for one in self.batches:
            counts.update(one.counts)
        return counts


def _identity_of(file: Path | None) -> tuple[int, int] | None:
    """Return the device and the inode of a file; None if it doesn't exist."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


@define(eq=False)
class JournalSampler:
    """Reads a journal at intervals; counts again only after a commit."""

    book: StoredBook
    file: Path | None = None
    """The path of a journal in a file; a link may lead to it."""
    _identity: tuple[int, int] | None = field(
        default=Factory(lambda self: _identity_of(self.file), takes_self=True), init=False
    )
    _journal_id: str | None = field(default=None, init=False)
    """The id of the journal that was read first."""
    timing: Timing = field(factory=Timing)
    problem: str | None = field(default=None, init=False)
    """Why the journal can't be read now; None if it can."""
    _sample: JournalSample | None = field(default=None, init=False)
    _totals: tuple[BatchTotal, ...] = field(default=(), init=False)
    _revision: int | None = field(default=None, init=False)
    _counted_at: float = field(default=0.0, init=False)
    _took: float = field(default=0.0, init=False)
    _rates: dict[str | None, RateWindow] = field(factory=dict[str | None, RateWindow], init=False)
    _changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @property
    def sample(self) -> JournalSample:
        """What was read last."""
        assert self._sample is not None  # noqa: S101 - it is read before the page is served
        return self._sample

    async def run(self) -> None:
        """Read the journal until it is cancelled; one that can't be read now is tried again."""
        while True:
            await asyncio.sleep(max(_MIN_SECONDS, _SHARE * self._took))
            problem = None
            try:
                await self.read()
            except JournalUnusable as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - the page shows it, and goes on
                problem = type(error).__name__
            if problem != self.problem:
                self.problem = problem
                self._notify()

    def check_file(self) -> None:
        """Check that the path still leads to the file that is open.

        Raises:
            JournalUnusable: the file was replaced or deleted, or the link leads elsewhere.

        """
        if _identity_of(self.file) != self._identity:
            raise JournalUnusable(
                f"the file {self.file} was replaced, and this page shows the one that was there "
                "before: restart the page"
            )

    async def check_journal(self) -> None:
        """Check that the open file or schema still has the journal that was read first.

        A copy that is written over a file leaves the file the same.

        Raises:
            JournalUnusable: it has another one, or can't be read.

        """
        found = await self.book.stored_id()
        if self._journal_id is None:
            self._journal_id = found
        if found != self._journal_id:
            raise JournalUnusable(
                "another journal was put in place of the one that this page shows: restart the page"
            )

    async def read(self) -> None:
        """Read the journal, and count its payouts if anything was committed since the last time.

        Raises:
            JournalUnusable: it can't be read.

        """
        started = time.perf_counter()
        self.check_file()
        async with self._lock:
            await self.check_journal()
            revision, now = await self.book.revision(), self.timing.now().timestamp()
            if revision != self._revision or now - self._counted_at > _RECOUNT_SECONDS:
                self._totals = await self.book.totals(now - OLD_SECONDS)
                self._revision, self._counted_at = revision, now
            await self._read()
        self._took = time.perf_counter() - started

    async def reread(self) -> None:
        """Read all but the counts, after a change of this program.

        Raises:
            JournalUnusable: the journal can't be read.

        """
        async with self._lock:
            await self.check_journal()
            await self._read()

    async def next_change(self) -> str:
        """Return a word once something has changed."""
        _ = await self._changed.wait()
        return "changed"

    async def _read(self) -> None:
        book, halt = self.book, await self.book.halted()
        database = book if isinstance(book, PostgresJournal) else None
        limits = None if database is None else await database.limits()
        cases = await self._cases()
        actions: tuple[OperatorAction, ...] = ()
        with suppress(JournalUnusable):  # The user may lack the right to this newer table.
            actions = await book.actions(_MAX_ACTIONS)
        found = JournalSample(
            at=self.timing.now(),
            batches=await self._batches(halt, limits),
            halt=halt,
            workers=None if database is None else await database.workers(),
            limits=limits,
            cases=cases,
            case_count=max(len(cases), self._case_count()),
            actions=actions,
        )
        has_changed = found != self._sample
        self._sample = found
        if has_changed:
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _case_count(self) -> int:
        unknown = sum(one.count for one in self._totals if one.step is Step.UNKNOWN)
        return unknown + sum(one.late for one in self._totals)

    async def _cases(self) -> tuple[NeedsReview, ...]:
        """Return the first payouts that need review: unknown ones, then those open for a day."""
        if not self._case_count():
            return ()
        now = self.timing.now()
        entries = await self.book.entries(_MAX_CASES, steps=[Step.UNKNOWN])
        if len(entries) < _MAX_CASES and any(one.late for one in self._totals):
            # The oldest come first, and are those that may be late.
            entries += await self.book.entries(_MAX_SCANNED, steps=WORKABLE)
        cases = list[NeedsReview]()
        for entry in entries:
            if len(cases) < _MAX_CASES and (case := await review_of(self.book, entry, now)):
                cases.append(case)
        return tuple(cases)

    async def _batches(self, halt: Halt | None, limits: Limits | None) -> tuple[BatchSample, ...]:
        batches = {batch.name: batch for batch in await self.book.batches()}
        counts = dict[str | None, Counter[PayoutState]]()
        sums = dict[str | None, Counter[tuple[PayoutState, str]]]()
        for total in self._totals:
            state = state_of(total.step)
            counts.setdefault(total.batch, Counter())[state] += total.count
            if total.currency is not None:
                of_batch = sums.setdefault(total.batch, Counter())
                of_batch[state, total.currency] += total.amount
        names = dict.fromkeys([*batches, *counts])
        rows = list[BatchSample]()
        for name in reversed(names):
            batch = None if name is None else batches.get(name)
            row = BatchSample(
                name=name,
                batch=batch,
                counts=counts.get(name, Counter()),
                held=held_word(batch, halt),
                rate=None,
                sums=sums.get(name, {}),
            )
            settled = sum(row.counts[state] for state in SETTLED)
            rate = self._rates.setdefault(name, RateWindow()).rate((row.held, limits), settled)
            rows.append(evolve(row, rate=rate if row.held is None and row.open else None))
        return tuple(rows)
