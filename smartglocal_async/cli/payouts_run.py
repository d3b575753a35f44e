"""Pay, or go on with, what there is: outcomes written and counted as they come, signals heeded."""

import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from attrs import define, field

from ..client import SmartGlocal
from ..errors import BatchStopped, JournalUnusable, SmartGlocalError
from ..journal.entries import Batch
from ..journal.states import Step
from ..journal.store import Journal
from ..payouts.orders import PayoutOutcome, PayoutState
from ..payouts.payouts import Payouts
from ..payouts.preflight import Preflight
from ..payouts.results import ResultsFile
from ..payouts.signals import heeding
from .failures import words_of
from .payouts_batch import known_batch
from .payouts_client import Reach, payouts_of
from .payouts_journal import journal_of, shown
from .payouts_meter import meter
from .payouts_sums import Ran, Sums
from .payouts_wish import Wish
from .screen import complain, remark

_MAY_BE_OUT: Final = tuple(step for step in Step if Step.STARTING <= step <= Step.UNKNOWN)
_UNREACHED: Final = "the provider can't be reached"


@define(eq=False, kw_only=True)
class Run:
    """One run: takes the outcomes as they come."""

    payouts: Payouts
    journal: Journal
    journal_name: str
    batch: str | None
    results: ResultsFile | None
    sums: Sums
    reach: Reach
    again: str
    """The command that pays what is left."""
    resume: str
    """The command that goes on with what is open."""
    stopped_by: str | None = field(default=None, init=False)
    """The signal that did, if one did."""
    _cannot_write: bool = field(default=False, init=False)

    async def to_end(self, outcomes: AsyncGenerator[PayoutOutcome]) -> Ran:
        """Take all outcomes; tell how it ended."""
        begun = time.perf_counter()
        error = await self._through(outcomes)
        if error is None and self.sums.asked is None and self.stopped_by is not None:
            # Where nobody counted them, nobody knows whether they were all.
            error = BatchStopped(self.stopped_by, self.sums.settled)
        return Ran(
            sums=self.sums,
            seconds=time.perf_counter() - begun,
            is_missed=self.reach.is_missed,
            error=error,
            left_open=0 if error is None else await self._left_open(),
            journal=shown(self.journal_name),
            results=None if self.results is None else str(self.results.path),
            next_step=self.again if self.sums.not_begun else self.resume,
        )

    async def _through(
        self, outcomes: AsyncGenerator[PayoutOutcome]
    ) -> SmartGlocalError | OSError | None:
        signals = (signal.SIGINT, signal.SIGTERM)
        with heeding(signals, self._heard), meter(self.sums) as moved:
            try:
                async with aclosing(outcomes) as settled:
                    async for outcome in settled:
                        self._take(outcome, moved)
            except (SmartGlocalError, OSError) as error:
                return error
        return None

    async def _left_open(self) -> int:
        """Count in the journal what may be out, where not every outcome was told."""
        try:
            counts = await self.journal.counts(batch=self.batch)
        except JournalUnusable:
            return 0
        return sum(counts.get(step, 0) for step in _MAY_BE_OUT)

    def _heard(self, one: signal.Signals) -> None:
        self.stopped_by = f"{one.name} was received"
        self.payouts.stop(self.stopped_by)
        remark("stopping: what is out is finished; once more ends it at once")

    def _take(self, outcome: PayoutOutcome, moved: Callable[[], None]) -> None:
        self.sums.add(outcome)
        self._write(outcome)
        moved()
        if outcome.state is PayoutState.OPEN and self.reach.is_missed:
            self.payouts.stop(_UNREACHED)

    def _write(self, outcome: PayoutOutcome) -> None:
        if self.results is None or self._cannot_write:
            return
        try:
            self.results.append(outcome)
        except OSError as error:
            # The journal has it all the same; but nobody wants to pay on unseen.
            self._cannot_write = True
            self.payouts.stop(f"the results can't be written: {words_of(error)}")
            complain(f"{self.results.path}: {words_of(error)}; see payouts report")


async def run(client: SmartGlocal, wish: Wish, digest: str, found: Preflight, reach: Reach) -> Ran:
    """Pay a file that was looked at.

    Raises:
        Misuse: its batch was begun with another file.
        JournalUnusable: the journal can't be used.
        OSError: the results can't be written.

    """
    journal = journal_of(wish.journal)
    async with client, payouts_of(client, journal, wish.mode) as payouts:
        known = await known_batch(journal, wish.file, wish.batch, digest)
        with ResultsFile(wish.results) as results:
            if known is None:
                _ = await journal.put_batch(_batch(wish, digest, found))
            going = Run(
                payouts=payouts,
                journal=journal,
                journal_name=wish.journal,
                batch=wish.batch,
                results=results,
                sums=Sums(found.count),
                reach=reach,
                again=wish.again,
                resume=wish.resume,
            )
            return await going.to_end(_paid(payouts, wish))


def _batch(wish: Wish, digest: str, found: Preflight) -> Batch:
    return Batch(
        name=wish.batch, digest=bytes.fromhex(digest), rows=found.count, totals=found.totals
    )


def _paid(payouts: Payouts, wish: Wish) -> AsyncGenerator[PayoutOutcome]:
    return payouts.pay_all(
        wish.file,
        concurrency=wish.concurrency,
        rate=wish.rate,
        stop_on=wish.stop_on,
        batch=wish.batch,
        deadline=wish.deadline,
    )
