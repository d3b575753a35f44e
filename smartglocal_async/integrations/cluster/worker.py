"""A worker: takes jobs and runs the payouts of their batches, up to its concurrency."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from attrs import define, field
from pgqueuer.applications import PgQueuer
from pgqueuer.models import Job, Schedule
from pgqueuer.types import QueueExecutionMode

from ...client import SmartGlocal
from ...encryption import KEY_VARIABLE, RequestCipher
from ...errors import (
    InvalidCredentials,
    JournalMisconfigured,
    Refused,
    SmartGlocalError,
    WrongJournalKey,
)
from ...journal.limits import BEAT_SECONDS
from ...journal.postgres.journal import PostgresJournal
from ...models.validators import above_zero
from ...payouts.orders import PayoutOutcome
from ...payouts.payouts import Payouts
from ...payouts.protocol import Mode
from .jobs import CHUNK, RUN_CHUNK, Jobs, batch_in, jobs_of

EVERY: Final = "* * * * * */5"
"""When jobs are added for due payouts that have none: every five seconds, by one of all workers."""
_JOBS: Final = 2
"""Jobs at a time: while one finishes, the other uses its free places. Any more jobs would only be
withheld from other workers."""
_HEARTBEAT: Final = timedelta(seconds=10)
"""After this time without a heartbeat, other workers take its jobs. The journal's leases last
longer and protect the payouts in progress; a worker that was only suspended finds its jobs taken.
"""
_POLL: Final = timedelta(seconds=10)
"""How often it polls for jobs without a notification."""
_BUSY_POLL: Final = timedelta(seconds=1)
_INITIAL_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 30.0
_LEAVE_SECONDS: Final = 2.0


def _ignore_error(_error: SmartGlocalError) -> None:
    pass


def _ignore_outcome(_outcome: PayoutOutcome) -> None:
    pass


class ClusterWorker(PgQueuer):
    """PgQueuer over the jobs of one journal; call ``run``, or use ``pgq run``.

    Once ``shutdown`` is set, it takes no more payouts, and finishes and stores those in progress.
    When it is cancelled, it ends at once. If the database can't be reached, it waits. While it
    runs, it records every 3 seconds in the journal that it is alive (`PostgresJournal.workers`).
    """

    runner: "JobRunner"

    async def run(
        self,
        *_given: object,
        mode: QueueExecutionMode = QueueExecutionMode.continuous,
        **_options: object,
    ) -> None:
        """Work until ``shutdown`` is set.

        The number of jobs and the heartbeat are set here and not by ``pgq run``: a worker that
        takes more jobs than it works on keeps them from other workers.

        Raises:
            Refused: the credentials are refused; payouts in progress stay open.
            JournalMisconfigured: the database refuses this user, or a right was revoked.
            WrongJournalKey: a request was encrypted with another key.

        """
        self.qm.min_dequeue_poll_interval = _BUSY_POLL
        background = [
            asyncio.ensure_future(one) for one in (self._stop_on_shutdown(), self._beat())
        ]
        working = asyncio.ensure_future(
            super().run(
                dequeue_timeout=_POLL,
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
            self.runner.abandon()
            _ = await asyncio.wait([working])
            raise
        finally:
            for one in background:
                _ = one.cancel()
        _ = await asyncio.wait(background)
        await self._leave()
        working.result()
        if self.runner.ended_by is not None:
            raise self.runner.ended_by

    async def _stop_on_shutdown(self) -> None:
        _ = await self.shutdown.wait()
        self.runner.payouts.stop("the worker was stopped")

    async def _beat(self) -> None:
        journal, owner = self.runner.jobs.journal, self.runner.payouts.owner
        while True:
            # Payouts go on even if the database is gone or doesn't allow this.
            with suppress(SmartGlocalError):
                await journal.beat(owner)
            await asyncio.sleep(BEAT_SECONDS)

    async def _leave(self) -> None:
        with suppress(SmartGlocalError, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.runner.jobs.journal.leave(self.runner.payouts.owner)


@define(eq=False)
class JobRunner:
    """Runs the jobs of one worker."""

    payouts: Payouts
    jobs: Jobs
    concurrency: int
    on_outcome: Callable[[PayoutOutcome], None]
    on_error: Callable[[SmartGlocalError], None]
    shutdown: Callable[[], asyncio.Event]
    places: asyncio.Semaphore = field(init=False)
    ended_by: SmartGlocalError | None = field(default=None, init=False)
    """The error that ended the worker; it would end every other job, too."""
    _at_work: set[asyncio.Task[object]] = field(factory=set[asyncio.Task[object]], init=False)
    _pause_seconds: float = field(default=_INITIAL_PAUSE_SECONDS, init=False)

    def __attrs_post_init__(self) -> None:
        self.places = asyncio.Semaphore(self.concurrency)

    async def run_chunk(self, job: Job) -> None:
        """Run some payouts of a job's batch; none if it is paused or others have done them."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._at_work.add(task)
        try:
            await self._pay(batch_in(job.payload, self.jobs.journal.scope))
        except (Refused, JournalMisconfigured, WrongJournalKey) as error:
            self.ended_by = self.ended_by or error
            self.shutdown().set()
            raise
        except SmartGlocalError as error:
            # PgQueuer drops the job; the schedule adds another one if payouts are still due.
            self.on_error(error)
            await self._pause()
            raise
        finally:
            self._at_work.discard(task)

    def abandon(self) -> None:
        """Cancel the running jobs; their payouts are in the journal."""
        for task in self._at_work:
            _ = task.cancel()

    async def add_due_jobs(self, _schedule: Schedule) -> None:
        """Add jobs for the payouts that are due and have none."""
        try:
            _ = await self.jobs.put_due()
        except SmartGlocalError as error:
            self.on_error(error)

    async def _pay(self, batch: str) -> None:
        chunk = self.payouts.run_chunk(
            batch, limit=CHUNK, concurrency=self.concurrency, places=self.places
        )
        async with aclosing(chunk) as outcomes:
            async for outcome in outcomes:
                self._pause_seconds = _INITIAL_PAUSE_SECONDS
                self.on_outcome(outcome)

    async def _pause(self) -> None:
        """Wait: a worker that can't pay must not use up the jobs that others could do."""
        seconds = self._pause_seconds
        self._pause_seconds = min(2 * seconds, _MAX_PAUSE_SECONDS)
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
    on_outcome: Callable[[PayoutOutcome], None] = _ignore_outcome,
    on_error: Callable[[SmartGlocalError], None] = _ignore_error,
) -> AsyncGenerator[ClusterWorker]:
    """Open a worker; it begins no more of these ``payouts`` when its ``shutdown`` is set.

    ``concurrency`` is the number of payouts at a time, in all its jobs together. ``every``, in cron
    syntax, is when one of all workers adds jobs for due payouts that have none: a job was lost, the
    queue's tables were emptied, a pause ended, or a wait is over. ``on_outcome`` is called with
    every outcome; ``on_error`` with an error that ended a job early, and when the database can't be
    reached. An error that ends the worker is raised by its ``run``.

    Raises:
        InvalidRequest: the concurrency isn't a whole number above zero.
        JournalUnusable: the database can't be reached, or refuses.

    """
    above_zero("concurrency", concurrency, whole=True)
    workers: list[ClusterWorker] = []

    def is_over() -> bool:
        return not workers or workers[0].shutdown.is_set()

    async with jobs_of(journal, is_over=is_over, on_lost=on_error) as jobs:
        worker = ClusterWorker(connection=jobs.driver, channel=jobs.channel, queries=jobs.queries)
        workers.append(worker)
        # PgQueuer's command line replaces the event, so that it is read anew each time.
        runner = JobRunner(
            payouts, jobs, concurrency, on_outcome, on_error, lambda: worker.shutdown
        )
        worker.runner = runner
        _ = worker.entrypoint(RUN_CHUNK)(runner.run_chunk)
        _ = worker.schedule("enqueue_due", every)(runner.add_due_jobs)
        yield worker


