"""Collects pending jobs, decides them over one set of locked rows, and commits them together."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from asyncpg import InsufficientPrivilegeError
from attrs import define, field

from ...errors import JournalUnusable, Misuse
from ..entries import Halt, HaltKind
from ..fingerprints import SHORT, shortened
from ..rows import FORGETS
from ..transitions import Transitions
from .connection import VALUE_ERRORS, DatabaseConnection, is_lost, unusable
from .grants import explained
from .lineage import compare, kept_in, lineage_of
from .statements import InsertConflict, LockedRows, Needs, StatementBuilder
from .transaction import transaction

if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
_MAX_JOBS: Final = 512
"""Maximum number of jobs in one commit."""


@define(eq=False)
class _PostgresJob:
    """A decision over rows, and the future that waits for it."""

    needs: Needs
    act: Callable[[Transitions], Any]
    future: "asyncio.Future[Any]"
    value: object = None
    error: Exception | None = None


@define(eq=False, kw_only=True)
class PostgresWriter:
    """Runs the jobs of one event loop, in the order in which they were given."""

    name: str
    connection: DatabaseConnection
    builder: StatementBuilder
    fault_point: Callable[[str], None]
    level: str = "on"
    _jobs: "deque[_PostgresJob]" = field(factory=deque["_PostgresJob"], init=False, repr=False)
    _task: "asyncio.Task[None] | None" = field(default=None, init=False, repr=False)
    id: str = field(factory=lambda: os.urandom(8).hex(), init=False)
    """The id of its own row, which holds the number of its last commit."""
    _tries: int = field(default=0, init=False)
    """The number of the last tried commit; no number is tried twice."""
    _commits: int | None = field(default=None, init=False)
    """The number of the last confirmed commit; tables with a lower one are an older copy."""
    _is_doubtful: bool = field(default=False, init=False)
    """Whether it is unknown if the last tried commit was made."""

    async def do(self, needs: Needs, act: Callable[[Transitions], T]) -> T:
        """Run a decision over the rows, and return its result once it is committed.

        A caller that is cancelled doesn't know whether its job was committed; no other job is
        affected.
        """
        loop = asyncio.get_running_loop()
        job = _PostgresJob(needs, act, loop.create_future())
        self._jobs.append(job)
        if self._task is None:
            self._task = loop.create_task(self._work())
            self._task.add_done_callback(self._ended)
        return cast("T", await job.future)

    async def finish(self) -> None:
        """Wait until all jobs are done or given up; a cancellation cancels them."""
        task = self._task
        if task is None:
            return
        try:
            _ = await asyncio.wait([task])
        except asyncio.CancelledError:
            _ = task.cancel()
            raise

    async def check_connection(self, connection: "Connection[Any]") -> None:
        """Check that the rows of a new connection have all that was committed.

        All payouts are halted if a commit is gone, as after a failover to a server that lacked it
        (`JournalForgot`), or if the server is another one (`Quarantined`).
        """
        lineage = await lineage_of(connection, self.builder.schema)
        async with transaction(connection, self.level):
            if lineage is not None:
                await compare(connection, self.builder.schema, lineage)
            await self.builder.warm(connection)
            found = await self.builder.commits_of(connection, self.id)
            is_forgotten = self._commits is not None and (found is None or found < self._commits)
            if is_forgotten:
                words = f"commit {self._commits} of {self.id} is gone: it is an older copy"
                kept = await kept_in(connection, self.builder.schema, locks=True)
                halt = Halt(kind=HaltKind.FORGOT, reason=words).beside(kept.halt)
                await self.builder.put_halt(connection, halt)
            if found is None or is_forgotten:
                await self.builder.add_writer(connection, self.id, self._commits or 0)
        self._commits = self._commits or 0

    async def _work(self) -> None:
        group: list[_PostgresJob] = []
        try:
            while self._jobs:
                group = [self._jobs.popleft() for _ in range(min(_MAX_JOBS, len(self._jobs)))]
                await self._settle([job for job in group if not job.future.done()])
                self.fault_point("resolved")
        except GeneratorExit:
            # The event loop is closed, so no caller waits any more.
            raise
        except BaseException:
            self._give_up(group)
            raise
        finally:
            self._task = None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        # A task that is cancelled before it began never runs its own `finally`.
        if self._task is task:
            self._task = None
            self._give_up(())

    def _give_up(self, group: Sequence[_PostgresJob]) -> None:
        """Fail all jobs, since nothing works on them any more."""
        self.connection.drop()
        for job in (*group, *self._jobs):
            words = "this was ended before it was known to be written: run the same again"
            job.error = JournalUnusable(f"{self.name}: {words}")
            _resolve(job)
        self._jobs.clear()

    async def _settle(self, jobs: Sequence[_PostgresJob]) -> None:
        # The doubt concerns one group only: the next one must not take its commit for its own.
        self._is_doubtful = False
        try:
            if jobs:
                await self.connection.through(lambda connection: self._commit(connection, jobs))
        except Exception as error:  # noqa: BLE001 - any error has to reach the waiting callers
            await self._undone(jobs, error)
        for job in jobs:
            _resolve(job)

    async def _undone(self, jobs: Sequence[_PostgresJob], error: Exception) -> None:
        """Fail the jobs of a transaction that was undone; a job's own error fails only that job."""
        if isinstance(error, InsufficientPrivilegeError):
            schema = self.builder.schema
            error = await explained(self.connection.dsn, schema, self.name, error)
        if not isinstance(error, VALUE_ERRORS):
            for job in jobs:
                job.error = self._error_for(error)
            self._is_doubtful = False
            if is_lost(error):
                self._refuse_waiting(error)
        elif len(jobs) > 1:
            for job in jobs:
                await self._settle([job])
        else:
            code = getattr(error, "sqlstate", None)
            words = f"PostgreSQL accepts no such value (SQLSTATE {code})"
            jobs[0].error = Misuse(f"this can't be written to the journal: {words}")

    def _refuse_waiting(self, error: Exception) -> None:
        # They wait for the same database; each further group would retry for as long again.
        while self._jobs:
            job = self._jobs.popleft()
            job.error = self._error_for(error)
            _resolve(job)

    def _error_for(self, error: Exception) -> JournalUnusable:
        # One error for each job: an error that is raised twice collects both tracebacks.
        if isinstance(error, JournalUnusable):
            return type(error)(*error.args)
        if self._is_doubtful:
            words = "the connection was lost in a commit, and whether it was made is unknown"
            return JournalUnusable(f"{self.name}: {words}")
        return unusable(self.name, error)

    async def _commit(self, connection: "Connection[Any]", jobs: Sequence[_PostgresJob]) -> None:
        if self._is_doubtful and await self._was_committed(connection):
            return
        self.fault_point("taken")
        while not await self._try(connection, jobs):
            pass

    async def _was_committed(self, connection: "Connection[Any]") -> bool:
        """Return whether a commit was made whose answer was lost; wait for it if it is in progress.

        The id of a transaction can't show that: after a crash the server uses it again.
        """
        async with transaction(connection, self.level):
            found = await self.builder.commits_of(connection, self.id)
        self._is_doubtful = False
        if found != self._tries:
            return False
        self._commits = found
        return True

    async def _try(self, connection: "Connection[Any]", jobs: Sequence[_PostgresJob]) -> bool:
        """Commit; False if another process inserted a row first, so that it has to be read."""
        try:
            async with transaction(connection, self.level):
                needs = Needs.of_all(job.needs for job in jobs)
                rows = await self.builder.take(connection, needs)
                _decide(jobs, rows)
                if rows.is_changed:
                    self._tries += 1
                    await self.builder.save(connection, rows, self.id, self._tries)
                self.fault_point("written")
                self._is_doubtful = rows.is_changed
        except InsertConflict:
            return False
        if self._is_doubtful:
            self._commits, self._is_doubtful = self._tries, False
        self.fault_point("committed")
        return True


