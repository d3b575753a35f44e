"""Payouts whose answers show another amount or currency: only the right amount counts as paid."""

from typing import Any, Final

import pytest
from attrs import frozen
from fault_matrix import PATIENCE, nap, rules_like
from paying import order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind
from smartglocal_async.payouts.protocol import PayoutCall

pytestmark = pytest.mark.proof

HALTED: Final = "halted"
RIGHT: Final = (10_000, "usd")


@frozen
class Situation:
    """A call whose answer shows another amount, and the results of two payouts, one by one."""

    mode: sg.Mode
    call: PayoutCall
    first: str
    second: str
    moved: bool
    """Whether the other amount is also what is paid."""
    pays: bool
    """Whether money moves for the first payout. For the second it moves only if it succeeds."""


ROWS: Final = (
    # Before the confirm, one wrong answer isn't believed: the status shows the ordered amount.
    Situation(sg.Mode.MANUAL, PayoutCall.START, "succeeded", "succeeded", moved=False, pays=True),
    # A payout with a wrong amount is never confirmed.
    Situation(sg.Mode.MANUAL, PayoutCall.START, "unknown", HALTED, moved=True, pays=False),
    Situation(sg.Mode.MANUAL, PayoutCall.STATUS, "unknown", HALTED, moved=False, pays=False),
    # A later status shows the ordered amount, paid.
    Situation(sg.Mode.MANUAL, PayoutCall.CONFIRM, "succeeded", HALTED, moved=False, pays=True),
    Situation(sg.Mode.MANUAL, PayoutCall.CONFIRM, HALTED, HALTED, moved=True, pays=True),
    Situation(sg.Mode.AUTOMATIC, PayoutCall.START, "succeeded", HALTED, moved=False, pays=True),
    Situation(sg.Mode.AUTOMATIC, PayoutCall.START, HALTED, HALTED, moved=True, pays=True),
    Situation(sg.Mode.AUTOMATIC, PayoutCall.STATUS, HALTED, HALTED, moved=False, pays=True),
    Situation(sg.Mode.ONE_STEP, PayoutCall.INIT, "succeeded", HALTED, moved=False, pays=True),
    Situation(sg.Mode.ONE_STEP, PayoutCall.INIT, HALTED, HALTED, moved=True, pays=True),
)
WRONG_AMOUNTS: Final[tuple[tuple[dict[str, Any], tuple[int, str]], ...]] = (
    ({"factor": 10}, (100_000, "usd")),
    ({"factor": 1, "currency": "gbp"}, (10_000, "gbp")),
    ({"factor": 2, "currency": "gbp"}, (20_000, "gbp")),
)
CELLS: Final = [
    pytest.param(
        row,
        options,
        other,
        id=f"{row.mode.value} {row.call.name} {row.moved} {other[0]} {other[1]}",
    )
    for row in ROWS
    for options, other in WRONG_AMOUNTS
]


async def pay(payouts: sg.Payouts, key: str) -> str:
    """Pay an order; return its state, or `HALTED`."""
    try:
        return (await payouts.pay(order(key), deadline=20)).state.value
    except sg.PayoutConflict:
        return HALTED


@pytest.mark.parametrize(("row", "options", "other"), CELLS)
async def test_wrong_amount(row, options, other, key, tmp_path) -> None:
    """A payout succeeds only if the ordered amount moved; otherwise payouts are halted."""
    fault = Fault(FaultKind.AMOUNT, rate=1, operation=row.call.value, moved=row.moved, **options)
    settings = sg.Settings(retry=PATIENCE, timing=sg.Timing(sleep=nap))
    one_step = row.mode is sg.Mode.ONE_STEP
    journal = sg.SQLiteJournal(tmp_path / "payouts.db")
    async with (
        emulator.run(
            public_key=key.public,
            faults=emulator.FaultScript([fault]),
            rules=rules_like(row.mode),
        ) as provider,
        sg.SmartGlocal(provider.project, key, provider.url, settings=settings) as api,
        sg.Payouts(api, journal, mode=row.mode, accept_unknown=one_step) as payouts,
    ):
        results = [await pay(payouts, name) for name in ("k-1", "k-2")]
        moved = [
            [(each.amount, each.currency) for each in provider.order(name).movements]
            for name in ("k-1", "k-2")
        ]

    paid = other if row.moved else RIGHT
    assert results == [row.first, row.second]
    assert moved == [[paid] * row.pays, [paid] * (row.second == "succeeded")]
