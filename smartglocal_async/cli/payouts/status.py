"""``payouts status``: shows the state of a journal's payouts, without sending anything."""

from typing import Any, Final

from attrs import field, frozen
from rich.console import Console
from rich.table import Table

from ...encryption import RequestCipher
from ...errors import InvalidRequest
from ...journal.entries import WORKABLE, Batch, BatchState, Entry
from ...models.money import Amount
from ...models.validators import without_card_numbers
from ...payouts.orders import PayoutState
from ...payouts.reports.csv import masked_name
from ...payouts.reports.gathering import PayeeReader
from ...payouts.review import NeedsReview, PayoutSummary, needing_review, summary_of
from ...retry import Timing
from ..errors import ExitCode, reader_may_leave
from ..output import counted, write_json
from ..signals import run_async
from ..tables import cell, console, moment, money, show, table
from .batches import (
    BatchChoice,
    BatchCounts,
    absent_from,
    absent_words,
    batches_of,
    code_of_counts,
    find_batch,
    halt_text,
    reading,
    rules_facts,
    rules_text,
    show_batches,
    utc,
)
from .commands import StatusOptions
from .journals import place_of, shown
from .watch import Workers, watch, worker_facts

_MAX_CASES: Final = 100
_MAX_OPEN: Final = 20
_EVERY_SECONDS: Final = 2.0


@frozen
class _ListedCase:
    """A payout to review, as it is listed."""

    case: NeedsReview
    payee: str | None
    """The masked name; None if it isn't known."""
    account: str | None
    """The end of the number: ``...3000``."""

    @property
    def amount(self) -> str:
        """The amount in words; empty if it isn't known."""
        entry = self.case.entry
        if entry.amount is None or entry.currency is None:
            return ""
        return money(Amount(entry.amount, entry.currency))

    @property
    def facts(self) -> dict[str, Any]:
        """The payout as plain JSON values."""
        entry = self.case.entry
        return {
            "key": entry.key,
            "amount": entry.amount,
            "currency": entry.currency,
            "payee": self.payee,
            "account": self.account,
            "session_id": entry.session_id,
            "step": entry.step.name,
            "since": utc(entry.updated_at).isoformat(),
            "reason": without_card_numbers(self.case.reason),
        }


@frozen(kw_only=True)
class JournalStatus:
    """The state of a journal's payouts, or of one batch."""

    journal: str
    name: str | None
    """Name of the batch; None: the whole journal."""
    batch: Batch | None
    batches: list[BatchCounts] | None
    """Each batch, if it is the whole journal."""
    summary: PayoutSummary
    workers: Workers | None
    """None: a journal in a file has no workers."""
    cases: list[_ListedCase] = field(factory=list[_ListedCase])
    case_count: int = 0
    payee_note: str | None = None
    """Why the payees of listed cases aren't known."""
    open: tuple[Entry, ...] = ()
    """The first open payouts, which calls still work on."""

    @property
    def absent(self) -> int:
        """How many rows of its file the batch doesn't have."""
        return absent_from(self.batch, self.summary.counts)

    @property
    def code(self) -> ExitCode:
        """The exit code: that of the worst state; of a batch that lacks rows, never 0."""
        code = code_of_counts(self.summary.counts, self.summary.halt)
        return ExitCode.STOPPED if code is ExitCode.DONE and self.absent else code


def status(options: StatusOptions) -> ExitCode:
    """Show the state of a journal, once or repeatedly."""
    place = place_of(options.journal, options.file, options.server)
    choice = BatchChoice.of(options.batch, options.file)
    if options.every is not None and not options.watch:
        raise InvalidRequest("--every", "goes with --watch")
    if options.watch:
        every = _EVERY_SECONDS if options.every is None else options.every
        watching = watch(place, options.server, choice, every, as_json=options.as_json)
        return run_async(watching)
    found = run_async(_read(place, options.server, choice))
    with reader_may_leave():
        if options.as_json:
            write_json(_facts(found))
        else:
            _show(console(), found)
    return found.code


async def _read(journal: str, server: str | None, choice: BatchChoice) -> JournalStatus:
    cases: list[_ListedCase] = []
    count, payees = 0, PayeeReader(RequestCipher.from_env())
    async with reading(journal, server) as book:
        name = await choice.name_in(book)
        batch = await find_batch(book, name, journal)
        batches = await batches_of(book) if name is None else None
        summary = await summary_of(book, name)
        workers = await Workers.over(book)
        unsettled = await book.entries(_MAX_OPEN, steps=WORKABLE, batch=name)
        async for case in needing_review(book, name, Timing().now()):
            count += 1
            if len(cases) < _MAX_CASES:
                payee, account = payees.read(case.entry)
                cases.append(_ListedCase(case, payee and masked_name(payee), account))
    return JournalStatus(
        journal=shown(journal),
        name=name,
        batch=batch,
        batches=batches,
        summary=summary,
        workers=workers,
        cases=cases,
        case_count=count,
        payee_note=payees.note,
        open=unsettled,
    )


