"""What needs an operator: counts, payouts to review, decisions, and changed files."""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Final, Protocol

from attrs import define, evolve, field, frozen

from ..concurrency import settle_all
from ..errors import InProgress, InvalidRequest, LostLease, Misuse
from ..journal.entries import EVERY_STEP, WORKABLE, Attempt, Batch, Changes, Entry, Halt, HaltKind
from ..journal.fingerprints import differing
from ..journal.journal import PAGE, Journal, each
from ..journal.states import STEPS, Event, Step
from ..journal.transitions import has_other_sum
from .calls import fingerprint_of
from .context import WorkerContext
from .files.payout_file import PayoutFile
from .files.rows import FileRow
from .orders import PayoutOrder, PayoutOutcome, PayoutState, counted_by_state, outcome_of, state_of
from .protocol import Mode, Row, SessionView, why_not_retried
from .session_view import has_moved_money
from .worker import conflict

_MAX_REASON: Final = 500
_OLD_SECONDS: Final = 24 * 3600.0
_WATCHED: Final = WORKABLE | {Step.UNKNOWN}


@frozen(kw_only=True)
class PayoutSummary:
    """Counts and sums of a journal's payouts."""

    counts: Mapping[PayoutState, int]
    sums: Mapping[tuple[PayoutState, str], int]
    """By state and currency, in minor units."""
    halt: Halt | None
    """Why all payouts are halted; None if they aren't."""


@frozen(kw_only=True)
class NeedsReview:
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
    is_late = now.timestamp() - _OLD_SECONDS
    async for entry in each(
        lambda after: reader.entries(PAGE, after=after, steps=_WATCHED, batch=batch)
    ):
        if entry.step is Step.UNKNOWN or entry.updated_at < is_late:
            yield NeedsReview(entry=entry, history=await reader.history(entry.key))


def needing_review_now(context: WorkerContext, batch: str | None) -> AsyncGenerator[NeedsReview]:
    """Yield the payouts that need an operator now."""
    return needing_review(context.journal, batch, context.timing.now())


async def decide(context: WorkerContext, key: str, reason: str, *, is_paid: bool) -> PayoutOutcome:
    """Write what an operator found out."""
    return await _write(context, key, Event.PAID if is_paid else Event.NOT_PAID, reason)


def _event_to_write(entry: Entry, event: Event) -> Event:
    """Return the event to write; a payout may have been paid in a session that was left."""
    is_left = entry.session_no > 0 and (entry.step, event) not in STEPS
    return Event.ADOPTED if event is Event.PAID and is_left else event


async def withdraw(context: WorkerContext, key: str, reason: str) -> PayoutOutcome:
    """Write that a payout is withdrawn."""
    return await _write(context, key, Event.WITHDRAWN, reason)


async def _write(context: WorkerContext, key: str, event: Event, reason: str) -> PayoutOutcome:
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
        after = await context.journal.advance(entry, event, Changes(reason=reason.strip()))
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
        return await context.journal.retry(entry)
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
    row = Row(Mode(entry.mode), entry.step, entry.session_no)
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
        await context.halt_all(HaltKind.CONFLICT, conflict(entry, session, payout.expected))
        await context.raise_if_halted()
    return why_not_retried(row, shown, was_unknown=was_unknown)


def _impossible(entry: Entry, event: Event) -> str:
    if event is Event.WITHDRAWN:
        return (
            f"the payout {entry.key!r} is at {entry.step.name}: a call may be in flight for it, so "
            "it can't be withdrawn; resume it, and withdraw it if nothing is started by then"
        )
    return (
        f"the payout {entry.key!r} is at {entry.step.name}: nothing was started for it; "
        "resume or withdraw it"
    )


_IS_BEGUN: Final = 1


@frozen(kw_only=True)
class Comparison:
    """Whether the rows of a file that were begun are unchanged."""

    begun: int
    """Rows of the batch that the journal has."""
    place: int | None = None
    """The first payout of the file that differs, counted from 1; None if none does."""
    line: int | None = None
    """Its line in the file; None if the file ends before it."""
    key: str | None = None
    """Its key in the file as it is now, if that can be read."""
    fields: tuple[str, ...] = ()
    """The fields that differ under the same key; empty if another key was begun there."""

    @property
    def is_same(self) -> bool:
        """Whether every row that was begun is still there, unchanged and in its place."""
        return self.place is None

    def __str__(self) -> str:
        if self.place is None:
            return f"the {self.begun} rows that were begun are as they were"
        if self.line is None:
            return f"it ends before its payout {self.place}, which was begun"
        if self.key is None:
            return f"line {self.line} was begun, and can't be read now"
        if not self.fields:
            return f"line {self.line} has the key {self.key!r}, and another one was begun there"
        return f"line {self.line} (key {self.key!r}) differs in {', '.join(self.fields)}"


async def compare(file: PayoutFile, journal: Journal, batch: str) -> Comparison:
    """Compare each row that was begun with the journal; memory is one byte per row.

    The journal has to be open. A file that has the digest of its batch needs no comparison.

    Raises:
        OSError: the file can't be read.
        JournalUnusable: the journal can't be read.

    """
    begun = _Begun()
    found = each(lambda after: journal.entries(PAGE, after=after, batch=batch))
    async for entry in found:
        begun.add(entry)
    place = -1
    for place, row in enumerate(file.rows()):
        if (
            begun.has(place)
            and (difference := await _difference(row, place, journal, batch)) is not None
        ):
            key, fields = difference
            return Comparison(
                begun=begun.count, place=place + 1, line=row.line, key=key, fields=fields
            )
    missing = begun.behind(place + 1)
    return Comparison(begun=begun.count, place=None if missing is None else missing + 1)


@define(eq=False)
class _Begun:
    """The positions of the rows that were begun."""

    count: int = 0
    _marks: bytearray = field(factory=bytearray)

    def add(self, entry: Entry) -> None:
        """Mark the position of an entry."""
        self.count += 1
        if entry.ordinal is None:
            return
        self._marks.extend(bytes(max(0, entry.ordinal + 1 - len(self._marks))))
        self._marks[entry.ordinal] = _IS_BEGUN

    def has(self, place: int) -> bool:
        """Return whether the row at a position was begun."""
        return place < len(self._marks) and bool(self._marks[place])

    def behind(self, place: int) -> int | None:
        """Return the first position from here on that was begun."""
        found = self._marks.find(_IS_BEGUN, place)
        return None if found < 0 else found


async def _difference(
    row: FileRow, place: int, journal: Journal, batch: str
) -> tuple[str | None, tuple[str, ...]] | None:
    """Return the key of a row and the fields that differ; None if it is as it was begun."""
    if row.order is None:
        return None, ()
    entry = await journal.find(row.order.key)
    if entry is None or (entry.batch, entry.ordinal) != (batch, place):
        return row.order.key, ()
    fields = differing_fields(row.order, entry, journal.secret)
    return (row.order.key, fields) if fields else None


def differing_fields(order: PayoutOrder, entry: Entry, secret: bytes) -> tuple[str, ...]:
    """Return the fields in which an order differs from the journal's entry of its key."""
    amount = order.amount_details
    if has_other_sum(entry, amount.amount, amount.currency):
        return ("amount_details",)
    return differing(entry.fingerprint, fingerprint_of(order, secret))
