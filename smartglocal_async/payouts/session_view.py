"""Reads what a session shows of our payout, and how a failed call ended."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

from ..errors import CallFailed, CodeClass, NotSent, Refused
from ..matching import Expected, Owner
from ..models.answers import Payout, Session
from ..models.enums import NextAction, OperationStatus, SessionStatus
from ..models.money import Amount
from ..models.validators import without_card_numbers
from ..recovery import is_whole
from .protocol import ReplyKind, SessionView

_CANCELLED_ITEMS: Final = frozenset({OperationStatus.CANCELLED.value, "canceled"})
_ENDED_ITEMS: Final = _CANCELLED_ITEMS | {OperationStatus.FAILED.value}
_NOT_CONFIRMED: Final = "confirm_timeout"
_MAX_WORD: Final = 60


def read_session(session: Session, expected: Expected, *, is_confirmed: bool = True) -> SessionView:
    """Return what a session shows of the payout that was ordered.

    ``is_confirmed``: whether it may pay. If it needs a confirm that wasn't sent, another sum of a
    payout under way is `SessionView.OTHER_SUM`, since no money has moved yet.
    """
    if not expected.is_session(session.metadata):
        return SessionView.MISMATCH
    if session.status == SessionStatus.ERROR:
        return SessionView.UNSURE
    ours = expected.ours(session)
    if session.is_final:
        return _ended(session, ours, expected)
    if _is_shared(session, ours, expected):
        return SessionView.MISMATCH
    if session.next_action == NextAction.CONFIRM:
        return _awaiting(session, ours, expected)
    if any(_has_other_sum(payout, expected) for payout in ours):
        may_have_moved = is_confirmed or bool(_succeeded(ours))
        return SessionView.MISMATCH if may_have_moved else SessionView.OTHER_SUM
    if session.payout_list or session.payment_list or session.status != SessionStatus.CREATED:
        return SessionView.UNDER_WAY
    return SessionView.EMPTY


def _is_shared(session: Session, ours: list[Payout], expected: Expected) -> bool:
    """Return whether a session has a payout or a payment of another order.

    Its owner may confirm it at any time, and with it a payout of ours.
    """
    if any(expected.owner(payout.metadata) is Owner.OTHER for payout in session.payout_list):
        return True
    has_more = len(ours) < len(session.payout_list) or bool(session.payment_list)
    return bool(ours) and has_more


def _awaiting(session: Session, ours: list[Payout], expected: Expected) -> SessionView:
    if _is_ordered(session, ours, expected):
        return SessionView.AWAITS_CONFIRM
    # A provider that shows no metadata, or no sums, never proves that a payout is ours: another
    # session would show no more.
    owners = {expected.owner(payout.metadata) for payout in session.payout_list}
    shows_no_sum = any(payout.amount_details is None for payout in ours)
    is_unproven = owners == {Owner.UNMARKED} or shows_no_sum
    return SessionView.MISMATCH if is_unproven else SessionView.NOT_OURS


def _is_ordered(session: Session, ours: list[Payout], expected: Expected) -> bool:
    """Return whether a confirm would pay what was ordered, and nothing else."""
    if expected.amount is None:
        return False
    alone = len(ours) == len(session.payout_list) == 1 and not session.payment_list
    return alone and is_whole(session) and expected.is_as_ordered(ours[0])


def _ended(session: Session, ours: list[Payout], expected: Expected) -> SessionView:
    succeeded = _succeeded(ours)
    accepted = session.status == SessionStatus.ACCEPTED
    if len(succeeded) > 1 or not all(map(expected.is_as_ordered, succeeded)):
        return SessionView.MISMATCH
    # Money that moved in a session of ours and isn't our payout: an operator has to find out what.
    if len(_succeeded(session.payout_list)) > len(succeeded):
        return SessionView.MISMATCH
    if succeeded:
        return SessionView.PAID if accepted else SessionView.UNSURE
    if not is_whole(session):
        return SessionView.UNSURE  # What can't be read may be a payout that succeeded.
    if not ours:
        # An accepted session paid something. A payout that carries no marks may be ours: a provider
        # that shows no metadata never proves what became of a payout.
        owners = {expected.owner(payout.metadata) for payout in session.payout_list}
        is_unproven = accepted or Owner.UNMARKED in owners
        return SessionView.MISMATCH if is_unproven else SessionView.CLOSED
    if all(map(_was_closed, ours)):
        return SessionView.CANCELLED
    is_over = {str(payout.status) for payout in ours} <= _ENDED_ITEMS
    return SessionView.DECLINED if is_over else SessionView.UNSURE


def _succeeded(payouts: Iterable[Payout]) -> list[Payout]:
    return [payout for payout in payouts if payout.status == OperationStatus.SUCCEEDED]


def has_moved_money(session: Session, expected: Expected) -> bool:
    """Return whether a payout of ours succeeded, whatever else the session shows."""
    return bool(_succeeded(expected.ours(session)))


def _has_other_sum(payout: Payout, expected: Expected) -> bool:
    """Return whether a payout that isn't over shows another sum than was ordered."""
    is_over = str(payout.status) in _ENDED_ITEMS
    is_shown = payout.amount_details is not None
    return not is_over and is_shown and not expected.is_as_ordered(payout)