_JOURNAL: Final = "SMARTGLOCAL_JOURNAL"
_CONCURRENCY: Final = "SMARTGLOCAL_CONCURRENCY"
_CONFIRM: Final = "SMARTGLOCAL_CONFIRM"
_MODES: Final[Mapping[str, Mode]] = {"manual": Mode.MANUAL, "automatic": Mode.AUTOMATIC}


@asynccontextmanager
async def create_worker() -> AsyncGenerator[ClusterWorker]:
    """Open a worker that is set up by environment variables.

    ``pgq run smartglocal_async.integrations.cluster:create_worker`` runs it, and so does
    ``pgqueuer.run`` in a program.
    ``SMARTGLOCAL_JOURNAL`` is the address of the journal, ``SMARTGLOCAL_JOURNAL_KEY`` the key that
    encrypts its requests. Further variables are those of `SmartGlocal.from_env`,
    ``SMARTGLOCAL_CONCURRENCY`` (default 64), and ``SMARTGLOCAL_CONFIRM``, manual or automatic.

    Raises:
        InvalidCredentials: a variable is missing or can't be used; the text names it.
        JournalUnusable: the journal can't be opened.

    """
    journal = PostgresJournal(_required(_JOURNAL, "the address of the journal, as postgres://..."))
    _ = _required(KEY_VARIABLE, "the key that encrypts the requests in the journal")
    mode, concurrency = _mode(), _concurrency()
    async with (
        SmartGlocal.from_env() as client,
        Payouts(client, journal, mode=mode, cipher=RequestCipher.from_env()) as payouts,
        worker_of(payouts, journal, concurrency=concurrency) as worker,
    ):
        yield worker


def _required(name: str, what: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InvalidCredentials(f"{name}: isn't set; give {what}")
    return value


def _mode() -> Mode:
    text = os.environ.get(_CONFIRM) or "manual"
    if text not in _MODES:
        raise InvalidCredentials(f"{_CONFIRM}: expected manual or automatic")
    return _MODES[text]


def _concurrency() -> int:
    text = os.environ.get(_CONCURRENCY) or "64"
    if not (text.isdecimal() and int(text) > 0):
        raise InvalidCredentials(f"{_CONCURRENCY}: expected a whole number above zero")
    return int(text)
