"""Every call of a payout under every fault, for providers of every kind: paid once at most."""

import asyncio
from typing import Final

import pytest
from attrs import frozen

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind, Permission, Reaction

pytestmark = pytest.mark.thorough

START: Final = "session/start/payout"
CALLS: Final = ("session/create", START, "session/status", "session/confirm", "session/cancel")
RECIPIENT: Final = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))
PATIENCE: Final = sg.RetryPolicy(
    first_wait_seconds=0.001,
    throttled_first_wait_seconds=0.001,
    attempt_timeout_seconds=1,
    budget_tokens=1_000_000,
)


async def nap(seconds: float) -> None:
    """Sleep, but hardly."""
    await asyncio.sleep(min(seconds, 0.02))


@frozen
class Cell:
    """One call that one fault meets."""

    call: str
    kind: FaultKind
    processed: bool = False

    @property
    def key(self) -> str:
        """The payout that is met."""
        return f"{self.call.replace('/', '-')}-{self.kind}{'-processed' * self.processed}"

    def faults(self) -> list[Fault]:
        """Give what goes wrong: a cancel is only sent where a start was lost."""
        # A session goes by the key of its create: that of the first one, under the first lease.
        seconds = 0.0 if self.kind is FaultKind.THROTTLE else 0.01
        name = self.key if self.call == START else f"{self.key}:1.1"
        met = Fault(
            self.kind,
            nth=(1,),
            key=name,
            operation=self.call,
            seconds=seconds,
            processed=self.processed,
        )
        lost = Fault(FaultKind.BEFORE, nth=(1,), key=self.key, operation=START)
        return [met, lost] if self.call == "session/cancel" else [met]


CELLS: Final = [
    *(Cell(call, kind) for call in CALLS for kind in FaultKind),
    *(Cell(call, FaultKind.SERVER_ERROR, processed=True) for call in CALLS),
]
SCRIPT: Final = emulator.FaultScript([fault for cell in CELLS for fault in cell.faults()])


def order(key: str) -> sg.PayoutOrder:
    """Give a payout of 100 USD."""
    return sg.PayoutOrder(
        key=key,
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(10_000, "usd"),
        participant_details=RECIPIENT,
    )


async def pay(payouts: sg.Payouts, cell: Cell) -> sg.PayoutOutcome:
    """Pay one, and once more where something before the provider said no."""
    try:
        return await payouts.pay(order(cell.key), deadline=15)
    except sg.Refused as refused:
        assert (cell.kind, refused.code) == (FaultKind.REDIRECT, None)  # noqa: PT017
    return await payouts.pay(order(cell.key), deadline=15)


async def pay_all(provider, key, mode: sg.Mode) -> dict[str, sg.PayoutOutcome]:
    """Pay one payout for each cell, all at the same time."""
    settings = sg.Settings(retry=PATIENCE, timing=sg.Timing(sleep=nap))
    journal = sg.MemoryJournal(unsafe=True)
    async with (
        sg.SmartGlocal(provider.project, key, provider.url, settings=settings) as api,
        sg.Payouts(api, journal, mode=mode) as payouts,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(pay(payouts, cell)) for cell in CELLS]
    return {task.result().key: task.result() for task in tasks}


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
@pytest.mark.parametrize("second", Permission)
@pytest.mark.parametrize("header", Reaction)
def test_paid_once_at_most(mode, second, header, key):
    """Money moved once where it is said that it did, and not where it isn't; never twice."""
    rules = emulator.Rules(
        confirmation=Confirmation[mode.name], second_start=second, idempotency_header=header
    )
    with emulator.run_in_thread(public_key=key.public, faults=SCRIPT, rules=rules) as provider:
        outcomes = asyncio.run(pay_all(provider, key, mode))
        moved = {key: provider.order(key).moved for key in outcomes}
        struck = provider.report().faults

    assert set(struck) == set(FaultKind)
    assert {name: times for name, times in moved.items() if times != 1} == {}
    assert [outcome for outcome in outcomes.values() if not outcome.is_paid] == []
