"""Result of a run of payouts: counts, sums, payouts that weren't paid, and the exit code."""

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

import typer
from attrs import define, field, frozen
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ...error_codes import PASSING_CAUSES
from ...errors import (
    BatchStopped,
    InvalidRequest,
    JournalUnusable,
    PayoutsHalted,
    RuleBroken,
    SmartGlocalError,
)
from ...models.money import Amount
from ...models.validators import without_card_numbers
from ...payouts.orders import PayoutOutcome, PayoutState
from ...payouts.preflight import Preflight
from ..errors import CommandFailed, ExitCode, code_of, facts_of, message_of
from ..output import complain, counted, is_lively, printable, remark, write_json
from ..tables import cell, console, money, show, table
from ..wallets import Need
from .batches import FileInJournal

_MOST_LISTED: Final = 100
_NOT_PAID: Final = frozenset({PayoutState.FAILED, PayoutState.REFUSED, PayoutState.CANCELLED})


@define(eq=False)
class RunTotals:
    """Counts and sums of outcomes."""

    asked: int | None = None
    """How many payouts there are; None if they weren't counted."""
    states: Counter[PayoutState] = field(factory=Counter[PayoutState], init=False)
    money: Counter[tuple[PayoutState, str]] = field(
        factory=Counter[tuple[PayoutState, str]], init=False
    )
    """In minor units, by state and currency."""
    replayed: int = field(default=0, init=False)
    paid_before: Counter[str] = field(factory=Counter[str], init=False)
    """What was paid before this run, in minor units by currency; ``money`` has it, too."""
    waiting: int = field(default=0, init=False)
    """Recorded, but nothing was sent for them; they are in no state."""
    may_move: int = field(default=0, init=False)
    """Open or unknown, with a session at the provider."""
    passing: Counter[str] = field(factory=Counter[str], init=False)
    """The codes of payouts that failed for a temporary reason, which `retry` reopens."""
    listed: list[PayoutOutcome] = field(factory=list[PayoutOutcome], init=False)
    """The first payouts that weren't paid."""
    unlisted: int = field(default=0, init=False)

    def add(self, outcome: PayoutOutcome) -> None:
        """Count an outcome."""
        if _is_waiting(outcome):
            self.waiting += 1
            return
        self.states[outcome.state] += 1
        self.replayed += outcome.replayed
        if outcome.amount is not None and outcome.currency is not None:
            self.money[outcome.state, outcome.currency] += outcome.amount
            if outcome.replayed and outcome.is_paid:
                self.paid_before[outcome.currency] += outcome.amount
        if outcome.is_paid:
            return
        code = outcome.code
        if outcome.state is PayoutState.FAILED and code is not None and code in PASSING_CAUSES:
            self.passing[code] += 1
        if outcome.state not in _NOT_PAID:
            self.may_move += _may_move(outcome)
        if len(self.listed) < _MOST_LISTED:
            self.listed.append(outcome)
        else:
            self.unlisted += 1

    @property
    def settled(self) -> int:
        """How many outcomes there were."""
        return sum(self.states.values())

    @property
    def not_started(self) -> int:
        """How many were not started."""
        return self.waiting if self.asked is None else self.asked - self.settled

    @property
    def is_open(self) -> bool:
        """Whether some are open or unknown."""
        return bool(self.states[PayoutState.OPEN] or self.states[PayoutState.UNKNOWN])

    def as_dict(self) -> dict[str, Any]:
        """Return them as plain JSON values; sums are in minor units."""
        sums: dict[str, dict[str, int]] = {}
        for (state, currency), units in sorted(
            self.money.items(), key=lambda item: (item[0][1], item[0][0].value)
        ):
            sums.setdefault(currency, {})[state.value] = units
        return {
            "asked": self.settled if self.asked is None else self.asked,
            **{state.value: self.states[state] for state in PayoutState},
            "not_begun": self.not_started,
            "replayed": self.replayed,
            "sums": sums,
            "paid_before": dict(sorted(self.paid_before.items())),
        }


