"""How a session is read: one row for each state that it may show, with its meaning.

The expectations are written by hand from the provider's pages of statuses and from the table in
docs/explanation/at-most-once.md. Each row is read in the names of API v1 and of v2.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from attrs import evolve

import smartglocal_async as sg
from smartglocal_async.codec import ApiVersion, codec
from smartglocal_async.errors import CodeClass
from smartglocal_async.idempotency import Mark
from smartglocal_async.matching import Expected
from smartglocal_async.models.answers import Amounts, Fees, Payout, TransactionInfo
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.protocol import ReplyKind, SessionView
from smartglocal_async.payouts.session_view import (
    PaymentProof,
    read_failure,
    read_session,
    unclear,
)

Wire = dict[str, Any]

EXPECTED: Final = Expected(
    mark=Mark("k-1", "idempotency_key"),
    amount=Amount(10_000, "usd"),
    journal_id="j-1",
    order="00112233445566aa",
    last4="4242",
)
OURS: Final = {
    "idempotency_key": "k-1",
    "payout_journal": "j-1",
    "payout_order": "00112233445566aa",
    "payout_session": 0,
    "invoice": 7,
}
OLD: Final = {"idempotency_key": "k-1", "payout_journal": "j-1"}
"""The metadata that an earlier release sent, without a digest of the order."""
OTHER_JOURNAL: Final = {**OURS, "payout_journal": "j-2"}
OTHER_ORDER: Final = {**OURS, "payout_order": "ffffffffffffffff"}
OTHER_KEY: Final = {**OURS, "idempotency_key": "k-2"}
NO_JOURNAL: Final = {"idempotency_key": "k-1", "payout_order": "00112233445566aa"}
SESSION: Final = {
    "idempotency_key": "k-1:1.1",
    "payout_key": "k-1",
    "payout_journal": "j-1",
    "payout_order": "00112233445566aa",
}
OLD_SESSION: Final = {"idempotency_key": "k-1:1.1", "payout_key": "k-1", "payout_journal": "j-1"}
SESSION_OF_OTHER_KEY: Final = {**SESSION, "payout_key": "k-2"}
SESSION_OF_OTHER_JOURNAL: Final = {**SESSION, "payout_journal": "j-2"}
SESSION_OF_OTHER_ORDER: Final = {**SESSION, "payout_order": "ffffffffffffffff"}
TIMED_OUT: Final = {"code": "confirm_timeout", "description": "not confirmed in time"}
NO_ACCOUNT: Final = {"code": "account_not_found", "description": "no such account"}
UNREADABLE: Final = {"id": ["po_9"], "status": "in_progress"}
"""An item without a readable id, so that its list is incomplete."""
NAMES: Final[dict[str, dict[str, str]]] = {
    "v1": {"payouts": "payments", "payments": "acquiring_payments", "method": "payment_method"},
    "v2": {"payouts": "payout_list", "payments": "payment_list", "method": "payout_details"},
}


def item(status: str, metadata: Any = OURS, amount: Any = 10_000, **more: Any) -> Wire:
    """Return a payout to the card 4242 over 100.00 usd, with these other fields."""
    fields = {
        "id": "po_1",
        "status": status,
        "metadata": metadata,
        "amount_details": {"amount": amount, "currency": more.pop("currency", "usd")},
        "method": {"type": "card", "card": {"last4": more.pop("last4", "4242"), "brand": "visa"}},
        **more,
    }
    return {name: value for name, value in fields.items() if value is not None}


def payment(status: str = "succeeded", **more: Any) -> Wire:
    """Return a payment of 100.00 usd, which is never a payout."""
    usd = {"amount": 10_000, "currency": "usd"}
    return {"id": "pm_1", "status": status, "amount_details": usd, "metadata": OURS, **more}


def session(status: str, *payouts: Wire, metadata: Any = SESSION, **more: Any) -> Wire:
    """Return a session with these payouts."""
    return {"id": "ps_1", "status": status, "metadata": metadata, "payouts": [*payouts], **more}


def waits(*payouts: Wire, **more: Any) -> Wire:
    """Return a session that waits for a confirm."""
    return session("in_progress", *payouts, next_action="confirm", **more)


def in_names_of(version: str, wire: Wire) -> Wire:
    """Return a session in the names of one version of the API."""
    names = NAMES[version]

    def renamed(fields: Wire) -> Wire:
        return {names.get(name, name): value for name, value in fields.items()}

    spelled = {**wire, "payouts": [renamed(one) for one in wire["payouts"]]}
    return renamed(spelled)


BARE: Final = {"amount_details": None}
UNCARDED: Final = {"method": None}
REFUND: Final = {"id": "rf_1", "status": "accepted"}

EMPTY: Final = {
    "created, nothing in it": session("created"),
    "created, its metadata isn't echoed": session("created", metadata=None),
    "created, its metadata is text": session("created", metadata="order123"),
    "created, its metadata is an empty object": session("created", metadata={}),
    "created by an earlier release": session("created", metadata=OLD_SESSION),
    "created, with an action due that isn't a confirm": session("created", next_action="capture"),
}
UNDER_WAY: Final = {
    "in progress, nothing in it yet": session("in_progress"),
    "in progress, ours in progress": session("in_progress", item("in_progress")),
    "in progress, ours pending": session("in_progress", item("pending")),
    "in progress, ours succeeded already": session("in_progress", item("succeeded")),
    "in progress, ours failed already": session("in_progress", item("failed")),
    "in progress, two of ours": session("in_progress", item("pending"), item("pending")),
    "created, ours in it": session("created", item("in_progress")),
    "created, an unmarked payout in it": session("created", item("in_progress", None)),
    "created, a payment in it": session("created", payments=[payment()]),
    "a status that no page lists, nothing in it": session("waiting"),
    "a status that no page lists, ours succeeded": session("waiting", item("succeeded")),
    "waits for a capture": session("in_progress", item("pending"), next_action="capture"),
    "an action that no page lists": session("in_progress", item("pending"), next_action="look"),
    "ours shows no amount": session("in_progress", item("pending", **BARE)),
    "ours failed, over another sum": session("in_progress", item("failed", amount=1)),
    "ours cancelled, over another sum": session("in_progress", item("cancelled", amount=1)),
    "ours canceled with one l, another sum": session("in_progress", item("canceled", amount=1)),
    "an unmarked one over another sum": session("in_progress", item("pending", None, 1)),
    "its metadata isn't echoed": session("in_progress", item("pending"), metadata=None),
    "a list that can't be read": session("in_progress", UNREADABLE),
}
AWAITS_CONFIRM: Final = {
    "waits, ours alone": waits(item("pending")),
    "waits while created": session("created", item("pending"), next_action="confirm"),
    "waits under a status that no page lists": session(
        "waiting", item("pending"), next_action="confirm"
    ),
    "waits, no card shown": waits(item("pending", **UNCARDED)),
    "waits, a card without its last digits": waits(item("pending", last4=None)),
    "waits, ours of an earlier release": waits(item("pending", OLD), metadata=OLD_SESSION),
    "waits, the session's metadata isn't echoed": waits(item("pending"), metadata=None),
    "waits, currency in capitals": waits(item("pending", currency="USD")),
}
NOT_OURS: Final = {
    "waits, nothing in it": waits(),
    "waits, over another sum": waits(item("pending", amount=10_001)),
    "waits, over another currency": waits(item("pending", currency="eur")),
    "waits, to another card": waits(item("pending", last4="1111")),
    "waits, two of ours": waits(item("pending"), item("pending", id="po_2")),
    "waits, a payment alone": waits(payments=[payment("pending")]),
    "waits, ours and a payout that can't be read": waits(item("pending"), UNREADABLE),
    "waits, ours and payments that can't be read": waits(item("pending"), payments="none"),
}
PAID: Final = {
    "accepted, ours succeeded": session("accepted", item("succeeded")),
    "accepted, no card shown": session("accepted", item("succeeded", **UNCARDED)),
    "accepted, ours of an earlier release": session(
        "accepted", item("succeeded", OLD), metadata=OLD_SESSION
    ),
    "accepted, its metadata isn't echoed": session("accepted", item("succeeded"), metadata=None),
    "accepted, another one of ours failed": session(
        "accepted", item("failed", id="po_0"), item("succeeded")
    ),
    "accepted, an unmarked one failed": session(
        "accepted", item("failed", None, id="po_0"), item("succeeded")
    ),
    "accepted, a confirm is awaited still": session(
        "accepted", item("succeeded"), next_action="confirm"
    ),
    "accepted, a payment beside it": session("accepted", item("succeeded"), payments=[payment()]),
    "accepted, a refunded payment beside it": session(
        "accepted", item("succeeded"), payments=[payment(refunds=[REFUND])]
    ),
    "accepted, another item can't be read": session("accepted", item("succeeded"), UNREADABLE),
}
DECLINED: Final = {
    "accepted, ours failed": session("accepted", item("failed", error=NO_ACCOUNT)),
    "cancelled, ours failed": session("cancelled", item("failed", error=NO_ACCOUNT)),
    "ours failed, no reason shown": session("cancelled", item("failed")),
    "ours failed, over another sum": session("cancelled", item("failed", amount=1)),
    "two of ours failed": session("cancelled", item("failed"), item("failed")),
    "one of ours failed, one was cancelled": session(
        "cancelled", item("failed"), item("cancelled")
    ),
    "one of ours failed, two were cancelled, each spelling once": session(
        "cancelled", item("failed"), item("cancelled"), item("canceled")
    ),
    "one failed, one wasn't confirmed in time": session(
        "cancelled", item("failed"), item("failed", error=TIMED_OUT)
    ),
    "ours failed, a payment beside it": session("accepted", item("failed"), payments=[payment()]),
}
CANCELLED: Final = {
    "cancelled, ours cancelled": session("cancelled", item("cancelled")),
    "cancelled, ours canceled with one l": session("cancelled", item("canceled")),
    "cancelled, not confirmed in time": session("cancelled", item("failed", error=TIMED_OUT)),
    "cancelled, both words for one thing": session(
        "cancelled", item("cancelled"), item("failed", error=TIMED_OUT)
    ),
    "accepted, ours cancelled": session("accepted", item("cancelled")),
    "cancelled, ours cancelled, over another sum": session(
        "cancelled", item("cancelled", amount=1)
    ),
}
CLOSED: Final = {
    "cancelled, nothing in it": session("cancelled"),
    "cancelled, its metadata isn't echoed": session("cancelled", metadata=None),
    "cancelled, another journal's was cancelled": session(
        "cancelled", item("cancelled", OTHER_JOURNAL)
    ),
    "cancelled, a payment that failed": session("cancelled", payments=[payment("failed")]),
}
MISMATCH: Final = {
    "another journal's, over another sum": session(
        "in_progress", item("pending", OTHER_JOURNAL, 1)
    ),
    "another order's, over another sum": session("in_progress", item("pending", OTHER_ORDER, 1)),
    "waits, an unmarked one and another key's": waits(
        item("pending", None), item("pending", OTHER_KEY, id="po_2")
    ),
    "waits, another key's": waits(item("pending", OTHER_KEY)),
    "waits, another journal's": waits(item("pending", OTHER_JOURNAL)),
    "waits, of no journal": waits(item("pending", NO_JOURNAL)),
    "waits, another order's": waits(item("pending", OTHER_ORDER)),
    "waits, ours and an unmarked one": waits(item("pending"), item("pending", None, id="po_2")),
    "waits, ours and another key's": waits(item("pending"), item("pending", OTHER_KEY)),
    "waits, ours and a payment": waits(item("pending"), payments=[payment("pending")]),
    "in progress, ours and an unmarked one": session(
        "in_progress", item("in_progress"), item("in_progress", None, id="po_2")
    ),
    "in progress, ours and a payment": session(
        "in_progress", item("in_progress"), payments=[payment("in_progress")]
    ),
    "created, another journal's": session("created", item("in_progress", OTHER_JOURNAL)),
    "waits, no amount shown": waits(item("pending", **BARE)),
    "accepted, over another sum": session("accepted", item("succeeded", amount=100_000)),
    "accepted, over another currency": session("accepted", item("succeeded", currency="eur")),
    "accepted, to another card": session("accepted", item("succeeded", last4="1111")),
    "accepted, no amount shown": session("accepted", item("succeeded", **BARE)),
    "accepted, two of ours succeeded": session(
        "accepted", item("succeeded"), item("succeeded", id="po_2")
    ),
    "accepted, nothing in it": session("accepted"),
    "accepted, unmarked": session("accepted", item("succeeded", None)),
    "accepted, marked as text": session("accepted", item("succeeded", "k-1")),
    "accepted, another key's": session("accepted", item("succeeded", OTHER_KEY)),
    "accepted, another journal's": session("accepted", item("succeeded", OTHER_JOURNAL)),
    "accepted, of no journal": session("accepted", item("succeeded", NO_JOURNAL)),
    "accepted, another order's": session("accepted", item("succeeded", OTHER_ORDER)),
    "accepted, a payment alone": session("accepted", payments=[payment()]),
    "accepted, a refunded payment alone": session("accepted", payments=[payment(refunds=[REFUND])]),
    # Without metadata a payout is never proved to be ours.
    "waits, unmarked": waits(item("pending", None)),
    "waits, marked as text": waits(item("pending", "k-1")),
    "waits, two that are unmarked": waits(item("pending", None), item("pending", None, id="po_2")),
    "waits, unmarked, and a payment": waits(item("pending", None), payments=[payment("pending")]),
    "cancelled, ours succeeded over another sum": session("cancelled", item("succeeded", amount=1)),
    "cancelled, an unmarked one failed": session("cancelled", item("failed", None)),
    # Money that moved in our session, and not as ordered.
    "cancelled, an unmarked one succeeded": session("cancelled", item("succeeded", None)),
    "cancelled, another order's succeeded": session("cancelled", item("succeeded", OTHER_ORDER)),
    "cancelled, ours failed, an unmarked one succeeded": session(
        "cancelled", item("failed"), item("succeeded", None, id="po_2")
    ),
    "cancelled, ours failed, another order's succeeded": session(
        "cancelled", item("failed"), item("succeeded", OTHER_ORDER, id="po_2")
    ),
    "accepted, ours cancelled, another journal's succeeded": session(
        "accepted", item("cancelled"), item("succeeded", OTHER_JOURNAL, id="po_2")
    ),
    "accepted, ours and an unmarked one succeeded": session(
        "accepted", item("succeeded"), item("succeeded", None, id="po_2")
    ),
    "cancelled, two of ours succeeded": session("cancelled", item("succeeded"), item("succeeded")),
    "in progress, over another sum": session("in_progress", item("in_progress", amount=1)),
    "in progress, over another currency": session("in_progress", item("pending", currency="eur")),
    "in progress, to another card": session("in_progress", item("pending", last4="1111")),
    "created, ours over another sum": session("created", item("pending", amount=1)),
    "in progress, succeeded over another sum": session("in_progress", item("succeeded", amount=1)),
    "in progress, the second of ours over another sum": session(
        "in_progress", item("pending"), item("pending", amount=1)
    ),
    "another key's session, created": session("created", metadata=SESSION_OF_OTHER_KEY),
    "another key's session, accepted": session(
        "accepted", item("succeeded"), metadata=SESSION_OF_OTHER_KEY
    ),
    "another journal's session, created": session("created", metadata=SESSION_OF_OTHER_JOURNAL),
    "another journal's session, waits": waits(item("pending"), metadata=SESSION_OF_OTHER_JOURNAL),
    "another journal's session, error": session("error", metadata=SESSION_OF_OTHER_JOURNAL),
    "another order's session, created": session("created", metadata=SESSION_OF_OTHER_ORDER),
    "another order's session, cancelled": session("cancelled", metadata=SESSION_OF_OTHER_ORDER),
}
UNSURE: Final = {
    "error, nothing in it": session("error"),
    "error, ours failed": session("error", item("failed", error=NO_ACCOUNT)),
    "error, ours succeeded": session("error", item("succeeded")),
    "error, ours cancelled": session("error", item("cancelled")),
    "error, ours over another sum": session("error", item("succeeded", amount=1)),
    "error, a confirm is awaited": session("error", item("pending"), next_action="confirm"),
    "cancelled, ours succeeded": session("cancelled", item("succeeded")),
    "cancelled, ours failed beside a payout that can't be read": session(
        "cancelled", item("failed"), UNREADABLE
    ),
    "cancelled, ours cancelled beside payments that can't be read": session(
        "cancelled", item("cancelled"), payments="none"
    ),
    "accepted, ours in progress": session("accepted", item("in_progress")),
    "accepted, ours pending": session("accepted", item("pending")),
    "accepted, ours of a status that no page lists": session("accepted", item("sent")),
    "cancelled, ours pending": session("cancelled", item("pending")),
    "cancelled, ours in progress": session("cancelled", item("in_progress")),
    "cancelled, one failed, one pending": session("cancelled", item("failed"), item("pending")),
    "cancelled, a payout that can't be read": session("cancelled", UNREADABLE),
    "cancelled, payments that can't be read": session("cancelled", payments="none"),
    "accepted, a payout that can't be read": session("accepted", UNREADABLE),
    "accepted, refunds that can't be read": session("accepted", payments=[payment(refunds="all")]),
}
TABLE: Final = (
    *((name, wire, SessionView.EMPTY) for name, wire in EMPTY.items()),
    *((name, wire, SessionView.UNDER_WAY) for name, wire in UNDER_WAY.items()),
    *((name, wire, SessionView.AWAITS_CONFIRM) for name, wire in AWAITS_CONFIRM.items()),
    *((name, wire, SessionView.NOT_OURS) for name, wire in NOT_OURS.items()),
    *((name, wire, SessionView.PAID) for name, wire in PAID.items()),
    *((name, wire, SessionView.DECLINED) for name, wire in DECLINED.items()),
    *((name, wire, SessionView.CANCELLED) for name, wire in CANCELLED.items()),
    *((name, wire, SessionView.CLOSED) for name, wire in CLOSED.items()),
    *((name, wire, SessionView.MISMATCH) for name, wire in MISMATCH.items()),
    *((name, wire, SessionView.UNSURE) for name, wire in UNSURE.items()),
)


# Without a confirm of ours no money has moved, so these are asked for again.
OTHER_SUM: Final = frozenset(
    {
        "in progress, over another sum",
        "in progress, over another currency",
        "in progress, to another card",
        "created, ours over another sum",
        "in progress, the second of ours over another sum",
    }
)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("name", "wire", "shown"), [pytest.param(*row, id=row[0]) for row in TABLE]
)
def test_what_a_session_shows_before_the_confirm(
    name: str, wire: Wire, shown: SessionView, version: ApiVersion
) -> None:
    """The same, but another sum of a payout that isn't over is no conflict yet."""
    read = codec(version).structure(in_names_of(version, wire), sg.Session)
    expected = SessionView.OTHER_SUM if name in OTHER_SUM else shown
    assert read_session(read, EXPECTED, is_confirmed=False) is expected


