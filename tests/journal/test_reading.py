"""The read-only journal over a file, with and without a writer."""

import asyncio
import sqlite3
import threading

import pytest
from paying import order

import smartglocal_async as sg
from smartglocal_async.journal.entries import Batch, Halt, HaltKind, NewEntry
from smartglocal_async.journal.sqlite import SQLiteJournal, SQLiteReader
from smartglocal_async.journal.sqlite.tables import SQLiteRows
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.payouts.calls import fingerprint_of


@pytest.fixture
async def written(tmp_path):
    """Yield an open journal with two payouts of a batch, one of them claimed."""
    journal = SQLiteJournal(tmp_path / "j")
    await journal.open("scope")
    await journal.put_batch(Batch(name="b", digest=b"x" * 32, rows=3, totals={"usd": 30_000}))
    for ordinal, key in enumerate(("k-1", "k-2")):
        await journal.accept(
            NewEntry(
                key=key,
                mode="manual",
                fingerprint=fingerprint_of(order(key), journal.secret),
                amount=10_000,
                currency="usd",
                batch="b",
                ordinal=ordinal,
            )
        )
    claimed = await journal.claim("k-1", "me", 60.0)
    await journal.advance(claimed, Event.CREATE_INTENDED)
    yield journal
    await journal.close()


async def same_answers(reader: SQLiteReader, journal: sg.journal.Journal) -> list[bool]:
    """Return for each answer whether it equals the journal's own."""
    return [
        await reader.entries(9) == await journal.entries(9),
        await reader.entries(9, after="k-1", batch="b", steps=[Step.NEW])
        == await journal.entries(9, after="k-1", batch="b", steps=[Step.NEW]),
        await reader.counts(batch="b") == await journal.counts(batch="b"),
        await reader.sums() == await journal.sums(),
        await reader.batch("b") == await journal.batch("b"),
        await reader.halted() == await journal.halted(),
        await reader.history("k-1") == await journal.history("k-1"),
        await reader.find("k-2") == await journal.find("k-2"),
        await reader.by_session("ps_1") == await journal.by_session("ps_1"),
        await reader.actions(9) == await journal.actions(9),
    ]


async def test_same_answers_as_the_journal(written):
    """It returns the same as the open journal, which continues; leases stay."""
    async with SQLiteReader(written.path) as reader:
        assert all(await same_answers(reader, written))
        await written.halt(Halt(kind=HaltKind.MISMATCH, reason="look"))
        assert all(await same_answers(reader, written))
        assert (await reader.halted()).reason == "look"
    entry = await written.find("k-1")
    assert (entry.owner, entry.step) == ("me", Step.CREATING)


async def test_quarantine_that_ended(written):
    """A halt ends by the reader's clock, too."""
    await written.halt(Halt(kind=HaltKind.QUARANTINE, reason="restored", until=1e12))
    async with (
        SQLiteReader(written.path) as early,
        SQLiteReader(written.path, clock=lambda: 2e12) as late,
    ):
        assert (await early.halted(), await late.halted()) == (await written.halted(), None)


async def test_a_journal_that_was_closed(written):
    """It needs no writer and leaves the file's bytes unchanged."""
    await written.close()
    before = written.path.read_bytes()
    async with SQLiteReader(written.path) as reader:
        assert await reader.counts() == {Step.NEW: 1, Step.CREATING: 1}
    assert written.path.read_bytes() == before
    await written.open("scope")
    assert (await written.find("k-2")).step is Step.NEW


async def test_nothing_can_be_written_through_it(written):
    """SQLite itself refuses the write."""
    async with SQLiteReader(written.path) as reader:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._rows.connection.execute("DELETE FROM entry")


async def test_invalid_files(tmp_path):
    """Each error has its own message, and no file is created."""
    path = tmp_path / "j"
    with pytest.raises(sg.JournalUnusable, match="there is no journal"):
        async with SQLiteReader(path):
            pass
    assert not path.exists()
    path.write_bytes(b"")
    with pytest.raises(sg.JournalUnusable, match="nothing was ever written to it"):
        async with SQLiteReader(path):
            pass
    path.write_bytes(b"some text that is no database, and long enough for a header" * 40)
    with pytest.raises(sg.JournalUnusable, match="isn't SQLite at all"):
        async with SQLiteReader(path):
            pass
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(sg.JournalUnusable, match="another program's file"):
        async with SQLiteReader(tmp_path / "other"):
            pass


async def test_it_has_to_be_open(tmp_path):
    """Using it before opening is misuse."""
    with pytest.raises(sg.Misuse, match="isn't open"):
        await SQLiteReader(tmp_path / "j").counts()


async def test_a_reader_that_is_cancelled(written):
    """The next one, and the end, wait until its thread has left the file."""
    begun, goes_on, order_of_reads = threading.Event(), threading.Event(), list[str]()

    def slow(rows: SQLiteRows) -> None:
        begun.set()
        goes_on.wait()
        order_of_reads.append(f"slow {rows.revision()}")

    async with SQLiteReader(written.path) as reader:
        first = asyncio.ensure_future(reader._read(slow))
        await asyncio.to_thread(begun.wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(reader._read(lambda _: order_of_reads.append("second")))
        await asyncio.sleep(0)
        goes_on.set()
        await second
        assert [one.split()[0] for one in order_of_reads] == ["slow", "second"]
    with pytest.raises(sg.errors.Misuse):
        await reader.counts()
