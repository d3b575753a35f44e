"""The records of a report: its payouts, sums, times, and what needs a person."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from attrs import frozen

from ...errors import InvalidRequest
from ...journal.entries import Attempt, Batch
from ...models.money import Amount
from ..orders import PayoutState


@frozen(kw_only=True)
class ReportedPayout:
    """A payout as reports show it. Texts have no card numbers, and times are in UTC."""

    key: str
    batch: str | None
    state: PayoutState
    amount: Amount | None
    """None if the journal doesn't have it: a payout that was adopted from a report without it."""
    payee: str | None
    """The payee's name; None if it isn't known, or may not be shown."""
    account: str | None
    """The last four characters of the account or card, as ``...1234``."""
    fee: Amount | None
    created_at: datetime
    """When the journal accepted it."""
    updated_at: datetime
    """When its last step was written."""
    paid_at: datetime | None
    """When the provider completed it; where it shows no time, when the journal learned of it."""
    session_id: str | None
    payout_id: str | None
    reference: str | None
    """The reference in the payment network, such as the RRN."""
    code: str | None
    reason: str | None
    attempts: int
    """How many calls may have been sent for it."""

    @property
    def decimal(self) -> Decimal | None:
        """The amount in major units; None if it isn't known."""
        return in_major_units(self.amount)


def in_major_units(amount: Amount | None) -> Decimal | None:
    """Return an amount in major units; None for a currency whose decimals aren't known."""
    try:
        return None if amount is None else amount.decimal
    except InvalidRequest:
        return None


@frozen(kw_only=True)
class StateSum:
    """How many payouts of one currency are in one state, and how much they are together."""

    state: PayoutState
    count: int
    total: Amount


@frozen(kw_only=True)
class TimeSlot:
    """How many payouts reached their state in a part of the time, by state."""

    begin: datetime
    counts: Mapping[PayoutState, int]


@frozen
class HistogramBar:
    """A bar of a histogram: what it counts, and how many there are."""

    label: str
    count: int


@frozen(kw_only=True)
class FailureGroup:
    """Payouts that weren't paid, with the same code."""

    state: PayoutState
    code: str | None
    reason: str | None
    """The reason of the first one."""
    count: int


@frozen(kw_only=True)
class ReviewCase:
    """A payout that a person has to look at."""

    payout: ReportedPayout
    step: str
    """The name of its step in the journal."""
    why: str
    history: tuple[Attempt, ...]
    """Every step that was written, the oldest first."""


@frozen(kw_only=True)
class BatchReport:
    """What a report shows of a batch, or of a whole journal, beside its single payouts."""

    name: str | None
    """Name of the batch; None: the whole journal."""
    journal: str
    batch: Batch | None
    made_at: datetime
    halt: str | None
    """Why all payouts are halted; None if they aren't."""
    count: int
    counts: Mapping[PayoutState, int]
    sums: tuple[StateSum, ...]
    """By currency, then in the order of the states."""
    fees: tuple[Amount, ...]
    """The fees of the paid payouts whose fee the provider showed, by currency."""
    fee_count: int
    """How many payouts these are."""
    absent: int
    """How many rows of its file the batch doesn't have."""
    absent_sums: tuple[Amount, ...]
    """How much these are together, by currency; empty if that isn't known."""
    slot_seconds: int
    timeline: tuple[TimeSlot, ...]
    """Without gaps; empty if nothing is settled."""
    attempts: tuple[HistogramBar, ...]
    """Payouts by the number of calls that each took."""
    durations: tuple[HistogramBar, ...]
    """Payouts by the time from the first call to the outcome."""
    measured: int
    """How many payouts ``durations`` has: at most a thousand, chosen evenly."""
    median_seconds: float | None
    slowest_seconds: float | None
    failures: tuple[FailureGroup, ...]
    """The most frequent first."""
    unpaid: tuple[ReportedPayout, ...]
    """The first thousand payouts that weren't paid: failed or cancelled."""
    unpaid_count: int
    """How many weren't paid."""
    retryable: int
    """How many of them failed for a cause that may have passed: see `Payouts.retry`."""
    cases: tuple[ReviewCase, ...]
    case_count: int
    """How many payouts need a person; ``cases`` has the first of them."""
    payee_note: str | None
    """Why payees are missing; None if none is."""


@frozen(kw_only=True)
class ReportCommands:
    """The commands that a report prints; they have all options, so that they work as printed."""

    options: tuple[str, ...] = ()
    """Those that name the journal and the server."""
    file: str | None = None
    """The file that was paid; None if it isn't known."""
    file_options: tuple[str, ...] = ()
    """Those that go with the file, such as ``--key-prefix``."""
    batch: str | None = None
    """The batch; None if the report is about the whole journal."""
    has_workers: bool = False
    """Whether workers pay from the journal, so that a file is submitted and not paid."""

    def of(self, verb: str, argument: str | None = None, *options: str) -> str:
        """Return a command of ``payouts`` for the same journal."""
        words = ["smartglocal", "payouts", *verb.split()]
        rest = [*options, *self.options]
        if argument is None:
            return shlex.join([*words, *rest])
        if argument.startswith("-"):
            return shlex.join([*words, *rest, "--", argument])
        return shlex.join([*words, argument, *rest])

    def decide(self, key: str, *, is_paid: bool) -> str:
        """Return the command that records what a person found out about a payout."""
        reason = "WHERE YOU SAW IT" if is_paid else "WHO CONFIRMED IT"
        return self.of("decide", key, "--paid" if is_paid else "--not-paid", "--reason", reason)

    @property
    def settle(self) -> str:
        """The command that settles what was started."""
        if self.file is not None:
            return self.of("settle", self.file, *self.file_options)
        return self.of("settle", None, *(() if self.batch is None else ("--batch", self.batch)))

    @property
    def pay(self) -> str | None:
        """The command that pays the rest of the file; None if the file isn't known."""
        verb = "submit" if self.has_workers else "pay"
        return None if self.file is None else self.of(verb, self.file, *self.file_options)

    @property
    def retry(self) -> str | None:
        """The command that reopens what failed for a temporary reason; None without a batch."""
        target = self.batch if self.file is None or self.file_options else self.file
        return None if target is None else self.of("retry", target)

    @property
    def reconcile(self) -> str:
        """The command that compares the provider's report."""
        return self.of("reconcile", "REPORT")

    @property
    def resume(self) -> str:
        """The command that ends a halt."""
        return self.of("journal resume")

    @property
    def resume_batch(self) -> str | None:
        """The command that resumes the batch; None without one."""
        return None if self.batch is None else self.of("batch resume", self.batch)

    @property
    def status(self) -> str:
        """The command that counts all payouts."""
        return self.of("status", None, *(() if self.batch is None else ("--batch", self.batch)))


class ReportWriter(Protocol):
    """Writes a report in one format."""

    def add(self, payout: ReportedPayout) -> None:
        """Take the next payout, in the order of the journal."""
        ...

    def finish(self, report: BatchReport) -> None:
        """Take what the report shows of all payouts, and write the rest."""
        ...
