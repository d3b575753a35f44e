"""A webhook store in an SQLite file, for the processes of one machine."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from attrs import define, field

from ..errors import WebhookStoreUnusable
from ..models.validators import above_zero
from .store import CLAIM_SECONDS, EXPIRE_SECONDS, KEEP_SECONDS, Claim, row_key

T = TypeVar("T")

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS smartglocal_webhook (
    identity TEXT PRIMARY KEY, owner TEXT, handled INTEGER NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID
"""
_NOW: Final = "CAST(strftime('%s', 'now') AS INTEGER)"
_CLAIM: Final = f"""
INSERT INTO smartglocal_webhook VALUES (:identity, :owner, 0, {_NOW})
ON CONFLICT (identity) DO UPDATE SET owner = :owner, at = {_NOW}
WHERE NOT handled AND at + :claim_seconds <= {_NOW}
"""  # noqa: S608 - constants
_HANDLED: Final = "SELECT handled FROM smartglocal_webhook WHERE identity = :identity"
_KEEP: Final = f"""
UPDATE smartglocal_webhook SET handled = 1, at = {_NOW}
WHERE identity = :identity AND owner = :owner
"""  # noqa: S608
_FORGET: Final = """
DELETE FROM smartglocal_webhook WHERE identity = :identity AND owner = :owner AND NOT handled
"""
_EXPIRE: Final = f"DELETE FROM smartglocal_webhook WHERE at + :keep_seconds <= {_NOW}"  # noqa: S608
_BUSY_SECONDS: Final = 10.0


@define(eq=False)
class SQLiteStore:
    """A store in an SQLite file, shared by the processes of one machine; close it at the end.

    An event is claimed by one process at a time. The claim of a process that died ends after
    ``claim_seconds``; until then a redelivery is answered with 503. A handled event is kept for
    ``keep_seconds``. The file must be on a local disk.
    """

    path: Path = field(converter=Path)
    claim_seconds: float = field(default=CLAIM_SECONDS, kw_only=True)
    keep_seconds: float = field(default=KEEP_SECONDS, kw_only=True)
    _owner: str = field(factory=lambda: os.urandom(16).hex(), init=False, repr=False)
    _connection: sqlite3.Connection | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    _next_expiry: float = field(default=0.0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("claim_seconds", self.claim_seconds)
        above_zero("keep_seconds", self.keep_seconds)

    async def __aenter__(self) -> Self:
        """Open the file, create the table, and drop the events that were kept for long enough.

        Raises:
            WebhookStoreUnusable: the file can't be opened, read or written.

        """
        await self._expire()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def claim(self, identity: str) -> Claim:
        """Claim the event if it is neither running nor handled.

        Raises:
            WebhookStoreUnusable: the file can't be read or written.

        """
        if asyncio.get_running_loop().time() >= self._next_expiry:
            await self._expire()
        return await self._run(lambda connection: self._claim(connection, identity))

    async def keep(self, identity: str) -> None:
        """Record that the event was handled, unless another process has claimed it since."""
        _ = await self._run(lambda connection: connection.execute(_KEEP, self._values(identity)))

    async def forget(self, identity: str) -> None:
        """Release a claim of this object."""
        _ = await self._run(lambda connection: connection.execute(_FORGET, self._values(identity)))

    async def close(self) -> None:
        """Close the file; another call opens it again."""
        await asyncio.to_thread(self._close)

    async def _expire(self) -> None:
        self._next_expiry = asyncio.get_running_loop().time() + EXPIRE_SECONDS
        _ = await self._run(lambda connection: connection.execute(_EXPIRE, self._values("")))

    def _close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _claim(self, connection: sqlite3.Connection, identity: str) -> Claim:
        values = self._values(identity)
        with connection:
            _ = connection.execute("BEGIN IMMEDIATE")
            if connection.execute(_CLAIM, values).rowcount:
                return Claim.NEW
            [handled] = connection.execute(_HANDLED, values).fetchone()
        return Claim.HANDLED if handled else Claim.RUNNING

    def _values(self, identity: str) -> dict[str, Any]:
        return {
            "identity": row_key(identity),
            "owner": self._owner,
            "claim_seconds": self.claim_seconds,
            "keep_seconds": self.keep_seconds,
        }

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                return work(self._connection)
        except sqlite3.Error as error:
            raise WebhookStoreUnusable(f"{type(error).__name__}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _ = connection.execute("PRAGMA journal_mode = WAL")
            _ = connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        return connection
