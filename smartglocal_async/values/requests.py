"""One record per call: what is sent, under the names of the provider's v1 page."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from ..errors import InvalidRequest
from .exactness import exact, mask
from .instruments import PaymentInstrument, PayoutInstrument
from .money import AmountDetails
from .people import Customer, ParticipantDetails


@frozen(kw_only=True, field_transformer=exact)
class PaymentOptions:
    """Additional payment parameters.

    ``return_url`` is where the payer comes back to after a redirect; ``recurrent=True`` asks
    for a token for later payments.
    """

    return_url: str | None = None
    recurrent: bool | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


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


@frozen(field_transformer=exact)
class SessionRef:
    """Name one session by the id that the provider gave it (``session/status``)."""

    session_id: str

    def __attrs_post_init__(self) -> None:
        if not self.session_id:
            raise InvalidRequest("SessionRef.session_id", "is empty; give the id of a session")
