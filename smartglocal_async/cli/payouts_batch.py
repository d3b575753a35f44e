"""The batch of a file in a journal: is it the file that the batch was begun with?"""

from typing import Protocol

from ..client import SmartGlocal
from ..errors import Misuse
from ..journal.entries import Batch
from ..journal.store import Journal
from ..payouts.comparing import Comparison, compare
from ..payouts.files import PayoutFile
from ..payouts.protocol import Mode
from .payouts_client import payouts_of
from .payouts_journal import journal_of
from .screen import counted


class Asked(Protocol):
    """Which file is to be paid, and as which batch of which journal."""

    @property
    def file(self) -> PayoutFile:
        """The file."""
        ...

    @property
    def journal(self) -> str:
        """Where its journal is."""
        ...

    @property
    def batch(self) -> str:
        """What the journal calls it."""
        ...

    @property
    def mode(self) -> Mode:
        """Who confirms."""
        ...


async def begun_before(client: SmartGlocal, wish: Asked, digest: str) -> int:
    """Say how many payouts of the batch were begun.

    Raises:
        Misuse: the batch was begun with another file.
        JournalUnusable: the journal can't be used.

    """
    journal = journal_of(wish.journal)
    async with payouts_of(client, journal, wish.mode):
        if await known_batch(journal, wish.file, wish.batch, digest) is None:
            return 0
        return sum((await journal.counts(batch=wish.batch)).values())


async def known_batch(journal: Journal, file: PayoutFile, name: str, digest: str) -> Batch | None:
    """Give the batch as the journal has it; None where it isn't there yet.

    Raises:
        Misuse: it was begun with another file; the text names the first row that differs.

    """
    batch = await journal.batch(name)
    if batch is None or batch.digest == bytes.fromhex(digest):
        return batch
    raise Misuse(_changed(file, name, await compare(file, journal, name)))


def _changed(file: PayoutFile, name: str, found: Comparison) -> str:
    beginning = f"{file.path}: isn't the file that the batch {name!r} was begun with"
    if found.is_same:
        rows = counted(found.begun, "row")
        differs = f"all {rows} that were begun are as they were; others, or the layout, changed"
    else:
        differs = str(found)
    advice = (
        "nothing was sent; restore the file, or pay it as a batch of its own with "
        "--batch NAME: a key that the journal has is not paid again"
    )
    return f"{beginning}: {differs}; {advice}"
