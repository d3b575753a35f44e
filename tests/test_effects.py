"""What a session shows of a call whose answer was lost: the table, row by row."""

from typing import Any, Final

import pytest

import smartglocal_async as sg
from smartglocal_async import effects
from smartglocal_async.codec import codec
from smartglocal_async.effects import Effect
from smartglocal_async.idempotency import Mark

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
    """Read a session from its wire form."""
    return codec("v1").structure({"id": "ps_1", "status": status, **fields}, sg.Session)


def payouts(*items: tuple[str, Any]) -> dict[str, Any]:
    """Give payouts by status and metadata."""
    return {"payments": [_item(f"po_{n}", *item) for n, item in enumerate(items)]}


def payments(*items: tuple[str, Any], amount: int = 100, **more: Any) -> dict[str, Any]:
    """Give payments by status and metadata."""
    usd = {"amount": amount, "currency": "usd"}
    shown = [
        {**_item(f"pm_{n}", *item), "amount_details": usd, **more} for n, item in enumerate(items)
    ]
    return {"acquiring_payments": shown}


def refunds(*metadata: Any) -> dict[str, Any]:
    """Give refunds by their metadata."""
    made = [_item(f"rf_{n}", "in_progress", said) for n, said in enumerate(metadata)]
    return payments(("succeeded", None), refunds=made)


def _item(name: str, status: str, metadata: Any) -> dict[str, Any]:
    return {"id": name, "status": status, "metadata": metadata}


