"""The instruments of `payment_method` and `payment_details`: cards, accounts, wallets, tokens.

On the wire each of them is wrapped in one or two objects, with ``type`` and ``system_type``; the
codec does that. Which fields are mandatory depends on the country's page: only those that every
page requires are mandatory here, and ``extra`` is for fields that a page adds.
"""

from collections.abc import Mapping
from typing import Any, NoReturn, Self, cast

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .serialization import Serializable, TaggedRecord
from .validators import check_json, discreet, exact, mask

_MIN_PAN_DIGITS, _MAX_PAN_DIGITS = 12, 19
_INSIDE_CARD = frozenset({"bank_card", "encrypted_card", "tokenized_card"})


def _check_number(_instance: object, _field: "Attribute[str]", value: object) -> None:
    if not isinstance(value, str):
        raise InvalidRequest("BankCard.number", f"expected text, got {type(value).__name__}")
    if not (
        value.isascii() and value.isdigit() and _MIN_PAN_DIGITS <= len(value) <= _MAX_PAN_DIGITS
    ):
        raise InvalidRequest("BankCard.number", "expected 12 to 19 digits, without spaces")


@discreet
@frozen(kw_only=True, field_transformer=exact)
class BankCard(TaggedRecord):
    """An open card number (``card`` / ``bank_card``); a payout needs only ``number``.

    The number and the security code are masked in the repr, and the record can't be pickled.
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
            "an open card number can't be pickled, so that no queue or disk stores it; "
            "pass an EncryptedCard (the widget's token) instead"
        )


@discreet
@frozen(kw_only=True, field_transformer=exact)
class EncryptedCard(TaggedRecord):
    """A card by the token of the provider's widget (``card`` / ``encrypted_card``)."""

    number_hash: str = field(repr=mask)
    expiration_date_hash: str | None = field(default=None, repr=mask)
    security_code_hash: str | None = field(default=None, repr=mask)
    cardholder_name_hash: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class GlobalAccount(TaggedRecord):
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
    description: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class RussianAccount(TaggedRecord):
    """A bank account in Russia (``bank_account`` / ``ru``)."""

    bik: str
    account: str = field(repr=mask)
    full_name: str | None = field(default=None, repr=mask)
    description: str | None = field(default=None, repr=mask)
    inn: str | None = field(default=None, repr=mask)
    kpp: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FasterPayment(TaggedRecord):
    """A phone in Russia's Faster Payments System (``bank_account`` / ``faster_payment_system``)."""

    phone: str = field(repr=mask)
    bank_id: str
    description: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FasterPaymentVerification(TaggedRecord):
    """A phone to look up before paying (``faster_payment_system_verification``)."""

    phone: str = field(repr=mask)
    bank_id: str
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class GlobalWallet(TaggedRecord):
    """An electronic wallet abroad (``wallet`` / ``global``); ``msisdn`` is its phone number."""

    name: str
    msisdn: str = field(repr=mask)
    description: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Recurrent(TaggedRecord):
    """A token of an earlier payment, by card, the Faster Payments System or SberPay.

    ``initiator`` is ``merchant`` or ``client``; the page of payments by the Faster Payments System
    leaves it out.
    """

    token: str = field(repr=mask)
    initiator: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class TokenizedCard(TaggedRecord):
    """A card by a token from ``tokenize/elements`` (``card`` / ``tokenized_card``), for payouts.

    The provider's page names such tokens; their form is that of the sister platform's SDK.
    """

    token: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class SteamWallet(TaggedRecord):
    """A Steam account to top up (``wallet`` / ``steam``); the amount is in roubles.

    ``account`` is its login. Steam receives US dollars at about the rate that
    ``api.exchange_rate.get`` returns. The page (payouts/payout-steam) shows API v1 only; a client
    on v2 sends it in v2.
    """

    account: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class QiwiWallet(TaggedRecord):
    """A QIWI wallet (``wallet`` / ``qiwi``; the sister platform's SDK)."""

    account: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class YooMoneyWallet(TaggedRecord):
    """A YooMoney wallet (``wallet`` / ``yoomoney``; the sister platform's SDK)."""

    account: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class MonetaWallet(TaggedRecord):
    """A Moneta wallet (``wallet`` / ``moneta``; the sister platform's SDK)."""

    account: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FasterPaymentQr(TaggedRecord):
    """A payment through Russia's Faster Payments System (``faster_payment_system``), in roubles.

    `ActionRequired` brings a link, ``customer_interaction.inform.qr.content``: show it as a QR
    code on a desktop, open it on a phone. Without ``description`` (the sister platform's) no
    inner object is sent, as on the provider's page. A payment whose payer doesn't act within 60
    minutes ends by itself. The page (payments/payment-qr) shows API v1 only; a client on v2 sends
    it in v2.
    """

    description: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FasterPaymentBinding(TaggedRecord):
    """A token for later payments by the Faster Payments System (``faster_payment_system_binding``).

    Nothing is charged, though the page's amount is one kopeck. Return
    ``PaymentOptions(recurrent=True)``; `PaymentFinished` brings the token in ``recurrent``. The
    page (restricted/recurring-token) shows API v2 only; a client on v1 sends it in v1.
    """

    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class SberPay(TaggedRecord):
    """A payment by SberPay (``internet_banking`` / ``sber_pay``), in roubles.

    ``channel`` is how the payer pays: ``app``, ``mobile_web`` or ``web``. `ActionRequired` brings
    the link in ``redirect.url``; the sister platform sends none for ``web``. Confirm within 20
    minutes of `ReadyToConfirm`, or the session is cancelled. A payer who cancels is seen only when
    the order's 20 minutes are over.
    """

    channel: str
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class TPay(TaggedRecord):
    """A payment by T-Pay (``internet_banking`` / ``tpay``, without an inner object), in roubles.

    `PaymentOptions.platform_details` decides the form of the link in ``redirect.url``. The payer
    has 20 minutes from the redirect; then the session ends with an error.
    """

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
            f"{kind} is only valid inside a card: "
            f'{{"type": "card", "card": {{"type": "{kind}", ...}}}}',
        )


@discreet
@frozen
class OtherInstrument(TaggedRecord):
    """An instrument that has no record here: its wire form, sent and kept as it is.

    ``OtherInstrument({"type": "iban", "iban": {"account": "..."}})``
    """

    wire: Mapping[str, Any] = field(validator=_check_wire, repr=mask, hash=False)

    @property
    def type(self) -> str:
        """Type of the instrument, as on the wire."""
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
    | TokenizedCard
    | SteamWallet
    | QiwiWallet
    | YooMoneyWallet
    | MonetaWallet
    | OtherInstrument
)
PaymentInstrument = (
    BankCard
    | EncryptedCard
    | Recurrent
    | FasterPaymentQr
    | FasterPaymentBinding
    | SberPay
    | TPay
    | OtherInstrument
)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class PlatformDetails(Serializable):
    """The payer's device, for T-Pay: it decides the form of the link that the payer opens.

    ``type`` is ``mobile`` or ``desktop``; of ``os`` and ``browser`` only the example ``ios`` with
    ``chrome`` is known.
    """

    type: str | None = None
    os: str | None = None
    browser: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class PaymentOptions(Serializable):
    """Additional payment parameters.

    ``return_url`` is where the payer returns after a redirect; ``recurrent=True`` requests a token
    for later payments, by card, the Faster Payments System or SberPay.
    """

    return_url: str | None = None
    recurrent: bool | None = None
    platform_details: PlatformDetails | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
