"""Records field by field: renamed for an API version, extra fields kept, metadata as it is."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, get_args

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..errors import InvalidRequest
from ..values.answers import Payment, Payout, Refund, Session
from ..values.tokens import RecurrentToken, TokenInfo
from ..values.wallets import Bank, Wallet
from .exact import is_list, is_tuple, read_object
from .text import Wire

# Names of answers in any version of the API -> field. Which version a webhook uses is unknown,
# so every one is understood in every answer.
_SYNONYMS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    Session: {
        "payments": "payout_list",
        "payout_list": "payout_list",
        "acquiring_payments": "payment_list",
        "payment_list": "payment_list",
    },
    Payout: {"payment_method": "payment_method", "payout_details": "payment_method"},
}
# What an answer must have to be one. Whatever else in it can't be read must not hide that money
# moved: it is kept whole, in ``extra``.
_NEEDED: Final[Mapping[type[Any], frozenset[str]]] = {
    **dict.fromkeys((Session, Payout, Payment, Refund), frozenset({"id", "status"})),
    Wallet: frozenset({"id", "amount_details"}),
    Bank: frozenset({"id"}),
    RecurrentToken: frozenset({"token"}),
    TokenInfo: frozenset(),
}
_ABSENT: Final[tuple[Any, ...]] = (None, {}, [])


def reader(
    converter: Converter, names: Mapping[str, str], record: type[Any]
) -> Callable[[Any, Any], Any]:
    """Make the function that reads a record of one class."""
    fields = [f.name for f in attrs.fields(record)]
    known = {names.get(name, name) for name in fields} - {"extra"}
    keeps_extra = "extra" in fields
    synonyms, needed = _SYNONYMS.get(record), _NEEDED.get(record)
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        record,
        converter,
        _cattrs_forbid_extra_keys=not keeps_extra,
        **_renamed(fields, names),
    )

    def read_record(value: Any, wanted: Any) -> Any:
        wire = read_object(value, wanted)
        if synonyms is not None:
            # An empty list under one version's name hides nothing under the other's.
            wire = {n: v for n, v in wire.items() if n not in synonyms or v not in _ABSENT}
            wire = {_spelled(name, wire, synonyms, names): item for name, item in wire.items()}
        if keeps_extra and not wire.keys() <= known:
            named = {name: wire[name] for name in wire.keys() & known}
            unnamed = {name: wire[name] for name in wire if name not in known}
            wire = {**named, "extra": unnamed}
        try:
            return read(wire, wanted)
        except BaseValidationError:
            if needed is None:
                raise
        return read(_readable(converter, record, wire, needed, names), wanted)

    return read_record


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
        if isinstance(f.default, bool):  # None means absent; this one is a value, and is said.
            renamed[f.name] = override(omit_if_default=False)
    if "metadata" in fields:
        # Any JSON, and checked when it was given: cattrs need not walk through it.
        renamed["metadata"] = override(unstruct_hook=_as_it_is)
    if "request_datetime" in fields:
        renamed["request_datetime"] = override(unstruct_hook=_to_the_second)
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


def _to_the_second(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat()


def _renamed(fields: list[str], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: override(rename=wire) for name, wire in names.items() if name in fields}
