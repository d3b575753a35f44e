"""The page over a journal in a real browser: by clicks, by keyboard, on a phone and a desk."""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from browser import barriers, chromium, needs_chromium, overflow
from journal_conformance import LEASE, bring_on, bring_to
from payout_pages import KEY, Browser, WrittenJournal, browsing, set_environment, write_journal
from playwright.async_api import Page, expect
from postgres_schemas import DSN, execute, needs_postgres
from till import rows

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.payouts.orders import SUMMARY_PURPOSE

pytestmark = [pytest.mark.slow, needs_chromium]

Step = sg.journal.Step
IMAGES: Final = Path(__file__).parents[4] / "docs" / "images"
KEEPS_IMAGES: Final = os.environ.get("SMARTGLOCAL_SCREENSHOTS") == "1"
"""Whether the screenshots of the documentation are written anew."""
OWNERS: Final = ("payer-1:4711:8c1f", "payer-2:4682:0b3d")
COUNT: Final = int(os.environ.get("SMARTGLOCAL_WATCHED", "80"))
WORKERS: Final = 4
LONG: Final = 120_000 + 200 * COUNT
"""In milliseconds: the payouts of a killed worker wait for the end of its leases."""


@contextlib.asynccontextmanager
async def looking(url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a page; an error in its console fails the test."""
    problems: list[str] = []
    async with chromium() as browser:
        context = await browser.new_context(**options)
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda line: problems.append(line.text) if line.type == "error" else None
        )
        page.on("dialog", lambda dialog: dialog.accept())
        _ = await page.goto(url)
        yield page
    assert problems == []


@pytest.mark.parametrize(
    ("choice", "question"),
    [
        ("It was paid", "Record k-unknown, 100.00 USD, as paid? This can't be changed."),
        (
            "It was not paid, and never will be",
            "Record k-unknown, 100.00 USD, as not paid? This can't be changed.",
        ),
    ],
)
async def test_the_question_names_the_decision(browser: Browser, choice, question):
    """It names the payout, the amount and what is recorded; and nothing is recorded after No."""
    url = browser.page.link.replace("/#", "/payout?key=k-unknown#")
    asked = list[str]()
    async with looking_freely(url) as page:
        await expect(page.locator("#who")).to_contain_text("Changes as ann")

        async def refuse(dialog: Any) -> None:
            asked.append(dialog.message)
            await dialog.dismiss()

        page.on("dialog", refuse)
        await page.get_by_label("How you know it").fill("a guess")
        await page.keyboard.press("Enter")
        await page.get_by_label(choice, exact=True).check()
        await page.get_by_label("How you know it").press("Enter")
        _ = await page.goto(browser.page.url + "batch?name=may.csv")
        await page.get_by_role("button", name="Cancel the rest").click()
        _ = await page.goto(browser.page.url + "payout?key=k-unknown")
        await expect(page.locator("#facts .head")).to_contain_text("Unknown")
    assert asked[0] == question
    assert asked[1].startswith("Cancel up to 2 open payouts of may.csv?")
    assert len(asked) == 2


async def reach(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus, and check that the focus is visible."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("text => document.activeElement.matches(text)", selector):
            style = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid"
            return
    raise AssertionError(selector)


@needs_postgres
async def test_a_batch_is_paused_and_goes_on_by_clicks(till, schema, monkeypatch):
    """While four workers pay it, of which one is killed; at the end all is paid, once."""
    till.opens(rules=emulator.Rules(processing_seconds=0.2, opening_balance=10**12))
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", KEY)
    place = f"{DSN}?schema={schema}"
    submitted = till.child("submit", str(till.has(rows(COUNT))), "--journal", place, "--yes")
    assert (await asyncio.to_thread(submitted.wait), till.provider.report().moved) == (0, 0)
    served = till.child("serve", place, "--port", "0", "--allow-changes", "--as", "ann", "--json")
    facts = json.loads(await asyncio.to_thread(served.stdout.readline))
    work = ("work", "--journal", place, "--concurrency", str(max(4, COUNT // 1_000)))
    first, *_ = [till.child(*work) for _ in range(WORKERS)]
    async with looking(f"{facts['url']}#token={facts['token']}") as page:
        await expect(page.locator("#who")).to_contain_text("Changes as ann")
        await expect(page.locator("#workers")).to_contain_text(
            f"{WORKERS} workers alive", timeout=LONG
        )
        await page.get_by_role("link", name="p.csv").first.click()
        paid = page.locator("#figures li.succeeded strong")
        await expect(paid).not_to_have_text("0", timeout=LONG)
        first.send_signal(signal.SIGKILL)
        assert await asyncio.to_thread(first.wait) == -signal.SIGKILL

        await page.get_by_label("Reason").fill("a wrong amount?")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#notice")).to_contain_text("Paused")
        await expect(page.locator("#progress")).to_contain_text("Paused: a wrong amount?")
        await expect(page.locator("#changes")).to_contain_text("ann")
        await page.get_by_role("link", name="Batches").click()
        # Whether it also died with payouts in flight depends on the moment.
        alive = f"{WORKERS - 1} workers alive"
        await expect(page.locator("#workers")).to_contain_text(alive, timeout=LONG)
        await expect(page.locator("#workers")).to_contain_text("0 at work", timeout=LONG)
        assert till.provider.report().moved < COUNT

        await page.get_by_role("link", name="p.csv").first.click()
        await page.get_by_role("button", name="Resume").click()
        await expect(page.locator("#notice")).to_contain_text("Resumed")
        await expect(page.locator("#progress .head")).to_contain_text("Finished", timeout=LONG)
        await expect(paid).to_have_text(f"{COUNT:,}")
        await expect(page.locator("#changes")).to_contain_text("resumed")
    report = till.provider.report()
    assert (report.moved, report.moved_twice) == (COUNT, 0)


@pytest.fixture
async def browser(tmp_path, schema, monkeypatch):
    """Yield a page over a journal in a file that may be changed."""
    set_environment(monkeypatch)
    journal = await write_journal("sqlite", tmp_path, schema)
    async with browsing(journal, allow_changes=True, operator="ann") as client:
        yield client


async def test_the_keyboard_alone(browser: Browser):
    """Sign in, open a batch, pause it and resume it, and decide about a payout."""
    async with looking(browser.page.url) as page:
        await reach(page, "[href='/sign-in']")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        await reach(page, "[name=token]")
        await page.keyboard.type(browser.page.access.token)
        await page.keyboard.press("Enter")
        await expect(page.locator("#who")).to_contain_text("Changes as ann")
        await reach(page, "[href='/batch?name=may.csv']")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("may.csv")
        await reach(page, "#pause-reason")
        await page.keyboard.type("lunch")
        await reach(page, "#pause")
        await page.keyboard.press("Enter")
        await expect(page.locator("#progress")).to_contain_text("Paused: lunch")
        await reach(page, "#resume")
        await page.keyboard.press("Space")
        await expect(page.locator("#progress .head")).to_contain_text("Running")

        await reach(page, "[href='/']")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Payouts")
        await reach(page, "#review a")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("k-unknown")
        await reach(page, "#reason")
        await page.keyboard.type("in the report of the day")
        # Enter in the field records nothing before a choice is made.
        await page.keyboard.press("Enter")
        await expect(page.locator("#paid")).to_be_focused()
        await expect(page.locator("#facts .head")).to_contain_text("Unknown")
        await page.keyboard.press("Space")
        await reach(page, "#record")
        await page.keyboard.press("Enter")
        await expect(page.locator("#facts .head")).to_contain_text("Paid")
        await expect(page.locator("#changes")).to_contain_text("recorded as paid")


async def test_a_typed_reason_stays(browser: Browser):
    """A change of the journal leaves the text and the focus in the field."""
    async with looking(f"{browser.page.link.replace('/#', '/batch?name=may.csv#')}") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await page.get_by_label("Reason").fill("not yet")
        status, _ = await browser.change("pause", batch="june & <co>.csv")
        assert status == 401
        await browser.sign_in()
        status, _ = await browser.change("cancel", batch="june & <co>.csv")
        assert status == 200
        await expect(page.get_by_label("Reason")).to_have_value("not yet")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#progress")).to_contain_text("Paused: not yet")


async def test_after_a_form_was_sent_all_is_new(browser: Browser):
    """Also the part that has the focus: Enter in the field leaves it there."""
    async with looking(browser.page.link.replace("/#", "/batch?name=may.csv#")) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await page.get_by_label("Reason").fill("lunch")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        await expect(page.get_by_role("button", name="Pause")).to_have_count(0)


async def test_a_typed_text_without_the_focus_stays(browser: Browser):
    """The part with it is kept, and a notice says so; once it is cleared, the part is new."""
    async with looking(browser.page.link.replace("/#", "/batch?name=may.csv#")) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await page.get_by_label("Reason").fill("not yet")
        await page.get_by_label("Find a payout").focus()
        await browser.sign_in()
        assert (await browser.change("pause", batch="may.csv", reason="elsewhere"))[0] == 200
        await expect(page.locator("#progress")).to_contain_text("Paused: elsewhere")
        await expect(page.locator("#notice")).to_contain_text("What you typed is kept")
        await expect(page.get_by_label("Reason")).to_have_value("not yet")
        await page.get_by_label("Reason").fill("")
        await page.get_by_label("Find a payout").focus()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        await expect(page.locator("#notice")).to_be_hidden()


@needs_postgres
async def test_a_page_that_can_not_be_updated(tmp_path, schema, monkeypatch):
    """It isn't live, and says why; once the journal can be read again, it is."""
    set_environment(monkeypatch)
    journal = await write_journal("postgres", tmp_path, schema)
    async with browsing(journal) as client, looking_freely(f"{client.page.url}payouts") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await execute("ALTER SCHEMA {name} RENAME TO {name}_x", name=schema)
        await expect(page.locator("#notice")).to_contain_text("This page can't be updated")
        await expect(page.locator("#live")).to_contain_text("Disconnected")
        await execute("ALTER SCHEMA {name}_x RENAME TO {name}", name=schema)
        await expect(page.locator("#notice")).to_be_hidden()
        await expect(page.locator("#live")).to_have_text("Live")


async def test_a_problem_is_shown(browser: Browser):
    """A change that can't be made says why, and the page stays."""
    async with looking(f"{browser.page.link.replace('/#', '/batch?name=may.csv#')}") as page:
        await expect(page.locator("#who")).to_contain_text("Changes as ann")
        await expect(page.get_by_role("button", name="Cancel the rest")).to_be_visible()
        await browser.sign_in()
        assert (await browser.change("cancel", batch="may.csv"))[0] == 200
        await expect(page.locator("#progress .head")).to_contain_text("Cancelled")
        await expect(page.get_by_role("button", name="Cancel the rest")).to_have_count(0)


async def write_night(place: str) -> sg.PostgresJournal:
    """Write what the screenshots show; returns the open journal."""
    journal = sg.PostgresJournal(place)
    await journal.open("http://127.0.0.1:9|demo")
    cipher = sg.RequestCipher(KEY)
    batch, names = "salaries-november.csv", ("Jane Roe", "John Doe", "Ana Silva", "Li Wei")
    totals = {"eur": 38_400_00, "usd": 41_600_00}
    rules = sg.journal.BatchRules(spend={"usd": 50_000_00}, failures_in_a_row=10)
    await journal.put_batch(
        sg.journal.Batch(name="bonuses.csv", rows=24, totals={"eur": 24_000_00})
    )
    await journal.put_batch(sg.journal.Batch(name=batch, rows=160, totals=totals, rules=rules))

    async def one(name: str, number: int, step: Step, currency: str, amount: int) -> None:
        key = f"{name[:6]}-{number + 1:04}"
        payee = f"{names[number % 4]}, ...{3000 + 7 * number}".encode()
        entry = await bring_to(
            *(journal, step, key),
            batch=name,
            ordinal=number,
            amount=amount,
            currency=currency,
            summary=cipher.encrypt(payee, key, purpose=SUMMARY_PURPOSE),
        )
        if not step.is_final:
            await journal.release(entry)
        if step is Step.NEW and number % 20 == 0:
            await journal.claim(key, OWNERS[1], LEASE)

    for number in range(24):
        await one("bonuses.csv", number, Step.SUCCEEDED, "eur", 1_000_00)
    special = {17: Step.FAILED, 41: Step.FAILED, 58: Step.UNKNOWN}
    for number in range(160):
        step = special.get(number, Step.SUCCEEDED if number < 90 else Step.NEW)
        currency = "usd" if number % 2 else "eur"
        await one(batch, number, step, currency, 400_00 + number % 7 * 40_00)
    await journal.set_batch_state(
        batch, sg.journal.BatchState.PAUSED, "check the new IBANs first", operator="ann"
    )
    await journal.set_batch_state(batch, sg.journal.BatchState.RUNNING, operator="ann")
    await journal.set_limits(sg.journal.Limits(rate=50.0, concurrency=64), operator="bob")
    for owner in OWNERS:
        await journal.beat(owner)
    return journal


async def pay_on(journal: sg.PostgresJournal) -> None:
    """Pay more payouts, one after the other, so that the page has a rate to show."""
    for number in range(90, 160):
        entry = await journal.find(f"salari-{number + 1:04}")
        if entry.owner is None:
            entry = await journal.claim(entry.key, OWNERS[0], LEASE)
            await bring_on(journal, entry, Step.SUCCEEDED, f"s-{entry.key}")
        for owner in OWNERS:
            await journal.beat(owner)
        await asyncio.sleep(0.4)


@needs_postgres
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_on_a_phone_and_a_desk(schema, monkeypatch, tmp_path, width, scheme):
    """No page is wider than the window, and axe-core finds no serious barrier in any."""
    set_environment(monkeypatch)
    place = f"{DSN}?schema={schema}"
    journal = await write_night(place)
    paths = {
        "batches": "",
        "batch": "batch?name=salaries-november.csv",
        "payouts": "payouts?state=failed",
        "payout": "payout?key=salari-0059",
        "sign-in": "sign-in",
        "problem": "payout?key=none",
    }
    async with browsing(WrittenJournal(place), allow_changes=True, operator="ann") as client:
        size = {"width": width, "height": 900}
        paying = asyncio.ensure_future(pay_on(journal))
        async with looking_freely(client.page.link, viewport=size, color_scheme=scheme) as page:
            await expect(page.locator("#who")).to_contain_text("Changes as ann")
            await expect(page.locator("#batches")).to_contain_text(re.compile(r"/s.*left"))
            for name, path in paths.items():
                _ = await page.goto(client.page.url + path)
                if name in {"batches", "batch", "payouts", "payout"}:
                    await expect(page.locator("#live")).to_have_text("Live")
                assert await overflow(page) == 0, name
                assert await barriers(page) == [], name
                file = tmp_path / f"{name}.png"
                if KEEPS_IMAGES and (width, scheme, name in {"batches", "payout"}) == (
                    *(1280, "light", True),
                ):
                    file = IMAGES / f"payouts-{name}.png"
                # The policy forbids the style by which Playwright hides the caret.
                _ = await page.screenshot(
                    path=file, caret="initial", full_page=file.parent != IMAGES
                )
        _ = paying.cancel()
    _ = await asyncio.wait([paying])
    await journal.close()


@contextlib.asynccontextmanager
async def looking_freely(url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a page whose console may have errors, as a page of a problem has a status of its own."""
    async with chromium() as browser:
        page = await (await browser.new_context(**options)).new_page()
        _ = await page.goto(url)
        yield page
