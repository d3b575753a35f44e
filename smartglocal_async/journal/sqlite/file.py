"""Open the file, and refuse whatever isn't a sound journal of this scope that can be written."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from ...errors import JournalUnusable
from ..entries import Halt, HaltKind
from ..packing import halt_text
from ..scopes import is_same
from .faults import unusable

_APPLICATION: Final = 0x53474C31
_SCHEMA: Final = 1
_BUSY_MS: Final = 5000
# Reading a large file whole would keep it from being used for seconds; what is damaged in it is
# still told when it is read.
_LARGEST_CHECKED_BYTES: Final = 64 * 2**20
_PRAGMAS: Final = {
    "busy_timeout": _BUSY_MS,
    "foreign_keys": 1,
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: without it a loss of power takes the last commits along
    "fullfsync": 1,  # On macOS a plain fsync leaves what was written in the drive's cache.
    "checkpoint_fullfsync": 1,
}
_TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE entry (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, mode TEXT NOT NULL,
    fingerprint BLOB NOT NULL, request BLOB, amount INTEGER, currency TEXT,
    step INTEGER NOT NULL, session_no INTEGER NOT NULL,
    session_id TEXT, item_id TEXT, fence INTEGER NOT NULL, owner TEXT, leased_until REAL,
    not_before REAL, result BLOB, code TEXT, reason TEXT, attempts INTEGER NOT NULL,
    batch TEXT, ordinal INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX entry_open ON entry (number) WHERE step < 80;
CREATE INDEX entry_held ON entry (number) WHERE owner IS NOT NULL;
CREATE INDEX entry_batch ON entry (batch, number) WHERE batch IS NOT NULL;
CREATE TABLE session (
    session_id TEXT PRIMARY KEY, key TEXT NOT NULL REFERENCES entry (key),
    session_no INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE attempt (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, fence INTEGER NOT NULL, event TEXT NOT NULL,
    step INTEGER NOT NULL, session_id TEXT, code TEXT, reason TEXT, at REAL NOT NULL);
CREATE INDEX attempt_key ON attempt (key);
CREATE TABLE batch (
    name TEXT PRIMARY KEY, digest BLOB, rows INTEGER NOT NULL, totals TEXT NOT NULL,
    begun_at REAL NOT NULL, state TEXT NOT NULL, reason TEXT, rules TEXT, bound TEXT NOT NULL,
    paid TEXT NOT NULL, failures INTEGER NOT NULL, cover TEXT, cover_at REAL) WITHOUT ROWID;
"""

_NOT_SENT: Final = """
SELECT batch, coalesce(currency, ''), sum(coalesce(amount, 0)) FROM entry
WHERE owner IS NOT NULL AND attempts = 0
AND batch IN (SELECT name FROM batch WHERE rules IS NOT NULL) GROUP BY 1, 2
"""


@frozen
class SideFile:
    """The file beside the journal: its lock, and how far the journal had come.

    What it says is written after the commit that it speaks of, so a journal that is behind it is
    an older copy, or lost what its disk had promised to keep.
    """

    number: int
    """Its descriptor."""

    def note(self, lines: int) -> None:
        """Write how many lines the log has."""
        _ = os.pwrite(self.number, f"{os.getpid():<12}{lines:<20}".encode(), 0)

    def read(self) -> tuple[str, int]:
        """Give the process that wrote last, and how many lines the log had then."""
        words = os.pread(self.number, 32, 0).decode(errors="replace").split()
        pid = words[0] if words else "unknown"
        return pid, int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


@frozen
class Opened:
    """A journal's file, open for the one thread that opened it."""

    connection: sqlite3.Connection
    journal_id: str
    secret: bytes
    side: SideFile

    def note(self) -> None:
        """Note beside the journal how far it has come."""
        self.side.note(_lines(self.connection))


@contextmanager
def open_file(path: Path, scope: str, *, may_make: bool) -> Generator[Opened]:
    """Hold the file open, and every other process off it.

    Raises:
        JournalUnusable: the text says why.

    """
    if not may_make:
        check_there(path)
    with _locked(path) as side, closing(_connected(path)) as connection:
        try:
            yield _begun(connection, path, scope, side, may_make=may_make)
        finally:
            if connection.in_transaction:
                connection.rollback()


def check_there(path: Path) -> None:
    """See that there is a file; whoever only looks makes none.

    Raises:
        JournalUnusable: there is none.

    """
    if not path.exists():
        words = "mend the path (`payouts pay` begins one)"
        raise JournalUnusable(f"there is no journal {path}; {words}")


@contextmanager
def _locked(path: Path) -> Generator[SideFile]:
    """Hold the lock on the side file; it dies with the process, whatever kills it."""
    beside = path.with_name(f"{path.name}.lock")
    try:
        held = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield SideFile(held)
    except BlockingIOError as error:
        pid, _ = SideFile(held).read()
        words = f"the journal {path}: process {pid} has it; only one may write to it"
        raise JournalUnusable(words) from error
    finally:
        os.close(held)


