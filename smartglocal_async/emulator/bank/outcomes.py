"""The amounts, cards and phones that cause an outcome, as one table.

All of it is the emulator's own: the provider's test cards and amounts are unknown. Codes are
the sister platform's, where it has one.
"""

import enum
from typing import Final

from attrs import frozen


class Fate(enum.Enum):
    """How an operation will end, once it is confirmed."""

    SUCCEED = "succeed"
    DECLINE = "decline"
    STICK = "stick"
    """In progress for ever."""
    BREAK_THEN_SUCCEED = "break, then succeed"
    """The session is ``error`` and the item ``failed``; later both succeed."""
    BREAK_THEN_FAIL = "break, then fail"
    """The session is ``error`` and the item ``failed``; later that is final."""
    CHALLENGE = "challenge"
    """The payer must pass 3-D Secure."""
    CHARGE_BACK = "charge back"
    """It succeeds, and is charged back later."""
    RETURN = "return"
    """It succeeds, and the recipient's bank returns it later."""


@frozen
class AmountOutcome:
    """A row of the table: a trigger and the outcome that it causes."""

    operation: str
    """``payout``, ``payment``, ``refund`` or ``verification``."""
    trigger: str
    """``amount`` in minor units of any currency, ``card`` or ``phone``."""
    value: str
    fate: Fate
    code: str | None
    """Code of the item's error."""
    words: str


@frozen(kw_only=True)
class Traits:
    """The properties of an operation that may cause an outcome."""

    card: str | None = None
    phone: str | None = None
    amount: int | None = None


OUTCOMES: Final = (
    AmountOutcome(
        *("payout", "amount", "66601", Fate.DECLINE, "account_not_found"),
        "is declined",
    ),
    AmountOutcome(
        *("payout", "amount", "66602", Fate.DECLINE, "provider_exceeds_amount_limit"),
        "is declined",
    ),
    AmountOutcome(*("payout", "amount", "66610", Fate.STICK, None), "stays in progress for ever"),
    AmountOutcome(
        *("payout", "amount", "66620", Fate.BREAK_THEN_SUCCEED, "provider_timeout"),
        "fails with its session in `error`, which isn't final: succeeds later",
    ),
    AmountOutcome(
        *("payout", "amount", "66621", Fate.BREAK_THEN_FAIL, "provider_timeout"),
        "fails with its session in `error`, and stays failed",
    ),
    AmountOutcome(
        *("payout", "amount", "66630", Fate.RETURN, None),
        "succeeds, and is returned by the recipient's bank later",
    ),
    AmountOutcome(
        *("payout", "card", "4000000000000002", Fate.DECLINE, "account_not_found"),
        "is declined",
    ),
    AmountOutcome(
        *("payment", "card", "4000000000000002", Fate.DECLINE, "activity_count_exceeded"),
        "is declined",
    ),
    AmountOutcome(
        *("payment", "card", "4000000000000069", Fate.DECLINE, "bank_card_expired"),
        "is declined",
    ),
    AmountOutcome(
        *("payment", "card", "4000000000003220", Fate.CHALLENGE, "3DS_error"),
        "needs 3-D Secure; declined if the payer fails",
    ),
    AmountOutcome(
        *("payment", "card", "4000008400001629", Fate.DECLINE, "3DS_error"),
        "is declined, as 3-D Secure fails without a page",
    ),
    AmountOutcome(
        *("payment", "card", "4000000000000259", Fate.CHARGE_BACK, None),
        "succeeds, and is charged back later",
    ),
    AmountOutcome(*("payment", "amount", "66610", Fate.STICK, None), "stays in progress for ever"),
    AmountOutcome(
        *("payment", "amount", "66620", Fate.BREAK_THEN_SUCCEED, "provider_timeout"),
        "fails with its session in `error`, which isn't final: succeeds later",
    ),
    AmountOutcome(
        *("payment", "amount", "66621", Fate.BREAK_THEN_FAIL, "provider_timeout"),
        "fails with its session in `error`, and stays failed",
    ),
    AmountOutcome(
        *("refund", "amount", "66601", Fate.DECLINE, None),
        "is declined, and the money stays",
    ),
    AmountOutcome(
        *("verification", "phone", "79990000404", Fate.DECLINE, "account_not_found"),
        "finds no such person",
    ),
)
_TRIGGERS: Final = {(row.operation, row.trigger, row.value): row for row in OUTCOMES}


def outcome_of(operation: str, traits: Traits) -> AmountOutcome:
    """Return the row that applies: by card, then phone, then amount; else success."""
    for trigger, value in (
        ("card", traits.card),
        ("phone", traits.phone),
        ("amount", traits.amount),
    ):
        if (row := _TRIGGERS.get((operation, trigger, str(value)))) is not None:
            return row
    return AmountOutcome(operation, "any", "", Fate.SUCCEED, None, "succeeds")


def limit_code(limits: tuple[int, ...] | None, amount: object) -> str | None:
    """Return the sister platform's code for an amount outside of its limits; None inside."""
    if limits is None or not isinstance(amount, int):
        return None
    least, most = limits
    if amount < least:
        return "amount_less_allowed_provider"
    return "provider_exceeds_amount_limit" if amount > most else None
