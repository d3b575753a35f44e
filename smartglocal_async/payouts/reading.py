"""What a session shows of our payout, and what came of a call: read, and nothing done."""

from typing import Final

from attrs import frozen

from ..effects import is_whole
from ..errors import CallFailed, CodeClass, NotSent, Refused
from ..idempotency import Mark
from ..values.answers import Payout, Session
from ..values.money import Amount
from ..values.statuses import NextAction, OperationStatus, SessionStatus
from .protocol import Came, Shown

_CLOSED_ITEMS: Final = frozenset({OperationStatus.CANCELLED.value, "canceled"})
_NOT_CONFIRMED: Final = "confirm_timeout"


@frozen
class Meant:
    """What the payout must look like."""

    mark: Mark
    amount: Amount

    def ours(self, session: Session) -> list[Payout]:
        """Give the payouts of a session that carry our key."""
        return [payout for payout in session.payout_list if self.mark.is_on(payout.metadata)]


def read_session(session: Session, meant: Meant) -> Shown:
    """Say what a session shows of the payout that was meant."""
    if session.status == SessionStatus.ERROR:
        return Shown.UNSURE
    if session.is_final:
        return _ended(session, meant.ours(session))
    if session.next_action == NextAction.CONFIRM:
        return Shown.AWAITS_CONFIRM if _is_meant(session, meant) else Shown.NOT_OURS
    if session.payout_list or session.payment_list or session.status != SessionStatus.CREATED:
        return Shown.UNDER_WAY
    return Shown.EMPTY


def _is_meant(session: Session, meant: Meant) -> bool:
    """Say whether a confirm would pay what was meant, and nothing else."""
    ours = meant.ours(session)
    alone = len(ours) == len(session.payout_list) == 1 and not session.payment_list
    return alone and is_whole(session) and ours[0].amount_details == meant.amount


def _ended(session: Session, ours: list[Payout]) -> Shown:
    accepted = session.status == SessionStatus.ACCEPTED
    statuses = {str(payout.status) for payout in ours}
    if OperationStatus.SUCCEEDED.value in statuses:
        return Shown.PAID if accepted else Shown.UNSURE
    if not ours:
        # What was accepted, if not our payout, nobody can tell.
        return Shown.UNSURE if accepted else Shown.CLOSED
    if all(_was_closed(payout) for payout in ours):
        return Shown.CLOSED
    ended = _CLOSED_ITEMS | {OperationStatus.FAILED.value}
    return Shown.DECLINED if statuses <= ended else Shown.UNSURE


def _was_closed(payout: Payout) -> bool:
    timed_out = payout.error is not None and payout.error.code == _NOT_CONFIRMED
    return str(payout.status) in _CLOSED_ITEMS or timed_out


def read_failure(error: CallFailed) -> Came:
    """Say what came of a call that failed."""
    if isinstance(error, NotSent):
        return Came.NOT_SENT
    if isinstance(error, Refused):
        # A 429 that outlasted the client's patience: nothing came of it, and nothing will.
        return Came.NOT_SENT if error.is_throttled else Came.REFUSED
    return Came.DUPLICATE if error.code_class is CodeClass.DUPLICATE else Came.LOST
