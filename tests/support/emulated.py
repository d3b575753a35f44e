"""Helpers for the tests of the emulator's bank: its calls, and their terms."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from smartglocal_async.emulator.bank.bank import EmulatedBank
from smartglocal_async.emulator.bank.messages import ApiCall

NOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
LATER: Final = NOW + timedelta(minutes=1)
VISA: Final = "4242424242424242"


def ask(  # noqa: PLR0913 - one argument for each part of a call
    bank: EmulatedBank,
    operation: str,
    request: dict[str, Any] | None = None,
    *,
    now: datetime = NOW,
    version: int = 1,
    key: str | None = None,
) -> dict[str, Any]:
    """Make a call and return its envelope."""
    request = request or {}
    name = bank.name_of(request, key)
    made = ApiCall(operation=operation, params=request, version=version, name=name, header_key=key)
    return bank.answer(made, now).body


def show(
    bank: EmulatedBank, id_: str = "ps_1", *, now: datetime = NOW, version: int = 1
) -> dict[str, Any]:
    """Return a session as `session/status` shows it."""
    return ask(bank, "session/status", {"session_id": id_}, now=now, version=version)["session"]


def card(number: str, *, hashed: bool = False) -> dict[str, Any]:
    """Return a card as an instrument."""
    if hashed:
        inner = {"type": "encrypted_card", "encrypted_card": {"number_hash": f"hash-{number}"}}
    else:
        inner = {"type": "bank_card", "bank_card": {"number": number, "security_code": "123"}}
    return {"type": "card", "card": inner}


def payout(amount: int, *, number: str = VISA, hashed: bool = False) -> dict[str, Any]:
    """Return the terms of a payout, in the names of v1."""
    money = {"amount": amount, "currency": "usd"}
    return {
        "payment_method": card(number, hashed=hashed),
        "amount_details": money,
        "participant_details": {"recipient": {"full_name": "Anna Nagy"}},
    }


def pay(amount: int, *, number: str = VISA, hashed: bool = False, **more: Any) -> dict[str, Any]:
    """Return the terms of a payment."""
    money = {"amount": amount, "currency": "usd"}
    details = card(number, hashed=hashed)
    return {"payment_details": details, "amount_details": money, "customer": {}, **more}
