"""What is asked for by now, decided over one draft and committed at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from attrs import define, field

from ...errors import JournalUnusable, Misuse
from ..entries import Halt, HaltKind
from ..writing import Writing
from .draft import Draft, Needs
from .drafting import Drafting, Raced
from .faults import ITS_OWN_FAULT, unusable
from .link import Link

if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
_MOST: Final = 512
"""Jobs that share a commit, at most."""
_LOCK_SECONDS: Final = 10
_IDLE_SECONDS: Final = 10
# A plan that was made while a table was small walks all of it, and is kept while it grows. What
# has no index looks dear then, and would be compiled, which takes a hundred times as long.
_BEGIN: Final = f"""
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL synchronous_commit TO {{level}};
SET LOCAL enable_seqscan TO off;
SET LOCAL jit TO off;
SET LOCAL lock_timeout TO '{_LOCK_SECONDS}s';
SET LOCAL idle_in_transaction_session_timeout TO '{_IDLE_SECONDS}s'
"""


@define(eq=False)
class _Job:
    """Something to decide over the rows, and who waits for it."""

    needs: Needs
    act: Callable[[Writing], Any]
    future: "asyncio.Future[Any]"
    value: object = None
    error: Exception | None = None


@define(eq=False, kw_only=True)
class Writer:
    """Jobs of one event loop, done in the order in which they came."""

    name: str
    link: Link
    drafting: Drafting
    fault_point: Callable[[str], None]
    level: str = "on"
    _jobs: "deque[_Job]" = field(factory=deque["_Job"], init=False, repr=False)
    _task: "asyncio.Task[None] | None" = field(default=None, init=False, repr=False)
    _doubtful: str | None = field(default=None, init=False)
    """The transaction of which nobody knows whether it was committed."""
    _last_line: tuple[int, str] | None = field(default=None, init=False, repr=False)
    """A line of the log that was committed: whatever lacks it is an older copy."""

    async def do(self, needs: Needs, act: Callable[[Writing], T]) -> T:
        """Decide something over the rows, and come back when it is committed.

        Whoever is cancelled meanwhile doesn't know whether it was done; nobody else notices.
        """
        loop = asyncio.get_running_loop()
        job = _Job(needs, act, loop.create_future())
        self._jobs.append(job)
        if self._task is None:
            self._task = loop.create_task(self._work())
        return cast("T", await job.future)

    async def finish(self) -> None:
        """Wait until all that was asked for is done."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def look(self, connection: "Connection[Any]") -> None:
        """See whether a new connection leads to rows that have all that was committed.

        Where a line of the log is gone, as after a change to a server that lagged behind, all
        payouts are halted (`JournalForgot`).
        """
        line, self._last_line = self._last_line, None
        if line is None or await self.drafting.has_line(connection, line):
            self._last_line = line
            return
        words = f"line {line[0]} of its log, about {line[1]!r}, is gone: it is an older copy"
        await self.drafting.put_halt(connection, Halt(kind=HaltKind.FORGOT, reason=words))

    async def _work(self) -> None:
        try:
            while self._jobs:
                group = [self._jobs.popleft() for _ in range(min(_MOST, len(self._jobs)))]
                await self._settle([job for job in group if not job.future.done()])
                self.fault_point("told")
        finally:
            self._task = None

    async def _settle(self, jobs: Sequence[_Job]) -> None:
        try:
            if jobs:
                await self.link.through(lambda connection: self._commit(connection, jobs))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            await self._undone(jobs, error)
        for job in jobs:
            _tell(job)

    async def _undone(self, jobs: Sequence[_Job], error: Exception) -> None:
        """Tell why nothing was written; what is wrong with one job stops no other."""
        self._doubtful = None
        if not isinstance(error, ITS_OWN_FAULT):
            for job in jobs:
                job.error = self._told(error)
        elif len(jobs) > 1:
            for job in jobs:
                await self._settle([job])
        else:
            code = getattr(error, "sqlstate", None)
            words = f"a value of it is none that PostgreSQL takes (SQLSTATE {code})"
            jobs[0].error = Misuse(f"this can't be written to the journal: {words}")

    def _told(self, error: Exception) -> JournalUnusable:
        # One for each: an error that is raised twice collects both tracebacks.
        if isinstance(error, JournalUnusable):
            return JournalUnusable(*error.args)
        return unusable(self.name, error)

    async def _commit(self, connection: "Connection[Any]", jobs: Sequence[_Job]) -> None:
        if self._doubtful is not None and await self._was_committed(connection, self._doubtful):
            return
        self.fault_point("taken")
        while not await self._try(connection, jobs):
            pass

    async def _was_committed(self, connection: "Connection[Any]", xid: str) -> bool:
        """Ask about a transaction whose commit was not answered; what is under way is waited for.

        Raises:
            JournalUnusable: the database doesn't know.

        """
        found = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", xid)
        if found == "in progress":
            raise ConnectionError
        if found not in {"committed", "aborted"}:
            words = "the connection was lost in a commit, and it can't tell whether it was made"
            raise JournalUnusable(f"{self.name}: {words}")
        self._doubtful = None
        return bool(found == "committed")

    async def _try(self, connection: "Connection[Any]", jobs: Sequence[_Job]) -> bool:
        """Commit; False if another process was first with a new row, so that it has to be read."""
        line = None
        _ = await connection.execute(_BEGIN.format(level=self.level))
        try:
            draft = await self.drafting.take(connection, Needs.of_all(job.needs for job in jobs))
            _decide(jobs, draft)
            line = await self.drafting.save(connection, draft)
            self.fault_point("written")
        except BaseException as error:
            await _roll_back(connection)
            if isinstance(error, Raced):
                return False
            raise
        self._doubtful = draft.xid if draft.is_changed else None
        _ = await connection.execute("COMMIT")
        self._doubtful, self._last_line = None, line or self._last_line
        self.fault_point("committed")
        return True


def _decide(jobs: Sequence[_Job], draft: Draft) -> None:
    writing = Writing(draft, lambda: draft.now)
    for job in jobs:
        job.value = job.error = None
        try:
            job.value = job.act(writing)
        except Exception as error:  # noqa: BLE001 - it is the caller's, and nobody else's
            job.error = error


async def _roll_back(connection: "Connection[Any]") -> None:
    try:
        _ = await connection.execute("ROLLBACK")
    except Exception:  # noqa: BLE001 - a connection that can't do it is of no more use
        connection.terminate()


def _tell(job: _Job) -> None:
    if job.future.done():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.value)
