"""Read plain values exactly; cattrs by itself would turn 12.9 into 12, and None into 'None'."""

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeGuard, cast, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..errors import InvalidRequest
from ..models.answers import (
    Bank,
    ExchangeAmount,
    ExchangeRate,
    Payment,
    Payout,
    Refund,
    Session,
    Wallet,
)
from ..models.events import WebhookEvent
from ..models.money import Amount
from ..models.tokens import PublicToken, RecurrentToken, TokenInfo
from .json import Wire
from .versions import PAYOUT_INSTRUMENT, names_of

MISSING: Final = "is missing"
"""The problem of a required field that isn't there."""
UNKNOWN_FIELD: Final = "is no field of this record"
"""The problem of a name that the record doesn't have."""
_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, in seconds since 1970."""
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


def read_moment(value: Any, wanted: type) -> datetime:
    """Take a time, also as whole seconds since 1970: one field of the provider has it so."""
    if type(value) is int and 0 <= value <= _LAST_SECOND:
        return datetime.fromtimestamp(value, UTC)
    return read_time(value, wanted)


def read_rate(value: Any, _type: type) -> Decimal:
    """Take a number as its digits were written, up to the 15 that a float keeps."""
    if type(value) not in {int, float}:
        raise TypeError(f"expected a number, got {type(value).__name__}")
    return Decimal(repr(value))


def write_time(moment: datetime) -> str:
    """Return a time in the provider's form: UTC, with microseconds."""
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
    """Return whether a field holds a tuple of records."""
    return get_origin(annotation) is tuple


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Return whether a value was a JSON array."""
    return isinstance(value, list)


def is_mapping(annotation: Any) -> bool:
    """Return whether a field holds the extra names and values of a record."""
    return get_origin(annotation) is Mapping


def is_answer(record: Any) -> bool:
    """Return whether a record, or each of a tuple, is one that the provider sends.

    What of it can't be read must not hide the rest: only then its parts are read leniently.
    """
    member = get_args(record)[0] if is_tuple(record) else record
    module = getattr(member, "__module__", "")
    return module in _ANSWERING or member in {RecurrentToken, TokenInfo, PublicToken}


def read_object(value: Any, _type: Any) -> Wire:
    """Take a JSON object, whatever is in it."""
    if type(value) is not dict:
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return cast("Wire", value)


def optional(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let None through."""
    return lambda value, wanted: None if value is None else read(value, wanted)


# Names of answers in any version of the API -> field. Which version a webhook uses is unknown,
# so every one is understood in every answer.
_SYNONYMS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    Session: {
        "payments": "payout_list",
        "payout_list": "payout_list",
        "acquiring_payments": "payment_list",
        "payment_list": "payment_list",
    },
    Payout: dict.fromkeys(PAYOUT_INSTRUMENT.values(), "payment_method"),
}
# What an answer must have to be one. Whatever else in it can't be read must not hide that money
# moved: it is kept whole, in ``extra``.
_NEEDED: Final[Mapping[type[Any], frozenset[str]]] = {
    **dict.fromkeys((Session, Payout, Payment, Refund), frozenset({"id", "status"})),
    Wallet: frozenset({"id", "amount_details"}),
    Bank: frozenset({"id"}),
    ExchangeAmount: frozenset({"source", "destination"}),
    ExchangeRate: frozenset({"rate"}),
    RecurrentToken: frozenset({"token"}),
    TokenInfo: frozenset(),
}
_ANSWERING: Final = frozenset({Session.__module__, WebhookEvent.__module__})
_ABSENT: Final[tuple[Any, ...]] = (None, {}, [])


def reader(
    converter: Converter,
    names: Mapping[str, str],
    record: type[Any],
    *,
    is_lenient: bool = False,
) -> Callable[[Any, Any], Any]:
    """Make the function that reads a record of one class."""
    fields = [f.name for f in attrs.fields(record)]
    known = {names.get(name, name) for name in fields} - {"extra"}
    keeps_extra = "extra" in fields
    synonyms, needed = _SYNONYMS.get(record), _NEEDED.get(record)
    # A request takes a field under the name of its own version only.
    of_other_version = frozenset[str]() if synonyms else names_of(fields) - known - {"extra"}
    is_whole = needed is not None
    if needed is None and is_lenient and keeps_extra:
        needed = frozenset(f.name for f in attrs.fields(record) if f.default is attrs.NOTHING)
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        record,
        converter,
        _cattrs_forbid_extra_keys=not keeps_extra,
        **_renamed(fields, names),
    )

    def read_record(value: Any, wanted: Any) -> Any:
        wire = read_object(value, wanted)
        if synonyms is not None and not wire.keys().isdisjoint(synonyms):
            # An empty list under one version's name hides nothing under the other's.
            wire = {n: v for n, v in wire.items() if n not in synonyms or v not in _ABSENT}
            wire = {_spelled(name, wire, synonyms, names): item for name, item in wire.items()}
        if keeps_extra and not wire.keys() <= known:
            wire = _with_extra(wire, known, of_other_version)
        if needed is None or not converter.detailed_validation:
            # Without details, a failure is the codec's to handle: it reads all of it again.
            return read(wire, wanted)
        with suppress(BaseValidationError):
            return read(wire, wanted)
        readable = _readable(converter, record, wire, needed, names)
        shown = (item for name, item in readable.items() if name != "extra")
        if not needed and not is_whole and all(item in _ABSENT for item in shown):
            raise TypeError("expected an object with a field that can be read")
        unread = {name: item for name, item in readable["extra"].items() if name in known}
        if not unread:
            return read(readable, wanted)
        # Records of requests refuse their own names among the others. Here they are what was
        # answered and can't be read, so they are set afterwards.
        others = {n: item for n, item in readable["extra"].items() if n not in unread}
        made = read({**readable, "extra": others}, wanted)
        object.__setattr__(made, "extra", readable["extra"])
        return made

    return read_record