def _show(screen: Console, found: JournalStatus) -> None:
    title = "All payouts" if found.name is None else f"Batch {found.name}"
    shown_table = table(None)
    shown_table.show_header = False
    shown_table.add_column()
    shown_table.add_column(justify="right")
    shown_table.add_column(overflow="fold")
    if found.batch is not None:
        _show_batch(shown_table, found, found.batch)
    for state, count in _counts(found).items():
        shown_table.add_row(state.value, f"{count:,}", cell(_sums(found, state)))
    screen.print(cell(title, "bold"), soft_wrap=True)
    show(screen, shown_table)
    if found.batches:
        show_batches(screen, found.batches)
    if found.workers is not None:
        screen.print(cell(found.workers), soft_wrap=True)
    if found.summary.halt is not None:
        screen.print(cell(halt_text(found.summary.halt), "bold red"), soft_wrap=True)
    _show_open(screen, found)
    _show_cases(screen, found)


def _show_open(screen: Console, found: JournalStatus) -> None:
    """List the first open payouts, with the step and what is written of their last calls."""
    listed = table("Open payouts")
    for column in ("Key", "Session", "Step", "Since", "Why"):
        listed.add_column(column, overflow="fold")
    for entry in found.open:
        since, why = moment(utc(entry.updated_at)), _why(entry)
        listed.add_row(*map(cell, (entry.key, entry.session_id or "", entry.step.name, since, why)))
    if listed.row_count:
        show(screen, listed)
        more = found.summary.counts.get(PayoutState.OPEN, 0) - listed.row_count
        if more > 0:
            screen.print(cell(f"and {more:,} more"), soft_wrap=True)


def _why(entry: Entry) -> str:
    """Return what is written of the last calls of an open payout."""
    words = ": ".join(part for part in (entry.code, entry.reason) if part)
    if words:
        return without_card_numbers(words) or ""
    return "not started" if not (entry.attempts or entry.session_id) else "not settled yet"


def _show_batch(shown_table: Table, found: JournalStatus, batch: Batch) -> None:
    total = ", ".join(money(Amount(units, code)) for code, units in batch.totals.items())
    shown_table.add_row("in the file", f"{batch.rows:,}", cell(total))
    if batch.state is not BatchState.RUNNING:
        shown_table.add_row(batch.state.value, "", cell(batch.reason or ""))
    if rules := rules_text(batch):
        shown_table.add_row("stop rules", "", cell(rules))
    if found.absent:
        shown_table.add_row(
            "not in the batch", f"{found.absent:,}", cell(absent_words(found.journal))
        )


def _show_cases(screen: Console, found: JournalStatus) -> None:
    if not found.case_count:
        return
    listed = table(f"{counted(found.case_count, 'payout')} to review")
    has_payees = any(one.payee or one.account for one in found.cases)
    payee = ("Payee",) if has_payees else ()
    for column in ("Key", "Amount", *payee, "Session", "Step", "Since", "Why"):
        listed.add_column(column, overflow="fold")
    for one in found.cases:
        entry, why = one.case.entry, without_card_numbers(one.case.reason) or ""
        named = (", ".join(part for part in (one.payee, one.account) if part),) if payee else ()
        since = moment(utc(entry.updated_at))
        rest = (entry.session_id or "", entry.step.name, since, why)
        listed.add_row(*map(cell, (entry.key, one.amount, *named, *rest)))
    show(screen, listed)
    if found.case_count > len(found.cases):
        screen.print(cell(f"and {found.case_count - len(found.cases):,} more"))
    if found.payee_note is not None:
        screen.print(cell(found.payee_note), soft_wrap=True)
    step = "ask the provider about each, then: smartglocal payouts decide KEY --paid|--not-paid"
    screen.print(cell(step), soft_wrap=True)


def _counts(found: JournalStatus) -> dict[PayoutState, int]:
    """Return the counts above zero, and that of paid payouts."""
    counts = found.summary.counts
    return {
        state: counts.get(state, 0)
        for state in PayoutState
        if counts.get(state) or state is PayoutState.SUCCEEDED
    }


def _sums(found: JournalStatus, state: PayoutState) -> str:
    sums = found.summary.sums.items()
    amounts = sorted((code, units) for (one, code), units in sums if one is state)
    return ", ".join(money(Amount(units, code)) for code, units in amounts)


def _facts(found: JournalStatus) -> dict[str, Any]:
    halt, batch = found.summary.halt, found.batch
    sums: dict[str, dict[str, int]] = {}
    for (state, currency), units in found.summary.sums.items():
        sums.setdefault(currency, {})[state.value] = units
    return {
        "journal": found.journal,
        "batch": found.name,
        "state": None if batch is None else batch.state.value,
        "reason": None if batch is None else batch.reason,
        "rows": None if batch is None else batch.rows,
        "totals": None if batch is None else dict(batch.totals),
        "stop_rules": rules_facts(batch),
        "absent": None if batch is None else found.absent,
        "counts": {state.value: count for state, count in _counts(found).items()},
        "sums": sums,
        "batches": found.batches and [one.facts for one in found.batches],
        **worker_facts(found.workers),
        "halt": halt and {"kind": halt.kind.value, "reason": halt.reason, "until": halt.until},
        "cases": [one.facts for one in found.cases],
        "case_count": found.case_count,
        "payee_note": found.payee_note,
        "open_payouts": [
            {
                "key": entry.key,
                "session_id": entry.session_id,
                "step": entry.step.name,
                "since": utc(entry.updated_at).isoformat(),
                "reason": _why(entry),
            }
            for entry in found.open
        ],
        "exit_code": int(found.code),
    }
