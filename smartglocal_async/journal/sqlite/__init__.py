"""A journal in one file of SQLite: one process, one thread that writes, commits shared by many."""

from .journal import SQLiteJournal
from .reading import SQLiteReader

__all__ = ["SQLiteJournal", "SQLiteReader"]
