"""The jobs of a batch in PgQueuer, and a database driver that reconnects.

`Jobs` adds jobs for the payouts that are due; `QueueDriver` replaces PgQueuer's own driver.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self, TypeVar

from attrs import define, field, frozen
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    Durability,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.models import CronExpressionEntrypoint, Schedule
from pgqueuer.ports.driver import NotifyCallback
from pgqueuer.queries import Queries
from pgqueuer.types import Channel

from ...errors import Misuse, SmartGlocalError
from ...journal.entries import Batch, BatchState
from ...journal.postgres.address import name_of, without_schema
from ...journal.postgres.connection import DatabaseConnection, is_lost, unusable
from ...journal.postgres.journal import PostgresJournal
from ...journal.rows import is_same

T = TypeVar("T")
_RECONNECT_SECONDS: Final = 1.0
"""How long one attempt to connect may take; then ``on_lost`` is called, and it is tried again."""
_INITIAL_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 5.0


@define(eq=False)
class QueueDriver:
    """A database driver for PgQueuer that reconnects; PgQueuer's own ends with its connection.

    A statement may run twice after a reconnect. That is safe, as the journal alone decides what a
    job may pay.
    """

    journal: PostgresJournal
    is_over: Callable[[], bool]
    """Returns whether to give up on a lost connection, instead of reconnecting."""
    on_lost: Callable[[SmartGlocalError], None]
    """Called once each time that the connection is lost."""
    shutdown: asyncio.Event = field(factory=asyncio.Event, init=False)
    tm: TaskManager = field(factory=TaskManager, init=False)
    _listeners: list[tuple[str, NotifyCallback]] = field(
        factory=list[tuple[str, NotifyCallback]], init=False
    )
    _connection: DatabaseConnection = field(init=False)

    def __attrs_post_init__(self) -> None:
        dsn, seconds = without_schema(self.journal.dsn), self.journal.answer_seconds
        self._connection = DatabaseConnection(dsn, _RECONNECT_SECONDS, seconds, self._listen)

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Return the rows of a statement."""
        rows = await self._through(lambda connection: connection.fetch(query, *args))
        return [dict(row) for row in rows]

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._through(lambda connection: connection.execute(query, *args))

    async def notify(self, channel: str, payload: str) -> None:
        """Send a notification to all listeners of a channel."""
        _ = await self.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Call ``callback`` for every notification, on this connection and after a reconnect."""

        async def listen(connection: Any) -> None:  # noqa: ANN401 - the driver's own
            if (channel, callback) not in self._listeners:
                self._listeners.append((channel, callback))
                await connection.add_listener(channel, _listener(callback))

        await self._through(listen)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Keep the connection open, as PgQueuer enters this context twice; see `close`."""

    async def _listen(self, connection: Any) -> None:  # noqa: ANN401 - the driver's own
        for channel, callback in self._listeners:
            await connection.add_listener(channel, _listener(callback))

    async def _through(self, work: Callable[[Any], Awaitable[T]]) -> T:
        delay, is_reported = _INITIAL_DELAY_SECONDS, False
        while True:
            try:
                return await self._connection.through(work)
            except Exception as error:
                if not is_lost(error) or self.is_over():
                    raise
                if not is_reported:
                    is_reported = True
                    self.on_lost(unusable(name_of(self.journal.dsn, self.journal.schema), error))
            await asyncio.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY_SECONDS)


def _listener(callback: NotifyCallback) -> Callable[[object, object, object, object], None]:
    def listener(_connection: object, _pid: object, _channel: object, payload: object) -> None:
        if isinstance(payload, str):
            callback(payload)

    return listener


RUN_CHUNK: Final = "run_chunk"
CHUNK: Final = 500
"""Most payouts of one job."""
_SMALL_CHUNK: Final = 10
_MAX_SMALL_CHUNKS: Final = 32
"""A small batch has a job for each ten payouts, up to this many, so that all workers take part. A
job takes its payouts little by little, so that one job too many only finds nothing to take."""
_MAX_JOBS: Final = 200
"""Most jobs of a batch that wait or run at a time. The schedule adds jobs as others finish, so that
ten million payouts don't become twenty thousand jobs at once, which a pause would waste."""


class _RestoringQueries(Queries):
    """PgQueuer's statements; the schedule is added again if its table was emptied."""

    async def fetch_schedule(
        self, entrypoints: "dict[CronExpressionEntrypoint, Any]"
    ) -> list[Schedule]:
        await self.insert_schedule(entrypoints)
        return await super().fetch_schedule(entrypoints)


