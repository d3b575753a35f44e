"""What a session shows about a call whose answer was lost: the table, row by row."""

from typing import Any, Final

import pytest

import smartglocal_async as sg
from smartglocal_async import recovery
from smartglocal_async.codec import codec
from smartglocal_async.idempotency import Mark
from smartglocal_async.recovery import Effect

MARK: Final = Mark("key-1", "idempotency_key")
OURS: Final = {"idempotency_key": "key-1", "order": 7}
THEIRS: Final = {"idempotency_key": "key-2"}
REF: Final = sg.SessionRef("ps_1")
START_PAYOUT: Final = sg.StartPayout(session_id="ps_1")
START_PAYMENT: Final = sg.StartPayment(session_id="ps_1")
ALL: Final = sg.CapturePayment(session_id="ps_1")
PART: Final = sg.CapturePayment(session_id="ps_1", amount_details=sg.AmountDetails(60, "usd"))
REFUND: Final = sg.RefundPayment(session_id="ps_1")
REFUND_PART: Final = sg.RefundPayment(session_id="ps_1", amount_details=sg.AmountDetails(60, "usd"))


def session(status: str = "in_progress", **fields: Any) -> sg.Session:
    """Return a session from its JSON form."""
    return codec("v1").structure({"id": "ps_1", "status": status, **fields}, sg.Session)


def payouts(*items: tuple[str, Any]) -> dict[str, Any]:
    """Return payouts by status and metadata."""
    return {"payments": [_item(f"po_{n}", *item) for n, item in enumerate(items)]}


def payments(*items: tuple[str, Any], amount: int = 100, **more: Any) -> dict[str, Any]:
    """Return payments by status and metadata."""
    usd = {"amount": amount, "currency": "usd"}
    shown = [
        {**_item(f"pm_{n}", *item), "amount_details": usd, **more} for n, item in enumerate(items)
    ]
    return {"acquiring_payments": shown}


def refunds(*metadata: Any) -> dict[str, Any]:
    """Return refunds by their metadata."""
    made = [_item(f"rf_{n}", "in_progress", said) for n, said in enumerate(metadata)]
    return payments(("succeeded", None), refunds=made)


def _item(name: str, status: str, metadata: Any) -> dict[str, Any]:
    return {"id": name, "status": status, "metadata": metadata}


CASES: Final = [
    # A start is recognised only by the key in what it started.
    (recovery.of_start_payout, START_PAYOUT, session("created"), Effect.UNCLEAR),
    (
        recovery.of_start_payout,
        START_PAYOUT,
        session(**payouts(("in_progress", OURS))),
        Effect.TAKEN,
    ),
    (recovery.of_start_payout, START_PAYOUT, session(**payouts(("failed", OURS))), Effect.TAKEN),
    (
        recovery.of_start_payout,
        START_PAYOUT,
        session(**payouts(("succeeded", THEIRS))),
        Effect.UNCLEAR,
    ),
    (recovery.of_start_payout, START_PAYOUT, session(**payouts(("pending", None))), Effect.UNCLEAR),
    (
        recovery.of_start_payout,
        START_PAYOUT,
        session(**payouts(("succeeded", THEIRS), ("pending", OURS))),
        Effect.TAKEN,
    ),
    (
        recovery.of_start_payout,
        START_PAYOUT,
        session(**payments(("pending", OURS))),
        Effect.UNCLEAR,
    ),
    (recovery.of_start_payment, START_PAYMENT, session("created"), Effect.UNCLEAR),
    (
        recovery.of_start_payment,
        START_PAYMENT,
        session(**payments(("pending", OURS))),
        Effect.TAKEN,
    ),
    (
        recovery.of_start_payment,
        START_PAYMENT,
        session(**payments(("pending", "key-1"))),
        Effect.TAKEN,
    ),
    (
        recovery.of_start_payment,
        START_PAYMENT,
        session(**payouts(("pending", OURS))),
        Effect.UNCLEAR,
    ),
    # A confirm acts once, and the session shows whether it still waits for it.
    (recovery.of_confirm, REF, session(next_action="confirm"), Effect.REPEATABLE),
    (
        recovery.of_confirm,
        REF,
        session(next_action="confirm", **payouts(("pending", None))),
        Effect.REPEATABLE,
    ),
    # Confirmed, about to be cancelled, or waiting for the payer.
    (recovery.of_confirm, REF, session(**payouts(("pending", None))), Effect.UNCLEAR),
    (
        recovery.of_confirm,
        REF,
        session(next_action="capture", **payments(("pending", None))),
        Effect.TAKEN,
    ),
    (recovery.of_confirm, REF, session("accepted"), Effect.TAKEN),
    (recovery.of_confirm, REF, session(**payouts(("in_progress", None))), Effect.UNCLEAR),
    (recovery.of_confirm, REF, session("created"), Effect.UNCLEAR),
    (recovery.of_confirm, REF, session("cancelled"), Effect.UNCLEAR),
    (recovery.of_confirm, REF, session("error", **payouts(("failed", None))), Effect.UNCLEAR),
    # A cancel can be repeated.
    (recovery.of_cancel, REF, session("cancelled"), Effect.TAKEN),
    (recovery.of_cancel, REF, session("created"), Effect.REPEATABLE),
    (recovery.of_cancel, REF, session(next_action="confirm"), Effect.REPEATABLE),
    (recovery.of_cancel, REF, session("accepted"), Effect.UNCLEAR),
    # A full capture can't take more than is held; a partial one may be followed by another.
    (recovery.of_capture, ALL, session("accepted", **payments(("succeeded", None))), Effect.TAKEN),
    (recovery.of_capture, ALL, session(**payments(("pending", None))), Effect.REPEATABLE),
    (recovery.of_capture, ALL, session("cancelled", **payments(("failed", None))), Effect.UNCLEAR),
    (recovery.of_capture, PART, session(**payments(("pending", None))), Effect.UNCLEAR),
    (recovery.of_capture, PART, session(**payments(("succeeded", None))), Effect.UNCLEAR),
    (recovery.of_capture, PART, session(**payments(("succeeded", None), amount=60)), Effect.TAKEN),
    (
        recovery.of_capture,
        ALL,
        session(**payments(("succeeded", None), ("pending", None))),
        Effect.UNCLEAR,
    ),
    (
        recovery.of_capture,
        ALL,
        session(next_action="capture", **payments(("succeeded", None))),
        Effect.UNCLEAR,
    ),
    # A refund is recognised by its key; a second partial one might refund twice.
    (recovery.of_refund, REFUND, session("accepted", **refunds(OURS)), Effect.TAKEN),
    (recovery.of_refund, REFUND_PART, session("accepted", **refunds(THEIRS, OURS)), Effect.TAKEN),
    (recovery.of_refund, REFUND, session("accepted", **refunds()), Effect.REPEATABLE),
    (recovery.of_refund, REFUND_PART, session("accepted", **refunds()), Effect.UNCLEAR),
    (recovery.of_refund, REFUND, session("accepted", **refunds(THEIRS)), Effect.UNCLEAR),
    (recovery.of_refund, REFUND, session("accepted", **refunds(None)), Effect.UNCLEAR),
    (recovery.of_refund, REFUND, session(**payments(("pending", None))), Effect.UNCLEAR),
    # An unreadable item may be that refund, or another payment.
    (
        recovery.of_refund,
        REFUND,
        session("accepted", **payments(("succeeded", None), refunds=[{"status": None}])),
        Effect.UNCLEAR,
    ),
    (
        recovery.of_refund,
        REFUND,
        session("accepted", payment_list="?", **payments(("succeeded", None))),
        Effect.UNCLEAR,
    ),
    (
        recovery.of_capture,
        ALL,
        session(**payments(("pending", None), refunds=["?"])),
        Effect.UNCLEAR,
    ),
]


