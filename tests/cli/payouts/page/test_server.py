"""The page over HTTP: what it shows of a journal in a file and in a database, and its changes."""

import asyncio
import html
import re
import shutil
from pathlib import Path

import pytest
from journal_conformance import bring_to
from payout_pages import (
    KEY,
    STEPS,
    WrittenJournal,
    browsing,
    set_environment,
    words_of,
    write_journal,
)
from postgres_schemas import execute, needs_postgres

import smartglocal_async as sg
from smartglocal_async.payouts.orders import SUMMARY_PURPOSE

Step, BatchState = sg.journal.Step, sg.journal.BatchState
BOTH = ["sqlite", pytest.param("postgres", marks=needs_postgres)]


@pytest.fixture(params=BOTH)
async def journal(request, tmp_path, schema, monkeypatch):
    """Return a journal with payouts at many steps."""
    set_environment(monkeypatch)
    return await write_journal(request.param, tmp_path, schema)


@pytest.fixture
async def postgres(tmp_path, schema, monkeypatch):
    """Return the same in a database."""
    set_environment(monkeypatch)
    return await write_journal("postgres", tmp_path, schema)


async def test_the_batches(journal):
    """Each batch has its progress, sums and state; what needs review has what is known of it."""
    async with browsing(journal) as browser:
        status, page = await browser.get()
    words = words_of(page)
    assert status == 200
    assert "1 Paid 1 Failed 1 Cancelled 1 Unknown 3 Open" in words
    assert "4 of 7 settled, 57 %" in words
    assert "Paid 100.00 USD Failed 100.00 USD Cancelled 100.00 USD Unknown 100.00 USD" in words
    assert "june &amp; &lt;co&gt;.csv" in words
    assert "Open 1,234.56 EUR" in words
    assert "1 payout needs a person" in words
    assert "k-unknown 100.00 USD John Doe, ...3003" in words
    assert ("1 worker alive" in words) == journal.place.startswith("postgres")
    assert '<form action="/change"' not in page


async def test_one_batch(journal):
    """A batch has its totals, rules and payouts; an unknown one has a page that says so."""
    async with browsing(journal) as browser:
        status, page = await browser.get("/batch?name=may.csv")
        words = words_of(page)
        assert status == 200
        assert "In the file: 7 rows, 700.00 USD" in words
        assert "after 5 in a row that were not paid" in words
        assert "1 rows of the file are not in the batch" in words
        assert [key for key in STEPS if f"{key} " in words] == list(STEPS)
        status, page = await browser.get("/batch?name=" + "june%20%26%20%3Cco%3E.csv")
        assert (status, "<b>j</b>" in html.unescape(words_of(page))) == (200, True)
        assert "<b>j</b>" not in page
        status, page = await browser.get("/batch?name=july")
        assert (status, "the journal has no batch" in page) == (404, True)


@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("succeeded", ["k-paid"]),
        ("failed", ["k-failed"]),
        ("cancelled", ["k-cancelled"]),
        ("unknown", ["k-unknown"]),
        ("open", ["k-new", "k-started"]),
        ("other", list(STEPS)),
    ],
)
async def test_payouts_by_state(journal, state, keys):
    """The filters of a batch, and those of the whole journal, which has one more open payout."""
    async with browsing(journal) as browser:
        _, page = await browser.get(f"/batch?name=may.csv&state={state}")
        assert [key for key in STEPS if f'?key={key}"' in page] == keys
        _, page = await browser.get(f"/payouts?state={state}")
        assert [key for key in STEPS if f'?key={key}"' in page] == keys
        assert ("%3Cb%3Ej%3C%2Fb%3E" in page) == (state in {"open", "other"})


