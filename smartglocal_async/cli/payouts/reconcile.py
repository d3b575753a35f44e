"""``payouts reconcile``: compares the provider's daily reports with the journal."""

import os
from pathlib import Path
from typing import Any, Final

from attrs import asdict
from rich.console import Console

from ...errors import InvalidRequest
from ...payouts.payouts import Payouts
from ...payouts.reports.discrepancies import (
    Discrepancy,
    DiscrepancyKind,
    PaymentReconciliation,
    Reconciliation,
    ReportFindings,
)
from ...payouts.reports.findings_workbook import findings_workbook
from ...payouts.reports.provider_report import (
    PaymentReport,
    PayoutReport,
    ReportColumns,
    is_payment_report,
)
from ..errors import ExitCode, reader_may_leave
from ..options import time_of
from ..output import counted, remark, write_json
from ..signals import sigterm_interrupts
from ..tables import cell, console, money, show, table
from .check import CHARACTERS
from .commands import ReconcileOptions
from .journals import next_command, place_of, shown, with_payouts

_MAX_UNREADABLE: Final = 5
_UNCOMPARED: Final = "amount not compared"


def reconcile(options: ReconcileOptions) -> ExitCode:
    """Compare a report with the journal, and show the differences."""
    with sigterm_interrupts():
        delimiter = _delimiter(options.delimiter)
        _check_output(options.output)
        report = PayoutReport(
            path=options.report,
            columns=_columns(options.amount_column, options.currency_column, options.kind_column),
            delimiter=delimiter,
            since=None if options.since is None else time_of("--since", options.since),
            until=None if options.until is None else time_of("--until", options.until),
        )
        journal = place_of(options.journal, None, options.server)

        async def compared(payouts: Payouts) -> Reconciliation | PaymentReconciliation:
            if not is_payment_report(options.report, delimiter):
                return await payouts.reconcile(report, adopt=options.adopt)
            _check_payment_options(options)
            payments = PaymentReport(path=options.report, delimiter=delimiter)
            return await payouts.reconcile_payments(payments)

        found = with_payouts(journal, options.server, options.wait, compared)
        _write_output(options.output, found)
        with reader_may_leave():
            if options.as_json:
                write_json(_facts(found, options))
            elif isinstance(found, PaymentReconciliation):
                _show_payments(console(), found)
            elif options.adopt:
                _show_adopted(console(), found, journal, options.server)
            else:
                _show(console(), found, journal)
                if found.unchecked is not None:
                    _show_unchecked(console(), found.unchecked)
    return _code_of(found)


def _check_payment_options(options: ReconcileOptions) -> None:
    for name in ("since", "until", "amount_column", "currency_column", "kind_column", "adopt"):
        if getattr(options, name) not in {None, False}:
            option = f"--{name.replace('_', '-')}"
            words = f"goes with the payouts report, and {options.report} is the payments report"
            raise InvalidRequest(option, words)


def _delimiter(given: str | None) -> str | None:
    """Return the character between the columns; None if it is to be recognised."""
    if given is None:
        return None
    character = CHARACTERS.get(given, given)
    if len(character) != 1:
        raise InvalidRequest("--delimiter", "expected one character, or the word tab")
    return character


def _check_output(output: Path | None) -> None:
    if output is None:
        return
    if output.suffix.lower() != ".xlsx":
        raise InvalidRequest("--output", "expected the path of an Excel workbook, ending in .xlsx")
    if output.exists() or not output.parent.is_dir():
        raise InvalidRequest("--output", "exists, or its folder doesn't; use another path")
    _ = findings_workbook(ReportFindings())  # Fails here if XlsxWriter isn't installed.


def _write_output(output: Path | None, found: ReportFindings) -> None:
    """Write the findings to a new file, which only its owner can read."""
    if output is None:
        return
    content = findings_workbook(found)
    number = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        _ = file.write(content)
    remark(f"{counted(sum(found.counts.values()), 'finding')} in {output}")


def _show_adopted(screen: Console, found: Reconciliation, journal: str, server: str | None) -> None:
    screen.print(cell(f"{counted(found.adopted, 'payout')} recorded as paid"), soft_wrap=True)
    if found.without_amount and found.is_clean:
        screen.print(cell(f"{_UNCOMPARED}: {found.without_amount:,}"), soft_wrap=True)
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