def test_rows_of_another_sum() -> None:
    """Each of them counts as a mismatch once the confirm was sent."""
    assert {name for name, _, shown in TABLE if shown is SessionView.MISMATCH} >= OTHER_SUM


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("wire", "shown"), [pytest.param(wire, shown, id=name) for name, wire, shown in TABLE]
)
def test_what_a_session_shows(wire: Wire, shown: SessionView, version: ApiVersion) -> None:
    """Each row has one meaning, in the names of both versions."""
    read = codec(version).structure(in_names_of(version, wire), sg.Session)
    assert read_session(read, EXPECTED) is shown


def test_table_is_complete() -> None:
    """No row is missing, and each view has rows of its own."""
    assert len(TABLE) == 144
    assert {shown for _, _, shown in TABLE} | {SessionView.OTHER_SUM} == set(SessionView)


UNKNOWN_WORDS: Final = "which isn't known here and so settles nothing"


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (
            session("dropped", item("rejected")),
            "session.status is 'dropped' and the status of payout po_1 is 'rejected', "
            + UNKNOWN_WORDS,
        ),
        (
            session("in_progress", item("pending"), next_action="wait"),
            f"session.next_action is 'wait', {UNKNOWN_WORDS}",
        ),
        (
            session("error", item("failed")),
            "session.status is 'error', which isn't final: ask the provider's support",
        ),
        (
            session("accepted", item("pending")),
            "session.status is 'accepted' and payout po_1 is 'pending', which doesn't go together",
        ),
        (session("accepted"), "session.status is 'accepted', and lists can't be read"),
    ],
)
def test_why_a_session_settles_nothing(wire: Wire, words: str) -> None:
    """Each part that isn't known is named, or what doesn't go together."""
    read = codec("v1").structure(in_names_of("v1", wire), sg.Session)
    assert unclear(read, SessionView.UNSURE) == words
    assert unclear(read, SessionView.PAID) is None


