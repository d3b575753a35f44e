"""The file of a journal: opened, locked, migrated and checked, with errors in plain words."""

import json
import os
import sqlite3
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from ...errors import JournalBusy, JournalUnusable
from ...models.validators import is_quoted
from ..entries import Halt, HaltKind
from ..file_access import OPEN, lock, read_at, sync_folder, write_at
from ..rows import halt_of, halt_text, is_same
from .lock import check_links, held

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
    """Return whether the next commit may succeed; nothing of this one was written."""
    return _code(error) in _PASSING


def unusable(path: Path, error: BaseException) -> JournalUnusable:
    """Return the error to raise for this one."""
    words = _WORDS.get(_code(error) or 0)
    if words is None:
        words = (getattr(error, "strerror", None) or str(error)).lower()
    name = getattr(error, "sqlite_errorname", None)
    return JournalUnusable(f"the journal {path}: {words}" + (f" ({name})" if name else ""))


_APPLICATION: Final = 0x53474C31
_SCHEMA: Final = 3
_BUSY_MS: Final = 5000
# Checking a large file would block it for seconds. Damage in it is still reported when it is read.
_MAX_CHECKED_BYTES: Final = 64 * 2**20
_PRAGMAS: Final = {
    "busy_timeout": _BUSY_MS,
    "foreign_keys": 1,
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: otherwise a loss of power loses the last commits
    "fullfsync": 1,  # On macOS a plain fsync leaves the data in the drive's cache.
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
    batch TEXT, ordinal INTEGER, created_at REAL NOT NULL, updated_at REAL NOT NULL, summary BLOB,
    payment BLOB);
CREATE INDEX entry_batch_open ON entry (batch, number) WHERE step < 80;
CREATE INDEX entry_payment ON entry (payment) WHERE payment IS NOT NULL;
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
_ACTIONS: Final = """
CREATE TABLE operator_action (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, operator TEXT NOT NULL, action TEXT NOT NULL,
    batch TEXT, key TEXT, detail TEXT);
CREATE INDEX entry_not_paid ON entry (step, number) WHERE step IN (70, 81, 82);
CREATE INDEX entry_batch_not_paid ON entry (batch, step, number) WHERE step IN (70, 81, 82);
"""
_MIGRATIONS: Final[Mapping[int, str]] = {
    1: """
ALTER TABLE entry ADD COLUMN summary BLOB;
ALTER TABLE entry ADD COLUMN payment BLOB;
CREATE INDEX entry_batch_open ON entry (batch, number) WHERE step < 80;
CREATE INDEX entry_payment ON entry (payment) WHERE payment IS NOT NULL;
INSERT INTO meta SELECT 'commits', coalesce(max(number), 0) FROM attempt;
""",
    2: _ACTIONS,
}
"""The version of a file -> the statements that bring it to the next version."""
_SYNC_SECONDS: Final = 1.0
_EPOCH: Final = 10**12
"""Added to the count when the file is an older copy: more commits than any journal has, so every
copy that was made before is behind, even one that is newer than this one."""

# In two halves: SQLite's sum of integers fails beyond 64 bits.
_NOT_SENT: Final = """
SELECT batch, coalesce(currency, ''), coalesce(sum(amount >> 32), 0),
coalesce(sum(amount & 0xffffffff), 0) FROM entry
WHERE owner IS NOT NULL AND attempts = 0
AND batch IN (SELECT name FROM batch WHERE rules IS NOT NULL) GROUP BY 1, 2
"""


@frozen
class CommitCount:
    """The content of the side file (``.lock``)."""

    pid: str
    """The process that wrote it last."""
    commits: int
    """How many commits the journal had, with those of journals that were here before it; without an
    id: how many lines its log had."""
    journal_id: str | None
    """The journal of the count; None: written by a release that didn't store it, or empty."""


@define(eq=False)
class SideFile:
    """The side file of the journal: its lock, and how many commits the journal has.

    It is written after each commit, before callers continue. So a journal that has fewer commits is
    an older copy, or its disk lost what it had confirmed. What is written here survives the process
    at once, and a loss of power after a second at most.

    The count never goes down: a file that is behind continues from it, and by an `_EPOCH` more.
    """

    number: int
    """Its file descriptor."""
    _synced_at: float = field(factory=time.monotonic, init=False)
    _is_synced: bool = field(default=True, init=False)

    def note(self, commits: int, journal_id: str) -> None:
        """Write how many commits the journal has."""
        words = f"{os.getpid():<12}{commits:<20}{journal_id:<16}\n"
        write_at(self.number, words.encode(), 0)
        self._is_synced = False

    def sync(self, after_seconds: float = 0.0) -> None:
        """Sync it to disk, unless that was done in the last ``after_seconds``."""
        now = time.monotonic()
        if not self._is_synced and now - self._synced_at >= after_seconds:
            os.fsync(self.number)
            self._synced_at, self._is_synced = now, True

    def read(self) -> CommitCount:
        """Return what was written last."""
        words = read_at(self.number, 64, 0).decode(errors="replace").split()
        pid, commits, journal_id = (*words, *["unknown", "0", ""][len(words) :])[:3]
        if not commits.isdecimal():
            return CommitCount(pid, 0, None)
        return CommitCount(pid, int(commits), journal_id or None)


