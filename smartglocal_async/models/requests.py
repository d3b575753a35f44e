"""The requests of the calls about sessions, with the field names of the provider's v1 pages.

``extra`` is for further fields of a page, sent beside the others. A call refuses a name in it that
is nearly that of a field.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from ..errors import InvalidRequest
from .instruments import (
    FasterPaymentVerification,
    OtherInstrument,
    PaymentInstrument,
    PaymentOptions,
    PayoutInstrument,
)
from .money import AmountDetails
from .people import Customer, ParticipantDetails
from .serialization import Serializable
from .validators import discreet, exact, mask, no_fields, not_empty


@discreet
@frozen(kw_only=True, field_transformer=exact)
class CreateSession(Serializable):
    """Create a payment session; no money moves yet (``session/create``).

    Every field is optional. A payout needs ``payment_method`` and ``amount_details``, a payment
    ``payment_details``, ``amount_details`` and ``customer``; those that aren't given here must be
    given at the start. ``metadata`` is any JSON, and is returned in answers and webhooks; None
    means absent.

    Raises:
        InvalidRequest: a field of the wrong type, metadata that isn't JSON, or the instrument
            of a payout together with that of a payment.

    """

    payment_method: PayoutInstrument | None = None
    payment_details: PaymentInstrument | None = None
    amount_details: AmountDetails | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    payment_options: PaymentOptions | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.payment_method is not None and self.payment_details is not None:
            raise InvalidRequest(
                "CreateSession.payment_method",
                "is given together with payment_details; a payout takes payment_method and "
                "amount_details, a payment takes payment_details, amount_details and customer",
            )


@discreet
@frozen(field_transformer=exact)
class SessionRef(Serializable):
    """Names a session by its id at the provider.

    Sent with ``session/confirm`` (after `ReadyToConfirm`), ``session/cancel`` (after
    `ReadyToConfirm` or `ReadyToCapture`) and ``session/status`` (any time).
    """

    session_id: str = field(validator=not_empty)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False, kw_only=True)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class StartPayout(Serializable):
    """Start a payout in a session (``session/start/payout``).

    What was given with `CreateSession` need not be given again, and may be changed here;
    ``payment_method`` and ``amount_details`` must have been given by now.
    """

    session_id: str = field(validator=not_empty)
    payment_method: PayoutInstrument | None = None
    amount_details: AmountDetails | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class StartPayment(Serializable):
    """Start a payment in a session (``session/start/payment``).

    ``payment_details``, ``amount_details`` and ``customer`` must have been given by now, here or
    with `CreateSession`.
    """

    session_id: str = field(validator=not_empty)
    payment_details: PaymentInstrument | None = None
    amount_details: AmountDetails | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    payment_options: PaymentOptions | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class InitPayout(Serializable):
    """Create a session and start a payout in it, in one call (``session/init/payout``).

    If its answer is lost there is no session id to check: the outcome stays unknown until a
    webhook or a report shows it. `CreateSession` and `StartPayout` are the safer way.
    """

    payment_method: PayoutInstrument
    amount_details: AmountDetails
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class InitPayment(Serializable):
    """Create a session and start a payment in it, in one call (``session/init/payment``).

    If its answer is lost there is no session id to check, as with `InitPayout`.
    """

    payment_details: PaymentInstrument
    amount_details: AmountDetails
    customer: Customer
    participant_details: ParticipantDetails | None = None
    payment_options: PaymentOptions | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class CapturePayment(Serializable):
    """Take the money that a payment holds (``session/capture``, after `ReadyToCapture`).

    Without ``amount_details`` all of it. Partial captures are documented without the name of their
    field, which is that of the sister platform's SDK.
    """

    session_id: str = field(validator=not_empty)
    amount_details: AmountDetails | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class RefundPayment(Serializable):
    """Refund a payment that succeeded (``session/refund``).

    Without ``amount_details`` all of it; a part must be enabled by the manager. Payouts can't be
    refunded. The result comes with `PaymentRefunded`.
    """

    session_id: str = field(validator=not_empty)
    amount_details: AmountDetails | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class PushSberPay(Serializable):
    """Have Sber notify the payer of a SberPay payment by PUSH or SMS (``sberpay/push``).

    ``phone`` is the number to notify, such as ``+79000000001``. Optional, after
    ``session/confirm``. With the channel ``app`` the sister platform advises against it: the
    payment may fail then.
    """

    session_id: str = field(validator=not_empty)
    phone: str = field(validator=not_empty, repr=mask)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen
class GetExchangeRate(Serializable):
    """Ask for the rate of a Steam top-up, roubles to US dollars (``exchange_rate``)."""

    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False, kw_only=True)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class VerifyCustomer(Serializable):
    """Check whether a phone belongs to a person (``fps/customer_verification``; free).

    The session becomes ``accepted`` if it does, and ``cancelled`` if not.
    """

    session_id: str = field(validator=not_empty)
    payment_method: FasterPaymentVerification | OtherInstrument
    participant_details: ParticipantDetails
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)
