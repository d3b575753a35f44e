"""``payouts check``: checks a file of payouts, without credentials and without paying anything."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import asdict
from rich.console import Console

from ...errors import InvalidRequest, SmartGlocalError
from ...models.money import Amount, AmountDetails
from ...payouts.files import PayoutFile, Problem
from ...payouts.files.file_format import FileFormat, read_format
from ...payouts.files.payout_file import with_names_of
from ...payouts.preflight import PossibleDuplicate, Preflight
from ...payouts.preflight import check as check_orders
from ...payouts.stop_rules import StopOn
from ..errors import (
    CommandFailed,
    ExitCode,
    message_of,
    reader_may_leave,
    variable_of,
    version_in_use,
)
from ..options import amounts
from ..output import counted, remark, write_json
from ..tables import cell, console, money, show, table
from ..wallets import Need, need_facts, needs_of, read_wallets, show_needs
from .commands import CheckOptions, PayOptions, SubmitOptions
from .journals import client_of

EXPECT: Final = "--expect-total"
PREFIX: Final = "--key-prefix"
SPEND: Final = "--spend-limit"
_CREDENTIALS: Final = ("project", "private_key", "server")


def check(options: CheckOptions) -> ExitCode:
    """Check a file, and show what was found."""
    totals = amounts(EXPECT, options.expect_total) or None
    file = file_of(options.file, options.key_prefix, options.format_file)
    found = check_orders(file, expect_total=totals, max_problems=options.max_listed)
    needs = None if options.offline else _needs(found)
    with reader_may_leave():
        if options.as_json:
            wallets = None if needs is None else need_facts(needs)
            write_json({**facts(found), "wallets": wallets})
        else:
            show_format(file)
            show_preflight(found)
            show_needs(needs or [])
    return ExitCode.DONE if found.is_fit else ExitCode.FAILED


def _needs(found: Preflight) -> list[Need] | None:
    """Return what the wallets hold for a file; None without credentials, or if they can't be read.

    The reason is reported then, and the file is checked all the same.
    """
    if not found.totals or any(variable_of(one) not in os.environ for one in _CREDENTIALS):
        return None
    try:
        return needs_of(found.totals, read_wallets(client_of(None)) or {})
    except (SmartGlocalError, CommandFailed, OSError) as error:
        remark(f"the wallets weren't read: {message_of(error)}")
        return None


def file_of(path: Path, key_prefix: str | None, format_file: Path | None = None) -> PayoutFile:
    """Return the file, with the prefix of its keys and what is given of its format.

    Raises:
        InvalidRequest: the prefix or the format is invalid.
        InvalidCredentials: the environment has an API version that doesn't exist.
        OSError: the file of the format can't be read.

    """
    if key_prefix == "":
        raise InvalidRequest(PREFIX, "is empty; leave the option out")
    how = FileFormat() if format_file is None else read_format(format_file)
    try:
        file = PayoutFile(path, format=how, key_prefix=key_prefix or "")
    except InvalidRequest as error:
        raise InvalidRequest(PREFIX, error.problem) from None
    return with_names_of(version_in_use(), file)


def checked(
    file: PayoutFile, totals: Mapping[str, AmountDetails] | None, *, as_json: bool
) -> Preflight:
    """Check a file before it is paid, and show what was found.

    The JSON output has one object, so it shows only a file that can't be paid.
    """
    found = check_orders(file, expect_total=totals)
    with reader_may_leave():
        if not as_json:
            show_format(file)
            show_preflight(found)
        elif not found.is_fit:
            write_json(facts(found))
    return found


def facts(found: Preflight) -> dict[str, Any]:
    """Return what was found as plain JSON values."""
    code = ExitCode.DONE if found.is_fit else ExitCode.FAILED
    return {"is_fit": found.is_fit, **asdict(found), "exit_code": int(code)}


def show_format(file: PayoutFile) -> None:
    """Show how a file is read; a file that can't be read is among the problems."""
    with suppress(InvalidRequest):
        words = f"read as {file.recognise().words}"
        console().print(cell(words), soft_wrap=True)


