"""How payouts stand, in words and as an exit code."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ..errors import Misuse
from ..journal.entries import Batch, Halt
from ..journal.postgres.journal import PostgresJournal
from ..payouts.cases import Book
from ..payouts.orders import PayoutState
from .failures import ExitCode
from .payouts_journal import shown
from .words import moment

ABSENT: Final = (
    "not begun, or their keys belong to another batch; `submit` of the file again says to which"
)
"""What there is to say of rows of a file that its batch doesn't have."""
_MOST_NAMES: Final = 5
_NOT_PAID: Final = (PayoutState.FAILED, PayoutState.CANCELLED)


async def known(book: Book, name: str | None, journal: str) -> Batch | None:
    """Give a batch of a journal, where it is asked for one.

    Raises:
        Misuse: it has no such batch.

    """
    return None if name is None else await batch_named(book, name, journal)


async def batch_named(book: Book, name: str, journal: str) -> Batch:
    """Give a batch of a journal.

    Raises:
        Misuse: it has no such batch; the text names those that it has.

    """
    if (batch := await book.batch(name)) is None:
        words = f"the journal {shown(journal)} has no batch {name!r}; {await _those_of(book)}"
        raise Misuse(words)
    return batch


async def _those_of(book: Book) -> str:
    """Name the batches of a journal, where it can list them."""
    if not isinstance(book, PostgresJournal):
        return "a batch is called as its file, or as --batch said when it was paid"
    names = [repr(batch.name) for batch in await book.batches()]
    if not names:
        return "nothing was submitted to it yet"
    told = f"it has {', '.join(names[-_MOST_NAMES:])}"
    more = len(names) - _MOST_NAMES
    return f"{told} and {more:,} more, which `payouts status` lists" if more > 0 else told


def code_of_counts(counts: Mapping[PayoutState, int], halt: Halt | None) -> ExitCode:
    """Give what that is for a shell: the worst first."""
    if halt is not None:
        return ExitCode.HALTED
    if counts.get(PayoutState.OPEN) or counts.get(PayoutState.UNKNOWN):
        return ExitCode.OUTCOME_UNKNOWN
    return ExitCode.FAILED if any(map(counts.get, _NOT_PAID)) else ExitCode.DONE


def absent_from(batch: Batch | None, counts: Mapping[PayoutState, int]) -> int:
    """Give how many rows of its file a batch doesn't have."""
    return 0 if batch is None else max(0, batch.rows - sum(counts.values()))


def halted_words(halt: Halt) -> str:
    """Say that nothing is paid, until when, and why."""
    until = "" if halt.until is None else f", until {moment(utc(halt.until))}"
    return f"halted ({halt.kind.value}{until}): {halt.reason}"


def utc(seconds: float) -> datetime:
    """Give a time of the journal."""
    return datetime.fromtimestamp(seconds, UTC)
