"""``payouts status --watch``: how the batches of a journal go on, look by look."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from attrs import define, field, frozen
from rich.console import Group, RenderableType
from rich.live import Live

from ..journal.entries import Batch, BatchState, Halt
from ..journal.limits import Limits
from ..journal.postgres.journal import PostgresJournal
from ..payouts.cases import Book
from ..payouts.orders import PayoutState, counted_by_state
from ..retry import Timing
from .failures import ExitCode
from .payouts_batches import SETTLED, Counted, table_of_batches
from .payouts_crew import Crew, crew_facts
from .payouts_journal import shown
from .payouts_looking import looking
from .payouts_rate import Window, pace
from .payouts_standing import ABSENT, code_of_counts, halted_words, known
from .screen import cell, console, counted, show, write_json

_SHARE: Final = 10
"""A look may take this part of the time: counting millions is work for the database."""


@frozen(kw_only=True)
class Row(Counted):
    """One batch at one look; without a name it is all of the journal."""

    held: str | None
    """Why nothing of it is begun, in a word, if so; there is no rate then."""
    rate: float | None
    """Settled in a second, of late, by all workers."""

    @property
    def is_begun(self) -> bool:
        """Whether anything of it is written down, or nothing will be."""
        return bool(self.counts) or (self.batch is not None and self.batch.rows > 0)

    @property
    def eta_seconds(self) -> float | None:
        """How long it takes at this rate."""
        return self.open / self.rate if self.rate else None


@frozen(kw_only=True)
class Look:
    """All that was seen."""

    rows: list[Row]
    crew: Crew | None
    """None: of a journal in a file nobody can tell."""
    halt: Halt | None

    @property
    def is_over(self) -> bool:
        """Whether nothing is open any more; before anything is written down it isn't."""
        return self.is_begun and not any(row.open for row in self.rows)

    @property
    def is_begun(self) -> bool:
        """Whether there is anything to look at."""
        return any(row.is_begun for row in self.rows)

    @property
    def code(self) -> ExitCode:
        """What that is for a shell."""
        counts = Counter[PayoutState]()
        for row in self.rows:
            counts.update(row.counts)
        return code_of_counts(counts, self.halt)


@define(eq=False)
class Watch:
    """Looks at a journal again and again."""

    book: Book
    name: str | None
    _seen: dict[str | None, Window] = field(factory=dict[str | None, Window], init=False)

    async def look(self) -> Look:
        """Look once."""
        shares = self.book if isinstance(self.book, PostgresJournal) else None
        limits = None if shares is None else await shares.limits()
        halt = await self.book.halted()
        return Look(
            rows=[await self._row(name, limits, halt) for name in await self._names(shares)],
            crew=await Crew.over(self.book),
            halt=halt,
        )

    async def _names(self, journal: PostgresJournal | None) -> list[str | None]:
        """Give the batches that go on, or did when it was looked first; else all in one."""
        if self.name is not None or journal is None:
            return [self.name]
        names = [
            batch.name
            for batch in await journal.batches()
            if batch.name in self._seen
            or await journal.count_open(1, batch=batch.name, is_due=False)
        ]
        return [*names] or [None]

    async def _row(self, name: str | None, limits: Limits | None, halt: Halt | None) -> Row:
        counts = counted_by_state(await self.book.counts(batch=name))
        batch = None if name is None else await self.book.batch(name)
        held = _held(batch, halt)
        settled = sum(counts[state] for state in SETTLED)
        rate = self._seen.setdefault(name, Window()).rate((held, limits), settled)
        rate = rate if held is None else None
        return Row(name=name, batch=batch, counts=counts, held=held, rate=rate)


def _held(batch: Batch | None, halt: Halt | None) -> str | None:
    if halt is not None:
        return "halted"
    state = BatchState.RUNNING if batch is None else batch.state
    return None if state is BatchState.RUNNING else str(state.value)


async def watch(journal: str, name: str | None, every: float, *, as_json: bool) -> ExitCode:
    """Look until nothing is open; give what that is for a shell.

    What isn't written down yet is waited for.

    Raises:
        Misuse: there is no such batch.
        JournalUnusable: the journal can't be read.

    """
    async with looking(journal) as book:
        _ = await known(book, name, journal)
        watching = Watch(book, name)
        with _screen(journal, as_json=as_json) as tell:
            while True:
                begun = time.monotonic()
                look = await watching.look()
                tell(look)
                if look.is_over:
                    return look.code
                took = time.monotonic() - begun
                await asyncio.sleep(max(every, _SHARE * took))


@contextmanager
def _screen(journal: str, *, as_json: bool) -> Generator[Callable[[Look], None]]:
    """Give what tells of a look: a line of JSON, or a table, which on a terminal is one."""
    if as_json:
        yield lambda look: write_json(_facts(journal, look))
        return
    screen = console()
    if not screen.is_terminal:
        yield lambda look: show(screen, _drawn(look))
        return
    with Live(console=screen, auto_refresh=False) as live:
        yield lambda look: live.update(_drawn(look), refresh=True)


def _drawn(look: Look) -> RenderableType:
    drawn = table_of_batches("Rate", "ETA")
    for row in look.rows:
        drawn.add_row(*row.cells("all"), pace(row.rate), _time(row))
    said: list[RenderableType] = [
        drawn,
        *(cell(_absence(row)) for row in look.rows if row.absent),
    ]
    if not look.is_begun:
        said.append(cell("nothing is written down yet; waiting for it"))
    if look.crew is not None:
        said.append(cell(look.crew))
    if look.halt is not None:
        said.append(cell(halted_words(look.halt), "bold red"))
    return Group(*said)


def _absence(row: Row) -> str:
    return f"{counted(row.absent, 'row')} of the file not in {row.name}: {ABSENT}"


def _time(row: Row) -> str:
    if not row.open:
        return ""
    if row.eta_seconds is None:
        return row.held or ""
    return str(timedelta(seconds=round(row.eta_seconds)))


def _facts(journal: str, look: Look) -> dict[str, Any]:
    halt = look.halt
    return {
        "at": Timing().now().isoformat(),
        "journal": shown(journal),
        "batches": [_row_facts(row) for row in look.rows],
        **crew_facts(look.crew),
        "halt": halt and {"kind": halt.kind.value, "reason": halt.reason, "until": halt.until},
    }


def _row_facts(row: Row) -> dict[str, Any]:
    rate, eta = row.rate, row.eta_seconds
    return {
        **row.facts,
        "rate": None if rate is None else round(rate, 3),
        "eta_seconds": None if eta is None else round(eta, 3),
    }
