"""A journal that is only looked at: a file as it is, a database in the name of a project."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..journal.sqlite import SQLiteReader
from ..payouts.cases import Book
from .payouts_client import keyless
from .payouts_journal import is_address, journal_of


@asynccontextmanager
async def looking(journal: str) -> AsyncGenerator[Book]:
    """Open a journal to look at it; that of a file may be in use by another process.

    Raises:
        JournalUnusable: there is none, or it can't be read.
        InvalidCredentials: the project or the server of a database's is missing.

    """
    if is_address(journal):
        book = journal_of(journal, may_make=False)
        async with keyless(book, None):
            yield book
    else:
        async with SQLiteReader(journal) as reader:
            yield reader
