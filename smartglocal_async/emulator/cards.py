"""What may be shown of an instrument, and what may be read from it; no I/O.

A card is never shown whole, and its security code never at all.
"""

import re
from typing import Final

from .checks import JsonObject, is_object

_TAIL: Final = re.compile(r"[0-9]{12,19}$")
_SHOWN_OF_A_HASH: Final = "4242424242424242"
_BRANDS: Final = (
    ("3[47]", "amex"),
    ("35", "jcb"),
    ("3[068]", "diners_club"),
    ("4", "visa"),
    ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", "mastercard"),
    ("220[0-4]", "mir"),
    ("62", "unionpay"),
    ("6", "discover"),
)


def number_of(instrument: JsonObject) -> str | None:
    """Give the number of a card, that of a hash being the digits it ends in."""
    card = instrument.get("card")
    if not is_object(card):
        return None
    open_card, hashed = card.get("bank_card"), card.get("encrypted_card")
    if is_object(open_card) and isinstance(number := open_card.get("number"), str):
        return number
    if is_object(hashed) and isinstance(text := hashed.get("number_hash"), str):
        return of_hash(text)
    return None


def of_hash(text: str) -> str:
    """Give the number that a hash stands for."""
    found = _TAIL.search(text)
    return found[0] if found else _SHOWN_OF_A_HASH


def traits(number: str) -> JsonObject:
    """Give what answers show of a card (documented)."""
    return {"last4": number[-4:], "brand": brand(number), "bin": number[:6]}


def brand(number: str) -> str:
    """Name the payment system."""
    for start, name in _BRANDS:
        if re.match(start, number):
            return name
    return "unknown"


def shown(instrument: JsonObject) -> JsonObject:
    """Give an instrument as answers show it: a card by its traits, any other as it came.

    Whatever looks like a card is hidden, also where it stands in a place of its own.
    """
    if instrument.get("type") != "card":
        return {name: _hidden(name, value) for name, value in instrument.items()}
    return {"type": "card", "card": traits(number_of(instrument) or _SHOWN_OF_A_HASH)}


def _hidden(name: str, value: object) -> object:
    if name == "security_code":
        return "***"
    if is_object(value):
        return {inner: _hidden(inner, item) for inner, item in value.items()}
    is_number = name == "number" and isinstance(value, str) and _TAIL.search(value)
    return "***" if is_number else value


def phone_of(instrument: JsonObject) -> str | None:
    """Give the digits of the phone that a transfer goes to."""
    account = instrument.get("bank_account")
    system = account.get(str(account.get("system_type"))) if is_object(account) else None
    phone = system.get("phone") if is_object(system) else None
    return re.sub("[^0-9]", "", phone) if isinstance(phone, str) else None