@frozen(kw_only=True)
class RunEnd:
    """How a run ended."""

    totals: RunTotals
    seconds: float
    is_unreachable: bool
    """Whether attempts were made, and none reached the provider."""
    error: SmartGlocalError | OSError | None
    """The error that ended it early."""
    left_open: int = 0
    """After an error: payouts that may be in flight, from the journal."""
    journal: str
    journal_is_new: bool = False
    """Whether the journal had no payouts before this run."""
    resume_journal: str = "smartglocal payouts journal resume"
    """The command that ends a halt."""
    reconcile: str = "smartglocal payouts reconcile REPORT"
    """The command that compares the provider's report."""
    results: str | None
    next_step: str
    """The command that continues."""
    retry: str | None = None
    """The command that reopens what failed for a temporary reason; None if there is nothing."""

    @property
    def code(self) -> ExitCode:
        """The exit code: that of the worst result."""
        if isinstance(self.error, PayoutsHalted):
            return ExitCode.HALTED
        is_lost = isinstance(self.error, JournalUnusable)
        if self.totals.may_move or self.left_open or is_lost:
            return ExitCode.OUTCOME_UNKNOWN
        if self.totals.is_open:
            return ExitCode.NOT_SENT if self.is_unreachable else ExitCode.OUTCOME_UNKNOWN
        if self.error is not None:
            # MISUSE means that nothing was sent, which is wrong if the file changed during the run.
            code = code_of(self.error)
            return ExitCode.STOPPED if code is ExitCode.MISUSE and self.totals.settled else code
        is_whole = not (self.totals.not_started or _NOT_PAID & self.totals.states.keys())
        return ExitCode.DONE if is_whole else ExitCode.FAILED

    @property
    def next(self) -> str | None:
        """The command that continues, if there is something to do."""
        if isinstance(self.error, PayoutsHalted):
            return f"check the cause, such as with: {self.reconcile}; then: {self.resume_journal}"
        return self.next_step if self.totals.is_open or self.error is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        stopped = self.error.reason if isinstance(self.error, BatchStopped) else None
        halted = str(self.error) if isinstance(self.error, PayoutsHalted) else None
        is_other = self.error is not None and stopped is None and halted is None
        return {
            **self.totals.as_dict(),
            "not_paid": [outcome_facts(outcome) for outcome in self.totals.listed],
            "stopped": stopped,
            "halted": halted,
            "error": facts_of(self.error) if self.error is not None and is_other else None,
            "seconds": round(self.seconds, 3),
            "journal": self.journal,
            "journal_is_new": self.journal_is_new,
            "results": self.results,
            "next": self.next,
            "retry": self.retry,
            "exit_code": int(self.code),
        }


def _is_waiting(outcome: PayoutOutcome) -> bool:
    """Return whether an order was only recorded, and nothing was sent for it."""
    is_untouched = outcome.attempts == 0 and outcome.session_id is None and outcome.error is None
    return outcome.state is PayoutState.OPEN and is_untouched and not outcome.needs_request


def _may_move(outcome: PayoutOutcome) -> bool:
    return outcome.session_id is not None or outcome.state is PayoutState.UNKNOWN


def outcome_facts(outcome: PayoutOutcome) -> dict[str, Any]:
    """Return the outcome of a payout as plain JSON values."""
    return {
        "key": outcome.key,
        "state": outcome.state.value,
        "session_id": outcome.session_id,
        "code": outcome.code,
        "reason": reason_of(outcome),
    }


def reason_of(outcome: PayoutOutcome) -> str | None:
    """Return why a payout is in its state."""
    if outcome.reason is None and outcome.state is PayoutState.OPEN:
        return "it was not settled in time"
    return outcome.reason or (None if outcome.error is None else str(outcome.error))


_ROWS: Final = (
    ("paid", PayoutState.SUCCEEDED),
    ("failed", PayoutState.FAILED),
    ("refused", PayoutState.REFUSED),
    ("cancelled", PayoutState.CANCELLED),
    ("unknown", PayoutState.UNKNOWN),
    ("open", PayoutState.OPEN),
)
_UNKNOWN: Final = (
    "never pay an unknown payout under another key: compare the provider's report (payouts "
    "reconcile), or record what you found out (payouts decide)"
)
_ALWAYS: Final = frozenset({PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.UNKNOWN})


