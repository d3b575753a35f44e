"""``payouts reconcile``: compares the provider's daily report with the journal."""

from typing import Any, Final

from rich.console import Console

from ...errors import InvalidRequest
from ...payouts.reconciliation import Discrepancy, DiscrepancyKind, Reconciliation
from ...payouts.reports.provider_report import PayoutReport, ReportColumns
from ..errors import ExitCode, reader_may_leave
from ..options import time_of
from ..output import counted, write_json
from ..signals import sigterm_interrupts
from ..tables import cell, console, show, table
from .commands import ReconcileOptions
from .journals import next_command, place_of, shown, with_payouts

_MAX_UNREADABLE: Final = 5


def reconcile(options: ReconcileOptions) -> ExitCode:
    """Compare a report with the journal, and show the differences."""
    with sigterm_interrupts():
        if len(options.delimiter) != 1:
            raise InvalidRequest("--delimiter", "expected one character")
        report = PayoutReport(
            path=options.report,
            columns=_columns(options.amount_column, options.currency_column, options.kind_column),
            delimiter=options.delimiter,
            since=None if options.since is None else time_of("--since", options.since),
            until=None if options.until is None else time_of("--until", options.until),
        )
        journal = place_of(options.journal, None, options.server)
        found = with_payouts(
            journal,
            options.server,
            options.wait,
            lambda payouts: payouts.reconcile(report, adopt=options.adopt),
        )
        with reader_may_leave():
            if options.as_json:
                write_json(({"adopted": found.adopted} if options.adopt else {}) | _facts(found))
            elif options.adopt:
                _show_adopted(console(), found, journal, options.server)
            else:
                _show(console(), found, journal)
                if found.unchecked is not None:
                    _show_unchecked(console(), found.unchecked)
    return _code_of(found)


def _show_adopted(screen: Console, found: Reconciliation, journal: str, server: str | None) -> None:
    screen.print(cell(f"{counted(found.adopted, 'payout')} recorded as paid"), soft_wrap=True)
    if not found.is_clean:
        _show(screen, found, journal)
    if found.unchecked is not None:
        _show_unchecked(screen, found.unchecked)
        return
    step = next_command("journal resume", journal=journal, server=server)
    screen.print(cell(f"after the reports of all days: {step}"), soft_wrap=True)


def _show_unchecked(screen: Console, reason: str) -> None:
    text = f"payouts stay halted, and this report doesn't count as compared: {reason}"
    screen.print(cell(text, "bold red"), soft_wrap=True)


def _code_of(found: Reconciliation) -> ExitCode:
    if found.halts or found.unchecked is not None:
        return ExitCode.HALTED
    return ExitCode.DONE if found.is_clean else ExitCode.FAILED


def _columns(amount: str | None, currency: str | None, kind: str | None) -> ReportColumns:
    usual = ReportColumns()
    is_compared = "" not in {amount, currency}
    if not is_compared and (amount or currency):
        raise InvalidRequest(
            "--amount-column", "goes with --currency-column: set both to '' to compare no amounts"
        )
    if (amount is None) != (currency is None) and is_compared:
        raise InvalidRequest(
            "--amount-column", "goes with --currency-column; '' compares no amounts"
        )
    return ReportColumns(
        amount=(amount or usual.amount) if is_compared else None,
        currency=(currency or usual.currency) if is_compared else None,
        kind=usual.kind if kind is None else kind or None,
    )


def _show(screen: Console, found: Reconciliation, journal: str) -> None:
    counts = table()
    counts.show_header = False
    counts.add_column()
    counts.add_column(justify="right")
    counts.add_row("rows", f"{found.rows:,}")
    counts.add_row("same as in the journal", f"{found.agreed:,}")
    counts.add_row("settled now", f"{found.settled:,}")
    counts.add_row("not in this journal", f"{found.others:,}")
    show(screen, counts)
    for error in found.unreadable[:_MAX_UNREADABLE]:
        screen.print(cell(f"skipped, and not in this journal: {error}"), soft_wrap=True)
    if (more := found.unreadable_count - _MAX_UNREADABLE) > 0:
        screen.print(cell(f"and {more:,} more"), soft_wrap=True)
    if found.is_clean:
        screen.print(cell("no differences", "green"), soft_wrap=True)
        return
    listed = table(f"{counted(sum(found.counts.values()), 'difference')} to review")
    for column in ("Line", "Key", "Session", "Difference"):
        listed.add_column(column, overflow="fold")
    for one in found.discrepancies:
        listed.add_row(
            *map(cell, (one.line or "", one.key or "", one.session_id or "", one.kind.value))
        )
    show(screen, listed)
    if found.halts:
        fix = (
            "restore the newest copy of the journal, or --adopt the report"
            if found.counts[DiscrepancyKind.FORGOTTEN]
            else "find out what was paid, and claim back wrong payments"
        )
        text = f"payouts are halted: {fix} ({shown(journal)})"
        screen.print(cell(text, "bold red"), soft_wrap=True)


def _facts(found: Reconciliation) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "agreed": found.agreed,
        "settled": found.settled,
        "others": found.others,
        "unreadable": [str(error) for error in found.unreadable],
        "unreadable_count": found.unreadable_count,
        "is_clean": found.is_clean,
        "unchecked": found.unchecked,
        "counts": {kind.value: count for kind, count in found.counts.items()},
        "findings": [_finding(one) for one in found.discrepancies],
    }


def _finding(one: Discrepancy) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "key": one.key,
        "session_id": one.session_id,
        "line": one.line,
    }
