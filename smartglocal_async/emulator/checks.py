"""Say what is wrong with a request by the provider's pages; no I/O.

Each check gives a description that names the field and never shows its value: it could be
the number of a card.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, TypeGuard

from ..values.currencies import EXPONENTS

JsonObject: TypeAlias = dict[str, object]

PAYOUT_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {1: "payment_method", 2: "payout_details"}
)
_OBJECTS: Final = ("amount_details", "participant_details", "customer", "payment_options")


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Say whether ``value`` was a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Say whether ``value`` was a JSON array."""
    return isinstance(value, list)


def complaint(request: JsonObject, version: int) -> str | None:
    """Give the first thing wrong with the terms of an operation, or None."""
    for check in _CHECKS:
        if (found := check(request, version)) is not None:
            return found
    return None


def _other_version(request: JsonObject, version: int) -> str | None:
    # Documented by the sister platform: a name of the wrong version can make operations fail.
    for other, name in PAYOUT_NAMES.items():
        if other != version and name in request:
            return f"{name}: belongs to v{other}; v{version} says {PAYOUT_NAMES[version]}"
    return None


def _two_instruments(request: JsonObject, version: int) -> str | None:
    # Documented: one is for payouts, the other for payments.
    name = PAYOUT_NAMES[version]
    if name in request and "payment_details" in request:
        return f"{name}, payment_details: only one of them can be given"
    return None


def _not_an_object(request: JsonObject, _: int) -> str | None:
    # Documented types. That null isn't as good as absence is the emulator's own strictness.
    for name in _OBJECTS:
        if name in request and not is_object(request[name]):
            return f"{name}: must be an object"
    return None


def _instrument(request: JsonObject, version: int) -> str | None:
    # Documented shape: {"type": T, T: {...}}.
    for name in (PAYOUT_NAMES[version], "payment_details"):
        if name not in request:
            continue
        instrument = request[name]
        if not is_object(instrument):
            return f"{name}: must be an object"
        kind = instrument.get("type")
        if not isinstance(kind, str) or not kind or kind == "type":
            return f"{name}.type: must be a word"
        if not is_object(instrument.get(kind)):
            return f"{name}: must hold an object under the name that its type gives"
    return None


def _amount(request: JsonObject, _: int) -> str | None:
    # Documented: an integer of minor units, greater than zero. True is an int in Python only.
    details = request.get("amount_details")
    if not is_object(details):
        return None
    amount = details.get("amount")
    if not isinstance(amount, int) or isinstance(amount, bool) or amount <= 0:
        return "amount_details.amount: must be a whole number greater than zero"
    return None


def _currency(request: JsonObject, _: int) -> str | None:
    # Documented: ISO 4217, case-insensitive. Some letters outside ASCII lower to ASCII.
    details = request.get("amount_details")
    if not is_object(details):
        return None
    currency = details.get("currency")
    known = isinstance(currency, str) and currency.isascii() and currency.lower() in EXPONENTS
    return None if known else "amount_details.currency: must be an ISO 4217 code"


_CHECKS: Final[tuple[Callable[[JsonObject, int], str | None], ...]] = (
    _other_version,
    _two_instruments,
    _not_an_object,
    _instrument,
    _amount,
    _currency,
)
