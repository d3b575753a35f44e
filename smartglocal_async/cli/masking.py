"""Card numbers and codes that a provider says back are masked, in ``--json`` too."""

from typing import Any, Final, cast

from ..errors import MASK
from ..values.exactness import without_card_numbers

_INSTRUMENTS: Final = frozenset({"payment_method", "payment_details", "payout_details"})
# These hold no card; the numbers in them are those of accounts and phones.
_WITHOUT_CARD: Final = frozenset({"bank_account", "wallet", "recurrent"})
_CODE: Final = "security_code"
_TOKENS: Final = ("hash", "token")


def without_numbers(wire: Any) -> Any:  # noqa: ANN401 - any JSON
    """Mask security codes, and what looks like a card number in an instrument."""
    match wire:
        case dict():
            named = cast("dict[str, Any]", wire)
            return {name: _field(name, value) for name, value in named.items()}
        case list() | tuple():
            return [without_numbers(item) for item in cast("list[Any]", wire)]
        case _:
            return wire


def _field(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON
    if name == _CODE:
        return value and MASK
    if name not in _INSTRUMENTS or not isinstance(value, dict):
        return without_numbers(value)
    instrument = cast("dict[str, Any]", value)
    if instrument.get("type") in _WITHOUT_CARD:
        return without_numbers(instrument)
    return _without_digits(instrument)


def _without_digits(value: Any) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            named = cast("dict[str, Any]", value)
            return {name: _shown(name, item) for name, item in named.items()}
        case list() | tuple():
            return [_without_digits(item) for item in cast("list[Any]", value)]
        case str():
            return without_card_numbers(value)
        case int() if without_card_numbers(str(value)) != str(value):
            return MASK
        case _:
            return value


def _shown(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON
    if name == _CODE:
        return value and MASK
    if name.endswith(_TOKENS) and isinstance(value, str):
        return value
    return _without_digits(value)
