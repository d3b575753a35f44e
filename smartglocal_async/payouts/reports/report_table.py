"""Reads a daily report of the provider, a CSV or a workbook, as rows of named cells.

No page says how the file is written, so its encoding and separator are recognised, and lines above
the column names are skipped.
"""

import csv
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Final, TypeAlias

from attrs import field, frozen

from ...errors import InvalidRequest
from ..files.encodings import encoding_of
from ..files.file_format import DELIMITERS
from ..files.rows import UnreadableFile
from ..files.workbook import sheets_of

Cells: TypeAlias = Mapping[str, str]
IsHeader: TypeAlias = Callable[[frozenset[str]], bool]
_Rows: TypeAlias = Iterator[tuple[int, Sequence[str]]]
_MAX_LINES_ABOVE: Final = 20
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


@frozen
class ReportTable:
    """The table in a report."""

    file_name: str
    line: int
    """The line with the names of the columns, from 1; in a workbook, the row."""
    names: tuple[str, ...]
    _rows: Iterable[tuple[int, Sequence[str]]] = field(repr=False)

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """Yield the line and the cells of each row; a row that is too short lacks the last ones."""
        for line, cells in self._rows:
            if any(cells):
                yield line, dict(zip(self.names, cells, strict=False))

    def wrong(self, line: int, problem: str) -> InvalidRequest:
        """Return an error that names the file and the line."""
        return InvalidRequest(f"{self.file_name}, line {line}", problem)


@contextmanager
def open_table(path: Path, delimiter: str | None, is_header: IsHeader) -> Generator[ReportTable]:
    """Open a report; its rows can be read once, until the context ends.

    ``is_header`` returns whether these are the names of the columns. If they are on none of the
    first lines, the first line counts as their line. Without a ``delimiter`` it is recognised.

    Raises:
        InvalidRequest: the file can't be read; it names file and line.
        OSError: the file can't be opened.

    """
    with path.open("rb") as file:
        if file.read(4) in _WORKBOOKS:
            sheets = sheets_of(file)  # Closed when this function ends, and the rows with it.
            try:
                yield _workbook_table(path.name, sheets, is_header)
            except UnreadableFile as error:
                place = f"{path.name}, line {error.problem.line}"
                raise InvalidRequest(place, error.problem.problem) from None
            return
        encoding = encoding_of(file) or "utf-8"
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    with path.open(encoding=encoding, newline="") as file:
        lines = _text_lines(path.name, file)
        above = list(islice(lines, _MAX_LINES_ABOVE))
        found = delimiter or _delimiter(above, is_header)
        yield _table(path.name, _csv_rows(path.name, chain(above, lines), found), is_header)


def _workbook_table(
    name: str, sheets: Iterable[Iterator[Sequence[str]]], is_header: IsHeader
) -> ReportTable:
    """Return the table of the first sheet that has one; else that of the first sheet."""
    tables = list[ReportTable]()
    for rows in sheets:
        table = _table(name, iter(enumerate(rows, 1)), is_header)
        if is_header(frozenset(table.names)):
            return table
        tables.append(table)
    return tables[0] if tables else ReportTable(name, 1, (), ())


def _table(name: str, rows: _Rows, is_header: IsHeader) -> ReportTable:
    """Return the table below the first line that is a header, or else below the first line."""
    above = list[tuple[int, Sequence[str]]]()
    for line, cells in islice(rows, _MAX_LINES_ABOVE):
        names = tuple(cell.strip() for cell in cells)
        if is_header(frozenset(names)):
            return ReportTable(name, line, names, rows)
        above.append((line, names))
    line, first = above[0] if above else (1, ())
    return ReportTable(name, line, tuple(first), chain(above[1:], rows))


def _delimiter(lines: Iterable[str], is_header: IsHeader) -> str:
    for line in lines:
        for delimiter in DELIMITERS:
            if is_header(frozenset(name.strip(' "\r\n') for name in line.split(delimiter))):
                return delimiter
    return ","


def _csv_rows(name: str, lines: Iterable[str], delimiter: str) -> _Rows:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise _unreadable(name, reader.line_num, error) from None


def _text_lines(name: str, file: Iterable[str]) -> Iterator[str]:
    number = 0
    try:
        for number, line in enumerate(file, 1):  # noqa: B007 - the last number is shown
            yield line
    except UnicodeDecodeError as error:
        raise _unreadable(name, number + 1, error) from None


def _unreadable(name: str, line: int, error: Exception) -> InvalidRequest:
    return InvalidRequest(f"{name}, line {line}", f"can't be read ({type(error).__name__})")
