"""What to do next with one payout: a pure function of its row and the last observation.

`decide` says whether to write, send, wait or stop; `worker.Worker.work` does it. The exhaustive
search for a way to pay twice runs this same function.
"""

import enum
from typing import Final

from attrs import frozen

from ..journal.entries import HaltKind
from ..journal.states import Event, Step


class Mode(enum.Enum):
    """Who confirms a payout: a setting of the project at the provider, which no call returns."""

    MANUAL = "manual"
    """We do: no money moves before our confirm. The default, and the safest."""
    AUTOMATIC = "automatic"
    """The provider does: the start itself pays."""
    ONE_STEP = "one_step"
    """The provider does, and create and start are one call: if its answer is lost, nothing can ask
    what became of it."""


class PayoutCall(enum.Enum):
    """The calls of a payout."""

    CREATE = "session/create"
    START = "session/start/payout"
    STATUS = "session/status"
    CONFIRM = "session/confirm"
    CANCEL = "session/cancel"
    INIT = "session/init/payout"


class ReplyKind(enum.Enum):
    """How a call ended."""

    ANSWERED = "answered"
    NOT_SENT = "not sent"
    REFUSED = "refused"
    LOST = "lost"
    """It may have been carried out, or may still be."""
    DUPLICATE = "duplicate"
    """The provider says that an earlier call used this key."""


class SessionView(enum.Enum):
    """What a session shows of our payout."""

    EMPTY = "no payout"
    """Created; nothing was started in it."""
    UNDER_WAY = "under way"
    AWAITS_CONFIRM = "awaits the confirm"
    NOT_OURS = "awaits a confirm, not of our payout alone"
    """It awaits a confirm, but not for exactly one payout of our amount."""
    OTHER_SUM = "another sum, not confirmed"
    """It needs our confirm, which wasn't sent, and its payout shows another sum."""
    PAID = "paid"
    DECLINED = "declined"
    """Final, and the payout failed."""
    CANCELLED = "cancelled"
    """Final: the payout was cancelled or not confirmed in time. Nothing will be paid in it."""
    CLOSED = "closed"
    """Final, without a payout of ours. Nothing was or will be paid in it."""
    MISMATCH = "not as ordered"
    """It moves or moved money, but not as ordered: another sum, another order, or two payouts."""
    UNSURE = "unsure"
    """The provider calls it an error, which is not final."""


ENDS: Final = frozenset(
    {SessionView.PAID, SessionView.DECLINED, SessionView.CANCELLED, SessionView.MISMATCH}
)
"""Views that settle a payout, or halt all payouts."""


@frozen
class Observation:
    """How the last call ended, and what the session showed."""

    call: PayoutCall
    kind: ReplyKind
    shown: SessionView | None = None
    """Of an answer; a webhook counts as the answer of ``session/status``."""


@frozen
class Situation:
    """The part of a payout's journal entry that decisions depend on."""

    mode: Mode
    step: Step = Step.NEW
    session_no: int = 0
    """How many sessions were left."""
    is_patient: bool = False
    """Whether to ask for the status again before a session is cancelled that shows no payout after
    a lost start, which may still be on its way, and before another sum counts as a conflict while
    no money has moved, since one answer may be wrong."""
    is_contradicted: bool = False
    """Whether it may have been paid elsewhere: the provider showed otherwise than written, or its
    key was used before. Then no session shows that it wasn't paid."""


class NextStep(enum.Enum):
    """What to do after the write."""

    SEND = "send"
    WAIT = "wait"
    """Pause, or wait for a webhook, before the call."""
    DONE = "done"
    DECIDE_AGAIN = "decide again"
    """Decide again at the new step, without an observation."""


@frozen
class Decision:
    """What to write first, durably, and what to do then."""

    next_step: NextStep
    call: PayoutCall | None = None
    write: Event | None = None
    halts: HaltKind | None = None
    """Why to halt all payouts of the journal; None: don't."""


MAX_SESSIONS: Final = 8
"""Sessions that one key may use up; after that an operator has to look at it."""

