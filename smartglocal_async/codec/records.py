"""Records field by field: renamed for an API version, extra fields kept, metadata as it is."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
from cattrs import BaseValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ..errors import InvalidRequest
from ..values.answers import Payment, Payout, Refund, Session
from ..values.tokens import TokenInfo
from .exact import read_object
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
# Descriptions in answers. One that can't be read must not hide that money moved: it is kept
# whole, in ``extra``.
_DESCRIPTIONS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    **dict.fromkeys(
        (Payout, Payment, Refund),
        (
            "created_at",
            "finished_at",
            "customer",
            "participant_details",
            "payment_method",
            "payment_details",
            "customer_interaction",
            "recurrent",
            "amounts",
            "transaction_info",
            "error",
        ),
    ),
    # Told in prose, under names that are not known.
    TokenInfo: ("created_at", "expires_at", "is_active"),
}


def reader(
    converter: Converter, names: Mapping[str, str], record: type[Any]
) -> Callable[[Any, Any], Any]:
    """Make the function that reads a record of one class."""
    fields = [f.name for f in attrs.fields(record)]
    known = {names.get(name, name) for name in fields} - {"extra"}
    keeps_extra = "extra" in fields
    synonyms, descriptions = _SYNONYMS.get(record), _DESCRIPTIONS.get(record, ())
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        record,
        converter,
        _cattrs_forbid_extra_keys=not keeps_extra,
        **_renamed(fields, names),
    )

    def read_record(value: Any, wanted: Any) -> Any:
        wire = read_object(value, wanted)
        if synonyms is not None:
            wire = {_spelled(name, wire, synonyms, names): item for name, item in wire.items()}
        if keeps_extra and not wire.keys() <= known:
            named = {name: wire[name] for name in wire.keys() & known}
            unnamed = {name: wire[name] for name in wire if name not in known}
            wire = {**named, "extra": unnamed}
        try:
            return read(wire, wanted)
        except BaseValidationError:
            unread = _unreadable(converter, record, wire, descriptions, names)
            if not unread:
                raise
        readable = {name: wire[name] for name in wire if name not in unread}
        return read({**readable, "extra": {**wire.get("extra", {}), **unread}}, wanted)

    return read_record


def _spelled(name: str, wire: Wire, synonyms: Mapping[str, str], names: Mapping[str, str]) -> str:
    field = synonyms.get(name, name)
    spelled = names.get(field, field)
    # Where both names are given, this version's own counts, and the other is an unknown field.
    return name if spelled in wire else spelled


def _unreadable(
    converter: Converter,
    record: type[Any],
    wire: Wire,
    descriptions: tuple[str, ...],
    names: Mapping[str, str],
) -> Wire:
    unread: Wire = {}
    for field in attrs.fields(record):
        name = names.get(field.name, field.name)
        if field.name in descriptions and name in wire:
            try:
                converter.structure(wire[name], field.type)
            except (BaseValidationError, InvalidRequest, TypeError, ValueError):
                unread[name] = wire[name]
    return unread


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
