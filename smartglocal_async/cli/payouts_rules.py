"""The stop rules of a batch, for a person and for a program."""

from typing import Any

from ..journal.entries import Batch
from ..journal.ruling import left_to_spend
from ..values.money import Amount
from .words import money


def rules_words(batch: Batch) -> str:
    """Say when nothing more of a batch is begun; nothing where no rule says so."""
    rules = batch.rules
    if rules is None:
        return ""
    told = [
        f"before more than {money(Amount(rules.spend[code], code))} is spent, of which "
        f"{money(Amount(units, code))} is left"
        for code, units in left_to_spend(batch).items()
    ]
    told += ["after the first that failed"] if rules.first_refusal else []
    if rules.failures_in_a_row is not None:
        told.append(f"after {rules.failures_in_a_row:,} in a row that were not paid")
    told += ["before one that the wallets can't pay"] if rules.low_balance else []
    return "; ".join(told)


def rules_facts(batch: Batch | None) -> dict[str, Any] | None:
    """Give them as plain JSON values, by the names of their options."""
    if batch is None or batch.rules is None:
        return None
    return {
        "spend_limit": dict(batch.rules.spend),
        "spend_left": left_to_spend(batch),
        "stop_on_refusal": batch.rules.first_refusal,
        "stop_after_failures": batch.rules.failures_in_a_row,
        "stop_on_low_balance": batch.rules.low_balance,
    }
