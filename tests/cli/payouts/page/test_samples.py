"""What the page reads at intervals: counts, what needs review, and a journal that is gone."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cutting_proxy import proxied
from journal_conformance import bring_to
from payout_pages import SERVER, WrittenJournal, browsing, set_environment, words_of, write_journal
from postgres_schemas import DSN, connected, execute, needs_postgres
from postgres_server import needs_server, server

import smartglocal_async as sg
from smartglocal_async.cli.payouts.page.samples import JournalSampler
from smartglocal_async.journal.postgres.grants import grants
from smartglocal_async.journal.rows import scope_of
from smartglocal_async.journal.sqlite import SQLiteReader
from smartglocal_async.payouts.orders import PayoutState
from smartglocal_async.retry import Timing

Step = sg.journal.Step
TWO_DAYS = 2 * 24 * 3600.0

_NOBODY: Final = 65534


@pytest.fixture
async def old(tmp_path, monkeypatch):
    """Return a file with payouts of two days ago: many unknown, one open and one paid."""
    set_environment(monkeypatch)
    path = tmp_path / "j.db"
    journal = sg.SQLiteJournal(path, clock=lambda: Timing().now().timestamp() - TWO_DAYS)
    await journal.open(scope_of(SERVER, "demo", None))
    for number in range(25):
        await bring_to(journal, Step.UNKNOWN, f"u{number:02}", batch="a", amount=1, currency="usd")
    await bring_to(journal, Step.STARTED, "late", batch="b")
    await bring_to(journal, Step.SUCCEEDED, "paid", batch="b")
    await journal.close()
    return path


async def test_what_needs_review(old):
    """All that is unknown, and what is open for more than a day, is counted; the first listed."""
    journal = sg.SQLiteJournal(old)
    await journal.open(scope_of(SERVER, "demo", None))
    await bring_to(journal, Step.STARTED, "young", batch="b")
    await journal.close()
    async with SQLiteReader(old) as book:
        sampler = JournalSampler(book)
        await sampler.read()
        sample = sampler.sample
    assert sample.case_count == 26
    assert [case.key for case in sample.cases] == [f"u{number:02}" for number in range(20)]
    assert [one.name for one in sample.batches] == ["b", "a"]
    assert sample.counts == {
        PayoutState.UNKNOWN: 25,
        PayoutState.OPEN: 2,
        PayoutState.SUCCEEDED: 1,
    }
    assert sample.workers is None


async def test_an_open_payout_of_two_days_ago(old):
    """It is listed with what is unknown, and its page says to ask the provider again."""
    journal = sg.SQLiteJournal(old)
    await journal.open(scope_of(SERVER, "demo", None))
    for number in range(25):
        entry = await journal.claim(f"u{number:02}", "me", 30.0, respects_halt=False)
        await journal.advance(entry, sg.journal.Event.PAID)
    await journal.close()
    async with browsing(WrittenJournal(str(old))) as browser:
        _, page = await browser.get()
        assert "1 payout needs a person" in words_of(page)
        assert "it has been at STARTED for more than a day" in page
        _, page = await browser.get("/payout?key=late")
        assert "Ask the provider's status again" in words_of(page).replace("&#39;", "'")


async def test_a_rate_and_the_time_left(old):
    """They follow from two counts of the same journal; a pause has none."""
    async with SQLiteReader(old) as book:
        sampler = JournalSampler(book)
        await sampler.read()
        assert sampler.sample.batch("b").rate is None
        journal = sg.SQLiteJournal(old)
        await journal.open(scope_of(SERVER, "demo", None))
        await bring_to(journal, Step.SUCCEEDED, "more", batch="b")
        await sampler.read()
        assert sampler.sample.batch("b").rate > 0
        assert sampler.sample.batch("b").eta_seconds > 0
        await journal.put_batch(sg.journal.Batch(name="b"))
        await journal.set_batch_state("b", sg.journal.BatchState.PAUSED)
        await sampler.read()
        assert sampler.sample.batch("b").rate is None
        await journal.close()


@needs_postgres
async def test_a_journal_that_is_gone(tmp_path, schema, monkeypatch):
    """The page says so, and keeps what it read last; it isn't ready until it can read again."""
    set_environment(monkeypatch)
    journal = await write_journal("postgres", tmp_path, schema)
    async with browsing(journal) as browser:
        url = f"{browser.page.url}events"
        async with browser.session.get(url) as events, asyncio.timeout(60):
            await execute("ALTER SCHEMA {name} RENAME TO {name}_x", name=schema)
            async for line in events.content:
                _, page = await browser.get()
                if line.startswith(b"data:") and "can't be read now" in page:
                    break
            else:
                pytest.fail("the events ended")
        assert "may.csv" in page
        assert (await browser.get("/payouts"))[0] == 503
        await execute("ALTER SCHEMA {name}_x RENAME TO {name}", name=schema)
        assert (await browser.get("/payouts"))[0] == 200


