"""A journal in one SQLite file: one process, one writing thread, commits shared by callers."""

from .journal import SQLiteJournal
from .tables import SQLiteReader

__all__ = ["SQLiteJournal", "SQLiteReader"]
