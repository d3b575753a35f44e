"""What differs between the provider's daily reports and the journal."""

import enum
from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Final

from attrs import define, field, frozen

from ...errors import InvalidRequest
from ...models.money import Amount
from ...models.serialization import Serializable
from .provider_report import ReportKind, ReportRow

_MAX_KEPT: Final = 1_000


class DiscrepancyKind(enum.Enum):
    """What differs between the report and the journal."""

    PAID_TWICE = "paid twice"
    """Two payouts of one key: one of them has to be claimed back. In a payments report, two
    payments of one key: one of them has to be refunded.
    """
    FORGOTTEN = "the journal forgot it"
    """Payouts are halted: restore the newest copy of the journal, or ``adopt`` the report."""
    DIFFERS = "another amount"
    """Or another currency."""
    RETURNED = "returned by the bank"
    """A payout that was returned. Another row shows that it was paid before."""
    REFUNDED = "refunded"
    """A payment that was refunded in full."""
    ADJUSTED = "cancelled in part"
    """An ``Adjustment``: what was paid is less than the payout or the payment."""
    CHARGED_BACK = "charged back"
    """By the payer's bank. The amount is taken from what is transferred to the merchant."""
    OTHER_KIND = "of an unknown kind"
    """By the report's column, of a type that the provider's page doesn't list."""
    PAYMENT = "a payment, in the session of a payout"
    UNREADABLE = "unreadable"
    """A row that wasn't compared, or isn't in the sums: `Discrepancy.problem` says why. A payouts
    report that has one about a payout of the journal doesn't count as complete.
    """
    CONTRADICTS = "reported as paid, and recorded as not paid"
    LEFT = "paid in a session that was left for another"
    NOT_OURS = "of another order, in a session of this one"
    """Its metadata has another key, journal or order than the payout that is written."""
    UNPROVEN = "without the metadata that shows whose it is"
    """In a session of ours, but neither its metadata nor its id shows that it is the payout that is
    written. It settles nothing: look it up, then `Payouts.decide`.
    """
    MISSING = "recorded as paid, and not in the report"
    """Check the report of the next day; then ask the provider."""
    FOREIGN = "of another journal"
    """Another system, or a journal that was lost, pays for this project."""


_HALTING: Final = frozenset(
    {
        DiscrepancyKind.PAID_TWICE,
        DiscrepancyKind.FORGOTTEN,
        DiscrepancyKind.DIFFERS,
        DiscrepancyKind.CONTRADICTS,
        DiscrepancyKind.LEFT,
        DiscrepancyKind.NOT_OURS,
    }
)


@frozen(kw_only=True)
class Discrepancy(Serializable):
    """One difference that an operator has to look at."""

    kind: DiscrepancyKind
    key: str | None
    session_id: str | None
    line: int | None = None
    """The line of the report."""
    reported: Amount | None = field(default=None, eq=False)
    """The amount in the report; None if the row has none that can be read."""
    recorded: Amount | None = field(default=None, eq=False)
    """The amount in the journal; None if it isn't there."""
    payee: str | None = field(default=None, eq=False, repr=False)
    """The name and the last four characters of the account, if the journal has them and can be
    decrypted.
    """
    problem: str | None = field(default=None, eq=False)
    """What can't be read in the row, with the file and the line."""


@define(kw_only=True)
class ReportFindings(Serializable):
    """What comparing a report found."""

    rows: int = 0
    unreadable: list[InvalidRequest] = field(factory=list[InvalidRequest])
    """What can't be read in rows that aren't about the journal's payouts, such as the totals at the
    end, and in rows of a payments report; the first thousand.
    """
    unreadable_count: int = 0
    counts: Counter[DiscrepancyKind] = field(factory=Counter[DiscrepancyKind])
    discrepancies: list[Discrepancy] = field(factory=list[Discrepancy])
    """The first thousand; ``counts`` has the numbers of all."""

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing that an operator has to look at."""
        return not self.counts

    def add(self, discrepancy: Discrepancy) -> None:
        """Count a discrepancy, and keep it if it is among the first thousand."""
        self.counts[discrepancy.kind] += 1
        if len(self.discrepancies) < _MAX_KEPT:
            self.discrepancies.append(discrepancy)

    def add_unreadable(self, error: InvalidRequest) -> None:
        """Count a row that can't be read, and keep the error if it is among the first thousand."""
        self.unreadable_count += 1
        if len(self.unreadable) < _MAX_KEPT:
            self.unreadable.append(error)


@define(kw_only=True)
class Reconciliation(ReportFindings):
    """The result of comparing a payouts report with the journal."""

    agreed: int = 0
    """Rows that agree with the journal."""
    settled: int = 0
    """Payouts that were open or unknown, and are now recorded as paid."""
    adopted: int = 0
    """Payouts that the journal lacked, and that ``adopt`` wrote as paid."""
    others: int = 0
    """Rows of payouts that this package didn't make."""
    without_amount: int = field(default=0, eq=False)
    """Rows of the journal's payouts whose amount wasn't compared, as the report or the journal has
    none that can be compared: no column of amount and currency was found, or the cell is empty.
    """
    newest: datetime | None = field(default=None, eq=False)
    """When the last of the journal's payouts in it was completed; None if no row shows that."""
    unchecked: str | None = field(default=None, eq=False)
    """Why a halt of a journal that may lack payouts can't be ended after this report; None if it
    can, or there is none.
    """

    @property
    def own_rows(self) -> int:
        """How many rows are about payouts that were made with this journal."""
        return self.rows - self.others - self.counts[DiscrepancyKind.FOREIGN]

    @property
    def halts(self) -> bool:
        """Whether a discrepancy halts payouts, as it contradicts the journal."""
        return any(self.counts[kind] for kind in _HALTING)

    def other(self, row: ReportRow) -> None:
        """Count a row of a payout that this package didn't make."""
        self.others += 1
        if row.error is not None:
            self.add_unreadable(row.error)


@define
class PaymentSums(Serializable):
    """The sums of rows of a payments report, in major units."""

    rows: int = 0
    amount: Decimal = Decimal()
    fee: Decimal = Decimal()
    settlement: Decimal = Decimal()


@define(kw_only=True)
class PaymentReconciliation(ReportFindings):
    """The result of comparing a payments report."""

    sums: dict[tuple[ReportKind, str], PaymentSums] = field(
        factory=dict[tuple[ReportKind, str], PaymentSums]
    )
    """By type of row and currency, in upper case; the currency is empty if no column has it."""
