"""The writing thread: takes all pending jobs and commits them together."""

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
from .file import OpenFile, is_passing, open_file, unusable
from .tables import SQLiteRows

T = TypeVar("T")
_MAX_JOBS: Final = 512
"""Maximum number of jobs in one commit."""
_VALUE_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
)
"""Errors of one job's values, not of the file."""


@define(eq=False)
class _SQLiteJob:
    """An action on the rows, and the future that waits for it."""

    act: Callable[[SQLiteRows], Any]
    future: "asyncio.Future[Any]"
    value: object = None
    error: Exception | None = None


@define(eq=False)
class SQLiteWriter:
    """Runs jobs from any event loop, in the order in which they were given."""

    path: Path
    scope: str
    clock: Callable[[], float]
    fault_point: Callable[[str], None]
    may_make: bool
    opened: OpenFile | None = field(default=None, init=False)
    _jobs: "queue.SimpleQueue[_SQLiteJob | None]" = field(
        factory=queue.SimpleQueue["_SQLiteJob | None"], init=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _broken: Exception | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _pid: int = field(factory=os.getpid, init=False)

    def start(self, after: "SQLiteWriter | None" = None) -> None:
        """Open the file in a new thread, after the thread of ``after`` has closed it."""
        self._thread = threading.Thread(
            target=self._run, args=(after,), name=f"journal {self.path.name}", daemon=True
        )
        self._thread.start()

    async def do(self, act: Callable[[SQLiteRows], T]) -> T:
        """Run an action on the rows, and return its result once that is on disk.

        A caller that is cancelled doesn't know whether its action was committed; no other job is
        affected.
        """
        job = _SQLiteJob(act, asyncio.get_running_loop().create_future())
        if os.getpid() != self._pid:
            raise Misuse("the journal was opened before a fork: open one in each process")
        with self._lock:
            if self._is_stopped:
                raise Misuse("the journal was closed")
            self._jobs.put(job)
        return cast("T", await job.future)

    def stop(self) -> None:
        """Accept no more jobs; pending ones are done first."""
        with self._lock:
            if not self._is_stopped:
                self._is_stopped = True
                self._jobs.put(None)

    def join(self) -> None:
        """Wait until the file is closed."""
        if self._thread is not None and os.getpid() == self._pid:
            self._thread.join()

    def _run(self, after: "SQLiteWriter | None") -> None:
        if after is not None:
            after.join()
        try:
            with open_file(self.path, self.scope, may_make=self.may_make) as opened:
                self.opened = opened
                self.fault_point("opened")
                self._work(SQLiteRows(opened.connection, self.clock))
        except Exception as error:  # noqa: BLE001 - any error has to reach the waiting callers
            self._broken = error
            self._work(None)

    def _work(self, rows: SQLiteRows | None) -> None:
        while (jobs := self._take()) is not None:
            alive = [job for job in jobs if not job.future.cancelled()]
            if rows is None or self._broken is not None:
                _fail(alive, self.path, self._broken)
            elif alive:
                self._commit(rows, alive)
            _resolve(alive)
            self.fault_point("resolved")
            if self.opened is not None and self._broken is None:
                self._sync(self.opened)

    def _take(self) -> list[_SQLiteJob] | None:
        """Wait for a job, and return it with those pending after it; None at the end."""
        jobs: list[_SQLiteJob] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == _MAX_JOBS or self._jobs.empty():
                return jobs
            job = self._jobs.get()
        self._jobs.put(None)  # A later call has to find the end, too.
        return jobs or None

    def _commit(self, rows: SQLiteRows, jobs: Sequence[_SQLiteJob]) -> None:
        database = rows.connection
        try:
            self.fault_point("taken")
            _ = database.execute("BEGIN IMMEDIATE")
            changes = database.total_changes
            if not _act_together(jobs, rows):
                for job in jobs:
                    _act_apart(job, rows)
            is_counted = self.opened is not None and self.opened.count(changes)
            self.fault_point("written")
            _ = database.execute("COMMIT")  # With its fsync: SQLite does both in one call.
            self.fault_point("committed")
            if self.opened is not None and is_counted:
                self.opened.note()
        except Exception as error:  # noqa: BLE001 - no caller may take it for written
            if not is_passing(error):
                # After a failed fsync the content of the disk is unknown: the file has to be opened
                # again.
                self._broken = error
            _fail(jobs, self.path, error)
            _roll_back(rows)

    def _sync(self, opened: OpenFile) -> None:
        try:
            opened.sync()
        except OSError as error:
            self._broken = error  # As after a failed fsync of the journal itself.


def _act_together(jobs: Sequence[_SQLiteJob], rows: SQLiteRows) -> bool:
    """Run all jobs; False, with all undone, if one may have left a partial change."""
    for job in jobs:
        try:
            job.value = job.act(rows)
        except SmartGlocalError as error:
            job.error = error  # Refused before anything was written.
        except sqlite3.Error as error:
            if not isinstance(error, _VALUE_ERRORS):
                raise
            return _undone(jobs, rows)
        except Exception:  # noqa: BLE001 - the job runs again by itself, and raises it then
            return _undone(jobs, rows)
    return True


def _undone(jobs: Sequence[_SQLiteJob], rows: SQLiteRows) -> bool:
    for job in jobs:
        job.value = job.error = None
    rows.connection.rollback()
    rows.forget()
    _ = rows.connection.execute("BEGIN IMMEDIATE")
    return False


def _act_apart(job: _SQLiteJob, rows: SQLiteRows) -> None:
    """Run one job in a savepoint, so that nothing of it stays if it fails."""
    database = rows.connection
    _ = database.execute("SAVEPOINT job")
    try:
        job.value = job.act(rows)
    except SmartGlocalError as error:
        job.error = error
    except _VALUE_ERRORS as error:
        job.error = Misuse(f"this can't be written to the journal: {error}")
        job.error.__cause__ = error
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 - it belongs to this job only
        job.error = error
    if job.error is not None:
        _ = database.execute("ROLLBACK TO job")
        rows.forget()
    _ = database.execute("RELEASE job")


def _fail(jobs: Sequence[_SQLiteJob], path: Path, error: Exception | None) -> None:
    for job in jobs:
        # One error for each job: an error that is raised twice collects both tracebacks.
        if isinstance(error, JournalUnusable):
            job.error = type(error)(*error.args)
        else:
            job.error = unusable(path, error or RuntimeError("it was never opened"))
        job.error.__cause__ = error


def _roll_back(rows: SQLiteRows) -> None:
    rows.forget()
    try:
        rows.connection.rollback()
    except sqlite3.Error:
        return  # The connection is broken; closing it rolls back.


def _resolve(jobs: Sequence[_SQLiteJob]) -> None:
    """Resolve the futures: one call for each event loop."""
    by_loop = sorted(jobs, key=lambda job: id(job.future.get_loop()))
    for _, group in groupby(by_loop, key=lambda job: id(job.future.get_loop())):
        settled = list(group)
        try:
            _ = settled[0].future.get_loop().call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            continue  # That event loop was closed, so no caller waits there.


def _settle(jobs: Sequence[_SQLiteJob]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