_ASK: Final = Decision(NextStep.SEND, PayoutCall.STATUS)
ASK_LATER: Final = Decision(NextStep.WAIT, PayoutCall.STATUS)
_LEAVE: Final = Decision(NextStep.SEND, PayoutCall.CANCEL, Event.LEAVE_INTENDED)
_LEFT: Final = Decision(NextStep.DECIDE_AGAIN, write=Event.SESSION_LEFT)
_PARK: Final = Decision(NextStep.DECIDE_AGAIN, write=Event.PARKED)
_CONFLICT: Final = Decision(NextStep.DECIDE_AGAIN, write=Event.CONFLICT, halts=HaltKind.CONFLICT)
_STILL_IN_CONFLICT: Final = Decision(NextStep.DONE, halts=HaltKind.CONFLICT)
_AWAITS_OUR_CONFIRM: Final = Decision(
    NextStep.DECIDE_AGAIN, write=Event.PARKED, halts=HaltKind.MISMATCH
)
_PAID: Final = Decision(NextStep.DECIDE_AGAIN, write=Event.PAID)
_NOT_PAID: Final = Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
_DONE: Final = Decision(NextStep.DONE)
_MISMATCH_SHOWN: Final = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.MISMATCH)
"""Money moved in another way than the journal has it, in this session or in one that was left."""
_OTHER_SUM_SHOWN: Final = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.OTHER_SUM)


def decide(row: Situation, observation: Observation | None) -> Decision:
    """Return what to do next.

    ``observation`` is None after a claim: then only the step is known.
    """
    if row.step.is_final:
        return _DONE
    if observation == _MISMATCH_SHOWN:
        is_written = row.step is Step.UNKNOWN and row.is_contradicted
        return _STILL_IN_CONFLICT if is_written else _CONFLICT
    if observation == _OTHER_SUM_SHOWN:
        return ASK_LATER if row.is_patient else _CONFLICT
    return _DECIDE[row.step](row, observation)


def intends(mode: Mode) -> Event | None:
    """Return the event that may be written together with the claim of a new payout, if any.

    Only the intent to create: a create can be sent again, so a crash between claim and create does
    no harm. A call that pays at once can't be sent again: its intent is written just before it.
    """
    move = decide(Situation(mode), None)
    return move.write if move.call is PayoutCall.CREATE else None


_OVER: Final = frozenset({SessionView.DECLINED, SessionView.CANCELLED, SessionView.CLOSED})
"""Final views without a payment; a status that is out of date shows an earlier state, not these."""


def why_not_retried(row: Situation, shown: SessionView | None, *, was_unknown: bool) -> str | None:
    """Return why a failed payout must not be taken up again; None if it may be.

    ``shown`` is what its session shows now, None if it has none: then every create was refused, and
    nothing was started since the last session was left. ``was_unknown`` is whether it ever was at
    `Step.UNKNOWN`: then it may have been paid elsewhere, or a person decided that it wasn't.
    """
    if row.step is not Step.FAILED:
        return f"it is {row.step.name}: only a payout that failed can be retried"
    if row.mode is Mode.ONE_STEP:
        return "it was paid in one step, so no session shows that the first attempt has ended"
    if was_unknown:
        return "it was unknown whether it was paid, and its session doesn't settle that"
    if row.session_no + 1 >= MAX_SESSIONS:
        return f"it has used up its {MAX_SESSIONS} sessions"
    if shown is not None and shown not in _OVER:
        return f"its session shows {shown.value!r}, so money may still move in it"
    return None


def _new(row: Situation, _observation: Observation | None) -> Decision:
    if row.session_no >= MAX_SESSIONS:
        return _PARK
    if row.mode is Mode.ONE_STEP:
        return Decision(NextStep.SEND, PayoutCall.INIT, Event.INIT_INTENDED)
    return Decision(NextStep.SEND, PayoutCall.CREATE, Event.CREATE_INTENDED)


def _creating(_row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(PayoutCall.CREATE, ReplyKind.ANSWERED, SessionView.EMPTY):
            # Written before the start is sent. A worker that takes over here must not send it
            # again.
            return Decision(NextStep.SEND, PayoutCall.START, Event.SESSION_CHOSEN)
        case Observation(PayoutCall.CREATE, ReplyKind.ANSWERED, SessionView.MISMATCH):
            return Decision(NextStep.DONE, halts=HaltKind.CONFLICT)
        case Observation(PayoutCall.CREATE, ReplyKind.REFUSED):
            return _NOT_PAID
        case Observation(PayoutCall.CREATE):
            # Also for a session that isn't new: it was made for something else.
            return Decision(NextStep.WAIT, PayoutCall.CREATE)
        case _:
            pass
    return Decision(NextStep.SEND, PayoutCall.CREATE)


def _starting(row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(PayoutCall.START, ReplyKind.ANSWERED, SessionView() as shown):
            return _started_shows(row, shown)
        case Observation(PayoutCall.START, ReplyKind.NOT_SENT):
            return Decision(NextStep.WAIT, PayoutCall.START)
        case Observation(
            PayoutCall.START,
            ReplyKind.REFUSED | ReplyKind.DUPLICATE as kind,
            SessionView() as shown,
        ):
            return _refused_shows(row, kind, shown)
        case Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.EMPTY):
            # Our start, or one that an earlier owner of the row sent, may still arrive.
            return ASK_LATER if row.is_patient else _LEAVE
        case Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView() as shown):
            return _started_shows(row, shown)
        case Observation(PayoutCall.STATUS):
            return ASK_LATER
        case _:
            pass
    return _ASK


