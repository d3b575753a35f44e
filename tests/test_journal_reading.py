"""A journal's file looked at, with and without somebody who writes to it."""

import sqlite3

import pytest
from paying import order

import smartglocal_async as sg
from smartglocal_async.journal.entries import Batch, Halt, HaltKind, NewEntry
from smartglocal_async.journal.sqlite import SQLiteJournal, SQLiteReader
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.payouts.sending import fingerprint_of


@pytest.fixture
async def written(tmp_path):
    """Give a journal that is open, with two payouts of a batch, one of them claimed."""
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


async def told(reader: SQLiteReader, journal: sg.Journal) -> list[bool]:
    """Say of each answer whether it is the journal's own."""
    return [
        await reader.entries(9) == await journal.entries(9),
        await reader.entries(9, after="k-1", batch="b", steps=[Step.NEW])
        == await journal.entries(9, after="k-1", batch="b", steps=[Step.NEW]),
        await reader.counts(batch="b") == await journal.counts(batch="b"),
        await reader.sums() == await journal.sums(),
        await reader.batch("b") == await journal.batch("b"),
        await reader.halted() == await journal.halted(),
        await reader.history("k-1") == await journal.history("k-1"),
    ]


async def test_it_says_what_the_journal_says(written):
    """While that one is open, and goes on; its leases stay."""
    async with SQLiteReader(written.path) as reader:
        assert all(await told(reader, written))
        await written.halt(Halt(kind=HaltKind.MISMATCH, reason="look"))
        assert all(await told(reader, written))
        assert (await reader.halted()).reason == "look"
    entry = await written.find("k-1")
    assert (entry.owner, entry.step) == ("me", Step.CREATING)


async def test_a_quarantine_that_is_over(written):
    """Ends by the reader's clock, too."""
    await written.halt(Halt(kind=HaltKind.QUARANTINE, reason="restored", until=1e12))
    async with (
        SQLiteReader(written.path) as early,
        SQLiteReader(written.path, clock=lambda: 2e12) as late,
    ):
        assert (await early.halted(), await late.halted()) == (await written.halted(), None)


async def test_a_journal_that_was_closed(written):
    """It needs nobody, and changes nothing: the file's bytes stay."""
    await written.close()
    before = written.path.read_bytes()
    async with SQLiteReader(written.path) as reader:
        assert await reader.counts() == {Step.NEW: 1, Step.CREATING: 1}
    assert written.path.read_bytes() == before
    await written.open("scope")
    assert (await written.find("k-2")).step is Step.NEW


async def test_nothing_can_be_written_through_it(written):
    """SQLite itself forbids it."""
    async with SQLiteReader(written.path) as reader:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._table.connection.execute("DELETE FROM entry")


async def test_what_is_no_journal(tmp_path):
    """Each is told in its own words; nothing is made."""
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
    """Else it is misuse."""
    with pytest.raises(sg.Misuse, match="isn't open"):
        await SQLiteReader(tmp_path / "j").counts()