def show_preflight(found: Preflight) -> None:
    """Show what was found, and whether the file can be paid."""
    screen = console()
    shown = table(counted(found.count, "payout"))
    shown.add_column("Total", justify="right", no_wrap=True)
    for currency, units in found.totals.items():
        shown.add_row(cell(money(Amount(units, currency))))
    if shown.row_count:
        show(screen, shown)
    _problems(screen, "Problems", found.problems, found.problem_count)
    _duplicates(screen, "Repeated keys", found.duplicates, found.duplicate_count)
    _duplicates(screen, "Repeated recipient and amount", found.repeats, found.repeat_count)
    _problems(screen, "Advice; the provider may accept these", found.advice, found.advice_count)
    for currency, units in found.differences.items():
        words = f"the total in {currency.upper()} is off by {money(Amount(units, currency))}"
        screen.print(cell(words, "red"), soft_wrap=True)
    screen.print(_verdict(found), soft_wrap=True)


def _problems(screen: Console, title: str, problems: Iterable[Problem], count: int) -> None:
    def rows(add: Callable[..., None]) -> None:
        for one in problems:
            add(cell(one.line), cell(one.column or ""), cell(one.words))

    _listed(screen, title, ("Line", "Column", "What is wrong"), rows, count)


def _duplicates(
    screen: Console, title: str, duplicates: Iterable[PossibleDuplicate], count: int
) -> None:
    def rows(add: Callable[..., None]) -> None:
        for one in duplicates:
            add(cell(one.line), cell(one.first_line), cell(one.key))

    _listed(screen, title, ("Line", "Same as line", "Key"), rows, count)


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
        repeats = counted(found.repeat_count, "repeat")
        hint = f"; check the {repeats} first" if found.repeat_count else ""
        return cell(f"can be paid{hint}", "green")
    reasons: list[str] = []
    if found.bad_rows:
        reasons.append(counted(found.bad_rows, "invalid row"))
    if found.duplicate_count:
        reasons.append(counted(found.duplicate_count, "repeated key"))
    if found.differences:
        reasons.append(f"{counted(len(found.differences), 'total')} not as expected")
    return cell(f"can't be paid: {', '.join(reasons)}", "red")


def stop_rules(options: PayOptions | SubmitOptions) -> StopOn:
    """Return the stop rules of the options.

    Raises:
        InvalidRequest: a spending limit is invalid.

    """
    return StopOn(
        first_refusal=options.stop_on_refusal,
        failures_in_a_row=options.stop_after_failures,
        spend=tuple(amounts(SPEND, options.spend_limit).values()),
        low_balance=options.stop_on_low_balance is not False,
    )


def check_limits(spend: Iterable[AmountDetails], totals: Mapping[str, int]) -> None:
    """Refuse a spending limit in a currency that the file doesn't pay.

    Raises:
        InvalidRequest: there is one.

    """
    for limit in spend:
        if limit.currency not in totals:
            code = limit.currency.upper()
            raise InvalidRequest(SPEND, f"is in {code}, but the file pays nothing in {code}")


def batch_of(given: str | None, path: Path) -> str:
    """Return the name of the batch: as given, or the file's name.

    Raises:
        InvalidRequest: it isn't a printable name.

    """
    name = path.name if given is None else given
    if not (name and name.isprintable()):
        raise InvalidRequest("--batch", "expected a name of printable characters")
    return name


def results_of(given: Path | None, path: Path) -> Path:
    """Return the path of the results: as given, or beside the file.

    Raises:
        InvalidRequest: it is the file itself.

    """
    results = path.with_name(f"{path.name}.results.csv") if given is None else given
    if results.absolute() == path.absolute():
        raise InvalidRequest("--results", "is the file to be paid; use another path")
    return results