async def test_pages_of_payouts(journal):
    """Fifty payouts make a page; the links lead through all of them, each once."""
    async with journal.opened() as writer:
        for number in range(120):
            step = Step.FAILED if number % 2 else Step.SUCCEEDED
            await bring_to(writer, step, f"x{number:03}", batch="large", amount=1, currency="usd")
    for state, count in (("", 120), ("&state=failed", 60), ("&state=succeeded", 60)):
        async with browsing(journal) as browser:
            path, found, pages = f"/batch?name=large{state}", list[str](), 0
            while path:
                _, page = await browser.get(path)
                found += [part[:4] for part in page.split("?key=")[1:]]
                following = page.partition('">Next</a>')[0].rpartition('href="')[2]
                path = html.unescape(following) if '">Next</a>' in page else ""
                pages += 1
        assert (len(found), len(set(found)), found) == (count, count, sorted(found))
        assert pages == -(-count // 50)


async def test_one_payout(journal):
    """It has its facts and its log, and what to do if it needs review."""
    async with browsing(journal) as browser:
        status, page = await browser.get("/payout?key=k-unknown")
        words = words_of(page)
        assert status == 200
        for part in ("Amount 100.00 USD", "Payee John Doe, ...3003", "Batch may.csv", "parked"):
            assert part in words
        assert "Look up" in words
        _, page = await browser.get("/payout?key=k-paid")
        assert "Needs review" not in page
        status, page = await browser.get("/payout?key=nothing")
        assert (status, "no payout with the key" in page) == (404, True)


async def test_search(journal):
    """A key and a session lead to the payout, a name to its batch, other text to the payees."""
    async with journal.opened() as writer:
        session = (await writer.find("k-started")).session_id
    async with browsing(journal) as browser:
        for text, title in ((session, "k-started"), ("k-paid", "k-paid"), ("may.csv", "may.csv")):
            _, page = await browser.get(f"/search?q={text}")
            assert f"<title>{title}</title>" in page
        _, page = await browser.get("/search?q=jane")
        found = [key for key in STEPS if f'?key={key}"' in page]
        assert found == ["k-paid", "k-cancelled", "k-new"]
        _, page = await browser.get("/search?q=3003")
        assert [key for key in STEPS if f'?key={key}"' in page] == ["k-unknown"]


async def test_no_payees_without_the_key(journal, monkeypatch):
    """Without the journal's key no page has a name or an account, and the search says why."""
    set_environment(monkeypatch, has_key=False)
    async with browsing(journal) as browser:
        for path in ("/", "/payouts", "/batch?name=may.csv", "/payout?key=k-unknown"):
            _, page = await browser.get(path)
            assert not {name for name in ("Jane", "John", "...300") if name in page}
        status, page = await browser.get("/search?q=jane")
        assert (status, "SMARTGLOCAL_JOURNAL_KEY" in page) == (404, True)


async def test_nothing_is_written(journal):
    """Reading all pages changes nothing in the journal, and claims nothing."""
    async with journal.opened() as writer:
        before = await writer.entries(99), await writer.batch("may.csv"), await writer.halted()
    async with browsing(journal) as browser:
        for path in ("/", "/payouts", "/batch?name=may.csv", "/payout?key=k-unknown"):
            assert (await browser.get(path))[0] == 200
    async with journal.opened() as writer:
        after = await writer.entries(99), await writer.batch("may.csv"), await writer.halted()
    assert after == before


async def test_beside_a_writer(journal):
    """A process that pays isn't disturbed by the page, and the page shows what it writes."""
    async with browsing(journal) as browser, journal.opened() as writer:
        for number in range(3):
            await bring_to(writer, Step.SUCCEEDED, f"late-{number}", batch="may.csv")
            _, page = await browser.get("/payouts")
            assert f"?key=late-{number}" in page


async def test_a_halt_is_shown(journal):
    """The reason of a halt is on top."""
    async with journal.opened() as writer:
        halt = sg.journal.Halt(kind=sg.journal.HaltKind.CONFLICT, reason="money moved twice")
        await writer.halt(halt)
    async with browsing(journal) as browser:
        _, page = await browser.get()
    assert "All payouts are halted money moved twice" in words_of(page)


async def test_changes_of_a_batch(journal):
    """Pause, resume and cancel are in the journal, with who and when, and on the page."""
    async with browsing(journal, allow_changes=True, operator="ann") as browser:
        await browser.sign_in()
        status, words = await browser.change("pause", batch="may.csv", reason="a look")
        assert (status, "Paused: a look" in words) == (200, True)
        assert "ann paused may.csv a look" in words
        status, words = await browser.change("resume", batch="may.csv")
        assert (status, "ann resumed may.csv" in words) == (200, True)
        status, words = await browser.change("cancel", batch="may.csv")
        assert (status, "Cancelled: by ann" in words) == (200, True)
        status, words = await browser.change("resume", batch="may.csv")
        assert (status, "was cancelled, and can't change" in html.unescape(words)) == (409, True)
        status, _ = await browser.change("drop", batch="may.csv")
        assert status == 400
    async with journal.opened() as writer:
        actions = await writer.actions(9)
        assert [(one.operator, one.action) for one in actions] == [
            *(("ann", "cancelled"), ("ann", "running"), ("ann", "paused")),
        ]
        assert (await writer.batch("may.csv")).state is BatchState.CANCELLED
        assert (await writer.find("k-new")).step is Step.CANCELLED
        assert (await writer.find("k-started")).step is Step.STARTED


@pytest.mark.parametrize(
    ("decision", "step"), [("paid", Step.SUCCEEDED), ("not-paid", Step.FAILED)]
)
async def test_decisions(journal, decision, step):
    """A decision needs a reason; it is in the log, and the operator beside it."""
    async with browsing(journal, allow_changes=True, operator="bob") as browser:
        await browser.sign_in()
        _, page = await browser.get("/payout?key=k-unknown")
        assert re.search('type="radio" name="change" value="paid" required', page)
        assert '" checked' not in page
        assert f"Record k-unknown, 100.00 USD, as {decision.replace('-', ' ')}?" in page
        assert (await browser.change(decision, key="k-unknown", reason=""))[0] == 400
        status, words = await browser.change(decision, key="k-unknown", reason="seen in the report")
        assert (status, "seen in the report" in words, "Needs review" in words) == (
            200,
            True,
            False,
        )
        assert "bob recorded as" in words
        assert (await browser.change(decision, key="k-unknown", reason="again"))[0] == 409
    async with journal.opened() as writer:
        entry = await writer.find("k-unknown")
        assert (entry.step, entry.reason) == (step, "seen in the report")
        [action] = await writer.actions(9, key="k-unknown")
        assert (action.operator, action.batch, action.detail) == (
            *("bob", "may.csv", "seen in the report"),
        )


@pytest.mark.parametrize("key", ["k-new", "k-started"])
@pytest.mark.parametrize("decision", ["paid", "not-paid"])
async def test_a_decision_about_a_payout_that_needs_no_review(journal, key, decision):
    """It is refused, also without the form: a worker goes on with such a payout."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        status, words = await browser.change(decision, key=key, reason="a guess")
        assert (status, "needs no review" in words) == (409, True)
        assert (await browser.change(decision, key="none", reason="a guess"))[0] == 404
    async with journal.opened() as writer:
        assert not (await writer.find(key)).step.is_final
        assert await writer.actions(9) == ()


@pytest.mark.parametrize("reason", ["x" * 501, "a\x1b[31mb", "a\nb", "a\0b", "a\u202eb"])
async def test_a_reason_that_is_refused(journal, reason):
    """It is too long, or has control characters."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        for action in ("pause", "cancel", "paid"):
            status, words = await browser.change(
                action, batch="may.csv", key="k-unknown", reason=reason
            )
            assert (status, "without control characters" in words) == (400, True)
    async with journal.opened() as writer:
        assert await writer.actions(9) == ()


@pytest.mark.parametrize(
    "path", ["/payout?key=a%00", "/search?q=%00", "/batch?name=%00", "/payouts?batch=%00&after=%00"]
)
async def test_a_nul(journal, path):
    """Nothing has that name, and the database isn't asked."""
    async with browsing(journal, allow_changes=True) as browser:
        assert (await browser.get(path))[0] == 404
        await browser.sign_in()
        assert (await browser.change("pause", batch="\0"))[0] == 404


@needs_postgres
async def test_limits(postgres):
    """Limits are set, removed, and refused if they aren't numbers above zero."""
    async with browsing(postgres, allow_changes=True, operator="ann") as browser:
        await browser.sign_in()
        status, words = await browser.change("limits", rate="12.5", concurrency="30")
        assert (status, "12.5 per second, 30 at a time" in words) == (200, True)
        status, words = await browser.change("limits", rate="", concurrency="30")
        assert (status, "any number per second, 30 at a time" in words) == (200, True)
        for wrong in ("0", "-1", "many", "nan"):
            assert (await browser.change("limits", rate=wrong, concurrency=""))[0] == 400
    async with postgres.opened() as writer:
        assert (await writer.limits()).concurrency == 30
        assert [one.action for one in await writer.actions(9)] == ["limits", "limits"]


async def test_a_file_that_another_process_pays_from(tmp_path, schema, monkeypatch):
    """A change says which process has the file, and that nothing was changed."""
    set_environment(monkeypatch)
    journal = await write_journal("sqlite", tmp_path, schema)
    async with (
        journal.opened() as writer,
        browsing(journal, allow_changes=True, operator="ann") as browser,
    ):
        await browser.sign_in()
        status, words = await browser.change("pause", batch="may.csv")
        assert (status, "only one may write to it" in words) == (409, True)
        assert (await writer.batch("may.csv")).state is BatchState.RUNNING


async def test_changes_are_pushed(journal):
    """A browser that listens is notified of a change of another program."""
    async with browsing(journal) as browser:
        url = f"{browser.page.url}events"
        async with browser.session.get(url) as events, asyncio.timeout(30):
            assert events.content_type == "text/event-stream"
            async with journal.opened() as writer:
                await writer.set_batch_state("may.csv", BatchState.PAUSED, "elsewhere")
            async for line in events.content:
                if line.startswith(b"data:") and "elsewhere" in words_of((await browser.get())[1]):
                    break
            else:
                pytest.fail("the events ended")


def lead_elsewhere(how: str, link: Path, shown: Path, other: Path) -> None:
    """Replace or delete the file that is shown, or let the link lead to another one."""
    if how == "deleted":
        shown.rename(shown.with_name("away.db"))
    elif how == "replaced":
        other.replace(shown)
    else:
        link.unlink()
        link.symlink_to(other)


@pytest.mark.parametrize("how", ["replaced", "deleted", "linked"])
async def test_a_file_that_is_replaced(tmp_path, schema, monkeypatch, how):
    """The page says so, and changes neither the file that it shows nor the other one."""
    set_environment(monkeypatch)
    (tmp_path / "other").mkdir()
    shown = await write_journal("sqlite", tmp_path, schema)
    other = await write_journal("sqlite", tmp_path / "other", schema)
    link = tmp_path / "link.db"
    link.symlink_to(shown.place)
    async with browsing(WrittenJournal(str(link)), allow_changes=True) as browser:
        await browser.sign_in()
        url = f"{browser.page.url}events"
        async with browser.session.get(url) as events, asyncio.timeout(30):
            lead_elsewhere(how, link, Path(shown.place), Path(other.place))
            status, words = await browser.change("pause", batch="may.csv")
            assert (status, "was replaced" in words) == (409, True)
            async for line in events.content:
                words = words_of((await browser.get("/batch?name=may.csv"))[1])
                if line.startswith(b"data:") and "restart the page" in words:
                    break
            else:
                pytest.fail("the events ended")
        assert "may.csv Running" in words
    left = WrittenJournal(shown.place if how == "replaced" else other.place)
    async with left.opened() as writer:
        assert (await writer.batch("may.csv")).state is BatchState.RUNNING


async def put_another(journal: WrittenJournal, folder: Path, schema: str) -> None:
    """Write another journal with one batch over a journal: into the same file, or schema."""
    if journal.place.startswith("postgres"):
        await execute("DROP SCHEMA {name} CASCADE", name=schema)
        other = journal
    else:
        other = WrittenJournal(str(folder / "other.db"))
    async with other.opened() as writer:
        await writer.put_batch(sg.journal.Batch(name="july.csv"))
        await bring_to(writer, Step.SUCCEEDED, "k-other", batch="july.csv")
    if other is not journal:
        _ = await asyncio.to_thread(shutil.copyfile, other.place, journal.place)


async def test_another_journal_in_the_same_place(journal, tmp_path, schema):
    """No page has parts of both, nothing is changed, and each page says what to do."""
    async with browsing(journal, allow_changes=True) as browser:
        await browser.sign_in()
        assert (await browser.get("/payout?key=k-paid"))[0] == 200
        url = f"{browser.page.url}events"
        async with browser.session.get(url) as events, asyncio.timeout(30):
            await put_another(journal, tmp_path, schema)
            for path in ("/payouts", "/batch?name=may.csv", "/payout?key=k-other", "/search?q=x"):
                status, page = await browser.get(path)
                assert (status, "another journal was put" in page) == (503, True), path
            status, words = await browser.change("pause", batch="july.csv")
            assert (status, "restart the page" in words) == (409, True)
            async for line in events.content:
                words = words_of((await browser.get())[1])
                if line.startswith(b"data:") and "another journal was put" in words:
                    break
            else:
                pytest.fail("the events ended")
        assert "may.csv" in words
        assert "july.csv" not in words
    async with journal.opened() as writer:
        assert (await writer.batch("july.csv")).state is BatchState.RUNNING


async def test_a_search_with_another_key(journal, monkeypatch):
    """The page shows how many payees can't be decrypted, and why."""
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    async with browsing(journal) as browser:
        status, page = await browser.get("/search?q=jane")
        words = words_of(page)
        assert status == 200
        assert "as another SMARTGLOCAL_JOURNAL_KEY encrypted them" in words


async def test_a_payee_that_was_changed(journal):
    """Its row says so, and the others are shown and found."""
    async with journal.opened() as writer:
        summary = sg.RequestCipher(KEY).encrypt(b"Jane Roe", "another", purpose=SUMMARY_PURPOSE)
        await bring_to(writer, Step.UNKNOWN, "changed", batch="may.csv", summary=summary)
    async with browsing(journal) as browser:
        for path in ("/", "/payouts", "/batch?name=may.csv", "/payout?key=changed"):
            status, page = await browser.get(path)
            assert (status, "decrypted: it was changed" in words_of(page)) == (200, True)
        status, page = await browser.get("/search?q=jane")
        assert (status, "?key=k-paid" in page) == (200, True)
