"""Errors: one tree, split by what the caller may do next; they copy, pickle and hide secrets."""

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
    "code_class": sg.errors.CodeClass.PERMANENT,
    "http_status": 400,
    "content_type": "text/html",
    "attempts": 2,
    "elapsed_seconds": 1.25,
    "cause": "an empty answer",
    "stopped_by": "attempts",
    "retry_after_seconds": 3.0,
    "is_misconfigured": False,
}
ALL: Final = [
    sg.SmartGlocalError("text"),
    sg.Misuse("text"),
    sg.InvalidRequest("a.b", "is wrong"),
    sg.InvalidCredentials("text"),
    sg.KeyReused("k", ("a", "b")),
    sg.KeyReused("k", ("request",), is_compared=False),
    sg.PoolClosed("text"),
    sg.NotSent("session/create"),
    sg.NotSent(**FACTS),
    sg.Refused(**FACTS),
    sg.OutcomeUnknown(**FACTS),
    sg.errors.StillOpen("ps_1", "in_progress", 300.0, "the last poll failed"),
    sg.InProgress("k", "worker-1", 12.5),
    sg.errors.LostLease("k", 3),
    sg.JournalUnusable("text"),
    sg.errors.JournalBusy("payouts.db", "4711"),
    sg.errors.JournalMisconfigured("text"),
    sg.errors.WrongJournalKey("text"),
    errors.SessionTaken("ps_1", "k-2"),
    sg.PayoutsHalted("the payout 'k' was paid", 1.5),
    sg.errors.ConfirmationMismatch("the payout 'k' was paid"),
    sg.PayoutConflict("the payout 'k' is recorded as FAILED"),
    sg.errors.JournalForgot("nobody knows the session ps_1"),
    sg.errors.Quarantined("restored", 1.5),
    sg.BatchStopped("told to", 7),
    sg.WebhookRefused(sg.errors.WebhookFault.NOT_AN_EVENT, "$.type: is missing"),
    sg.errors.WebhookStoreUnusable("text"),
    sg.RuleBroken("text"),
    sg.errors.LeftOpen("text"),
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
        (sg.errors.StillOpen, sg.SmartGlocalError),
        (sg.InProgress, sg.SmartGlocalError),
        (sg.errors.LostLease, sg.SmartGlocalError),
        (sg.JournalUnusable, sg.SmartGlocalError),
        (sg.errors.JournalMisconfigured, sg.JournalUnusable),
        (sg.errors.WrongJournalKey, sg.JournalUnusable),
        (sg.errors.JournalBusy, sg.JournalUnusable),
        (errors.SessionTaken, sg.Misuse),
        (sg.PayoutsHalted, sg.SmartGlocalError),
        (sg.errors.ConfirmationMismatch, sg.PayoutsHalted),
        (sg.PayoutConflict, sg.PayoutsHalted),
        (sg.errors.JournalForgot, sg.PayoutsHalted),
        (sg.errors.Quarantined, sg.PayoutsHalted),
        (sg.BatchStopped, sg.SmartGlocalError),
        (sg.WebhookRefused, sg.SmartGlocalError),
        (sg.errors.WebhookStoreUnusable, sg.SmartGlocalError),
        (sg.RuleBroken, UserWarning),
        (sg.errors.LeftOpen, ResourceWarning),
    ],
)
def test_the_tree(error, parent) -> None:
    """Each error has one parent, which says what the caller may do next."""
    assert error.__bases__ == (parent,)


def test_the_tree_has_no_other_branch() -> None:
    """A new error must be added here first."""
    found = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert found == {type(error) for error in ALL} | {sg.CallFailed}


def test_no_error_is_an_os_error() -> None:
    """An OSError of a middleware would be converted into one of aiohttp's."""
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
    """The outcome is in the class and in a field."""
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
    """An error keeps all its fields between processes."""
    assert same(pickle.loads(pickle.dumps(error, protocol)), error)  # noqa: S301


