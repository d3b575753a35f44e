"""The records of answers: sessions, payouts, payments, refunds, wallets and banks."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias, cast
from urllib.parse import parse_qsl

from attrs import field, frozen

from .enums import InteractionType, NextAction, OperationStatus, RefundStatus, SessionStatus
from .instruments import PaymentInstrument, PaymentOptions, PayoutInstrument
from .money import Amount
from .people import Customer, ParticipantDetails
from .serialization import Serializable, TaggedRecord
from .tokens import RecurrentToken
from .validators import mask, no_fields, without_card_numbers


@frozen(kw_only=True)
class Redirect(Serializable):
    """Where to send the payer: with 3-D Secure, a form to be posted."""

    url: str = field(repr=mask)
    base_url: str | None = field(default=None, repr=mask)
    method: str | None = None
    qs: Any = field(default=None, repr=mask, hash=False)
    params: Any = field(default=None, repr=mask, hash=False)
    """Fields of the form (``PaReq``, ``MD``); they belong to the payer's browser alone."""
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)

    def html(self) -> str:
        """Return a page that sends the payer's browser there by itself, or with a button.

        The fields are escaped. Serve it as ``text/html``. Without a method, fields are posted, and
        an address without fields is opened.
        """
        method, address, named = self._form()
        fields = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(str(value))}">'
            for name, value in named
        )
        return (
            '<!doctype html><html><head><meta charset="utf-8"></head>'
            '<body onload="document.forms[0].submit()">'
            f'<form method="{method}" action="{escape(address)}">{fields}'
            "<button>Continue</button></form></body></html>"
        )

    def _form(self) -> tuple[str, str, list[tuple[str, Any]]]:
        given: object = self.params
        named = list(cast("dict[str, Any]", given).items()) if isinstance(given, dict) else []
        if (self.method or ("POST" if named else "GET")).upper() != "GET":
            return "post", self.url, named
        # A browser replaces the query of the address by the form's fields.
        address, _, query = self.url.partition("#")[0].partition("?")
        return "get", address, [*parse_qsl(query, keep_blank_values=True), *named]


@frozen(kw_only=True)
class QrCode(Serializable):
    """A code for the payer to scan: its content, and an image of it."""

    content: str | None = field(default=None, repr=mask)
    img: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class QrCodeInfo(Serializable):
    """What to show the payer, such as the QR code of a payment by Faster Payments."""

    qr: QrCode | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class CustomerInteraction(Serializable):
    """What the payer must do before the payment can go on."""

    type: InteractionType | str
    redirect: Redirect | None = None
    inform: QrCodeInfo | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class RejectReason(Serializable):
    """A rule by which the provider rejected an operation (the sister platform's SDK)."""

    rule_alias: str | None = None
    list_alias: str | None = None
    expiration_date: str | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class ProviderError(Serializable):
    """The provider's error of a session, a payout or a payment."""

    code: str
    description: str | None = field(default=None, converter=without_card_numbers)
    """Digit runs that look like cards are masked."""
    reject_reasons: tuple[RejectReason, ...] = ()
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class MaskedCard(TaggedRecord):
    """A card as answers show it; ``card_id`` identifies it within a project and can't pay."""

    last4: str | None = None
    brand: str | None = None
    bin: str | None = None
    card_id: str | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class TransactionInfo(Serializable):
    """The identifiers of an operation in the payment networks."""

    rrn: str | None = None
    auth_code: str | None = None
    arn: str | None = None
    fp_message_id: str | None = None
    external_subscription_token: str | None = field(default=None, repr=mask)
    bank_account_ru_token: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class Fees(Serializable):
    """The fees that were deducted from an amount."""

    merchant_fee: Amount | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class Amounts(Serializable):
    """An amount before and after fees, if the provider was asked to show them."""

    gross: Amount | None = None
    net: Amount | None = None
    fee: Fees | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class Refund(Serializable):
    """Money of a payment returned to the payer, by the merchant or by the payer's bank."""

    id: str
    status: RefundStatus | str
    created_at: datetime | None = None
    finished_at: datetime | None = None
    amount_details: Amount | None = None
    is_chargeback: bool | None = None
    """Whether it was charged back by the payer's bank."""
    metadata: Any = field(repr=mask, default=None, hash=False)
    amounts: Amounts | None = None
    transaction_info: TransactionInfo | None = None
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class Payout(Serializable):
    """Money on its way to a recipient, within a session."""

    id: str
    status: OperationStatus | str
    created_at: datetime | None = None
    finished_at: datetime | None = None
    payment_method: PayoutInstrument | MaskedCard | None = None
    amount_details: Amount | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    amounts: Amounts | None = None
    transaction_info: TransactionInfo | None = None
    customer_interaction: CustomerInteraction | None = None
    refunds: tuple[Refund, ...] = ()
    """What the recipient's bank returned; their form is that of a payment's refunds (inferred)."""
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class Payment(Serializable):
    """Money on its way from a payer, within a session."""

    id: str
    status: OperationStatus | str
    created_at: datetime | None = None
    finished_at: datetime | None = None
    payment_details: PaymentInstrument | MaskedCard | None = None
    amount_details: Amount | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    customer_interaction: CustomerInteraction | None = None
    """What the payer must do now, if anything."""
    recurrent: RecurrentToken | None = None
    payment_options: PaymentOptions | None = None
    """The options of the request, echoed."""
    refunds: tuple[Refund, ...] = ()
    metadata: Any = field(repr=mask, default=None, hash=False)
    amounts: Amounts | None = None
    transaction_info: TransactionInfo | None = None
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


