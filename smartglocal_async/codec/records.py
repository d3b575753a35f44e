"""The codec of each API version: records to wire objects and JSON bytes, and back."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import cache, partial
from typing import Any, Final, TypeVar, cast

import attrs
from attrs import evolve, field, frozen
from cattrs import BaseValidationError, Converter

from ..errors import InvalidRequest
from ..models.answers import UnixTime
from ..models.enums import InteractionType, NextAction, OperationStatus, RefundStatus, SessionStatus
from ..models.events import EVENTS, WebhookEvent
from ..models.money import Amount
from ..models.tokens import GetTokenInfo
from .converter import (
    NotDecodable,
    complaints,
    exactly,
    is_answer,
    is_mapping,
    is_tuple,
    one_of,
    open_word,
    optional,
    read_amount,
    read_moment,
    read_object,
    read_rate,
    read_time,
    read_tuple,
    reader,
    write_time,
    writer,
)
from .instruments import read_description, register_instruments, write_description
from .json import Wire, dump, parse
from .versions import NAMES, ApiVersion

T = TypeVar("T")


@frozen(eq=False)
class Codec:
    """Converts records to JSON objects and back, with the names of one API version."""

    version: ApiVersion
    _converter: Converter = field(repr=False)

    def wire(self, record: object) -> Wire:
        """Return the JSON object of a record; absent fields are left out."""
        return cast("Wire", self._converter.unstructure(record))

    def encode(self, record: object) -> bytes:
        """Return the JSON bytes of a record."""
        return dump(self.wire(record))

    def structure(self, wire: object, record: type[T]) -> T:
        """Build a record from parsed JSON.

        Raises:
            NotDecodable: with the path of every field that is wrong.

        """
        try:
            return self._converter.structure(wire, record)
        except Exception:  # noqa: BLE001 - it is read again, with the path of each error
            detailed = _converter(self.version, detailed=True, is_lenient=is_answer(record))
        try:
            return detailed.structure(wire, record)
        except (BaseValidationError, InvalidRequest, TypeError, ValueError) as error:
            wrong = tuple(complaints(error, "$", NAMES[self.version]))
        raise NotDecodable(wrong)

    def decode(self, body: bytes, record: type[T]) -> T:
        """Build a record from JSON bytes.

        Raises:
            ValueError: it isn't JSON, or (`NotDecodable`) not this record.

        """
        return self.structure(parse(body), record)


_ABSENT_PARTS: Final = {"type": "", "session": None}
_WORDS: Final = (SessionStatus, OperationStatus, RefundStatus, NextAction, InteractionType)


@cache
def codec(version: ApiVersion) -> Codec:
    """Return the codec of an API version; building one takes milliseconds, so it is kept."""
    return Codec(version, _converter(version, detailed=False))


@cache
def _converter(version: ApiVersion, *, detailed: bool, is_lenient: bool = False) -> Converter:
    """Return a converter; the errors of a ``detailed`` one have paths.

    The other one takes three quarters of the time. The detailed one is only used to read again what
    that one couldn't.
    """
    converter = Converter(detailed_validation=detailed)
    for plain in (str, int, bool):
        converter.register_structure_hook(plain, exactly(plain))
        # Registered since most fields have these types, and cattrs would search a hook each time.
        converter.register_structure_hook(plain | None, optional(one_of(plain)))
    converter.register_structure_hook(bool | str | None, optional(one_of(bool, str)))
    converter.register_structure_hook(datetime, read_time)
    converter.register_structure_hook(datetime | None, optional(read_time))
    converter.register_structure_hook(UnixTime | None, optional(read_moment))
    converter.register_unstructure_hook(datetime, write_time)
    for rate in (Decimal, Decimal | None):
        converter.register_structure_hook(rate, optional(read_rate))
    converter.register_unstructure_hook(Decimal, float)
    for words in _WORDS:
        converter.register_structure_hook(words | str, open_word(words))
        converter.register_structure_hook(words | str | None, optional(open_word(words)))
    converter.register_structure_hook_func(is_tuple, partial(read_tuple, converter))
    converter.register_structure_hook_func(is_mapping, read_object)
    converter.register_unstructure_hook_func(is_mapping, dict)
    names = NAMES[version]
    _ = converter.register_structure_hook_factory(
        attrs.has, partial(reader, converter, names, is_lenient=is_lenient)
    )
    _ = converter.register_unstructure_hook_factory(attrs.has, partial(writer, converter, names))
    # By identity: a hook for the class would apply to its subclass AmountDetails, too.
    converter.register_structure_hook_func(lambda wanted: wanted is Amount, read_amount)
    converter.register_structure_hook_func(
        lambda wanted: wanted is WebhookEvent,
        partial(
            _read_event,
            converter,
            reader(converter, names, WebhookEvent, is_lenient=is_lenient),
        ),
    )
    converter.register_structure_hook(GetTokenInfo, partial(read_description, converter))
    converter.register_unstructure_hook(GetTokenInfo, partial(write_description, converter))
    register_instruments(converter)
    return converter


def _is_incomplete(session: object) -> bool:
    """Return whether a session is an object that lacks an id or a status; PHP writes ``[]``."""
    if session == []:
        return True
    fields = cast("dict[str, object]", session) if isinstance(session, dict) else None
    return fields is not None and any(fields.get(name) is None for name in ("id", "status"))


def _read_event(
    converter: Converter, read_other: Callable[[Any, Any], Any], value: Any, wanted: Any
) -> WebhookEvent:
    wire = read_object(value, wanted)
    kind: Any = wire.get("type")
    record = EVENTS.get(kind) if isinstance(kind, str) else None
    has_session = wire.get("session") is not None
    if record is None or not has_session:
        # Without a type or a session it is an event that no page of the provider describes.
        absent = {name: gap for name, gap in _ABSENT_PARTS.items() if wire.get(name) is None}
        # A session of a known event has an id and a status. Another object is kept as it is.
        is_odd = has_session and _is_incomplete(wire["session"])
        if is_odd:
            absent["session"] = None
        other: WebhookEvent = read_other({**wire, **absent}, wanted)
        return evolve(other, extra={**other.extra, "session": wire["session"]}) if is_odd else other
    event: WebhookEvent = converter.structure(wire, record)
    return event
