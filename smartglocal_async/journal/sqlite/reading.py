"""Look at a journal's file, also while a process pays from it; nothing is ever written."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import quote

from attrs import define, field

from ...errors import Misuse
from ..entries import EVERY_STEP, Attempt, Batch, Entry, Halt
from ..packing import Page
from ..states import Step
from ..writing import Writing
from .faults import unusable
from .file import check_there, look
from .table import Table

T = TypeVar("T")
_BUSY_SECONDS: Final = 5.0


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()


@define(eq=False)
class SQLiteReader:
    """Reads the journal in a file: ``async with SQLiteReader(path) as reader: ...``.

    It needs no scope, takes no lock and ends no lease; each answer is of one moment.

    Raises:
        JournalUnusable: when it is opened: there is none, it is of a newer version, no journal, or
            damaged. Later: the file can't be read.

    """

    path: Path = field(converter=_absolute)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)  # noqa: TID251 - the clock itself
    _table: Table | None = field(default=None, init=False, repr=False)
    _turn: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)

    async def __aenter__(self) -> Self:
        self._table = await asyncio.to_thread(self._opened)
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        if self._table is not None:
            self._table.connection.close()
            self._table = None

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Give a page of all entries, in the order in which they came."""
        page = Page(limit=limit, after=after, steps=steps, batch=batch)
        return await self._read(lambda table: table.entries(page))

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        return await self._read(lambda table: table.counts(batch))

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        return await self._read(lambda table: table.sums(batch))

    async def batch(self, name: str) -> Batch | None:
        """Give a batch by its name."""
        return await self._read(lambda table: table.batch(name))

    async def halted(self) -> Halt | None:
        """Give the halt that holds now."""
        return await self._read(lambda table: Writing(table, self.clock).halted())

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry, the oldest line first."""
        return await self._read(lambda table: table.history(key))

    async def _read(self, act: Callable[[Table], T]) -> T:
        if self._table is None:
            raise Misuse("the reader isn't open: use it with `async with`")
        async with self._turn:
            try:
                return await asyncio.to_thread(act, self._table)
            except sqlite3.Error as error:
                raise unusable(self.path, error) from error

    def _opened(self) -> Table:
        check_there(self.path)
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=ro",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # One thread at a time: `_turn` sees to that.
            )
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        return Table(connection, self.clock)

    def _check(self, connection: sqlite3.Connection) -> None:
        try:
            _ = look(connection, self.path, may_be_new=False)
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
