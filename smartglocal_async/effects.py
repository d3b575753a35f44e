"""Whether a call took effect, read from the session as it stands: the way out of a lost answer.

A session that shows no effect yet is no proof that none will come: the first request may still
be under way. So a call is repeated only where its late twin could do nothing. A second start
might pay a second time within the session, and so might a second part of a capture or a refund;
those stay unknown.

=========================  ===================================  ==============================
Call                       took effect, when                    safe to repeat, when
=========================  ===================================  ==============================
``session/start/payout``   a payout carries the key             never
``session/start/payment``  a payment carries the key            never
``session/confirm``        accepted, or a capture is awaited    a confirm is awaited still
``session/cancel``         the session is cancelled             the session isn't final
``session/capture``        nothing is held any more, and a      of all, while it is held still
                           payment succeeded; of a part, one
                           of that amount
``session/refund``         a refund carries the key             of all, while there is none
=========================  ===================================  ==============================
"""

import enum
from collections.abc import Iterable
from typing import Final

from .idempotency import Mark
from .values.answers import Payment, Payout, Refund, Session
from .values.requests import CapturePayment, RefundPayment, SessionRef, StartPayment, StartPayout
from .values.statuses import NextAction, OperationStatus, SessionStatus


class Effect(enum.Enum):
    """What a session shows of a call whose answer was lost."""

    TAKEN = "it took effect"
    REPEATABLE = "it took no effect so far, and a second one could do no more than the first"
    UNCLEAR = "it can't be told"


_LISTS: Final = frozenset(
    {"payments", "payout_list", "acquiring_payments", "payment_list", "refunds"}
)


def of_start_payout(session: Session, _request: StartPayout, mark: Mark | None) -> Effect:
    """Read whether the payout was started."""
    return Effect.TAKEN if _is_among(mark, session.payout_list) else Effect.UNCLEAR


def of_start_payment(session: Session, _request: StartPayment, mark: Mark | None) -> Effect:
    """Read whether the payment was started."""
    return Effect.TAKEN if _is_among(mark, session.payment_list) else Effect.UNCLEAR


def of_confirm(session: Session, _request: SessionRef, _mark: Mark | None) -> Effect:
    """Read whether the session was confirmed: that acts once.

    A pending item without a next action tells nothing: it may be confirmed, about to be
    cancelled, or waiting for the payer.
    """
    if session.next_action == NextAction.CONFIRM:
        return Effect.REPEATABLE
    accepted = session.status == SessionStatus.ACCEPTED
    is_taken = accepted or session.next_action == NextAction.CAPTURE
    return Effect.TAKEN if is_taken else Effect.UNCLEAR


def of_cancel(session: Session, _request: SessionRef, _mark: Mark | None) -> Effect:
    """Read whether the session was cancelled."""
    if session.status == SessionStatus.CANCELLED:
        return Effect.TAKEN
    return Effect.UNCLEAR if session.is_final else Effect.REPEATABLE


def of_capture(session: Session, request: CapturePayment, _mark: Mark | None) -> Effect:
    """Read whether a hold was captured."""
    part = request.amount_details
    taken = [pay for pay in session.payment_list if pay.status == OperationStatus.SUCCEEDED]
    held = session.next_action == NextAction.CAPTURE or any(
        payment.status == OperationStatus.PENDING for payment in session.payment_list
    )
    if held:
        is_plain = part is None and not taken and is_whole(session)
        return Effect.REPEATABLE if is_plain else Effect.UNCLEAR
    if taken and (part is None or any(payment.amount_details == part for payment in taken)):
        return Effect.TAKEN
    return Effect.UNCLEAR


def of_refund(session: Session, request: RefundPayment, mark: Mark | None) -> Effect:
    """Read whether the refund was made."""
    refunds = [refund for payment in session.payment_list for refund in payment.refunds]
    if _is_among(mark, refunds):
        return Effect.TAKEN
    paid = any(payment.status == OperationStatus.SUCCEEDED for payment in session.payment_list)
    is_plain = paid and not refunds and request.amount_details is None and is_whole(session)
    return Effect.REPEATABLE if is_plain else Effect.UNCLEAR


def _is_among(mark: Mark | None, items: Iterable[Payout | Payment | Refund]) -> bool:
    """Say whether one of them carries the key of the call."""
    return mark is not None and any(mark.is_on(item.metadata) for item in items)


def is_whole(session: Session) -> bool:
    """Say whether all payments and refunds could be read: what couldn't is in ``extra``."""
    unread = {*session.extra, *(name for pay in session.payment_list for name in pay.extra)}
    return not unread & _LISTS