@needs_postgres
async def test_a_database_that_can_not_be_reached(tmp_path, schema, monkeypatch):
    """A page says so after moments, and is shown again once the database is back."""
    set_environment(monkeypatch)
    await write_journal("postgres", tmp_path, schema)
    place = f"?schema={schema}"
    async with proxied(DSN) as (proxy, dsn), browsing(WrittenJournal(dsn + place)) as b:
        assert (await b.get("/payouts"))[0] == 200
        proxy.is_down = True
        proxy.cut()
        async with asyncio.timeout(25):  # A worker tries for 30 s.
            status, page = await b.get("/payouts")
        assert (status, "can&#39;t be reached" in page) == (503, True)
        assert (await b.get("/"))[0] == 200
        proxy.is_down = False
        assert (await b.get("/payouts"))[0] == 200


@needs_server
async def test_a_server_that_hangs_and_is_started_again(tmp_path, monkeypatch):
    """One that answers nothing, as when its machine is gone, is given up after moments, too."""
    set_environment(monkeypatch)
    with server() as own:
        monkeypatch.setattr("payout_pages.DSN", own.dsn)
        journal = await write_journal("postgres", tmp_path, "hangs")
        async with browsing(journal, allow_changes=True) as browser:
            await browser.sign_in()
            assert (await browser.get("/payouts"))[0] == 200
            for stop, start in ((own.freeze, own.thaw), (own.stop, own.start)):
                await asyncio.to_thread(stop)
                for path in ("/payouts", "/payout?key=k-paid", "/search?q=k-paid", "/payouts"):
                    async with asyncio.timeout(25):  # A worker tries for 30 s.
                        status, page = await browser.get(path)
                    assert (status, "journal" in words_of(page)) == (503, True), path
                async with asyncio.timeout(25):
                    assert (await browser.change("pause", batch="may.csv"))[0] in {409, 503}
                assert (await browser.get("/"))[0] == 200
                await asyncio.to_thread(start)
                assert (await browser.get("/payouts"))[0] == 200


@needs_postgres
async def test_a_user_that_may_only_read(tmp_path, schema, monkeypatch):
    """The rights of `journal grants --read-only` are enough for the page."""
    set_environment(monkeypatch)
    await write_journal("postgres", tmp_path, schema)
    role = f"{schema}_reader"
    await execute("CREATE ROLE {name}", name=role)
    try:
        async with connected() as connection:
            for statement in grants(schema, role, only_reads=True):
                await connection.execute(statement)
        place = f"{DSN}?role={role}&schema={schema}"
        async with browsing(WrittenJournal(place)) as browser:
            for path in ("/", "/payouts", "/batch?name=may.csv", "/payout?key=k-unknown"):
                assert (await browser.get(path))[0] == 200
        await execute(
            "REVOKE SELECT ON {schema}.operator_action FROM {name}", name=role, schema=schema
        )
        async with browsing(WrittenJournal(place)) as browser:
            assert (await browser.get())[0] == 200
        with pytest.raises(sg.JournalUnusable, match=r"lacks a right .* GRANT UPDATE ON"):
            async with browsing(WrittenJournal(place), allow_changes=True):
                pass
    finally:
        await execute("DROP OWNED BY {name}; DROP ROLE {name}", name=role)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the rights of files of POSIX")
async def test_a_file_that_may_only_be_read(tmp_path, monkeypatch):
    """The page reads it; with `--allow-changes` it isn't even started."""
    set_environment(monkeypatch)
    journal = await write_journal("sqlite", tmp_path, "")
    async with browsing(journal) as browser:  # Modules are imported before the user changes.
        assert (await browser.get("/payouts"))[0] == 200
    with readable_only(tmp_path):
        async with browsing(journal) as browser:
            assert (await browser.get("/payouts"))[0] == 200
        with pytest.raises(sg.JournalUnusable, match="permission denied"):
            async with browsing(journal, allow_changes=True):
                pass


@contextlib.contextmanager
def readable_only(folder: Path) -> Iterator[None]:
    """Let this process have only the right to read a folder's files, also if it is root."""
    is_root = os.geteuid() == 0
    places = [folder, *folder.parents] if is_root else [folder]
    modes = {place: place.stat().st_mode for place in places}
    for file in folder.iterdir():
        file.chmod(0o444)
    for place in places:
        place.chmod(modes[place] | 0o555)
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for place, mode in modes.items():
            place.chmod(mode)
