"""``payouts check``: a file of payouts looked at, with nothing sent and no credentials."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from attrs import asdict
from rich.console import Console

from ..errors import InvalidRequest
from ..payouts.files import PayoutFile, Problem
from ..payouts.preflight import Preflight, preflight
from ..payouts.twins import Twin
from ..values.money import Amount, AmountDetails
from .failures import ExitCode, explained, unread_or_not
from .screen import AsJson, cell, console, counted, show, table, write_json
from .words import money

EXPECT: Final = "--expect-total"
_MONEY: Final = re.compile(r"([0-9.]+) ?([A-Za-z]{3})")

File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="CSV or JSON Lines, by its suffix: .csv, .jsonl, .ndjson."),
]
ExpectTotal = Annotated[
    list[str] | None,
    typer.Option(
        metavar="AMOUNT",
        help="The sum that you expect, in major units with its currency, such as 1234.56usd; "
        "once for each currency of the file.",
    ),
]
Most = Annotated[int, typer.Option(min=1, metavar="N", help="How many findings to list of a kind.")]


def check(
    file: File,
    *,
    expect_total: ExpectTotal = None,
    most: Most = 100,
    as_json: AsJson = False,
) -> None:
    """Look at a file of payouts before anything is paid: sums, bad rows, what is there twice.

    Nothing is sent, and no credentials are needed. Exit code 0 for a file that can be paid, 1 for
    one that can't.
    """
    with explained(as_json=as_json):
        totals = amounts(EXPECT, expect_total) or None
        found = preflight(PayoutFile(file), expect_total=totals, most_problems=most)
        with unread_or_not():
            if as_json:
                write_json(facts(found))
            else:
                show_preflight(found)
    if not found.is_fit:
        raise typer.Exit(ExitCode.FAILED)


def looked(
    file: PayoutFile, totals: dict[str, AmountDetails] | None, *, as_json: bool
) -> Preflight:
    """Look at a file that is to be paid.

    What was found is shown; with JSON, which is to be one object, only what isn't fit.
    """
    found = preflight(file, expect_total=totals)
    with unread_or_not():
        if not as_json:
            show_preflight(found)
        elif not found.is_fit:
            write_json(facts(found))
    return found


def amounts(option: str, typed: list[str] | None) -> dict[str, AmountDetails]:
    """Read amounts that were typed with their currencies, by currency.

    Raises:
        InvalidRequest: one isn't an amount, or a currency comes twice.

    """
    read: dict[str, AmountDetails] = {}
    for text in typed or ():
        parts = _MONEY.fullmatch(text)
        if parts is None:
            raise InvalidRequest(option, "expected an amount and its currency: 1234.56usd")
        try:
            amount = AmountDetails.of(*parts.groups())
        except InvalidRequest as error:
            raise InvalidRequest(option, error.problem) from None
        if amount.currency in read:
            raise InvalidRequest(option, f"is given twice for {amount.currency}")
        read[amount.currency] = amount
    return read


def facts(found: Preflight) -> dict[str, Any]:
    """Give what was found as plain JSON values."""
    code = ExitCode.DONE if found.is_fit else ExitCode.FAILED
    return {"is_fit": found.is_fit, **asdict(found), "exit_code": int(code)}


def show_preflight(found: Preflight) -> None:
    """Show what was found, and whether it can be paid."""
    screen = console()
    shown = table(counted(found.count, "payout"))
    shown.add_column("Total", justify="right", no_wrap=True)
    for currency, units in found.totals.items():
        shown.add_row(cell(money(Amount(units, currency))))
    if shown.row_count:
        show(screen, shown)
    _problems(screen, "Problems", found.problems, found.problem_count)
    _twins(screen, "The same key twice", found.duplicates, found.duplicate_count)
    _twins(screen, "The same recipient and amount twice", found.repeats, found.repeat_count)
    _problems(screen, "Advice; the provider may well take these", found.advice, found.advice_count)
    for currency, units in found.differences.items():
        words = f"the total in {currency.upper()} is off by {money(Amount(units, currency))}"
        screen.print(cell(words, "red"), soft_wrap=True)
    screen.print(_verdict(found), soft_wrap=True)


def _problems(screen: Console, title: str, problems: Iterable[Problem], count: int) -> None:
    def rows(add: Callable[..., None]) -> None:
        for one in problems:
            add(cell(one.line), cell(one.column or ""), cell(one.words))

    _listed(screen, title, ("Line", "Column", "What is wrong"), rows, count)


def _twins(screen: Console, title: str, twins: Iterable[Twin], count: int) -> None:
    def rows(add: Callable[..., None]) -> None:
        for twin in twins:
            add(cell(twin.line), cell(twin.first_line), cell(twin.key))

    _listed(screen, title, ("Line", "As in line", "Key"), rows, count)


def _listed(
    screen: Console,
    title: str,
    columns: tuple[str, ...],
    rows: Callable[[Callable[..., None]], None],
    count: int,
) -> None:
    if not count:
        return
    screen.print(cell(title, "bold"), soft_wrap=True)
    shown = table()
    for column in columns:
        shown.add_column(column, overflow="fold")
    rows(shown.add_row)
    show(screen, shown)
    if count > shown.row_count:
        screen.print(cell(f"and {count - shown.row_count:,} more"), soft_wrap=True)


def _verdict(found: Preflight) -> Any:  # noqa: ANN401 - rich's own
    if found.is_fit:
        warned = counted(found.repeat_count, "repeat")
        doubt = f"; look at the {warned} before you do" if found.repeat_count else ""
        return cell(f"fit to be paid{doubt}", "green")
    told: list[str] = []
    if found.bad_rows:
        told.append(counted(found.bad_rows, "bad row"))
    if found.duplicate_count:
        told.append(f"{counted(found.duplicate_count, 'key')} there twice")
    if found.differences:
        told.append(f"{counted(len(found.differences), 'total')} not as expected")
    return cell(f"not fit to be paid: {', '.join(told)}", "red")
