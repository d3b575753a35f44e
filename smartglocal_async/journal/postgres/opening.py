"""Opens a journal in PostgreSQL: checks the tables, and makes the connections."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from asyncpg import InsufficientPrivilegeError
from attrs import define, field, frozen

from ...errors import JournalUnusable, Misuse, SmartGlocalError
from .connection import DatabaseConnection
from .grants import explained
from .lineage import compare, kept_in, lineage_of
from .schema import Identity, commit_level, create_tables, expect, identify
from .statements import StatementBuilder
from .transaction import transaction
from .writer import PostgresWriter

if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
_OF_PARENTS: "list[OpenJournal]" = []
"""Kept for ever: dropping the connections would close those of the parent process."""


@frozen(kw_only=True)
class JournalSettings:
    """The settings of a journal."""

    dsn: str = field(repr=False)
    schema: str
    name: str
    may_make: bool
    patience_seconds: float
    answer_seconds: float
    clock: Callable[[], float] | None
    fault_point: Callable[[str], None]

    def new_connection(
        self, on_connect: "Callable[[Connection[Any]], Awaitable[None]]"
    ) -> DatabaseConnection:
        """Return a connection object; it connects when it is first used."""
        return DatabaseConnection(self.dsn, self.patience_seconds, self.answer_seconds, on_connect)


@define(eq=False, kw_only=True)
class OpenJournal:
    """The state of an open journal."""

    scope: str
    name: str
    dsn: str = field(repr=False)
    schema: str
    identity: Identity
    writer: PostgresWriter
    reader: DatabaseConnection
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    pid: int = field(factory=os.getpid, init=False)

    @property
    def is_elsewhere(self) -> bool:
        """Whether its connections belong to another process, or to a closed event loop."""
        return os.getpid() != self.pid or self.loop.is_closed()

    def check_place(self) -> None:
        """Raise `Misuse` in another process or event loop than the one that opened it."""
        if os.getpid() != self.pid:
            raise Misuse("the journal was opened before a fork: open one in each process")
        if asyncio.get_running_loop() is not self.loop:
            raise Misuse("the journal was opened in another event loop: open one in each")

    async def read(self, query: "Callable[[Connection[Any]], Awaitable[T]]") -> T:
        """Run a reading query."""
        try:
            return await self.reader.through(query)
        except SmartGlocalError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again without the driver's text, which has values
            failure = await explained(self.dsn, self.schema, self.name, error)
        raise failure

    async def close(self) -> None:
        """Finish the pending jobs, and close the connections."""
        if os.getpid() != self.pid:
            _OF_PARENTS.append(self)
            return
        if self.loop.is_closed():
            self.drop()
            return
        try:
            await self.writer.finish()
            await self.writer.connection.close()
            await self.reader.close()
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Drop the connections without closing them."""
        self.writer.connection.drop()
        self.reader.drop()


async def opened(settings: JournalSettings, scope: str) -> OpenJournal:
    """Connect once, without retries, and check that the tables belong to this journal.

    Raises:
        JournalUnusable: the text says why.

    """
    first = DatabaseConnection(settings.dsn, 0.0, settings.answer_seconds, _nothing)
    try:
        found = await first.through(lambda connection: _check_tables(connection, settings, scope))
    except SmartGlocalError:
        raise
    except Exception as error:  # noqa: BLE001 - raised again without the driver's text, which has values
        failure = await explained(settings.dsn, settings.schema, settings.name, error)
    else:
        return found
    finally:
        await first.close()
    raise failure


async def _check_tables(
    connection: "Connection[Any]", settings: JournalSettings, scope: str
) -> OpenJournal:
    if settings.may_make:
        await create_tables(connection, settings.schema, scope, settings.name)
    else:
        await expect(connection, settings.schema, settings.name)
    identity = await identify(connection, settings.schema, scope, settings.name)
    level = await commit_level(connection)
    await _compare_lineage(connection, settings.schema, level)
    builder = StatementBuilder(settings.schema, settings.clock)

    async def check(connection: "Connection[Any]") -> None:
        again = await identify(connection, settings.schema, scope, settings.name)
        if again != identity:
            words = "is another journal now, without these payouts: find the one that has them"
            raise JournalUnusable(f"{settings.name} {words}")
        await writer.check_connection(connection)

    writer = PostgresWriter(
        name=settings.name,
        connection=settings.new_connection(check),
        builder=builder,
        fault_point=settings.fault_point,
        level=level,
    )
    return OpenJournal(
        scope=scope,
        name=settings.name,
        dsn=settings.dsn,
        schema=settings.schema,
        identity=identity,
        writer=writer,
        reader=settings.new_connection(_set_plans),
    )


async def _compare_lineage(connection: "Connection[Any]", schema: str, level: str) -> None:
    """Compare the server with the stored one, so that readers, too, learn of a halt."""
    found = await lineage_of(connection, schema)
    if found is None or not (await kept_in(connection, schema)).differs(found):
        return
    # A role that may not write can't pay; the next process that may write stores it.
    with suppress(InsufficientPrivilegeError):
        async with transaction(connection, level):
            await compare(connection, schema, found)


async def _set_plans(connection: "Connection[Any]") -> None:
    # A cached plan from when a table was small scans all of it, and would be kept while it grows.
    _ = await connection.execute("SET plan_cache_mode TO force_custom_plan")


async def _nothing(_connection: "Connection[Any]") -> None:
    pass
