"""Reads a workbook of Excel or OpenDocument: the sheet and the header are found, then each row.

A cell of text is read as it is. A number is read as the 15 digits that a spreadsheet shows; in the
column of an identifier it is refused, as the spreadsheet has dropped leading zeros and long digits.
What python-calamine doesn't tell, such as errors and hidden rows, comes from `sheet_marks`.
"""

import math
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, BinaryIO, Final, TypeAlias, cast

from attrs import evolve, frozen

from ...errors import InvalidRequest
from ...models.money import decimals_of
from .amounts import AmountReader
from .cells import Cell, Cells, flaws, read_header
from .columns import NEEDED
from .file_format import FileFormat
from .rows import FileRow, Problem, RowChecker, UnreadableFile, refused, shown
from .sheet_marks import (
    DAMAGED,
    IS_MERGED,
    SHOWN_FORMATTED,
    SHOWN_OTHERWISE,
    SheetMarks,
    marks_of,
)

Value: TypeAlias = str | int | float | bool | date | datetime | time | timedelta
Row: TypeAlias = Sequence[Value]
_MAX_ROWS_ABOVE: Final = 20
_MOST_DIGITS: Final = 10**15
_DIGITS: Final = 15
_TWO_DECIMALS: Final = 2
_IDENTIFIERS: Final = frozenset(
    {
        *("iban", "swift_bic_code", "bank_account_number", "account_number", "branch_number"),
        *("sort_code", "routing_code", "bsb_number", "bik", "account", "inn", "kpp", "number"),
        *("number_hash", "token", "phone", "msisdn", "bank_id", "id_number", "postal_code"),
        *("registration_number", "code", "tax_reference", "document", "wallet_id"),
        *("beneficiary_id", "division_code", "security_code", "expiration_month"),
        *("expiration_year", "country_iso3", "country_iso2", "currency", "reference"),
    }
)
"""The last name of a path whose cells are identifiers, in which each character counts."""
_IS_NUMBER: Final = (
    "is a number: a spreadsheet drops leading zeros and keeps 15 digits; format the column as text "
    "and write it again"
)
_IS_DATE: Final = "is a date; format the column as text and write it again"
_NEEDS: Final = "is a workbook, which needs python-calamine: pip install 'smartglocal-async[files]'"
_NO_ROWS: Final = "the sheet has a header, and no rows"
_TOO_LONG: Final = "has more digits than a spreadsheet keeps"
_PANICKED: Final = b"panicked at"


@frozen
class _Header:
    """Where the columns of a sheet are named."""

    line: int
    cells: tuple[int, ...]
    """The positions of the cells with names."""
    names: tuple[str, ...]


def recognise(file: BinaryIO, given: FileFormat) -> FileFormat:
    """Return the format of a workbook: its sheet, and the line of its header.

    Raises:
        UnreadableFile: it is damaged, python-calamine isn't installed, or the sheet isn't certain.

    """
    with _panics_named(), _opened(file) as book:
        sheet = given.sheet if given.sheet is not None else _only_sheet(book, given)
        rows = _rows_of(book, sheet)
        header = _header(rows, given)
        found = evolve(
            given,
            sheet=sheet,
            header_line=header.line,
            is_decimal_given=given.decimal is not None,
        )
        marks = marks_of(file, found.kind, sheet)
        return _looked_through(rows, header, marks, found)


def workbook_rows(file: BinaryIO, found: FileFormat, checker: RowChecker) -> Iterator[FileRow]:
    """Yield the rows of a workbook in a recognised format."""
    with _panics_named(), _opened(file) as book:
        rows = _rows_of(book, found.sheet or "")
        header = _header(rows, found)
        if problems := tuple(flaws(header.line, header.names, found)):
            yield FileRow(line=header.line, order=None, problems=problems)
            return
        layout = read_header(header.names, found)
        under = Cells.under(layout, checker, found)
        marks, has_rows = marks_of(file, found.kind, found.sheet or ""), False
        for line, row in _filled_rows(rows, header, marks):
            has_rows = True
            yield _row(line, row, header, under, marks)
        if not has_rows:
            yield refused(header.line, None, _NO_ROWS)


def _filled_rows(
    rows: Iterator[Row], header: _Header, marks: SheetMarks
) -> Iterator[tuple[int, Row]]:
    """Yield the lines below the header that aren't empty, with their rows."""
    line = header.line
    for line, row in enumerate(rows, header.line + 1):
        if line in marks.lines or any(map(_has_value, row)):
            yield line, row
    # The library leaves out what is empty for it at the end of a sheet.
    yield from ((below, ()) for below in sorted(marks.lines) if below > line)


