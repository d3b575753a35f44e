"""The jobs of a journal: where they lie, what is in them, and how many there are at a time."""

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from attrs import field, frozen
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    Durability,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.domain.models import CronExpressionEntrypoint, Schedule
from pgqueuer.queries import Queries
from pgqueuer.types import Channel

from ...errors import Misuse, SmartGlocalError
from ...journal.entries import Batch, BatchState
from ...journal.postgres.address import name_of
from ...journal.postgres.faults import unusable
from ...journal.postgres.journal import PostgresJournal
from ...journal.scopes import is_same
from .driver import QueueDriver

RUN_CHUNK: Final = "run_chunk"
CHUNK: Final = 500
"""Payouts that a job takes, at most."""
_SMALL_CHUNK: Final = 10
_MOST_SMALL_CHUNKS: Final = 32
"""A small batch has a job for each ten payouts, up to so many, so that all workers have a part in
it. A chunk takes its payouts little by little, so a job too many only finds nothing to take."""
_MOST_JOBS: Final = 200
"""Jobs of a batch that wait or are worked on at a time. The schedule puts in what was worked off,
so that ten million payouts are no twenty thousand jobs, of which a pause would make nothing."""


class _Queries(Queries):
    """PgQueuer's statements, and a schedule that comes back where its table was emptied."""

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
    """Batches that have nothing open any more, as they were then: to look again takes its time."""

    @property
    def channel(self) -> Channel:
        """Where the database tells that there are jobs: a name within the whole database."""
        return self.queries.qbq.settings.channel

    async def put(self, batch: str) -> int:
        """Put in jobs for what can be taken of a batch now; give how many.

        One for each 500 payouts, and more of a small batch. Those that are there already are left
        as they are, and are not counted.
        """
        return await self._put(batch, await self._due(batch))

    async def put_due(self) -> int:
        """Do so for every batch that runs: what was lost, paused, or had to wait, comes again.

        One that is being written down has no number of rows yet, and is left alone.
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
        return await self.journal.count_open(CHUNK * _MOST_JOBS, batch=batch)

    async def _put(self, batch: str, due: int) -> int:
        count = max(-(-due // CHUNK), min(-(-due // _SMALL_CHUNK), _MOST_SMALL_CHUNKS))
        if not count:
            return 0
        payload = json.dumps({"scope": self.journal.scope, "batch": batch}).encode()
        keys = [f"{self.journal.schema}/{shard}/{batch}" for shard in range(count)]
        with _told_as_ours(self.journal):
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
    lost: Callable[[SmartGlocalError], None] = lambda _error: None,
) -> AsyncGenerator[Jobs]:
    """Give the jobs of an open journal; their tables are made where they are missing.

    Raises:
        JournalUnusable: the database can't be reached, or refuses.

    """
    settings = _settings(journal.schema)
    driver = QueueDriver(journal, is_over, lost)
    queries = _Queries(
        driver,
        qbe=QueryBuilderEnvironment(settings),
        qbq=QueryQueueBuilder(settings),
        qbs=QuerySchedulerBuilder(settings),
    )
    try:
        # It locks, adds what is missing, and leaves what is there: any number may do it at once.
        with _told_as_ours(journal):
            _ = await queries.apply_upgrade()
        yield Jobs(journal, driver, queries)
    finally:
        await driver.close()


async def enqueue_batch(journal: PostgresJournal, batch: str) -> int:
    """Put jobs into the queue for what is open of a batch; give how many are new.

    `Payouts.submit` wrote it, over the same journal, which is open. Twice does no harm. Whoever
    dies before he comes here loses nothing: the workers' schedule finds what has no job.

    Raises:
        JournalUnusable: the database can't be reached, or refuses.

    """
    async with jobs_of(journal) as jobs:
        return await jobs.put(batch)


def batch_in(payload: bytes | None, scope: str) -> str:
    """Give the batch that a job is for.

    Raises:
        Misuse: it is for another scope, or for nothing that we know.

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
def _told_as_ours(journal: PostgresJournal) -> Generator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - told without the driver's text, which has values
        # Whoever reads of a journal without a table looks for payouts that are lost.
        place = name_of(journal.dsn, journal.schema)
        raise unusable(f"the queue, which holds no payout, beside {place}", error) from None


def _settings(schema: str) -> DBSettings:
    """Give names that no variable of the environment changes: all workers must agree on them.

    The usual ones, in the journal's schema, so that PgQueuer's own tools find them there.
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
