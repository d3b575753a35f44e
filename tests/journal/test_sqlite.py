"""The journal in a file: what it refuses, what it shares, and its errors when a disk fails."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from journal_conformance import LEASE, SCOPE, bring_to, new, run_together
from places import SUPPORT

import smartglocal_async as sg
from smartglocal_async.journal import Halt, HaltKind
from smartglocal_async.journal.sqlite import file
from smartglocal_async.journal.sqlite.tables import SQLiteReader

pytestmark = pytest.mark.both_loops

HOLDER = """
import asyncio, sys
import smartglocal_async as sg
async def main():
    journal = sg.SQLiteJournal(sys.argv[1])
    await journal.open("demo|shop")
    print("open", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


KILLED = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[3])
import smartglocal_async as sg
from journal_conformance import new
met = []
def point(label):
    met.append(label)
    if label == sys.argv[2] and (label == "opened" or len(met) > 8):
        os.kill(os.getpid(), signal.SIGKILL)
async def main():
    journal = sg.SQLiteJournal(sys.argv[1], fault_point=point)
    await journal.open("demo|shop")
    for n in range(9):
        await journal.accept(new(f"k{n}"))
asyncio.run(main())
"""


class Gate:
    """A fault point that stops the writing thread, and counts its calls."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.way = threading.Event()
        self.arrived = threading.Event()
        self.stop_at: str | None = None
        self.failing: list[tuple[str, Exception | None]] = []

    def __call__(self, label: str) -> None:
        """Record the label; wait or fail if it is the chosen one."""
        self.labels.append(label)
        if self.failing and self.failing[0][0] == label:
            _, error = self.failing.pop(0)
            if error is not None:
                raise error
        if label == self.stop_at:
            self.stop_at = None
            self.arrived.set()
            assert self.way.wait(10)

    @contextlib.asynccontextmanager
    async def closed_gate(self, journal):
        """Hold the writing thread at a job, so that others queue behind it."""
        self.stop_at = "taken"
        async with asyncio.TaskGroup() as group:
            job = group.create_task(journal.accept(new("first")))
            assert await asyncio.to_thread(self.arrived.wait, 10)
            try:
                yield
            finally:
                self.way.set()
            await job


@pytest.fixture
def path(tmp_path) -> Path:
    """Return the path of a new file."""
    return tmp_path / "payouts.db"


@pytest.fixture
def gate() -> Gate:
    """Return an open gate."""
    return Gate()


@contextlib.asynccontextmanager
async def opened(path, **options):
    """Return an open journal."""
    journal = sg.SQLiteJournal(path, **options)
    try:
        await journal.open(SCOPE)
        yield journal
    finally:
        await journal.close()


async def refusal(path) -> str:
    """Return the message of a journal that can't be opened."""
    journal = sg.SQLiteJournal(path)
    with pytest.raises(sg.JournalUnusable) as caught:
        await journal.open(SCOPE)
    await journal.close()
    assert str(path) in str(caught.value)
    return str(caught.value)


def broken(code: int, name: str) -> sqlite3.OperationalError:
    """Return an error as SQLite raises it."""
    error = sqlite3.OperationalError(name)
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


async def test_only_the_owner_may_read_it(path) -> None:
    """The files beside it are private, too."""
    async with opened(path) as journal:
        await journal.accept(new())
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    names = ["payouts.db", "payouts.db-shm", "payouts.db-wal", "payouts.db.lock"]
    assert modes == dict.fromkeys(names, 0o600)


async def test_settings_in_effect(path) -> None:
    """Read in the thread that has the connection."""

    def settings(table) -> dict:
        execute = table.connection.execute
        return {name: execute(f"PRAGMA {name}").fetchone()[0] for name in file._PRAGMAS}

    async with opened(path) as journal:
        assert await journal._read(settings) == {
            "busy_timeout": 5000,
            "foreign_keys": 1,
            "journal_mode": "wal",
            "synchronous": 2,
            "fullfsync": 1,
            "checkpoint_fullfsync": 1,
        }


