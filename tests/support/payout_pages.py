"""Journals for the page of `payouts serve`, and the page itself over HTTP."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from attrs import define, evolve, frozen
from journal_conformance import bring_to
from postgres_schemas import DSN

import smartglocal_async as sg
from smartglocal_async.cli.payouts.page.command import ServedPage, served
from smartglocal_async.cli.payouts.page.options import ServeOptions
from smartglocal_async.journal.rows import scope_of
from smartglocal_async.payouts.orders import SUMMARY_PURPOSE

Step = sg.journal.Step
SERVER: Final = "http://127.0.0.1:9"
KEY: Final = "Tm90IGEgc2VjcmV0OiBhIGtleSBmb3IgdGVzdHMuLi4="
PAYEES: Final = ("Jane Roe", "John Doe")
STEPS: Final = {
    "k-paid": Step.SUCCEEDED,
    "k-failed": Step.FAILED,
    "k-cancelled": Step.CANCELLED,
    "k-unknown": Step.UNKNOWN,
    "k-new": Step.NEW,
    "k-started": Step.STARTED,
}


def set_environment(monkeypatch: pytest.MonkeyPatch, *, has_key: bool = True) -> None:
    """Set the project, the server and the journal's key of the commands."""
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", "demo")
    monkeypatch.setenv("SMARTGLOCAL_SERVER", SERVER)
    for name in ("SMARTGLOCAL_SUBMERCHANT", "SMARTGLOCAL_PRIVATE_KEY", "SMARTGLOCAL_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    if has_key:
        monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", KEY)
    else:
        monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY", raising=False)


@frozen
class WrittenJournal:
    """Where a journal is, and how to open it."""

    place: str

    def make(self) -> sg.journal.Journal:
        """Return the journal, not open."""
        if self.place.startswith("postgres"):
            return sg.PostgresJournal(self.place)
        return sg.SQLiteJournal(self.place)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        """Yield the journal, open for writing."""
        journal = self.make()
        await journal.open(scope_of(SERVER, "demo", None))
        try:
            yield journal
        finally:
            await journal.close()


async def write_journal(kind: str, folder: Path, schema: str) -> WrittenJournal:
    """Write a journal with two batches, and a payout at each kind of step in the first."""
    place = str(folder / "j.db") if kind == "sqlite" else f"{DSN}?schema={schema}"
    written, cipher = WrittenJournal(place), sg.RequestCipher(KEY)
    async with written.opened() as journal:
        batch = sg.journal.Batch(
            name="may.csv",
            rows=len(STEPS) + 1,
            totals={"usd": 70_000},
            rules=sg.journal.BatchRules(spend={"usd": 90_000}, failures_in_a_row=5),
        )
        await journal.put_batch(batch)
        await journal.put_batch(evolve(batch, name="june & <co>.csv", rows=1, rules=None))
        for number, (key, step) in enumerate(STEPS.items()):
            summary = f"{PAYEES[number % 2]}, ...{3000 + number}".encode()
            entry = await bring_to(
                journal,
                step,
                key,
                batch="may.csv",
                ordinal=number,
                amount=10_000,
                currency="usd",
                summary=cipher.encrypt(summary, key, purpose=SUMMARY_PURPOSE),
            )
            await journal.release(entry)
        await bring_to(
            journal, Step.NEW, "<b>j</b>", batch="june & <co>.csv", amount=123_456, currency="eur"
        )
    return written


@define
class Browser:
    """A client of the page, with its cookies."""

    page: ServedPage
    session: aiohttp.ClientSession
    secret: str = ""
    """What a browser keeps of its sign-in, for changes."""

    async def get(self, path: str = "/", **headers: str) -> tuple[int, str]:
        """Return the status and the text of a page; redirects are followed."""
        async with self.session.get(self.page.url + path.lstrip("/"), headers=headers) as answer:
            return answer.status, await answer.text()

    async def post(
        self, path: str, fields: dict[str, str], **headers: str
    ) -> tuple[int, str, aiohttp.ClientResponse]:
        """Send a form as the page itself does; returns status, text and answer."""
        own = {"Origin": self.page.url.rstrip("/"), "Sec-Fetch-Site": "same-origin", **headers}
        async with self.session.post(
            self.page.url + path.lstrip("/"), data=fields, headers=own
        ) as answer:
            return answer.status, await answer.text(), answer

    async def sign_in(self) -> None:
        """Sign in with the token."""
        form = {"token": self.page.access.token}
        status, text, _ = await self.post("/sign-in", form, Accept="application/json")
        assert status == 200
        self.secret = json.loads(text)

    async def change(self, action: str, **fields: str) -> tuple[int, str]:
        """Ask for a change; returns the status and the words of the page."""
        status, text, _ = await self.post(
            "/change", {"change": action, "secret": self.secret, **fields}
        )
        return status, words_of(text)


@contextlib.asynccontextmanager
async def browsing(
    journal: WrittenJournal, connector: aiohttp.TCPConnector | None = None, **options: Any
) -> AsyncIterator[Browser]:
    """Serve the page of a journal, and yield a client of it."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        served(ServeOptions(journal=journal.place, port=options.pop("port", 0), **options)) as page,
        aiohttp.ClientSession(cookie_jar=jar, connector=connector) as session,
    ):
        yield Browser(page, session)


def words_of(page: str) -> str:
    """Return the text of a page, without its style and script, on one line."""
    text = re.sub(r"(?s)<(style|script).*?</\1>", " ", page)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())
