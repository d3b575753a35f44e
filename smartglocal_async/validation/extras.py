"""Checks the further fields of a request, which are in ``extra``: none may be a misspelt field.

A name is nearly that of a field if one letter is missing, added, another or swapped with its
neighbour; two of them, if the field's name has more than six letters. Case and underscores don't
matter, and a number behind a name makes it another one: ``address_line_2``. The name that a field
has in another version of the API counts as the field's own.

No field that the provider's pages or the sister platform's name for a record is nearly another
field of it, so all of these can be sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from string import digits
from types import MappingProxyType
from typing import Any, Final, cast, get_args, get_origin

import attrs
from attrs import frozen

from ..codec import ApiVersion
from ..codec.instruments import kind_of, tags_of
from ..codec.versions import NAMES, names_of
from ..models.instruments import OtherInstrument, PayoutInstrument

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


def misspelt_kind(wire: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the path in an instrument of an unknown kind that is nearly that of a known one.

    With it, what is wrong. None if the kind isn't like a known one: it may be new.
    """
    outer, kinds = wire.get("type"), _kinds()
    if not isinstance(outer, str):
        return None
    if outer not in kinds:
        return _near("type", outer, kinds)
    tag, words = kinds[outer]
    held = wire.get(outer)
    if not tag or not isinstance(held, Mapping):
        return outer, "is missing: it holds the fields of the instrument"
    fields = cast("Mapping[str, object]", held)
    if tag in fields:
        word = fields[tag]
        if word in words:
            return f"{outer}.{word}", "is missing: it holds the fields of the instrument"
        return _near(f"{outer}.{tag}", word, words) if isinstance(word, str) else None
    is_meant = any(is_nearly(name, tag) for name in fields) or not words.isdisjoint(fields)
    return (f"{outer}.{tag}", f"is missing: {' or '.join(sorted(words))}") if is_meant else None


def _near(path: str, name: str, known: Iterable[str]) -> tuple[str, str] | None:
    meant = next((one for one in known if is_nearly(name, one)), None)
    return None if meant is None else (path, f"names no instrument; did you mean {meant}?")


@cache
def _kinds() -> Mapping[str, tuple[str, frozenset[str]]]:
    """Return the types of instruments of payouts: type -> tag of the inner objects, their names."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for record in get_args(PayoutInstrument):
        tags = {} if record is OtherInstrument else tags_of(record)
        for path, word in tags.items():
            if len(path) > 1:
                outer, tag = path
                found[outer] = tag, found.get(outer, ("", frozenset()))[1] | {word}
            elif len(tags) == 1:
                found[word] = "", frozenset()
    return found


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
