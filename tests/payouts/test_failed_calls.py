"""Which failures of a payout's calls are kept, and in which words."""

import pytest

from smartglocal_async.journal.states import Event
from smartglocal_async.payouts.calls import Reply
from smartglocal_async.payouts.protocol import Observation, PayoutCall, ReplyKind
from smartglocal_async.payouts.worker import FailedCalls

CREATE, START, STATUS, CONFIRM, CANCEL = (
    PayoutCall.CREATE,
    PayoutCall.START,
    PayoutCall.STATUS,
    PayoutCall.CONFIRM,
    PayoutCall.CANCEL,
)


def failed(call: PayoutCall, reason: str = "no answer", code: str | None = None) -> Reply:
    """Return the reply of a call that failed."""
    return Reply(Observation(call, ReplyKind.LOST), code=code, reason=reason)


def worked(call: PayoutCall) -> Reply:
    """Return the reply of a call that succeeded."""
    return Reply(Observation(call, ReplyKind.ANSWERED))


def noted(*replies: Reply) -> FailedCalls:
    """Return the failures after these replies."""
    failures = FailedCalls()
    for reply in replies:
        failures.note(reply)
    return failures


def test_none() -> None:
    """Without a failure there is neither a code nor a reason."""
    assert (FailedCalls().code, FailedCalls().reason) == (None, None)


@pytest.mark.parametrize(
    ("replies", "code", "reason"),
    [
        ([failed(START)], None, "session/start/payout lost: no answer"),
        ([failed(START, "HTTP 502")], None, "session/start/payout lost: HTTP 502"),
        (
            [failed(START, "HTTP 502", "busy"), failed(STATUS)],
            "busy",
            "session/start/payout lost: HTTP 502; session/status lost: no answer",
        ),
        (
            [failed(START, code="first"), failed(CONFIRM, code="second")],
            "second",
            "session/start/payout lost: no answer; session/confirm lost: no answer",
        ),
        # The newer failure of a call is the last one.
        (
            [failed(START, "one"), failed(STATUS, "two"), failed(START, "three")],
            None,
            "session/status lost: two; session/start/payout lost: three",
        ),
        ([failed(START), worked(START)], None, None),
        ([failed(START), worked(STATUS)], None, "session/start/payout lost: no answer"),
        # A reason that begins with the name of its call isn't named again.
        ([failed(STATUS, "session/status: busy")], None, "session/status: busy"),
    ],
)
def test_words(replies: list[Reply], code: str | None, reason: str | None) -> None:
    """The last failure of each call is kept until the call succeeds."""
    failures = noted(*replies)
    assert (failures.code, failures.reason) == (code, reason)


def test_a_call_that_our_deadline_ended() -> None:
    """An earlier failure of the call says more, and stays; without one it is kept."""
    failures = noted(failed(START, "HTTP 502"))
    failures.note(failed(START, "no time left"), is_cut_short=True)
    failures.note(failed(STATUS, "no time left"), is_cut_short=True)
    words = "session/start/payout lost: HTTP 502; session/status lost: no time left"
    assert failures.reason == words


@pytest.mark.parametrize("event", Event)
def test_events(event: Event) -> None:
    """Progress removes all failures; leaving a session removes those of its calls."""
    failures = noted(*(failed(call, call.name) for call in (CREATE, START, STATUS, CANCEL)))
    failures.clear_after(event)
    clears = {
        Event.START_KNOWN,
        Event.CONFIRM_INTENDED,
        Event.CONFIRM_KNOWN,
        Event.PARKED,
        Event.CONFLICT,
    }
    kept = "session/create lost: CREATE; session/start/payout lost: START"
    if event in clears:
        assert failures.reason is None
    elif event is Event.SESSION_LEFT:
        assert failures.reason == kept
        FailedCalls().clear_after(event)
    else:
        assert (
            failures.reason == f"{kept}; session/status lost: STATUS; session/cancel lost: CANCEL"
        )