@pytest.mark.parametrize(("read", "request_", "seen", "expected"), CASES)
def test_the_table(read, request_, seen, expected) -> None:
    """Carried out, safe to repeat, or unclear; anything uncertain is unclear."""
    assert read(seen, request_, MARK) is expected


USD: Final = sg.AmountDetails(100, "usd")
SUMS: Final = [
    (sg.AmountDetails(100, "usd"), Effect.TAKEN),
    (sg.AmountDetails(101, "usd"), Effect.UNCLEAR),
    (sg.AmountDetails(100, "eur"), Effect.UNCLEAR),
    (None, Effect.TAKEN),
]
"""What an item with the key shows, and what follows if 100 usd were requested."""


@pytest.mark.parametrize(("shown", "expected"), SUMS)
def test_the_sum_is_compared_where_it_is_shown(shown, expected) -> None:
    """An item with another amount or currency isn't the call's, though it has its key."""
    payout = sg.Payout(id="po_1", status="pending", metadata=OURS, amount_details=shown)
    payment = sg.Payment(id="pm_1", status="pending", metadata=OURS, amount_details=shown)
    refund = sg.Refund(id="rf_1", status="accepted", metadata=OURS, amount_details=shown)
    refunded = sg.Payment(id="pm_1", status="succeeded", refunds=(refund,))
    of_payout = sg.Session(id="ps_1", status="in_progress", payout_list=(payout,))
    of_payment = sg.Session(id="ps_1", status="in_progress", payment_list=(payment,))
    of_refund = sg.Session(id="ps_1", status="accepted", payment_list=(refunded,))
    start_payout = sg.StartPayout(session_id="ps_1", amount_details=USD)
    start_payment = sg.StartPayment(session_id="ps_1", amount_details=USD)
    refunding = sg.RefundPayment(session_id="ps_1", amount_details=USD)
    assert recovery.of_start_payout(of_payout, start_payout, MARK) is expected
    assert recovery.of_start_payment(of_payment, start_payment, MARK) is expected
    assert recovery.of_refund(of_refund, refunding, MARK) is expected
    assert recovery.of_start_payout(of_payout, START_PAYOUT, MARK) is Effect.TAKEN


@pytest.mark.parametrize(("read", "request_", "seen", "_"), CASES)
def test_without_a_mark_no_start_and_no_refund_is_known(read, request_, seen, _) -> None:
    """Constant metadata doesn't distinguish calls."""
    if read in {recovery.of_start_payout, recovery.of_start_payment}:
        assert read(seen, request_, None) is Effect.UNCLEAR
    if read is recovery.of_refund:
        assert read(seen, request_, None) is not Effect.TAKEN


@pytest.mark.parametrize("operation", sg.operations.OPERATIONS, ids=lambda row: row.path)
def test_only_what_names_a_session_can_be_asked_about(operation) -> None:
    """Every call that moves money and has a session id has a way to recover a lost answer."""
    names = {field.name for field in operation.request.__attrs_attrs__}
    can_ask = operation.repeat is sg.Repeat.MOVES_MONEY and "session_id" in names
    assert (operation.effect is not None) == can_ask


@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        (OURS, True),
        ({"idempotency_key": "key-1"}, True),
        (THEIRS, False),
        ({}, False),
        ("key-1", True),
        ("key-2", False),
        (None, False),
        (["key-1"], False),
        (True, False),
    ],
)
def test_a_mark(metadata, ours) -> None:
    """The key in its field, or the metadata that is the key."""
    assert MARK.is_on(metadata) is ours
