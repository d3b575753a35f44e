"""The emulator's accounts: in any order of calls, no money is created or lost."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from emulated import NOW, ask, pay, payout, show
from hypothesis import given, settings
from hypothesis import strategies as st

from smartglocal_async.emulator import (
    OUTCOMES,
    Capture,
    Confirmation,
    DeclinedSession,
    Duplicates,
    Fate,
    KeyScope,
    Permission,
    Reaction,
    Rules,
)
from smartglocal_async.emulator.bank.bank import EmulatedBank
from smartglocal_async.emulator.bank.messages import ApiCall

AMOUNTS: Final = (1, 50, 200, *(int(row.value) for row in OUTCOMES if row.trigger == "amount"))
CARDS: Final = ("4242424242424242", *(row.value for row in OUTCOMES if row.trigger == "card"))
RULES: Final = st.builds(
    Rules,
    duplicates=st.sampled_from(Duplicates),
    idempotency_header=st.sampled_from(Reaction),
    key_scope=st.sampled_from(KeyScope),
    confirmation=st.sampled_from(Confirmation),
    second_start=st.sampled_from(Permission),
    second_confirm=st.sampled_from(Reaction),
    cancel_created=st.sampled_from(Permission),
    late_cancel=st.sampled_from(Reaction),
    late_start_revives=st.booleans(),
    late_confirm_revives=st.booleans(),
    capture=st.sampled_from(Capture),
    hold_is_named=st.booleans(),
    challenge_first=st.booleans(),
    partial_captures=st.booleans(),
    partial_refunds=st.booleans(),
    declined_session=st.sampled_from(DeclinedSession),
    processing_seconds=st.sampled_from([0.0, 30.0]),
    status_lag_seconds=st.sampled_from([0.0, 60.0]),
    wallets=st.sampled_from([{}, {"usd": 300}]),
)
PLAIN: Final = ("session/create", "session/confirm", "session/cancel", "session/status")
CALLS: Final = st.fixed_dictionaries(
    {
        "call": st.sampled_from(
            (
                *PLAIN,
                *PLAIN,
                *("session/start/payout", "session/start/payment", "session/init/payout"),
                *("session/init/payment", "session/capture", "session/refund"),
                *("act", "refuse", "charge back", "later"),
            )
        ),
        "session": st.integers(1, 3),
        "amount": st.sampled_from(AMOUNTS),
        "card": st.sampled_from(CARDS),
        "part": st.booleans(),
        "key": st.sampled_from([None, "a", "b"]),
        "version": st.sampled_from([1, 2]),
        "seconds": st.sampled_from([0, 10, 3600, 86_400 * 6]),
    }
)


def request_of(call: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a call."""
    request: dict[str, Any] = {}
    name = call["call"]
    if name.endswith("/payout"):
        request |= payout(call["amount"], number=call["card"])
        if call["version"] == 2:
            request["payout_details"] = request.pop("payment_method")
    elif name.endswith("/payment"):
        request |= pay(call["amount"], number=call["card"])
    elif call["part"] and name in {"session/capture", "session/refund"}:
        request["amount_details"] = {"amount": call["amount"], "currency": "USD"}
    if "init" not in name and name != "session/create":
        request["session_id"] = f"ps_{call['session']}"
    return request


def play(bank: EmulatedBank, call: dict[str, Any], now: datetime) -> None:
    """Make one call, or do something without a call."""
    session_id = f"ps_{call['session']}"
    match call["call"]:
        case "act" | "refuse" as choice:
            _ = bank.act(session_id, now, succeed=choice == "act")
        case "charge back":
            _ = bank.charge_back(session_id, now)
        case "later":
            late = request_of({**call, "call": "session/confirm"})
            bank.answer_later(
                ApiCall(operation="session/confirm", params=late), call["seconds"], now
            )
        case operation:
            _ = ask(
                bank,
                operation,
                request_of(call),
                now=now,
                version=call["version"],
                key=call["key"],
            )


def check(bank: EmulatedBank) -> None:
    """Check that all accounts add up to zero, and none but the outside is negative."""
    for accounts in bank.report().balances.values():
        assert sum(accounts.values()) == 0
        inside = {name: amount for name, amount in accounts.items() if amount < 0}
        assert inside.keys() <= {"funding", "payers"}


def check_sessions(bank: EmulatedBank, now: datetime) -> None:
    """Check that sessions agree with the movements, and nothing moved twice."""
    moved: Counter[str] = Counter()
    refunded: Counter[str] = Counter()
    for key in ("a", "b"):
        for movement in bank.order(key).movements:
            if movement.kind in {"payout", "capture"}:
                moved[movement.item_id] += 1
            else:
                refunded[movement.item_id] += movement.amount
    assert set(moved.values()) <= {1}
    for session_id in bank.session_ids:
        session = show(bank, session_id, now=now)
        for item in session.get("acquiring_payments", ()):
            given_back = sum(
                refund["amount_details"]["amount"]
                for refund in item.get("refunds", ())
                if refund["status"] != "declined"
            )
            assert given_back <= item["amount_details"]["amount"]
            assert refunded[item["id"]] <= given_back or bank.rules.status_lag_seconds


@settings(max_examples=150, deadline=None)
@given(rules=RULES, calls=st.lists(CALLS, max_size=40))
def test_no_order_of_calls_makes_or_loses_money(rules: Rules, calls: list[dict[str, Any]]) -> None:
    """Sums stay zero, balances positive, items move once, refunds stay below captures."""
    bank, now = EmulatedBank(rules), NOW
    for call in calls:
        now += timedelta(seconds=call["seconds"])
        play(bank, call, now)
        check(bank)
    now += timedelta(days=30)
    bank.advance(now)
    check(bank)
    check_sessions(bank, now)


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(CALLS, max_size=40))
def test_with_manual_confirmation_a_session_moves_once(calls: list[dict[str, Any]]) -> None:
    """However often it is started and confirmed, one session moves money once by default."""
    bank, now = EmulatedBank(), NOW
    for call in calls:
        now += timedelta(seconds=call["seconds"])
        play(bank, call, now)
    bank.advance(now + timedelta(days=1))

    orders = [bank.order(key).movements for key in ("a", "b")]
    moved = Counter(
        movement.session_id
        for movements in orders
        for movement in movements
        if movement.kind in {"payout", "capture"}
    )
    assert set(moved.values()) <= {1}


def test_fates_are_all_in_the_table() -> None:
    """The property above meets every outcome."""
    assert {row.fate for row in OUTCOMES} | {Fate.SUCCEED} == set(Fate)