def show_run(run: RunEnd, *, as_json: bool) -> None:
    """Show the result of a run, and what to do next."""
    if isinstance(run.error, PayoutsHalted):
        complain(message_of(run.error))
    if as_json:
        write_json(run.as_dict())
    else:
        screen = console()
        _show_sums(screen, run)
        show_outcomes(screen, run.totals.listed, run.totals.unlisted)
        for line in _verdict(run):
            screen.print(cell(line), soft_wrap=True)
    if run.error is not None and not isinstance(run.error, PayoutsHalted):
        complain(message_of(run.error))


def _show_sums(screen: Console, run: RunEnd) -> None:
    sums = run.totals
    shown = table()
    shown.show_header = False
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column(overflow="fold")
    if sums.asked is not None:
        shown.add_row("asked", f"{sums.asked:,}", "")
    for name, state in _ROWS:
        if sums.states[state] or state in _ALWAYS:
            shown.add_row(name, f"{sums.states[state]:,}", cell(_money(sums, state)))
    if sums.not_started:
        shown.add_row("not started", f"{sums.not_started:,}", "")
    before = [money(Amount(units, code)) for code, units in sorted(sums.paid_before.items())]
    of_them = f"of them paid: {', '.join(before)}" if before else ""
    shown.add_row("settled before", f"{sums.replayed:,}", cell(of_them))
    shown.add_row("time", f"{run.seconds:,.1f} s", "")
    show(screen, shown)


def show_outcomes(screen: Console, outcomes: Iterable[PayoutOutcome], more: int) -> None:
    """List payouts that weren't paid, each with its session and the reason."""
    outcomes = list(outcomes)
    is_over = all(one.state in _NOT_PAID for one in outcomes)
    shown = table("Not paid" if is_over else "Not paid, or not known to be paid")
    for column in ("Key", "State", "Session", "Why"):
        shown.add_column(column, overflow="fold")
    for one in outcomes:
        text = ": ".join(part for part in (one.code, reason_of(one)) if part)
        why = without_card_numbers(text) or ""
        shown.add_row(cell(one.key), cell(one.state.value), cell(one.session_id or ""), cell(why))
    if shown.row_count:
        show(screen, shown)
    if more:
        screen.print(cell(f"and {more:,} more"), soft_wrap=True)


def show_dry_run(orders: int, bodies: int, *, as_json: bool) -> None:
    """Show how much was signed."""
    if as_json:
        write_json({"dry_run": True, "payouts": orders, "signed": bodies, "sent": 0})
        return
    text = f"{counted(orders, 'payout')}: {counted(bodies, 'request')} built and signed, none sent"
    console().print(cell(text), soft_wrap=True)


def _money(sums: RunTotals, state: PayoutState) -> str:
    found = sorted((code, units) for (one, code), units in sums.money.items() if one is state)
    return ", ".join(money(Amount(units, code)) for code, units in found)


def _verdict(run: RunEnd) -> list[str]:
    sums, lines = run.totals, list[str]()
    if sums.settled and sums.replayed == sums.settled and not sums.not_started:
        lines.append("all payouts were settled before; nothing was sent")
    if sums.asked is None and not sums.settled and not isinstance(run.error, PayoutsHalted):
        lines.append("there are no open payouts to settle")
    if sums.states[PayoutState.UNKNOWN]:
        lines.append(_UNKNOWN)
    if isinstance(run.error, BatchStopped):
        lines.append(f"stopped early: {run.error.reason}")
    if sums.passing and run.retry is not None:
        causes = ", ".join(f"{count:,} {code}" for code, count in sums.passing.most_common())
        lines.append(f"failed for a cause that may pass: {causes}")
        lines.append(f"to try these again, under the same keys: {run.retry}")
    lines.append(f"journal: {run.journal}{' (new)' if run.journal_is_new else ''}")
    if run.results is not None:
        lines.append(f"results: {run.results}")
    if run.next is not None:
        lines.append(f"next: {run.next}")
    return lines


