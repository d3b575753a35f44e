"""Hold a record's fields to their declared types: nothing is converted on the way in."""

import functools
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin

import attrs
from attrs import Attribute

from ..errors import MASK, InvalidRequest

T = TypeVar("T")

_DEEPEST: Final = 64
# Twelve to nineteen digits, perhaps in groups: what a card number looks like in prose.
_LOOKS_LIKE_PAN: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){11,18}(?!\d)")
_LONGEST_INT_BITS: Final = 14_000  # Python writes 4300 digits, and refuses more.
_LARGEST_OPTION: Final = 10**9
_PLAIN: Final = {str: "text", int: "a whole number", bool: "true or false"}


def mask(value: object) -> str:
    """Show in a repr that there is a value, and nothing of it."""
    return repr(value) if value is None else MASK


def without_card_numbers(text: str | None) -> str | None:
    """Mask the digit runs of a text that are long enough to be a card number."""
    return None if text is None else _LOOKS_LIKE_PAN.sub(MASK, text)


def discreet(record: type[T]) -> type[T]:
    """Keep what a record refuses out of the traceback.

    Tools that record the variables of a traceback would write down the card number that was
    given with a space in it: the frames of the construction hold it.
    """
    construct: Callable[..., None] = record.__init__

    @functools.wraps(construct)
    def __init__(self: T, *values: Any, **fields: Any) -> None:  # noqa: N807
        try:
            construct(self, *values, **fields)
        except Exception as error:  # noqa: BLE001 - an unknown field's TypeError has these frames too
            refused = error.with_traceback(None)
        else:
            return
        del self, values, fields
        raise refused

    type.__setattr__(record, "__init__", __init__)
    return record


def exact(_cls: type, fields: "list[Attribute[Any]]") -> "list[Attribute[Any]]":
    """Give every field the check that its annotation asks for (an attrs field transformer)."""
    return [f.evolve(validator=_checks(f)) if f.validator is None else f for f in fields]


def _checks(attribute: "Attribute[Any]") -> Callable[[Any, Any, Any], None] | None:
    if attribute.type is Any:
        return check_metadata
    members = _members(attribute.type)
    if any(get_origin(member) is Mapping for member in members):
        return check_extra
    classes = tuple(get_origin(member) or member for member in members)
    wanted = " or ".join(_noun(member) for member in classes if member is not types.NoneType)
    may_be_none, but_int = types.NoneType in classes, _but_int(classes)

    def check(instance: object, field: "Attribute[Any]", value: object) -> None:
        if value is None and may_be_none:
            return
        # type() for the plain ones: True is an int to isinstance, and not an amount.
        if type(value) in classes or isinstance(value, but_int):
            if isinstance(value, str):
                _check_text(value, f"{type(instance).__name__}.{field.name}")
            return
        raise InvalidRequest(
            f"{type(instance).__name__}.{field.name}",
            f"expected {wanted}, got {type(value).__name__}",
        )

    return check


def _members(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    return get_args(annotation) if origin in {Union, types.UnionType} else (annotation,)


def _noun(member: type) -> str:
    return _PLAIN.get(member, member.__name__)


def _but_int(classes: tuple[type, ...]) -> tuple[type, ...]:
    return tuple(member for member in classes if member not in {int, bool})


def above_zero(name: str, value: object, *, whole: bool = False) -> None:
    """Refuse an option that is no number above zero, or beyond a thousand million.

    Raises:
        InvalidRequest: naming the option.

    """
    numbers = (int,) if whole else (int, float)
    # type() and not isinstance(): True is no number here.
    if type(value) not in numbers or not 0 < cast("float", value) <= _LARGEST_OPTION:
        raise InvalidRequest(name, f"must be a {'whole ' if whole else ''}number above zero")


def not_empty(instance: object, field: "Attribute[str]", value: object) -> None:
    """Refuse what isn't text, or is none (an attrs validator)."""
    where = f"{type(instance).__name__}.{field.name}"
    if not isinstance(value, str):
        raise InvalidRequest(where, f"expected text, got {type(value).__name__}")
    if not value:
        raise InvalidRequest(where, "is empty; give the one that the provider gave")
    _check_text(value, where)


def check_metadata(instance: object, field: "Attribute[Any]", value: object) -> None:
    """Refuse what JSON can't carry, naming the place inside the value."""
    if value is None:
        return
    check_json(value, f"{type(instance).__name__}.{field.name}")


def check_extra(instance: object, field: "Attribute[Any]", value: object) -> None:
    """Refuse extra fields that JSON can't carry, or that the record has a name for."""
    if value == {}:
        return
    path = f"{type(instance).__name__}.{field.name}"
    if not isinstance(value, Mapping):
        raise InvalidRequest(path, f"expected an object of names and values, got {_kind(value)}")
    named = dict(cast("Mapping[object, object]", value))
    check_json(named, path)
    own = cast("type[attrs.AttrsInstance]", type(instance))
    for taken in {other.name for other in attrs.fields(own)} & named.keys():
        raise InvalidRequest(f"{path}.{taken}", "the record has this field: set it there")


def check_json(value: object, path: str, depth: int = 0) -> None:
    """Refuse what JSON can't carry exactly: the error's field is the path to it.

    Raises:
        InvalidRequest: a type that JSON lacks, NaN or an infinity, a name that isn't text,
            text that isn't Unicode, or a nesting deeper than 64 (a cycle, most likely).

    """
    if depth > _DEEPEST:
        raise InvalidRequest(path, f"is nested deeper than {_DEEPEST}; does it contain itself?")
    for name, item in _items(value, path):
        check_json(item, f"{path}{name}", depth + 1)


def _items(value: object, path: str) -> Iterable[tuple[str, object]]:
    """Check one value by itself, and give what is inside it."""
    match value:
        case dict():
            return _named(cast("dict[object, object]", value), path)
        case list() | tuple():
            items = cast("Sequence[object]", value)
            return ((f"[{index}]", item) for index, item in enumerate(items))
        case str():
            _check_text(value, path)
        case float() if not math.isfinite(value):
            raise InvalidRequest(path, "is not a finite number; JSON has no NaN or infinity")
        case int() if value.bit_length() > _LONGEST_INT_BITS:
            raise InvalidRequest(path, "is a number of thousands of digits; write it as text")
        case None | bool() | int() | float():
            pass
        case _:
            raise InvalidRequest(path, f"{_kind(value)} isn't JSON; write it as text or a number")
    return ()


def _named(value: dict[object, object], path: str) -> Iterator[tuple[str, object]]:
    for name, item in value.items():
        if not isinstance(name, str):
            raise InvalidRequest(path, f"has a name that isn't text but {_kind(name)}")
        _check_text(name, path)
        yield f".{name}", item


def _check_text(value: str, path: str) -> None:
    if not value.isascii():
        try:
            _ = value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(path, "holds half a surrogate pair; that isn't Unicode") from None


def _kind(value: object) -> str:
    return type(value).__name__
