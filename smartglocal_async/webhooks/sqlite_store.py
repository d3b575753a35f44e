"""A webhook store in an SQLite file, for the processes of one machine."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from attrs import define, field

from ..errors import WebhookStoreUnusable
from .store import (
    CLAIM_SECONDS,
    EXPIRE_SECONDS,
    KEEP_SECONDS,
    Claim,
    check_durations,
    row_key,
)

T = TypeVar("T")

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS smartglocal_webhook (
    identity TEXT PRIMARY KEY, owner TEXT, handled INTEGER NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID
"""
# In seconds, with their fraction: a claim of one second must not end after some milliseconds.
_NOW: Final = "((julianday('now') - 2440587.5) * 86400.0)"
# A claim far in the future was made before the clock was set back, and ends, too.
_CLAIM: Final = f"""
INSERT INTO smartglocal_webhook VALUES (:identity, :token, 0, {_NOW})
ON CONFLICT (identity) DO UPDATE SET owner = :token, at = {_NOW}
WHERE NOT handled AND (owner = :token OR abs({_NOW} - at) >= :claim_seconds)
"""  # noqa: S608 - constants
_HANDLED: Final = "SELECT handled FROM smartglocal_webhook WHERE identity = :identity"
_KEEP: Final = f"""
UPDATE smartglocal_webhook SET handled = 1, at = {_NOW}
WHERE identity = :identity AND owner = :token
"""  # noqa: S608
_FORGET: Final = """
DELETE FROM smartglocal_webhook WHERE identity = :identity AND owner = :token AND NOT handled
"""
_EXPIRE: Final = f"""
DELETE FROM smartglocal_webhook WHERE at + :keep_seconds <= {_NOW}
AND (handled OR at + :claim_seconds <= {_NOW})
"""  # noqa: S608
_MAX_WAIT_SECONDS: Final = 10.0
"""How long a statement may wait for its turn and for the file's lock, together."""


@define(eq=False)
class _File:
    """The file, and the thread that alone uses it."""

    path: Path
    thread: ThreadPoolExecutor = field(
        factory=lambda: ThreadPoolExecutor(1, "smartglocal-webhooks"), init=False
    )
    connection: sqlite3.Connection | None = field(default=None, init=False)
    inode: tuple[int, int] | None = field(default=None, init=False)
    """The device and the number of the file when it was opened."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of ``work`` in the thread.

        Raises:
            WebhookStoreUnusable: the file can't be used, is locked for too long, or is gone.

        """
        end = time.monotonic() + _MAX_WAIT_SECONDS
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, self._work, work, end)

    async def close(self) -> None:
        """Close the file, after what was begun before."""
        closing = self.thread.submit(self._close)
        self.thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    def _work(self, work: Callable[[sqlite3.Connection], T], end: float) -> T:
        seconds = end - time.monotonic()
        if seconds <= 0:
            raise WebhookStoreUnusable(f"{self.path} was locked for too long by another program")
        try:
            connection = self._opened(seconds)
            busy_ms = max(0, round((end - time.monotonic()) * 1000))
            _ = connection.execute(f"PRAGMA busy_timeout = {busy_ms}")
            result = work(connection)
        except sqlite3.Error as error:
            raise WebhookStoreUnusable(f"{type(error).__name__}: {error}") from error
        # Checked at the end, so that nothing counts that was written to a deleted file.
        found = _inode(self.path)
        if found is None or found != self.inode:
            raise WebhookStoreUnusable(
                f"{self.path} was deleted or replaced while it was open; restart this process"
            )
        return result

    def _opened(self, seconds: float) -> sqlite3.Connection:
        if self.connection is not None:
            return self.connection
        connection = sqlite3.connect(self.path, timeout=seconds, isolation_level=None)
        try:
            _ = connection.execute("PRAGMA journal_mode = WAL")
            _ = connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        self.connection, self.inode = connection, _inode(self.path)
        return connection

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@define(eq=False)
class SQLiteStore:
    """A store in an SQLite file, shared by the processes of one machine; close it at the end.

    An event is claimed by one delivery at a time. The claim of a process that died ends after
    ``claim_seconds``, or twice that if the clock is set back meanwhile; until then a redelivery is
    answered with 503. A handled event is kept for
    ``keep_seconds``, which can't be less. The file must be on a local disk. If it is deleted or
    replaced while it is open, the store fails until it is closed and opened again.
    """

    path: Path = field(converter=Path)
    claim_seconds: float = field(default=CLAIM_SECONDS, kw_only=True)
    keep_seconds: float = field(default=KEEP_SECONDS, kw_only=True)
    _file: _File | None = field(default=None, init=False, repr=False)
    _next_expiry: float = field(default=0.0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_durations(self.claim_seconds, self.keep_seconds)

    async def __aenter__(self) -> Self:
        """Open the file, create the table, and drop the events that were kept for long enough.

        Raises:
            WebhookStoreUnusable: the file can't be opened, read or written.

        """
        try:
            await self._run(self._expire)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def claim(self, identity: str, token: str) -> Claim:
        """Claim the event if it is neither running nor handled.

        Raises:
            WebhookStoreUnusable: the file can't be read or written, or another program has locked
                it for 10 s.

        """
        return await self._run(lambda connection: self._claim(connection, identity, token))

    async def keep(self, identity: str, token: str) -> None:
        """Record that the event was handled, unless another delivery has claimed it since.

        Raises:
            WebhookStoreUnusable: as from `claim`.

        """
        values = self._values(identity, token)
        _ = await self._run(lambda connection: connection.execute(_KEEP, values))

    async def forget(self, identity: str, token: str) -> None:
        """Release the claim that has this token.

        Raises:
            WebhookStoreUnusable: as from `claim`.

        """
        values = self._values(identity, token)
        _ = await self._run(lambda connection: connection.execute(_FORGET, values))

    async def close(self) -> None:
        """Close the file; another call opens it again."""
        file, self._file = self._file, None
        if file is not None:
            await file.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._file is None:
            self._file = _File(self.path)
        return await self._file.run(work)

    def _claim(self, connection: sqlite3.Connection, identity: str, token: str) -> Claim:
        values = self._values(identity, token)
        with connection:
            _ = connection.execute("BEGIN IMMEDIATE")
            if time.monotonic() >= self._next_expiry:
                self._expire(connection)
            if connection.execute(_CLAIM, values).rowcount:
                return Claim.NEW
            [handled] = connection.execute(_HANDLED, values).fetchone()
        return Claim.HANDLED if handled else Claim.RUNNING

    def _expire(self, connection: sqlite3.Connection) -> None:
        _ = connection.execute(_EXPIRE, self._values("", ""))
        self._next_expiry = time.monotonic() + EXPIRE_SECONDS

    def _values(self, identity: str, token: str) -> dict[str, Any]:
        return {
            "identity": row_key(identity),
            "token": token,
            "claim_seconds": self.claim_seconds,
            "keep_seconds": self.keep_seconds,
        }
