"""Errors: one tree, split by what the caller may do next; they copy, pickle and keep quiet."""

import copy
import inspect
import pickle
from typing import Final

import attrs
import pytest

import smartglocal_async as sg
from smartglocal_async import errors

FACTS: Final = {
    "operation": "session/create",
    "key": "order-1",
    "session_id": "ps_1",
    "code": "invalid_request",
    "description": "check request",
    "code_class": sg.CodeClass.PERMANENT,
    "http_status": 400,
    "content_type": "text/html",
    "attempts": 2,
    "elapsed_seconds": 1.25,
    "cause": "an empty answer",
    "stopped_by": "attempts",
    "retry_after_seconds": 3.0,
}
ALL: Final = [
    sg.SmartGlocalError("text"),
    sg.Misuse("text"),
    sg.InvalidRequest("a.b", "is wrong"),
    sg.InvalidCredentials("text"),
    sg.KeyReused("k", ("a", "b")),
    sg.PoolClosed("text"),
    sg.NotSent("session/create"),
    sg.NotSent(**FACTS),
    sg.Refused(**FACTS),
    sg.OutcomeUnknown(**FACTS),
    sg.StillOpen("ps_1", "in_progress", 300.0, "the last look failed"),
    sg.InProgress("k", "worker-1", 12.5),
    sg.LostLease("k", 3),
    sg.JournalUnusable("text"),
    sg.WrongSeal("text"),
    sg.PayoutsHalted("the payout 'k' was paid", 1.5),
    sg.ConfirmationMismatch("the payout 'k' was paid"),
    sg.JournalForgot("nobody knows the session ps_1"),
    sg.Quarantined("restored", 1.5),
    sg.BatchStopped("told to", 7),
    sg.WebhookRefused(sg.WebhookFault.NOT_AN_EVENT, "$.type: is missing"),
    sg.RuleBroken("text"),
    sg.LeftOpen("text"),
]
each: Final = pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (sg.SmartGlocalError, Exception),
        (sg.Misuse, sg.SmartGlocalError),
        (sg.InvalidRequest, sg.Misuse),
        (sg.InvalidCredentials, sg.Misuse),
        (sg.KeyReused, sg.Misuse),
        (sg.PoolClosed, sg.Misuse),
        (sg.CallFailed, sg.SmartGlocalError),
        (sg.NotSent, sg.CallFailed),
        (sg.Refused, sg.CallFailed),
        (sg.OutcomeUnknown, sg.CallFailed),
        (sg.StillOpen, sg.SmartGlocalError),
        (sg.InProgress, sg.SmartGlocalError),
        (sg.LostLease, sg.SmartGlocalError),
        (sg.JournalUnusable, sg.SmartGlocalError),
        (sg.WrongSeal, sg.JournalUnusable),
        (sg.PayoutsHalted, sg.SmartGlocalError),
        (sg.ConfirmationMismatch, sg.PayoutsHalted),
        (sg.JournalForgot, sg.PayoutsHalted),
        (sg.Quarantined, sg.PayoutsHalted),
        (sg.BatchStopped, sg.SmartGlocalError),
        (sg.WebhookRefused, sg.SmartGlocalError),
        (sg.RuleBroken, UserWarning),
        (sg.LeftOpen, ResourceWarning),
    ],
)
def test_the_tree(error, parent) -> None:
    """Each error has one parent, and that parent is the advice."""
    assert error.__bases__ == (parent,)


def test_the_tree_has_no_other_branch() -> None:
    """A new error appears here first."""
    found = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert found == {type(error) for error in ALL} | {sg.CallFailed}


def test_no_error_is_an_os_error() -> None:
    """An OSError that a middleware raises would come out as one of aiohttp's."""
    assert not any(isinstance(error, OSError | ValueError) for error in ALL)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (sg.NotSent, sg.CallOutcome.NOT_SENT),
        (sg.Refused, sg.CallOutcome.REFUSED),
        (sg.OutcomeUnknown, sg.CallOutcome.UNKNOWN),
    ],
)
def test_a_failed_call_tells_its_outcome(error, outcome) -> None:
    """By class and by field, for those who match and those who log."""
    assert error.outcome is outcome
    assert error("session/create").outcome is outcome


def same(one: BaseException, other: BaseException) -> bool:
    """Compare two errors by class, arguments, text and fields."""
    fields = attrs.asdict(one) if attrs.has(type(one)) else {}
    others = attrs.asdict(other) if attrs.has(type(other)) else {}
    return (type(one), one.args, str(one), fields) == (type(other), other.args, str(other), others)


