"""Checks the further fields of a request, which are in ``extra``: none may be a misspelt field.

A name is nearly that of a field if one letter is missing, added, another or swapped with its
neighbour; two of them, if the field's name has more than six letters. Case and underscores don't
matter, and a number behind a name makes it another one: ``address_line_2``. The name that a field
has in another version of the API counts as the field's own.

No field that the provider's pages or the sister platform's name for a record is nearly another
field of it, so all of these can be sent.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from string import digits
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

import attrs
from attrs import frozen

from ..codec import ApiVersion
from ..codec.instruments import kind_of
from ..codec.versions import NAMES, names_of
from ..models.instruments import OtherInstrument

_SHORT: Final = 6
_EXTRA: Final = "extra"
_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})


@frozen
class MisspeltField:
    """A further field of a request whose name is nearly that of a field of its record."""

    path: str
    """Where it is on the wire, such as ``payment_method.bank_account.global.ibna``."""
    meant: str
    """The name of the field, in the version of the API that the request is for."""

    @property
    def problem(self) -> str:
        """What is wrong, in words."""
        return f"is no field; did you mean {self.meant}?"


def misspelt_fields(
    request: Any,  # noqa: ANN401 - any record of a request
    version: ApiVersion = "v1",
    short_names: Mapping[str, str] = _NO_NAMES,
) -> tuple[MisspeltField, ...]:
    """Return the further fields of a request, at any depth, that are misspelt.

    ``short_names`` has names that are written for a field, such as ``country`` for
    ``country_iso3``.
    """
    if not _has_extra(request):
        return ()
    return tuple(_in_record(request, "", version, short_names))


def is_nearly(name: str, known: str) -> bool:
    """Return whether a name is that of a field, perhaps misspelt."""
    return _distance_if_near(_letters(name), _letters(known)) is not None


def _has_extra(record: Any) -> bool:  # noqa: ANN401
    """Return whether a record, or one of a tuple, has further fields at any depth."""
    for part in _parts(record.__class__)(record):
        if part and (part.__class__ is dict or _has_extra(part)):
            return True
    return False


@cache
def _parts(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads the parts of a value that may have further fields, and those fields.

    Each call runs through it, so it is one function written in C.
    """
    if kind is tuple:
        return tuple
    if not attrs.has(kind):
        return _further_fields
    names = (*_inside(kind), _EXTRA) if _has_own_extra(kind) else _inside(kind)
    if not names:
        return _nothing
    # It returns a tuple only for several names.
    return attrgetter(*names) if len(names) > 1 else attrgetter(*names, *names)


def _further_fields(held: Mapping[str, Any]) -> tuple[dict[str, Any]]:
    return (dict(held),)


def _nothing(_record: object) -> tuple[()]:
    return ()


@cache
def _inside(record: type[Any]) -> tuple[str, ...]:
    """Return the fields of a record that hold records, or tuples of them, with further fields."""
    return tuple(
        field.name
        for field in attrs.fields(record)
        if any(map(_may_have_extra, _classes(field.type)))
    )


def _may_have_extra(kind: type[Any]) -> bool:
    return attrs.has(kind) and (_has_own_extra(kind) or bool(_inside(kind)))


def _has_own_extra(record: type[Any]) -> bool:
    return any(field.name == _EXTRA for field in attrs.fields(record))


def _classes(annotation: Any) -> Iterator[type[Any]]:  # noqa: ANN401
    """Yield the classes of a field's values: of a union all, of a tuple that of its items."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)


def _in_record(
    record: Any,  # noqa: ANN401
    place: str,
    version: ApiVersion,
    short_names: Mapping[str, str],
) -> Iterator[MisspeltField]:
    kind: Any = record.__class__
    for name in record.extra if _has_own_extra(kind) else ():
        meant = _meant(kind, name, short_names)
        if meant is not None:
            yield MisspeltField(f"{place}{name}", NAMES[version].get(meant, meant))
    for name in _inside(kind):
        held = getattr(record, name)
        path = f"{place}{NAMES[version].get(name, name)}"
        if isinstance(held, tuple):
            for number, one in enumerate(held):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
                yield from _in_record(one, f"{path}[{number}].", version, short_names)
        elif held is not None and not isinstance(held, OtherInstrument):
            if OtherInstrument in get_args(attrs.fields_dict(kind)[name].type):
                path = f"{path}.{kind_of(held.__class__)}"
            yield from _in_record(held, f"{path}.", version, short_names)


def _meant(record: type[Any], name: str, short_names: Mapping[str, str]) -> str | None:
    """Return the field that a name is nearly that of; None if there is none."""
    fields = [field.name for field in attrs.fields(record) if field.name != _EXTRA]
    short = short_names.get(name)
    if short in fields:
        return short
    plain = _letters(name)
    near = (
        (distance, number, field)
        for number, field in enumerate(fields)
        for known in names_of((field,))
        if (distance := _distance_if_near(plain, _letters(known))) is not None
    )
    return min(near, default=(0, 0, None))[2]


def _distance_if_near(name: str, known: str) -> int | None:
    if name != known and name.rstrip(digits) == known:
        return None
    allowed = 1 if len(known) <= _SHORT else 2
    if abs(len(known) - len(name)) > allowed:
        return None
    distance = _distance(name, known)
    return distance if distance <= allowed else None


def _letters(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _distance(one: str, other: str) -> int:
    """Return how many letters to add, remove, replace or swap with their neighbour."""
    before, row = list[int](), list(range(len(other) + 1))
    for at, char in enumerate(one, 1):
        next_row = [at]
        for beside, letter in enumerate(other, 1):
            cost = min(row[beside] + 1, next_row[-1] + 1, row[beside - 1] + (char != letter))
            if at > 1 < beside and char == other[beside - 2] and one[at - 2] == letter:
                cost = min(cost, before[beside - 2] + 1)
            next_row.append(cost)
        before, row = row, next_row
    return row[-1]
