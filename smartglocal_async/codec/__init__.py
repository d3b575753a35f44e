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

from ..errors import InvalidRequest
from ..values.events import EVENTS, WebhookEvent
from ..values.lookups import DescribeToken
from ..values.money import Amount
from ..values.statuses import (
    InteractionType,
    NextAction,
    OperationStatus,
    RefundStatus,
    SessionStatus,
)
from .exact import (
    exactly,
    is_mapping,
    is_tuple,
    one_of,
    open_word,
    optional,
    read_amount,
    read_object,
    read_time,
    read_tuple,
    write_time,
)
from .failures import NotDecodable, complaints
from .instruments import read_description, register_instruments, write_description
from .records import reader, writer
from .text import Wire, dump, parse

__all__ = ["ApiVersion", "Codec", "NotDecodable", "Wire", "codec", "dump", "parse"]

ApiVersion = Literal["v1", "v2"]
T = TypeVar("T")

# Field of a record -> its name on the wire, as far as is documented, and no more.
_NAMES: Final[Mapping[ApiVersion, Mapping[str, str]]] = {
    "v1": {"payout_list": "payments", "payment_list": "acquiring_payments"},
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


_WORDS: Final = (SessionStatus, OperationStatus, RefundStatus, NextAction, InteractionType)


@cache
def codec(version: ApiVersion) -> Codec:
    """Give the codec of an API version; building one takes milliseconds, so it is kept."""
    converter = Converter(detailed_validation=True)
    for plain in (str, int, bool):
        converter.register_structure_hook(plain, exactly(plain))
        # Most fields are one of these or absent, and cattrs would look for the hook each time.
        converter.register_structure_hook(plain | None, optional(one_of(plain)))
    converter.register_structure_hook(bool | str | None, optional(one_of(bool, str)))
    converter.register_structure_hook(datetime, read_time)
    converter.register_structure_hook(datetime | None, optional(read_time))
    converter.register_unstructure_hook(datetime, write_time)
    for words in _WORDS:
        converter.register_structure_hook(words | str, open_word(words))
        converter.register_structure_hook(words | str | None, optional(open_word(words)))
    converter.register_structure_hook_func(is_tuple, partial(read_tuple, converter))
    converter.register_structure_hook_func(is_mapping, read_object)
    converter.register_unstructure_hook_func(is_mapping, dict)
    names = _NAMES[version]
    _ = converter.register_structure_hook_factory(attrs.has, partial(reader, converter, names))
    _ = converter.register_unstructure_hook_factory(attrs.has, partial(writer, converter, names))
    # By identity: what is registered for a class holds for AmountDetails, which is stricter.
    converter.register_structure_hook_func(lambda wanted: wanted is Amount, read_amount)
    converter.register_structure_hook_func(
        lambda wanted: wanted is WebhookEvent,
        partial(_read_event, converter, reader(converter, names, WebhookEvent)),
    )
    converter.register_structure_hook(DescribeToken, partial(read_description, converter))
    converter.register_unstructure_hook(DescribeToken, partial(write_description, converter))
    register_instruments(converter)
    return Codec(version, converter)


def _read_event(
    converter: Converter, read_other: Callable[[Any, Any], Any], value: Any, wanted: Any
) -> WebhookEvent:
    wire = read_object(value, wanted)
    kind: Any = wire.get("type")
    record = EVENTS.get(kind) if isinstance(kind, str) else None
    read = read_other if record is None else converter.structure
    event: WebhookEvent = read(wire, record or WebhookEvent)
    return event
