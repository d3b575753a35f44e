"""Gathers a report from a journal, in one pass over its payouts."""

import statistics
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from attrs import Factory, define, field, frozen

from ...encryption import KEY_VARIABLE, RequestCipher
from ...error_codes import PASSING_CAUSES
from ...errors import WrongJournalKey
from ...journal.entries import Attempt, Batch, Entry
from ...journal.journal import PAGE, each
from ...models.money import Amount
from ...models.validators import without_card_numbers
from ..orders import PayoutState, decrypted_summary, split_summary, state_of
from ..review import JournalReader, NeedsReview, review_of
from ..session_view import PaymentProof
from .records import (
    BatchReport,
    FailureGroup,
    HistogramBar,
    ReportedPayout,
    ReportWriter,
    ReviewCase,
    StateSum,
    TimeSlot,
)

MAX_CASES: Final = 500
"""How many payouts that need a person a report shows with all their steps."""
MAX_UNPAID: Final = 1_000
"""How many payouts that weren't paid a report lists."""
_MAX_MEASURED: Final = 1_000
_MAX_SLOTS: Final = 40
_MAX_GROUPS: Final = 50
_SLOTS: Final = (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 86_400, 604_800)
_DURATIONS: Final = (
    (0.1, "under 0.1 s"),
    (0.5, "0.1 to 0.5 s"),
    (1.0, "0.5 to 1 s"),
    (2.0, "1 to 2 s"),
    (5.0, "2 to 5 s"),
    (15.0, "5 to 15 s"),
    (60.0, "15 to 60 s"),
    (600.0, "1 to 10 min"),
    (3_600.0, "10 to 60 min"),
    (float("inf"), "over an hour"),
)
_MANY_ATTEMPTS: Final = 8
ORDER: Final = (
    *(PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.CANCELLED),
    *(PayoutState.UNKNOWN, PayoutState.OPEN),
)
"""The states of a journal, in the order of reports."""
_NOT_PAID: Final = frozenset({PayoutState.FAILED, PayoutState.CANCELLED})


@frozen(kw_only=True)
class ReportSource:
    """What a report is made of."""

    reader: JournalReader
    journal: str
    """The journal's name, without a password."""
    name: str | None
    batch: Batch | None
    cipher: RequestCipher | None
    """Decrypts the payees; None leaves them out."""
    now: datetime


