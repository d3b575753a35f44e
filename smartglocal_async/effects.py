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
``session/confirm``        accepted, or an item waits for       a confirm is awaited still
                           something else than the confirm
``session/cancel``         the session is cancelled             the session isn't final
``session/capture``        a payment succeeded; of a part, one  of all, while it is held still
                           of that amount
``session/refund``         a refund carries the key             of all, while there is none
=========================  ===================================  ==============================
"""

import enum

from .idempotency import Mark
from .values.answers import Session
from .values.requests import CapturePayment, RefundPayment, SessionRef, StartPayment, StartPayout
from .values.statuses import NextAction, OperationStatus, SessionStatus


class Effect(enum.Enum):
    """What a session shows of a call whose answer was lost."""

    TAKEN = "it took effect"
    REPEATABLE = "it took no effect so far, and a second one could do no more than the first"
    UNCLEAR = "it can't be told"


def of_start_payout(session: Session, _request: StartPayout, mark: Mark | None) -> Effect:
    """Read whether the payout was started."""
    items = (payout.metadata for payout in session.payout_list)
    return Effect.TAKEN if mark is not None and any(map(mark.is_on, items)) else Effect.UNCLEAR


def of_start_payment(session: Session, _request: StartPayment, mark: Mark | None) -> Effect:
    """Read whether the payment was started."""
    items = (payment.metadata for payment in session.payment_list)
    return Effect.TAKEN if mark is not None and any(map(mark.is_on, items)) else Effect.UNCLEAR


def of_confirm(session: Session, _request: SessionRef, _mark: Mark | None) -> Effect:
    """Read whether the session was confirmed: that acts once."""
    if session.next_action == NextAction.CONFIRM:
        return Effect.REPEATABLE
    waits = OperationStatus.PENDING in {
        *(payout.status for payout in session.payout_list),
        *(payment.status for payment in session.payment_list),
    }
    accepted = session.status == SessionStatus.ACCEPTED
    return Effect.TAKEN if accepted or waits else Effect.UNCLEAR


def of_cancel(session: Session, _request: SessionRef, _mark: Mark | None) -> Effect:
    """Read whether the session was cancelled."""
    if session.status == SessionStatus.CANCELLED:
        return Effect.TAKEN
    return Effect.UNCLEAR if session.is_final else Effect.REPEATABLE


def of_capture(session: Session, request: CapturePayment, _mark: Mark | None) -> Effect:
    """Read whether a hold was captured."""
    part = request.amount_details
    taken = [pay for pay in session.payment_list if pay.status == OperationStatus.SUCCEEDED]
    if taken and (part is None or any(payment.amount_details == part for payment in taken)):
        return Effect.TAKEN
    held = any(payment.status == OperationStatus.PENDING for payment in session.payment_list)
    return Effect.REPEATABLE if held and not taken and part is None else Effect.UNCLEAR


def of_refund(session: Session, request: RefundPayment, mark: Mark | None) -> Effect:
    """Read whether the refund was made."""
    refunds = [refund for payment in session.payment_list for refund in payment.refunds]
    if mark is not None and any(mark.is_on(refund.metadata) for refund in refunds):
        return Effect.TAKEN
    paid = any(payment.status == OperationStatus.SUCCEEDED for payment in session.payment_list)
    is_whole = request.amount_details is None
    return Effect.REPEATABLE if paid and is_whole and not refunds else Effect.UNCLEAR
