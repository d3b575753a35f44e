"""Triggers and outcomes: the table in the code, on the page, and in the bank."""

import re
from typing import Any, Final

import pytest
from emulated import LATER, NOW, ask, pay, payout, show
from places import ROOT

from smartglocal_async.emulator import OUTCOMES, AmountOutcome, Fate, Rules
from smartglocal_async.emulator.bank.bank import EmulatedBank

PAGE: Final = ROOT / "docs/reference/emulator.md"
ENDS: Final = {
    Fate.SUCCEED: ("accepted", "succeeded"),
    Fate.DECLINE: ("cancelled", "failed"),
    Fate.STICK: ("in_progress", "in_progress"),
    Fate.BREAK_THEN_SUCCEED: ("accepted", "succeeded"),
    Fate.BREAK_THEN_FAIL: ("cancelled", "failed"),
    Fate.CHALLENGE: ("in_progress", "pending"),
    Fate.CHARGE_BACK: ("accepted", "succeeded"),
    Fate.RETURN: ("accepted", "succeeded"),
}


def test_the_page_lists_every_outcome() -> None:
    """The page has the rows of the table, in its order."""
    rows = re.findall(
        r"^\| `(\w+)` \| (amount|card|phone) `(\d+)` \| (.*?)(?:, code `(\w+)`)? \|$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )

    assert rows == [
        (row.operation, row.trigger, row.value, row.words, row.code or "") for row in OUTCOMES
    ]


@pytest.mark.parametrize("make", [pay, payout])
@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (999, "amount_less_allowed_provider"),
        (1_000, None),
        (2_000, None),
        (2_001, "provider_exceeds_amount_limit"),
    ],
)
def test_an_amount_outside_of_the_limits_is_declined(make: Any, amount: int, code: Any) -> None:
    """A switch, by currency: one version of the page has limits."""
    for limits, expected in (({"USD": (1_000, 2_000)}, code), ({"eur": (1, 1)}, None), ({}, None)):
        bank = EmulatedBank(Rules(amount_limits=limits))
        terms = make(amount)
        name = "payout" if "payment_method" in terms else "payment"
        assert "error" not in ask(bank, f"session/init/{name}", terms)
        _ = ask(bank, "session/confirm", {"session_id": "ps_1"})
        shown = show(bank, now=LATER)
        assert shown["status"] == ("accepted" if expected is None else "cancelled")
        assert shown.get("error", {}).get("code") == expected


def luhn(number: str) -> int:
    """Return the check sum of a card number; 0 if it is right."""
    digits = [int(digit) for digit in reversed(number)]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10


@pytest.mark.parametrize("row", [row for row in OUTCOMES if row.trigger == "card"])
def test_cards_have_numbers_that_check(row: AmountOutcome) -> None:
    """Clients that check numbers accept all of them."""
    assert luhn(row.value) == 0


def terms(row: AmountOutcome, *, hashed: bool = False) -> dict[str, Any]:
    """Return the fields of the row's operation."""
    amount = int(row.value) if row.trigger == "amount" else 500
    number = row.value if row.trigger == "card" else "4242424242424242"
    make = payout if row.operation == "payout" else pay
    return make(amount, number=number, hashed=hashed)


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("row", [row for row in OUTCOMES if row.operation in {"payout", "payment"}])
def test_each_trigger(row: AmountOutcome, *, hashed: bool) -> None:
    """Each trigger has its outcome and code, after a confirm and enough time."""
    bank = EmulatedBank()
    _ = ask(bank, f"session/init/{row.operation}", terms(row, hashed=hashed))
    _ = ask(bank, "session/confirm", {"session_id": "ps_1"})
    soon = show(bank)

    session = show(bank, now=LATER)

    [item] = session.get("payments") or session["acquiring_payments"]
    assert (session["status"], item["status"]) == ENDS[row.fate]
    if "then" in row.fate.value:
        assert (soon["status"], soon["error"]["code"]) == ("error", row.code)
    if row.fate is Fate.DECLINE:
        assert item["error"]["code"] == session["error"]["code"] == row.code
    if row.fate is Fate.CHARGE_BACK:
        assert item["refunds"][0]["is_chargeback"] is True
    if row.fate is Fate.RETURN:
        [refund] = item["refunds"]
        assert (refund["status"], refund["amount_details"]) == ("accepted", item["amount_details"])
    if row.fate is Fate.CHALLENGE:
        assert item["customer_interaction"]["redirect"]["params"]["MD"] == item["id"]


def test_a_declined_refund_leaves_the_money() -> None:
    """The refund of that amount is declined, and another one can be requested."""
    bank = EmulatedBank()
    _ = ask(bank, "session/init/payment", pay(100_000))
    _ = ask(bank, "session/confirm", {"session_id": "ps_1"})
    money = {"amount": 66601, "currency": "usd"}
    _ = ask(bank, "session/refund", {"session_id": "ps_1", "amount_details": money})

    [refund] = show(bank)["acquiring_payments"][0]["refunds"]

    assert (refund["status"], refund["amount_details"]) == ("declined", money)
    assert bank.report().balances["usd"]["taken"] == 100_000


@pytest.mark.parametrize(
    ("phone", "status"), [("+7 999 000-04-04", "cancelled"), ("79990000001", "accepted")]
)
def test_a_phone_that_nobody_has(phone: str, status: str) -> None:
    """A verification is confirmed automatically; it is cancelled if no such person is found."""
    bank = EmulatedBank()
    _ = ask(bank, "session/create")
    system = "faster_payment_system_verification"
    account = {"system_type": system, system: {"phone": phone, "bank_id": "100000000069"}}
    request = {
        "session_id": "ps_1",
        "payment_method": {"type": "bank_account", "bank_account": account},
        "participant_details": {"recipient": {"first_name": "A"}},
    }
    answer = ask(bank, "fps/customer_verification", request)

    assert answer["session"]["status"] == "in_progress"
    assert show(bank)["status"] == status
    assert bank.report().moved == 0


def test_the_wallet_is_the_limit() -> None:
    """A payout beyond the balance is declined at its execution; nothing moves."""
    bank = EmulatedBank(Rules(wallets={"USD": 100}))
    for number, amount in enumerate((60, 60, 40), 1):
        _ = ask(bank, "session/init/payout", payout(amount))
        _ = ask(bank, "session/confirm", {"session_id": f"ps_{number}"})
    errors = [show(bank, f"ps_{number}").get("error", {}).get("code") for number in (1, 2, 3)]

    assert errors == [None, "insufficient_funds", None]
    assert bank.report().balances["usd"]["wallet"] == 0
    assert NOW < LATER
