"""The pages of payouts: the emulator refuses what lacks any of their mandatory fields."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from emulated import ask, card

from smartglocal_async.emulator import Reaction, Rules
from smartglocal_async.emulator.bank.bank import EmulatedBank
from smartglocal_async.emulator.bank.payout_pages import (
    CHINESE_CARD_IN_USD,
    PAGES,
    RUSSIAN_CARD,
    PageFields,
)
from smartglocal_async.validation.country_rules import PAYOUTS, Requirements

MIR: Final = "2200000000000004"
ORDINARY: Final = "4242424242424242"
IBANS: Final = {
    "HUN": "HU42117730161111101800000000",
    "CZE": "CZ6508000000192000145399",
    "GBR": "GB29NWBK60161331926819",
    "TUR": "TR330006100519786457841326",
    "ISR": "IL620108000000099999999",
}
VALUES: Final = {"account_type": "CHECKING", "phone": "79990000001"}
# Of a verification, and of a top-up, other parts of the emulator check the fields.
OTHERS: Final = {"bank_account.faster_payment_system_verification", "wallet.steam"}
CERTAIN: Final = [row for row in PAYOUTS if not row.is_advice and row.kind not in OTHERS]


def page_of(row: Requirements) -> PageFields:
    """Return the emulator's page of a rule."""
    if row.country == "CHN" and row.either_currency:
        return CHINESE_CARD_IN_USD
    if row.country == "RUS":
        return RUSSIAN_CARD
    kind, _, form = row.kind.partition(".")
    return PAGES[kind, form, row.country or ""]


def complete_sets(row: Requirements) -> list[frozenset[str]]:
    """Return the sets of fields of which an instrument must have one; no set holds another."""
    sets = [frozenset({*row.instrument, *names}) for names in row.alternatives or ((),)]
    return [one for one in sets if not any(other < one for other in sets)]


@pytest.mark.parametrize("row", CERTAIN, ids=lambda row: row.name)
def test_the_client_and_the_emulator_require_the_same(row: Requirements) -> None:
    """Field by field; the emulator checks the number or the token of any card elsewhere."""
    page = page_of(row)
    needed = complete_sets(row) if not row.kind.startswith("card.") else [frozenset[str]()]
    assert sorted(map(sorted, page.instrument)) == sorted(map(sorted, needed))
    assert set(page.recipient) == set(row.recipient)
    assert set(page.sender) == set(row.sender)
    assert page.currency == row.currency
    assert bool(page.recipient_currencies) is ("currency" in row.recipient_forms)


def test_each_page_of_the_emulator_has_its_rule() -> None:
    """None is required by the emulator alone."""
    ruled = [page_of(row) for row in CERTAIN]
    assert all(page in ruled for page in (*PAGES.values(), CHINESE_CARD_IN_USD, RUSSIAN_CARD))


def put(holder: dict[str, Any], path: str, value: str) -> None:
    """Put a value at a path."""
    *outer, last = path.split(".")
    for name in outer:
        holder = holder.setdefault(name, {})
    holder[last] = value


def instrument(kind: str, form: str, country: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return an instrument with these fields filled in."""
    if kind == "card":
        return card(ORDINARY, hashed=form == "encrypted_card")
    inner = {name: VALUES.get(name, "7") for name in fields}
    if "iban" in inner:
        inner["iban"] = IBANS[country]
    tag = "type" if kind == "wallet" else "system_type"
    return {"type": kind, kind: {tag: form, form: inner}}


def terms(paid_to: dict[str, Any], country: str, page: PageFields, currency: str) -> dict[str, Any]:
    """Return the terms of a payout with all that a page requires, and no more."""
    people: dict[str, Any] = {}
    for side, names in (("recipient", page.recipient), ("sender", page.sender)):
        for name in names:
            put(people, f"{side}.{name}", "7")
    if country:
        put(people, "recipient.country_iso3", country)
    if page.recipient_currencies:
        put(people, "recipient.currency", "CNY")
    money = {"amount": 900, "currency": currency}
    return {"payment_method": paid_to, "participant_details": people, "amount_details": money}


def cases() -> Iterator[Any]:
    """Return each way to fill in each page, with its fields by path."""
    whole = [(key, PAGES[key], PAGES[key].currency or "eur") for key in PAGES]
    forms = ("bank_card", "encrypted_card")
    whole += [(("card", form, "CHN"), CHINESE_CARD_IN_USD, "usd") for form in forms]
    for (kind, form, country), page, currency in whole:
        for number, names in enumerate(page.instrument):
            made = terms(instrument(kind, form, country, names), country, page, currency)
            place = f"payment_method.{kind}.{form}"
            paths = [f"{place}.{name}" for name in names]
            for side, wanted in (("recipient", page.recipient), ("sender", page.sender)):
                paths += [f"participant_details.{side}.{name}" for name in wanted]
            if country:
                # Without its country a payout has no page.
                paths.remove("participant_details.recipient.country_iso3")
            name = f"{kind}.{form} {country} {number} {currency}"
            yield pytest.param(made, paths, id=name)


def without(made: Any, path: str) -> dict[str, Any]:
    """Return the terms without the field at a path."""
    name, _, rest = path.partition(".")
    if not rest:
        return {each: value for each, value in made.items() if each != name}
    return {**made, name: without(made[name], rest)}


def problem(made: dict[str, Any], rules: Rules | None = None) -> str:
    """Return how a payout is refused; empty if it is taken."""
    answer = ask(EmulatedBank(rules or Rules()), "session/init/payout", made)
    return answer.get("error", {}).get("description", "")


@pytest.mark.parametrize(("made", "paths"), list(cases()))
def test_each_mandatory_field_alone_is_missed(made: dict[str, Any], paths: list[str]) -> None:
    """By its name, or by that of another set of which one is needed."""
    assert not problem(made)
    for path in paths:
        lacking = without(made, path)
        place, _, _ = path.rpartition(".")
        words = problem(lacking)
        named = path if path.startswith("participant") else place
        assert words.startswith(named), path
        assert "is missing" in words or "names no account" in words
        # The emulator's own rule that the payee must be named stays.
        lenient = problem(lacking, Rules(payout_fields=Reaction.IGNORE))
        assert not lenient or "names no account" in lenient


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(
    ("number", "currency", "words"),
    [
        (MIR, "rub", ""),
        (MIR, "RUB", ""),
        (MIR, "usd", "amount_details.currency: must be rub"),
        (ORDINARY, "usd", ""),
    ],
)
@pytest.mark.parametrize("country", [None, "RUS"])
def test_a_russian_card_is_paid_in_roubles(
    number: str, currency: str, words: str, country: str | None, *, hashed: bool
) -> None:
    """It is known by its number: the page has no country."""
    recipient = {"full_name": "Anna Nagy"} | ({"country_iso3": country} if country else {})
    made = {
        "payment_method": card(number, hashed=hashed),
        "amount_details": {"amount": 900, "currency": currency},
        "participant_details": {"recipient": recipient},
    }
    assert problem(made).startswith(words)
    assert bool(problem(made)) is bool(words)


def test_a_card_in_china_receives_cny_or_usd() -> None:
    """As the page has it."""
    made = terms(card(ORDINARY), "CHN", PAGES["card", "bank_card", "CHN"], "eur")
    assert not problem(made)
    put(made, "participant_details.recipient.currency", "eur")
    assert problem(made) == "participant_details.recipient.currency: must be cny or usd"