def _was_closed(payout: Payout) -> bool:
    timed_out = payout.error is not None and payout.error.code == _NOT_CONFIRMED
    return str(payout.status) in _CANCELLED_ITEMS or timed_out


def unclear(session: Session, shown: SessionView) -> str | None:
    """Describe why a session settles nothing; None if it does, or is only under way."""
    if shown not in {SessionView.UNDER_WAY, SessionView.UNSURE}:
        return None
    unknown = " and ".join(_unknown_words(session))
    if unknown:
        return f"{unknown}, which isn't known here and so settles nothing"
    if shown is SessionView.UNDER_WAY:
        return None
    if session.status == SessionStatus.ERROR:
        return "session.status is 'error', which isn't final: ask the provider's support"
    items = [f"payout {one.id} is {_word(one.status)}" for one in session.payout_list]
    states = " and ".join([f"session.status is {_word(session.status)}", *items])
    return f"{states}, which doesn't go together" if items else f"{states}, and lists can't be read"


def _unknown_words(session: Session) -> Iterator[str]:
    if _is_unknown(session.status, SessionStatus):
        yield f"session.status is {_word(session.status)}"
    if session.next_action is not None and _is_unknown(session.next_action, NextAction):
        yield f"session.next_action is {_word(session.next_action)}"
    for payout in session.payout_list:
        if _is_unknown(payout.status, OperationStatus) and payout.status not in _ENDED_ITEMS:
            yield f"the status of payout {payout.id} is {_word(payout.status)}"


def _is_unknown(word: str, known: type[StrEnum]) -> bool:
    return str(word) not in {str(one) for one in known}


def _word(word: str) -> str:
    return repr(without_card_numbers(str(word)[:_MAX_WORD]))


def read_failure(error: CallFailed) -> ReplyKind:
    """Return how a call that failed ended."""
    if isinstance(error, NotSent):
        return ReplyKind.NOT_SENT
    if isinstance(error, Refused):
        # HTTP 429 until the deadline: the call had no effect and will have none.
        return ReplyKind.NOT_SENT if error.is_throttled else ReplyKind.REFUSED
    return ReplyKind.DUPLICATE if error.code_class is CodeClass.DUPLICATE else ReplyKind.LOST


@frozen(kw_only=True)
class PaymentProof:
    """What the provider shows of a paid payout beside its amount; a journal keeps it for reports.

    All of it may be absent: the fee is shown only to projects for which it is enabled, and the
    reference depends on the way of the money.
    """

    fee: Amount | None = None
    """What the provider charges the merchant."""
    reference: str | None = None
    """The reference in the payment network: the RRN, else the ARN, else the id of FPS."""
    finished_at: datetime | None = None

    @classmethod
    def of(cls, payouts: Iterable[Payout]) -> "PaymentProof":
        """Return what the paid one of these payouts shows; it is empty if none is paid."""
        payout = next(iter(_succeeded(payouts)), None)
        if payout is None:
            return cls()
        fees = None if payout.amounts is None else payout.amounts.fee
        found = payout.transaction_info
        return cls(
            fee=None if fees is None else fees.merchant_fee,
            reference=None if found is None else found.rrn or found.arn or found.fp_message_id,
            finished_at=payout.finished_at,
        )

    @classmethod
    def read(cls, stored: bytes | None) -> "PaymentProof":
        """Return what a journal kept; it is empty if nothing was kept, or it can't be read."""
        try:
            fields: dict[str, Any] = json.loads(stored or b"{}")
            fee, time = fields.get("fee"), fields.get("finished_at")
            return cls(
                fee=None if fee is None else Amount(*fee),
                reference=fields.get("reference"),
                finished_at=None if time is None else datetime.fromisoformat(time),
            )
        except (ValueError, TypeError, AttributeError):
            return cls()

    def stored(self) -> bytes | None:
        """Return it as a journal keeps it; None if the provider showed nothing."""
        fields = {
            "fee": None if self.fee is None else [self.fee.amount, self.fee.currency],
            "reference": self.reference and self.reference[:_MAX_WORD],
            "finished_at": None if self.finished_at is None else self.finished_at.isoformat(),
        }
        known = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(known, separators=(",", ":")).encode() if known else None