def _code_of(found: Reconciliation | PaymentReconciliation) -> ExitCode:
    if isinstance(found, Reconciliation) and (found.halts or found.unchecked is not None):
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
    if found.without_amount:
        counts.add_row(_UNCOMPARED, f"{found.without_amount:,}")
    show(screen, counts)
    _show_findings(screen, found)
    if found.halts:
        fix = (
            "restore the newest copy of the journal, or --adopt the report"
            if found.counts[DiscrepancyKind.FORGOTTEN]
            else "find out what was paid, and claim back wrong payments"
        )
        text = f"payouts are halted: {fix} ({shown(journal)})"
        screen.print(cell(text, "bold red"), soft_wrap=True)


def _show_payments(screen: Console, found: PaymentReconciliation) -> None:
    listed = table(counted(found.rows, "row"))
    for column in ("Type", "Currency"):
        listed.add_column(column)
    for column in ("Rows", "Amount", "Fee", "Settlement"):
        listed.add_column(column, justify="right")
    for (kind, currency), sums in found.sums.items():
        amounts = (f"{sums.amount:,}", f"{sums.fee:,}", f"{sums.settlement:,}")
        listed.add_row(*map(cell, (kind.value, currency, f"{sums.rows:,}", *amounts)))
    show(screen, listed)
    _show_findings(screen, found)


def _show_findings(screen: Console, found: ReportFindings) -> None:
    for error in found.unreadable[:_MAX_UNREADABLE]:
        screen.print(cell(f"skipped, and not in this journal: {error}"), soft_wrap=True)
    if (more := found.unreadable_count - _MAX_UNREADABLE) > 0:
        screen.print(cell(f"and {more:,} more"), soft_wrap=True)
    if found.is_clean:
        screen.print(cell("no differences", "green"), soft_wrap=True)
        return
    listed = table(f"{counted(sum(found.counts.values()), 'difference')} to review")
    names = ("Line", "Key", "Payee", "Session", "Difference", "In the report", "In the journal")
    rows = [_row(one) for one in found.discrepancies]
    # A column that no row fills takes the place of the others.
    filled = [number for number in range(len(names)) if any(row[number] for row in rows)]
    for number in filled:
        is_amount = names[number].startswith("In ")
        listed.add_column(names[number], overflow="fold", justify="right" if is_amount else "left")
    for row in rows:
        listed.add_row(*(cell(row[number]) for number in filled))
    show(screen, listed)


def _row(one: Discrepancy) -> tuple[str, ...]:
    return (
        "" if one.line is None else str(one.line),
        one.key or "",
        one.payee or "",
        one.session_id or "",
        one.kind.value if one.problem is None else f"{one.kind.value}: {one.problem}",
        "" if one.reported is None else money(one.reported),
        "" if one.recorded is None else money(one.recorded),
    )


def _facts(
    found: Reconciliation | PaymentReconciliation, options: ReconcileOptions
) -> dict[str, Any]:
    if isinstance(found, PaymentReconciliation):
        return {"report": "payments", "sums": _sums(found)} | _findings(found)
    adopted = {"adopted": found.adopted} if options.adopt else {}
    facts = {
        "report": "payouts",
        "agreed": found.agreed,
        "settled": found.settled,
        "others": found.others,
        "without_amount": found.without_amount,
        "unchecked": found.unchecked,
    }
    return adopted | facts | _findings(found)


def _sums(found: PaymentReconciliation) -> list[dict[str, Any]]:
    return [
        {
            "type": kind.value,
            "currency": currency or None,
            "rows": sums.rows,
            "amount": str(sums.amount),
            "fee": str(sums.fee),
            "settlement": str(sums.settlement),
        }
        for (kind, currency), sums in found.sums.items()
    ]


def _findings(found: ReportFindings) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "unreadable": [str(error) for error in found.unreadable],
        "unreadable_count": found.unreadable_count,
        "is_clean": found.is_clean,
        "counts": {kind.value: count for kind, count in found.counts.items()},
        "findings": [_finding(one) for one in found.discrepancies],
    }


def _finding(one: Discrepancy) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "key": one.key,
        "session_id": one.session_id,
        "line": one.line,
        "payee": one.payee,
        "reported": one.reported and asdict(one.reported),
        "recorded": one.recorded and asdict(one.recorded),
        "problem": one.problem,
    }
