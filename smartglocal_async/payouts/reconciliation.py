"""Compares the provider's daily reports with the journal."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import define, evolve, field, frozen

from ..codec.incoming import clean_text
from ..errors import InProgress, WrongJournalKey
from ..idempotency import Fingerprint, is_key
from ..journal.entries import Changes, Entry, HaltKind, NewEntry
from ..journal.journal import PAGE, Journal, each
from ..journal.states import STEPS, Event, Step
from ..matching import JOURNAL_FIELD, KEY_FIELD, NUMBER_FIELD, ORDER_FIELD, Owner, fields_of
from ..models.answers import Session
from ..models.enums import SessionStatus
from ..models.money import EXPONENTS, Amount, AmountDetails
from .protocol import SessionView
from .reports.discrepancies import (
    Discrepancy,
    DiscrepancyKind,
    PaymentReconciliation,
    PaymentSums,
    Reconciliation,
)
from .reports.provider_report import PaymentReportRow, PayoutReport, ReportKind, ReportRow
from .webhook_hints import WebhookHints, lacks_session

_RETURNS: Final[Mapping[ReportKind, DiscrepancyKind]] = {
    ReportKind.REFUND: DiscrepancyKind.RETURNED,
    ReportKind.ADJUSTMENT: DiscrepancyKind.ADJUSTED,
    ReportKind.CHARGEBACK: DiscrepancyKind.CHARGED_BACK,
}
"""What happened to a payout later, by the type of a row."""


@define(eq=False)
class Reconciler:
    """Compares one payouts report with the journal."""

    hints: WebhookHints
    adopts: bool = False
    """Whether payouts that the journal lacks are recorded as paid, and aren't discrepancies."""
    result: Reconciliation = field(factory=Reconciliation, init=False)
    _seen: dict[str, str] = field(factory=dict[str, str], init=False)
    """Key -> the payout seen for it."""

    async def read(self, report: Iterable[ReportRow]) -> Reconciliation:
        """Compare every row, then find the payouts that the report lacks."""
        for row in report:
            self.result.rows += 1
            if self.adopts and (key := await _adopted(self.hints, row)) is not None:
                self.result.adopted += 1
                self.result.without_amount += row.amount is None
                self._note_time(row)
                self._seen[key] = row.payout_id or row.session_id
            else:
                await self._compare_row(row)
        if isinstance(report, PayoutReport):
            async for entry in self._paid_in(report):
                if entry.key not in self._seen:
                    self._add(DiscrepancyKind.MISSING, None, entry)
        return self.result

    async def _compare_row(self, row: ReportRow) -> None:
        known = await match_row(self.hints, row)
        if known.is_ours:
            self._note_time(row)
            if row.session_id:
                await self._compare_own(row, known)
            else:
                self._unreadable(row, known.entry)
        elif JOURNAL_FIELD in fields_of(row.metadata):
            self._add(DiscrepancyKind.FOREIGN, row, None)
        else:
            self.result.other(row)

    async def _compare_own(self, row: ReportRow, known: "RowMatch") -> None:
        entry = known.entry
        if entry is not None and has_other_ids(row, entry):
            row = by_metadata(row, entry)
        if entry is not None and (
            (known.has_session and was_left(row, entry)) or names_left_session(row, entry)
        ):
            await self._compare_left(row, entry)
        elif entry is None or not (entry.session_id == row.session_id or lacks_session(entry)):
            await self._unwritten(row, entry)
        elif row.kind is not ReportKind.ADVICE:
            self._add(_RETURNS.get(row.kind, DiscrepancyKind.OTHER_KIND), row, entry)
        else:
            await self._compare_payout(row, entry)

    async def _compare_left(self, row: ReportRow, entry: Entry) -> None:
        if self._owner(row, entry) is Owner.OTHER:
            await self._conflict(DiscrepancyKind.NOT_OURS, row, entry)
            return
        is_paid = entry.step is Step.SUCCEEDED
        kind = DiscrepancyKind.PAID_TWICE if is_paid else DiscrepancyKind.LEFT
        await self._conflict(kind, row, entry)
        await self.hints.park(entry, Session(id=row.session_id, status=SessionStatus.ACCEPTED))

    async def _unwritten(self, row: ReportRow, entry: Entry | None) -> None:
        """Halt payouts: the journal lacks the session of a payout that it should know.

        If another payout of the key is known, by the journal or by this report, the key was paid
        twice; adopting the row can't help then.
        """
        kind, key = DiscrepancyKind.FORGOTTEN, shown_key(self.hints, row)
        words = f"the report has the payout {key!r} in {row.session_id}"
        is_payout = row.kind is ReportKind.ADVICE
        if entry is not None:
            words = f"the report has the payout {entry.key!r} in {row.session_id}"
            if is_payout and entry.step.is_final:
                if entry.step is Step.SUCCEEDED:
                    kind = DiscrepancyKind.PAID_TWICE
                words = f"{_sides(kind, row, entry)}; the session {row.session_id} isn't recorded"
        elif is_payout and key is not None:
            item = row.payout_id or row.session_id
            if self._seen.setdefault(key, item) != item:
                kind = DiscrepancyKind.PAID_TWICE
        self._add(kind, row, entry)
        await self.hints.forgot(words)

    async def _compare_payout(self, row: ReportRow, entry: Entry) -> None:
        item, owner = row.payout_id or row.session_id, self._owner(row, entry)
        self.result.without_amount += row.error is None and not has_amounts(row, entry)
        if owner is Owner.OTHER:
            await self._conflict(DiscrepancyKind.NOT_OURS, row, entry)
        elif self._seen.setdefault(entry.key, item) != item or is_another_payout(row, entry):
            await self._conflict(DiscrepancyKind.PAID_TWICE, row, entry)
        elif row.error is not None:
            self._unreadable(row, entry)
        elif differs(row, entry):
            await self._conflict(DiscrepancyKind.DIFFERS, row, entry)
        elif entry.step is Step.SUCCEEDED:
            self.result.agreed += 1
        elif entry.step.is_final:
            await self._conflict(DiscrepancyKind.CONTRADICTS, row, entry)
        elif owner is Owner.UNMARKED and not is_known_payout(row, entry):
            self._add(DiscrepancyKind.UNPROVEN, row, entry)
        else:
            session = Session(id=row.session_id, status=SessionStatus.ACCEPTED)
            self.result.settled += await self.hints.settle(entry, session, SessionView.PAID)

    def _unreadable(self, row: ReportRow, entry: Entry | None) -> None:
        """Add a row that can't be compared; its payout isn't missing in the report."""
        if entry is not None:
            _ = self._seen.setdefault(entry.key, row.payout_id or row.session_id)
        self._add(DiscrepancyKind.UNREADABLE, row, entry)

    def _note_time(self, row: ReportRow) -> None:
        times = [time for time in (self.result.newest, row.finished_at) if time is not None]
        self.result.newest = max(times, default=None)

    def _owner(self, row: ReportRow, entry: Entry) -> Owner:
        return owner_of(self.hints, row, entry)

    async def _conflict(self, kind: DiscrepancyKind, row: ReportRow, entry: Entry) -> None:
        """Add a discrepancy, and halt all payouts, as it contradicts the journal."""
        self._add(kind, row, entry)
        words = _sides(kind, row, entry)
        await self.hints.claimer.context.halt_all(HaltKind.CONFLICT, words)

    async def _paid_in(self, report: PayoutReport) -> AsyncGenerator[Entry]:
        if report.since is None or report.until is None:
            return
        since, until = report.since.timestamp(), report.until.timestamp()
        journal = self.hints.claimer.context.journal
        async for entry in each(
            lambda after: journal.entries(PAGE, after=after, steps=[Step.SUCCEEDED])
        ):
            if since <= entry.updated_at < until:
                yield entry

    def _add(self, kind: DiscrepancyKind, row: ReportRow | None, entry: Entry | None) -> None:
        key = None if entry is None else entry.key
        session_id = None if entry is None else entry.session_id
        if row is not None:
            key, session_id = key or shown_key(self.hints, row), row.session_id or session_id
        self.result.add(
            Discrepancy(
                kind=kind,
                key=key,
                session_id=session_id,
                line=None if row is None else row.line,
                reported=None if row is None else _plain(row.amount),
                recorded=None if entry is None else _recorded(entry),
                payee=None if entry is None else self._payee(entry),
                problem=None if row is None or row.error is None else str(row.error),
            )
        )

    def _payee(self, entry: Entry) -> str | None:
        try:
            return self.hints.claimer.payee_of(entry)
        except WrongJournalKey:
            return None


