"""The instruments of `payment_method` and `payment_details`: cards, accounts, wallets, tokens.

The wire wraps each of them in one or two objects told apart by ``type`` and ``system_type``;
that is the codec's business. Which fields are mandatory depends on the country page, so only
what every page demands is mandatory here, and ``extra`` carries what a page adds.
"""

from collections.abc import Mapping
from typing import Any, NoReturn, Self, cast

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .exactness import check_json, discreet, exact, mask

_SHORTEST_PAN, _LONGEST_PAN = 12, 19
_INSIDE_CARD = frozenset({"bank_card", "encrypted_card"})


def _check_number(_instance: object, _field: "Attribute[str]", value: object) -> None:
    if not isinstance(value, str):
        raise InvalidRequest("BankCard.number", f"expected text, got {type(value).__name__}")
    if not (value.isascii() and value.isdigit() and _SHORTEST_PAN <= len(value) <= _LONGEST_PAN):
        raise InvalidRequest("BankCard.number", "expected 12 to 19 digits, without spaces")


@discreet
@frozen(kw_only=True, field_transformer=exact)
class BankCard:
    """An open card number (``card`` / ``bank_card``); a payout needs only ``number``.

    The number and the security code show in no repr, and the record refuses to be pickled.
    ``expiration_month`` and ``expiration_year`` are two digits each ("05", "25").
    """

    number: str = field(validator=_check_number, repr=mask)
    expiration_month: str | None = field(default=None, repr=mask)
    expiration_year: str | None = field(default=None, repr=mask)
    security_code: str | None = field(default=None, repr=mask)
    cardholder_name: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an open card number isn't pickled, lest it end up in a queue or on a disk; "
            "hand over an EncryptedCard (the widget's token) instead"
        )


@discreet
@frozen(kw_only=True, field_transformer=exact)
class EncryptedCard:
    """A card by the token of the provider's widget (``card`` / ``encrypted_card``)."""

    number_hash: str = field(repr=mask)
    expiration_date_hash: str | None = field(default=None, repr=mask)
    security_code_hash: str | None = field(default=None, repr=mask)
    cardholder_name_hash: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class GlobalAccount:
    """A bank account abroad (``bank_account`` / ``global``); the country decides the fields.

    ``sort_code`` is written 12-34-56, ``bsb_number`` has six digits, ``account_type`` is one of
    CHECKING, SAVINGS, DEPOSIT, OTHERS. ``description`` is the purpose of remittance.
    """

    iban: str | None = field(default=None, repr=mask)
    swift_bic_code: str | None = None
    bank_account_number: str | None = field(default=None, repr=mask)
    account_number: str | None = field(default=None, repr=mask)
    branch_number: str | None = None
    sort_code: str | None = None
    routing_code: str | None = None
    bsb_number: str | None = None
    account_type: str | None = None
    description: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class RussianAccount:
    """A bank account in Russia (``bank_account`` / ``ru``)."""

    bik: str
    account: str = field(repr=mask)
    full_name: str | None = None
    description: str | None = None
    inn: str | None = field(default=None, repr=mask)
    kpp: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FasterPayment:
    """A phone in Russia's Faster Payments System (``bank_account`` / ``faster_payment_system``)."""

    phone: str = field(repr=mask)
    bank_id: str
    description: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FasterPaymentVerification:
    """A phone to look up before paying (``faster_payment_system_verification``)."""

    phone: str = field(repr=mask)
    bank_id: str
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class GlobalWallet:
    """An electronic wallet abroad (``wallet`` / ``global``); ``msisdn`` is its phone number."""

    name: str
    msisdn: str = field(repr=mask)
    description: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Recurrent:
    """A token of an earlier payment; ``initiator`` is ``merchant`` or ``client``."""

    token: str = field(repr=mask)
    initiator: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


def _check_wire(_instance: object, _field: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, dict):
        raise InvalidRequest("OtherInstrument.wire", f"expected a dict, got {type(value).__name__}")
    wire = cast("dict[str, Any]", value)
    check_json(wire, "OtherInstrument.wire")
    kind = wire.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest("OtherInstrument.wire.type", "expected text: the instrument's type")
    if kind in _INSIDE_CARD:
        raise InvalidRequest(
            "OtherInstrument.wire.type",
            f'{kind} stands inside a card: {{"type": "card", "card": {{"type": "{kind}", ...}}}}',
        )


@discreet
@frozen
class OtherInstrument:
    """An instrument that has no record here: its wire form, sent and kept as it is.

    ``OtherInstrument({"type": "iban", "iban": {"account": "..."}})``
    """

    wire: Mapping[str, Any] = field(validator=_check_wire, repr=mask, hash=False)

    @property
    def type(self) -> str:
        """The word that tells the provider what it is."""
        return str(self.wire["type"])


PayoutInstrument = (
    BankCard
    | EncryptedCard
    | GlobalAccount
    | RussianAccount
    | FasterPayment
    | FasterPaymentVerification
    | GlobalWallet
    | Recurrent
    | OtherInstrument
)
PaymentInstrument = BankCard | EncryptedCard | Recurrent | OtherInstrument
