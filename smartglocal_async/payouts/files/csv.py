"""Reads a CSV of payouts: the delimiter and the decimal sign, then each row."""

import csv
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from attrs import define, evolve, field

from ...errors import InvalidRequest
from .amounts import AmountReader
from .cells import Cells, Layout, flaws, read_header
from .columns import METADATA, NEEDED
from .encodings import encoding_of
from .file_format import DELIMITERS, FileFormat
from .rows import (
    TOO_LONG,
    FileLines,
    FileRow,
    RowChecker,
    RowTooLong,
    UnreadableFile,
    no_text,
    refused,
)

_MAX_ROWS_ABOVE: Final = 20
_DECIMALS: Final = re.compile(r"[0-9]{2}|[0-9]{3}(?:\.[0-9]{2})?")
_SHIFTED: Final = (
    "is a whole number in every row, with what looks like the rest of it in the next cell; an "
    "amount with a comma needs quotes, or give the decimal sign if the amounts are whole"
)
_UNCLOSED: Final = "its quote isn't closed; the rows below aren't read"
_AFTER_QUOTE: Final = 'has text after its closing quote; a " inside a cell has to be doubled'
_CARRIAGE_RETURN: Final = "has a carriage return in it; lines end in LF or CRLF"
_EMPTY: Final = "the file is empty; its first line names the columns: key, amount, currency ..."
_NO_ROWS: Final = "the file has a header, and no rows"
_SEPARATOR_LINE: Final = re.compile("sep=([,;\t|])\r?\n?", re.IGNORECASE)
"""A first line that Excel writes and reads."""


class _UnreadableRow(Exception):
    """A row that can't be split into cells."""

    def __init__(self, cell: int, problem: str, *, is_last: bool) -> None:
        super().__init__(problem)
        self.cell, self.problem, self.is_last = cell, problem, is_last


def recognise(file: BinaryIO, given: FileFormat) -> FileFormat:
    """Return the format of a CSV, with what is given in it.

    Raises:
        UnreadableFile: its encoding can't be recognised, or it has no header.

    """
    encoding = given.encoding or encoding_of(file)
    if encoding is None:
        raise _not_utf8(file)
    found = evolve(given, kind="csv", encoding=encoding, is_decimal_given=given.decimal is not None)
    with _lines(file, encoding) as lines:
        if given.delimiter is None:
            found = evolve(found, delimiter=_delimiter(lines, found))
    with _lines(file, encoding) as lines:
        return _with_header(lines, found)


def csv_rows(file: BinaryIO, found: FileFormat, checker: RowChecker) -> Iterator[FileRow]:
    """Yield the rows of a CSV in a recognised format.

    Raises:
        UnreadableFile: the header can't be read.

    """
    with _lines(file, found.encoding or "utf-8") as lines:
        table = _Table(lines, found.delimiter or ",")
        line, names = table.header(found)
        if problems := tuple(flaws(line, names, found)):
            yield FileRow(line=line, order=None, problems=problems)
            return
        layout = read_header(names, found)
        separator = DELIMITERS[table.delimiter].removesuffix("s")
        has_rows = False
        for row in table.rows(Cells.under(layout, checker, found, separator)):
            has_rows = True
            yield row
        if not has_rows:
            yield refused(line, None, _NO_ROWS)


@contextmanager
def _lines(file: BinaryIO, encoding: str) -> Generator[FileLines]:
    lines = FileLines.of(file, encoding)
    try:
        yield lines
    finally:
        lines.release()


def _not_utf8(file: BinaryIO) -> UnreadableFile:
    """Return where a file stops to be UTF-8."""
    with _lines(file, "utf-8") as lines:
        while True:
            line = lines.begin_row()
            try:
                text = next(lines, None)
            except RowTooLong:
                continue
            if text is None or not lines.is_text:
                return UnreadableFile.because(no_text("utf-8"), line=line)