def test_setting_without_effect(path) -> None:
    """A setting without effect is an error; here, a database that can't have a log."""
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sg.JournalUnusable, match="wouldn't set journal_mode to wal"),
    ):
        file._set(connection, path)


async def test_one_journal_for_a_file(path) -> None:
    """A second journal is refused, and the message names the first; it may be opened later."""
    async with opened(path):
        assert f"process {os.getpid()} has it" in await refusal(path)
    async with opened(path):
        pass


def test_one_process_for_a_file(path) -> None:
    """The lock ends with the process, even by SIGKILL."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            assert f"process {holder.pid} has it" in asyncio.run(refusal(path))
        finally:
            holder.kill()
    asyncio.run(reopened(path))


async def reopened(path) -> dict:
    """Open and close it; return its contents."""
    async with opened(path) as journal:
        return dict(await journal.counts())


@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
async def test_a_file_with_two_names(path, when) -> None:
    """SQLite would keep a log for each name, so both names are refused until one is removed."""
    other = path.with_name("other.db")
    async with contextlib.AsyncExitStack() as stack:
        if when == "while it is open":
            await stack.enter_async_context(opened(path))
        else:
            assert await reopened(path) == {}
        other.hardlink_to(path)
        assert "has 2 names (hard links)" in await refusal(other)
    assert "has 2 names (hard links)" in await refusal(path)
    other.unlink()
    assert await reopened(path) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the lock on the file itself is Linux's")
@pytest.mark.parametrize("where", ["here", "in another process"])
async def test_a_file_that_is_renamed_while_it_is_open(path, where) -> None:
    """The lock belongs to the file, not to its name."""
    other = path.with_name("other.db")
    async with contextlib.AsyncExitStack() as stack:
        if where == "here":
            await stack.enter_async_context(opened(path))
        else:
            holder = subprocess.Popen(  # noqa: ASYNC220 - it answers at once
                [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
            )
            stack.callback(holder.wait)
            stack.callback(holder.kill)
            assert holder.stdout is not None
            stack.callback(holder.stdout.close)
            assert holder.stdout.readline() == "open\n"
        path.rename(other)
        path.with_name(f"{path.name}.lock").rename(path.with_name("elsewhere.lock"))
        assert "is open by another name" in await refusal(other)


async def test_a_symbolic_link(path, tmp_path) -> None:
    """A link leads to the file, its lock and its log; a dangling link creates the file."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with opened(link) as journal:
        await journal.accept(new())
        with pytest.raises(sg.JournalUnusable, match=f"process {os.getpid()} has it"):
            await sg.SQLiteJournal(path).open(SCOPE)
        names = {p.name for p in tmp_path.iterdir()}
    assert names == {"link.db", *(f"payouts.db{end}" for end in ("", ".lock", "-shm", "-wal"))}
    assert await reopened(path) == {sg.journal.Step.NEW: 1}


async def test_a_refused_opening_keeps_the_locks_of_sqlite(path) -> None:
    """Closing a file drops all locks of its process on it, so nothing is closed while it is in use.

    Without SQLite's own lock, the next reader in another process would remove the log.
    """
    look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM meta')"
    assert await reopened(path) == {}
    async with SQLiteReader(path) as reader:
        async with opened(path) as journal:
            await journal.accept(new("a"))
            async with SQLiteReader(path):
                assert "has it" in await refusal(path)
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", look, path], check=True)
        names = {p.name for p in path.parent.iterdir()}
        assert "payouts.db-wal" in names, "the reader uses it"
        assert await reader.counts() == {sg.journal.Step.NEW: 1}
    assert await reopened(path) == {sg.journal.Step.NEW: 1}


# --- The commit count in the lock file ----------------------------------------------------------


def halt_at(path) -> str:
    """Open a journal; return the reason of its halt."""

    async def found() -> str:
        async with opened(path) as journal:
            halt = await journal.halted()
            assert halt is None or halt.kind is sg.journal.HaltKind.FORGOT
            return "" if halt is None else halt.reason

    return asyncio.run(found())


