"""Instruments on the wire: wrapped in objects that are told apart by type and system_type."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast, get_args

from cattrs import BaseValidationError, Converter

from ..errors import InvalidRequest
from ..values.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    OtherInstrument,
    Recurrent,
    RussianAccount,
)
from .exact import read_object
from .failures import NotDecodable, complaints
from .text import Wire

# Record -> (type, what tells the inner shapes apart, inner shape); api objects page and SDK.
_WRAPPINGS: Final[Mapping[type[Any], tuple[str, str, str]]] = {
    BankCard: ("card", "type", "bank_card"),
    EncryptedCard: ("card", "type", "encrypted_card"),
    GlobalAccount: ("bank_account", "system_type", "global"),
    RussianAccount: ("bank_account", "system_type", "ru"),
    FasterPayment: ("bank_account", "system_type", "faster_payment_system"),
    FasterPaymentVerification: (
        "bank_account",
        "system_type",
        "faster_payment_system_verification",
    ),
    GlobalWallet: ("wallet", "type", "global"),
}


def register_instruments(converter: Converter) -> None:
    """Teach a converter to wrap and unwrap every kind of instrument."""
    converter.register_structure_hook_func(_is_instrument, partial(_unwrap, converter))
    converter.register_unstructure_hook_func(_is_instrument, partial(_wrap, converter))


def _wrap(converter: Converter, instrument: Any) -> Wire | None:
    if instrument is None:
        return None
    if isinstance(instrument, OtherInstrument):
        return dict(instrument.wire)
    record: Any = instrument.__class__
    fields: Wire = converter.unstructure(instrument, record)
    if record is Recurrent:
        return {"type": "recurrent", "recurrent": fields}
    outer, tag, inner = _WRAPPINGS[record]
    return {"type": outer, outer: {tag: inner, inner: fields}}


def _unwrap(converter: Converter, value: Any, wanted: Any) -> Any:
    if value is None:
        return None
    wire = read_object(value, wanted)
    record, fields, path = _unwrapped(wire)
    if record not in get_args(wanted):
        raise TypeError(f"expected an instrument of payments, got {path}")
    if not isinstance(wire.get("type"), str):
        raise TypeError("expected an object that tells its type")
    if record is OtherInstrument:
        return OtherInstrument(wire)
    try:
        return converter.structure(fields, record)
    except (BaseValidationError, InvalidRequest, TypeError) as error:
        wrong = tuple(complaints(error, path))
    raise NotDecodable(wrong)


def _unwrapped(wire: Wire) -> tuple[type[Any], Any, str]:
    outer: Any = wire.get("type")
    inside: Any = wire.get(outer) if isinstance(outer, str) else None
    if isinstance(inside, dict) and wire.keys() == {"type", outer}:
        if outer == "recurrent":
            return Recurrent, cast("Wire", inside), "recurrent"
        fields = cast("Wire", inside)
        for record, (kind, tag, inner) in _WRAPPINGS.items():
            # Only the exact shape is taken apart; whatever has more in it is kept whole.
            if kind == outer and fields.get(tag) == inner and fields.keys() == {tag, inner}:
                return record, fields[inner], f"{outer}.{inner}"
    return OtherInstrument, wire, ""


def _is_instrument(annotation: Any) -> bool:
    return OtherInstrument in get_args(annotation)