def _plain(amount: AmountDetails | None) -> Amount | None:
    return None if amount is None else Amount(amount.amount, amount.currency)


def _recorded(entry: Entry) -> Amount | None:
    if entry.amount is None or entry.currency is None:
        return None
    return Amount(entry.amount, entry.currency)


_ADOPTED: Final = "adopted from line"
_NO_TIMES: Final = (
    "none of its rows about this journal shows when a payout was completed (column finishedAt, "
    "such as 2025-01-02 03:04:05), so it may be an old one: use the file as the provider made it, "
    "not as a spreadsheet saved it"
)
_DAY: Final = timedelta(days=1)
"""The time zone of a report's times isn't known, and a payout takes some time."""


async def why_unchecked(journal: Journal, found: Reconciliation) -> str | None:
    """Return why a report doesn't show what a journal may lack; None if it may show that.

    It has to show payouts of this journal, also from the time when the last of those that the
    journal has was begun: an older report can't show later ones. Rows whose time can't be read
    prove nothing about that.
    """
    if found.counts[DiscrepancyKind.FORGOTTEN]:
        return "it shows payouts that the journal forgot, and that weren't adopted"
    if unreadable := found.counts[DiscrepancyKind.UNREADABLE]:
        return f"rows about payouts of this journal can't be read: {unreadable:,}"
    if not found.own_rows:
        return "it has no row about a payout of this journal"
    last = await _last_begun(journal)
    if last is not None and found.newest is None:
        return _NO_TIMES
    if last is None or found.newest is None or found.newest >= last - _DAY:
        return None
    return (
        f"its last payout of this journal was completed at {found.newest:%Y-%m-%d %H:%M}, and the "
        f"journal has one of {last:%Y-%m-%d %H:%M}: read the reports from that day on"
    )


