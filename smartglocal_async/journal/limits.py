"""Shared limits of all workers of a journal, leases, and the rules of batches."""

from collections.abc import Mapping
from typing import Final

from attrs import Attribute, define, evolve, field, frozen

from ..errors import Misuse
from ..models.money import AmountDetails
from ..models.validators import above_zero
from .entries import Batch, BatchState, Entry
from .states import STEPS, Step

_SHARE: Final = 0.92
"""The share of the rate that is granted, since it is used a little later and unevenly."""
_LATE_SECONDS: Final = 0.03
"""Burst size in seconds: a worker that asks up to this late loses no tokens; the rate may be
exceeded by this share.
"""
_MIN_WAIT_SECONDS: Final = 0.005
_BUSY_WAIT_SECONDS: Final = 0.1
BEAT_SECONDS: Final = 3.0
"""How often a worker reports that it is alive."""
ALIVE_SECONDS: Final = 10.0
"""A worker that reported nothing for this long counts as dead."""


def _rate(_instance: object, _attribute: "Attribute[float | None]", value: float | None) -> None:
    if value is not None:
        above_zero("Limits.rate", value)


def _count(_instance: object, _attribute: "Attribute[int | None]", value: int | None) -> None:
    if value is not None:
        above_zero("Limits.concurrency", value, whole=True)


@frozen(kw_only=True)
class Limits:
    """Limits that all `Payouts.run_chunk` of one journal share; None doesn't limit.

    Raises:
        InvalidRequest: a limit that isn't a number above zero.

    """

    rate: float | None = field(default=None, validator=_rate)
    """Payouts that begin in a second; each takes about five calls."""
    concurrency: int | None = field(default=None, validator=_count)
    """Payouts in flight at once."""

    def __str__(self) -> str:
        rate = "any number" if self.rate is None else f"{self.rate:g}"
        at_once = "any number" if self.concurrency is None else f"{self.concurrency:,}"
        return f"{rate} per second, {at_once} at a time"


@frozen
class WorkerInfo:
    """A worker that has payouts in flight, or is alive and waits for some."""

    owner: str
    """Host, process id and a random number, of one `Payouts`."""
    payouts: int
    """How many payouts it has in flight, or had when it died; 0: none."""
    seconds_left: float
    """Until the last of its leases ends; a dead worker renews none."""
    silent_seconds: float | None = None
    """Since it last reported, as workers do every 3 seconds; None: it never reports, such as
    `Payouts.run_chunk` in a job of another engine.
    """

    @property
    def is_alive(self) -> bool:
        """Whether it reported in the last 10 seconds; true for one that never reports."""
        return self.silent_seconds is None or abs(self.silent_seconds) <= ALIVE_SECONDS


@define(kw_only=True)
class RemainingLimits:
    """What the shared limits allow now: tokens and free places. The caller holds its lock."""

    limits: Limits
    tokens: float
    at: float
    """When the tokens were last counted."""
    blocked_until: float
    held: int
    """Payouts in flight."""

    def advance(self, now: float) -> None:
        """Add the tokens for the time that has passed; a clock that was set back adds none."""
        rate = self.limits.rate
        if rate is not None:
            filled = self.tokens + max(0.0, now - self.at) * rate * _SHARE
            self.tokens = min(1 + rate * _LATE_SECONDS, filled)
        self.at = now

    def allowed(self, wanted: int) -> int:
        """Return how many of ``wanted`` payouts may be claimed now."""
        if self.at < self.blocked_until:
            return 0
        count = wanted
        if self.limits.rate is not None:
            count = min(count, int(self.tokens))
        if self.limits.concurrency is not None:
            count = min(count, self.limits.concurrency - self.held)
        return max(0, count)

    def take(self, count: int) -> None:
        """Count claimed payouts."""
        self.tokens -= count if self.limits.rate is not None else 0
        self.held += count

    @property
    def wait_seconds(self) -> float:
        """How long to wait before the next claim."""
        if self.at < self.blocked_until:
            return self.blocked_until - self.at
        waits = [_MIN_WAIT_SECONDS]
        if self.limits.rate is not None:
            waits.append((1 - self.tokens) / self.limits.rate)
        if self.limits.concurrency is not None and self.held >= self.limits.concurrency:
            waits.append(_BUSY_WAIT_SECONDS)
        return max(waits)


MAX_LEASE_SECONDS: Final = 600.0
"""A longer lease counts as over: it was written before the clock was set back."""
_MIN_BACKOFF_SECONDS: Final = 1.0
_MAX_BACKOFF_SECONDS: Final = 3600.0


def is_leased(entry: Entry, now: float) -> bool:
    """Return whether an entry has a valid lease."""
    until = entry.leased_until
    return until is not None and now < until <= now + MAX_LEASE_SECONDS


def lease_end(now: float, lease_seconds: float) -> float:
    """Return the end of a lease.

    Raises:
        Misuse: the duration isn't above 0, or is too long.

    """
    if not 0 < lease_seconds <= MAX_LEASE_SECONDS:  # NaN too
        words = f"expected seconds above 0, and {MAX_LEASE_SECONDS:.0f} at most"
        raise Misuse(f"lease_seconds: {words}, got {lease_seconds!r}")
    return now + lease_seconds