def _delimiter(lines: FileLines, found: FileFormat) -> str:
    """Return the delimiter under which a line names the most columns."""
    best, first = (0, 0), ","
    _ = lines.begin_row()
    for number, line in enumerate(_short_lines(lines)):
        if number == 0 and (named := _SEPARATOR_LINE.fullmatch(line)):
            return named[1]
        for one in DELIMITERS:
            if (columns := _columns(line, one, found)) > best:
                best, first = columns, one
        if best[0] == len(NEEDED) or number > _MAX_ROWS_ABOVE:
            break
    return first


def _short_lines(lines: FileLines) -> Iterator[str]:
    try:
        yield from lines
    except RowTooLong:
        return


def _columns(line: str, delimiter: str, found: FileFormat) -> tuple[int, int]:
    """Return how many of the needed columns a header names, and how many columns at all."""
    try:
        names = next(csv.reader([line], delimiter=delimiter), list[str]())
    except csv.Error:  # Such as a carriage return: reading the header reports it.
        return 0, 0
    paths = [found.path_of(name) for name in names]
    return sum(name in paths for name in NEEDED), sum(path is not None for path in paths)


def _with_header(lines: FileLines, found: FileFormat) -> FileFormat:
    """Add the line of the header, and the decimal sign of the first amount that shows it."""
    table = _Table(lines, found.delimiter or ",")
    line, names = table.header(found)
    found = evolve(found, header_line=line)
    if found.decimal is not None or tuple(flaws(line, names, found)):
        return found
    layout = read_header(names, found)
    amounts = _AmountColumn.under(layout, found)
    while amounts.reader.sign is None:  # To the end of the file, where no amount shows it.
        try:
            cells = table.next_row()
        except _UnreadableRow as error:
            if error.is_last:
                break
            continue
        if cells is None:
            break
        if len(cells) == len(names):
            amounts.take(cells)
    if amounts.are_split and amounts.reader.sign is None:
        raise UnreadableFile.because(_SHIFTED, line=line, column=layout.column_of("amount"))
    return evolve(found, decimal=amounts.reader.sign)


@define(eq=False)
class _AmountColumn:
    """What the amounts of a file show together."""

    amount: int
    currency: int
    may_be_split: bool
    """Whether the cell behind the amount takes any text, so that decimals pass there."""
    reader: AmountReader = field(factory=AmountReader)
    count: int = 0
    split: int = 0
    """Rows whose amount and the cell behind it may be one amount."""

    @classmethod
    def under(cls, layout: Layout, found: FileFormat) -> "_AmountColumn":
        """Return what reads the amounts under a header."""
        amount, currency = layout.cell_of("amount"), layout.cell_of("currency")
        return cls(amount, currency, _may_be_shifted(layout, amount, found))

    @property
    def are_split(self) -> bool:
        """Whether that is so in all rows."""
        return bool(self.count) and self.split == self.count

    def take(self, cells: list[str]) -> None:
        """Look at the amount of a row."""
        self.count += 1
        amount = cells[self.amount].strip()
        if amount.isdigit():
            self.split += self.may_be_split and _is_end(cells[self.amount + 1])
            return
        with suppress(InvalidRequest):
            _ = self.reader.read(amount, cells[self.currency].strip())


def _may_be_shifted(layout: Layout, amount: int, found: FileFormat) -> bool:
    if found.delimiter != "," or amount + 1 >= len(layout.paths):
        return False
    path = layout.paths[amount + 1]
    if not layout.names[amount + 1]:
        return False
    return not path or path.startswith(METADATA) or path.endswith("description")


def _is_end(cell: str) -> bool:
    """Return whether a cell may be the end of an amount, whose comma was taken as a delimiter."""
    return _DECIMALS.fullmatch(cell.strip()) is not None