async def _last_begun(journal: Journal) -> datetime | None:
    """Return when the last payout was accepted that was begun, and wasn't adopted."""
    times = [
        entry.created_at
        async for entry in each(lambda after: journal.entries(PAGE, after=after))
        if (entry.attempts or entry.session_no) and not _is_adopted(entry)
    ]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _is_adopted(entry: Entry) -> bool:
    has_no_fields = entry.fingerprint.is_empty or entry.fingerprint.is_short
    return has_no_fields and (entry.reason or "").startswith(_ADOPTED)


def _sides(kind: DiscrepancyKind, row: ReportRow, entry: Entry) -> str:
    """Describe what the report shows, and what is written."""
    recorded, amount = _recorded(entry), row.amount
    ordered = "an unknown amount" if recorded is None else recorded.text
    paid = "no amount" if amount is None else amount.text
    of_another = ", with the metadata of another order"
    whose = of_another if kind is DiscrepancyKind.NOT_OURS else ""
    return (
        f"the report has the payout {row.payout_id} of {paid} in {row.session_id} (line "
        f"{row.line}){whose}; the payout {entry.key!r} of {ordered} is recorded as "
        f"{entry.step.name} in {entry.session_id}"
    )


def was_left(row: ReportRow, entry: Entry) -> bool:
    """Return whether a row reports a payout in a session that the journal has as left."""
    if entry.session_id == row.session_id or row.kind is not ReportKind.ADVICE:
        return False
    # If an operator wrote it as paid, no session is written.
    return not (entry.session_id is None and entry.step is Step.SUCCEEDED)


def has_other_ids(row: ReportRow, entry: Entry) -> bool:
    """Return whether one session id is a bare number, as in an older report, and one isn't."""
    written = entry.session_id
    return written is not None and _is_number(row.session_id) != _is_number(written)


def by_metadata(row: ReportRow, entry: Entry) -> ReportRow:
    """Return a row with the session id that is written, if its metadata shows that session.

    For a row that was found by its metadata, and whose ids have another form than the journal's.
    """
    is_same = fields_of(row.metadata).get(NUMBER_FIELD, entry.session_no) == entry.session_no
    return evolve(row, session_id=entry.session_id or "") if is_same else row