async def accept(path, *keys: str) -> None:
    """Write new entries, each in its own commit."""
    async with opened(path) as journal:
        for key in keys:
            await journal.accept(new(key))


async def halt(path, reason: str) -> None:
    """Write a halt."""
    async with opened(path) as journal:
        await journal.halt(Halt(kind=HaltKind.CONFLICT, reason=reason))


def test_an_older_copy(path, tmp_path) -> None:
    """Both counts are in the message until the halt is ended."""
    asyncio.run(accept(path, "a"))
    old = Path(shutil.copy(path, tmp_path / "old.db"))
    asyncio.run(accept(path, "b", "c"))
    shutil.copy(old, path)
    # Two commits are the creation and the first entry; the others are an opening and two entries.
    assert halt_at(path) == "it had 5 commits, and has 2: it is an older copy"
    assert halt_at(path) == "it had 5 commits, and has 2: it is an older copy"


def test_an_older_copy_that_was_halted(path, tmp_path) -> None:
    """The earlier halt isn't lost: an operator who ends the later one reads both reasons."""
    asyncio.run(halt(path, "session s-1 shows another amount"))
    old = Path(shutil.copy(path, tmp_path / "old.db"))
    asyncio.run(accept(path, "b", "c"))
    shutil.copy(old, path)
    words = "it had 5 commits, and has 2: it is an older copy"
    both = f"{words}; before that: session s-1 shows another amount"
    assert halt_at(path) == both
    assert halt_at(path) == both


def test_a_copy_without_the_count(path, tmp_path) -> None:
    """Its state isn't known, so it halts; with its count it continues."""
    asyncio.run(accept(path, "a"))
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(path, alone / path.name)
    assert "the file beside it that counts them (.lock) is not there" in halt_at(alone / path.name)
    both = tmp_path / "both"
    both.mkdir()
    for name in (path.name, f"{path.name}.lock"):
        shutil.copy(path.with_name(name), both / name)
    assert halt_at(both / path.name) == ""


def test_another_journal_in_its_place(path, tmp_path) -> None:
    """Like a deleted and recreated journal, it lacks all payouts."""
    asyncio.run(accept(path, "a", "b"))
    other = tmp_path / "other.db"
    asyncio.run(accept(other, "z"))
    shutil.copy(other, path)
    assert halt_at(path) == "it has 2 commits, and another journal was here, which had 3"


def test_each_older_copy_is_noticed(path, tmp_path) -> None:
    """Opening the weekly copy doesn't lower the count that the nightly one is compared with."""
    asyncio.run(accept(path, "a"))
    weekly = shutil.copy(path, tmp_path / "weekly.db")
    asyncio.run(accept(path, "b", "c", "d"))
    nightly = shutil.copy(path, tmp_path / "nightly.db")
    asyncio.run(accept(path, "today"))
    for copy in (weekly, nightly, weekly, nightly):
        shutil.copy(copy, path)
        assert halt_at(path).endswith("it is an older copy")


def test_a_newer_copy_after_the_count_was_lost(path, tmp_path) -> None:
    """It isn't known how many commits there were, so each copy from before then halts."""
    asyncio.run(accept(path, "a"))
    weekly = shutil.copy(path, tmp_path / "weekly.db")
    asyncio.run(accept(path, "b", "c", "d"))
    nightly = shutil.copy(path, tmp_path / "nightly.db")
    path.with_name("payouts.db.lock").unlink()
    shutil.copy(weekly, path)
    assert "(.lock) is not there" in halt_at(path)
    shutil.copy(nightly, path)
    words = "it was copied before another copy of it was opened: it is an older copy"
    assert halt_at(path) == words


def test_a_copy_after_another_journal(path, tmp_path) -> None:
    """Another journal in its place doesn't lower the count either."""
    asyncio.run(accept(path, "a", "b", "c"))
    weekly = shutil.copy(path, tmp_path / "weekly.db")
    asyncio.run(accept(path, "d"))
    nightly = shutil.copy(path, tmp_path / "nightly.db")
    asyncio.run(accept(path, "today"))
    path.unlink()
    asyncio.run(accept(path))
    for copy in (weekly, nightly):
        shutil.copy(copy, path)
        assert halt_at(path)


