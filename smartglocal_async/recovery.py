"""Decides, after a lost answer, whether a call took effect, from the current state of its session.

If the session shows no effect, the first request may still arrive later. So a call is repeated only
if both requests together can do no more than one. A second start might pay twice within the
session, and so might a second partial capture or refund: after those the outcome stays unknown.

=========================  ===================================  ==============================
Call                       took effect if                       safe to repeat if
=========================  ===================================  ==============================
``session/start/payout``   a payout carries the key             never
``session/start/payment``  a payment carries the key            never
``session/confirm``        accepted, or a capture is awaited    a confirm is still awaited
``session/cancel``         the session is cancelled             the session isn't final
``session/capture``        nothing is held any more, and a      it takes the whole amount, and
                           payment (for a part: one of that     the money is still held
                           amount) succeeded
``session/refund``         a refund carries the key             it refunds the whole amount, and
                                                                there is no refund yet
=========================  ===================================  ==============================
"""

import enum
from collections.abc import Iterable
from typing import Final

from .idempotency import Mark
from .models.answers import Payment, Payout, Refund, Session
from .models.enums import NextAction, OperationStatus, SessionStatus
from .models.money import Amount
from .models.requests import CapturePayment, RefundPayment, SessionRef, StartPayment, StartPayout


class Effect(enum.Enum):
    """What a session shows about a call whose answer was lost."""

    TAKEN = "it took effect"
    REPEATABLE = "it took no effect so far, and a second one could do no more than the first"
    UNCLEAR = "the session doesn't show it"


_LISTS: Final = frozenset(
    {"payments", "payout_list", "acquiring_payments", "payment_list", "refunds"}
)


def of_start_payout(session: Session, request: StartPayout, mark: Mark | None) -> Effect:
    """Return whether the payout was started."""
    taken = _is_among(mark, request.amount_details, session.payout_list)
    return Effect.TAKEN if taken else Effect.UNCLEAR


def of_start_payment(session: Session, request: StartPayment, mark: Mark | None) -> Effect:
    """Return whether the payment was started."""
    taken = _is_among(mark, request.amount_details, session.payment_list)
    return Effect.TAKEN if taken else Effect.UNCLEAR


def of_confirm(session: Session, _request: SessionRef, _mark: Mark | None) -> Effect:
    """Return whether the session was confirmed; a second confirm has no effect.

    A pending item without a next action shows nothing: it may be confirmed, about to be
    cancelled, or waiting for the payer.
    """
    if session.next_action == NextAction.CONFIRM:
        return Effect.REPEATABLE
    accepted = session.status == SessionStatus.ACCEPTED
    is_taken = accepted or session.next_action == NextAction.CAPTURE
    return Effect.TAKEN if is_taken else Effect.UNCLEAR


def of_cancel(session: Session, _request: SessionRef, _mark: Mark | None) -> Effect:
    """Return whether the session was cancelled."""
    if session.is_cancelled:
        return Effect.TAKEN
    return Effect.UNCLEAR if session.is_final else Effect.REPEATABLE


def of_capture(session: Session, request: CapturePayment, _mark: Mark | None) -> Effect:
    """Return whether the money that was held was captured."""
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
    """Return whether the refund was made."""
    refunds = [refund for payment in session.payment_list for refund in payment.refunds]
    if _is_among(mark, request.amount_details, refunds):
        return Effect.TAKEN
    paid = any(payment.status == OperationStatus.SUCCEEDED for payment in session.payment_list)
    is_plain = paid and not refunds and request.amount_details is None and is_whole(session)
    return Effect.REPEATABLE if is_plain else Effect.UNCLEAR


def _is_among(
    mark: Mark | None, amount: Amount | None, items: Iterable[Payout | Payment | Refund]
) -> bool:
    """Return whether an item carries the key of the call, and no other amount or currency."""
    return mark is not None and any(
        mark.is_on(item.metadata)
        and (amount is None or item.amount_details is None or item.amount_details == amount)
        for item in items
    )


def is_whole(session: Session) -> bool:
    """Return whether all payments and refunds could be read; any that couldn't are in ``extra``."""
    unread = {*session.extra, *(name for pay in session.payment_list for name in pay.extra)}
    return not unread & _LISTS
