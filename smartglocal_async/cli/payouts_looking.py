"""A journal that is only looked at: a file without credentials, a database with them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from ..journal.sqlite import SQLiteReader
from ..payouts.cases import Book
from .payouts_client import client_of, payouts_of
from .payouts_journal import is_address, journal_of


@asynccontextmanager
async def looking(journal: str) -> AsyncGenerator[Book]:
    """Open a journal to look at it; that of a file may be in use by another process.

    Raises:
        JournalUnusable: there is none, or it can't be read.
        InvalidCredentials: a database is asked in the name of a project.

    """
    if is_address(journal):
        book = journal_of(journal)
        async with client_of(None) as client, payouts_of(client, book):
            yield book
    else:
        async with SQLiteReader(journal) as reader:
            yield reader