OPENING_KILLED = """
import asyncio, os, sys
import smartglocal_async as sg
from smartglocal_async.journal.sqlite import file
file._uncount_unsent = lambda connection: os._exit(9)  # After what is noted before the commit.
asyncio.run(sg.SQLiteJournal(sys.argv[1]).open("demo|shop"))
"""


def kill_opening(path) -> None:
    """Have a process open the journal, and end just before its first commit."""
    done = subprocess.run([sys.executable, "-c", OPENING_KILLED, path], check=False)
    assert done.returncode == 9


@pytest.mark.parametrize("kills", [1, 2])
def test_a_lost_file_whose_first_opening_is_killed(path, kills) -> None:
    """The count of the lost journal stays until the halt of the new one is committed."""
    asyncio.run(accept(path, "a", "b"))
    path.unlink()
    for _ in range(kills):
        kill_opening(path)
    assert "another journal was here, which had 3" in halt_at(path)


def test_an_older_copy_whose_opening_is_killed(path, tmp_path) -> None:
    """The next opening finds the same count."""
    asyncio.run(accept(path, "a"))
    old = shutil.copy(path, tmp_path / "old.db")
    asyncio.run(accept(path, "b", "c"))
    shutil.copy(old, path)
    kill_opening(path)
    assert halt_at(path) == "it had 5 commits, and has 2: it is an older copy"


def test_a_copy_over_a_file_that_was_never_committed(path, tmp_path) -> None:
    """The count there is of another journal, and 0: it isn't known how many this one had."""
    asyncio.run(accept(path, "a"))
    old = shutil.copy(path, tmp_path / "old.db")
    for name in (path.name, f"{path.name}.lock"):
        path.with_name(name).unlink()
    kill_opening(path)
    assert halt_at(path) == "", "a new journal"
    for name in (path.name, f"{path.name}.lock"):
        path.with_name(name).unlink()
    kill_opening(path)
    shutil.copy(old, path)
    assert "(.lock) is not there" in halt_at(path)


@pytest.mark.parametrize("count", ["", "1234", "-5", "1e3"])
def test_a_count_that_cannot_be_read(path, count) -> None:
    """It halts, as if it weren't there."""
    asyncio.run(accept(path, "a"))
    lock = path.with_name("payouts.db.lock")
    journal_id = lock.read_text().split()[2]
    asyncio.run(accept(path))
    lock.write_text(f"77 {count if count == '1234' else f'{count} {journal_id}'}")
    assert halt_at(path)


def test_reads_are_not_counted(path) -> None:
    """A read isn't counted, and writes nothing."""

    async def read() -> None:
        async with opened(path) as journal:
            for _ in range(5):
                await journal.find("a")
                await journal.halted()

    asyncio.run(accept(path, "a"))
    before = path.with_name("payouts.db.lock").read_text().split()[1]
    asyncio.run(read())
    after = path.with_name("payouts.db.lock").read_text().split()[1]
    assert (before, after) == ("2", "3"), "the opening alone"