@frozen(eq=False)
class Jobs:
    """The jobs of one journal, in tables of its own schema."""

    journal: PostgresJournal
    driver: QueueDriver
    queries: Queries
    _settled: dict[str, Batch] = field(factory=dict[str, Batch], init=False)
    """Batches without open payouts, which are skipped until they change, as the check is slow."""

    @property
    def channel(self) -> Channel:
        """Channel on which the database notifies of jobs: a name within the whole database."""
        return self.queries.qbq.settings.channel

    async def put(self, batch: str) -> int:
        """Add jobs for the payouts of a batch that are due; return how many are new.

        One job for each 500 payouts, and more for a small batch. Jobs that exist already stay as
        they are, and aren't counted.
        """
        return await self._put(batch, await self._due(batch))

    async def put_due(self) -> int:
        """Add jobs for every running batch: for jobs that were lost, and payouts due again.

        A batch that is still being stored has no number of rows yet, and is skipped.
        """
        if await self.journal.halted() is not None:
            return 0
        made = 0
        for batch in await self.journal.batches():
            is_running = batch.state is BatchState.RUNNING and batch.rows > 0
            if not is_running or self._settled.get(batch.name) == batch:
                continue
            if due := await self._due(batch.name):
                made += await self._put(batch.name, due)
            elif not await self.journal.count_open(1, batch=batch.name, is_due=False):
                self._settled[batch.name] = batch
        return made

    async def _due(self, batch: str) -> int:
        return await self.journal.count_open(CHUNK * _MAX_JOBS, batch=batch)

    async def _put(self, batch: str, due: int) -> int:
        count = max(-(-due // CHUNK), min(-(-due // _SMALL_CHUNK), _MAX_SMALL_CHUNKS))
        if not count:
            return 0
        payload = json.dumps({"scope": self.journal.scope, "batch": batch}).encode()
        keys = [f"{self.journal.schema}/{shard}/{batch}" for shard in range(count)]
        with _as_journal_unusable(self.journal):
            made = await self.queries.enqueue(
                [RUN_CHUNK] * count,
                [payload] * count,
                [0] * count,
                dedupe_key=list(keys),
                on_conflict="skip",
            )
        return sum(job is not None for job in made)


@asynccontextmanager
async def jobs_of(
    journal: PostgresJournal,
    *,
    is_over: Callable[[], bool] = lambda: True,
    on_lost: Callable[[SmartGlocalError], None] = lambda _error: None,
) -> AsyncGenerator[Jobs]:
    """Open the jobs of an open journal; creates their tables if they are missing.

    Raises:
        JournalUnusable: the database can't be reached, or refuses.

    """
    settings = _settings(journal.schema)
    driver = QueueDriver(journal, is_over, on_lost)
    queries = _RestoringQueries(
        driver,
        qbe=QueryBuilderEnvironment(settings),
        qbq=QueryQueueBuilder(settings),
        qbs=QuerySchedulerBuilder(settings),
    )
    try:
        # It takes a lock and adds only what is missing, so that many workers may do it at once.
        with _as_journal_unusable(journal):
            _ = await queries.apply_upgrade()
        yield Jobs(journal, driver, queries)
    finally:
        await driver.close()


async def enqueue_batch(journal: PostgresJournal, batch: str) -> int:
    """Add jobs for the open payouts of a batch; return how many are new.

    `Payouts.submit` stored the batch in the same journal, which must be open. Calling this twice
    is harmless. If the process dies before this call, the workers' schedule adds the jobs.

    Raises:
        JournalUnusable: the database can't be reached, or refuses.

    """
    async with jobs_of(journal) as jobs:
        return await jobs.put(batch)


def batch_in(payload: bytes | None, scope: str) -> str:
    """Return the batch that a job is for.

    Raises:
        Misuse: the job is for another scope, or wasn't added by this module.

    """
    try:
        job: Any = json.loads(payload or b"")
        theirs, batch = job["scope"], job["batch"]
    except (ValueError, TypeError, KeyError):
        raise Misuse("a job without a scope and a batch: nothing here put it in") from None
    if not is_same(str(theirs), scope):
        raise Misuse(f"a job is for {theirs}, and this worker is for {scope}")
    return str(batch)


@contextmanager
def _as_journal_unusable(journal: PostgresJournal) -> Generator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised without the driver's text, which has values
        # Not as a missing table of the journal, which would mean that payouts are lost.
        place = name_of(journal.dsn, journal.schema)
        raise unusable(f"the queue, which holds no payout, beside {place}", error) from None


def _settings(schema: str) -> DBSettings:
    """Return PgQueuer's usual names, in the journal's schema, where its own tools find them.

    Written out, so that no environment variable changes them: all workers must use the same ones.
    """
    return DBSettings(
        prefix="",
        db_schema=schema,
        channel=Channel(f"ch_pgqueuer_{schema}"),
        function="fn_pgqueuer_changed",
        statistics_table="pgqueuer_statistics",
        queue_status_type="pgqueuer_status",
        queue_table="pgqueuer",
        queue_table_log="pgqueuer_log",
        trigger="tg_pgqueuer_changed",
        schedules_table="pgqueuer_schedules",
        durability=Durability.durable,
        widen_id=True,
    )
