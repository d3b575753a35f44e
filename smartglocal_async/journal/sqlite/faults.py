"""What went wrong with the file, in words that say what to do."""

import sqlite3
from pathlib import Path
from typing import Final

from ...errors import JournalUnusable

_WORDS: Final = {
    sqlite3.SQLITE_PERM: "its folder or file may not be written by this user",
    sqlite3.SQLITE_BUSY: "another program is writing to it, and didn't finish in time",
    sqlite3.SQLITE_LOCKED: "another program is writing to it, and didn't finish in time",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_IOERR: "the disk couldn't be read or written",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it, or ask for the payouts' reports",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened: is its folder there, and may it be written?",
    sqlite3.SQLITE_NOTADB: "it isn't a journal, and isn't SQLite at all",
}
_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_PRIMARY: Final = 0xFF


def _code(error: BaseException) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY


def is_passing(error: BaseException) -> bool:
    """Say whether the next commit may succeed: nothing of this one is on the disk."""
    return _code(error) in _PASSING


def unusable(path: Path, error: BaseException) -> JournalUnusable:
    """Give the error to raise from this one."""
    words = _WORDS.get(_code(error) or 0)
    if words is None:
        words = (getattr(error, "strerror", None) or str(error)).lower()
    name = getattr(error, "sqlite_errorname", None)
    return JournalUnusable(f"the journal {path}: {words}" + (f" ({name})" if name else ""))
