"""``payouts status --watch``: shows counts, rate and remaining time until nothing is open."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, Self

from attrs import define, field, fields, frozen
from rich.console import Group, RenderableType
from rich.live import Live

from ...journal.entries import Batch, BatchState, Halt
from ...journal.limits import Limits, WorkerInfo
from ...journal.postgres.journal import PostgresJournal
from ...payouts.orders import PayoutState, counted_by_state
from ...payouts.review import JournalReader
from ...retry import Timing
from ..errors import ExitCode
from ..output import counted, write_json
from ..tables import cell, console, show
from .batches import (
    SETTLED,
    BatchChoice,
    BatchCounts,
    absent_words,
    code_of_counts,
    find_batch,
    halt_text,
    reading,
    table_of_batches,
)
from .journals import page_words, shown

_MAX_SAMPLES: Final = 16
"""The rate is that of this many samples: half a minute, at the default interval."""
_SLOW: Final = 10
"""Below this rate per second, tenths are shown."""


@define(eq=False)
class RateWindow:
    """Samples of a count, for its rate; cleared when limits or state change."""

    _conditions: object = field(default=None, init=False)
    _samples: deque[tuple[float, int]] = field(
        factory=lambda: deque[tuple[float, int]](maxlen=_MAX_SAMPLES), init=False
    )

    def rate(self, conditions: object, settled: int) -> float | None:
        """Add a sample and return how many settle per second; None for the first sample.

        If the ``conditions`` differ from those of the last sample, this one is the first.
        """
        if conditions != self._conditions:
            self._samples.clear()
        self._conditions, now = conditions, time.monotonic()
        self._samples.append((now, settled))
        since, before = self._samples[0]
        return None if since == now else (settled - before) / (now - since)


def rate_text(rate: float | None) -> str:
    """Return a rate as text; a low one with tenths."""
    if rate is None:
        return ""
    return f"{rate:,.1f}/s" if rate < _SLOW else f"{rate:,.0f}/s"


@frozen(kw_only=True)
class Workers:
    """How many workers a journal has."""

    workers: int
    """Workers that are alive."""
    at_work: int
    """Of those: workers with payouts in flight."""
    dead: int
    """Workers whose payouts others take over, when their leases end."""
    under_way: int
    """Payouts in flight, also those of dead workers."""

    @classmethod
    async def over(cls, journal: object) -> Self | None:
        """Count the workers of a journal; None if it is in a file."""
        return cls.of(await journal.workers()) if isinstance(journal, PostgresJournal) else None

    @classmethod
    def of(cls, found: Iterable[WorkerInfo]) -> Self:
        """Count these workers."""
        listed = list(found)
        alive = [one for one in listed if one.is_alive]
        return cls(
            workers=len(alive),
            at_work=sum(one.payouts > 0 for one in alive),
            dead=len(listed) - len(alive),
            under_way=sum(one.payouts for one in listed),
        )

    def __str__(self) -> str:
        busy = f"{self.at_work:,} at work, {counted(self.under_way, 'payout')} in flight"
        text = f"{counted(self.workers, 'worker')} alive, {busy}"
        if self.dead:
            text += f"; {self.dead:,} died, and others take over"
        return text


def worker_facts(workers: Workers | None) -> dict[str, int | None]:
    """Return the counts as plain JSON values; null for a journal in a file."""
    names = (one.name for one in fields(Workers))
    return {name: None if workers is None else getattr(workers, name) for name in names}


_SHARE: Final = 10
"""Reading may take this part of the time: counting millions of rows loads the database."""


@frozen(kw_only=True)
class WatchRow(BatchCounts):
    """One batch at one time; without a name, the whole journal."""

    held: str | None
    """Why it isn't paid, in one word, if so; it has no rate then."""
    rate: float | None
    """Payouts settled per second, by all workers."""

    @property
    def has_payouts(self) -> bool:
        """Whether the journal has payouts of it, or its file has rows."""
        return bool(self.counts) or (self.batch is not None and self.batch.rows > 0)

    @property
    def eta_seconds(self) -> float | None:
        """The remaining time at this rate."""
        return self.open / self.rate if self.rate else None


@frozen(kw_only=True)
class Snapshot:
    """The batches, workers and halt at one time."""

    rows: list[WatchRow]
    workers: Workers | None
    """None: a journal in a file has no workers."""
    halt: Halt | None

    @property
    def is_over(self) -> bool:
        """Whether there are payouts, and none is open."""
        return self.has_payouts and not any(row.open for row in self.rows)

    @property
    def has_payouts(self) -> bool:
        """Whether there are payouts."""
        return any(row.has_payouts for row in self.rows)

    @property
    def code(self) -> ExitCode:
        """The exit code."""
        counts = Counter[PayoutState]()
        for row in self.rows:
            counts.update(row.counts)
        return code_of_counts(counts, self.halt)


