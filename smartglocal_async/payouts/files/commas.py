"""A CSV as rows: RFC 4180, strictly; a row that can't be taken apart hides no other."""

import csv
import re
from collections.abc import Iterator
from typing import Final

from .cells import Cells
from .header import flaws, laid_out
from .judging import Judge
from .lines import TOO_LONG, Lines, RowTooLong, flaw_of
from .rows import FileRow, refused

_CELL: Final = re.compile(r'(?:"(?:[^"]|"")*"|[^",\r\n][^,\r\n]*)?(?:,|\r?\n|\Z)')
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_UNCLOSED: Final = "its quote isn't closed; the rows below can't be told apart, nor are they read"
_AFTER_QUOTE: Final = 'something stands after its closing quote; a " inside a cell is doubled'
_CARRIAGE_RETURN: Final = "has a carriage return in it; lines end in LF or CRLF"
_EMPTY: Final = "the file is empty; its first line names the columns: key, amount, currency ..."
_NO_ROWS: Final = "the file has a header, and no rows"


class _Torn(Exception):
    """A row that can't be taken apart."""

    def __init__(self, cell: int, problem: str, *, is_last: bool) -> None:
        super().__init__(problem)
        self.cell, self.problem, self.is_last = cell, problem, is_last


def csv_rows(lines: Lines, judge: Judge) -> Iterator[FileRow]:
    """Give the rows of a CSV."""
    reader = csv.reader(lines, strict=True)
    try:
        line, names = _header(reader, lines)
    except _Torn as error:
        yield refused(lines.number, str(error.cell + 1), error.problem)
        return
    if not names:
        yield refused(1, None, _EMPTY)
        return
    if problems := tuple(flaws(line, names)):
        yield FileRow(line=line, order=None, problems=problems)
        return
    has_rows = False
    for row in _rows(reader, lines, Cells.under(laid_out(names), judge)):
        has_rows = True
        yield row
    if not has_rows:
        yield refused(line, None, _NO_ROWS)


def _header(reader: "Iterator[list[str]]", lines: Lines) -> tuple[int, tuple[str, ...]]:
    while True:
        line = lines.begin_row()
        cells = _next(reader, lines)
        if cells is None:
            return line, ()
        for cell, text in enumerate(() if lines.is_text else cells):
            if (flaw := flaw_of(text)) is not None:
                raise _Torn(cell, flaw, is_last=True)
        if not _is_blank(cells):
            return line, tuple(cell.strip() for cell in cells)


def _rows(reader: "Iterator[list[str]]", lines: Lines, under: Cells) -> Iterator[FileRow]:
    while True:
        line = lines.begin_row()
        try:
            cells = _next(reader, lines)
        except _Torn as error:
            yield refused(line, under.layout.column_at(error.cell), error.problem)
            if error.is_last:
                return
            continue
        if cells is None:
            return
        if not _is_blank(cells):
            yield under.row(line, cells, is_text=lines.is_text)


def _next(reader: "Iterator[list[str]]", lines: Lines) -> list[str] | None:
    try:
        return next(reader, None)
    except RowTooLong:
        is_quoted = bool(lines.row)
    except csv.Error:
        raise _flaw("".join(lines.row)) from None
    if is_quoted:  # Several lines: only a quote makes one row of them.
        raise _flaw("".join(lines.row))
    raise _Torn(0, TOO_LONG, is_last=False)


def _flaw(text: str) -> _Torn:
    """Find the cell that can't be read."""
    at = cell = 0
    while at < len(text) and (found := _CELL.match(text, at)) and found.end() > at:
        at, cell = found.end(), cell + 1
    if text[at : at + 1] != '"':
        return _Torn(cell, _CARRIAGE_RETURN, is_last=False)
    if _QUOTED.match(text, at):
        return _Torn(cell, _AFTER_QUOTE, is_last=False)
    return _Torn(cell, _UNCLOSED, is_last=True)


def _is_blank(cells: list[str]) -> bool:
    return not any(cells) or (len(cells) == 1 and not cells[0].strip())
