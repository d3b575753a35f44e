"""What to do next about one payout: decided from its row and the last news, and from nothing else.

The same function drives the program and the search that looks for a way to pay twice. It never
waits, never sends and never writes: it says which of these comes next.
"""

import enum
from typing import Final

from attrs import frozen

from ..journal.states import Event, Step


class Mode(enum.Enum):
    """Who confirms a payout. A setting of the project at the provider; it can't be asked for."""

    MANUAL = "manual"
    """We do: no money moves before our confirm. The default, and the fence."""
    AUTOMATIC = "automatic"
    """The provider does: the start itself pays."""
    ONE_STEP = "one_step"
    """The provider does, and create and start are one call that can't be asked about."""


class Call(enum.Enum):
    """The calls of a payout."""

    CREATE = "session/create"
    START = "session/start/payout"
    STATUS = "session/status"
    CONFIRM = "session/confirm"
    CANCEL = "session/cancel"
    INIT = "session/init/payout"


class Came(enum.Enum):
    """What came of a call."""

    ANSWERED = "answered"
    NOT_SENT = "not sent"
    REFUSED = "refused"
    LOST = "lost"
    """It may have been carried out, or be under way still."""
    DUPLICATE = "duplicate"
    """The provider says that an earlier call had this key."""


class Shown(enum.Enum):
    """What a session shows of our payout."""

    EMPTY = "no payout"
    """Created, and nothing started in it."""
    UNDER_WAY = "under way"
    AWAITS_CONFIRM = "awaits the confirm"
    NOT_OURS = "not what was meant"
    """It awaits a confirm, and is not one payout of our amount."""
    PAID = "paid"
    DECLINED = "declined"
    """Final, and the payout failed."""
    CLOSED = "closed"
    """Final, and nothing was or will be paid in it: cancelled, or not confirmed in time."""
    UNSURE = "unsure"
    """The provider calls it an error, which is not final."""


@frozen
class News:
    """What the last call came to."""

    call: Call
    came: Came
    shown: Shown | None = None
    """Of an answer, and of a webhook taken for one to ``session/status``."""


@frozen
class Row:
    """What is written of a payout, as far as it decides."""

    mode: Mode
    step: Step = Step.NEW
    session_no: int = 0
    """How many sessions were left."""


class Then(enum.Enum):
    """What follows, once what was to be written is written."""

    SEND = "send"
    WAIT = "wait"
    """Nothing can be done now: look again later, or when a webhook comes."""
    DONE = "done"
    NEXT = "next"
    """Decide again, knowing nothing new."""


@frozen
class Move:
    """Write this first, if anything, durably; then do that."""

    then: Then
    call: Call | None = None
    write: Event | None = None


MOST_SESSIONS: Final = 8
"""Sessions that one key may use up; then a person has a look."""

_ASK: Final = Move(Then.SEND, Call.STATUS)
_ASK_LATER: Final = Move(Then.WAIT, Call.STATUS)
_LEAVE: Final = Move(Then.SEND, Call.CANCEL, Event.LEAVE_INTENDED)
_DONE: Final = Move(Then.DONE)


def next_move(row: Row, news: News | None) -> Move:
    """Decide; ``news`` is None for whoever just took the row over, and knows its step alone."""
    if row.step.is_final:
        return _DONE
    return _DECIDE[row.step](row, news)


def intends(mode: Mode) -> Event | None:
    """Give what may be written with the claim, where nothing was ever intended.

    Whoever finds that a create was intended sends it, be it for the first time or again. What pays
    at once can't be sent again, so that its intent is written when nothing else comes before it.
    """
    move = next_move(Row(mode), None)
    return move.write if move.call is Call.CREATE else None


def _new(row: Row, _news: News | None) -> Move:
    if row.session_no >= MOST_SESSIONS:
        return Move(Then.NEXT, write=Event.NOT_PAID)
    if row.mode is Mode.ONE_STEP:
        return Move(Then.SEND, Call.INIT, Event.INIT_INTENDED)
    return Move(Then.SEND, Call.CREATE, Event.CREATE_INTENDED)


def _creating(_row: Row, news: News | None) -> Move:
    match news:
        case News(Call.CREATE, Came.ANSWERED):
            # Written before the start is sent; whoever takes over from here must not send it.
            return Move(Then.SEND, Call.START, Event.SESSION_CHOSEN)
        case News(Call.CREATE, Came.REFUSED):
            return Move(Then.NEXT, write=Event.NOT_PAID)
        case News(Call.CREATE):
            return Move(Then.WAIT, Call.CREATE)
        case _:
            pass
    return Move(Then.SEND, Call.CREATE)


def _starting(row: Row, news: News | None) -> Move:
    match news:
        case News(Call.START, Came.ANSWERED, Shown() as shown):
            return _started_shows(row, shown)
        case News(Call.START, Came.NOT_SENT):
            return Move(Then.WAIT, Call.START)
        case News(Call.START, Came.REFUSED | Came.DUPLICATE as came):
            # Duplicate: a payout of this key was started that the row, perhaps, knows nothing of.
            return Move(Then.NEXT, write=Event.NOT_PAID if came is Came.REFUSED else Event.PARKED)
        case News(Call.STATUS, Came.ANSWERED, Shown() as shown):
            # Empty: our start, or that of whoever had the row before, may still arrive.
            return _LEAVE if shown is Shown.EMPTY else _started_shows(row, shown)
        case News(Call.STATUS):
            return _ASK_LATER
        case _:
            pass
    return _ASK


def _started_shows(row: Row, shown: Shown) -> Move:
    """Read the session that a start was sent for."""
    if shown in {Shown.EMPTY, Shown.UNSURE}:
        return _ASK_LATER
    return _settled(row, shown) or Move(Then.NEXT, write=Event.START_KNOWN)