def names_left_session(row: ReportRow, entry: Entry) -> bool:
    """Return whether a row with ids of another form shows, by its metadata, a left session."""
    number = fields_of(row.metadata).get(NUMBER_FIELD)
    is_left = isinstance(number, int) and number < entry.session_no
    return is_left and row.kind is ReportKind.ADVICE and has_other_ids(row, entry)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def has_amounts(row: ReportRow, entry: Entry) -> bool:
    """Return whether a row and the journal have amounts that can be compared."""
    return row.amount is not None and entry.amount is not None


def differs(row: ReportRow, entry: Entry) -> bool:
    """Return whether a row shows another sum or currency than was ordered."""
    if row.amount is None or entry.amount is None:
        return False  # Counted: see `Reconciliation.without_amount`.
    return (row.amount.amount, row.amount.currency) != (entry.amount, entry.currency)


def owner_of(hints: WebhookHints, row: ReportRow, entry: Entry) -> Owner:
    """Return whose payout a row is about, by its metadata and what is written of a payout."""
    expected = hints.claimer.context.sender.ordered(entry).expected
    return expected.row_owner(row.metadata)


def is_another_payout(row: ReportRow, entry: Entry) -> bool:
    """Return whether a row shows another payout of the session than the one that is written."""
    return _has_written_id(row, entry) is False


def is_known_payout(row: ReportRow, entry: Entry) -> bool:
    """Return whether a row has the id that an answer about the payout had, with our metadata."""
    return _has_written_id(row, entry) is True


def _has_written_id(row: ReportRow, entry: Entry) -> bool | None:
    """Return whether a row has the payout id that is written; None if one of the two has none."""
    if row.payout_id is None or entry.item_id is None or entry.session_id != row.session_id:
        return None
    if row.payout_id.removeprefix("po_") == entry.item_id.removeprefix("po_"):
        return True
    # An older form of the report has numbers; they may be others than in the ids of the API.
    return None if _is_number(row.payout_id) != _is_number(entry.item_id) else False


async def _adopted(hints: WebhookHints, row: ReportRow) -> str | None:
    """Write a payout as paid that a row shows and the journal lacks; return its key, if written."""
    known = await match_row(hints, row)
    entry = known.entry
    if not known.is_ours or row.kind is not ReportKind.ADVICE or row.error is not None:
        return None
    if entry is not None and (
        # One that has a session can't get another.
        entry.session_id is not None
        or differs(row, entry)
        or owner_of(hints, row, entry) is Owner.OTHER
    ):
        return None
    key = key_of(hints, row)
    return key if key is not None and await _written(hints, key, row) else None


async def _written(hints: WebhookHints, key: str, row: ReportRow) -> bool:
    context = hints.claimer.context
    amount = row.amount
    new = NewEntry(
        key=key,
        mode=context.mode.value,
        # Another order of the key is refused by the digest, as that of a forgotten payout.
        fingerprint=Fingerprint.of_short(fields_of(row.metadata).get(ORDER_FIELD)),
        amount=None if amount is None else amount.amount,
        currency=None if amount is None else amount.currency,
    )
    if await context.journal.find(key) is None:
        _ = await context.journal.accept(new)
    with suppress(InProgress):
        entry = await context.journal.claim(
            key, context.owner, context.lease_seconds, respects_halt=False
        )
        if (entry.step, Event.ADOPTED) in STEPS:
            reason = f"{_ADOPTED} {row.line} of a report"
            changes = Changes(session_id=row.session_id, item_id=row.payout_id, reason=reason)
            _ = await context.write(entry, Event.ADOPTED, changes)
            return True
        if not entry.step.is_final:
            await context.journal.release(entry)
    return False


@frozen
class RowMatch:
    """What the journal knows about a row."""

    entry: Entry | None
    is_ours: bool
    """Whether the payout was made with this journal."""
    has_session: bool = False
    """Whether the entry was found by a session that it has or had."""


async def match_row(hints: WebhookHints, row: ReportRow) -> RowMatch:
    """Return what the journal knows about a row."""
    journal = hints.claimer.context.journal
    found = await journal.by_session(row.session_id) if row.session_id else None
    if found is not None:
        return RowMatch(found, is_ours=True, has_session=True)
    fields = fields_of(row.metadata)
    if shown_key(hints, row) is None or fields.get(JOURNAL_FIELD) != journal.journal_id:
        return RowMatch(None, is_ours=False)
    key = key_of(hints, row)
    return RowMatch(None if key is None else await journal.find(key), is_ours=True)


