"""A worker: takes jobs, pays what they name, and keeps all of its places filled."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from attrs import define, field
from pgqueuer.applications import PgQueuer
from pgqueuer.models import Job, Schedule
from pgqueuer.types import QueueExecutionMode

from ...errors import Refused, SmartGlocalError, WrongSeal
from ...journal.limits import BEAT_SECONDS
from ...journal.postgres.journal import PostgresJournal
from ...payouts.orders import PayoutOutcome
from ...payouts.payouts import Payouts
from ...values.exactness import above_zero
from .jobs import CHUNK, RUN_CHUNK, Jobs, batch_in, jobs_of

EVERY: Final = "* * * * * */5"
"""When somebody looks for what has no job: every five seconds, one of all workers."""
_JOBS: Final = 2
"""At once: one comes to its end while the other fills the places; more are kept from others."""
_HEARTBEAT: Final = timedelta(seconds=10)
"""After so long without a sign its jobs are others'. The journal's leases, which last longer, keep
them off what it is at; and whoever only slept finds them gone, and does no harm."""
_LOOK: Final = timedelta(seconds=10)
"""How often it looks for jobs that nobody told of."""
_BUSY_LOOK: Final = timedelta(seconds=1)
_FIRST_REST_SECONDS: Final = 1.0
_LONGEST_REST_SECONDS: Final = 30.0
_LEAVE_SECONDS: Final = 2.0


def _unheard(_error: SmartGlocalError) -> None:
    pass


def _uncounted(_outcome: PayoutOutcome) -> None:
    pass


class Worker(PgQueuer):
    """PgQueuer over the jobs of one journal; ``run`` it, or have ``pgq run`` do that.

    Set ``shutdown``, and it takes nothing more; what is out is finished and written. Cancelled, it
    ends at once. A database that is gone is waited for. While it runs, it says every 3 seconds in
    the journal that it is alive (`PostgresJournal.workers`).
    """

    bench: "Bench"

    async def run(
        self,
        *_given: object,
        mode: QueueExecutionMode = QueueExecutionMode.continuous,
        **_options: object,
    ) -> None:
        """Work until ``shutdown`` is set.

        How many jobs it takes, and how long it may be silent, isn't left to ``pgq run``: whoever
        takes more than he works on keeps them from others.

        Raises:
            Refused: our credentials are refused; what was begun stays open.
            WrongSeal: a request was sealed with a key that isn't given.

        """
        self.qm.min_dequeue_poll_interval = _BUSY_LOOK
        beside = [asyncio.ensure_future(one) for one in (self._heed(), self._beat())]
        working = asyncio.ensure_future(
            super().run(
                dequeue_timeout=_LOOK,
                batch_size=1,
                max_concurrent_tasks=_JOBS,
                heartbeat_timeout=_HEARTBEAT,
                mode=mode,
            )
        )
        try:
            _ = await asyncio.wait([working])
        except asyncio.CancelledError:
            # PgQueuer alone would wait for its jobs.
            _ = working.cancel()
            self.bench.abandon()
            _ = await asyncio.wait([working])
            raise
        finally:
            for one in beside:
                _ = one.cancel()
        _ = await asyncio.wait(beside)
        await self._leave()
        working.result()
        if self.bench.ended_by is not None:
            raise self.bench.ended_by

    async def _heed(self) -> None:
        _ = await self.shutdown.wait()
        self.bench.payouts.stop("the worker was told to stop")

    async def _beat(self) -> None:
        journal, owner = self.bench.jobs.journal, self.bench.payouts.owner
        while True:
            # A database that is gone, or gives no right to that, is no reason to pay nothing.
            with suppress(SmartGlocalError):
                await journal.beat(owner)
            await asyncio.sleep(BEAT_SECONDS)

    async def _leave(self) -> None:
        with suppress(SmartGlocalError, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.bench.jobs.journal.leave(self.bench.payouts.owner)


@define(eq=False)
class Bench:
    """Where the jobs of one worker are done."""

    payouts: Payouts
    jobs: Jobs
    concurrency: int
    told: Callable[[PayoutOutcome], None]
    failed: Callable[[SmartGlocalError], None]
    shutdown: Callable[[], asyncio.Event]
    places: asyncio.Semaphore = field(init=False)
    ended_by: SmartGlocalError | None = field(default=None, init=False)
    """What no other job would fare better with."""
    _at_work: set[asyncio.Task[object]] = field(factory=set[asyncio.Task[object]], init=False)
    _rest_seconds: float = field(default=_FIRST_REST_SECONDS, init=False)

    def __attrs_post_init__(self) -> None:
        self.places = asyncio.Semaphore(self.concurrency)

    async def run_chunk(self, job: Job) -> None:
        """Pay some of what a job names; where others did, or it was paused, nothing."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._at_work.add(task)
        try:
            await self._pay(batch_in(job.payload, self.jobs.journal.scope))
        except (Refused, WrongSeal) as error:
            self.ended_by = self.ended_by or error
            self.shutdown().set()
            raise
        except SmartGlocalError as error:
            # PgQueuer lets the job go, and the schedule puts in another where it is worth while.
            self.failed(error)
            await self._rest()
            raise
        finally:
            self._at_work.discard(task)

    def abandon(self) -> None:
        """End what is under way at once; the journal has it."""
        for task in self._at_work:
            _ = task.cancel()

    async def look(self, _schedule: Schedule) -> None:
        """Put in jobs for what has none."""
        try:
            _ = await self.jobs.put_due()
        except SmartGlocalError as error:
            self.failed(error)

    async def _pay(self, batch: str) -> None:
        chunk = self.payouts.run_chunk(
            batch, limit=CHUNK, concurrency=self.concurrency, places=self.places
        )
        async with aclosing(chunk) as outcomes:
            async for outcome in outcomes:
                self._rest_seconds = _FIRST_REST_SECONDS
                self.told(outcome)

    async def _rest(self) -> None:
        """Wait for a while: whoever can't pay must not run through the jobs of others."""
        seconds = self._rest_seconds
        self._rest_seconds = min(2 * seconds, _LONGEST_REST_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                _ = await self.shutdown().wait()


@asynccontextmanager
async def worker_of(  # noqa: PLR0913 - settings, all named, all with a default
    payouts: Payouts,
    journal: PostgresJournal,
    *,
    concurrency: int = 64,
    every: str = EVERY,
    told: Callable[[PayoutOutcome], None] = _uncounted,
    failed: Callable[[SmartGlocalError], None] = _unheard,
) -> AsyncGenerator[Worker]:
    """Give a worker over payouts that are open, which it stops when it is told to stop.

    ``concurrency`` is that of all its jobs together. ``every`` says, in the words of cron, when one
    of all workers looks for payouts without a job: one was lost, the queue's tables were emptied,
    a pause ended, a wait is over. ``told`` hears of every outcome, ``failed`` of what ended a job
    early, and of a database that is gone; what ends the worker is raised by its ``run``.

    Raises:
        InvalidRequest: a concurrency that makes no sense.
        JournalUnusable: the database can't be reached, or refuses.

    """
    above_zero("concurrency", concurrency, whole=True)
    made: list[Worker] = []

    def is_over() -> bool:
        return not made or made[0].shutdown.is_set()

    async with jobs_of(journal, is_over=is_over, lost=failed) as jobs:
        worker = Worker(connection=jobs.driver, channel=jobs.channel, queries=jobs.queries)
        made.append(worker)
        # PgQueuer's command line puts another event in the place of this one.
        bench = Bench(payouts, jobs, concurrency, told, failed, lambda: worker.shutdown)
        worker.bench = bench
        _ = worker.entrypoint(RUN_CHUNK)(bench.run_chunk)
        _ = worker.schedule("enqueue_due", every)(bench.look)
        yield worker
