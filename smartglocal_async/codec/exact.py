"""Read plain values exactly; cattrs by itself would turn 12.9 into 12, and None into 'None'."""

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast, get_args, get_origin

from cattrs import Converter

from .text import Wire


def exactly(plain: type) -> Callable[[Any, type], Any]:
    """Take values of just this type, and the enums built on it."""

    def read(value: Any, wanted: type) -> Any:
        # Subclasses land here too: cattrs asks by single dispatch.
        if type(value) is not plain:
            raise TypeError(f"expected {plain.__name__}, got {type(value).__name__}")
        return value if wanted is plain else wanted(value)

    return read


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
