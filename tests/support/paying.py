"""Payout orders, and settings with short waits, for the tests that pay."""

import asyncio
from typing import Any, Final

from attrs import evolve

import smartglocal_async as sg

START: Final = "session/start/payout"


async def nap(seconds: float) -> None:
    """Wait a moment, however long it should sleep."""
    await asyncio.sleep(min(seconds, 0.01))


QUICK: Final = sg.Settings(timing=sg.Timing(sleep=nap))


def order(key: str = "k-1", amount: int = 10_000, **changes: Any) -> sg.PayoutOrder:
    """Return a payout in USD."""
    made = sg.PayoutOrder(
        key=key,
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(amount, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
        metadata={"invoice": 7},
    )
    return evolve(made, **changes)
