"""Hold a report of the provider against the journal: settle what it tells, and say what differs."""

import enum
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from typing import Final

from attrs import define, field, frozen

from ..errors import InProgress
from ..idempotency import Fingerprint
from ..journal.entries import Changes, Entry, NewEntry
from ..journal.states import STEPS, Event, Step
from ..values.answers import Session
from ..values.statuses import SessionStatus
from .hints import Hints
from .paging import PAGE, each
from .protocol import Shown
from .report import PayoutReport, ReportRow
from .sending import JOURNAL_FIELD, KEY_FIELD
from .working import learns

_MOST_FINDINGS: Final = 1_000


class FindingKind(enum.Enum):
    """What is wrong between the report and the journal."""

    PAID_TWICE = "paid twice"
    """Two payouts of one key: one of them has to be claimed back."""
    FORGOTTEN = "the journal forgot it"
    """Payouts are halted: take the newest copy of the journal back, or ``adopt`` the report."""
    DIFFERS = "another amount"
    CONTRADICTS = "reported as paid, and written as not paid"
    MISSING = "written as paid, and not in the report"
    """Look again in the report of the next day; then ask the provider."""
    FOREIGN = "of another journal"
    """Another system, or a journal that was lost, pays for this project."""


@frozen(kw_only=True)
class Finding:
    """One thing that a person has to look at."""

    kind: FindingKind
    key: str | None
    session_id: str | None
    line: int | None = None
    """Of the report."""


@define(kw_only=True)
class Reconciliation:
    """What a report came to."""

    rows: int = 0
    agreed: int = 0
    """Rows that say what the journal says."""
    settled: int = 0
    """Payouts that were open or unknown, and are written as paid now."""
    others: int = 0
    """Rows that are none of this package's payouts."""
    counts: Counter[FindingKind] = field(factory=Counter[FindingKind])
    findings: list[Finding] = field(factory=list[Finding])
    """The first thousand; ``counts`` has all."""

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing that a person has to look at."""
        return not self.counts

    def found(self, finding: Finding) -> None:
        """Add a finding."""
        self.counts[finding.kind] += 1
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding)


@define(eq=False)
class Reconciler:
    """Goes through one report."""

    hints: Hints
    result: Reconciliation = field(factory=Reconciliation, init=False)
    _seen: dict[str, str] = field(factory=dict[str, str], init=False)
    """Key -> the payout that was seen for it."""

    async def read(self, report: Iterable[ReportRow]) -> Reconciliation:
        """Take in every row, then look for what isn't there."""
        for row in report:
            self.result.rows += 1
            await self._take(row)
        if isinstance(report, PayoutReport):
            async for entry in self._paid_in(report):
                if entry.key not in self._seen:
                    self._find(FindingKind.MISSING, None, entry)
        return self.result

    async def _take(self, row: ReportRow) -> None:
        entry, is_ours = await entry_of(self.hints, row)
        if entry is None and not is_ours:
            if JOURNAL_FIELD in row.metadata:
                self._find(FindingKind.FOREIGN, row, None)
            else:
                self.result.others += 1
        elif entry is None or not (entry.session_id == row.session_id or learns(entry)):
            self._find(FindingKind.FORGOTTEN, row, entry)
            key = key_of(self.hints, row) if entry is None else entry.key
            await self.hints.forgot(f"the report has the payout {key!r} in {row.session_id}")
        else:
            await self._compare(row, entry)

    async def _compare(self, row: ReportRow, entry: Entry) -> None:
        item = row.payout_id or row.session_id
        if self._seen.setdefault(entry.key, item) != item:
            self._find(FindingKind.PAID_TWICE, row, entry)
        elif row.amount is not None and (row.amount.amount, row.amount.currency) != (
            entry.amount,
            entry.currency,
        ):
            self._find(FindingKind.DIFFERS, row, entry)
        elif entry.step is Step.SUCCEEDED:
            self.result.agreed += 1
        elif entry.step.is_final:
            self._find(FindingKind.CONTRADICTS, row, entry)
        else:
            session = Session(id=row.session_id, status=SessionStatus.ACCEPTED)
            self.result.settled += await self.hints.settle(entry, session, Shown.PAID)

    async def _paid_in(self, report: PayoutReport) -> AsyncGenerator[Entry]:
        if report.since is None or report.until is None:
            return
        since, until = report.since.timestamp(), report.until.timestamp()
        journal = self.hints.lead.desk.journal
        async for entry in each(
            lambda after: journal.entries(PAGE, after=after, steps=[Step.SUCCEEDED])
        ):
            if since <= entry.updated_at < until:
                yield entry

    def _find(self, kind: FindingKind, row: ReportRow | None, entry: Entry | None) -> None:
        key = None if entry is None else entry.key
        session_id = None if entry is None else entry.session_id
        if row is not None:
            key, session_id = key or key_of(self.hints, row), row.session_id
        line = None if row is None else row.line
        self.result.found(Finding(kind=kind, key=key, session_id=session_id, line=line))


async def adopt(hints: Hints, report: Iterable[ReportRow]) -> int:
    """Write down as paid what a report shows and the journal forgot; give how many."""
    count = 0
    for row in report:
        entry, is_ours = await entry_of(hints, row)
        if not is_ours or (entry is not None and entry.session_id == row.session_id):
            continue
        key = key_of(hints, row)
        if key is not None:
            count += await _adopted(hints, key, row)
    return count


async def _adopted(hints: Hints, key: str, row: ReportRow) -> bool:
    desk = hints.lead.desk
    amount = row.amount
    new = NewEntry(
        key=key,
        mode=desk.mode.value,
        fingerprint=Fingerprint(()),
        amount=None if amount is None else amount.amount,
        currency=None if amount is None else amount.currency,
    )
    if await desk.journal.find(key) is None:
        _ = await desk.journal.accept(new)
    with suppress(InProgress):
        entry = await desk.journal.claim(key, desk.owner, desk.lease_seconds, heeds_halt=False)
        if (entry.step, Event.ADOPTED) in STEPS:
            reason = f"adopted from line {row.line} of a report"
            changes = Changes(session_id=row.session_id, item_id=row.payout_id, reason=reason)
            _ = await desk.journal.advance(entry, Event.ADOPTED, changes)
            return True
        if not entry.step.is_final:
            await desk.journal.release(entry)
    return False


async def entry_of(hints: Hints, row: ReportRow) -> tuple[Entry | None, bool]:
    """Give the entry of a row, and whether the row was paid with this journal."""
    journal = hints.lead.desk.journal
    found = await journal.by_session(row.session_id)
    if found is not None:
        return found, True
    key = key_of(hints, row)
    if key is None or row.metadata.get(JOURNAL_FIELD) != journal.journal_id:
        return None, False
    return await journal.find(key), True


def key_of(hints: Hints, row: ReportRow) -> str | None:
    """Give the key that a row's metadata tells; a session's has it under a name of its own."""
    told = row.metadata.get(KEY_FIELD) or row.metadata.get(hints.lead.desk.sender.key_field)
    return told if isinstance(told, str) else None