@define(eq=False)
class OpenFile:
    """A journal's open file, used only by the thread that opened it."""

    connection: sqlite3.Connection
    journal_id: str
    secret: bytes = field(repr=False)
    side: SideFile
    commits: int
    """How many commits that changed something the file has."""

    def count(self, changes: int) -> bool:
        """Count the commit that is about to be made, if rows changed; return whether it did."""
        if self.connection.total_changes == changes:
            return False
        _ = self.connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'commits'", (self.commits + 1,)
        )
        return True

    def note(self) -> None:
        """Write the new count to the side file."""
        self.commits += 1
        self.side.note(self.commits, self.journal_id)

    def sync(self) -> None:
        """Sync the count at intervals: it may be lower than the journal's, but never higher."""
        self.side.sync(_SYNC_SECONDS)


@contextmanager
def open_file(path: Path, scope: str, *, may_make: bool) -> Generator[OpenFile]:
    """Open the file and lock it against every other process.

    Raises:
        JournalUnusable: the text says why.

    """
    # SQLite's log and our lock are next to the file itself, not next to a link to it.
    path = path.resolve()
    if not may_make:
        check_there(path)
    _check_name(path)
    with _locked(path) as side:
        _made(path)
        with _held(path), closing(_connected(path)) as connection:
            try:
                yield _begun(connection, path, scope, side, may_make=may_make)
            finally:
                if connection.in_transaction:
                    connection.rollback()
                side.sync()


@contextmanager
def _held(path: Path) -> Generator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path))
        except OSError as error:
            raise unusable(path, error) from error
        yield


def check_there(path: Path) -> None:
    """Check that the file exists; a reader must not make one.

    Raises:
        JournalUnusable: it doesn't exist.

    """
    if not path.exists():
        words = "fix the path (`payouts pay` makes a new journal)"
        raise JournalUnusable(f"there is no journal {path}; {words}")


def _check_name(path: Path) -> None:
    """Check that the file exists, or has a name that nothing has put spaces or quotes around."""
    name = path.name
    if not path.exists() and (name != name.strip() or not name.isprintable() or is_quoted(name)):
        raise JournalUnusable(
            f"there is no journal {str(path)!r}, and none is made with a space, a line break or "
            "quotes around its name: payouts of the one without them would be made again"
        )


