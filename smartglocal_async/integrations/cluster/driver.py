"""The connection under the queue: made anew when it was lost, for as long as it is wanted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self, TypeVar

from attrs import define, field
from pgqueuer.core.tm import TaskManager
from pgqueuer.ports.driver import NotifyCallback

from ...errors import SmartGlocalError
from ...journal.postgres.address import name_of, without_schema
from ...journal.postgres.faults import is_lost, unusable
from ...journal.postgres.journal import PostgresJournal
from ...journal.postgres.link import Link

T = TypeVar("T")
_PATIENCE_SECONDS: Final = 1.0
"""After that somebody is told, and it is tried again."""
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 5.0


@define(eq=False)
class QueueDriver:
    """What PgQueuer asks of a database, in the place of its own driver, which ends with its server.

    Whatever it asks for may be done twice: what a job may pay is decided by the journal alone.
    """

    journal: PostgresJournal
    is_over: Callable[[], bool]
    """Whether nobody waits any more for a database that is gone."""
    lost: Callable[[SmartGlocalError], None]
    """Told once of each time that it is gone."""
    shutdown: asyncio.Event = field(factory=asyncio.Event, init=False)
    tm: TaskManager = field(factory=TaskManager, init=False)
    _listeners: list[tuple[str, NotifyCallback]] = field(
        factory=list[tuple[str, NotifyCallback]], init=False
    )
    _link: Link = field(init=False)

    def __attrs_post_init__(self) -> None:
        dsn, seconds = without_schema(self.journal.dsn), self.journal.answer_seconds
        self._link = Link(dsn, _PATIENCE_SECONDS, seconds, self._listen)

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Give the rows of a statement."""
        rows = await self._through(lambda connection: connection.fetch(query, *args))
        return [dict(row) for row in rows]

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._through(lambda connection: connection.execute(query, *args))

    async def notify(self, channel: str, payload: str) -> None:
        """Send a notice to all who listen."""
        _ = await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Have every notice told, on this connection and on those that take its place."""

        async def listen(connection: Any) -> None:  # noqa: ANN401 - the driver's own
            if (channel, callback) not in self._listeners:
                self._listeners.append((channel, callback))
                await connection.add_listener(channel, _told_to(callback))

        await self._through(listen)

    async def close(self) -> None:
        """Let the connection go."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Leave the connection to whoever made this: PgQueuer enters twice."""

    async def _listen(self, connection: Any) -> None:  # noqa: ANN401 - the driver's own
        for channel, callback in self._listeners:
            await connection.add_listener(channel, _told_to(callback))

    async def _through(self, work: Callable[[Any], Awaitable[T]]) -> T:
        wait, is_told = _FIRST_WAIT_SECONDS, False
        while True:
            try:
                return await self._link.through(work)
            except Exception as error:
                if not is_lost(error) or self.is_over():
                    raise
                if not is_told:
                    is_told = True
                    self.lost(unusable(name_of(self.journal.dsn, self.journal.schema), error))
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _told_to(callback: NotifyCallback) -> Callable[[object, object, object, object], None]:
    def told(_connection: object, _pid: object, _channel: object, payload: object) -> None:
        if isinstance(payload, str):
            callback(payload)

    return told
