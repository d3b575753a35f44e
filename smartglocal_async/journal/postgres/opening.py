"""A journal in PostgreSQL while it is open: the connections that write and that read."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field, frozen

from ...errors import JournalUnusable, Misuse, SmartGlocalError
from .drafting import Drafting
from .faults import unusable
from .link import Link
from .schema import Identity, commit_level, expect, identify, lay_out
from .writer import Writer

if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
_OF_PARENTS: "list[Opened]" = []
"""Kept for ever: a connection that is thrown away would end its parent's conversation."""


@frozen(kw_only=True)
class Setting:
    """What a journal was told."""

    dsn: str = field(repr=False)
    schema: str
    name: str
    may_make: bool
    patience_seconds: float
    answer_seconds: float
    clock: Callable[[], float] | None
    fault_point: Callable[[str], None]

    def link(self, look: "Callable[[Connection[Any]], Awaitable[None]]") -> Link:
        """Give a connection that isn't made yet."""
        return Link(self.dsn, self.patience_seconds, self.answer_seconds, look)


@define(eq=False, kw_only=True)
class Opened:
    """What an open journal holds."""

    scope: str
    name: str
    identity: Identity
    writer: Writer
    reader: Link
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    pid: int = field(factory=os.getpid, init=False)

    @property
    def is_elsewhere(self) -> bool:
        """Whether its connections are another process's, or went with their event loop."""
        return os.getpid() != self.pid or self.loop.is_closed()

    def check_place(self) -> None:
        """Raise `Misuse` in another process or event loop than the one that opened it."""
        if os.getpid() != self.pid:
            raise Misuse("the journal was opened before a fork: open one in each process")
        if asyncio.get_running_loop() is not self.loop:
            raise Misuse("the journal was opened in another event loop: open one in each")

    async def ask(self, question: "Callable[[Connection[Any]], Awaitable[T]]") -> T:
        """Ask something that changes nothing."""
        try:
            return await self.reader.through(question)
        except SmartGlocalError:
            raise
        except Exception as error:  # noqa: BLE001 - told without the driver's text, which has values
            told = unusable(self.name, error)
        raise told

    async def close(self) -> None:
        """Finish what was asked for, and let the connections go."""
        if os.getpid() != self.pid:
            _OF_PARENTS.append(self)
            return
        if self.loop.is_closed():
            self.drop()
            return
        try:
            await self.writer.finish()
            await self.writer.link.close()
            await self.reader.close()
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Let the connections go as they are."""
        self.writer.link.drop()
        self.reader.drop()


async def opened(setting: Setting, scope: str) -> Opened:
    """Connect once, without patience, and see that the tables are this journal's.

    Raises:
        JournalUnusable: the text says why.

    """
    first = Link(setting.dsn, 0.0, setting.answer_seconds, _nothing)
    try:
        found = await first.through(lambda connection: _met(connection, setting, scope))
    except SmartGlocalError:
        raise
    except Exception as error:  # noqa: BLE001 - told without the driver's text, which has values
        told = unusable(setting.name, error)
    else:
        return found
    finally:
        await first.close()
    raise told


async def _met(connection: "Connection[Any]", setting: Setting, scope: str) -> Opened:
    if setting.may_make:
        await lay_out(connection, setting.schema, scope, setting.name)
    else:
        await expect(connection, setting.schema, setting.name)
    identity = await identify(connection, setting.schema, scope, setting.name)
    drafting = Drafting(setting.schema, setting.clock)

    async def look(connection: "Connection[Any]") -> None:
        again = await identify(connection, setting.schema, scope, setting.name)
        if again != identity:
            words = "is another journal by now, without these payouts: find the one that has them"
            raise JournalUnusable(f"{setting.name} {words}")
        await writer.look(connection)

    writer = Writer(
        name=setting.name,
        link=setting.link(look),
        drafting=drafting,
        fault_point=setting.fault_point,
        level=await commit_level(connection),
    )
    return Opened(
        scope=scope,
        name=setting.name,
        identity=identity,
        writer=writer,
        reader=setting.link(_plans),
    )


async def _plans(connection: "Connection[Any]") -> None:
    # A plan that was made while a table was small walks all of it, and is kept while it grows.
    _ = await connection.execute("SET plan_cache_mode TO force_custom_plan")


async def _nothing(_connection: "Connection[Any]") -> None:
    pass
