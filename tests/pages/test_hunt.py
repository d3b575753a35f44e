"""Seeded secrets are hunted through the pages: the emulator's with its API, and the journal's."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from looking import KEY as SIGNING_KEY
from looking import LookedInto, looked_into
from paying import QUICK, order
from payout_pages import KEY, WrittenJournal, browsing, set_environment
from secret_search import SecretSearch
from seeds import ACCOUNT, CARD, CODE, EMAIL, METADATA, NAME, PAYEE, PHONE, SECRETS, WHO, requests

import smartglocal_async as sg

SETTINGS: Final = sg.Settings(timing=QUICK.timing, rules=sg.RuleUse.OFF)
LISTS: Final = ("sessions", "requests", "webhooks")


def payout(key: str = "k-1", **changes: Any) -> sg.PayoutOrder:
    """Return a payout with secrets in each of its parts."""
    return order(
        key,
        **{
            "payment_method": sg.BankCard(number=CARD),
            "participant_details": sg.ParticipantDetails(recipient=PAYEE),
            "customer": WHO,
            "metadata": METADATA,
            **changes,
        },
    )


def pages_of(lists: dict[str, int]) -> Iterator[str]:
    """Yield the address of each page and of each answer of the API."""
    yield from ("", "requests", "webhooks", "settings", "api/settings", "api/overview")
    yield from (f"{base}{name}?limit=200" for base in ("", "api/") for name in LISTS[1:])
    yield "api/sessions?limit=200"
    for (name, count), base in itertools.product(lists.items(), ("", "api/")):
        prefix = "ps_" if name == "sessions" else ""
        yield from (f"{base}{name}/{prefix}{number}" for number in range(1, count + 1))


async def search_pages(looked: LookedInto) -> list[str]:
    """Return what was found in each page of the emulator, and in its API."""
    search = SecretSearch(SECRETS)
    counts = {name: (await getattr(looked.admin, name)())["total"] for name in LISTS}
    assert all(counts.values()), counts
    for path in pages_of(counts):
        status, text = await looked.get(path)
        assert status == 200, path
        search.search(path, text)
    return search.found


def client(looked: LookedInto) -> sg.SmartGlocal:
    """Return a client of the emulator that signs with the right key."""
    return sg.SmartGlocal("demo", SIGNING_KEY, looked.provider.url, settings=SETTINGS)


async def test_the_emulators_page(journal) -> None:
    """Requests, answers, webhooks and sessions with secrets in each part."""
    async with looked_into(has_receiver=True) as looked, client(looked) as api:
        for request in requests():
            _ = [one async for one in api.session.create_many([request])]
        unpaid = payout("k-2", amount_details=sg.AmountDetails(666_01, "usd"))
        async with sg.Payouts(api, journal) as payouts:
            _ = [one async for one in payouts.pay_all([payout(), unpaid], batch="june")]
        assert await search_pages(looked) == []


@pytest.mark.parametrize(
    "body",
    [
        {"description": f"for {NAME}, {EMAIL}, +{PHONE}", "metadata": METADATA},
        {"payment_method": {"unknown": {"x": [CARD, {"y": ACCOUNT}]}}, "customer": NAME},
        {"participant_details": {"recipient": {"nested": [{"full_name": NAME, "a": EMAIL}]}}},
        {"payment_details": {"card": {"bank_card": {"security_code": CODE, "number": CARD}}}},
        [CARD, NAME, {"phone": PHONE}],
        {"token": "tkn_5f0c1b7ad9", "contacts": [{"email": EMAIL, "phone": PHONE}]},
    ],
)
@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "wrong signature"])
async def test_requests_that_fit_no_form(body, is_signed) -> None:
    """Wherever in a request the secrets are; a wrong signature shows the bytes of the body."""
    async with looked_into(has_receiver=True) as looked:
        signed = None if is_signed else json.dumps(body, separators=(",", ":")).encode()
        _ = await looked.call("session/create", body, signed=signed)
        _ = await looked.is_paid()
        assert await search_pages(looked) == []


PAGES: Final = (
    *("/", "/batch?name=june", "/payouts", "/payouts?state=failed", "/sign-in"),
    *("/payout?key=k-1", "/payout?key=k-2", "/search?q=k-1", "/search?q=ps_1"),
)


@pytest.fixture
async def written(tmp_path, monkeypatch, provider, connect) -> WrittenJournal:
    """Return a journal with a payout that was paid, and one that was declined."""
    set_environment(monkeypatch)
    place = WrittenJournal(str(tmp_path / "j.db"))
    declined = payout("k-2", amount_details=sg.AmountDetails(666_01, "usd"))
    api = connect(provider, settings=SETTINGS)
    async with sg.Payouts(api, place.make(), cipher=sg.RequestCipher(KEY)) as payouts:
        _ = [one async for one in payouts.pay_all([payout(), declined], batch="june")]
    return place


@pytest.mark.parametrize("has_key", [True, False], ids=["with its key", "without its key"])
@pytest.mark.parametrize("allows_changes", [True, False], ids=["changes", "reads"])
async def test_the_journals_page(has_key, allows_changes, written, provider, monkeypatch) -> None:
    """With the journal's key it shows who is paid, and the last four digits; nothing else."""
    set_environment(monkeypatch, has_key=has_key)
    monkeypatch.setenv("SMARTGLOCAL_SERVER", provider.url)
    search, texts = SecretSearch(SECRETS - {NAME} if has_key else SECRETS), list[str]()
    async with browsing(written, allow_changes=allows_changes) as browser:
        if allows_changes:
            await browser.sign_in()
        for path in PAGES:
            status, text = await browser.get(path)
            assert status == 200, path
            search.search(path, text)
            texts.append(text)
    assert search.found == []
    assert any(NAME in text for text in texts) is has_key
    assert any(f"...{CARD[-4:]}" in text for text in texts) is has_key
    assert "666.01 USD" in "".join(texts)
