"""What needs an operator: counts, payouts to review, decisions, and changed files."""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final, Protocol

from attrs import evolve, field, frozen

from ..concurrency import settle_all
from ..errors import InProgress, InvalidRequest, LostLease, Misuse
from ..journal.entries import (
    EVERY_STEP,
    KEEP,
    WORKABLE,
    Attempt,
    Batch,
    Changes,
    Entry,
    Halt,
    HaltKind,
)
from ..journal.fingerprints import differing
from ..journal.journal import PAGE, each
from ..journal.states import STEPS, Event, Step
from ..journal.transitions import has_other_sum
from ..models.serialization import Serializable
from .calls import fingerprint_of
from .context import WorkerContext
from .files.payout_file import PayoutFile
from .orders import PayoutOrder, PayoutOutcome, PayoutState, counted_by_state, outcome_of, state_of
from .protocol import Mode, SessionView, Situation, why_not_retried
from .session_view import has_moved_money
from .worker import describe_conflict

_MAX_REASON: Final = 500
OLD_SECONDS: Final = 24 * 3600.0
"""How long a payout may be open before it needs a review."""
_WATCHED: Final = WORKABLE | {Step.UNKNOWN}


@frozen(kw_only=True)
class PayoutSummary(Serializable):
    """Counts and sums of a journal's payouts."""

    counts: Mapping[PayoutState, int]
    sums: Mapping[tuple[PayoutState, str], int]
    """By state and currency, in minor units."""
    halt: Halt | None
    """Why all payouts are halted; None if they aren't."""


@frozen(kw_only=True)
class NeedsReview(Serializable):
    """A payout that an operator has to look at, with all that is known of it.

    Look its session up in the provider's Dashboard or report, or ask the provider's support; then
    call ``decide``. Never pay it under another key before that.
    """

    entry: Entry
    history: tuple[Attempt, ...]
    """Every step that was written, and when."""

    @property
    def key(self) -> str:
        """The key of the payout."""
        return self.entry.key

    @property
    def reason(self) -> str:
        """Why it needs a review."""
        if self.entry.step is Step.UNKNOWN:
            return self.entry.reason or "no call can show whether it was paid"
        return f"it has been at {self.entry.step.name} for more than a day"


class JournalReader(Protocol):
    """The reading methods of a journal; a reader that opens it read-only has them, too."""

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Return a page of all entries."""
        ...

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        ...

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        ...

    async def batch(self, name: str) -> Batch | None:
        """Return a batch by its name."""
        ...

    async def halted(self) -> Halt | None:
        """Return the halt that holds now."""
        ...

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry."""
        ...


async def summary_of(reader: JournalReader, batch: str | None) -> PayoutSummary:
    """Count the payouts of a journal, or of a batch."""
    counts = counted_by_state(await reader.counts(batch=batch))
    sums = Counter[tuple[PayoutState, str]]()
    for (step, currency), amount in (await reader.sums(batch=batch)).items():
        sums[state_of(step), currency] += amount
    return PayoutSummary(counts=counts, sums=sums, halt=await reader.halted())


async def needing_review(
    reader: JournalReader, batch: str | None, now: datetime
) -> AsyncGenerator[NeedsReview]:
    """Yield the payouts that need an operator, the oldest first."""
    async for entry in each(
        lambda after: reader.entries(PAGE, after=after, steps=_WATCHED, batch=batch)
    ):
        if (case := await review_of(reader, entry, now)) is not None:
            yield case


async def review_of(reader: JournalReader, entry: Entry, now: datetime) -> NeedsReview | None:
    """Return the review that an entry needs: it is unknown, or open for more than a day."""
    is_late = entry.updated_at < now.timestamp() - OLD_SECONDS
    if entry.step is Step.UNKNOWN or (is_late and not entry.step.is_final):
        return NeedsReview(entry=entry, history=await reader.history(entry.key))
    return None


def needing_review_now(context: WorkerContext, batch: str | None) -> AsyncGenerator[NeedsReview]:
    """Yield the payouts that need an operator now."""
    return needing_review(context.journal, batch, context.timing.now())