CASES: Final = [
    # A start is known by the key in what it started, and by nothing else.
    (effects.of_start_payout, START_PAYOUT, session("created"), Effect.UNCLEAR),
    (
        effects.of_start_payout,
        START_PAYOUT,
        session(**payouts(("in_progress", OURS))),
        Effect.TAKEN,
    ),
    (effects.of_start_payout, START_PAYOUT, session(**payouts(("failed", OURS))), Effect.TAKEN),
    (
        effects.of_start_payout,
        START_PAYOUT,
        session(**payouts(("succeeded", THEIRS))),
        Effect.UNCLEAR,
    ),
    (effects.of_start_payout, START_PAYOUT, session(**payouts(("pending", None))), Effect.UNCLEAR),
    (
        effects.of_start_payout,
        START_PAYOUT,
        session(**payouts(("succeeded", THEIRS), ("pending", OURS))),
        Effect.TAKEN,
    ),
    (effects.of_start_payout, START_PAYOUT, session(**payments(("pending", OURS))), Effect.UNCLEAR),
    (effects.of_start_payment, START_PAYMENT, session("created"), Effect.UNCLEAR),
    (effects.of_start_payment, START_PAYMENT, session(**payments(("pending", OURS))), Effect.TAKEN),
    (
        effects.of_start_payment,
        START_PAYMENT,
        session(**payments(("pending", "key-1"))),
        Effect.TAKEN,
    ),
    (
        effects.of_start_payment,
        START_PAYMENT,
        session(**payouts(("pending", OURS))),
        Effect.UNCLEAR,
    ),
    # A confirm acts once, and the session says whether it is awaited still.
    (effects.of_confirm, REF, session(next_action="confirm"), Effect.REPEATABLE),
    (
        effects.of_confirm,
        REF,
        session(next_action="confirm", **payouts(("pending", None))),
        Effect.REPEATABLE,
    ),
    # Confirmed, or about to be cancelled, or waiting for the payer.
    (effects.of_confirm, REF, session(**payouts(("pending", None))), Effect.UNCLEAR),
    (
        effects.of_confirm,
        REF,
        session(next_action="capture", **payments(("pending", None))),
        Effect.TAKEN,
    ),
    (effects.of_confirm, REF, session("accepted"), Effect.TAKEN),
    (effects.of_confirm, REF, session(**payouts(("in_progress", None))), Effect.UNCLEAR),
    (effects.of_confirm, REF, session("created"), Effect.UNCLEAR),
    (effects.of_confirm, REF, session("cancelled"), Effect.UNCLEAR),
    (effects.of_confirm, REF, session("error", **payouts(("failed", None))), Effect.UNCLEAR),
    # A cancel can be given as often as one likes.
    (effects.of_cancel, REF, session("cancelled"), Effect.TAKEN),
    (effects.of_cancel, REF, session("created"), Effect.REPEATABLE),
    (effects.of_cancel, REF, session(next_action="confirm"), Effect.REPEATABLE),
    (effects.of_cancel, REF, session("accepted"), Effect.UNCLEAR),
    # A capture of all can't take more than is held; one of a part may be followed by another.
    (effects.of_capture, ALL, session("accepted", **payments(("succeeded", None))), Effect.TAKEN),
    (effects.of_capture, ALL, session(**payments(("pending", None))), Effect.REPEATABLE),
    (effects.of_capture, ALL, session("cancelled", **payments(("failed", None))), Effect.UNCLEAR),
    (effects.of_capture, PART, session(**payments(("pending", None))), Effect.UNCLEAR),
    (effects.of_capture, PART, session(**payments(("succeeded", None))), Effect.UNCLEAR),
    (effects.of_capture, PART, session(**payments(("succeeded", None), amount=60)), Effect.TAKEN),
    (
        effects.of_capture,
        ALL,
        session(**payments(("succeeded", None), ("pending", None))),
        Effect.UNCLEAR,
    ),
    (
        effects.of_capture,
        ALL,
        session(next_action="capture", **payments(("succeeded", None))),
        Effect.UNCLEAR,
    ),
    # A refund is known by its key; another one of a part might give back twice.
    (effects.of_refund, REFUND, session("accepted", **refunds(OURS)), Effect.TAKEN),
    (effects.of_refund, REFUND_PART, session("accepted", **refunds(THEIRS, OURS)), Effect.TAKEN),
    (effects.of_refund, REFUND, session("accepted", **refunds()), Effect.REPEATABLE),
    (effects.of_refund, REFUND_PART, session("accepted", **refunds()), Effect.UNCLEAR),
    (effects.of_refund, REFUND, session("accepted", **refunds(THEIRS)), Effect.UNCLEAR),
    (effects.of_refund, REFUND, session("accepted", **refunds(None)), Effect.UNCLEAR),
    (effects.of_refund, REFUND, session(**payments(("pending", None))), Effect.UNCLEAR),
    # What can't be read may be the very refund, or another payment.
    (
        effects.of_refund,
        REFUND,
        session("accepted", **payments(("succeeded", None), refunds=[{"status": None}])),
        Effect.UNCLEAR,
    ),
    (
        effects.of_refund,
        REFUND,
        session("accepted", payment_list="?", **payments(("succeeded", None))),
        Effect.UNCLEAR,
    ),
    (
        effects.of_capture,
        ALL,
        session(**payments(("pending", None), refunds=["?"])),
        Effect.UNCLEAR,
    ),
]


@pytest.mark.parametrize(("read", "request_", "seen", "expected"), CASES)
def test_the_table(read, request_, seen, expected) -> None:
    """Taken, safe to repeat, or unclear: whatever can't be told is unclear."""
    assert read(seen, request_, MARK) is expected


@pytest.mark.parametrize(("read", "request_", "seen", "_"), CASES)
def test_without_a_mark_no_start_and_no_refund_is_known(read, request_, seen, _) -> None:
    """Metadata that is a constant of the caller's tells no call from another."""
    if read in {effects.of_start_payout, effects.of_start_payment}:
        assert read(seen, request_, None) is Effect.UNCLEAR
    if read is effects.of_refund:
        assert read(seen, request_, None) is not Effect.TAKEN


@pytest.mark.parametrize("operation", sg.OPERATIONS, ids=lambda row: row.path)
def test_only_what_names_a_session_can_be_asked_about(operation) -> None:
    """Every call that moves money and has a session id has a way out of a lost answer."""
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