def test_a_session_under_way_is_clear() -> None:
    """Its words are known, and it isn't final yet."""
    wire = session("in_progress", item("in_progress"))
    read = codec("v1").structure(in_names_of("v1", wire), sg.Session)
    assert unclear(read, SessionView.UNDER_WAY) is None


# --- Parts of the order that aren't known -------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        (session("accepted", item("succeeded")), SessionView.PAID),
        (session("accepted", item("succeeded", last4="1111")), SessionView.PAID),
        (session("accepted", item("succeeded", amount=1)), SessionView.MISMATCH),
        (waits(item("pending", last4="1111")), SessionView.AWAITS_CONFIRM),
        (session("accepted", item("succeeded", OTHER_ORDER)), SessionView.MISMATCH),
    ],
)
def test_without_the_order_the_card_is_not_compared(wire: Wire, shown: SessionView) -> None:
    """The journal stores no card number, so a run without the order can't compare it."""
    read = codec("v1").structure(in_names_of("v1", wire), sg.Session)
    assert read_session(read, evolve(EXPECTED, last4=None)) is shown


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        (session("accepted", item("succeeded", OTHER_ORDER)), SessionView.PAID),
        (session("created", metadata=SESSION_OF_OTHER_ORDER), SessionView.EMPTY),
        (session("accepted", item("succeeded", OTHER_JOURNAL)), SessionView.MISMATCH),
        (session("created", metadata=SESSION_OF_OTHER_JOURNAL), SessionView.MISMATCH),
    ],
)
def test_an_adopted_payout_has_no_order_to_compare(wire: Wire, shown: SessionView) -> None:
    """It was adopted from a report; key and journal are still compared."""
    read = codec("v1").structure(in_names_of("v1", wire), sg.Session)
    assert read_session(read, evolve(EXPECTED, order=None)) is shown


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        (session("accepted", item("succeeded")), SessionView.PAID),
        (session("accepted", item("succeeded", amount=1)), SessionView.PAID),
        (session("accepted", item("succeeded", last4="1111")), SessionView.MISMATCH),
        (session("accepted", item("succeeded", OTHER_JOURNAL)), SessionView.MISMATCH),
        (session("accepted", item("succeeded"), item("succeeded")), SessionView.MISMATCH),
        (session("in_progress", item("in_progress", amount=1)), SessionView.UNDER_WAY),
        (session("cancelled", item("failed", amount=1)), SessionView.DECLINED),
        # No payout is confirmed whose amount can't be compared.
        (waits(item("pending")), SessionView.NOT_OURS),
    ],
)
def test_a_payout_that_was_adopted_without_a_sum(wire: Wire, shown: SessionView) -> None:
    """The report had no amounts, so there is no amount to compare with."""
    read = codec("v1").structure(in_names_of("v1", wire), sg.Session)
    assert read_session(read, evolve(EXPECTED, amount=None)) is shown