@pytest.mark.parametrize("label", ["opened", "taken", "written", "committed", "resolved"])
def test_count_after_a_kill(path, label) -> None:
    """At any moment the count is never ahead of the file."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), label, str(SUPPORT)],
        check=False,
        capture_output=True,
    )
    assert done.returncode == -9, done.stderr
    assert halt_at(path) == ""


async def test_leases_of_a_killed_process_end(path) -> None:
    """No other process can have the file open, so the leases end at once."""
    async with opened(path) as journal:
        mine = await bring_to(journal, sg.journal.Step.STARTING)
    async with opened(path) as journal:
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(mine, sg.journal.Event.START_KNOWN)
        assert [entry.key for entry in await journal.open_entries(9)] == ["k"]
        assert (await journal.claim("k", "you", LEASE)).fence == 2


async def test_reader_needs_an_existing_journal(path) -> None:
    """A reader doesn't create a journal; it gets an error, or opens an existing one."""
    looking = sg.SQLiteJournal(path, may_make=False)
    with pytest.raises(sg.JournalUnusable, match="there is no journal"):
        await looking.open(SCOPE)
    assert not list(path.parent.iterdir())
    path.write_bytes(b"")
    with pytest.raises(sg.JournalUnusable, match="nothing was ever written to it"):
        await looking.open(SCOPE)
    assert not path.read_bytes()
    made = sg.SQLiteJournal(path)
    await made.open(SCOPE)
    made_id = made.journal_id
    await made.close()
    await looking.open(SCOPE)
    assert looking.journal_id == made_id
    await looking.close()


async def test_another_programs_database(path) -> None:
    """It stays unchanged to the byte."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        _ = other.execute("CREATE TABLE entry (a)")
    before = path.read_bytes()
    assert "isn't a journal" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database(path) -> None:
    """It stays unchanged."""
    path.write_text("payout,amount\n" * 1000)
    assert "isn't a journal" in await refusal(path)
    assert path.read_text() == "payout,amount\n" * 1000


async def test_a_newer_version(path) -> None:
    """A newer version is refused."""
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as other:
        _ = other.execute("PRAGMA user_version = 9")
    assert "is of version 9, and this release knows 3" in await refusal(path)


@pytest.mark.parametrize("cut", [False, True])
async def test_a_damaged_file(path, cut) -> None:
    """Overwritten or truncated, it is detected before anything is sent."""
    async with opened(path) as journal:
        for n in range(200):
            await journal.accept(new(f"k{n}", request=b"x" * 500))
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + (b"" if cut else b"\xff" * 8192 + whole[half + 8192 :]))
    assert "damaged" in await refusal(path)


async def test_missing_folder(tmp_path) -> None:
    """The message names it."""
    assert "no such file" in await refusal(tmp_path / "nowhere" / "j.db")


async def test_a_folder_in_the_place_of_the_file(tmp_path) -> None:
    """The message names it."""
    (tmp_path / "j.db").mkdir()
    assert "is a directory" in await refusal(tmp_path / "j.db")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="it needs a folder nobody may write to")
async def test_a_folder_that_may_not_be_written() -> None:
    """Root can't write to it, either."""
    assert await refusal(Path("/proc", str(os.getpid()), "j.db"))


def test_a_file_that_may_not_be_written(path) -> None:
    """The message has SQLite's own error."""
    asyncio.run(reopened(path))
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        _ = reader.execute("DELETE FROM entry")
    assert "it is read-only (SQLITE_READONLY)" in str(file.unusable(path, caught.value))


async def test_another_program_writes(path, monkeypatch) -> None:
    """The journal waits, raises an error, and works again afterwards."""
    monkeypatch.setitem(file._PRAGMAS, "busy_timeout", 1)
    async with opened(path) as journal:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            _ = other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sg.JournalUnusable, match="another program is writing"):
                await journal.accept(new())
        assert await journal.accept(new())


async def test_it_can_be_opened_after_a_refusal(path) -> None:
    """The same object opens once the problem is fixed."""
    journal = sg.SQLiteJournal(path)
    async with opened(path):
        with pytest.raises(sg.JournalUnusable):
            await journal.open(SCOPE)
    with pytest.raises(sg.Misuse, match="isn't open"):
        await journal.find("k")
    await journal.open(SCOPE)
    assert await journal.find("k") is None
    await journal.close()


async def test_many_open_it_at_once(path) -> None:
    """It is opened once."""
    journal = sg.SQLiteJournal(path)
    assert await run_together(*(journal.open(SCOPE) for _ in range(5))) == [None] * 5
    await journal.close()


