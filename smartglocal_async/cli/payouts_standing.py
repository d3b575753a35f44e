"""How payouts stand, in words and as an exit code."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ..errors import Misuse
from ..journal.entries import Batch, Halt
from ..payouts.cases import Book
from ..payouts.orders import PayoutState
from .failures import ExitCode
from .payouts_journal import shown
from .words import moment

ABSENT: Final = (
    "not begun, or their keys belong to another batch; `submit` of the file again says to which"
)
"""What there is to say of rows of a file that its batch doesn't have."""
_NOT_PAID: Final = (PayoutState.FAILED, PayoutState.CANCELLED)


async def known(book: Book, name: str | None, journal: str) -> Batch | None:
    """Give a batch of a journal.

    Raises:
        Misuse: it has no such batch.

    """
    batch = None if name is None else await book.batch(name)
    if name is not None and batch is None:
        words = f"the journal {shown(journal)} has no batch {name!r}; name it with --batch"
        raise Misuse(words)
    return batch


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
