"""The batches of a journal, each with its counts."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..journal.entries import Batch
from ..journal.postgres.journal import PostgresJournal
from ..payouts.cases import Book
from ..payouts.orders import PayoutState, counted_by_state
from .payouts_standing import absent_from
from .screen import cell, show, table

SETTLED: Final = (
    *(PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.CANCELLED),
    PayoutState.UNKNOWN,
)
_COLUMNS: Final[Mapping[PayoutState, str]] = {
    PayoutState.SUCCEEDED: "Paid",
    PayoutState.FAILED: "Failed",
    PayoutState.CANCELLED: "Withdrawn",
    PayoutState.UNKNOWN: "Unknown",
    PayoutState.OPEN: "Open",
}
_MOST_BATCHES: Final = 100


@frozen(kw_only=True)
class Counted:
    """How the payouts of a batch stand."""

    name: str | None
    """None: those of no batch, or all of the journal."""
    batch: Batch | None
    counts: Counter[PayoutState]

    @property
    def open(self) -> int:
        """How many aren't settled."""
        return self.counts[PayoutState.OPEN]

    @property
    def absent(self) -> int:
        """How many rows of its file the batch doesn't have."""
        return absent_from(self.batch, self.counts)

    @property
    def facts(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        batch = self.batch
        return {
            "batch": self.name,
            "state": None if batch is None else batch.state.value,
            "reason": None if batch is None else batch.reason,
            "rows": None if batch is None else batch.rows,
            "absent": None if batch is None else self.absent,
            "counts": {state.value: self.counts[state] for state in (*SETTLED, PayoutState.OPEN)},
        }

    def cells(self, nameless: str) -> list[Text]:
        """Give it as a row of a table, with a word for what has no name."""
        numbers = (cell(f"{self.counts[state]:,}") for state in _COLUMNS)
        name = nameless if self.name is None else self.name
        return [cell(name), cell(_state(self.batch)), *numbers]


def table_of_batches(*more: str) -> Table:
    """Give an empty table for rows of `Counted.cells`, and more columns behind them."""
    drawn = table()
    for column in ("Batch", "State"):
        drawn.add_column(column, overflow="fold")
    for column in (*_COLUMNS.values(), *more):
        drawn.add_column(column, justify="right")
    return drawn


async def batches_of(book: Book) -> list[Counted] | None:
    """Give every batch, the one that was begun first in front; None where nobody can list them."""
    if not isinstance(book, PostgresJournal):
        return None
    batches = {batch.name: batch for batch in await book.batches()}
    counts = await book.counts_by_batch()
    # A batch may have payouts before its row is written, and what `pay` began may have no batch.
    names = dict[str | None, None].fromkeys([*batches, *counts])
    return [
        Counted(
            name=name,
            batch=None if name is None else batches.get(name),
            counts=counted_by_state(counts.get(name, {})),
        )
        for name in names
    ]


def show_batches(screen: Console, found: list[Counted]) -> None:
    """Show the batches that were begun last, the last one at the end."""
    drawn = table_of_batches("Rows")
    for one in found[-_MOST_BATCHES:]:
        rows = "" if one.batch is None else f"{one.batch.rows:,}"
        drawn.add_row(*one.cells("(none)"), rows)
    if len(found) > _MOST_BATCHES:
        screen.print(cell(f"{len(found) - _MOST_BATCHES:,} batches before these"), soft_wrap=True)
    show(screen, drawn)


def _state(batch: Batch | None) -> str:
    if batch is None:
        return ""
    return batch.state.value + (f": {batch.reason}" if batch.reason else "")
