"""``payouts reconcile``: the provider's daily report held against the journal."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import InvalidRequest
from ..payouts.reconciling import Finding, FindingKind, Reconciliation
from ..payouts.report import PayoutReport, ReportColumns
from .errand import ended_by_signals
from .failures import ExitCode, explained, unread_or_not
from .naming import named
from .payouts_client import done_with
from .payouts_journal import shown
from .payouts_options import NeededJournal, Server
from .screen import AsJson, cell, console, counted, show, table, write_json

Report = Annotated[
    Path, typer.Argument(metavar="FILE", help="The provider's daily payouts report, a CSV.")
]
Time = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Begin or end of what the report covers, such as 2026-11-26T00:00+00:00; with both, "
        "payouts are told that it lacks.",
    ),
]
AmountColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the amounts, in major units, to compare.")
]
CurrencyColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Of the currencies.")]
Delimiter = Annotated[str, typer.Option(metavar="CHARACTER", help="Between the columns.")]
Adopt = Annotated[
    bool,
    typer.Option("--adopt", help="Write as paid what the report shows and the journal forgot."),
]


def reconcile(  # noqa: PLR0913 - one option per setting
    report: Report,
    *,
    journal: NeededJournal,
    server: Server = None,
    since: Time = None,
    until: Time = None,
    amount_column: AmountColumn = None,
    currency_column: CurrencyColumn = None,
    delimiter: Delimiter = ",",
    adopt: Adopt = False,
    as_json: AsJson = False,
) -> None:
    """Hold the provider's daily report against the journal; what it settles is written as paid.

    Nothing is sent. Needs the project and the server of the environment, whose the journal is, and
    no key.

    Exit codes: 0 nothing to look at. 1 something differs. 2 misuse. 7 the journal forgot a
    payout, and payouts are halted.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        if (amount_column is None) != (currency_column is None):
            raise InvalidRequest("--amount-column", "goes with --currency-column")
        if len(delimiter) != 1:
            raise InvalidRequest("--delimiter", "expected one character")
        read = PayoutReport(
            path=report,
            columns=ReportColumns(amount=amount_column, currency=currency_column),
            delimiter=delimiter,
            since=_time("--since", since),
            until=_time("--until", until),
        )
        code = _adopt(read, journal, server, as_json=as_json) if adopt else ExitCode.DONE
        code = code if adopt else _reconcile(read, journal, server, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _reconcile(
    report: PayoutReport, journal: str, server: str | None, *, as_json: bool
) -> ExitCode:
    found = done_with(journal, server, lambda payouts: payouts.reconcile(report))
    with unread_or_not():
        if as_json:
            write_json(_facts(found))
        else:
            _show(console(), found, journal)
    if found.counts[FindingKind.FORGOTTEN]:
        return ExitCode.HALTED
    return ExitCode.DONE if found.is_clean else ExitCode.FAILED


def _adopt(report: PayoutReport, journal: str, server: str | None, *, as_json: bool) -> ExitCode:
    count = done_with(journal, server, lambda payouts: payouts.adopt(report))
    if as_json:
        write_json({"adopted": count})
    else:
        screen = console()
        screen.print(cell(f"{counted(count, 'payout')} written as paid"), soft_wrap=True)
        step = shlex.join(["smartglocal", "payouts", "lift", "--journal", shown(journal)])
        screen.print(cell(f"after the reports of all days: {step}"), soft_wrap=True)
    return ExitCode.DONE


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(option, "expected a time such as 2026-11-26T00:00+00:00") from None
    if time.tzinfo is None:
        raise InvalidRequest(option, "has no offset from UTC: write +00:00 behind it")
    return time


def _show(screen: Console, found: Reconciliation, journal: str) -> None:
    counts = table()
    counts.show_header = False
    counts.add_column()
    counts.add_column(justify="right")
    counts.add_row("rows", f"{found.rows:,}")
    counts.add_row("as in the journal", f"{found.agreed:,}")
    counts.add_row("settled now", f"{found.settled:,}")
    counts.add_row("of others", f"{found.others:,}")
    show(screen, counts)
    if found.is_clean:
        screen.print(cell("nothing to look at", "green"), soft_wrap=True)
        return
    listed = table(f"{counted(sum(found.counts.values()), 'finding')} for a person to look at")
    for column in ("Line", "Key", "Session", "What"):
        listed.add_column(column, overflow="fold")
    for one in found.findings:
        listed.add_row(
            *map(cell, (one.line or "", one.key or "", one.session_id or "", one.kind.value))
        )
    show(screen, listed)
    if found.counts[FindingKind.FORGOTTEN]:
        words = "payouts are halted: take the newest copy of the journal, or --adopt the report"
        screen.print(cell(f"{words} ({shown(journal)})", "bold red"), soft_wrap=True)


def _facts(found: Reconciliation) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "agreed": found.agreed,
        "settled": found.settled,
        "others": found.others,
        "is_clean": found.is_clean,
        "counts": {kind.value: count for kind, count in found.counts.items()},
        "findings": [_finding(one) for one in found.findings],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "key": one.key,
        "session_id": one.session_id,
        "line": one.line,
    }