def _refused_shows(row: Situation, kind: ReplyKind, shown: SessionView) -> Decision:
    """Decide from the session of a refused start, which may be refused as a duplicate delivery."""
    if kind is ReplyKind.DUPLICATE and shown in {SessionView.EMPTY, SessionView.CLOSED}:
        return Decision(NextStep.DECIDE_AGAIN, write=Event.START_KEY_USED)
    if shown is SessionView.EMPTY:
        # The status may be out of date: only an acknowledged cancel settles it.
        return Decision(NextStep.DECIDE_AGAIN, write=Event.START_REFUSED)
    return _started_shows(row, shown)


def _started_shows(row: Situation, shown: SessionView) -> Decision:
    """Decide from the session that a start was sent for."""
    if shown in {SessionView.EMPTY, SessionView.UNSURE}:
        return ASK_LATER
    return _settled(row, shown) or Decision(NextStep.DECIDE_AGAIN, write=Event.START_KNOWN)


def _settled(row: Situation, shown: SessionView) -> Decision | None:
    match shown:
        case SessionView.PAID:
            return _PAID
        case SessionView.MISMATCH:
            return _CONFLICT
        case SessionView.DECLINED:
            return _NOT_PAID
        case SessionView.CLOSED | SessionView.CANCELLED if row.mode is Mode.ONE_STEP:
            # A session that doesn't show our payout any more may be another one's.
            return _NOT_PAID if shown is SessionView.CANCELLED else _PARK
        case SessionView.CLOSED | SessionView.CANCELLED:
            # The payout wasn't declined, and a new session may be chosen, even if its confirm was
            # recorded as known.
            return _LEFT
        case _:
            pass
    return None


def _cancelling(row: Situation, observation: Observation | None) -> Decision:
    """Leave a session. Our cancel may be what ended it, so an ended session is no decline."""
    match observation:
        case Observation(
            PayoutCall.CANCEL,
            ReplyKind.ANSWERED,
            SessionView.CLOSED | SessionView.CANCELLED | SessionView.DECLINED,
        ):
            return _left(row, observation.shown)
        case Observation(
            PayoutCall.CANCEL, ReplyKind.ANSWERED | ReplyKind.REFUSED | ReplyKind.DUPLICATE
        ):
            return _ASK
        case Observation(PayoutCall.CANCEL):
            return Decision(NextStep.WAIT, PayoutCall.CANCEL)
        case Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView() as shown):
            return _leaving_shows(row, shown)
        case Observation(PayoutCall.STATUS):
            return ASK_LATER
        case _:
            pass
    return Decision(NextStep.SEND, PayoutCall.CANCEL)


def _leaving_shows(row: Situation, shown: SessionView) -> Decision:
    match shown:
        case SessionView.PAID:
            return _PAID
        case SessionView.MISMATCH:
            return _CONFLICT
        case SessionView.CLOSED | SessionView.CANCELLED | SessionView.DECLINED:
            return _left(row, shown)
        case SessionView.UNDER_WAY | SessionView.UNSURE:
            return ASK_LATER
        case _:
            pass
    is_refused = row.step in {Step.REFUSED, Step.KEY_USED} and shown is SessionView.EMPTY
    if row.mode is Mode.MANUAL and not (is_refused and row.is_patient):
        # Without our confirm nothing is paid, so a session that can't be cancelled can be left.
        return _left(row, shown)
    if shown is SessionView.EMPTY:
        # The refusal may be of a duplicate delivery, and the status out of date. In automatic mode
        # the start may still arrive and would pay: no other session before this one is closed.
        return Decision(NextStep.WAIT, PayoutCall.CANCEL)
    return _AWAITS_OUR_CONFIRM