@each
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_errors_copy(error, duplicate) -> None:
    """Frameworks that raise one error in several places copy it."""
    assert same(duplicate(error), error)


@each
def test_errors_take_notes_and_causes(error) -> None:
    """A frozen error can still be raised, chained and annotated."""
    error = copy.copy(error)
    error.add_note("while paying")
    with pytest.raises(type(error)) as caught:
        raise error from ValueError("why")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__notes__ == ["while paying"]


@each
def test_errors_can_be_kept_in_a_set(error) -> None:
    """An error is equal only to itself."""
    assert len({error, copy.copy(error)}) == 2


@pytest.mark.parametrize("name", [f.name for f in attrs.fields(sg.CallFailed)])
def test_the_facts_of_a_failed_call_do_not_change(name) -> None:
    """The fields of a failed call can't be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(sg.Refused(**FACTS), name, None)


@pytest.mark.parametrize(("name", "value"), FACTS.items())
def test_every_fact_has_its_field(name, value) -> None:
    """A handler reads fields, not text."""
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
                "Use a new key for a new request, but never for a debt that this key may have "
                "paid."
            ),
        ),
        (
            sg.KeyReused("k", ("request",), is_compared=False),
            (
                "the key 'k' was paid, by a report that doesn't show for which order; so it isn't "
                "known whether this is the same order, and nothing was sent. Compare payee and sum "
                "by hand, and never use a new key for a debt that this key may have paid."
            ),
        ),
        (
            sg.errors.StillOpen("ps_1", "in_progress", 300.0),
            "the session ps_1 is still in_progress; waited 300.0 s",
        ),
        (
            sg.errors.StillOpen("ps_1", None, 1.25, "the last poll failed: no"),
            "the session ps_1 is still unseen; the last poll failed: no; waited 1.2 s",
        ),
        (
            sg.errors.StillOpen("ps_1", "error", 2.0),
            (
                "the session ps_1 is still error; that status is not final: don't pay again, and "
                "ask the provider's support; waited 2.0 s"
            ),
        ),
        (
            sg.InProgress("order-1", "worker-1", 12.5),
            "the key 'order-1' is with worker-1, for 12.5 s at most",
        ),
        (
            sg.errors.LostLease("order-1", 3),
            "the lease on the key 'order-1' is lost: fence 3 isn't valid any more",
        ),
        (
            sg.WebhookRefused(sg.errors.WebhookFault.NO_SIGNATURE),
            "the webhook is refused: it carries no X-PARTNER-SIGN",
        ),
        (
            sg.WebhookRefused(sg.errors.WebhookFault.NOT_AN_EVENT, "$.type: is missing"),
            (
                "the webhook is refused: it is signed JSON, but no event that can be read "
                "($.type: is missing)"
            ),
        ),
    ],
)
def test_texts(error, text) -> None:
    """The fields in one sentence each; never a body."""
    assert str(error) == text


def test_a_failed_call_has_no_place_for_a_body() -> None:
    """Values that are no field can't be logged by mistake."""
    assert {f.name for f in attrs.fields(sg.CallFailed)} == set(FACTS)


def test_values_of_the_outcomes() -> None:
    """The values are stored in logs and tables, so they don't change."""
    assert {o.name: o.value for o in sg.CallOutcome} == {
        "NOT_SENT": "not_sent",
        "REFUSED": "refused",
        "UNKNOWN": "unknown",
        "SUCCEEDED": "succeeded",
    }


def test_values_of_the_webhook_faults() -> None:
    """The six reasons why a webhook is refused; none of them quotes it."""
    assert [fault.name for fault in sg.errors.WebhookFault] == [
        "NO_SIGNATURE",
        "BAD_SIGNATURE",
        "TOO_LARGE",
        "TOO_SLOW",
        "NOT_JSON",
        "NOT_AN_EVENT",
    ]
    assert len({fault.value for fault in sg.errors.WebhookFault}) == 6
