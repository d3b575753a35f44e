"""Instruments on the wire: wrapped in objects that are told apart by type and system_type."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast, get_args

from cattrs import BaseValidationError, Converter

from ..errors import InvalidRequest
from ..values.answers import MaskedCard
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
from ..values.lookups import DescribeToken, TokenRef
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


_BARE: Final[Mapping[type[Any], str]] = {Recurrent: "recurrent", MaskedCard: "card"}


def register_instruments(converter: Converter) -> None:
    """Teach a converter to wrap and unwrap every kind of instrument."""
    converter.register_structure_hook_func(_is_instrument, partial(_unwrap, converter))
    converter.register_unstructure_hook_func(_is_instrument, partial(_wrap_any, converter))


def _wrap_any(converter: Converter, instrument: Any) -> Wire | None:
    return None if instrument is None else _wrap(converter, instrument)


def _wrap(converter: Converter, instrument: Any) -> Wire:
    if isinstance(instrument, OtherInstrument):
        return dict(instrument.wire)
    record: Any = instrument.__class__
    return wrapped(record, converter.unstructure(instrument, record))


def wrapped(record: type[Any], fields: Wire) -> Wire:
    """Give the wire form of an instrument, of the fields of its record."""
    if record in _BARE:
        return {"type": _BARE[record], _BARE[record]: fields}
    outer, tag, inner = _WRAPPINGS[record]
    return {"type": outer, outer: {tag: inner, inner: fields}}


def place_of(record: type[Any]) -> tuple[str, ...]:
    """Say where in the wire form of an instrument the fields of its record stand."""
    if record in _BARE:
        return (_BARE[record],)
    outer, _, inner = _WRAPPINGS[record]
    return outer, inner


def tags_of(record: type[Any]) -> dict[tuple[str, ...], str]:
    """Say what tells the wire form of a record from those of others: places, and words there."""
    if record in _BARE:
        return {("type",): _BARE[record]}
    outer, tag, inner = _WRAPPINGS[record]
    return {("type",): outer, (outer, tag): inner}


def _unwrap(converter: Converter, value: Any, wanted: Any) -> Any:
    if value is None:
        return None
    wire, wishes = read_object(value, wanted), get_args(wanted)
    record, fields, path = _unwrapped(wire)
    is_answer = MaskedCard in wishes
    if is_answer and record is OtherInstrument and _shows_card(wire):
        record, fields, path = MaskedCard, wire["card"], "card"
    if record not in wishes and not is_answer:
        raise TypeError(f"expected an instrument of payments, got {path}")
    if not isinstance(wire.get("type"), str):
        raise TypeError("expected an object that tells its type")
    if record is OtherInstrument or record not in wishes:
        return OtherInstrument(wire)
    try:
        return converter.structure(fields, record)
    except (BaseValidationError, InvalidRequest, TypeError) as error:
        wrong = tuple(complaints(error, path))
    if is_answer:
        return OtherInstrument(wire)  # Masked digits, say: what is shown need not be payable.
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


def write_description(converter: Converter, query: DescribeToken) -> Wire:
    """Wrap the token of ``token/info`` as an instrument is wrapped: by its type."""
    if query.card is not None:
        return {"type": "card", "card": _wrap(converter, query.card)["card"]}
    kind = "public_token" if query.public_token is not None else "recurrent_token"
    return {"type": kind, kind: converter.unstructure(getattr(query, kind))}


def read_description(converter: Converter, value: Any, wanted: Any) -> DescribeToken:
    """Read the request of ``token/info``."""
    wire = read_object(value, wanted)
    kind: Any = wire.get("type")
    if kind == "card":
        record, fields, path = _unwrapped(wire)
    elif kind in ("public_token", "recurrent_token") and wire.keys() == {"type", kind}:
        record, fields, path = TokenRef, wire[kind], kind
    else:
        record, fields, path = OtherInstrument, wire, ""
    if record not in {EncryptedCard, TokenRef}:
        raise TypeError("expected an object of type card, public_token or recurrent_token")
    try:
        token: Any = converter.structure(fields, record)
    except (BaseValidationError, InvalidRequest, TypeError) as error:
        wrong = tuple(complaints(error, path))
    else:
        return DescribeToken(**{kind: token})
    raise NotDecodable(wrong)


def _shows_card(wire: Wire) -> bool:
    card = wire.get("card")
    return wire.keys() == {"type", "card"} and isinstance(card, dict) and "type" not in card


def _is_instrument(annotation: Any) -> bool:
    return OtherInstrument in get_args(annotation)
