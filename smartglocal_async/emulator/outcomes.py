"""The amounts, cards and phones that bring an outcome about, as one table; no I/O.

All of it is the emulator's own: the provider's test cards and amounts are unknown. Codes are
the sister platform's, where it has one.
"""

import enum
from typing import Final

from attrs import frozen


class Fate(enum.Enum):
    """How an operation will turn out, once it is confirmed."""

    SUCCEED = "succeed"
    DECLINE = "decline"
    STICK = "stick"
    """In progress for ever."""
    BREAK_THEN_SUCCEED = "break, then succeed"
    """The session is ``error`` and the item ``failed``, and later both are well."""
    BREAK_THEN_FAIL = "break, then fail"
    """The session is ``error`` and the item ``failed``, and later that is final."""
    CHALLENGE = "challenge"
    """The payer must pass 3-D Secure."""
    CHARGE_BACK = "charge back"
    """It succeeds, and is charged back later."""


@frozen
class Outcome:
    """A row: what brings about what."""

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
    """What of an operation may bring an outcome about."""

    card: str | None = None
    phone: str | None = None
    amount: int | None = None


OUTCOMES: Final = (
    Outcome(
        *("payout", "amount", "66601", Fate.DECLINE, "account_not_found"),
        "is declined",
    ),
    Outcome(
        *("payout", "amount", "66602", Fate.DECLINE, "provider_exceeds_amount_limit"),
        "is declined",
    ),
    Outcome(*("payout", "amount", "66610", Fate.STICK, None), "stays in progress for ever"),
    Outcome(
        *("payout", "amount", "66620", Fate.BREAK_THEN_SUCCEED, "provider_timeout"),
        "fails with its session in `error`, which isn't final: succeeds later",
    ),
    Outcome(
        *("payout", "amount", "66621", Fate.BREAK_THEN_FAIL, "provider_timeout"),
        "fails with its session in `error`, and stays failed",
    ),
    Outcome(
        *("payout", "card", "4000000000000002", Fate.DECLINE, "account_not_found"),
        "is declined",
    ),
    Outcome(
        *("payment", "card", "4000000000000002", Fate.DECLINE, "activity_count_exceeded"),
        "is declined",
    ),
    Outcome(
        *("payment", "card", "4000000000000069", Fate.DECLINE, "bank_card_expired"),
        "is declined",
    ),
    Outcome(
        *("payment", "card", "4000000000003220", Fate.CHALLENGE, "3DS_error"),
        "needs 3-D Secure; declined if the payer fails",
    ),
    Outcome(
        *("payment", "card", "4000008400001629", Fate.DECLINE, "3DS_error"),
        "is declined, as 3-D Secure fails without a page",
    ),
    Outcome(
        *("payment", "card", "4000000000000259", Fate.CHARGE_BACK, None),
        "succeeds, and is charged back later",
    ),
    Outcome(*("payment", "amount", "66610", Fate.STICK, None), "stays in progress for ever"),
    Outcome(
        *("payment", "amount", "66620", Fate.BREAK_THEN_SUCCEED, "provider_timeout"),
        "fails with its session in `error`, which isn't final: succeeds later",
    ),
    Outcome(
        *("payment", "amount", "66621", Fate.BREAK_THEN_FAIL, "provider_timeout"),
        "fails with its session in `error`, and stays failed",
    ),
    Outcome(
        *("refund", "amount", "66601", Fate.DECLINE, None),
        "is declined, and the money stays",
    ),
    Outcome(
        *("verification", "phone", "79990000404", Fate.DECLINE, "account_not_found"),
        "finds nobody",
    ),
)
_TRIGGERS: Final = {(row.operation, row.trigger, row.value): row for row in OUTCOMES}


def outcome_of(operation: str, traits: Traits) -> Outcome:
    """Give the row that holds; card before phone before amount, and success without any."""
    for trigger, value in (
        ("card", traits.card),
        ("phone", traits.phone),
        ("amount", traits.amount),
    ):
        if (row := _TRIGGERS.get((operation, trigger, str(value)))) is not None:
            return row
    return Outcome(operation, "any", "", Fate.SUCCEED, None, "succeeds")
