"""The parts of a request that have rules, found in its wire form."""

from collections.abc import Mapping
from typing import Final, cast

from attrs import frozen

from ..codec import Wire

PAYOUT: Final = ("payment_method", "payout_details")
"""The instrument of a payout: its name in v1 and in v2."""
PAYMENT: Final = ("payment_details",)
SIDES: Final = ("recipient", "sender")

# What tells the inner objects of an instrument apart.
_TAGS: Final[Mapping[str, str]] = {"card": "type", "bank_account": "system_type", "wallet": "type"}


@frozen
class Asked:
    """A request taken apart; a part that isn't in it is None."""

    is_payment: bool
    kind: str
    """``bank_account.global``, say; empty for none and for one that has no rules."""
    place: str
    """Where the instrument's fields stand: ``payment_method.bank_account.global``."""
    instrument: Wire
    sides: Mapping[str, Wire | None]
    currency: str | None
    """That of ``amount_details``, in lower case."""

    @property
    def country(self) -> str | None:
        """The recipient's, in upper case."""
        country = text_at(self.sides["recipient"] or {}, "country_iso3")
        return country and country.upper()

    @property
    def recipient_currency(self) -> str | None:
        """What the recipient gets, in lower case."""
        currency = text_at(self.sides["recipient"] or {}, "currency")
        return currency and currency.lower()


def read_request(wire: Wire, names: tuple[str, ...]) -> Asked:
    """Take a request apart whose instrument stands under one of some names."""
    name = next((name for name in names if name in wire), names[0])
    kind, instrument = _unwrapped(_object(wire.get(name)) or {})
    people = _object(wire.get("participant_details")) or {}
    currency = text_at(_object(wire.get("amount_details")) or {}, "currency")
    return Asked(
        name in PAYMENT,
        kind,
        f"{name}.{kind}",
        instrument,
        {side: _object(people.get(side)) for side in SIDES},
        currency and currency.lower(),
    )


def value_at(fields: Wire, path: str) -> object:
    """Give what stands at a path such as ``identity_document.id_number``; None for nothing."""
    if "." not in path:  # Nearly all of them, and every call asks for dozens.
        return fields.get(path)
    value: object = fields
    for name in path.split("."):
        value = (_object(value) or {}).get(name)
    return value


def text_at(fields: Wire, path: str) -> str | None:
    """Give the text that stands at a path; None for anything else."""
    value = value_at(fields, path)
    return value if isinstance(value, str) else None


def _object(value: object) -> Wire | None:
    return cast("Wire", value) if isinstance(value, dict) else None


def _unwrapped(wire: Wire) -> tuple[str, Wire]:
    # Only the exact shape is known; whatever has more in it is somebody else's business.
    outer = text_at(wire, "type") or ""
    inside = _object(wire.get(outer))
    if inside is None or wire.keys() != {"type", outer}:
        return "", {}
    if outer not in _TAGS:
        return outer, inside
    inner = text_at(inside, _TAGS[outer]) or ""
    fields = _object(inside.get(inner))
    if fields is None or inside.keys() != {_TAGS[outer], inner}:
        return "", {}
    return f"{outer}.{inner}", fields