def next_due(entry: Entry, now: float) -> float:
    """Return when an entry is due again: the longer it has been at its step, the later."""
    seconds = now - entry.updated_at
    return now + min(max(seconds, _MIN_BACKOFF_SECONDS), _MAX_BACKOFF_SECONDS)


COVER_SECONDS: Final = 30.0
"""How old a balance may be, since other systems may draw on it, too."""
NEW_BATCH: Final = (
    "go on without them, or cancel it and submit what is cancelled then under new keys, as another "
    "batch"
)
"""What to do with a batch that was begun without rules: a key stays with its batch."""


def named(found: Batch | None, given: Batch) -> Batch:
    """Return the batch to write, new or again.

    Raises:
        Misuse: rules are given for a batch that was begun without any: what it began isn't counted.

    """
    if found is None:
        new = Batch(name=given.name, begun_at=given.begun_at, rules=given.rules)
        return evolve(new, digest=given.digest, rows=given.rows, totals=given.totals)
    if given.rules is not None and found.rules is None:
        raise Misuse(
            f"the batch {given.name!r} was begun without stop rules, and can't get any now: "
            f"{NEW_BATCH}"
        )
    rules = found.rules if given.rules is None else given.rules
    return evolve(found, digest=given.digest, rows=given.rows, totals=given.totals, rules=rules)


def set_to(batch: Batch, state: BatchState, reason: str | None) -> Batch:
    """Return a batch in another state; running again resets its failures and cover."""
    set_batch = evolve(batch, state=state, reason=reason)
    return evolve(set_batch, failures=0, cover=None) if state is BatchState.RUNNING else set_batch


def forbids(batch: Batch, entry: Entry) -> str | None:
    """Return why the rules of a batch forbid to begin an entry; None if they don't."""
    rules, currency = batch.rules, entry.currency
    if rules is None or currency is None or currency not in rules.spend:
        return None
    limit = rules.spend[currency]
    if batch.bound.get(currency, 0) + (entry.amount or 0) <= limit:
        return None
    maximum = f"{AmountDetails(limit, currency).decimal} {currency.upper()}"
    return f"with the payout {entry.key!r} more than {maximum} would be spent"


def left_to_spend(batch: Batch) -> dict[str, int]:
    """Return what the spending limits of a batch leave, in minor units by currency."""
    if batch.rules is None:
        return {}
    return {
        one: max(0, limit - batch.bound.get(one, 0)) for one, limit in batch.rules.spend.items()
    }


def is_covered(batch: Batch, entry: Entry, now: float) -> bool:
    """Return whether the stored balance covers an entry."""
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
    """Return whether a batch counts an open entry: it is claimed, or a call may be in flight."""
    return entry.owner is not None or entry.attempts > 0


def with_begun(batch: Batch, entry: Entry) -> Batch:
    """Return the batch with an entry that begins."""
    return evolve(batch, bound=_moved(batch.bound, entry, 1))


def with_left(batch: Batch, entry: Entry) -> Batch:
    """Return the batch without an entry that was released before anything was sent."""
    return evolve(batch, bound=_moved(batch.bound, entry, -1))


COUNTED: Final = frozenset(
    event for (_, event), after in STEPS.items() if after.is_final or after is Step.UNKNOWN
)
"""The events of an entry that change the counts of its batch."""


def with_settled(batch: Batch, entry: Entry, before: Step) -> Batch:
    """Return the batch with an entry that is final or unknown now; a rule may pause the batch."""
    bound, paid, failures = batch.bound, batch.paid, batch.failures
    if entry.step in {Step.FAILED, Step.CANCELLED}:
        bound = _moved(bound, entry, -1)
    if entry.step is Step.SUCCEEDED:
        paid, failures = _moved(paid, entry, 1), 0
    elif entry.step is not Step.CANCELLED and before is not Step.UNKNOWN:
        failures += 1  # An unknown one is counted already.
    noted = evolve(batch, bound=bound, paid=paid, failures=failures)
    reason = _met_rule(noted, entry)
    if reason is None or noted.state is not BatchState.RUNNING:
        return noted
    return evolve(noted, state=BatchState.PAUSED, reason=reason)


def _met_rule(batch: Batch, entry: Entry) -> str | None:
    rules = batch.rules
    if rules is None:
        return None
    if rules.first_refusal and entry.step is Step.FAILED:
        return f"the payout {entry.key!r} failed"
    limit = rules.failures_in_a_row
    if limit is not None and batch.failures >= limit:
        return f"{limit} payouts in a row were not paid, {entry.key!r} the last"
    return None


def _moved(bound: Mapping[str, int], entry: Entry, sign: int) -> dict[str, int]:
    currency = entry.currency or ""
    return {**bound, currency: bound.get(currency, 0) + sign * (entry.amount or 0)}