@define(eq=False)
class JournalWatcher:
    """Reads a journal repeatedly."""

    book: JournalReader
    name: str | None
    _rates: dict[str | None, RateWindow] = field(factory=dict[str | None, RateWindow], init=False)

    async def read(self) -> Snapshot:
        """Read the journal once."""
        database = self.book if isinstance(self.book, PostgresJournal) else None
        limits = None if database is None else await database.limits()
        halt = await self.book.halted()
        return Snapshot(
            rows=[await self._row(name, limits, halt) for name in await self._names(database)],
            workers=await Workers.over(self.book),
            halt=halt,
        )

    async def _names(self, journal: PostgresJournal | None) -> list[str | None]:
        """Return the batches that are open, or were open before; else None for all together."""
        if self.name is not None or journal is None:
            return [self.name]
        names = [
            batch.name
            for batch in await journal.batches()
            if batch.name in self._rates
            or await journal.count_open(1, batch=batch.name, is_due=False)
        ]
        return [*names] or [None]

    async def _row(self, name: str | None, limits: Limits | None, halt: Halt | None) -> WatchRow:
        counts = counted_by_state(await self.book.counts(batch=name))
        batch = None if name is None else await self.book.batch(name)
        held = held_word(batch, halt)
        settled = sum(counts[state] for state in SETTLED)
        rate = self._rates.setdefault(name, RateWindow()).rate((held, limits), settled)
        rate = rate if held is None else None
        return WatchRow(name=name, batch=batch, counts=counts, held=held, rate=rate)


def held_word(batch: Batch | None, halt: Halt | None) -> str | None:
    """Return why a batch isn't paid, in one word; None if it is."""
    if halt is not None:
        return "halted"
    state = BatchState.RUNNING if batch is None else batch.state
    return None if state is BatchState.RUNNING else str(state.value)


async def watch(
    journal: str, server: str | None, choice: BatchChoice, every: float, *, as_json: bool
) -> ExitCode:
    """Show the journal until nothing is open, and return the exit code.

    Waits for the first payouts, if there are none yet.

    Raises:
        Misuse: there is no such batch.
        JournalUnusable: the journal can't be read.

    """
    async with reading(journal, server) as book:
        name = await choice.name_in(book)
        _ = await find_batch(book, name, journal)
        watcher = JournalWatcher(book, name)
        with _display(journal, server, as_json=as_json) as display:
            while True:
                started = time.monotonic()
                snapshot = await watcher.read()
                display(snapshot)
                if snapshot.is_over:
                    return snapshot.code
                took = time.monotonic() - started
                await asyncio.sleep(max(every, _SHARE * took))


@contextmanager
def _display(
    journal: str, server: str | None, *, as_json: bool
) -> Generator[Callable[[Snapshot], None]]:
    """Yield a function that shows a snapshot: as JSON, as a live table, or as one table each."""
    if as_json:
        yield lambda snapshot: write_json(_facts(journal, snapshot))
        return
    screen = console()
    if not screen.is_terminal:
        yield lambda snapshot: show(screen, _drawn(journal, snapshot))
        return
    screen.print(cell(page_words(journal, server)), soft_wrap=True)
    with Live(console=screen, auto_refresh=False) as live:
        yield lambda snapshot: live.update(_drawn(journal, snapshot), refresh=True)


def _drawn(journal: str, snapshot: Snapshot) -> RenderableType:
    drawn = table_of_batches("Rate", "ETA")
    for row in snapshot.rows:
        drawn.add_row(*row.cells("all"), rate_text(row.rate), _time(row))
    parts: list[RenderableType] = [
        drawn,
        *(cell(_absence(journal, row)) for row in snapshot.rows if row.absent),
    ]
    if not snapshot.has_payouts:
        parts.append(cell("no payouts yet; waiting for the first"))
    if snapshot.workers is not None:
        parts.append(cell(snapshot.workers))
    if snapshot.halt is not None:
        parts.append(cell(halt_text(snapshot.halt), "bold red"))
    return Group(*parts)


def _absence(journal: str, row: WatchRow) -> str:
    return f"{counted(row.absent, 'row')} of the file not in {row.name}: {absent_words(journal)}"


def _time(row: WatchRow) -> str:
    if not row.open:
        return ""
    if row.eta_seconds is None:
        return row.held or ""
    return str(timedelta(seconds=round(row.eta_seconds)))


def _facts(journal: str, snapshot: Snapshot) -> dict[str, Any]:
    halt = snapshot.halt
    return {
        "at": Timing().now().isoformat(),
        "journal": shown(journal),
        "batches": [_row_facts(row) for row in snapshot.rows],
        **worker_facts(snapshot.workers),
        "halt": halt and {"kind": halt.kind.value, "reason": halt.reason, "until": halt.until},
    }


def _row_facts(row: WatchRow) -> dict[str, Any]:
    rate, eta = row.rate, row.eta_seconds
    return {
        **row.facts,
        "rate": None if rate is None else round(rate, 3),
        "eta_seconds": None if eta is None else round(eta, 3),
    }
