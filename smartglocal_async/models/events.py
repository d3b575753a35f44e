"""The events of webhooks: a type and the session at that time."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, ClassVar

from attrs import field, frozen

from .._lazy import public_name
from .answers import CustomerInteraction, Payment, Payout, Session
from .serialization import Serializable
from .validators import mask


@frozen(kw_only=True)
class WebhookEvent(Serializable):
    """A verified webhook, of one of the five types below or of an unknown type.

    Webhooks have no id and no time. The same one may arrive again, and later ones may arrive
    first: ``session`` is the session at the time the provider wrote this one.

    An event without a type, or without a session, is of an unknown type, too: the sister platform
    has such events (transfers/transfer-notif). Its ``type`` is empty then, its ``session`` None,
    and all of its other fields are in ``extra``. So is the session of an event of an unknown type
    that lacks an id or a status, such as an empty one.
    """

    wire_type: ClassVar[str] = ""

    type: str
    """The provider's word; of the five types, it need not be given."""
    session: Session | None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)

    @property
    def identity(self) -> str:
        """Text that identifies the event: type, session, and the ids and statuses of its items.

        A redelivery has the same identity. A later refund of the same payment has another one, and
        so has another action that its payer is asked for, and the return of a payout. The provider
        sends no id of its own. Of an unknown type, the other fields count, too.

        The parts are joined by bars. A bar or backslash within a part has a backslash before it,
        and so has a tilde at its beginning.
        """
        session = self.session
        if session is None:
            return "|".join([*_escaped(self.type), f"~{_digest_of(dict(self.extra))}"])
        parts = _escaped(self.type, session.id, session.status, session.next_action or "")
        items: tuple[Payment | Payout, ...] = (*session.payout_list, *session.payment_list)
        for item in items:
            parts += _escaped(item.id, item.status)
            if item.customer_interaction is not None:
                # With a tilde, as an item without an interaction has one part less.
                parts.append(f"~{_digest(item.customer_interaction)}")
        for item in items:
            for refund in item.refunds:
                parts += _escaped(refund.id, refund.status)
        if self.extra and self.type not in EVENTS:
            parts.append(f"~{_digest_of(dict(self.extra))}")
        return "|".join(parts)


def _escaped(*parts: str) -> list[str]:
    plain = (str(part).replace("\\", "\\\\").replace("|", "\\|") for part in parts)
    return [f"\\{part}" if part.startswith("~") else part for part in plain]


def _digest(interaction: CustomerInteraction) -> str:
    redirect, qr = interaction.redirect, interaction.inform and interaction.inform.qr
    return _digest_of(
        (redirect and (redirect.url, redirect.qs, redirect.params), qr and qr.content)
    )


def _digest_of(content: object) -> str:
    return blake2b(repr(content).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@frozen(kw_only=True)
class ReadyToConfirm(WebhookEvent):
    """Ready to perform: confirm or cancel; not sent where that is automatic.

    Within 240 minutes, by SberPay within 20; then the provider ends the operation (`canceled`).
    """

    wire_type = "ready_to_confirm"

    type: str = "ready_to_confirm"
    session: Session
    confirm_information: Any = field(repr=mask, default=None, hash=False)
    """What the sister platform adds for an escrow account, as it came."""


@frozen(kw_only=True)
class ReadyToCapture(WebhookEvent):
    """The money is held: capture or cancel."""

    wire_type = "ready_to_capture"

    type: str = "ready_to_capture"
    session: Session


@frozen(kw_only=True)
class ActionRequired(WebhookEvent):
    """The payer must act: ``customer_interaction`` has a redirect, or what to show as a QR code.

    Within 60 minutes, by SberPay and T-Pay within 20; then the provider ends the operation.
    """

    wire_type = "action_required"

    type: str = "action_required"
    session: Session


@frozen(kw_only=True)
class PaymentFinished(WebhookEvent):
    """A payout or a payment is completed: read the item's status.

    A payout that is ``failed`` in a session of status ``error`` is **not final**: don't pay it
    again before the session has a final status.
    """

    wire_type = "payment_finished"

    type: str = "payment_finished"
    session: Session


@frozen(kw_only=True)
class PaymentRefunded(WebhookEvent):
    """A refund is done, or a chargeback: read ``refunds`` and ``is_chargeback``.

    Also sent for a payout that the recipient's bank returned: `Payout.refunds`. That no such event
    came proves nothing.
    """

    wire_type = "payment_refunded"

    type: str = "payment_refunded"
    session: Session


EVENTS: Mapping[str, type[WebhookEvent]] = {
    event.wire_type: event
    for event in (ReadyToConfirm, ReadyToCapture, ActionRequired, PaymentFinished, PaymentRefunded)
}
"""The five documented types; another type is a `WebhookEvent` itself."""


@frozen
class Deadline:
    """How long the provider waits, and what follows."""

    awaited: str
    minutes: float
    then: str
    page: str
    """Below ``developer.smart-glocal.com/docs/``."""


CONFIRM = Deadline(
    "`session/confirm`, after `ReadyToConfirm`",
    240,
    "the operation is `canceled`",
    "reference/webhooks/ready-to-confirm",
)
CONFIRM_SBERPAY = Deadline(
    "`session/confirm` of a SberPay payment",
    20,
    "the session is `canceled`",
    "restricted/sber-qr",
)
ACTION = Deadline(
    "the payer, after `ActionRequired`",
    60,
    "the operation is `canceled`",
    "reference/webhooks/action-required",
)
ACTION_SBERPAY = Deadline(
    "the payer of a SberPay payment, also to see that they cancelled",
    20,
    "the status changes only then",
    "restricted/sber-qr",
)
ACTION_TPAY = Deadline(
    "the payer of a T-Pay payment, from the redirect",
    20,
    "the session ends with an error",
    "restricted/payment-tpay",
)
HOLD = Deadline(
    "`session/capture`, after `ReadyToCapture` (by another version 3 days and 23 hours)",
    5 * 24 * 60,
    "the money is released, unless agreed otherwise",
    "payments/payment-capture",
)
PUBLIC_TOKEN = Deadline(
    "the use of a `PublicToken`, for one operation",
    24 * 60,
    "the token isn't valid any more",
    "reference/methods/token-method",
)
REDELIVERY = Deadline(
    "HTTP 200 as the answer to a webhook, repeated at intervals of up to 15 minutes",
    30,
    "it isn't sent any more; by an older page it is",
    "reference/webhooks",
)
RATE = Deadline("`ExchangeRate.active_to`", 60, "a new rate", "payouts/payout-steam")
RESERVED = Deadline(
    "`ExchangeAmount.reserved_to` (30 s in the example)", 0.5, "unknown", "payments/conversion"
)
DEADLINES = (
    *(CONFIRM, CONFIRM_SBERPAY, ACTION, ACTION_SBERPAY, ACTION_TPAY, HOLD, PUBLIC_TOKEN),
    *(REDELIVERY, RATE, RESERVED),
)
"""The documented times, as the emulator keeps them."""


def deadlines_table() -> str:
    """Return the deadlines as a table in Markdown."""
    rows = (f"| {one.awaited} | {one.minutes:g} | {one.then} | {one.page} |" for one in DEADLINES)
    return "\n".join(["| Awaited | Minutes | Then | Page |", "|---|---|---|---|", *rows])


def events_table() -> str:
    """Return the events as a table in Markdown."""
    rows = (
        f"| `{kind}` | `{public_name(event)}` | {(event.__doc__ or '').partition(chr(10))[0]} |"
        for kind, event in EVENTS.items()
    )
    return "\n".join(["| Type | Class | What it says |", "|---|---|---|", *rows])
