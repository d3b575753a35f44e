"""The journal in a file: what it refuses, what it shares, and what it says when a disk fails."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from journal_conformance import LEASE, SCOPE, bring, new, together

import smartglocal_async as sg
from smartglocal_async.journal.sqlite import faults, file

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


class Gate:
    """A fault point that stops the writing thread, and counts what passes."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.way = threading.Event()
        self.arrived = threading.Event()
        self.stop_at: str | None = None
        self.failing: list[tuple[str, Exception | None]] = []

    def __call__(self, label: str) -> None:
        """Note the label; wait or fail if it is the one."""
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
    async def closed(self, journal):
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
    """Give the name of a file that isn't there."""
    return tmp_path / "payouts.db"


@pytest.fixture
def gate() -> Gate:
    """Give a gate that is open."""
    return Gate()


@contextlib.asynccontextmanager
async def opened(path, **options):
    """Give an open journal."""
    journal = sg.SQLiteJournal(path, **options)
    try:
        await journal.open(SCOPE)
        yield journal
    finally:
        await journal.close()


async def refusal(path) -> str:
    """Open a journal that can't be; give the words."""
    journal = sg.SQLiteJournal(path)
    with pytest.raises(sg.JournalUnusable) as caught:
        await journal.open(SCOPE)
    await journal.close()
    assert str(path) in str(caught.value)
    return str(caught.value)


def broken(code: int, name: str) -> sqlite3.OperationalError:
    """Give an error as SQLite raises it."""
    error = sqlite3.OperationalError(name)
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


async def test_only_the_owner_may_read_it(path) -> None:
    """Nor the files beside it."""
    async with opened(path) as journal:
        await journal.accept(new())
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    names = ["payouts.db", "payouts.db-shm", "payouts.db-wal", "payouts.db.lock"]
    assert modes == dict.fromkeys(names, 0o600)


async def test_the_settings_that_stick(path) -> None:
    """Read back in the thread that has the connection."""

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


def test_a_setting_that_does_not_stick(path) -> None:
    """It is no journal then: here, a database that can't have a log of its own."""
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sg.JournalUnusable, match="wouldn't set journal_mode to wal"),
    ):
        file._set(connection, path)


async def test_one_journal_for_a_file(path) -> None:
    """A second one is refused, and told who has it; it may come later."""
    async with opened(path):
        assert f"process {os.getpid()} has it" in await refusal(path)
    async with opened(path):
        pass


def test_one_process_for_a_file(path) -> None:
    """Its lock dies with it, even by SIGKILL."""
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
    """Open and close it; give what is in it."""
    async with opened(path) as journal:
        return dict(await journal.counts())


async def test_the_leases_of_a_dead_process_are_over(path) -> None:
    """Nobody else can have the file, so nobody waits for them."""
    async with opened(path) as journal:
        mine = await bring(journal, sg.Step.STARTING)
    async with opened(path) as journal:
        with pytest.raises(sg.LostLease):
            await journal.advance(mine, sg.Event.START_KNOWN)
        assert [entry.key for entry in await journal.open_entries(9)] == ["k"]
        assert (await journal.claim("k", "you", LEASE)).fence == 2