async def test_an_opening_that_is_cancelled(path, gate) -> None:
    """The file is free for the next one."""
    gate.stop_at = "opened"
    journal = sg.SQLiteJournal(path, fault_point=gate)
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(journal.open(SCOPE))
        assert await asyncio.to_thread(gate.arrived.wait, 10)
        opening.cancel()
    gate.way.set()
    await journal.open(SCOPE)
    assert await journal.accept(new())
    await journal.close()


async def test_concurrent_writes_share_a_commit(path, gate) -> None:
    """Writes that arrive during a commit share the next one, up to 512."""
    async with opened(path, fault_point=gate) as journal:
        async with asyncio.TaskGroup() as group, gate.closed_gate(journal):
            gate.labels.clear()
            for n in range(600):
                _ = group.create_task(journal.accept(new(f"k{n}")))
            await asyncio.sleep(0)
        assert gate.labels.count("committed") == 3
        assert await journal.counts() == {sg.journal.Step.NEW: 601}


async def test_refused_writes_share_it_too(path, gate) -> None:
    """A refused write doesn't affect the others, even in the middle of its changes."""

    def half_done(table) -> None:
        table.insert(entry)
        raise ValueError("no")

    async with opened(path, fault_point=gate) as journal:
        entry = await journal.accept(new("template"))
        entry = sg.journal.Entry(
            **{n: getattr(entry, n) for n in entry.__slots__ if n not in {"key", "__weakref__"}},
            key="half",
        )

        async def half() -> str:
            try:
                await journal._read(half_done)
            except ValueError as error:
                return str(error)
            return "done"

        async with gate.closed_gate(journal), asyncio.TaskGroup() as group:
            gate.labels.clear()
            jobs = [
                group.create_task(job)
                for job in (journal.accept(new("a")), half(), journal.accept(new("b")))
            ]
            await asyncio.sleep(0)
            gate.way.set()
        assert jobs[1].result() == "no"
        assert gate.labels.count("committed") == 2
        assert await journal.find("half") is None
        assert await journal.find("a")
        assert await journal.find("b")


@pytest.mark.parametrize("value", [{"request": object()}, {"key": "\ud800"}, {"ordinal": 2**70}])
async def test_a_value_that_can_not_be_written(path, value) -> None:
    """Only its caller gets an error."""
    async with opened(path) as journal:

        async def odd() -> bool:
            try:
                await journal.accept(new(**{"key": "odd", **value}))
            except (sg.Misuse, UnicodeError, OverflowError):
                return True
            return False

        assert (await run_together(journal.accept(new("a")), odd(), journal.accept(new("b"))))[1]
        assert await journal.counts() == {sg.journal.Step.NEW: 2}


async def test_a_caller_that_is_cancelled(path, gate) -> None:
    """In the queue it is dropped; in the commit, the commit continues for the others."""
    async with opened(path, fault_point=gate) as journal:
        async with gate.closed_gate(journal), asyncio.TaskGroup() as group:
            jobs = [group.create_task(journal.accept(new(key))) for key in "abc"]
            await asyncio.sleep(0)
            jobs[1].cancel()
            await asyncio.sleep(0)
            gate.way.set()
        assert [await journal.find(key) is not None for key in "abc"] == [True, False, True]
        gate.stop_at = "written"
        gate.arrived.clear()
        gate.way.clear()
        async with asyncio.TaskGroup() as group:
            late = group.create_task(journal.accept(new("late")))
            assert await asyncio.to_thread(gate.arrived.wait, 10)
            late.cancel()
            await asyncio.sleep(0)
            gate.way.set()
        assert await journal.find("late")


def test_several_event_loops(path) -> None:
    """Each loop gets its own results from one journal."""
    journal = sg.SQLiteJournal(path)
    asyncio.run(journal.open(SCOPE))
    got: dict[int, list] = {}

    async def work(worker: int) -> None:
        asked = (journal.accept(new(f"{worker}-{n}")) for n in range(50))
        got[worker] = await run_together(*asked)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker, entries in got.items():
        assert [entry.key for entry in entries] == [f"{worker}-{n}" for n in range(50)]
    assert asyncio.run(counted(journal)) == {sg.journal.Step.NEW: 200}