_STATE_NAMES: Final = (
    (PayoutState.SUCCEEDED, "paid"),
    (PayoutState.FAILED, "failed"),
    (PayoutState.REFUSED, "refused"),
    (PayoutState.UNKNOWN, "unknown"),
    (PayoutState.OPEN, "open"),
)


class _Rate(ProgressColumn):
    """Outcomes per second."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextmanager
def advice_listed_once() -> Generator[None]:
    """Don't warn of advice at each payout: the check of the file has listed it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuleBroken)
        yield


@contextmanager
def progress_bar(totals: RunTotals, page: str) -> Generator[Callable[[], None]]:
    """Show a progress bar on a terminal; yields the function to call after each outcome.

    The line ``page``, above it, says how to see more.
    """
    if not is_lively(sys.stderr):
        yield _nothing
        return
    remark(printable(page))
    with Progress(
        TextColumn("settled"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console(beside=True),
    ) as progress:
        task = progress.add_task("settled", total=totals.asked, counts="")

        def advance() -> None:
            # What was settled before takes no time, and would make the rate and the ETA too good.
            asked = None if totals.asked is None else totals.asked - totals.replayed
            paid = totals.settled - totals.replayed
            progress.update(task, total=asked, completed=paid, counts=_counts(totals))

        yield advance


def _counts(totals: RunTotals) -> str:
    counts = ((totals.states[state], name) for state, name in _STATE_NAMES)
    return ", ".join(f"{count:,} {name}" for count, name in counts if count)


def _nothing() -> None:
    pass


def needs_terminal() -> None:
    """Check that a question can be asked.

    Raises:
        InvalidRequest: standard input isn't a terminal.

    """
    if not (sys.stdin is not None and sys.stdin.isatty()):  # pyright: ignore[reportUnnecessaryComparison]
        raise InvalidRequest("--yes", "required without a terminal to ask in; nothing was done")


def confirmed(
    found: Preflight, known: FileInJournal, needs: list[Need], journal: str, server: str
) -> bool:
    """Ask on standard error whether to pay; only "yes" is a yes."""
    place = f"{'the new journal' if known.is_new else 'journal'} {journal}"
    return agreed(f"Pay {_what(found, known, needs, 'started')}, at {server}; {place}?")


def submit_confirmed(
    found: Preflight, known: FileInJournal, needs: list[Need], journal: str, server: str
) -> bool:
    """Ask on standard error whether to submit; only "yes" is a yes."""
    what = _what(found, known, needs, "submitted")
    return agreed(f"Submit {what}, to the workers of {journal}, which pay at {server}?")


def _what(found: Preflight, known: FileInJournal, needs: list[Need], done: str) -> str:
    parts = [f"{known.started:,} of them {done} before"] if known.started else []
    if elsewhere := sum(known.elsewhere.values()):
        parts.append(f"{elsewhere:,} of them in other batches, and not paid again")
    before = f" ({', '.join(parts)})" if parts else ""
    rows = f"{counted(found.count, 'payout')}{before}"
    if any(one.paid or one.unpaid for one in needs):
        left = [Amount(one.left, one.currency) for one in needs if one.left]
        return f"what is left of {rows}, {_sum_words(left) or 'nothing'}"
    return f"{rows}, {_sum_words(Amount(units, code) for code, units in found.totals.items())}"


def _sum_words(sums: Iterable[Amount]) -> str:
    return " and ".join(map(money, sums))


def agreed(question: str) -> bool:
    """Ask on standard error; only "yes" is a yes.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.

    """
    try:
        says_yes = typer.confirm(
            "\n".join(map(printable, question.splitlines())), default=False, err=True
        )
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        says_yes = False
    if not says_yes:
        remark("not confirmed; nothing was done")
    return says_yes


@contextmanager
def interrupt_named(next_step: str) -> Generator[None]:
    """Report an interrupt, with the next step.

    Raises:
        CommandFailed: there was one.

    """
    try:
        yield
    except KeyboardInterrupt:
        message = f"interrupted: payouts in flight are in the journal; next: {next_step}"
        facts = {"type": "Interrupted", "outcome": "unknown", "message": message, "next": next_step}
        raise CommandFailed(ExitCode.OUTCOME_UNKNOWN, message, facts) from None
