"""Single decisions of a payout that are easily confused, written out literally."""

import pytest

from smartglocal_async.journal.states import STEPS, Event, Step
from smartglocal_async.payouts.protocol import (
    Decision,
    Mode,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    SessionView,
    Situation,
    decide,
)

CANCELS_LATER = Decision(NextStep.WAIT, PayoutCall.CANCEL)
LEAVES = Decision(NextStep.DECIDE_AGAIN, write=Event.SESSION_LEFT)
FAILS = Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
LEAVING = (Step.CANCELLING, Step.REFUSED, Step.KEY_USED)


@pytest.mark.parametrize("mode", [Mode.MANUAL, Mode.AUTOMATIC])
@pytest.mark.parametrize("step", LEAVING)
@pytest.mark.parametrize(
    ("came", "move"),
    [
        (ReplyKind.LOST, CANCELS_LATER),
        (ReplyKind.NOT_SENT, CANCELS_LATER),
        (ReplyKind.REFUSED, Decision(NextStep.SEND, PayoutCall.STATUS)),
    ],
)
def test_after_a_cancel_without_an_answer(mode, step, came, move):
    """A cancel without an answer is sent again; a refused one is followed by a status check."""
    assert decide(Situation(mode, step), Observation(PayoutCall.CANCEL, came)) == move


@pytest.mark.parametrize("step", LEAVING)
def test_an_empty_session_is_cancelled_until_it_is_closed_where_its_start_pays(step):
    """In automatic mode its start may still arrive and pay; it is cancelled until closed."""
    empty = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.EMPTY)
    assert decide(Situation(Mode.AUTOMATIC, step), empty) == CANCELS_LATER


def test_a_refused_start_is_final_in_a_second_session_where_nothing_can_be_cancelled():
    """In manual mode nothing pays, even if the status is stale and a duplicate was refused."""
    empty = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.EMPTY)
    patient = Situation(Mode.MANUAL, Step.REFUSED, is_patient=True)
    assert decide(patient, empty) == CANCELS_LATER
    assert decide(Situation(Mode.MANUAL, Step.REFUSED), empty) == LEAVES
    assert decide(Situation(Mode.MANUAL, Step.REFUSED, 1), empty) == FAILS
    assert decide(Situation(Mode.MANUAL, Step.CANCELLING, is_patient=True), empty) == LEAVES
    closed = Observation(PayoutCall.CANCEL, ReplyKind.ANSWERED, SessionView.CLOSED)
    assert decide(patient, closed) == FAILS


@pytest.mark.parametrize("shown", [SessionView.CANCELLED, SessionView.CLOSED])
@pytest.mark.parametrize("step", [Step.STARTED, Step.CONFIRMING, Step.CONFIRMED])
def test_a_session_that_was_not_confirmed_in_time_is_left(step, shown):
    """The provider declined nothing; the confirm was only assumed to have arrived."""
    news = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, shown)
    assert decide(Situation(Mode.MANUAL, step), news) == LEAVES
    assert STEPS[step, Event.SESSION_LEFT] is Step.NEW


@pytest.mark.parametrize("step", [Step.STARTED, Step.CONFIRMING, Step.CONFIRMED])
def test_a_decline_is_final(step):
    """A decline by the provider is final."""
    news = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.DECLINED)
    assert decide(Situation(Mode.MANUAL, step), news) == FAILS
    one_step = decide(
        Situation(Mode.ONE_STEP, step),
        Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.CANCELLED),
    )
    assert one_step == FAILS


@pytest.mark.parametrize("step", [Step.SENT_ONE_STEP, Step.STARTED, Step.CONFIRMED])
def test_a_session_without_our_payout_fails_none(step):
    """In one step, a final session that doesn't show the payout may be another one's."""
    call = PayoutCall.INIT if step is Step.SENT_ONE_STEP else PayoutCall.STATUS
    closed = Observation(call, ReplyKind.ANSWERED, SessionView.CLOSED)
    move = decide(Situation(Mode.ONE_STEP, step), closed)
    assert (move.next_step, move.write) == (NextStep.DECIDE_AGAIN, Event.PARKED)
