"""Records to JSON bytes and back with cattrs: exact, with a path to every failure.

Wire rules live here and in no record: the names of each API version, the objects that wrap an
instrument, the form of a timestamp.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any, Final, Literal, TypeVar, cast

import attrs
from attrs import field, frozen
from cattrs import BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..errors import InvalidRequest
from ..values.answers import NextAction, SessionStatus
from .exact import (
    exactly,
    is_mapping,
    is_tuple,
    open_word,
    optional,
    read_object,
    read_time,
    read_tuple,
    write_time,
)
from .failures import NotDecodable, complaints
from .instruments import register_instruments
from .text import Wire, dump, parse

__all__ = ["ApiVersion", "Codec", "NotDecodable", "Wire", "codec", "dump", "parse"]

ApiVersion = Literal["v1", "v2"]
T = TypeVar("T")

# Field of a record -> its name on the wire. v2 renames, as far as is documented, and no more.
_NAMES: Final[Mapping[ApiVersion, Mapping[str, str]]] = {
    "v1": {},
    "v2": {"payment_method": "payout_details"},
}


@frozen(eq=False)
class Codec:
    """Turn records into wire objects and back, under the names of one API version."""

    version: ApiVersion
    _converter: Converter = field(repr=False)

    def wire(self, record: object) -> Wire:
        """Give the JSON object of a record; absent fields are left out."""
        return cast("Wire", self._converter.unstructure(record))

    def encode(self, record: object) -> bytes:
        """Give the JSON bytes of a record."""
        return dump(self.wire(record))

    def structure(self, wire: object, record: type[T]) -> T:
        """Build a record from parsed JSON.

        Raises:
            NotDecodable: with the path of every field that doesn't fit.

        """
        try:
            return self._converter.structure(wire, record)
        except (BaseValidationError, InvalidRequest, TypeError, ValueError) as error:
            wrong = tuple(complaints(error, "$", _NAMES[self.version]))
        raise NotDecodable(wrong)

    def decode(self, body: bytes, record: type[T]) -> T:
        """Build a record from JSON bytes.

        Raises:
            ValueError: not JSON, or (`NotDecodable`) not this record.

        """
        return self.structure(parse(body), record)


@cache
def codec(version: ApiVersion) -> Codec:
    """Give the codec of an API version; building one takes milliseconds, so it is kept."""
    converter = Converter(detailed_validation=True)
    for plain in (str, int, bool):
        converter.register_structure_hook(plain, exactly(plain))
    converter.register_structure_hook(datetime, read_time)
    converter.register_structure_hook(datetime | None, optional(read_time))
    converter.register_unstructure_hook(datetime, write_time)
    for words in (SessionStatus, NextAction):
        converter.register_structure_hook(words | str, open_word(words))
        converter.register_structure_hook(words | str | None, optional(open_word(words)))
    converter.register_structure_hook_func(is_tuple, partial(read_tuple, converter))
    converter.register_structure_hook_func(is_mapping, read_object)
    converter.register_unstructure_hook_func(is_mapping, dict)
    names = _NAMES[version]
    _ = converter.register_structure_hook_factory(attrs.has, partial(_reader, converter, names))
    _ = converter.register_unstructure_hook_factory(attrs.has, partial(_writer, converter, names))
    register_instruments(converter)
    return Codec(version, converter)


def _reader(
    converter: Converter, names: Mapping[str, str], record: type[Any]
) -> Callable[[Any, Any], Any]:
    fields = [f.name for f in attrs.fields(record)]
    known = {names.get(name, name) for name in fields} - {"extra"}
    keeps_extra = "extra" in fields
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        record,
        converter,
        _cattrs_forbid_extra_keys=not keeps_extra,
        **_renamed(fields, names),
    )

    def read_record(value: Any, wanted: Any) -> Any:
        wire = read_object(value, wanted)
        if keeps_extra and not wire.keys() <= known:
            named = {name: wire[name] for name in wire.keys() & known}
            unnamed = {name: wire[name] for name in wire if name not in known}
            return read({**named, "extra": unnamed}, wanted)
        return read(wire, wanted)

    return read_record


def _writer(
    converter: Converter, names: Mapping[str, str], record: type[Any]
) -> Callable[[Any], Wire]:
    fields = [f.name for f in attrs.fields(record)]
    renamed = _renamed(fields, names)
    if "metadata" in fields:
        # Any JSON, and checked when it was given: cattrs need not walk through it.
        renamed["metadata"] = override(unstruct_hook=_as_it_is)
    write: Callable[[Any], Wire] = make_dict_unstructure_fn(
        record, converter, _cattrs_omit_if_default=True, **renamed
    )

    def write_record(value: Any) -> Wire:
        wire = write(value)
        wire.update(wire.pop("extra", ()))
        return wire

    return write_record


def _as_it_is(value: Any) -> Any:
    return value


def _renamed(fields: list[str], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: override(rename=wire) for name, wire in names.items() if name in fields}