@contextmanager
def _locked(path: Path) -> Generator[SideFile]:
    """Hold the lock on the side file; it ends with the process, even if that is killed."""
    beside = path.with_name(f"{path.name}.lock")
    try:
        held = os.open(beside, os.O_RDWR | os.O_CREAT | OPEN, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        lock(held)
        yield SideFile(held)
    except BlockingIOError as error:
        raise JournalBusy(str(path), SideFile(held).read().pid) from error
    finally:
        os.close(held)


def _made(path: Path) -> None:
    """Make the file if it doesn't exist, and check that it has only one name."""
    try:
        _make(path)
        check_links(path)
    except OSError as error:
        raise unusable(path, error) from error


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error


def _make(path: Path) -> None:
    """Make the file, readable by its owner only; SQLite's side files get the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN, 0o600))
    except FileExistsError:
        return
    sync_folder(path.parent)


def _begun(
    connection: sqlite3.Connection, path: Path, scope: str, side: SideFile, *, may_make: bool
) -> OpenFile:
    try:
        is_new = check_file(connection, path, may_be_new=may_make)
        _set(connection, path)
        _ = connection.execute("BEGIN IMMEDIATE")
        if is_new:
            _create_tables(connection, scope)
        version = _migrated(connection)
        opened = _known(connection, path, scope, side)
        stored = side.read()
        if (words := _lack(opened, stored, version)) is not None:
            halt = Halt(kind=HaltKind.FORGOT, reason=words)
            write_halt(connection, halt.beside(stored_halt(connection)))
            opened.commits = max(opened.commits, stored.commits) + _EPOCH
        elif stored.journal_id != opened.journal_id:
            # The id has to be written before the first counted commit, and the count has to stay.
            side.note(stored.commits, opened.journal_id)
            side.sync()
        if stored.journal_id is None:
            sync_folder(path.parent)
        # Only one process may have the file, so holders of leases are dead, or this process.
        _uncount_unsent(connection)
        _ = connection.execute(
            "UPDATE entry SET owner = NULL, leased_until = NULL WHERE owner IS NOT NULL"
        )
        _ = connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'opened'")
        _ = opened.count(changes=-1)
        _ = connection.execute("COMMIT")
        opened.note()
        side.sync()
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    return opened


def _uncount_unsent(connection: sqlite3.Connection) -> None:
    """Uncount, in batches with rules, payouts that were claimed but not sent."""
    for name, currency, high, low in connection.execute(_NOT_SENT).fetchall():
        statement = "SELECT bound FROM batch WHERE name = ?"
        bound = json.loads(connection.execute(statement, (name,)).fetchone()[0])
        bound[currency] -= (high << 32) + low
        values = (json.dumps(bound), name)
        _ = connection.execute("UPDATE batch SET bound = ? WHERE name = ?", values)


def _lack(opened: OpenFile, stored: CommitCount, version: int) -> str | None:
    """Describe why the file lacks commits that were counted; None if it has them all."""
    has, had = opened.commits, stored.commits
    if version == 1 and stored.journal_id is None:
        # Releases of that version counted the lines of the log.
        words = f"its log had {had} lines, and has {has}: it is an older copy"
        is_behind = has < had
    elif stored.journal_id == opened.journal_id:
        words = f"it had {had} commits, and has {has}: it is an older copy"
        if had // _EPOCH > has // _EPOCH:
            words = "it was copied before another copy of it was opened: it is an older copy"
        is_behind = has < had
    elif had:
        words = f"it has {has} commits, and another journal was here, which had {had}"
        is_behind = True
    else:
        words = (
            f"it has {has} commits, and the file beside it that counts them (.lock) is not there: "
            "it was copied or restored without that"
        )
        is_behind = has > 0
    return words if is_behind else None


def stored_halt(connection: sqlite3.Connection) -> Halt | None:
    """Return the last halt, even if it has ended."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'halt'").fetchone()
    return None if row is None else halt_of(row[0])


def write_halt(connection: sqlite3.Connection, halt: Halt | None) -> None:
    """Replace the last halt."""
    _ = connection.execute("DELETE FROM meta WHERE name = 'halt'")
    if halt is not None:
        _ = connection.execute("INSERT INTO meta VALUES ('halt', ?)", (halt_text(halt),))


def check_file(connection: sqlite3.Connection, path: Path, *, may_be_new: bool) -> bool:
    """Return whether the file is new; it is checked before anything in it changes.

    Raises:
        JournalUnusable: it isn't a journal, or is damaged, or is new and must not be.

    """
    made_by = _one(connection, "PRAGMA application_id")
    tables = _one(connection, "SELECT count(*) FROM sqlite_master")
    if not made_by and not tables:
        if not may_be_new:
            raise JournalUnusable(f"the journal {path}: nothing was ever written to it")
        return True
    if made_by != _APPLICATION:
        raise JournalUnusable(f"{path} isn't a journal, but another program's file of SQLite")
    schema = _one(connection, "PRAGMA user_version")
    if schema != _SCHEMA and schema not in _MIGRATIONS:
        raise JournalUnusable(
            f"the journal {path} is of version {schema}, and this release knows {_SCHEMA}: "
            "use the release that made it, or a later one"
        )
    if path.stat().st_size > _MAX_CHECKED_BYTES:
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
                "a network file system can't hold a journal"
            )


def _create_tables(connection: sqlite3.Connection, scope: str) -> None:
    for statement in (_TABLES + _ACTIONS).split(";"):
        _ = connection.execute(statement)
    _ = connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    _ = connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    rows = {
        "scope": scope,
        "id": os.urandom(8).hex(),
        "secret": os.urandom(16),
        "opened": 0,
        "commits": 0,
    }
    _ = connection.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())


def _migrated(connection: sqlite3.Connection) -> int:
    """Migrate the tables to this release's version; return the version that they had."""
    made = version = _version(connection)
    while version != _SCHEMA:
        for statement in _MIGRATIONS[version].split(";"):
            _ = connection.execute(statement)
        version += 1
        _ = connection.execute(f"PRAGMA user_version = {version}")
    return made


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _known(connection: sqlite3.Connection, path: Path, scope: str, side: SideFile) -> OpenFile:
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if not is_same(meta["scope"], scope):
        words = f"the journal {path} belongs to {meta['scope']}, not to {scope}"
        raise JournalUnusable(words)
    return OpenFile(connection, meta["id"], meta["secret"], side, meta["commits"])


def _one(connection: sqlite3.Connection, statement: str) -> object:
    row: tuple[object, ...] | None = connection.execute(statement).fetchone()
    return None if row is None else row[0]
