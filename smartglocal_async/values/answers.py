"""What the provider answers: sessions, and the payouts and payments in them.

Unknown statuses stay the words they are, and unknown fields are kept in ``extra``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import field, frozen

from .exactness import mask, without_card_numbers
from .instruments import PaymentInstrument, PayoutInstrument
from .interaction import CustomerInteraction
from .money import Amount
from .people import Customer, ParticipantDetails
from .statuses import NextAction, OperationStatus, RefundStatus, SessionStatus
from .tokens import RecurrentToken


@frozen(kw_only=True)
class RejectReason:
    """A rule by which the provider rejected an operation (the sister platform's SDK)."""

    rule_alias: str | None = None
    list_alias: str | None = None
    expiration_date: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class ProviderError:
    """The provider's word on what went wrong inside a session, a payout or a payment."""

    code: str
    description: str | None = field(default=None, converter=without_card_numbers)
    """Digit runs that look like cards are masked."""
    reject_reasons: tuple[RejectReason, ...] = ()
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class MaskedCard:
    """A card as answers show it; ``card_id`` names it within a project and can't pay."""

    last4: str | None = None
    brand: str | None = None
    bin: str | None = None
    card_id: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class TransactionInfo:
    """What the networks call an operation."""

    rrn: str | None = None
    auth_code: str | None = None
    arn: str | None = None
    fp_message_id: str | None = None
    external_subscription_token: str | None = field(default=None, repr=mask)
    bank_account_ru_token: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Fees:
    """What was kept of an amount."""

    merchant_fee: Amount | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Amounts:
    """An amount before and after fees, where the provider was asked to show them."""

    gross: Amount | None = None
    net: Amount | None = None
    fee: Fees | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Refund:
    """Money given back from a payment, by the merchant or by the payer's bank."""

    id: str
    status: RefundStatus | str
    created_at: datetime | None = None
    finished_at: datetime | None = None
    amount_details: Amount | None = None
    is_chargeback: bool | None = None
    """Whether the payer's bank took it back."""
    metadata: Any = field(default=None, hash=False)
    amounts: Amounts | None = None
    transaction_info: TransactionInfo | None = None
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Payout:
    """Money on its way to a recipient, within a session."""

    id: str
    status: OperationStatus | str
    created_at: datetime | None = None
    finished_at: datetime | None = None
    payment_method: PayoutInstrument | MaskedCard | None = None
    amount_details: Amount | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(default=None, hash=False)
    amounts: Amounts | None = None
    transaction_info: TransactionInfo | None = None
    customer_interaction: CustomerInteraction | None = None
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Payment:
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
    refunds: tuple[Refund, ...] = ()
    metadata: Any = field(default=None, hash=False)
    amounts: Amounts | None = None
    transaction_info: TransactionInfo | None = None
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


_FINAL = frozenset({SessionStatus.ACCEPTED, SessionStatus.CANCELLED})


@frozen(kw_only=True)
class Session:
    """A payment session as the provider sees it.

    ``id`` is opaque. ``status`` is a `SessionStatus`, or the provider's word where it is a new
    one; both compare equal to plain text. Times are aware, to the microsecond, and None where
    the provider left them out. Fields without a name here are in ``extra``.

    The status ``error`` is **not final**: a payout in it may be ``failed`` and still come to
    be paid. Don't pay again; contact support and wait for a final status.
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
    metadata: Any = field(default=None, hash=False)
    error: ProviderError | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen by itself: accepted or cancelled.

        ``error`` is not final, and a word that is not known here is taken for not final. A
        payment that was accepted can still be refunded.
        """
        return self.status in _FINAL

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

    if not TYPE_CHECKING:  # A checker would take every name for one that exists.

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
