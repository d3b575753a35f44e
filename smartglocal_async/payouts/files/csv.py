"""Reads a CSV of payouts: the delimiter and the decimal sign, then each row."""

import csv
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from attrs import evolve

from ...errors import InvalidRequest
from .amounts import AmountReader
from .cells import Cells, flaws, read_header
from .columns import NEEDED
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
        line, names = table.header()
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
    """Return the delimiter under which the header names the most columns."""
    _ = lines.begin_row()
    for line in lines:
        if named := _SEPARATOR_LINE.fullmatch(line):
            return named[1]
        if line.strip():
            return max(DELIMITERS, key=lambda one: _columns(line, one, found))
    return ","


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
    line, names = table.header()
    found = evolve(found, header_line=line)
    if found.decimal is not None or tuple(flaws(line, names, found)):
        return found
    layout = read_header(names, found)
    amount, currency = layout.cell_of("amount"), layout.cell_of("currency")
    reader = AmountReader()
    while reader.sign is None:  # To the end of the file, where no amount shows it.
        try:
            cells = table.next_row()
        except _UnreadableRow as error:
            if error.is_last:
                break
            continue
        if cells is None:
            break
        if len(cells) == len(names) and not cells[amount].isdigit():
            try:
                _ = reader.read(cells[amount].strip(), cells[currency].strip())
            except InvalidRequest:
                continue
    return evolve(found, decimal=reader.sign)


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

    def header(self) -> tuple[int, tuple[str, ...]]:
        """Return the line of the header and the names in it.

        Raises:
            UnreadableFile: there is none, or it can't be read.

        """
        while True:
            line = self._lines.begin_row()
            try:
                cells = self._next()
            except _UnreadableRow as error:
                line, column = self._lines.number, str(error.cell + 1)
                raise UnreadableFile.because(error.problem, line=line, column=column) from None
            if cells is None:
                raise UnreadableFile.because(_EMPTY)
            if line == 1 and _SEPARATOR_LINE.fullmatch("".join(self._lines.row)):
                continue
            if not _is_blank(cells):
                return line, tuple(cell.strip() for cell in cells)

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


_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')


def _is_blank(cells: list[str]) -> bool:
    return not any(cells) or (len(cells) == 1 and not cells[0].strip())
