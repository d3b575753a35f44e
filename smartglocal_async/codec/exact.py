"""Read plain values exactly; cattrs by itself would turn 12.9 into 12, and None into 'None'."""

import enum
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard, cast, get_args, get_origin

from cattrs import Converter

from ..values.money import Amount
from .text import Wire

_DIGITS: Final = re.compile(r"-?[0-9]{1,30}")


def exactly(plain: type) -> Callable[[Any, type], Any]:
    """Take values of just this type, and the enums built on it."""

    def read(value: Any, wanted: type) -> Any:
        # Subclasses land here too: cattrs asks by single dispatch.
        if type(value) is not plain:
            raise TypeError(f"expected {plain.__name__}, got {type(value).__name__}")
        return value if wanted is plain else wanted(value)

    return read


def one_of(*plains: type) -> Callable[[Any, Any], Any]:
    """Take values of just one of these types."""

    def read(value: Any, _type: Any) -> Any:
        if type(value) not in plains:
            wanted = " or ".join(plain.__name__ for plain in plains)
            raise TypeError(f"expected {wanted}, got {type(value).__name__}")
        return value

    return read


def read_amount(value: Any, wanted: Any) -> Amount:
    """Take an amount as it was answered: one page of the provider prints digits as text."""
    wire = read_object(value, wanted)
    amount, currency = _whole(wire.get("amount")), wire.get("currency")
    if amount is None or not isinstance(currency, str):
        raise TypeError("expected an amount of minor units and its currency")
    return Amount(amount, currency)


def _whole(amount: object) -> int | None:
    match amount:
        case str() if _DIGITS.fullmatch(amount):
            return int(amount)
        case float() if amount.is_integer():
            return int(amount)
        case int() if type(amount) is int:
            return amount
        case _:
            return None


def read_time(value: Any, _type: type) -> datetime:
    """Take an ISO 8601 time that says its offset from UTC."""
    if type(value) is not str:
        raise TypeError(f"expected an ISO 8601 time, got {type(value).__name__}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise TypeError("expected an ISO 8601 time") from None
    if moment.tzinfo is None:
        raise TypeError("expected a time with its offset from UTC")
    return moment


def write_time(moment: datetime) -> str:
    """Give a time in the provider's form: UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def open_word(words: type[enum.StrEnum]) -> Callable[[Any, Any], str]:
    """Take any word, as a member of the enum where it is one."""
    known = {str(word): word for word in words}

    def read(value: Any, _type: Any) -> str:
        if type(value) is not str:
            raise TypeError(f"expected str, got {type(value).__name__}")
        return known.get(value, value)

    return read


def read_tuple(converter: Converter, value: Any, wanted: Any) -> tuple[Any, ...]:
    """Take a list, each item under its own index."""
    if type(value) is not list:
        raise TypeError(f"expected a list, got {type(value).__name__}")
    member = get_args(wanted)[0]
    return tuple(converter.structure(value, list[member]))  # type: ignore[valid-type]


def is_tuple(annotation: Any) -> bool:
    """Say whether a field holds a tuple of records."""
    return get_origin(annotation) is tuple


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Say whether a value was a JSON array."""
    return isinstance(value, list)


def is_mapping(annotation: Any) -> bool:
    """Say whether a field holds the extra names and values of a record."""
    return get_origin(annotation) is Mapping


def read_object(value: Any, _type: Any) -> Wire:
    """Take a JSON object, whatever is in it."""
    if type(value) is not dict:
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return cast("Wire", value)


def optional(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let None through."""
    return lambda value, wanted: None if value is None else read(value, wanted)
