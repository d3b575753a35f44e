"""A connection to the database, made anew when it was lost."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from attrs import define, field

from .address import application_in
from .faults import is_lost, is_passing

if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
_CONNECT_SECONDS: Final = 10.0
_FIRST_WAIT_SECONDS: Final = 0.05
_LONGEST_WAIT_SECONDS: Final = 1.0


def _waits() -> Iterator[float]:
    wait = _FIRST_WAIT_SECONDS
    while True:
        yield wait
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


@define(eq=False)
class Link:
    """One connection for one user of it at a time."""

    dsn: str = field(repr=False)
    patience_seconds: float
    """How long it is tried again to reach a database that is gone."""
    answer_seconds: float
    """How long an answer may take before the connection counts as lost."""
    look: "Callable[[Connection[Any]], Awaitable[None]]"
    """Done on every new connection, before it is used."""
    _connection: "Connection[Any] | None" = field(default=None, init=False, repr=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)

    async def through(self, work: "Callable[[Connection[Any]], Awaitable[T]]") -> T:
        """Do something that may be done again, because nothing of it stays when it fails."""
        loop = asyncio.get_running_loop()
        # Those who stand in line wait for the same database, and not one after the other.
        ends = loop.time() + self.patience_seconds
        async with self._lock:
            for wait in _waits():
                try:
                    return await work(await self._connected())
                except Exception as error:
                    if is_lost(error):
                        self.drop()
                    elif not is_passing(error):
                        raise
                    if loop.time() + wait > ends:
                        raise
                await asyncio.sleep(wait)
        raise AssertionError

    def drop(self) -> None:
        """Let the connection go as it is; the next one is another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # An event loop that is closed took it along.
            with contextlib.suppress(RuntimeError):
                connection.terminate()

    async def close(self) -> None:
        """Let the connection go in good order."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                await connection.close(timeout=self.answer_seconds)
            except Exception:  # noqa: BLE001 - it is gone, one way or the other
                connection.terminate()

    async def _connected(self) -> "Connection[Any]":
        if self._connection is not None:
            return self._connection
        connection = await asyncpg.connect(
            self.dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=self.answer_seconds,
            # None is prepared anew while it holds locks.
            max_cached_statement_lifetime=0,
            server_settings={"application_name": application_in(self.dsn)},
        )
        try:
            await self.look(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection
