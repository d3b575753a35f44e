"""The decisions of a payout: every step with every reply, and the move that follows.

The table is written by hand from docs/explanation/at-most-once.md. Replies that aren't listed for a
step have its last row, `OTHERWISE`. All combinations are tested: the three modes, a first and a
later session, with and without remaining status checks.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

import pytest

import smartglocal_async as sg
from smartglocal_async.journal.entries import WORKABLE, HaltKind
from smartglocal_async.journal.states import CAN_WAIT, LEARNS_SESSION, STEPS, Event, Step
from smartglocal_async.payouts.protocol import (
    MAX_SESSIONS,
    Decision,
    Mode,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    SessionView,
    Situation,
    decide,
    intends,
)

CREATE, START, STATUS = PayoutCall.CREATE, PayoutCall.START, PayoutCall.STATUS
CONFIRM, CANCEL, INIT = PayoutCall.CONFIRM, PayoutCall.CANCEL, PayoutCall.INIT
ANSWERED, NOT_SENT, REFUSED = ReplyKind.ANSWERED, ReplyKind.NOT_SENT, ReplyKind.REFUSED
LOST, DUPLICATE = ReplyKind.LOST, ReplyKind.DUPLICATE
EMPTY, UNDER_WAY, AWAITS_CONFIRM = (
    SessionView.EMPTY,
    SessionView.UNDER_WAY,
    SessionView.AWAITS_CONFIRM,
)
NOT_OURS, PAID, DECLINED = SessionView.NOT_OURS, SessionView.PAID, SessionView.DECLINED
CANCELLED, CLOSED, MISMATCH = SessionView.CANCELLED, SessionView.CLOSED, SessionView.MISMATCH
UNSURE, OTHER_SUM = SessionView.UNSURE, SessionView.OTHER_SUM
ANYTHING: Final = (None, *SessionView)
"""With any session view, or none."""
OTHERWISE: Final = "otherwise"

ASK: Final = Decision(NextStep.SEND, PayoutCall.STATUS, None, None)
ASK_LATER: Final = Decision(NextStep.WAIT, PayoutCall.STATUS, None, None)
SUCCEEDS: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.PAID, None)
FAILS: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.NOT_PAID, None)
LEFT: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.SESSION_LEFT, None)
LEAVE: Final = Decision(NextStep.SEND, PayoutCall.CANCEL, Event.LEAVE_INTENDED, None)
PARKED: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.PARKED, None)
CONFLICT: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.CONFLICT, HaltKind.CONFLICT)
WAITS_FOR_US: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.PARKED, HaltKind.MISMATCH)
DONE: Final = Decision(NextStep.DONE, None, None, None)
HALTED: Final = Decision(NextStep.DONE, None, None, HaltKind.CONFLICT)
STARTED: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.START_KNOWN, None)
START_REFUSED: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.START_REFUSED, None)
KEY_USED: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.START_KEY_USED, None)
CONFIRMED: Final = Decision(NextStep.DECIDE_AGAIN, None, Event.CONFIRM_KNOWN, None)
CHOSEN: Final = Decision(NextStep.SEND, PayoutCall.START, Event.SESSION_CHOSEN, None)
TO_CONFIRM: Final = Decision(NextStep.SEND, PayoutCall.CONFIRM, Event.CONFIRM_INTENDED, None)

MANUAL, AUTOMATIC, ONE_STEP = Mode.MANUAL, Mode.AUTOMATIC, Mode.ONE_STEP


def by_mode(*, manual: Decision, automatic: Decision, one_step: Decision) -> dict[Mode, Decision]:
    """Return the move of each mode."""
    return {MANUAL: manual, AUTOMATIC: automatic, ONE_STEP: one_step}


CREATES: Final = by_mode(
    manual=Decision(NextStep.SEND, PayoutCall.CREATE, Event.CREATE_INTENDED, None),
    automatic=Decision(NextStep.SEND, PayoutCall.CREATE, Event.CREATE_INTENDED, None),
    one_step=Decision(NextStep.SEND, PayoutCall.INIT, Event.INIT_INTENDED, None),
)
LEFT_OR_FAILS: Final = by_mode(manual=LEFT, automatic=LEFT, one_step=FAILS)
LEFT_OR_PARKED: Final = by_mode(manual=LEFT, automatic=LEFT, one_step=PARKED)
CONFIRMS: Final = by_mode(manual=TO_CONFIRM, automatic=WAITS_FOR_US, one_step=WAITS_FOR_US)
LEAVES: Final = by_mode(manual=LEAVE, automatic=WAITS_FOR_US, one_step=WAITS_FOR_US)
ABANDONS: Final = by_mode(manual=LEFT, automatic=WAITS_FOR_US, one_step=WAITS_FOR_US)


def cancel_again(*, manual: Decision) -> dict[Mode, Decision]:
    """Return the move for an empty session that may still be started."""
    again = Decision(NextStep.WAIT, PayoutCall.CANCEL, None, None)
    return by_mode(manual=manual, automatic=again, one_step=again)


def leaving(closed: Decision, empty: Decision | None = None) -> dict[Any, Any]:
    """Return the rows of a session that is left; ``closed`` follows if nothing was in it.

    ``empty`` follows in manual mode if nothing is in it yet and it can't be closed.
    """
    return {
        (CANCEL, ANSWERED, CLOSED): closed,
        (CANCEL, ANSWERED, (CANCELLED, DECLINED)): LEFT,
        (CANCEL, ANSWERED, (None, EMPTY, UNDER_WAY, AWAITS_CONFIRM, NOT_OURS)): ASK,
        (CANCEL, ANSWERED, (PAID, MISMATCH, UNSURE, OTHER_SUM)): ASK,
        (CANCEL, (REFUSED, DUPLICATE), ANYTHING): ASK,
        (CANCEL, (NOT_SENT, LOST), ANYTHING): Decision(
            NextStep.WAIT, PayoutCall.CANCEL, None, None
        ),
        (STATUS, ANSWERED, PAID): SUCCEEDS,
        (STATUS, ANSWERED, (MISMATCH, OTHER_SUM)): CONFLICT,
        (STATUS, ANSWERED, CLOSED): closed,
        (STATUS, ANSWERED, (CANCELLED, DECLINED)): LEFT,
        (STATUS, ANSWERED, (UNDER_WAY, UNSURE, None)): ASK_LATER,
        (STATUS, ANSWERED, EMPTY): cancel_again(manual=empty or closed),
        (STATUS, ANSWERED, (AWAITS_CONFIRM, NOT_OURS)): ABANDONS,
        (STATUS, (NOT_SENT, REFUSED, LOST, DUPLICATE), ANYTHING): ASK_LATER,
        OTHERWISE: Decision(NextStep.SEND, PayoutCall.CANCEL, None, None),
    }


TABLE: Final[Mapping[Step, dict[Any, Any]]] = {
    # Money moved in a session that was left: the payout goes no further.
    Step.NEW: {(STATUS, ANSWERED, (MISMATCH, OTHER_SUM)): CONFLICT, OTHERWISE: CREATES},
    Step.CREATING: {
        (STATUS, ANSWERED, (MISMATCH, OTHER_SUM)): CONFLICT,
        (CREATE, ANSWERED, EMPTY): CHOSEN,
        (CREATE, ANSWERED, MISMATCH): HALTED,
        (CREATE, REFUSED, ANYTHING): FAILS,
        (CREATE, ANSWERED, (None, UNDER_WAY, AWAITS_CONFIRM, NOT_OURS)): Decision(
            NextStep.WAIT, PayoutCall.CREATE, None, None
        ),
        (CREATE, ANSWERED, (PAID, DECLINED, CANCELLED, CLOSED, UNSURE, OTHER_SUM)): Decision(
            NextStep.WAIT, PayoutCall.CREATE, None, None
        ),
        (CREATE, (NOT_SENT, LOST, DUPLICATE), ANYTHING): Decision(
            NextStep.WAIT, PayoutCall.CREATE, None, None
        ),
        OTHERWISE: Decision(NextStep.SEND, PayoutCall.CREATE, None, None),
    },
    Step.STARTING: {
        (START, ANSWERED, (EMPTY, UNSURE)): ASK_LATER,
        (START, ANSWERED, (UNDER_WAY, AWAITS_CONFIRM, NOT_OURS, OTHER_SUM)): STARTED,
        (START, ANSWERED, PAID): SUCCEEDS,
        (START, ANSWERED, DECLINED): FAILS,
        (START, ANSWERED, CANCELLED): LEFT_OR_FAILS,
        (START, ANSWERED, CLOSED): LEFT_OR_PARKED,
        (START, ANSWERED, MISMATCH): CONFLICT,
        (START, NOT_SENT, ANYTHING): Decision(NextStep.WAIT, PayoutCall.START, None, None),
        (START, REFUSED, EMPTY): START_REFUSED,
        (START, REFUSED, CLOSED): LEFT_OR_PARKED,
        (START, DUPLICATE, (EMPTY, CLOSED)): KEY_USED,
        (START, (REFUSED, DUPLICATE), (UNDER_WAY, AWAITS_CONFIRM, NOT_OURS, OTHER_SUM)): STARTED,
        (START, (REFUSED, DUPLICATE), PAID): SUCCEEDS,
        (START, (REFUSED, DUPLICATE), DECLINED): FAILS,
        (START, (REFUSED, DUPLICATE), CANCELLED): LEFT_OR_FAILS,
        (START, (REFUSED, DUPLICATE), MISMATCH): CONFLICT,
        (START, (REFUSED, DUPLICATE), UNSURE): ASK_LATER,
        (STATUS, ANSWERED, EMPTY): LEAVE,  # Without remaining status checks; with them, see below.
        (STATUS, ANSWERED, UNSURE): ASK_LATER,
        (STATUS, ANSWERED, (UNDER_WAY, AWAITS_CONFIRM, NOT_OURS)): STARTED,
        (STATUS, ANSWERED, PAID): SUCCEEDS,
        (STATUS, ANSWERED, DECLINED): FAILS,
        (STATUS, ANSWERED, CANCELLED): LEFT_OR_FAILS,
        (STATUS, ANSWERED, CLOSED): LEFT_OR_PARKED,
        (STATUS, ANSWERED, (MISMATCH, OTHER_SUM)): CONFLICT,
        (STATUS, ANSWERED, None): ASK_LATER,
        (STATUS, (NOT_SENT, REFUSED, LOST, DUPLICATE), ANYTHING): ASK_LATER,
        OTHERWISE: ASK,
    },
    Step.CANCELLING: leaving(LEFT),
    Step.REFUSED: leaving(FAILS, empty=LEFT),  # In the first session; in a later one, see below
    Step.KEY_USED: leaving(PARKED),  # In the first session; in a later one, see below.
    Step.STARTED: {
        ((STATUS, CONFIRM), ANSWERED, PAID): SUCCEEDS,
        ((STATUS, CONFIRM), ANSWERED, DECLINED): FAILS,
        ((STATUS, CONFIRM), ANSWERED, CANCELLED): LEFT_OR_FAILS,
        ((STATUS, CONFIRM), ANSWERED, CLOSED): LEFT_OR_PARKED,
        ((STATUS, CONFIRM), ANSWERED, MISMATCH): CONFLICT,
        ((STATUS, CONFIRM), ANSWERED, AWAITS_CONFIRM): CONFIRMS,
        ((STATUS, CONFIRM), ANSWERED, NOT_OURS): LEAVES,
        ((STATUS, CONFIRM), ANSWERED, (EMPTY, UNDER_WAY, UNSURE)): ASK_LATER,
        (CONFIRM, ANSWERED, OTHER_SUM): ASK_LATER,
        (STATUS, ANSWERED, OTHER_SUM): CONFLICT,
        (STATUS, ANSWERED, None): ASK_LATER,
        (STATUS, (NOT_SENT, REFUSED, LOST, DUPLICATE), ANYTHING): ASK_LATER,
        OTHERWISE: ASK,
    },
    Step.CONFIRMING: {
        (CONFIRM, ANSWERED, PAID): SUCCEEDS,
        (CONFIRM, ANSWERED, DECLINED): FAILS,
        (CONFIRM, ANSWERED, CANCELLED): LEFT_OR_FAILS,
        (CONFIRM, ANSWERED, CLOSED): LEFT_OR_PARKED,
        (CONFIRM, ANSWERED, MISMATCH): CONFLICT,
        (CONFIRM, ANSWERED, (EMPTY, UNDER_WAY, AWAITS_CONFIRM, NOT_OURS)): CONFIRMED,
        (CONFIRM, ANSWERED, (UNSURE, OTHER_SUM)): CONFIRMED,
        (CONFIRM, NOT_SENT, ANYTHING): Decision(NextStep.WAIT, PayoutCall.CONFIRM, None, None),
        (STATUS, ANSWERED, PAID): SUCCEEDS,
        (STATUS, ANSWERED, DECLINED): FAILS,
        (STATUS, ANSWERED, CANCELLED): LEFT_OR_FAILS,
        (STATUS, ANSWERED, CLOSED): LEFT_OR_PARKED,
        (STATUS, ANSWERED, (MISMATCH, NOT_OURS, OTHER_SUM)): CONFLICT,
        (STATUS, ANSWERED, AWAITS_CONFIRM): Decision(NextStep.SEND, PayoutCall.CONFIRM, None, None),
        (STATUS, ANSWERED, UNDER_WAY): CONFIRMED,
        (STATUS, ANSWERED, (EMPTY, UNSURE, None)): ASK_LATER,
        (STATUS, (NOT_SENT, REFUSED, LOST, DUPLICATE), ANYTHING): ASK_LATER,
        OTHERWISE: ASK,
    },
    Step.CONFIRMED: {
        None: ASK,
        (tuple(PayoutCall), ANSWERED, AWAITS_CONFIRM): Decision(
            NextStep.SEND, PayoutCall.CONFIRM, None, None
        ),
        (tuple(PayoutCall), ANSWERED, PAID): SUCCEEDS,
        (tuple(PayoutCall), ANSWERED, DECLINED): FAILS,
        (tuple(PayoutCall), ANSWERED, CANCELLED): LEFT_OR_FAILS,
        (tuple(PayoutCall), ANSWERED, CLOSED): LEFT_OR_PARKED,
        (tuple(PayoutCall), ANSWERED, MISMATCH): CONFLICT,
        (STATUS, ANSWERED, OTHER_SUM): CONFLICT,
        OTHERWISE: ASK_LATER,
    },
    Step.SENT_ONE_STEP: {
        (INIT, ANSWERED, PAID): SUCCEEDS,
        (INIT, ANSWERED, DECLINED): FAILS,
        (INIT, ANSWERED, CANCELLED): LEFT_OR_FAILS,
        (INIT, ANSWERED, CLOSED): LEFT_OR_PARKED,
        (INIT, ANSWERED, MISMATCH): CONFLICT,
        (INIT, ANSWERED, (EMPTY, UNDER_WAY, AWAITS_CONFIRM, NOT_OURS)): STARTED,
        (INIT, ANSWERED, (UNSURE, OTHER_SUM)): STARTED,
        (INIT, NOT_SENT, ANYTHING): Decision(NextStep.WAIT, PayoutCall.INIT, None, None),
        (INIT, REFUSED, ANYTHING): FAILS,
        (STATUS, ANSWERED, (MISMATCH, OTHER_SUM)): CONFLICT,
        OTHERWISE: PARKED,
    },
    Step.UNKNOWN: {
        (STATUS, ANSWERED, PAID): SUCCEEDS,
        (STATUS, ANSWERED, (DECLINED, CANCELLED)): FAILS,
        (STATUS, ANSWERED, (MISMATCH, OTHER_SUM)): CONFLICT,
        OTHERWISE: DONE,
    },
    Step.SUCCEEDED: {OTHERWISE: DONE},
    Step.FAILED: {OTHERWISE: DONE},
    Step.CANCELLED: {OTHERWISE: DONE},
}


def every_observation() -> Iterator[Observation | None]:
    """Yield every observation that a worker may decide on."""
    yield None
    for call, came, shown in product(PayoutCall, ReplyKind, ANYTHING):
        yield Observation(call, came, shown)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return one value as a tuple of one."""
    return value if isinstance(value, tuple) else (value,)


def rows_by_observation(rows: dict[Any, Any]) -> dict[Observation | None, Any]:
    """Return the rows of a step by observation; no observation may have two."""
    found: dict[Observation | None, Any] = {}
    for key, move in rows.items():
        if key is None:
            found[None] = move
        elif key != OTHERWISE:
            for parts in product(*map(as_tuple, key)):
                assert Observation(*parts) not in found, (parts, "is listed twice")
                found[Observation(*parts)] = move
    return found


def move_in_table(step: Step, mode: Mode, news: Observation | None) -> Decision:
    """Return the move in the table."""
    rows = TABLE[step]
    move = rows_by_observation(rows).get(news, rows[OTHERWISE])
    return move if isinstance(move, Decision) else move[mode]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("step", Step)
def test_moves_in_the_first_session(step: Step, mode: Mode) -> None:
    """The move for each step and observation in the first session."""
    rows, found = TABLE[step], rows_by_observation(TABLE[step])
    for news in every_observation():
        move = found.get(news, rows[OTHERWISE])
        expected = move if isinstance(move, Decision) else move[mode]
        assert decide(Situation(mode, step), news) == expected, news


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("session_no", [1, 7])
@pytest.mark.parametrize(
    "step", [step for step in TABLE if step not in {Step.KEY_USED, Step.REFUSED}]
)
def test_moves_in_a_later_session(step: Step, session_no: int, mode: Mode) -> None:
    """The same as in the first one, but a payout that was not ordered halts the second time."""
    for news in every_observation():
        expected = move_in_table(step, mode, news)
        if expected is LEAVE and step is Step.STARTED:
            expected = CONFLICT
        assert decide(Situation(mode, step, session_no), news) == expected, news


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("step", Step)
def test_moves_with_remaining_status_checks(step: Step, mode: Mode) -> None:
    """With remaining status checks, a session without a payout is checked or cancelled again.

    So is one that may show another sum by mistake.
    """
    empty = Observation(STATUS, ANSWERED, EMPTY)
    not_ours = Observation(STATUS, ANSWERED, NOT_OURS)
    other_sum = Observation(STATUS, ANSWERED, OTHER_SUM)
    for news in every_observation():
        expected = move_in_table(step, mode, news)
        if (step, news) in {(Step.STARTING, empty), (Step.CONFIRMING, not_ours)}:
            expected = ASK_LATER
        if news == other_sum and not step.is_final:
            expected = ASK_LATER
        if (step, news) in {(Step.REFUSED, empty), (Step.KEY_USED, empty)}:
            expected = Decision(NextStep.WAIT, PayoutCall.CANCEL, None, None)
        assert decide(Situation(mode, step, is_patient=True), news) == expected, news


@pytest.mark.parametrize("mode", Mode)
def test_what_follows_a_conflict(mode: Mode) -> None:
    """No session shows any more that the payout wasn't made: another one may have paid it."""
    for news in every_observation():
        expected = move_in_table(Step.UNKNOWN, mode, news)
        if expected is FAILS:
            expected = DONE
        if expected is CONFLICT and news != Observation(STATUS, ANSWERED, OTHER_SUM):
            expected = HALTED
        assert decide(Situation(mode, Step.UNKNOWN, is_contradicted=True), news) == expected, news


@pytest.mark.parametrize("mode", Mode)
def test_a_used_key_in_a_later_session(mode: Mode) -> None:
    """The key was used by our start in a session that was left, so this one is left, too."""
    rows = rows_by_observation(leaving(LEFT))
    for news in every_observation():
        move = rows.get(news, Decision(NextStep.SEND, PayoutCall.CANCEL, None, None))
        expected = move if isinstance(move, Decision) else move[mode]
        assert decide(Situation(mode, Step.KEY_USED, 1), news) == expected, news


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("session_no", [1, 7])
def test_a_start_that_is_refused_in_a_second_session(session_no: int, mode: Mode) -> None:
    """The refusal is final, also if that session can't be cancelled."""
    rows = rows_by_observation(leaving(FAILS))
    for news in every_observation():
        move = rows.get(news, Decision(NextStep.SEND, PayoutCall.CANCEL, None, None))
        expected = move if isinstance(move, Decision) else move[mode]
        assert decide(Situation(mode, Step.REFUSED, session_no), news) == expected, news


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("session_no", "is_last"), [(7, False), (8, True), (9, True)])
def test_maximum_of_sessions(session_no: int, is_last: bool, mode: Mode) -> None:  # noqa: FBT001
    """After eight sessions that were left, an operator must check the payout."""
    expected = PARKED if is_last else CREATES[mode]
    assert decide(Situation(mode, Step.NEW, session_no), None) == expected
    assert MAX_SESSIONS == 8


def test_what_is_written_with_the_claim() -> None:
    """The intent to create is written with the claim; a one-step call only if it comes next."""
    assert intends(Mode.MANUAL) is Event.CREATE_INTENDED
    assert intends(Mode.AUTOMATIC) is Event.CREATE_INTENDED
    assert intends(Mode.ONE_STEP) is None


def test_no_move_is_missing() -> None:
    """Each step of the journal has rows, and each row is for an observation that can happen."""
    assert set(TABLE) == set(Step)
    assert {step: len(rows_by_observation(rows)) for step, rows in TABLE.items()} == {
        Step.NEW: 2,
        Step.CREATING: 62,
        Step.STARTING: 105,
        Step.CANCELLING: 120,
        Step.REFUSED: 120,
        Step.KEY_USED: 120,
        Step.STARTED: 71,
        Step.CONFIRMING: 83,
        Step.CONFIRMED: 38,
        Step.SENT_ONE_STEP: 37,
        Step.UNKNOWN: 5,
        Step.SUCCEEDED: 0,
        Step.FAILED: 0,
        Step.CANCELLED: 0,
    }


# --- The steps of the journal --------------------------------------------------------------------

LEGAL: Final = {
    ("NEW", "create intended", "CREATING"),
    ("NEW", "init intended", "SENT_ONE_STEP"),
    ("NEW", "parked", "UNKNOWN"),
    ("NEW", "conflict", "UNKNOWN"),
    ("NEW", "adopted", "SUCCEEDED"),
    ("NEW", "withdrawn", "CANCELLED"),
    ("CREATING", "create intended", "CREATING"),
    ("CREATING", "session chosen", "STARTING"),
    ("CREATING", "not paid", "FAILED"),
    ("CREATING", "parked", "UNKNOWN"),
    ("CREATING", "conflict", "UNKNOWN"),
    ("CREATING", "adopted", "SUCCEEDED"),
    ("CREATING", "withdrawn", "CANCELLED"),
    ("STARTING", "start known", "STARTED"),
    ("STARTING", "start refused", "REFUSED"),
    ("STARTING", "start refused, its key was used", "KEY_USED"),
    ("STARTING", "leave intended", "CANCELLING"),
    ("STARTING", "session left", "NEW"),
    ("STARTING", "not paid", "FAILED"),
    ("STARTING", "paid", "SUCCEEDED"),
    ("STARTING", "parked", "UNKNOWN"),
    ("STARTING", "conflict", "UNKNOWN"),
    ("CANCELLING", "session left", "NEW"),
    ("CANCELLING", "paid", "SUCCEEDED"),
    ("CANCELLING", "not paid", "FAILED"),
    ("CANCELLING", "parked", "UNKNOWN"),
    ("CANCELLING", "conflict", "UNKNOWN"),
    ("REFUSED", "session left", "NEW"),
    ("REFUSED", "paid", "SUCCEEDED"),
    ("REFUSED", "not paid", "FAILED"),
    ("REFUSED", "parked", "UNKNOWN"),
    ("REFUSED", "conflict", "UNKNOWN"),
    ("KEY_USED", "session left", "NEW"),
    ("KEY_USED", "paid", "SUCCEEDED"),
    ("KEY_USED", "not paid", "FAILED"),
    ("KEY_USED", "parked", "UNKNOWN"),
    ("KEY_USED", "conflict", "UNKNOWN"),
    ("STARTED", "confirm intended", "CONFIRMING"),
    ("STARTED", "leave intended", "CANCELLING"),
    ("STARTED", "session left", "NEW"),
    ("STARTED", "paid", "SUCCEEDED"),
    ("STARTED", "not paid", "FAILED"),
    ("STARTED", "parked", "UNKNOWN"),
    ("STARTED", "conflict", "UNKNOWN"),
    ("CONFIRMING", "confirm known", "CONFIRMED"),
    ("CONFIRMING", "session left", "NEW"),
    ("CONFIRMING", "paid", "SUCCEEDED"),
    ("CONFIRMING", "not paid", "FAILED"),
    ("CONFIRMING", "parked", "UNKNOWN"),
    ("CONFIRMING", "conflict", "UNKNOWN"),
    ("CONFIRMED", "session left", "NEW"),
    ("CONFIRMED", "paid", "SUCCEEDED"),
    ("CONFIRMED", "not paid", "FAILED"),
    ("CONFIRMED", "parked", "UNKNOWN"),
    ("CONFIRMED", "conflict", "UNKNOWN"),
    ("SENT_ONE_STEP", "start known", "STARTED"),
    ("SENT_ONE_STEP", "paid", "SUCCEEDED"),
    ("SENT_ONE_STEP", "not paid", "FAILED"),
    ("SENT_ONE_STEP", "parked", "UNKNOWN"),
    ("SENT_ONE_STEP", "conflict", "UNKNOWN"),
    ("UNKNOWN", "conflict", "UNKNOWN"),
    ("UNKNOWN", "paid", "SUCCEEDED"),
    ("UNKNOWN", "not paid", "FAILED"),
    ("UNKNOWN", "adopted", "SUCCEEDED"),
    ("FAILED", "retried", "NEW"),
}
"""The legal transitions; all others are illegal."""


