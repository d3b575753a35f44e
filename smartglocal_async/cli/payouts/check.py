"""``payouts check``: checks a file of payouts, without credentials and without paying anything."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import asdict, evolve
from rich.console import Console

from ...errors import InvalidRequest, SmartGlocalError
from ...models.money import Amount, AmountDetails
from ...payouts.files import PayoutFile
from ...payouts.files.file_format import (
    DELIMITERS,
    KINDS,
    SIGNS,
    FileFormat,
    folded,
    read_format,
)
from ...payouts.files.payout_file import with_names_of
from ...payouts.files.template import (
    TEMPLATE_KINDS,
    TemplateKind,
    payout_template,
    template_columns,
)
from ...payouts.preflight import PossibleDuplicate, Preflight, ProblemGroup
from ...payouts.preflight import check as check_orders
from ...payouts.stop_rules import StopOn
from ..errors import (
    CommandFailed,
    ExitCode,
    message_of,
    named,
    reader_may_leave,
    variable_of,
    version_in_use,
)
from ..options import amounts
from ..output import counted, remark, write_json
from ..tables import cell, console, money, show, table
from ..wallets import Need, need_facts, needs_of, read_wallets, show_needs
from .commands import CheckOptions, PayOptions, SubmitOptions, TemplateOptions
from .options import FormatOptions

EXPECT: Final = "--expect-total"
PREFIX: Final = "--key-prefix"
SPEND: Final = "--spend-limit"
_OUTPUT: Final = "--output"
_MAX_ALIKE: Final = 10
"""Problems of a kind that are listed row by row."""
_CREDENTIALS: Final = ("project", "private_key", "server")


def check(options: CheckOptions) -> ExitCode:
    """Check a file, and show what was found."""
    totals = amounts(EXPECT, options.expect_total) or None
    file = file_of(options.file, options.key_prefix, options)
    found = check_orders(file, expect_total=totals, max_problems=options.max_listed)
    needs = None if options.offline else _needs(found)
    with reader_may_leave():
        if options.as_json:
            wallets = None if needs is None else need_facts(needs)
            write_json({"read_as": _recognised(file).words, **facts(found), "wallets": wallets})
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
    from .journals import client_of  # noqa: PLC0415 - a check without credentials needs no client

    try:
        return needs_of(found.totals, read_wallets(client_of(None)) or {})
    except (SmartGlocalError, CommandFailed, OSError) as error:
        remark(f"the wallets weren't read: {message_of(error)}")
        return None


def template(options: TemplateOptions) -> None:
    """Write a file of payouts to fill in.

    Raises:
        InvalidRequest: there is no such country, or the file can't be a template.
        Misuse: a workbook needs XlsxWriter.
        OSError: the file exists, or can't be written.

    """
    output = options.output
    kind = _template_kind(options)
    if kind == "xlsx" and output is None:
        raise InvalidRequest(_OUTPUT, "is needed for a workbook")
    with named({"country": "--country"}):
        columns = template_columns(options.country)
        content = payout_template(options.country, kind)
    if output is not None:
        with output.open("xb") as file:  # One that is there may be filled in already.
            _ = file.write(content)
    if options.as_json:
        path = None if output is None else str(output)
        write_json({"format": kind, "output": path, "columns": [asdict(one) for one in columns]})
    elif output is None:
        _ = sys.stdout.write(content.decode("utf-8-sig").replace("\r\n", "\n"))
    else:
        needed = ", ".join(one.name for one in columns if one.is_needed)
        remark(f"{output}: {counted(len(columns), 'column')}; each row needs {needed}")
        remark(f"next: {shlex.join(['smartglocal', 'payouts', 'check', str(output)])}")


def _template_kind(options: TemplateOptions) -> TemplateKind:
    suffix = "" if options.output is None else options.output.suffix.lower().removeprefix(".")
    if suffix in TEMPLATE_KINDS and options.file_format not in {None, suffix}:
        raise InvalidRequest(_OUTPUT, f"ends in .{suffix}, and --format is {options.file_format}")
    if suffix and suffix not in TEMPLATE_KINDS:
        raise InvalidRequest(_OUTPUT, "expected a name that ends in .csv or .xlsx")
    return options.file_format or ("xlsx" if suffix == "xlsx" else "csv")


_TEXTS: Final = frozenset({"csv", "jsonl"})
_WORKBOOKS: Final = frozenset({"xlsx", "xls", "ods"})
_TABLES: Final = _WORKBOOKS | {"csv"}
_FORMAT_OPTIONS: Final[Mapping[str, tuple[str, frozenset[str], str]]] = {
    "kind": ("--kind", frozenset(KINDS), ""),
    "encoding": ("--encoding", _TEXTS, "its encoding is part of its format"),
    "delimiter": ("--delimiter", frozenset({"csv"}), "its cells have no delimiter"),
    "decimal": ("--decimal", _TABLES, "its amounts have a decimal point"),
    "sheet": ("--sheet", _WORKBOOKS, "it has no sheets"),
    "columns": ("--map", _TABLES, "it has no columns"),
    "ignored": ("--ignore-column", _TABLES, "it has no columns"),
}
"""Field of a format -> its option, the kinds of file that have it, and why others don't."""
_ALL_OPTIONS: Final = tuple(option for option, _, _ in _FORMAT_OPTIONS.values())