async def test_a_journal_that_must_be_there(path) -> None:
    """Whoever only looks makes none, and is told where there is none; one that is there opens."""
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
    """It is left as it is, to the byte."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        _ = other.execute("CREATE TABLE entry (a)")
    before = path.read_bytes()
    assert "isn't a journal" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database(path) -> None:
    """Nor is it touched."""
    path.write_text("payout,amount\n" * 1000)
    assert "isn't a journal" in await refusal(path)
    assert path.read_text() == "payout,amount\n" * 1000


async def test_a_newer_version(path) -> None:
    """It is not guessed at."""
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as other:
        _ = other.execute("PRAGMA user_version = 9")
    assert "is of version 9, and this release knows 1" in await refusal(path)


@pytest.mark.parametrize("cut", [False, True])
async def test_a_damaged_file(path, cut) -> None:
    """Overwritten or cut short, it is found before anything is sent."""
    async with opened(path) as journal:
        for n in range(200):
            await journal.accept(new(f"k{n}", request=b"x" * 500))
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + (b"" if cut else b"\xff" * 8192 + whole[half + 8192 :]))
    assert "damaged" in await refusal(path)


async def test_a_folder_that_is_not_there(tmp_path) -> None:
    """The text names it."""
    assert "no such file" in await refusal(tmp_path / "nowhere" / "j.db")


async def test_a_folder_in_the_place_of_the_file(tmp_path) -> None:
    """The same."""
    (tmp_path / "j.db").mkdir()
    assert "can't be opened" in await refusal(tmp_path / "j.db")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="it needs a folder nobody may write to")
async def test_a_folder_that_may_not_be_written() -> None:
    """Root may not either, here."""
    assert await refusal(Path("/proc/self/j.db"))


def test_a_file_that_may_not_be_written(path) -> None:
    """In words, from SQLite's own error."""
    asyncio.run(reopened(path))
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader,
        pytest.raises(sqlite3.OperationalError) as caught,
    ):
        _ = reader.execute("DELETE FROM entry")
    assert "it is read-only (SQLITE_READONLY)" in str(faults.unusable(path, caught.value))


async def test_another_program_writes(path, monkeypatch) -> None:
    """The journal waits, says so, and works again when it is done."""
    monkeypatch.setitem(file._PRAGMAS, "busy_timeout", 1)
    async with opened(path) as journal:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            _ = other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sg.JournalUnusable, match="another program is writing"):
                await journal.accept(new())
        assert await journal.accept(new())


async def test_it_can_be_opened_after_a_refusal(path) -> None:
    """Once what was wrong is mended; the same object."""
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
    assert await together(*(journal.open(SCOPE) for _ in range(5))) == [None] * 5
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


async def test_callers_share_a_commit(path, gate) -> None:
    """Those who ask while one is written go together, 512 at most."""
    async with opened(path, fault_point=gate) as journal:
        async with asyncio.TaskGroup() as group, gate.closed(journal):
            gate.labels.clear()
            for n in range(600):
                _ = group.create_task(journal.accept(new(f"k{n}")))
            await asyncio.sleep(0)
        assert gate.labels.count("committed") == 3
        assert await journal.counts() == {sg.Step.NEW: 601}


async def test_those_who_refuse_share_it_too(path, gate) -> None:
    """A refusal takes nothing of the others along, even in the midst of its writing."""

    def half_done(table) -> None:
        table.insert(entry)
        raise ValueError("no")

    async with opened(path, fault_point=gate) as journal:
        entry = await journal.accept(new("template"))
        entry = sg.Entry(
            **{n: getattr(entry, n) for n in entry.__slots__ if n not in {"key", "__weakref__"}},
            key="half",
        )

        async def half() -> str:
            try:
                await journal._read(half_done)
            except ValueError as error:
                return str(error)
            return "done"

        async with gate.closed(journal), asyncio.TaskGroup() as group:
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
    """Its caller hears of it, and nobody else."""
    async with opened(path) as journal:

        async def odd() -> bool:
            try:
                await journal.accept(new(**{"key": "odd", **value}))
            except (sg.Misuse, UnicodeError, OverflowError):
                return True
            return False

        assert (await together(journal.accept(new("a")), odd(), journal.accept(new("b"))))[1]
        assert await journal.counts() == {sg.Step.NEW: 2}


async def test_a_caller_that_is_cancelled(path, gate) -> None:
    """In the queue it is forgotten; in the commit, the others' commit goes on."""
    async with opened(path, fault_point=gate) as journal:
        async with gate.closed(journal), asyncio.TaskGroup() as group:
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
    """Each hears of its own, and one journal serves all."""
    journal = sg.SQLiteJournal(path)
    asyncio.run(journal.open(SCOPE))
    got: dict[int, list] = {}

    async def work(worker: int) -> None:
        asked = (journal.accept(new(f"{worker}-{n}")) for n in range(50))
        got[worker] = await together(*asked)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker, entries in got.items():
        assert [entry.key for entry in entries] == [f"{worker}-{n}" for n in range(50)]
    assert asyncio.run(counted(journal)) == {sg.Step.NEW: 200}