async def decide(
    context: WorkerContext, key: str, reason: str, *, is_paid: bool, operator: str | None = None
) -> PayoutOutcome:
    """Write what an operator found out."""
    event = Event.PAID if is_paid else Event.NOT_PAID
    return await _write(context, key, event, reason, operator)


def _event_to_write(entry: Entry, event: Event) -> Event:
    """Return the event to write; a payout may have been paid in a session that was left."""
    is_left = entry.session_no > 0 and (entry.step, event) not in STEPS
    return Event.ADOPTED if event is Event.PAID and is_left else event


async def cancel(context: WorkerContext, key: str, reason: str) -> PayoutOutcome:
    """Write that a payout is cancelled."""
    return await _write(context, key, Event.WITHDRAWN, reason)


async def _write(
    context: WorkerContext, key: str, event: Event, reason: str, operator: str | None = None
) -> PayoutOutcome:
    if not 0 < len(reason.strip()) <= _MAX_REASON:
        raise InvalidRequest("reason", f"expected text of 1 to {_MAX_REASON} characters")
    if key in context.wakeups:
        # A call of this process may be in flight: its answer would come too late.
        raise InProgress(key, context.owner, context.lease_seconds)
    entry = await context.journal.claim(
        key, context.owner, context.lease_seconds, respects_halt=False
    )
    if entry.step.is_final:
        raise Misuse(f"the payout {key!r} is already {entry.step.name} and can't change")
    try:
        event = _event_to_write(entry, event)
        if (entry.step, event) not in STEPS:
            raise Misuse(_impossible(entry, event))
        is_paid = STEPS[entry.step, event] is Step.SUCCEEDED
        changes = Changes(code=None if is_paid else KEEP, reason=reason.strip())
        after = await context.write(entry, event, changes, operator=operator)
    finally:
        await context.journal.release(entry)
    return outcome_of(after)


# --- Retrying what failed ------------------------------------------------------------------------

_STATUS_SECONDS: Final = 30.0
_RETRIES_AT_ONCE: Final = 16
_WAS_UNKNOWN: Final = frozenset({Event.PARKED, Event.CONFLICT})


async def retry(context: WorkerContext, key: str, codes: Collection[str]) -> PayoutOutcome:
    """Take a failed payout up again, once its session shows that the first attempt has ended."""
    entry = await context.journal.find(key)
    if entry is None:
        raise Misuse(f"the journal has no payout with the key {key!r}")
    retried = await _retried(context, entry, codes)
    if isinstance(retried, str):
        raise Misuse(f"the payout {key!r} can't be retried: {retried}")
    return outcome_of(retried)


async def retry_all(
    context: WorkerContext,
    batch: str | None,
    keys: Collection[str] | None,
    codes: Collection[str],
) -> AsyncGenerator[PayoutOutcome]:
    """Retry the failed payouts of a batch, or of the journal."""
    pages = each(
        lambda after: context.journal.entries(PAGE, after=after, steps=[Step.FAILED], batch=batch)
    )
    failed = (entry async for entry in pages if keys is None or entry.key in keys)

    async def one(_index: int, entry: Entry) -> PayoutOutcome:
        try:
            retried = await _retried(context, entry, codes)
        except (Misuse, InProgress) as error:
            retried = str(error)
        if isinstance(retried, str):
            return evolve(outcome_of(entry, replayed=True), reason=retried)
        return outcome_of(retried)

    async with aclosing(settle_all(failed, one, _RETRIES_AT_ONCE)) as outcomes:
        async for outcome in outcomes:
            yield outcome


async def _retried(context: WorkerContext, entry: Entry, codes: Collection[str]) -> Entry | str:
    """Return the entry that was taken up again, or why it can't be.

    Raises:
        InProgress: another process retried it at the same moment.
        Misuse: its batch was cancelled.
        PayoutsHalted: payouts are halted, or from now on, since its session shows a payment.

    """
    await context.raise_if_halted()
    problem = _lasting_cause(entry, codes) or await _why_not_retried(context, entry)
    if problem is not None:
        return problem
    try:
        return await context.retry(entry)
    except LostLease:
        raise InProgress(entry.key, "another process", 0.0) from None