def test_the_legal_steps() -> None:
    """The table of the code has exactly these transitions."""
    rows = {(step.name, event.value, after.name) for (step, event), after in STEPS.items()}
    assert rows == LEGAL
    assert len(STEPS) == len(LEGAL) == 65


@pytest.mark.parametrize(
    ("step", "number", "is_final", "is_workable"),
    [
        (Step.NEW, 0, False, True),
        (Step.CREATING, 10, False, True),
        (Step.STARTING, 20, False, True),
        (Step.CANCELLING, 25, False, True),
        (Step.REFUSED, 26, False, True),
        (Step.KEY_USED, 27, False, True),
        (Step.STARTED, 30, False, True),
        (Step.CONFIRMING, 40, False, True),
        (Step.CONFIRMED, 50, False, True),
        (Step.SENT_ONE_STEP, 60, False, True),
        (Step.UNKNOWN, 70, False, False),
        (Step.SUCCEEDED, 80, True, False),
        (Step.FAILED, 81, True, False),
        (Step.CANCELLED, 82, True, False),
    ],
)
def test_numbers_of_the_steps(step: Step, number: int, is_final: bool, is_workable: bool) -> None:  # noqa: FBT001
    """The numbers of the steps don't change, because journals store them."""
    assert (step.value, step.is_final, step in WORKABLE) == (number, is_final, is_workable)
    assert len(Step) == 14


def test_events_that_may_be_written_later() -> None:
    """Only facts that were answered may be written later."""
    assert {event.value for event in CAN_WAIT} == {"start known", "confirm known"}
    assert {step.name for step in LEARNS_SESSION} == {"SENT_ONE_STEP", "UNKNOWN"}


def test_names_of_the_modes() -> None:
    """The names of the modes don't change, because journals store them."""
    assert {mode.name: mode.value for mode in sg.Mode} == {
        "MANUAL": "manual",
        "AUTOMATIC": "automatic",
        "ONE_STEP": "one_step",
    }
