"""What webhooks tell: a type and the session as it stands."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, ClassVar

from attrs import field, frozen

from .answers import Payment, Payout, Session
from .exactness import mask
from .interaction import CustomerInteraction


@frozen(kw_only=True)
class WebhookEvent:
    """A verified webhook; its type has no record of its own, or is one of the five below.

    Webhooks carry no id and no time. The same one may come again, and later ones may come
    first: ``session`` is how the provider saw it when it wrote this one.
    """

    wire_type: ClassVar[str] = ""

    type: str
    session: Session
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)

    @property
    def identity(self) -> str:
        """What tells it from others: type, session, and the ids and statuses of what is in it.

        The provider gives no id. A redelivery has the same identity; a later refund of the same
        payment has another, and so has a second thing that its payer is asked to do.
        """
        session = self.session
        parts = [self.type, session.id, str(session.status), str(session.next_action or "")]
        items: tuple[Payment | Payout, ...] = (*session.payout_list, *session.payment_list)
        for item in items:
            parts += [item.id, str(item.status)]
            if item.customer_interaction is not None:
                parts.append(_digest(item.customer_interaction))
        for payment in session.payment_list:
            for refund in payment.refunds:
                parts += [refund.id, str(refund.status)]
        return "|".join(parts)


def _digest(asked: CustomerInteraction) -> str:
    redirect, qr = asked.redirect, asked.inform and asked.inform.qr
    told = (redirect and (redirect.url, redirect.qs, redirect.params), qr and qr.content)
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@frozen(kw_only=True)
class ReadyToConfirm(WebhookEvent):
    """Ready to perform: confirm or cancel within 240 minutes; not sent where that is automatic."""

    wire_type = "ready_to_confirm"


@frozen(kw_only=True)
class ReadyToCapture(WebhookEvent):
    """The money is held: capture or cancel."""

    wire_type = "ready_to_capture"


@frozen(kw_only=True)
class ActionRequired(WebhookEvent):
    """The payer must act: send them through ``customer_interaction.redirect``."""

    wire_type = "action_required"


@frozen(kw_only=True)
class PaymentFinished(WebhookEvent):
    """A payout or a payment is completed: read the item's status.

    A payout that is ``failed`` in a session of status ``error`` is **not final**: don't pay it
    again before the session has a final status.
    """

    wire_type = "payment_finished"


@frozen(kw_only=True)
class PaymentRefunded(WebhookEvent):
    """A refund is done, or a chargeback: read ``refunds`` and ``is_chargeback``."""

    wire_type = "payment_refunded"


EVENTS: Mapping[str, type[WebhookEvent]] = {
    event.wire_type: event
    for event in (ReadyToConfirm, ReadyToCapture, ActionRequired, PaymentFinished, PaymentRefunded)
}
"""The five documented types; another type is a `WebhookEvent` itself."""