UnixTime: TypeAlias = Annotated[datetime, "seconds since 1970"]
"""A time that the provider writes as a number of seconds; all others are ISO 8601 text."""


@frozen(kw_only=True)
class ExchangeAmount(Serializable):
    """What a session in another currency costs its payer, and until when that rate holds.

    Only for payments by the widget, in a project whose currency conversion is enabled
    (payments/conversion).
    """

    source: Amount
    destination: Amount
    rate: Decimal | None = None
    """Units of the destination for one of the source."""
    rate_source: str | None = None
    reserved_to: UnixTime | None = None
    """Until when the rate holds; 30 seconds in the provider's example. What follows is unknown."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class ExchangeRate(Serializable):
    """The rate of a Steam top-up (payouts/payout-steam); a new one follows at ``active_to``.

    It is information only: the rate at the time of the payout may be another one.
    """

    rate: Decimal
    """Units of the destination currency for one of the source currency (by its size in the
    provider's example)."""
    source_currency: str | None = None
    destination_currency: str | None = None
    active_from: datetime | None = None
    active_to: datetime | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class PushRequested(Serializable):
    """The provider asked Sber to notify the payer; whether by PUSH or SMS is Sber's choice."""

    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


_CANCELLED = frozenset({SessionStatus.CANCELLED, SessionStatus.CANCELED})
_FINAL = _CANCELLED | {SessionStatus.ACCEPTED}


@frozen(kw_only=True)
class Session(Serializable):
    """A payment session as the provider sees it.

    ``id`` is opaque. ``status`` is a `SessionStatus`, or the provider's text if it is a new one;
    both compare equal to plain text. Times are aware, to the microsecond, and None if the
    provider left them out. Fields without a name here are in ``extra``.

    The status ``error`` is **not final**: a payout in it may be ``failed`` and still be paid
    later. Don't pay again; contact support and wait for a final status.
    """

    id: str
    status: SessionStatus | str
    created_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None
    next_action: NextAction | str | None = None
    payout_list: tuple[Payout, ...] = ()
    """Payouts; API v1 calls them ``payments``."""
    payment_list: tuple[Payment, ...] = ()
    """Payments; API v1 calls them ``acquiring_payments``."""
    exchange_amounts: tuple[ExchangeAmount, ...] = ()
    """What the payer pays in the project's other currency, if conversion is enabled."""
    metadata: Any = field(repr=mask, default=None, hash=False)
    confirm_information: Any = field(repr=mask, default=None, hash=False)
    """What the sister platform adds to an answer about an escrow account, as it came."""
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)

    @property
    def is_final(self) -> bool:
        """Whether the status can't change by itself any more: accepted or cancelled.

        ``error`` and any unknown status are not final. A payment that was accepted can still be
        refunded.
        """
        return self.status in _FINAL

    @property
    def is_cancelled(self) -> bool:
        """Whether it is cancelled, in either spelling of the provider's pages."""
        return self.status in _CANCELLED

    @property
    def is_action_due(self) -> bool:
        """Whether it waits for the merchant (confirm, capture) or for the payer (3-D Secure)."""
        if self.is_final:
            return False
        items: tuple[Payment | Payout, ...] = (*self.payment_list, *self.payout_list)
        return self.next_action is not None or any(
            item.customer_interaction is not None and item.status == OperationStatus.PENDING
            for item in items
        )

    if not TYPE_CHECKING:  # With it, a type checker would accept every name.

        def __getattr__(self, name: str) -> NoReturn:
            if name in {"payments", "acquiring_payments"}:
                raise AttributeError(
                    "API v1 calls payouts `payments` and payments `acquiring_payments`; "
                    "here they are payout_list and payment_list in every version",
                    name=name,
                    obj=self,
                )
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )


@frozen(kw_only=True)
class Wallet(Serializable):
    """A prefunded balance, in minor units; payouts are paid from it."""

    id: str
    amount_details: Amount
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@frozen(kw_only=True)
class Bank(Serializable):
    """A bank of Russia's Faster Payments System (the sister platform's SDK)."""

    id: str
    eng_name: str | None = None
    ru_name: str | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)