def _with_extra(wire: Wire, known: set[str], refused: frozenset[str]) -> Wire:
    """Put what isn't known into ``extra``."""
    named = {name: wire[name] for name in wire.keys() & known}
    unnamed = {name: wire[name] for name in wire if name not in known}
    if wrong := refused.intersection(unnamed):
        raise NotDecodable(tuple((name, UNKNOWN_FIELD) for name in sorted(wrong)))
    return {**named, "extra": unnamed}


def _spelled(name: str, wire: Wire, synonyms: Mapping[str, str], names: Mapping[str, str]) -> str:
    field = synonyms.get(name, name)
    spelled = names.get(field, field)
    # Where both names are given, this version's own counts, and the other is an unknown field.
    return name if spelled in wire else spelled


def _readable(
    converter: Converter,
    record: type[Any],
    wire: Wire,
    needed: frozenset[str],
    names: Mapping[str, str],
) -> Wire:
    """Keep what can be read, and the rest as it came; null and what is empty count as absent."""
    readable: Wire = {"extra": dict(wire.get("extra", {}))}
    for field in attrs.fields(record):
        name = names.get(field.name, field.name)
        if name not in wire or name == "extra":
            continue
        value: Any = wire[name]
        if field.name in needed:
            # Older pages print ids as numbers.
            is_number = field.name == "id" and type(value) is int
            readable[name] = str(value) if is_number else value
        elif _can_be_read(converter, value, field.type):
            readable[name] = value
        elif value not in _ABSENT:
            readable["extra"][name] = value
            if is_tuple(field.type) and is_list(value):
                # One that can't be read hides none of the others.
                member = get_args(field.type)[0]
                readable[name] = [item for item in value if _can_be_read(converter, item, member)]
    return readable


def _can_be_read(converter: Converter, value: Any, wanted: Any) -> bool:
    try:
        converter.structure(value, wanted)
    except (BaseValidationError, InvalidRequest, TypeError, ValueError):
        return False
    return True


def writer(
    converter: Converter, names: Mapping[str, str], record: type[Any]
) -> Callable[[Any], Wire]:
    """Make the function that writes a record of one class."""
    fields = [f.name for f in attrs.fields(record)]
    renamed = _renamed(fields, names)
    for f in attrs.fields(record):
        # None and what is empty mean absent; true, false and text are values, and are sent.
        if isinstance(f.default, bool | str):
            renamed[f.name] = override(omit_if_default=False)
    if "metadata" in fields:
        # Any JSON, and checked when it was given: cattrs need not walk through it.
        renamed["metadata"] = override(unstruct_hook=_as_it_is)
    if "request_datetime" in fields:
        renamed["request_datetime"] = override(unstruct_hook=_to_the_second)
    if "reserved_to" in fields:
        renamed["reserved_to"] = override(unstruct_hook=_to_seconds)
    write: Callable[[Any], Wire] = make_dict_unstructure_fn(
        record, converter, _cattrs_omit_if_default=True, **renamed
    )

    def write_record(value: Any) -> Wire:
        wire = write(value)
        if "extra" in wire:
            wire.update(wire.pop("extra"))
        return wire

    return write_record


def _as_it_is(value: Any) -> Any:
    return value


def _to_the_second(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat()


def _to_seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _renamed(fields: list[str], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: override(rename=wire) for name, wire in names.items() if name in fields}


class NotDecodable(ValueError):
    """JSON that doesn't fit its record; ``complaints`` pairs a path with what is wrong there."""

    def __init__(self, complaints: tuple[tuple[str, str], ...]) -> None:
        super().__init__(complaints)
        self.complaints = complaints

    def __str__(self) -> str:
        return "; ".join(f"{path}: {problem}" for path, problem in self.complaints)


def complaints(
    error: BaseException, path: str, names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, str]]:
    """Walk cattrs' tree of errors down to the leaves; the path is that of the wire."""
    match error:
        case ClassValidationError() | IterableValidationError():
            for leaf, step in _inner(error, names):
                yield from complaints(leaf, f"{path}{step}", names)
        case NotDecodable():
            yield from ((f"{path}.{deeper}", problem) for deeper, problem in error.complaints)
        case ForbiddenExtraKeysError():
            unknown = sorted(error.extra_fields)
            yield from ((f"{path}.{name}", UNKNOWN_FIELD) for name in unknown)
        case InvalidRequest():
            yield f"{path}.{error.field.partition('.')[2]}", error.problem
        case KeyError():
            yield path, MISSING  # The note beside it has named the field.
        case _:
            yield path, _safe_text(error)


def _inner(
    error: ClassValidationError | IterableValidationError, names: Mapping[str, str]
) -> Iterator[tuple[BaseException, str]]:
    if isinstance(error, IterableValidationError):
        for leaf, index in error.group_exceptions()[0]:
            yield leaf, f"[{index.index}]"
        return
    noted, bare = error.group_exceptions()
    for leaf, note in noted:
        yield leaf, f".{names.get(note.name, note.name)}"
    for leaf in bare:
        yield leaf, ""


def _safe_text(error: BaseException) -> str:
    # Only our own hooks phrase their errors without the value; others may quote it.
    ours = isinstance(error, TypeError) and str(error).startswith("expected ")
    return str(error) if ours else f"is not acceptable ({type(error).__name__})"
