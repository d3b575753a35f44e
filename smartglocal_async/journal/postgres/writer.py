"""What is asked for by now, decided over one draft and committed at once."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from attrs import define, field

from ...errors import JournalUnusable, Misuse
from ..entries import Halt, HaltKind
from ..writing import Writing
from .adding import Raced
from .draft import Draft, Needs
from .drafting import Drafting
from .faults import ITS_OWN_FAULT, is_lost, unusable
from .link import Link
from .transaction import transaction

if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
_MOST: Final = 512
"""Jobs that share a commit, at most."""


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
    id: str = field(factory=lambda: os.urandom(8).hex(), init=False)
    """Names its row, which is nobody else's, and holds the number of its last commit."""
    _tries: int = field(default=0, init=False)
    """The number of the last one that was tried; none is tried twice."""
    _commits: int | None = field(default=None, init=False)
    """The number of the last one that was surely made: whatever has less is an older copy."""
    _is_doubtful: bool = field(default=False, init=False)
    """Whether nobody knows if the last one that was tried was made."""

    async def do(self, needs: Needs, act: Callable[[Writing], T]) -> T:
        """Decide something over the rows, and come back when it is committed.

        Whoever is cancelled meanwhile doesn't know whether it was done; nobody else notices.
        """
        loop = asyncio.get_running_loop()
        job = _Job(needs, act, loop.create_future())
        self._jobs.append(job)
        if self._task is None:
            self._task = loop.create_task(self._work())
            self._task.add_done_callback(self._ended)
        return cast("T", await job.future)

    async def finish(self) -> None:
        """Wait until all that was asked for is done, or given up; whoever is cancelled ends it."""
        task = self._task
        if task is None:
            return
        try:
            _ = await asyncio.wait([task])
        except asyncio.CancelledError:
            _ = task.cancel()
            raise

    async def look(self, connection: "Connection[Any]") -> None:
        """See whether a new connection leads to rows that have all that was committed.

        Where a commit is gone, as after a change to a server that lagged behind, all payouts are
        halted (`JournalForgot`).
        """
        async with transaction(connection, self.level):
            await self.drafting.warm(connection)
            found = await self.drafting.commits_of(connection, self.id)
            is_forgotten = self._commits is not None and (found is None or found < self._commits)
            if is_forgotten:
                words = f"commit {self._commits} of {self.id} is gone: it is an older copy"
                halt = Halt(kind=HaltKind.FORGOT, reason=words)
                await self.drafting.put_halt(connection, halt)
            if found is None or is_forgotten:
                await self.drafting.enrol(connection, self.id, self._commits or 0)
        self._commits = self._commits or 0

    async def _work(self) -> None:
        group: list[_Job] = []
        try:
            while self._jobs:
                group = [self._jobs.popleft() for _ in range(min(_MOST, len(self._jobs)))]
                await self._settle([job for job in group if not job.future.done()])
                self.fault_point("told")
        except GeneratorExit:
            # The event loop is gone, and all who waited in it.
            raise
        except BaseException:
            self._give_up(group)
            raise
        finally:
            self._task = None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        # What is cancelled before it began doesn't even reach its first line.
        if self._task is task:
            self._task = None
            self._give_up(())

    def _give_up(self, group: Sequence[_Job]) -> None:
        """Tell those who wait, because nobody works for them any more."""
        self.link.drop()
        for job in (*group, *self._jobs):
            words = "this was ended before it was known to be written: run the same again"
            job.error = JournalUnusable(f"{self.name}: {words}")
            _tell(job)
        self._jobs.clear()

    async def _settle(self, jobs: Sequence[_Job]) -> None:
        # A doubt is that of its group alone: the next one must not be told of its commit.
        self._is_doubtful = False
        try:
            if jobs:
                await self.link.through(lambda connection: self._commit(connection, jobs))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            await self._undone(jobs, error)
        for job in jobs:
            _tell(job)

    async def _undone(self, jobs: Sequence[_Job], error: Exception) -> None:
        """Tell why nothing was written; what is wrong with one job stops no other."""
        if not isinstance(error, ITS_OWN_FAULT):
            for job in jobs:
                job.error = self._told(error)
            self._is_doubtful = False
            if is_lost(error):
                self._refuse_waiting(error)
        elif len(jobs) > 1:
            for job in jobs:
                await self._settle([job])
        else:
            code = getattr(error, "sqlstate", None)
            words = f"a value of it is none that PostgreSQL takes (SQLSTATE {code})"
            jobs[0].error = Misuse(f"this can't be written to the journal: {words}")

    def _refuse_waiting(self, error: Exception) -> None:
        # They waited for the same database; each group of them would wait as long again.
        while self._jobs:
            job = self._jobs.popleft()
            job.error = self._told(error)
            _tell(job)

    def _told(self, error: Exception) -> JournalUnusable:
        # One for each: an error that is raised twice collects both tracebacks.
        if isinstance(error, JournalUnusable):
            return JournalUnusable(*error.args)
        if self._is_doubtful:
            words = "the connection was lost in a commit, and it can't tell whether it was made"
            return JournalUnusable(f"{self.name}: {words}")
        return unusable(self.name, error)

    async def _commit(self, connection: "Connection[Any]", jobs: Sequence[_Job]) -> None:
        if self._is_doubtful and await self._was_committed(connection):
            return
        self.fault_point("taken")
        while not await self._try(connection, jobs):
            pass

    async def _was_committed(self, connection: "Connection[Any]") -> bool:
        """Ask about a commit that was not answered; if it is under way, it is waited for.

        The number of a transaction can't tell: a server that crashed gives it to another one.
        """
        async with transaction(connection, self.level):
            found = await self.drafting.commits_of(connection, self.id)
        self._is_doubtful = False
        if found != self._tries:
            return False
        self._commits = found
        return True

    async def _try(self, connection: "Connection[Any]", jobs: Sequence[_Job]) -> bool:
        """Commit; False if another process was first with a new row, so that it has to be read."""
        try:
            async with transaction(connection, self.level):
                needs = Needs.of_all(job.needs for job in jobs)
                draft = await self.drafting.take(connection, needs)
                _decide(jobs, draft)
                if draft.is_changed:
                    self._tries += 1
                    await self.drafting.save(connection, draft, self.id, self._tries)
                self.fault_point("written")
                self._is_doubtful = draft.is_changed
        except Raced:
            return False
        if self._is_doubtful:
            self._commits, self._is_doubtful = self._tries, False
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


def _tell(job: _Job) -> None:
    if job.future.done():
        return
    if job.error is not None:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.value)