CHARACTERS: Final[Mapping[str, str]] = {
    **{name.removesuffix("s"): sign for sign, name in DELIMITERS.items()},
    **{name.removeprefix("decimal "): sign for sign, name in SIGNS.items()},
}
"""Names under which a delimiter or a decimal sign may be given."""


def file_of(path: Path, key_prefix: str | None, given: FormatOptions) -> PayoutFile:
    """Return the file, with the prefix of its keys and what is given of its format.

    Raises:
        InvalidRequest: the prefix or the format is invalid, or an option doesn't fit the file.
        InvalidCredentials: the environment has an API version that doesn't exist.
        OSError: the file, or that of the format, can't be read.

    """
    if key_prefix == "":
        raise InvalidRequest(PREFIX, "is empty; leave the option out")
    how = format_of(given)
    try:
        file = PayoutFile(path, format=how, key_prefix=key_prefix or "")
    except InvalidRequest as error:
        raise InvalidRequest(PREFIX, error.problem) from None
    file = with_names_of(version_in_use(), file)
    _check_fits(file, given)
    return file


def format_of(given: FormatOptions) -> FileFormat:
    """Return the format of ``--layout``, with the options for single fields in it.

    Raises:
        InvalidRequest: the file of the format or an option is invalid.
        OSError: the file of the format can't be read.

    """
    how = FileFormat() if given.format_file is None else read_format(given.format_file)
    for name, value in _fields_of(given, how):
        try:
            how = evolve(how, **{name: value})
        except InvalidRequest as error:
            raise InvalidRequest(_FORMAT_OPTIONS[name][0], error.problem) from None
    return how