def _looked_through(
    rows: Iterator[Row], header: _Header, marks: SheetMarks, found: FileFormat
) -> FileFormat:
    """Add the decimal sign that the amounts show, and the number of hidden rows that are read."""
    if tuple(flaws(header.line, header.names, found)):
        return found
    paths = [found.path_of(name) for name in header.names]
    amount, currency = (header.cells[paths.index(name)] for name in ("amount", "currency"))
    reader, hidden = AmountReader(found.decimal), iter(marks.hidden)
    first, last, count = *next(hidden, (0, 0)), 0
    for line, row in _filled_rows(rows, header, marks):
        while last and last < line:
            first, last = next(hidden, (0, 0))
        count += first <= line <= last
        text = row[amount] if amount < len(row) else ""
        if reader.sign is None and isinstance(text, str) and currency < len(row):
            try:
                _ = reader.read(text.strip(), str(row[currency]).strip())
            except InvalidRequest:
                continue
    return evolve(found, decimal=reader.sign, hidden_rows=count)


def sheets_of(file: BinaryIO) -> Iterator[Iterator[list[str]]]:
    """Yield the rows of each visible sheet, as texts; a date is ``2025-01-02 03:04:05``.

    Raises:
        UnreadableFile: it is damaged, python-calamine isn't installed, or a cell has a number of
            which the spreadsheet has not kept all digits.

    """
    with _panics_named(), _opened(file) as book:
        for name in _visible_sheets(book):
            rows = enumerate(_rows_of(book, name), 1)
            yield ([_text(value, line) for value in row] for line, row in rows)