def key_of(hints: WebhookHints, row: ReportRow) -> str | None:
    """Return the payout key in a row's metadata; None if what is there can't be a key."""
    key = _key_text(hints, row)
    return key if is_key(key) else None


def shown_key(hints: WebhookHints, row: ReportRow) -> str | None:
    """Return what a row's metadata has as the payout key, safe to show."""
    key = _key_text(hints, row)
    return None if key is None else clean_text(key)


def _key_text(hints: WebhookHints, row: ReportRow) -> str | None:
    """Return the text that represents the key; sessions carry it in a field of its own."""
    fields = fields_of(row.metadata)
    key = fields.get(KEY_FIELD) or fields.get(hints.claimer.context.sender.key_field)
    return key if isinstance(key, str) else None


_LATER: Final[Mapping[ReportKind, DiscrepancyKind]] = {
    ReportKind.REFUND: DiscrepancyKind.REFUNDED,
    ReportKind.ADJUSTMENT: DiscrepancyKind.ADJUSTED,
    ReportKind.CHARGEBACK: DiscrepancyKind.CHARGED_BACK,
    ReportKind.OTHER: DiscrepancyKind.OTHER_KIND,
}
"""What happened to a payment later, by the type of a row."""
_PAYMENTS: Final = frozenset({ReportKind.ADVICE, ReportKind.RECURRENT})


def _minor_units(row: PaymentReportRow) -> Amount | None:
    """Return the amount of a payment; None if it, or the decimals of its currency, aren't known."""
    currency = (row.currency or "").lower()
    decimals = EXPONENTS.get(currency)
    if row.amount is None or decimals is None:
        return None
    units = row.amount.scaleb(decimals)
    return Amount(int(units), currency) if units == int(units) else None


@define(eq=False)
class PaymentReconciler:
    """Sums up one payments report, and finds what an operator has to look at.

    The journal has no payments, so that only their keys can be compared: two payments of one key,
    and a payment in the session of a payout.
    """

    hints: WebhookHints
    result: PaymentReconciliation = field(factory=PaymentReconciliation, init=False)
    _paid: dict[str, str] = field(factory=dict[str, str], init=False)
    """Key -> the payment seen for it."""

    async def read(self, report: Iterable[PaymentReportRow]) -> PaymentReconciliation:
        """Sum up every row, and compare it."""
        for row in report:
            self.result.rows += 1
            if row.error is None:
                self._sum(row)
                kind = await self._kind(row)
            else:
                self.result.add_unreadable(row.error)
                # A line with totals names no session.
                kind = DiscrepancyKind.UNREADABLE if row.session_id else None
            if kind is not None:
                found = Discrepancy(
                    kind=kind,
                    key=self._shown_key(row),
                    session_id=row.session_id or None,
                    line=row.line,
                    reported=_minor_units(row),
                    problem=None if row.error is None else str(row.error),
                )
                self.result.add(found)
        return self.result

    def _sum(self, row: PaymentReportRow) -> None:
        sums = self.result.sums.setdefault((row.kind, row.currency or ""), PaymentSums())
        sums.rows += 1
        sums.amount += row.amount or 0
        sums.fee += row.fee or 0
        sums.settlement += row.settlement or 0

    async def _kind(self, row: PaymentReportRow) -> DiscrepancyKind | None:
        if row.kind not in _PAYMENTS:
            return _LATER.get(row.kind)
        key, item = self._shown_key(row), row.payment_id or row.session_id
        if key is not None and self._paid.setdefault(key, item) != item:
            return DiscrepancyKind.PAID_TWICE
        journal = self.hints.claimer.context.journal
        is_payout = row.session_id and await journal.by_session(row.session_id) is not None
        return DiscrepancyKind.PAYMENT if is_payout else None

    def _shown_key(self, row: PaymentReportRow) -> str | None:
        """Return the key that this package sent with the payment, safe to show."""
        key = fields_of(row.metadata).get(self.hints.claimer.context.sender.key_field)
        return clean_text(key) if isinstance(key, str) else None
