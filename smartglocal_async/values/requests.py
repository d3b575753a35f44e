"""One record per call of a session: what is sent, under the names of the provider's v1 pages."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from ..errors import InvalidRequest
from .exactness import discreet, exact, mask, not_empty
from .instruments import (
    FasterPaymentVerification,
    OtherInstrument,
    PaymentInstrument,
    PayoutInstrument,
)
from .money import AmountDetails
from .people import Customer, ParticipantDetails


@discreet
@frozen(kw_only=True, field_transformer=exact)
class PaymentOptions:
    """Additional payment parameters.

    ``return_url`` is where the payer comes back to after a redirect; ``recurrent=True`` asks
    for a token for later payments.
    """

    return_url: str | None = None
    recurrent: bool | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class CreateSession:
    """Create a payment session; nothing moves yet (``session/create``).

    Every field is optional: what a payout (``payment_method``, ``amount_details``) or a payment
    (``payment_details``, ``amount_details``, ``customer``) needs and is not given here must be
    given when it is started. ``metadata`` is any JSON and comes back in answers and webhooks;
    None means absent.

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
    metadata: Any = field(default=None, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.payment_method is not None and self.payment_details is not None:
            raise InvalidRequest(
                "CreateSession.payment_method",
                "is given together with payment_details; a payout takes payment_method and "
                "amount_details, a payment takes payment_details, amount_details and customer",
            )


@discreet
@frozen(field_transformer=exact)
class SessionRef:
    """Name one session by the id that the provider gave it.

    Sent with ``session/confirm`` (after `ReadyToConfirm`), ``session/cancel`` (after
    `ReadyToConfirm` or `ReadyToCapture`) and ``session/status`` (any time).
    """

    session_id: str = field(validator=not_empty)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class StartPayout:
    """Start a payout in a session (``session/start/payout``).

    What was given with `CreateSession` need not be given again, and may be changed here;
    ``payment_method`` and ``amount_details`` must have been given by now.
    """

    session_id: str = field(validator=not_empty)
    payment_method: PayoutInstrument | None = None
    amount_details: AmountDetails | None = None
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(default=None, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class StartPayment:
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
    metadata: Any = field(default=None, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class InitPayout:
    """Create a session and start a payout in it, in one call (``session/init/payout``).

    When its answer is lost there is no session id to ask about: the outcome stays unknown until
    a webhook or a report tells. `CreateSession` and `StartPayout` are the safer way.
    """

    payment_method: PayoutInstrument
    amount_details: AmountDetails
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(default=None, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class InitPayment:
    """Create a session and start a payment in it, in one call (``session/init/payment``).

    When its answer is lost there is no session id to ask about, as with `InitPayout`.
    """

    payment_details: PaymentInstrument
    amount_details: AmountDetails
    customer: Customer
    participant_details: ParticipantDetails | None = None
    payment_options: PaymentOptions | None = None
    metadata: Any = field(default=None, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class CapturePayment:
    """Take the money that a payment holds (``session/capture``, after `ReadyToCapture`).

    Without ``amount_details`` all of it. A part is documented in words; the name of its field is
    the sister platform's SDK's.
    """

    session_id: str = field(validator=not_empty)
    amount_details: AmountDetails | None = None


@discreet
@frozen(kw_only=True, field_transformer=exact)
class RefundPayment:
    """Give the money of a succeeded payment back (``session/refund``).

    Without ``amount_details`` all of it; a part must be enabled by the manager. Payouts can't be
    refunded. The result comes with `PaymentRefunded`.
    """

    session_id: str = field(validator=not_empty)
    amount_details: AmountDetails | None = None
    metadata: Any = field(default=None, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class VerifyCustomer:
    """Ask whether a phone belongs to a person (``fps/customer_verification``; free).

    The session ends accepted if it does, and cancelled if not.
    """

    session_id: str = field(validator=not_empty)
    payment_method: FasterPaymentVerification | OtherInstrument
    participant_details: ParticipantDetails