async def counted(journal) -> dict:
    """Count, and close."""
    counts = dict(await journal.counts())
    await journal.close()
    return counts


def test_a_loop_that_is_gone(path, gate) -> None:
    """What it asked for is done, and the thread goes on."""
    journal = sg.SQLiteJournal(path, fault_point=gate)
    asyncio.run(journal.open(SCOPE))
    gate.stop_at = "taken"
    loop = asyncio.new_event_loop()
    task = loop.create_task(journal.accept(new()))
    loop.run_until_complete(asyncio.sleep(0))
    assert gate.arrived.wait(10)
    loop.close()
    gate.way.set()
    assert asyncio.run(counted(journal)) == {sg.Step.NEW: 1}
    assert not task.done()


async def test_a_full_disk_passes(path, gate) -> None:
    """Everybody of that commit is told, nothing of it is there, and the next may go well."""
    async with opened(path, fault_point=gate) as journal:
        full = broken(sqlite3.SQLITE_FULL, "SQLITE_FULL")
        gate.failing = [("written", None), ("written", full)]
        async with asyncio.TaskGroup() as group, gate.closed(journal):
            asked = group.create_task(together(*(journal.accept(new(key)) for key in "abc")))
            for _ in range(3):
                await asyncio.sleep(0)
        assert [str(error) for error in asked.result()] == [
            f"the journal {path}: the disk is full (SQLITE_FULL)"
        ] * 3
        assert len({id(error) for error in asked.result()}) == 3
        assert await journal.counts() == {sg.Step.NEW: 1}
        assert await journal.accept(new("a"))


@pytest.mark.parametrize("label", ["taken", "written", "committed"])
@pytest.mark.parametrize(
    "error",
    [broken(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"), RuntimeError("a bug")],
)
async def test_a_disk_that_fails(path, gate, label, error) -> None:
    """Nobody knows what is on it: nothing more is written until it is opened again."""
    async with opened(path, fault_point=gate) as journal:
        gate.failing = [(label, error)]
        for _ in range(2):
            with pytest.raises(sg.JournalUnusable, match=r"disk couldn't|a bug"):
                await journal.accept(new())
        await journal.close()
        await journal.open(SCOPE)
        assert await journal.accept(new())


async def test_closing_waits_for_what_was_asked(path, gate) -> None:
    """And takes nothing more."""
    journal = sg.SQLiteJournal(path, fault_point=gate)
    await journal.open(SCOPE)
    async with asyncio.TaskGroup() as group, gate.closed(journal):
        jobs = [group.create_task(journal.accept(new(key))) for key in "abc"]
        await asyncio.sleep(0)
        closing = group.create_task(journal.close())
        await asyncio.sleep(0)
        with pytest.raises(sg.Misuse):
            await journal.accept(new("late"))
        assert not closing.done()
    assert [job.result().key for job in jobs] == ["a", "b", "c"]
    assert await reopened(path) == {sg.Step.NEW: 4}


async def test_a_process_that_forked(path) -> None:
    """The thread stays in the parent: the child is told, instead of waiting for ever."""
    async with opened(path) as journal:
        journal._open_writer._pid += 1
        with pytest.raises(sg.Misuse, match="fork"):
            await journal.find("k")
        journal._open_writer._pid -= 1


async def test_a_journal_left_open(path) -> None:
    """It complains, and lets the file go."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    writer = journal._open_writer
    with pytest.warns(sg.LeftOpen, match="never closed"):
        del journal
    await asyncio.to_thread(writer.join)
    assert await reopened(path) == {}


def test_the_import_leaves_sqlite_alone() -> None:
    """Until it is asked for."""
    program = "import sys, smartglocal_async as sg; sg.MemoryJournal, sg.Journal; "
    program += "assert 'sqlite3' not in sys.modules"
    _ = subprocess.run([sys.executable, "-c", program], check=True)