async def counted(journal) -> dict:
    """Count, and close."""
    counts = dict(await journal.counts())
    await journal.close()
    return counts


def test_closed_event_loop(path, gate) -> None:
    """Its request is carried out, and the thread continues."""
    journal = sg.SQLiteJournal(path, fault_point=gate)
    asyncio.run(journal.open(SCOPE))
    gate.stop_at = "taken"
    loop = asyncio.new_event_loop()
    task = loop.create_task(journal.accept(new()))
    loop.run_until_complete(asyncio.sleep(0))
    assert gate.arrived.wait(10)
    loop.close()
    gate.way.set()
    assert asyncio.run(counted(journal)) == {sg.journal.Step.NEW: 1}
    assert not task.done()


async def test_full_disk_is_temporary(path, gate) -> None:
    """All callers of that commit get an error, nothing is written, and the next may succeed."""
    async with opened(path, fault_point=gate) as journal:
        full = broken(sqlite3.SQLITE_FULL, "SQLITE_FULL")
        gate.failing = [("written", None), ("written", full)]
        async with asyncio.TaskGroup() as group, gate.closed_gate(journal):
            asked = group.create_task(run_together(*(journal.accept(new(key)) for key in "abc")))
            for _ in range(3):
                await asyncio.sleep(0)
        assert [str(error) for error in asked.result()] == [
            f"the journal {path}: the disk is full (SQLITE_FULL)"
        ] * 3
        assert len({id(error) for error in asked.result()}) == 3
        assert await journal.counts() == {sg.journal.Step.NEW: 1}
        assert await journal.accept(new("a"))


@pytest.mark.parametrize("label", ["taken", "written", "committed"])
@pytest.mark.parametrize(
    "error",
    [broken(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"), RuntimeError("a bug")],
)
async def test_failing_disk(path, gate, label, error) -> None:
    """The state of the disk is unknown: nothing more is written until it is opened again."""
    async with opened(path, fault_point=gate) as journal:
        gate.failing = [(label, error)]
        for _ in range(2):
            with pytest.raises(sg.JournalUnusable, match=r"disk couldn't|a bug"):
                await journal.accept(new())
        await journal.close()
        await journal.open(SCOPE)
        assert await journal.accept(new())


async def test_close_waits_for_pending_requests(path, gate) -> None:
    """No further requests are accepted."""
    journal = sg.SQLiteJournal(path, fault_point=gate)
    await journal.open(SCOPE)
    async with asyncio.TaskGroup() as group, gate.closed_gate(journal):
        jobs = [group.create_task(journal.accept(new(key))) for key in "abc"]
        await asyncio.sleep(0)
        closing = group.create_task(journal.close())
        await asyncio.sleep(0)
        with pytest.raises(sg.Misuse):
            await journal.accept(new("late"))
        assert not closing.done()
    assert [job.result().key for job in jobs] == ["a", "b", "c"]
    assert await reopened(path) == {sg.journal.Step.NEW: 4}


async def test_a_process_that_forked(path) -> None:
    """The thread stays in the parent; the child gets an error instead of waiting for ever."""
    async with opened(path) as journal:
        journal._open_writer._pid += 1
        with pytest.raises(sg.Misuse, match="fork"):
            await journal.find("k")
        journal._open_writer._pid -= 1


async def test_a_journal_left_open(path) -> None:
    """It warns, and releases the file."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    writer = journal._open_writer
    with pytest.warns(sg.errors.LeftOpen, match="never closed"):
        del journal
    await asyncio.to_thread(writer.join)
    assert await reopened(path) == {}


def test_import_does_not_load_sqlite() -> None:
    """SQLite is imported only when it is needed."""
    program = "import sys, smartglocal_async as sg; sg.journal.MemoryJournal, sg.journal.Journal; "
    program += "assert 'sqlite3' not in sys.modules"
    _ = subprocess.run([sys.executable, "-c", program], check=True)
