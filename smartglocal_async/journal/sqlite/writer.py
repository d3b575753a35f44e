"""The thread that writes: it takes what is asked for by now, and commits it at once."""

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from attrs import define, field

from ...errors import JournalUnusable, Misuse, SmartGlocalError
from .faults import is_passing, unusable
from .file import Opened, open_file
from .table import Table

T = TypeVar("T")
_MOST: Final = 512
"""Jobs that share a commit, at most."""
_ITS_OWN_FAULT: Final = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)
"""What is wrong with one job's values, and not with the file."""


@define(eq=False)
class _Job:
    """Something to do with the rows, and who waits for it."""

    act: Callable[[Table], Any]
    future: "asyncio.Future[Any]"
    value: object = None
    error: Exception | None = None


@define(eq=False)
class Writer:
    """Jobs from any event loop, done in the order in which they came."""

    path: Path
    scope: str
    clock: Callable[[], float]
    fault_point: Callable[[str], None]
    may_make: bool
    opened: Opened | None = field(default=None, init=False)
    _jobs: "queue.SimpleQueue[_Job | None]" = field(
        factory=queue.SimpleQueue["_Job | None"], init=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _broken: Exception | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _pid: int = field(factory=os.getpid, init=False)

    def start(self, after: "Writer | None" = None) -> None:
        """Open the file in a thread of its own, once the one before let it go."""
        self._thread = threading.Thread(
            target=self._run, args=(after,), name=f"journal {self.path.name}", daemon=True
        )
        self._thread.start()

    async def do(self, act: Callable[[Table], T]) -> T:
        """Do something with the rows, and come back when it is on the disk.

        Whoever is cancelled meanwhile doesn't know whether it was done; nobody else notices.
        """
        job = _Job(act, asyncio.get_running_loop().create_future())
        if os.getpid() != self._pid:
            raise Misuse("the journal was opened before a fork: open one in each process")
        with self._lock:
            if self._is_stopped:
                raise Misuse("the journal was closed")
            self._jobs.put(job)
        return cast("T", await job.future)

    def stop(self) -> None:
        """Take no more jobs; those that are there are done first."""
        with self._lock:
            if not self._is_stopped:
                self._is_stopped = True
                self._jobs.put(None)

    def join(self) -> None:
        """Wait until the file is closed."""
        if self._thread is not None and os.getpid() == self._pid:
            self._thread.join()

    def _run(self, after: "Writer | None") -> None:
        if after is not None:
            after.join()
        try:
            with open_file(self.path, self.scope, may_make=self.may_make) as opened:
                self.opened = opened
                self.fault_point("opened")
                self._work(Table(opened.connection, self.clock))
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits to hear of it
            self._broken = error
            self._work(None)

    def _work(self, table: Table | None) -> None:
        while (jobs := self._take()) is not None:
            alive = [job for job in jobs if not job.future.cancelled()]
            if table is None or self._broken is not None:
                _fail(alive, self.path, self._broken)
            elif alive:
                self._commit(table, alive)
            _tell(alive)
            self.fault_point("told")

    def _take(self) -> list[_Job] | None:
        """Wait for a job, and take those that are behind it; None is the end."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == _MOST or self._jobs.empty():
                return jobs
            job = self._jobs.get()
        self._jobs.put(None)  # The end stays the end, whoever asks again.
        return jobs or None

    def _commit(self, table: Table, jobs: Sequence[_Job]) -> None:
        database = table.connection
        try:
            self.fault_point("taken")
            _ = database.execute("BEGIN IMMEDIATE")
            if not _act_together(jobs, table):
                for job in jobs:
                    _act_apart(job, table)
            self.fault_point("written")
            _ = database.execute("COMMIT")  # And the fsync: SQLite does both in one call.
            self.fault_point("committed")
            if self.opened is not None:
                self.opened.note()
        except Exception as error:  # noqa: BLE001 - nobody may take it for written
            if not is_passing(error):
                # After a failed fsync nobody knows what is on the disk: it has to be read again.
                self._broken = error
            _fail(jobs, self.path, error)
            _roll_back(table)


def _act_together(jobs: Sequence[_Job], table: Table) -> bool:
    """Do all jobs; False, with all undone, if one may have left something half done."""
    for job in jobs:
        try:
            job.value = job.act(table)
        except SmartGlocalError as error:
            job.error = error  # It was refused, before anything was written.
        except sqlite3.Error as error:
            if not isinstance(error, _ITS_OWN_FAULT):
                raise
            return _undone(jobs, table)
        except Exception:  # noqa: BLE001 - it is the caller's, and comes again
            return _undone(jobs, table)
    return True


def _undone(jobs: Sequence[_Job], table: Table) -> bool:
    for job in jobs:
        job.value = job.error = None
    table.connection.rollback()
    table.forget()
    _ = table.connection.execute("BEGIN IMMEDIATE")
    return False


def _act_apart(job: _Job, table: Table) -> None:
    """Do a job so that nothing of it stays if it fails; it takes two statements more."""
    database = table.connection
    _ = database.execute("SAVEPOINT job")
    try:
        job.value = job.act(table)
    except SmartGlocalError as error:
        job.error = error
    except _ITS_OWN_FAULT as error:
        job.error = Misuse(f"this can't be written to the journal: {error}")
        job.error.__cause__ = error
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 - it is the caller's, and nobody else's
        job.error = error
    if job.error is not None:
        _ = database.execute("ROLLBACK TO job")
        table.forget()
    _ = database.execute("RELEASE job")


def _fail(jobs: Sequence[_Job], path: Path, error: Exception | None) -> None:
    for job in jobs:
        # One for each: an error that is raised twice collects both tracebacks.
        if isinstance(error, JournalUnusable):
            job.error = JournalUnusable(*error.args)
        else:
            job.error = unusable(path, error or RuntimeError("it was never opened"))
        job.error.__cause__ = error


def _roll_back(table: Table) -> None:
    table.forget()
    try:
        table.connection.rollback()
    except sqlite3.Error:
        return  # It is broken already; closing it does the rest.


def _tell(jobs: Sequence[_Job]) -> None:
    """Wake those who wait: one call for each event loop."""
    by_loop = sorted(jobs, key=lambda job: id(job.future.get_loop()))
    for _, group in groupby(by_loop, key=lambda job: id(job.future.get_loop())):
        told = list(group)
        try:
            _ = told[0].future.get_loop().call_soon_threadsafe(_settle, told)
        except RuntimeError:
            continue  # That loop was closed: nobody waits there any more.


def _settle(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