def _lasting_cause(entry: Entry, codes: Collection[str]) -> str | None:
    """Return why the cause of a failure doesn't pass; None if it may have passed."""
    if entry.step is not Step.FAILED or entry.code in codes:
        return None
    why = entry.code or entry.reason or "a cause that isn't known"
    return f"it failed for {why}, which doesn't pass: pay a corrected order under a new key"


async def _why_not_retried(context: WorkerContext, entry: Entry) -> str | None:
    """Return why a failed payout can't be retried, by its log and what its session shows now.

    Raises:
        PayoutConflict: the session shows that money moved, so all payouts are halted.

    """
    history = await context.journal.history(entry.key)
    was_unknown = any(line.event in _WAS_UNKNOWN for line in history)
    row = Situation(Mode(entry.mode), entry.step, entry.session_no)
    problem = why_not_retried(row, None, was_unknown=was_unknown)
    if not history:
        return "its log was deleted, which would show whether it was ever unknown"
    if problem is not None or entry.session_id is None:
        return problem
    payout = context.sender.ordered(entry)
    reply = await context.sender.check_session(entry.session_id, payout, _STATUS_SECONDS)
    shown, session = reply.observation.shown, reply.session
    if shown is None or session is None:
        return reply.reason
    if shown is SessionView.MISMATCH or has_moved_money(session, payout.expected):
        await context.halt_all(
            HaltKind.CONFLICT, describe_conflict(entry, session, payout.expected)
        )
        await context.raise_if_halted()
    return why_not_retried(row, shown, was_unknown=was_unknown)


def _impossible(entry: Entry, event: Event) -> str:
    if event is Event.WITHDRAWN:
        return (
            f"the payout {entry.key!r} is at {entry.step.name}: a call may be in flight for it, so "
            "it can't be cancelled; settle it, and cancel it if nothing is started by then"
        )
    return (
        f"the payout {entry.key!r} is at {entry.step.name}: nothing was started for it; "
        "settle or cancel it"
    )


_MAX_MISSING: Final = 20
_CLOSED: Final = (PayoutState.FAILED, PayoutState.CANCELLED)
"""The states of a payout that moved no money, and never will."""


@frozen(kw_only=True)
class MissingRows:
    """The payouts of a batch that its file doesn't have any more."""

    first: tuple[Entry, ...] = ()
    """The first ones that were paid, or may be: without them, it is probably another file."""
    count: int = 0
    """How many of these there are."""
    closed: int = 0
    """How many others there are, which failed or were cancelled."""
    closed_totals: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """The sum of those by currency, in minor units."""


async def missing_rows(file: PayoutFile, journal: JournalReader, batch: str) -> MissingRows:
    """Return the payouts of a batch whose keys aren't in a file.

    Memory grows with the number of rows: some 100 bytes for each.

    Raises:
        InvalidRequest: a row of the file can't be paid.
        OSError: the file can't be read.
        JournalUnusable: the journal can't be read.

    """
    keys = {order.key for order in file}
    first: list[Entry] = []
    count = closed = 0
    totals = Counter[str]()
    async for entry in each(lambda after: journal.entries(PAGE, after=after, batch=batch)):
        if entry.key in keys:
            continue
        if state_of(entry.step) in _CLOSED:
            closed += 1
            totals[entry.currency or ""] += entry.amount or 0
        else:
            count += 1
            first += [entry] if count <= _MAX_MISSING else []
    return MissingRows(first=tuple(first), count=count, closed=closed, closed_totals=dict(totals))


def differing_fields(order: PayoutOrder, entry: Entry, secret: bytes) -> tuple[str, ...]:
    """Return the fields in which an order differs from the journal's entry of its key."""
    amount = order.amount_details
    if has_other_sum(entry, amount.amount, amount.currency):
        return ("amount_details",)
    return differing(entry.fingerprint, fingerprint_of(order, secret))