def _decide(jobs: Sequence[_PostgresJob], rows: LockedRows) -> None:
    transitions = Transitions(rows, lambda: rows.now)
    for job in jobs:
        job.value = job.error = None
        try:
            job.value = job.act(transitions)
        except Exception as error:  # noqa: BLE001 - it belongs to this job only
            job.error = error


def _resolve(job: _PostgresJob) -> None:
    if job.future.done():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.value)


if TYPE_CHECKING:
    from asyncpg import Connection

_SOME: Final = 1_000


# All names are constants, the schema's was checked, and values are bound.
# ruff: noqa: S608
async def forget_some(
    connection: "Connection[Any]", schema: str, level: str, before: float, after: int
) -> tuple[int, int | None]:
    """Forget some payouts that were settled before a time, after a row number.

    Returns how many were, and the number of the last one; None if there are no more.
    """
    async with transaction(connection, level):
        rows = await connection.fetch(
            f"SELECT number, key, fingerprint FROM {schema}.entry WHERE number > $1 AND step >= 80 "
            "AND updated_at < $2 AND substr(fingerprint, 1, 1) <> $3 ORDER BY number LIMIT $4 "
            "FOR UPDATE",
            after,
            before,
            SHORT,
            _SOME,
        )
        keys = [key for _, key, _ in rows]
        _ = await connection.execute(
            f"UPDATE {schema}.entry AS entry SET fingerprint = short.fingerprint, "
            f"{', '.join(f'{name} = NULL' for name in FORGETS)} "
            "FROM unnest($1::text[], $2::bytea[]) AS short (key, fingerprint) "
            "WHERE entry.key = short.key AND step >= 80",
            keys,
            [shortened(text) for _, _, text in rows],
        )
        _ = await connection.execute(f"DELETE FROM {schema}.attempt WHERE key = ANY($1)", keys)
    return len(rows), rows[-1][0] if rows else None