# --- The effect of a failed call ------------------------------------------------------------------


def failures() -> Iterator[tuple[sg.CallFailed, ReplyKind]]:
    """Yield each kind of failure with the expected effect of the call."""
    start = "session/start/payout"
    yield sg.NotSent(start), ReplyKind.NOT_SENT
    yield sg.Refused(start, code="account_not_found", http_status=400), ReplyKind.REFUSED
    yield sg.Refused(start, http_status=404), ReplyKind.REFUSED
    yield sg.Refused(start, code="account_not_found", http_status=200), ReplyKind.REFUSED
    yield sg.Refused(start, http_status=429), ReplyKind.NOT_SENT
    yield sg.OutcomeUnknown(start, http_status=502), ReplyKind.LOST
    yield sg.OutcomeUnknown(start, code_class=CodeClass.TRANSIENT), ReplyKind.LOST
    yield sg.OutcomeUnknown(start, code_class=CodeClass.UNRECOGNISED), ReplyKind.LOST
    yield (
        sg.OutcomeUnknown(start, code_class=CodeClass.DUPLICATE, http_status=400),
        ReplyKind.DUPLICATE,
    )


@pytest.mark.parametrize(("error", "came"), list(failures()))
def test_effect_of_a_failed_call(error: sg.CallFailed, came: ReplyKind) -> None:
    """A refusal had no effect; a call that may have been processed is lost."""
    assert read_failure(error) is came