def _text(value: Value, line: int) -> str:
    """Return the text of a cell."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if abs(value) >= _MOST_DIGITS:
        words = "has a number of which a spreadsheet keeps 15 digits: use the file as it came"
        raise UnreadableFile.because(words, line=line)
    return _digits(value)


@contextmanager
def _panics_named() -> Generator[None]:
    """Report a damaged workbook on which the library, which is written in Rust, panics.

    Raises:
        UnreadableFile: it did.

    """
    try:
        yield
    except BaseException as error:
        # The class can't be imported, and is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise UnreadableFile.because(DAMAGED) from None


@contextmanager
def _quiet_panics() -> Generator[None]:
    """Keep back what the library writes about a panic; other output is written when this ends."""
    try:
        kept = os.dup(2)
    except OSError:  # There is no standard error.
        yield
        return
    with tempfile.TemporaryFile() as written:
        try:
            _ = os.dup2(written.fileno(), 2)
            yield
        finally:
            _ = os.dup2(kept, 2)
            os.close(kept)
            _ = written.seek(0)
            text = written.read()
            if text and _PANICKED not in text:
                _ = os.write(2, text)


def _opened(file: BinaryIO) -> Any:  # noqa: ANN401 - a library that is imported where it is used
    try:
        import python_calamine as calamine  # noqa: PLC0415
    except ImportError:
        raise UnreadableFile.because(_NEEDS) from None
    _ = file.seek(0)
    try:
        with _quiet_panics():
            return cast("Any", calamine).load_workbook(file)
    except calamine.PasswordError:
        words = "is a workbook with a password; save it without one"
        raise UnreadableFile.because(words) from None
    except (calamine.CalamineError, OSError, ValueError):
        raise UnreadableFile.because(DAMAGED) from None


def _only_sheet(book: Any, given: FileFormat) -> str:  # noqa: ANN401
    """Return the one visible sheet that has the columns of payouts."""
    names = _visible_sheets(book)
    fitting = [name for name in names if _find_header(_rows_of(book, name), given) is not None]
    found = fitting or [name for name in names if any(_rows_of(book, name))]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(repr(shown(name)) for name in found or names)
    if fitting:
        words = f"has payouts in several sheets: {listed}; give the one to read"
    elif found:
        words = f"no sheet has the columns {', '.join(NEEDED)}: {listed}; give the one to read"
    else:
        words = "the workbook is empty"
    raise UnreadableFile.because(words)


def _visible_sheets(book: Any) -> list[str]:  # noqa: ANN401
    from python_calamine import SheetTypeEnum, SheetVisibleEnum  # noqa: PLC0415

    return [
        str(one.name)
        for one in book.sheets_metadata
        if one.visible == SheetVisibleEnum.Visible and one.typ == SheetTypeEnum.WorkSheet
    ]


def _rows_of(book: Any, sheet: str) -> Iterator[Row]:  # noqa: ANN401
    if sheet not in book.sheet_names:
        listed = ", ".join(repr(shown(name)) for name in book.sheet_names)
        raise UnreadableFile.because(f"has no sheet {shown(sheet)!r}; it has {listed}")
    from python_calamine import CalamineError  # noqa: PLC0415

    try:
        with _quiet_panics():
            rows: Iterator[Row] = book.get_sheet_by_name(sheet).iter_rows()
    except (CalamineError, OSError, ValueError):
        raise UnreadableFile.because(DAMAGED) from None
    return rows


def _find_header(rows: Iterator[Row], given: FileFormat) -> _Header | None:
    """Return the first row that names the columns which each file needs."""
    for line, row in enumerate(rows, 1):
        header = _names_in(line, row)
        paths = {given.path_of(name) for name in header.names}
        if paths.issuperset(NEEDED):
            return header
        if line > _MAX_ROWS_ABOVE:
            return None
    return None


def _header(rows: Iterator[Row], given: FileFormat) -> _Header:
    """Return the header, leaving the rows below it; without one, the first row with values."""
    kept = list[Row]()
    for line, row in enumerate(rows, 1):
        header = _names_in(line, row)
        if {given.path_of(name) for name in header.names}.issuperset(NEEDED):
            return header
        kept.append(row)
        if line > _MAX_ROWS_ABOVE:
            break
    for line, row in enumerate(kept, 1):
        if any(map(_has_value, row)):
            return _names_in(line, row)
    raise UnreadableFile.because("the sheet is empty")


def _names_in(line: int, row: Row) -> _Header:
    named = [(cell, str(value).strip()) for cell, value in enumerate(row)]
    named = [(cell, name) for cell, name in named if name]
    return _Header(line, tuple(cell for cell, _ in named), tuple(name for _, name in named))


def _row(line: int, row: Row, header: _Header, under: Cells, marks: SheetMarks) -> FileRow:
    for cell, value in enumerate(row):
        if _has_value(value) and cell not in header.cells:
            words = "is in a column that has no name in the header"
            return refused(line, _letters(cell), words)
    problems = list[Problem]()
    cells = list[Cell]()
    for name, path, cell in zip(header.names, under.layout.paths, header.cells, strict=True):
        value = row[cell] if cell < len(row) else ""
        text, problem = ("", None) if not path else _cell(value, path)
        if path:
            problem = _marked(marks, (line, cell), value, path) or problem
        cells.append(text)
        if problem is not None:
            problems.append(Problem(line=line, column=shown(name), problem=problem))
    if (problem := _too_long(cells, under)) is not None:
        problems.append(
            Problem(line=line, column=under.layout.column_of("amount"), problem=problem)
        )
    return under.row(line, cells, problems)


def _marked(marks: SheetMarks, place: tuple[int, int], value: Value, path: str) -> str | None:
    """Return what is wrong with a cell besides its value."""
    if place in marks.merged:
        return IS_MERGED
    is_number = isinstance(value, int | float)
    if path == "amount" and is_number and place in marks.shown_otherwise:
        return SHOWN_OTHERWISE
    if path == "key" and is_number and (place in marks.formatted or place in marks.shown_otherwise):
        return SHOWN_FORMATTED
    return marks.flaws.get(place)


def _too_long(cells: Sequence[Cell], under: Cells) -> str | None:
    """Return what is wrong with the number of an amount whose decimals may be rounded away."""
    amount, currency = cells[under.amount], cells[under.currency]
    if isinstance(amount, str) or amount == amount.to_integral_value():
        return None
    try:
        decimals = decimals_of(str(currency))
    except InvalidRequest:
        decimals = _TWO_DECIMALS
    is_kept = amount.adjusted() + 1 + decimals <= _DIGITS
    return None if is_kept else _TOO_LONG


def _cell(value: Value, path: str) -> tuple[Cell, str | None]:
    """Return the text of a cell, or the number of an amount, and what is wrong with it."""
    if isinstance(value, str):
        return value, None
    is_exact = path in NEEDED or path.rpartition(".")[2] in _IDENTIFIERS
    if isinstance(value, bool):
        return str(value).lower(), "is true or false; write it as text" if is_exact else None
    if isinstance(value, int | float):
        return _number(value, path)
    return str(value), _IS_DATE if is_exact else None


def _number(value: float, path: str) -> tuple[Cell, str | None]:
    """Return a number as the spreadsheet shows it: with 15 digits."""
    if not math.isfinite(value):  # A workbook can have a number that is larger than any.
        return "", _TOO_LONG
    is_whole, text = value == int(value), _digits(value)
    is_kept = abs(value) < _MOST_DIGITS
    if path == "amount":
        return Decimal(text), None if is_kept else _TOO_LONG
    if path == "key":
        is_kept &= is_whole
        return text, None if is_kept else "is a number that isn't whole, or too long"
    if path.rpartition(".")[2] in _IDENTIFIERS:
        return text, _IS_NUMBER
    return text, None if is_kept else f"{_TOO_LONG}; format the column as text and write it again"


def _digits(value: float) -> str:
    return f"{int(value)}" if value == int(value) else f"{value:.15g}"


def _has_value(value: Value) -> bool:
    return bool(value.strip()) if isinstance(value, str) else True


def _letters(cell: int) -> str:
    """Return the letters of a column, as a spreadsheet shows them."""
    letters = ""
    cell += 1
    while cell:
        cell, rest = divmod(cell - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