def _settled(row: Row, shown: Shown) -> Move | None:
    match shown:
        case Shown.PAID:
            return Move(Then.NEXT, write=Event.PAID)
        case Shown.DECLINED:
            return Move(Then.NEXT, write=Event.NOT_PAID)
        case Shown.CLOSED:
            # One step or confirmed, it is over; else another session may be chosen now.
            is_over = row.mode is Mode.ONE_STEP or row.step is Step.CONFIRMED
            return Move(Then.NEXT, write=Event.NOT_PAID if is_over else Event.SESSION_LEFT)
        case _:
            pass
    return None


def _cancelling(row: Row, news: News | None) -> Move:
    match news:
        case News(Call.CANCEL, Came.ANSWERED, Shown.CLOSED):
            return Move(Then.NEXT, write=Event.SESSION_LEFT)
        case News(Call.CANCEL, Came.ANSWERED | Came.REFUSED):
            return _ASK
        case News(Call.CANCEL):
            return Move(Then.WAIT, Call.CANCEL)
        case News(Call.STATUS, Came.ANSWERED, Shown() as shown):
            return _leaving_shows(row, shown)
        case News(Call.STATUS):
            return _ASK_LATER
        case _:
            pass
    return Move(Then.SEND, Call.CANCEL)


def _leaving_shows(row: Row, shown: Shown) -> Move:
    if (settled := _settled(row, shown)) is not None:
        return settled
    if shown is Shown.UNSURE:
        return _ASK_LATER
    if row.mode is Mode.MANUAL:
        # Nothing is paid that we don't confirm: what can't be cancelled can be abandoned.
        is_left = shown in {Shown.EMPTY, Shown.NOT_OURS}
        return Move(Then.NEXT, write=Event.SESSION_LEFT if is_left else Event.START_KNOWN)
    if shown is Shown.EMPTY:
        # Its start may still arrive, and would pay: there must be no other before it is closed.
        return Move(Then.WAIT, Call.CANCEL)
    return Move(Then.NEXT, write=Event.START_KNOWN)


def _started(row: Row, news: News | None) -> Move:
    match news:
        case News(Call.STATUS | Call.CONFIRM, Came.ANSWERED, Shown() as shown):
            return _settled(row, shown) or _to_confirm(row, shown)
        case News(Call.STATUS):
            return _ASK_LATER
        case _:
            pass
    return _ASK


def _to_confirm(row: Row, shown: Shown) -> Move:
    if shown not in {Shown.AWAITS_CONFIRM, Shown.NOT_OURS}:
        return _ASK_LATER
    if row.mode is not Mode.MANUAL:
        # The provider waits for us, though we were told it wouldn't: a person has to look.
        return Move(Then.NEXT, write=Event.PARKED)
    if shown is Shown.NOT_OURS:
        return _LEAVE
    return Move(Then.SEND, Call.CONFIRM, Event.CONFIRM_INTENDED)


def _confirming(row: Row, news: News | None) -> Move:
    match news:
        case News(Call.CONFIRM, Came.ANSWERED, Shown() as shown):
            return _settled(row, shown) or Move(Then.NEXT, write=Event.CONFIRM_KNOWN)
        case News(Call.CONFIRM, Came.NOT_SENT):
            return Move(Then.WAIT, Call.CONFIRM)
        case News(Call.STATUS, Came.ANSWERED, Shown() as shown):
            return _settled(row, shown) or _confirm_again(shown)
        case News(Call.STATUS):
            return _ASK_LATER
        case _:
            pass
    return _ASK


def _confirm_again(shown: Shown) -> Move:
    match shown:
        case Shown.AWAITS_CONFIRM:
            return Move(Then.SEND, Call.CONFIRM)  # It acts once per session, however often sent.
        case Shown.UNDER_WAY:
            return Move(Then.NEXT, write=Event.CONFIRM_KNOWN)
        case Shown.NOT_OURS:
            return Move(Then.NEXT, write=Event.PARKED)
        case _:
            pass
    return _ASK_LATER


def _confirmed(row: Row, news: News | None) -> Move:
    match news:
        case News(_, Came.ANSWERED, Shown.AWAITS_CONFIRM):
            return Move(Then.SEND, Call.CONFIRM)
        case News(_, Came.ANSWERED, Shown() as shown):
            return _settled(row, shown) or _ASK_LATER
        case News():
            return _ASK_LATER
        case _:
            pass
    return _ASK


def _sent_one_step(row: Row, news: News | None) -> Move:
    match news:
        case News(Call.INIT, Came.ANSWERED, Shown() as shown):
            return _settled(row, shown) or Move(Then.NEXT, write=Event.START_KNOWN)
        case News(Call.INIT, Came.NOT_SENT):
            return Move(Then.WAIT, Call.INIT)
        case News(Call.INIT, Came.REFUSED):
            return Move(Then.NEXT, write=Event.NOT_PAID)
        case _:
            pass
    return Move(Then.NEXT, write=Event.PARKED)


def _unknown(row: Row, news: News | None) -> Move:
    match news:
        case News(Call.STATUS, Came.ANSWERED, Shown.PAID | Shown.DECLINED as shown):
            return _settled(row, shown) or _DONE
        case _:
            pass
    return _DONE


_DECIDE: Final = {
    Step.NEW: _new,
    Step.CREATING: _creating,
    Step.STARTING: _starting,
    Step.CANCELLING: _cancelling,
    Step.STARTED: _started,
    Step.CONFIRMING: _confirming,
    Step.CONFIRMED: _confirmed,
    Step.SENT_ONE_STEP: _sent_one_step,
    Step.UNKNOWN: _unknown,
}