def _left(row: Situation, shown: SessionView | None) -> Decision:
    """Leave a session that can't pay any more; what follows depends on the step."""
    if shown in {SessionView.CLOSED, SessionView.EMPTY}:
        if row.step is Step.REFUSED:
            # A session that can't be cancelled may hold a payout that its status doesn't show yet:
            # the payout fails only if the start is refused in a second session, too.
            is_first = row.session_no == 0
            return _LEFT if shown is SessionView.EMPTY and is_first else _NOT_PAID
        if row.step is Step.KEY_USED and row.session_no == 0:
            # Something that the journal doesn't know of used the key.
            return _PARK
    return _LEFT


def _started(row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(
            PayoutCall.STATUS | PayoutCall.CONFIRM, ReplyKind.ANSWERED, SessionView() as shown
        ):
            return _settled(row, shown) or _to_confirm(row, shown)
        case Observation(PayoutCall.STATUS):
            return ASK_LATER
        case _:
            pass
    return _ASK


def _to_confirm(row: Situation, shown: SessionView) -> Decision:
    if shown not in {SessionView.AWAITS_CONFIRM, SessionView.NOT_OURS}:
        return ASK_LATER
    if row.mode is not Mode.MANUAL:
        # The project's mode is another one: the provider will wait for each confirm.
        return _AWAITS_OUR_CONFIRM
    if shown is SessionView.NOT_OURS:
        # Once it may be one wrong answer. The next session shows the same if the provider changes
        # what is ordered, and so does every other payout.
        return _LEAVE if row.session_no == 0 else _CONFLICT
    return Decision(NextStep.SEND, PayoutCall.CONFIRM, Event.CONFIRM_INTENDED)


def _confirming(row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(PayoutCall.CONFIRM, ReplyKind.ANSWERED, SessionView() as shown):
            return _settled(row, shown) or Decision(
                NextStep.DECIDE_AGAIN, write=Event.CONFIRM_KNOWN
            )
        case Observation(PayoutCall.CONFIRM, ReplyKind.NOT_SENT):
            return Decision(NextStep.WAIT, PayoutCall.CONFIRM)
        case Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView() as shown):
            return _settled(row, shown) or _confirm_again(row, shown)
        case Observation(PayoutCall.STATUS):
            return ASK_LATER
        case _:
            pass
    return _ASK


def _confirm_again(row: Situation, shown: SessionView) -> Decision:
    match shown:
        case SessionView.AWAITS_CONFIRM:
            return Decision(
                NextStep.SEND, PayoutCall.CONFIRM
            )  # It acts once per session, however often sent.
        case SessionView.UNDER_WAY:
            return Decision(NextStep.DECIDE_AGAIN, write=Event.CONFIRM_KNOWN)
        case SessionView.NOT_OURS if not row.is_patient:
            return _CONFLICT
        case _:
            pass
    return ASK_LATER


def _confirmed(row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(_, ReplyKind.ANSWERED, SessionView.AWAITS_CONFIRM):
            return Decision(NextStep.SEND, PayoutCall.CONFIRM)
        case Observation(_, ReplyKind.ANSWERED, SessionView() as shown):
            return _settled(row, shown) or ASK_LATER
        case Observation():
            return ASK_LATER
        case _:
            pass
    return _ASK


def _sent_one_step(row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(PayoutCall.INIT, ReplyKind.ANSWERED, SessionView() as shown):
            return _settled(row, shown) or Decision(NextStep.DECIDE_AGAIN, write=Event.START_KNOWN)
        case Observation(PayoutCall.INIT, ReplyKind.NOT_SENT):
            return Decision(NextStep.WAIT, PayoutCall.INIT)
        case Observation(PayoutCall.INIT, ReplyKind.REFUSED):
            return _NOT_PAID
        case _:
            pass
    return _PARK


def _unknown(row: Situation, observation: Observation | None) -> Decision:
    match observation:
        case Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.PAID):
            return _PAID
        case Observation(
            PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.DECLINED | SessionView.CANCELLED
        ) if not row.is_contradicted:
            return _NOT_PAID
        case _:
            pass
    return _DONE


_DECIDE: Final = {
    Step.NEW: _new,
    Step.CREATING: _creating,
    Step.STARTING: _starting,
    Step.CANCELLING: _cancelling,
    Step.REFUSED: _cancelling,
    Step.KEY_USED: _cancelling,
    Step.STARTED: _started,
    Step.CONFIRMING: _confirming,
    Step.CONFIRMED: _confirmed,
    Step.SENT_ONE_STEP: _sent_one_step,
    Step.UNKNOWN: _unknown,
}