@each
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_pickle(error, protocol) -> None:
    """An error crosses the border of a process with everything it knows."""
    assert same(pickle.loads(pickle.dumps(error, protocol)), error)  # noqa: S301


@each
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_errors_copy(error, duplicate) -> None:
    """As frameworks do that raise one error in several places."""
    assert same(duplicate(error), error)


@each
def test_errors_take_notes_and_causes(error) -> None:
    """A frozen error can still be raised, chained and noted."""
    error = copy.copy(error)
    error.add_note("while paying")
    with pytest.raises(type(error)) as caught:
        raise error from ValueError("why")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__notes__ == ["while paying"]


@each
def test_errors_can_be_kept_in_a_set(error) -> None:
    """An error is itself, and equal to no other."""
    assert len({error, copy.copy(error)}) == 2


@pytest.mark.parametrize("name", [f.name for f in attrs.fields(sg.CallFailed)])
def test_the_facts_of_a_failed_call_do_not_change(name) -> None:
    """What is known is known."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(sg.Refused(**FACTS), name, None)


@pytest.mark.parametrize(("name", "value"), FACTS.items())
def test_every_fact_has_its_field(name, value) -> None:
    """A handler reads facts, not text."""
    assert getattr(sg.OutcomeUnknown(**FACTS), name) == value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (sg.NotSent("session/create"), "session/create: not sent; 1 attempt in 0.000 s"),
        (
            sg.Refused(**FACTS),
            (
                "session/create: refused; the provider answered 'invalid_request': check request; "
                "an empty answer; HTTP 400; key order-1; 2 attempts in 1.250 s; "
                "stopped by attempts"
            ),
        ),
        (
            sg.Refused("session/create", code="c"),
            "session/create: refused; the provider answered 'c': -; 1 attempt in 0.000 s",
        ),
        (
            sg.OutcomeUnknown("session/status", http_status=502, attempts=3),
            "session/status: outcome unknown; HTTP 502; 3 attempts in 0.000 s",
        ),
        (sg.InvalidRequest("a.b", "is wrong"), "a.b: is wrong"),
        (
            sg.KeyReused("k", ("a", "b")),
            (
                "the key 'k' was used with another request; these fields differ: a, b. "
                "Take a new key for a new request, and never for a debt that this key may have "
                "paid."
            ),
        ),
        (
            sg.StillOpen("ps_1", "in_progress", 300.0),
            "the session ps_1 is in_progress still; waited 300.0 s",
        ),
        (
            sg.StillOpen("ps_1", None, 1.25, "the last look failed: no"),
            "the session ps_1 is unseen still; the last look failed: no; waited 1.2 s",
        ),
        (
            sg.StillOpen("ps_1", "error", 2.0),
            (
                "the session ps_1 is error still; that status is not final: don't pay again, and "
                "ask the provider's support; waited 2.0 s"
            ),
        ),
        (
            sg.InProgress("order-1", "worker-1", 12.5),
            "the key 'order-1' is with worker-1, for 12.5 s at most",
        ),
        (
            sg.LostLease("order-1", 3),
            "the lease on the key 'order-1' is lost: fence 3 holds no longer",
        ),
        (
            sg.WebhookRefused(sg.WebhookFault.NO_SIGNATURE),
            "the webhook is refused: it carries no X-PARTNER-SIGN",
        ),
        (
            sg.WebhookRefused(sg.WebhookFault.NOT_AN_EVENT, "$.type: is missing"),
            (
                "the webhook is refused: it is signed JSON, but no event that can be read "
                "($.type: is missing)"
            ),
        ),
    ],
)
def test_texts(error, text) -> None:
    """Facts in words, one sentence each; never a body."""
    assert str(error) == text


def test_a_failed_call_has_no_place_for_a_body() -> None:
    """What is not a field can't be logged by mistake."""
    assert {f.name for f in attrs.fields(sg.CallFailed)} == set(FACTS)


def test_the_words_of_the_outcomes() -> None:
    """The values are what a log or a table of orders keeps; they don't change."""
    assert {o.name: o.value for o in sg.CallOutcome} == {
        "NOT_SENT": "not_sent",
        "REFUSED": "refused",
        "UNKNOWN": "unknown",
        "SUCCEEDED": "succeeded",
    }


def test_the_words_of_the_webhook_faults() -> None:
    """Five ways in which something that came is no webhook; none of them quotes it."""
    assert [fault.name for fault in sg.WebhookFault] == [
        "NO_SIGNATURE",
        "BAD_SIGNATURE",
        "TOO_LARGE",
        "NOT_JSON",
        "NOT_AN_EVENT",
    ]
    assert len({fault.value for fault in sg.WebhookFault}) == 5