def _connected(path: Path) -> sqlite3.Connection:
    try:
        _make(path)
        return sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error


def _make(path: Path) -> None:
    """Make the file, readable by its owner alone; SQLite's own side files take after it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _begun(
    connection: sqlite3.Connection, path: Path, scope: str, side: SideFile, *, may_make: bool
) -> Opened:
    try:
        is_new = look(connection, path, may_be_new=may_make)
        _set(connection, path)
        _ = connection.execute("BEGIN IMMEDIATE")
        if is_new:
            _lay_out(connection, scope)
        opened = _known(connection, path, scope, side)
        _halt_if_behind(connection, side)
        # Whoever held a lease was this process or is dead: nobody else may have the file.
        _count_less(connection)
        _ = connection.execute(
            "UPDATE entry SET owner = NULL, leased_until = NULL WHERE owner IS NOT NULL"
        )
        _ = connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'opened'")
        _ = connection.execute("COMMIT")
        opened.note()
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return opened


def _count_less(connection: sqlite3.Connection) -> None:
    """Have batches with rules not count what was taken, and nothing was sent for."""
    for name, currency, amount in connection.execute(_NOT_SENT).fetchall():
        asked = "SELECT bound FROM batch WHERE name = ?"
        bound = json.loads(connection.execute(asked, (name,)).fetchone()[0])
        bound[currency] -= amount
        values = (json.dumps(bound), name)
        _ = connection.execute("UPDATE batch SET bound = ? WHERE name = ?", values)


def _halt_if_behind(connection: sqlite3.Connection, side: SideFile) -> None:
    """Have nothing paid from a journal that has fewer lines than it once had."""
    _, once = side.read()
    if (lines := _lines(connection)) < once:
        words = f"its log had {once} lines, and has {lines}: it is an older copy"
        write_halt(connection, Halt(kind=HaltKind.FORGOT, reason=words))
        side.note(lines)


def _lines(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT max(number) FROM attempt").fetchone()
    return row[0] or 0


def write_halt(connection: sqlite3.Connection, halt: Halt | None) -> None:
    """Write a halt in the place of the last one."""
    _ = connection.execute("DELETE FROM meta WHERE name = 'halt'")
    if halt is not None:
        _ = connection.execute("INSERT INTO meta VALUES ('halt', ?)", (halt_text(halt),))


def look(connection: sqlite3.Connection, path: Path, *, may_be_new: bool) -> bool:
    """Say whether the file is new, before anything in it is changed.

    Raises:
        JournalUnusable: it is no journal, or damaged; or is new, and may not be.

    """
    made_by = _one(connection, "PRAGMA application_id")
    tables = _one(connection, "SELECT count(*) FROM sqlite_master")
    if not made_by and not tables:
        if not may_be_new:
            raise JournalUnusable(f"the journal {path}: nothing was ever written to it")
        return True
    if made_by != _APPLICATION:
        raise JournalUnusable(f"{path} isn't a journal, but another program's file of SQLite")
    if (schema := _one(connection, "PRAGMA user_version")) != _SCHEMA:
        raise JournalUnusable(
            f"the journal {path} is of version {schema}, and this release knows {_SCHEMA}: "
            "take the release that made it, or a later one"
        )
    if path.stat().st_size > _LARGEST_CHECKED_BYTES:
        return False
    if (flaw := _one(connection, "PRAGMA quick_check(1)")) != "ok":
        raise JournalUnusable(f"the journal {path}: it is damaged ({flaw})")
    return False


def _set(connection: sqlite3.Connection, path: Path) -> None:
    for name, value in _PRAGMAS.items():
        _ = connection.execute(f"PRAGMA {name} = {value}").fetchall()
        if (stuck := _one(connection, f"PRAGMA {name}")) != value:
            raise JournalUnusable(
                f"the journal {path}: SQLite wouldn't set {name} to {value}, it stays {stuck}; "
                "a file system of the network can't hold a journal"
            )


def _lay_out(connection: sqlite3.Connection, scope: str) -> None:
    for statement in _TABLES.split(";"):
        _ = connection.execute(statement)
    _ = connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    _ = connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    rows = {"scope": scope, "id": os.urandom(8).hex(), "secret": os.urandom(16), "opened": 0}
    _ = connection.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())


def _known(connection: sqlite3.Connection, path: Path, scope: str, side: SideFile) -> Opened:
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if not is_same(meta["scope"], scope):
        words = f"the journal {path} belongs to {meta['scope']}, not to {scope}"
        raise JournalUnusable(words)
    return Opened(connection, meta["id"], meta["secret"], side)


def _one(connection: sqlite3.Connection, statement: str) -> object:
    row: tuple[object, ...] | None = connection.execute(statement).fetchone()
    return None if row is None else row[0]
