"""When nothing more of a batch is begun, whoever works on it; the journal's row of it says so."""

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from ..errors import Misuse
from ..values.money import AmountDetails
from .entries import Batch, BatchState, Entry
from .states import STEPS, Step

COVER_SECONDS: Final = 30.0
"""How old a balance may be: others may draw on it, too."""
NEW_BATCH: Final = (
    "go on without them, or cancel it and submit what is withdrawn then under new keys, as another "
    "batch"
)
"""What can be done with a batch that was begun without rules: a key stays with its batch."""


def named(found: Batch | None, given: Batch) -> Batch:
    """Give what is written of a batch, new or again.

    Raises:
        Misuse: it was begun without any, so that nobody counted what was begun.

    """
    if found is None:
        new = Batch(name=given.name, begun_at=given.begun_at, rules=given.rules)
        return evolve(new, digest=given.digest, rows=given.rows, totals=given.totals)
    if given.rules is not None and found.rules is None:
        raise Misuse(
            f"the batch {given.name!r} was begun without stop rules, and takes none now: "
            f"{NEW_BATCH}"
        )
    rules = found.rules if given.rules is None else given.rules
    return evolve(found, digest=given.digest, rows=given.rows, totals=given.totals, rules=rules)


def set_to(batch: Batch, state: BatchState, reason: str | None) -> Batch:
    """Give a batch in another state; where it runs again, failures and cover are seen anew."""
    set_batch = evolve(batch, state=state, reason=reason)
    return evolve(set_batch, failures=0, cover=None) if state is BatchState.RUNNING else set_batch


def forbids(batch: Batch, entry: Entry) -> str | None:
    """Say why an entry must not be begun, if it mustn't."""
    rules, currency = batch.rules, entry.currency
    if rules is None or currency is None or currency not in rules.spend:
        return None
    limit = rules.spend[currency]
    if batch.bound.get(currency, 0) + (entry.amount or 0) <= limit:
        return None
    most = f"{AmountDetails(limit, currency).decimal} {currency.upper()}"
    return f"with the payout {entry.key!r} more than {most} would be spent"


def left_to_spend(batch: Batch) -> dict[str, int]:
    """Give what the spending limits of a batch leave, by currency, in minor units."""
    if batch.rules is None:
        return {}
    return {one: max(0, most - batch.bound.get(one, 0)) for one, most in batch.rules.spend.items()}


def is_covered(batch: Batch, entry: Entry, now: float) -> bool:
    """Say whether the wallets pay for an entry, as far as they were seen."""
    if batch.rules is None or not batch.rules.low_balance:
        return True
    if batch.cover is None or batch.cover_at is None:
        return False
    if not 0 <= now - batch.cover_at < COVER_SECONDS:
        return False
    currency = entry.currency or ""
    claimed = batch.bound.get(currency, 0) + (entry.amount or 0)
    return claimed <= batch.cover.get(currency, 0)


def is_bound(entry: Entry) -> bool:
    """Say whether a batch counts an open entry: somebody has it, or a call may be out for it."""
    return entry.owner is not None or entry.attempts > 0


def with_begun(batch: Batch, entry: Entry) -> Batch:
    """Give a batch with an entry that is begun."""
    return evolve(batch, bound=_moved(batch.bound, entry, 1))


def with_left(batch: Batch, entry: Entry) -> Batch:
    """Give a batch with an entry that was begun, and given back before anything was sent."""
    return evolve(batch, bound=_moved(batch.bound, entry, -1))


COUNTED: Final = frozenset(
    event for (_, event), after in STEPS.items() if after.is_final or after is Step.UNKNOWN
)
"""The events of an entry that its batch takes into account."""


def with_settled(batch: Batch, entry: Entry, before: Step) -> Batch:
    """Give a batch with an entry that is final now, or unknown; it may have to stop for it."""
    bound, paid, failures = batch.bound, batch.paid, batch.failures
    if entry.step in {Step.FAILED, Step.CANCELLED}:
        bound = _moved(bound, entry, -1)
    if entry.step is Step.SUCCEEDED:
        paid, failures = _moved(paid, entry, 1), 0
    elif entry.step is not Step.CANCELLED and before is not Step.UNKNOWN:
        failures += 1  # What was unknown counts already.
    noted = evolve(batch, bound=bound, paid=paid, failures=failures)
    reason = _ruled(noted, entry)
    if reason is None or noted.state is not BatchState.RUNNING:
        return noted
    return evolve(noted, state=BatchState.PAUSED, reason=reason)


def _ruled(batch: Batch, entry: Entry) -> str | None:
    rules = batch.rules
    if rules is None:
        return None
    if rules.first_refusal and entry.step is Step.FAILED:
        return f"the payout {entry.key!r} failed"
    most = rules.failures_in_a_row
    if most is not None and batch.failures >= most:
        return f"{most} payouts in a row were not paid, {entry.key!r} the last"
    return None


def _moved(bound: Mapping[str, int], entry: Entry, sign: int) -> dict[str, int]:
    currency = entry.currency or ""
    return {**bound, currency: bound.get(currency, 0) + sign * (entry.amount or 0)}