def _fields_of(given: FormatOptions, how: FileFormat) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a format that options give; they override those of the file."""
    for name in ("kind", "encoding", "sheet"):
        if (text := getattr(given, name)) is not None:
            yield name, text
    for name in ("delimiter", "decimal"):
        if (text := getattr(given, name)) is not None:
            yield name, CHARACTERS.get(text, text)
    if given.columns:
        yield "columns", {**how.columns, **_mapping(given.columns)}
    if given.ignored:
        yield "ignored", how.ignored.union(given.ignored)


def _mapping(texts: Iterable[str]) -> dict[str, str]:
    """Return column -> field, from texts such as ``Betrag=amount``."""
    found: dict[str, str] = {}
    option = _FORMAT_OPTIONS["columns"][0]
    for text in texts:
        # The name of a column may have an equals sign.
        column, _, meaning = (part.strip() for part in text.rpartition("="))
        if not (column and meaning):
            raise InvalidRequest(option, "expected COLUMN=FIELD, such as 'Betrag=amount'")
        if folded(column) in map(folded, found):
            raise InvalidRequest(option, f"has the column {column!r} twice")
        found[column] = meaning
    return found


def _check_fits(file: PayoutFile, given: FormatOptions) -> None:
    """Refuse an option that has no meaning for the kind of the file.

    Raises:
        InvalidRequest: there is one.

    """
    options = {name for name in _FORMAT_OPTIONS if getattr(given, name)}
    kind = _recognised(file).kind if options else None
    for name in options if kind is not None else ():
        option, kinds, words = _FORMAT_OPTIONS[name]
        if kind not in kinds:
            raise InvalidRequest(option, f"{file.path} is read as {kind}: {words}")


def _recognised(file: PayoutFile) -> FileFormat:
    """Return how a file is read; empty if it can't be read, which is among its problems."""
    with suppress(InvalidRequest):
        return file.recognise()
    return FileFormat()


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
    """Show how a file is read, and the options that change it.

    A file that can't be read is among the problems.
    """
    found = _recognised(file)
    options = [option for option, kinds, _ in _FORMAT_OPTIONS.values() if found.kind in kinds]
    if found.kind is not None:
        console().print(cell(f"read as {found.words}"), soft_wrap=True)
    advice = f"to read it otherwise: {', '.join(options or _ALL_OPTIONS)}"
    console().print(cell(advice), soft_wrap=True)


def show_preflight(found: Preflight) -> None:
    """Show what was found, and whether the file can be paid."""
    screen = console()
    shown = table(counted(found.count, "payout"))
    shown.add_column("Total", justify="right", no_wrap=True)
    for currency, units in found.totals.items():
        shown.add_row(cell(money(Amount(units, currency))))
    if shown.row_count:
        show(screen, shown)
    _problems(screen, "Problems", found, is_advice=False)
    _duplicates(screen, "Repeated keys", found.duplicates, found.duplicate_count)
    _duplicates(screen, "Repeated recipient and amount", found.repeats, found.repeat_count)
    _problems(screen, "Advice; the provider may accept these", found, is_advice=True)
    for currency, units in found.differences.items():
        words = f"the total in {currency.upper()} is off by {money(Amount(units, currency))}"
        if found.bad_rows:
            verb = "isn't" if found.bad_rows == 1 else "aren't"
            words += f"; {counted(found.bad_rows, 'invalid row')} {verb} in the total"
        screen.print(cell(words, "red"), soft_wrap=True)
    screen.print(_verdict(found), soft_wrap=True)


def _problems(screen: Console, title: str, found: Preflight, *, is_advice: bool) -> None:
    """Show equal problems in one line, with the lines of the file; of many rows, their number."""
    problems = found.advice if is_advice else found.problems
    count = found.advice_count if is_advice else found.problem_count
    groups = [group for group in found.groups if group.is_advice is is_advice]
    if count > len(problems) or any(group.count > _MAX_ALIKE for group in groups):
        _groups(screen, title, groups)
        return

    lines = dict[tuple[str, str], list[int]]()
    for one in problems:
        found_in = lines.setdefault((one.column or "", one.words), [])
        if one.line not in found_in:
            found_in.append(one.line)

    def rows(add: Callable[..., None]) -> None:
        for (column, words), numbers in lines.items():
            add(cell(", ".join(map(str, numbers))), cell(column), cell(words))

    _listed(screen, title, ("Lines", "Column", "What is wrong"), rows, len(lines))


def _groups(screen: Console, title: str, groups: Sequence[ProblemGroup]) -> None:
    def rows(add: Callable[..., None]) -> None:
        for one in groups:
            words = one.problem if one.page is None else f"{one.problem} ({one.page})"
            add(*map(cell, (f"{one.count:,}", one.first_line, one.column or "", words)))

    columns = ("Rows", "First line", "Column", "What is wrong")
    _listed(screen, title, columns, rows, len(groups))


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