class _Table:
    """The rows of a CSV as cells."""

    def __init__(self, lines: FileLines, delimiter: str) -> None:
        self.delimiter = delimiter
        self._lines = lines
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        inside = f"[^{re.escape(delimiter)}\r\n]*"
        first = f'[^"{re.escape(delimiter)}\r\n]'
        ends = f"(?:{re.escape(delimiter)}|\r?\n|\\Z)"
        self._cell = re.compile(f'(?:"(?:[^"]|"")*"|{first}{inside})?{ends}')

    def header(self, found: FileFormat) -> tuple[int, tuple[str, ...]]:
        """Return the line of the header and the names in it.

        It is the first of the first rows that names the needed columns, as titles may be above it;
        without one, the first row.

        Raises:
            UnreadableFile: there is none, or it can't be read.

        """
        rows = list[tuple[int, tuple[str, ...]]]()
        failed: UnreadableFile | None = None
        for _ in range(_MAX_ROWS_ABOVE + 1):
            line = self._lines.begin_row()
            try:
                cells = self._next()
            except _UnreadableRow as error:
                failed = failed or UnreadableFile.because(
                    error.problem, line=self._lines.number, column=str(error.cell + 1)
                )
                cells = None if error.is_last else list[str]()
            if cells is None:
                break
            if not (_is_blank(cells) or self._is_separator_line(line)):
                rows.append((line, tuple(cell.strip() for cell in cells)))
                if {found.path_of(name) for name in rows[-1][1]}.issuperset(NEEDED):
                    return rows[-1]
        return _first_of(rows, failed)

    def _is_separator_line(self, line: int) -> bool:
        return line == 1 and _SEPARATOR_LINE.fullmatch("".join(self._lines.row)) is not None

    def next_row(self) -> list[str] | None:
        """Return the cells of the next row; None at the end."""
        _ = self._lines.begin_row()
        return self._next()

    def rows(self, under: Cells) -> Iterator[FileRow]:
        """Yield the rows below the header."""
        while True:
            line = self._lines.begin_row()
            try:
                cells = self._next()
            except _UnreadableRow as error:
                yield refused(line, under.layout.column_at(error.cell), error.problem)
                if error.is_last:
                    return
                continue
            if cells is None:
                return
            if not _is_blank(cells):
                yield under.row(line, cells)

    def _next(self) -> list[str] | None:
        try:
            cells = next(self._reader, None)
        except RowTooLong:
            if self._lines.row:  # Only a quote makes one row of several lines.
                raise self._unreadable("".join(self._lines.row)) from None
            raise _UnreadableRow(0, TOO_LONG, is_last=False) from None
        except csv.Error:
            raise self._unreadable("".join(self._lines.row)) from None
        if not self._lines.is_text:
            for cell, text in enumerate(cells or ()):
                if (flaw := self._lines.flaw_of(text)) is not None:
                    raise _UnreadableRow(cell, flaw, is_last=False)
        return cells

    def _unreadable(self, text: str) -> _UnreadableRow:
        """Find the cell that can't be read."""
        at = cell = 0
        while at < len(text) and (found := self._cell.match(text, at)) and found.end() > at:
            at, cell = found.end(), cell + 1
        if text[at : at + 1] != '"':
            return _UnreadableRow(cell, _CARRIAGE_RETURN, is_last=False)
        if _QUOTED.match(text, at):
            return _UnreadableRow(cell, _AFTER_QUOTE, is_last=False)
        return _UnreadableRow(cell, _UNCLOSED, is_last=True)


def _first_of(
    rows: list[tuple[int, tuple[str, ...]]], failed: UnreadableFile | None
) -> tuple[int, tuple[str, ...]]:
    """Return the first row of a file without a header, which shows what is missing."""
    if failed is not None and (not rows or failed.problem.line < rows[0][0]):
        raise failed
    if not rows:
        raise UnreadableFile.because(_EMPTY)
    return rows[0]


_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')


def _is_blank(cells: list[str]) -> bool:
    return not any(cells) or (len(cells) == 1 and not cells[0].strip())