async def write_report(source: ReportSource, writer: ReportWriter) -> BatchReport:
    """Write all payouts of a source, and return what the report shows of all of them.

    Memory doesn't grow with the number of payouts, except in writers that need all of them.

    Raises:
        JournalUnusable: the journal can't be read, or a payee in it was changed.
        InvalidRequest: the format can't show a payout.
        OSError: the report can't be written.

    """
    reader, tally = source.reader, _BatchTally(source)
    counts = await reader.counts(batch=source.name)
    settled = sum(count for step, count in counts.items() if step.is_final)
    stride = max(1, -(-settled // _MAX_MEASURED))
    entries = each(lambda after: reader.entries(PAGE, after=after, batch=source.name))
    async for entry in entries:
        payout = tally.add(entry)
        writer.add(payout)
        if entry.step.is_final and tally.settled % stride == 1 % stride:
            tally.measure(await reader.history(entry.key))
        if (case := await review_of(reader, entry, source.now)) is not None:
            tally.review(payout, case)
    halt = await reader.halted()
    report = tally.report(None if halt is None else halt.reason)
    writer.finish(report)
    return report


@define(eq=False)
class PayeeReader:
    """Decrypts who the payouts of a journal pay, and counts those of which that isn't known."""

    cipher: RequestCipher | None
    count: int = field(default=0, init=False)
    hidden: Counter[str] = field(factory=Counter[str], init=False)
    """Why payees aren't known, and of how many payouts."""

    def read(self, entry: Entry) -> tuple[str | None, str | None]:
        """Return the name of the payee and the end of the account; None if it isn't known.

        Raises:
            JournalUnusable: the payee in the journal was changed.

        """
        self.count += 1
        why = _NOT_KEPT if entry.summary is None else _NO_KEY
        if entry.summary is not None and self.cipher is not None:
            try:
                summary = decrypted_summary(entry, self.cipher)
            except WrongJournalKey:
                why = _OTHER_KEY
            else:
                return (None, None) if summary is None else split_summary(summary)
        self.hidden[why] += 1
        return None, None

    @property
    def has_other_key(self) -> bool:
        """Whether a payee was encrypted with another key than the cipher's."""
        return self.hidden[_OTHER_KEY] > 0

    @property
    def note(self) -> str | None:
        """Of how many payouts the payee isn't known, and why, in words; None if all are known."""
        parts = [f"{_payouts(n, self.count)}, {words}" for words, n in self.hidden.items()]
        return f"Names and accounts are missing of {'; of '.join(parts)}." if parts else None


@define(eq=False)
class _BatchTally:
    """Counts and sums what a report shows of all payouts."""

    source: ReportSource
    settled: int = 0
    _states: Counter[tuple[PayoutState, str]] = field(factory=Counter[tuple[PayoutState, str]])
    _units: Counter[tuple[PayoutState, str]] = field(factory=Counter[tuple[PayoutState, str]])
    _counts: Counter[PayoutState] = field(factory=Counter[PayoutState])
    _fees: Counter[str] = field(factory=Counter[str])
    _fee_count: int = 0
    _times: Counter[tuple[int, PayoutState]] = field(factory=Counter[tuple[int, PayoutState]])
    _attempts: Counter[int] = field(factory=Counter[int])
    _seconds: list[float] = field(factory=list[float])
    _groups: dict[tuple[PayoutState, str | None], FailureGroup] = field(
        factory=dict[tuple[PayoutState, str | None], FailureGroup]
    )
    _group_counts: Counter[tuple[PayoutState, str | None]] = field(
        factory=Counter[tuple[PayoutState, str | None]]
    )
    _unpaid: list[ReportedPayout] = field(factory=list[ReportedPayout])
    _retryable: int = 0
    _has_unknown_amounts: bool = False
    _cases: list[ReviewCase] = field(factory=list[ReviewCase])
    _case_count: int = 0
    _payees: "PayeeReader" = field(
        default=Factory(lambda self: PayeeReader(self.source.cipher), takes_self=True), init=False
    )

    def add(self, entry: Entry) -> ReportedPayout:
        """Count an entry, and return it as reports show it."""
        payout = self._payout(entry)
        state, amount = payout.state, payout.amount
        self._counts[state] += 1
        if amount is not None:
            self._states[state, amount.currency] += 1
            self._units[state, amount.currency] += amount.amount
        self._has_unknown_amounts |= amount is None
        if payout.fee is not None:
            self._fees[payout.fee.currency] += payout.fee.amount
            self._fee_count += 1
        if entry.step.is_final:
            self.settled += 1
            self._times[int(entry.updated_at), state] += 1
        self._attempts[min(payout.attempts, _MANY_ATTEMPTS)] += 1
        if state in _NOT_PAID:
            self._retryable += state is PayoutState.FAILED and payout.code in PASSING_CAUSES
            if len(self._unpaid) < MAX_UNPAID:
                self._unpaid.append(payout)
            group = state, payout.code
            self._group_counts[group] += 1
            if group not in self._groups and len(self._groups) < _MAX_GROUPS:
                self._groups[group] = FailureGroup(
                    state=state, code=payout.code, reason=payout.reason, count=0
                )
        return payout

    def _payout(self, entry: Entry) -> ReportedPayout:
        state = state_of(entry.step)
        payee, account = self._payees.read(entry)
        is_paid = state is PayoutState.SUCCEEDED
        proof = PaymentProof.read(entry.result) if is_paid else PaymentProof()
        updated_at = _utc(entry.updated_at)
        known = entry.amount is not None and entry.currency is not None
        return ReportedPayout(
            key=entry.key,
            batch=entry.batch,
            state=state,
            amount=Amount(entry.amount or 0, entry.currency or "") if known else None,
            payee=payee,
            account=account,
            fee=proof.fee,
            created_at=_utc(entry.created_at),
            updated_at=updated_at,
            paid_at=(proof.finished_at or updated_at).astimezone(UTC) if is_paid else None,
            session_id=entry.session_id,
            payout_id=entry.item_id,
            reference=proof.reference,
            code=None if is_paid else without_card_numbers(entry.code),
            reason=_on_one_line(entry.reason),
            attempts=entry.attempts,
        )

    def measure(self, history: tuple[Attempt, ...]) -> None:
        """Note how long a payout took from its first step to its last one."""
        if history:
            self._seconds.append(max(0.0, history[-1].at - history[0].at))

    def review(self, payout: ReportedPayout, case: NeedsReview) -> None:
        """Note a payout that needs a person."""
        self._case_count += 1
        if len(self._cases) < MAX_CASES:
            why = _on_one_line(case.reason) or ""
            step = case.entry.step.name
            self._cases.append(ReviewCase(payout=payout, step=step, why=why, history=case.history))

    def report(self, halt: str | None) -> BatchReport:
        """Return what the report shows of all payouts."""
        batch, seconds = self.source.batch, sorted(self._seconds)
        slot_seconds, timeline = _timeline(self._times)
        count = self._counts.total()
        return BatchReport(
            name=self.source.name,
            journal=self.source.journal,
            batch=batch,
            made_at=self.source.now.astimezone(UTC),
            halt=_on_one_line(halt),
            count=count,
            counts={state: self._counts[state] for state in ORDER},
            sums=tuple(
                StateSum(
                    state=state,
                    count=self._states[state, currency],
                    total=Amount(self._units[state, currency], currency),
                )
                for currency in sorted({currency for _, currency in self._states})
                for state in ORDER
                if self._states[state, currency]
            ),
            fees=tuple(Amount(units, currency) for currency, units in sorted(self._fees.items())),
            fee_count=self._fee_count,
            absent=0 if batch is None else max(0, batch.rows - count),
            absent_sums=self._absent_sums(),
            slot_seconds=slot_seconds,
            timeline=timeline,
            attempts=_attempt_bars(self._attempts),
            durations=_duration_bars(seconds),
            measured=len(seconds),
            median_seconds=statistics.median(seconds) if seconds else None,
            slowest_seconds=seconds[-1] if seconds else None,
            failures=self._failures(),
            unpaid=tuple(self._unpaid),
            unpaid_count=sum(self._counts[state] for state in _NOT_PAID),
            retryable=self._retryable,
            cases=tuple(self._cases),
            case_count=self._case_count,
            payee_note=self._payees.note,
        )

    def _absent_sums(self) -> tuple[Amount, ...]:
        """Return the sums of the file that no payout of the batch has."""
        batch = self.source.batch
        if batch is None or self._has_unknown_amounts or self._counts.total() >= batch.rows:
            return ()
        left = Counter(batch.totals)
        for (_, currency), units in self._units.items():
            left[currency] -= units
        return tuple(Amount(units, code) for code, units in sorted(left.items()) if units > 0)

    def _failures(self) -> tuple[FailureGroup, ...]:
        groups = [
            FailureGroup(state=state, code=code, reason=group.reason, count=count)
            for (state, code), count in self._group_counts.most_common()
            if (group := self._groups.get((state, code))) is not None
        ]
        return tuple(groups)


_NO_KEY: Final = f"as {KEY_VARIABLE} isn't set, which decrypts them"
_OTHER_KEY: Final = f"as another {KEY_VARIABLE} encrypted them"
_NOT_KEPT: Final = (
    f"as the journal has none: {KEY_VARIABLE} wasn't set when they were paid, or they "
    "were deleted since"
)


def _payouts(number: int, count: int) -> str:
    """Return a number of payouts and the count of all, in words."""
    if number == count > 1:
        return "all payouts"
    return "1 payout" if number == 1 else f"{number:,} payouts"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _on_one_line(text: str | None) -> str | None:
    return " ".join((without_card_numbers(text) or "").split()) or None


def _timeline(times: Counter[tuple[int, PayoutState]]) -> tuple[int, tuple[TimeSlot, ...]]:
    """Return the length of a slot in seconds, and up to forty slots without gaps."""
    if not times:
        return 0, ()
    seen = [at for at, _ in times]
    first, last = min(seen), max(seen)
    seconds = next((one for one in _SLOTS if (last - first) // one < _MAX_SLOTS - 1), _SLOTS[-1])
    while (last - first) // seconds >= _MAX_SLOTS - 1:
        seconds *= 2
    slots: dict[int, Counter[PayoutState]] = {
        number: Counter() for number in range(first // seconds, last // seconds + 1)
    }
    for (at, state), count in times.items():
        slots[at // seconds][state] += count
    return seconds, tuple(
        TimeSlot(begin=_utc(number * seconds), counts=dict(counts))
        for number, counts in slots.items()
    )


def _attempt_bars(counts: Counter[int]) -> tuple[HistogramBar, ...]:
    if not counts:
        return ()
    return tuple(
        HistogramBar(f"{number} or more" if number == _MANY_ATTEMPTS else str(number), count)
        for number in range(max(counts) + 1)
        if (count := counts[number]) or number
    )


def _duration_bars(seconds: list[float]) -> tuple[HistogramBar, ...]:
    """Return the bars from the shortest to the longest duration that there is."""
    if not seconds:
        return ()
    bounds = (0.0, *(bound for bound, _ in _DURATIONS))
    bars = [
        HistogramBar(label, sum(begin <= one < end for one in seconds))
        for (begin, end), (_, label) in zip(pairwise(bounds), _DURATIONS, strict=True)
    ]
    while not bars[-1].count:
        _ = bars.pop()
    return tuple(bars)
