"""Reads the tables of a TOML file by the fields of a record: each value by its field's type."""

import difflib
import enum
import math
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Final, get_args, get_origin

import attrs

from ..errors import InvalidRequest
from .bank.validation import JsonObject, is_array, is_object

_MAX_WHOLE: Final = 2**63 - 1  # as in TOML
_UNPRINTABLE: Final = frozenset({"Cc", "Cs"})


def parse_toml(text: str, name: str) -> JsonObject:
    """Return the tables of a TOML document.

    Raises:
        InvalidRequest: it isn't TOML; ``name`` is its field.

    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(name, f"isn't TOML: {error}") from error


def values_of(record: type[Any], table: JsonObject) -> dict[str, Any]:
    """Return the values of a table by the names of a record's fields; what isn't there is left out.

    Raises:
        InvalidRequest: a key is no field of the record, or its value has another type; names the
            key.

    """
    fields = {field.name: field for field in attrs.fields(record)}
    check_keys(table, fields)
    return {name: value_of(fields[name].type, name, value) for name, value in table.items()}


def check_keys(table: Iterable[str], known: Iterable[str]) -> None:
    """Check that each key of a table is known.

    Raises:
        InvalidRequest: one isn't; names it, and the known key that is most like it.

    """
    names = tuple(known)
    for key in table:
        if key in names:
            continue
        plain = key.lower().replace("-", "_")
        longer = [name for name in names if name.startswith(plain)]
        alike = longer or difflib.get_close_matches(plain, names, n=1)
        advice = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(names)}"
        raise InvalidRequest(key, f"there is no such field; {advice}")


def value_of(kind: Any, name: str, value: object) -> Any:  # noqa: ANN401 - what the type says
    """Return a value of a table as an instance of a field's type.

    Raises:
        InvalidRequest: it has another type; its field is ``name``.

    """
    choices = [one for one in get_args(kind) if one is not NoneType]
    origin = get_origin(kind)
    if origin is tuple:
        if not is_array(value):
            raise InvalidRequest(name, "must be a list of whole numbers, such as [1, 3]")
        return tuple(value_of(choices[0], name, item) for item in value)
    if origin is Mapping:
        if not is_object(value):
            raise InvalidRequest(name, f"must be a table: write [{name}] above its keys")
        inner = choices[-1]
        return {key: value_of(inner, f"{name}.{key}", item) for key, item in value.items()}
    if origin is not None:  # A type or None: TOML has no null, so that None is never given.
        return value_of(choices[0], name, value)
    if issubclass(kind, enum.Enum):
        return _member(kind, name, value)
    return _READERS[kind](name, value)


def _number(name: str, value: object) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return _whole(name, value)
    if not isinstance(value, float) or not math.isfinite(value):
        raise InvalidRequest(name, "must be a number")
    return value


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(name, "must be a whole number")
    if abs(value) > _MAX_WHOLE:
        raise InvalidRequest(name, "is too large")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(name, "must be a string")
    if any(unicodedata.category(letter) in _UNPRINTABLE for letter in value):
        raise InvalidRequest(name, "must have no control characters and no lone surrogates")
    return value


def _path(name: str, value: object) -> Path:
    return Path(_text(name, value))


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(name, "must be true or false")
    return value


def _member(choices: type[enum.Enum], name: str, value: object) -> enum.Enum:
    for choice in choices:
        if isinstance(value, str) and choice.value == value:
            return choice
    names = ", ".join(str(choice.value) for choice in choices)
    raise InvalidRequest(name, f"must be one of {names}")


_READERS: Final[Mapping[type[Any], Callable[[str, object], Any]]] = MappingProxyType(
    {float: _number, int: _whole, str: _text, bool: _flag, Path: _path}
)
