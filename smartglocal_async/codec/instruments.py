"""Instruments on the wire: in objects that are distinguished by ``type`` and ``system_type``."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast, get_args

from cattrs import BaseValidationError, Converter

from .._lazy import public_name
from ..errors import InvalidRequest
from ..models.answers import MaskedCard
from ..models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentBinding,
    FasterPaymentQr,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    MonetaWallet,
    OtherInstrument,
    PaymentInstrument,
    PayoutInstrument,
    QiwiWallet,
    Recurrent,
    RussianAccount,
    SberPay,
    SteamWallet,
    TokenizedCard,
    TPay,
    YooMoneyWallet,
)
from ..models.tokens import GetTokenInfo, TokenRef
from .converter import NotDecodable, complaints, read_object
from .json import Wire

# Record -> (type, the field that distinguishes the inner objects, inner object). From the
# provider's page of objects and the sister platform's SDK.
_WRAPPINGS: Final[Mapping[type[Any], tuple[str, str, str]]] = {
    BankCard: ("card", "type", "bank_card"),
    EncryptedCard: ("card", "type", "encrypted_card"),
    TokenizedCard: ("card", "type", "tokenized_card"),
    GlobalAccount: ("bank_account", "system_type", "global"),
    RussianAccount: ("bank_account", "system_type", "ru"),
    FasterPayment: ("bank_account", "system_type", "faster_payment_system"),
    FasterPaymentVerification: (
        "bank_account",
        "system_type",
        "faster_payment_system_verification",
    ),
    GlobalWallet: ("wallet", "type", "global"),
    SteamWallet: ("wallet", "type", "steam"),
    QiwiWallet: ("wallet", "type", "qiwi"),
    YooMoneyWallet: ("wallet", "type", "yoomoney"),
    MonetaWallet: ("wallet", "type", "moneta"),
    SberPay: ("internet_banking", "type", "sber_pay"),
    TPay: ("internet_banking", "type", "tpay"),
}
_BARE: Final[Mapping[type[Any], str]] = {
    Recurrent: "recurrent",
    FasterPaymentQr: "faster_payment_system",
    FasterPaymentBinding: "faster_payment_system_binding",
    MaskedCard: "card",
}
_BARE_OF_TYPE: Final = {kind: record for record, kind in _BARE.items() if record is not MaskedCard}
# The pages print no inner object for these.
_MAY_BE_EMPTY: Final = frozenset({FasterPaymentQr, FasterPaymentBinding, TPay})


def register_instruments(converter: Converter) -> None:
    """Register the hooks that wrap and unwrap every kind of instrument."""
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
    """Return the wire form of an instrument from the fields of its record."""
    shown = fields or record not in _MAY_BE_EMPTY
    if record in _BARE:
        return {"type": _BARE[record], **({_BARE[record]: fields} if shown else {})}
    outer, tag, inner = _WRAPPINGS[record]
    return {"type": outer, outer: {tag: inner, **({inner: fields} if shown else {})}}


def place_of(record: type[Any]) -> tuple[str, ...]:
    """Return the path to the fields of a record in the wire form of its instrument."""
    if record in _BARE:
        return (_BARE[record],)
    outer, _, inner = _WRAPPINGS[record]
    return outer, inner


def tags_of(record: type[Any]) -> dict[tuple[str, ...], str]:
    """Return the paths and values that distinguish the wire form of a record from all others."""
    if record in _BARE:
        return {("type",): _BARE[record]}
    outer, tag, inner = _WRAPPINGS[record]
    return {("type",): outer, (outer, tag): inner}


def _unwrap(converter: Converter, value: Any, wanted: Any) -> Any:
    if value is None:
        return None
    wire, allowed = read_object(value, wanted), get_args(wanted)
    is_answer = MaskedCard in allowed
    record, fields, path = _shown(wire) if is_answer else unwrapped(wire)
    if record not in allowed and not is_answer:
        raise TypeError(f"expected an instrument of payments, got {path}")
    if not isinstance(wire.get("type"), str):
        raise TypeError("expected an object that has a type")
    if record is OtherInstrument or record not in allowed:
        return OtherInstrument(wire)
    try:
        return converter.structure(fields, record)
    except (BaseValidationError, InvalidRequest, TypeError) as error:
        if record is MaskedCard and not converter.detailed_validation:
            raise  # It is read again, field by field.
        wrong = tuple(complaints(error, path))
    if is_answer:
        return OtherInstrument(wire)  # Such as masked digits, which couldn't be paid with.
    raise NotDecodable(wrong)


def kind_of(record: type[Any]) -> str:
    """Return the kind of instrument of a record, which is also its path: ``card.bank_card``."""
    return ".".join(place_of(record))


def unwrapped(wire: Wire) -> tuple[type[Any], Any, str]:
    """Return the record, the fields and the kind of an instrument in its wire form.

    If it has other fields than its record, or no record, it is an `OtherInstrument` as a whole,
    and its kind is empty.
    """
    outer: Any = wire.get("type")
    if not isinstance(outer, str) or not wire.keys() <= {"type", outer}:
        return OtherInstrument, wire, ""
    bare = _BARE_OF_TYPE.get(outer)
    if bare is not None:
        fields = _inner(wire, outer, bare)
        if isinstance(fields, dict):
            return bare, cast("Wire", fields), outer
        return OtherInstrument, wire, ""
    inside: Any = wire.get(outer)
    if isinstance(inside, dict):
        middle = cast("Wire", inside)
        for record, (kind, tag, inner) in _WRAPPINGS.items():
            if kind == outer and middle.get(tag) == inner and middle.keys() <= {tag, inner}:
                is_there = inner in middle or record in _MAY_BE_EMPTY
                if is_there:
                    return record, _inner(middle, inner, record), f"{outer}.{inner}"
    return OtherInstrument, wire, ""


def _inner(wire: Wire, name: str, record: type[Any]) -> Any:
    """Return the fields of an instrument; PHP writes an empty object as ``[]``."""
    fields = wire.get(name)
    if record in _MAY_BE_EMPTY and (name not in wire or fields == []):
        return {}
    return fields


def write_description(converter: Converter, query: GetTokenInfo) -> Wire:
    """Return the wire form of the request of ``token/info``, by the type of its token."""
    if query.card is not None:
        kind, token = "card", _wrap(converter, query.card)["card"]
    else:
        kind = "public_token" if query.public_token is not None else "recurrent_token"
        token = converter.unstructure(getattr(query, kind))
    return {"type": kind, kind: token, **query.extra}


def read_description(converter: Converter, value: Any, wanted: Any) -> GetTokenInfo:
    """Return the request of ``token/info`` from its wire form."""
    wire = read_object(value, wanted)
    kind: Any = wire.get("type")
    extra = {name: held for name, held in wire.items() if name not in ("type", kind)}
    if kind == "card":
        record, fields, path = unwrapped({"type": kind, kind: wire.get(kind)})
    elif kind in ("public_token", "recurrent_token") and kind in wire:
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
        return GetTokenInfo(**{kind: token}, extra=extra)
    raise NotDecodable(wrong)


def _shown(wire: Wire) -> tuple[type[Any], Any, str]:
    """Return the record, the fields and the kind of an instrument of an answer."""
    card: Any = wire.get("card")
    if wire.keys() == {"type", "card"} and isinstance(card, dict) and "type" not in card:
        return MaskedCard, cast("Wire", card), "card"
    return unwrapped(wire)


def _is_instrument(annotation: Any) -> bool:
    return OtherInstrument in get_args(annotation)


def instruments_table() -> str:
    """Return the instruments as a table in Markdown: record, wire form, and what takes it."""
    rows: list[str] = []
    for record in (*(one for one in _BARE if one is not MaskedCard), *_WRAPPINGS):
        tags = ", ".join(
            f"`{'.'.join(steps)}` = `{word}`" for steps, word in tags_of(record).items()
        )
        kinds = ((PayoutInstrument, "payouts"), (PaymentInstrument, "payments"))
        used = " and ".join(name for union, name in kinds if record in get_args(union))
        empty = "; no object inside where it has no fields" if record in _MAY_BE_EMPTY else ""
        rows.append(f"| `{public_name(record)}` | {tags}{empty} | {used} |")
    return "\n".join(["| Record | On the wire | For |", "|---|---|---|", *rows])