@pytest.mark.parametrize(
    ("shown", "proof"),
    [
        (Payout(id="po_1", status="succeeded"), PaymentProof()),
        (
            Payout(
                id="po_1",
                status="succeeded",
                finished_at=datetime(2026, 3, 2, 1, 5, 6, 700, UTC),
                amounts=Amounts(fee=Fees(merchant_fee=Amount(125, "EUR"))),
                transaction_info=TransactionInfo(rrn="007", arn="1"),
            ),
            PaymentProof(
                fee=Amount(125, "eur"),
                reference="007",
                finished_at=datetime(2026, 3, 2, 1, 5, 6, 700, UTC),
            ),
        ),
        (
            Payout(
                id="po_1",
                status="succeeded",
                amounts=Amounts(gross=Amount(1, "usd")),
                transaction_info=TransactionInfo(fp_message_id="A1", arn=None),
            ),
            PaymentProof(reference="A1"),
        ),
    ],
)
def test_what_is_kept_of_a_paid_payout(shown, proof):
    """The fee, the reference and the time, as far as they are shown; read again as they were."""
    declined = Payout(id="po_0", status="failed", transaction_info=TransactionInfo(rrn="1"))
    found = PaymentProof.of([declined, shown])
    assert found == proof
    assert PaymentProof.of([declined]) == PaymentProof()
    assert PaymentProof.read(found.stored()) == proof
    assert (found.stored() is None) == (proof == PaymentProof())


@pytest.mark.parametrize(
    "stored", [b"", b"[]", b"{", b'{"fee":[1]}', b'{"finished_at":"x"}', b"\xff"]
)
def test_what_cannot_be_read_is_absent(stored):
    """A report shows nothing then, and doesn't fail."""
    assert PaymentProof.read(stored) == PaymentProof()
