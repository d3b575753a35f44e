"""Reads what python-calamine doesn't tell of a sheet, from the XML or the records of the workbook.

For calamine a cell with an error and a formula that was never calculated are empty cells. Hidden
rows, merged cells and number formats aren't shown either.
"""

import io
import posixpath
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import Element, ParseError

from attrs import define, field, frozen

from .rows import UnreadableFile

HAS_ERROR: Final = "holds an error; repair its formula, and save the workbook again"
NOT_CALCULATED: Final = (
    "is a formula that was never calculated; open the workbook in a spreadsheet, and save it"
)
NO_RESULT: Final = (
    "is a formula with the result 0 or an empty text, which an .xls also has where the result "
    "wasn't saved; save the workbook as .xlsx, or write the value"
)
SHOWN_OTHERWISE: Final = (
    "shows another number than it holds; give it a number format with all decimals, or use ROUND"
)
SHOWN_FORMATTED: Final = (
    "is a number that the sheet shows with other characters, such as zeros in front; format the "
    "column as text, and write what it shows"
)
IS_MERGED: Final = "is merged with another cell; write the value in each row"
_NEEDS: Final = "is a workbook, which needs {}: pip install 'smartglocal-async[files]'"
DAMAGED: Final = "is a damaged workbook; save it again"
_BINARY: Final = (
    "is a binary workbook (.xlsb), in which failed formulas look like empty cells; save it as .xlsx"
)
_MAX_MARKS: Final = 200_000
_TOO_MANY: Final = f"has more than {_MAX_MARKS:,} cells with errors or merged cells; repair it"
_REFERENCE: Final = re.compile("([A-Z]{1,3})([0-9]{1,7})")
_ERROR_WORD: Final = re.compile(r"#[^\s0-9].*|Err:[0-9]{3}", re.DOTALL)


@define(eq=False)
class SheetMarks:
    """What a sheet has besides its values; lines count from 1, cells from 0."""

    flaws: dict[tuple[int, int], str] = field(factory=dict[tuple[int, int], str])
    """Cells that have no value though they aren't empty, and why."""
    lines: set[int] = field(factory=set[int])
    """The lines with such cells."""
    merged: set[tuple[int, int]] = field(factory=set[tuple[int, int]])
    """The cells that a merged cell covers."""
    shown_otherwise: set[tuple[int, int]] = field(factory=set[tuple[int, int]])
    """Numbers of which the sheet shows another one."""
    formatted: set[tuple[int, int]] = field(factory=set[tuple[int, int]])
    """Whole numbers that the sheet shows with zeros in front, or other signs: 00012, 1,000."""
    hidden: list[tuple[int, int]] = field(factory=list[tuple[int, int]])
    """The first and the last line of each block of hidden rows."""

    def add_flaw(self, line: int, cell: int, words: str) -> None:
        """Add a cell without a value."""
        self.flaws[line, cell] = words
        self.lines.add(line)
        self._limit()

    def cover(self, lines: range, cells: range) -> None:
        """Add the cells that a merged cell covers."""
        if len(lines) * len(cells) > _MAX_MARKS:
            raise UnreadableFile.because(_TOO_MANY)
        self.merged.update((line, cell) for line in lines for cell in cells)
        self._limit()

    def hide(self, first: int, last: int) -> None:
        """Add hidden rows, in the order of the sheet."""
        if self.hidden and self.hidden[-1][1] == first - 1:
            first = self.hidden.pop()[0]
        self.hidden.append((first, last))

    def compare(self, line: int, cell: int, value: str, used: "_Format") -> None:
        """Compare a number with what its format shows."""
        if not used.shows(value):
            self.shown_otherwise.add((line, cell))
        elif not used.is_plain and _decimals(value) == 0:
            self.formatted.add((line, cell))

    def _limit(self) -> None:
        if len(self.flaws) > _MAX_MARKS or len(self.merged) > _MAX_MARKS:
            raise UnreadableFile.because(_TOO_MANY)


def marks_of(file: BinaryIO, kind: str | None, sheet: str) -> SheetMarks:
    """Return the marks of a sheet of an Excel workbook, or of an OpenDocument spreadsheet.

    Raises:
        UnreadableFile: it is damaged, or of a kind in which they can't be seen.

    """
    _ = file.seek(0)
    if kind == "xls":
        return _of_records(file.read(), sheet)
    try:
        with zipfile.ZipFile(file) as archive:
            names = frozenset(archive.namelist())
            if "xl/workbook.bin" in names:
                raise UnreadableFile.because(_BINARY)
            if "xl/workbook.xml" in names:
                return _of_excel(archive, names, sheet)
            return _of_open_document(archive, sheet)
    except (zipfile.BadZipFile, OSError, KeyError, RuntimeError, ValueError, ParseError):
        # Of defusedxml, the errors are ValueErrors.
        raise UnreadableFile.because(DAMAGED) from None


def _elements(source: Any, *events: str) -> Iterator[tuple[str, Element]]:  # noqa: ANN401
    try:
        from defusedxml.ElementTree import iterparse  # noqa: PLC0415
    except ImportError:
        raise UnreadableFile.because(_NEEDS.format("defusedxml")) from None
    yield from iterparse(source, events=events or ("end",), forbid_dtd=True)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(node: Element, name: str) -> str | None:
    """Return an attribute by its name without the namespace."""
    return next((value for key, value in node.attrib.items() if _local(key) == name), None)


def _of_excel(archive: zipfile.ZipFile, names: frozenset[str], sheet: str) -> SheetMarks:
    path, is_of_program = _part_of(archive, sheet)
    formats = _number_formats(archive) if "xl/styles.xml" in names else ()
    marks, reader = SheetMarks(), _ExcelCells(formats, is_of_program=is_of_program)
    line = 0
    with archive.open(path) as part:
        for _, node in _elements(part):
            name = _local(node.tag)
            if name == "row":
                line = int(node.get("r") or line + 1)
                if node.get("hidden") in {"1", "true"}:
                    marks.hide(line, line)
                reader.read(line, node, marks)
                node.clear()
            elif name == "mergeCell":
                _cover(node.get("ref") or "", marks)
    return marks


def _part_of(archive: zipfile.ZipFile, sheet: str) -> tuple[str, bool]:
    """Return the part of a sheet, and whether no spreadsheet has calculated the workbook."""
    relation, is_of_program = None, False
    with archive.open("xl/workbook.xml") as part:
        for _, node in _elements(part):
            name = _local(node.tag)
            if name == "sheet" and node.get("name") == sheet:
                relation = _attribute(node, "id")
            elif name == "calcPr":
                is_of_program = node.get("fullCalcOnLoad") in {"1", "true"}
    with archive.open("xl/_rels/workbook.xml.rels") as part:
        for _, node in _elements(part):
            if _local(node.tag) == "Relationship" and node.get("Id") == relation:
                target = posixpath.join("/xl", node.get("Target") or "")
                return posixpath.normpath(target).lstrip("/"), is_of_program
    raise KeyError(sheet)


def _cover(reference: str, marks: SheetMarks) -> None:
    first, _, last = reference.partition(":")
    (top, left), (bottom, right) = _place(first), _place(last or first)
    marks.cover(range(top, top + 1), range(left + 1, right + 1))
    marks.cover(range(top + 1, bottom + 1), range(left, right + 1))


def _place(reference: str) -> tuple[int, int]:
    """Return the line and the cell of a reference such as ``B2``."""
    found = _REFERENCE.fullmatch(reference.replace("$", ""))
    if found is None:
        raise ValueError(reference)
    cell = 0
    for letter in found[1]:
        cell = cell * 26 + ord(letter) - ord("A") + 1
    return int(found[2]), cell - 1


@frozen
class _ExcelCells:
    """Reads the cells of a row of Excel's XML."""

    formats: "Sequence[_Format]"
    """The number format of each style."""
    is_of_program: bool
    """Whether a zero may be what a program writes for a result that it doesn't know."""

    def read(self, line: int, row: Element, marks: SheetMarks) -> None:
        """Add the marks of a row."""
        cell = -1
        for node in row:
            if _local(node.tag) != "c":
                continue
            reference = node.get("r")
            cell = cell + 1 if reference is None else _place(reference)[1]
            kind = node.get("t", "n")
            if kind == "e":
                marks.add_flaw(line, cell, HAS_ERROR)
                continue
            parts = {_local(child.tag): child.text or "" for child in node}
            value = parts.get("v", "")
            if "f" in parts and kind != "str" and self._is_unknown(value):
                marks.add_flaw(line, cell, NOT_CALCULATED)
            elif kind == "n" and value:
                style = int(node.get("s") or 0)
                if style < len(self.formats):
                    marks.compare(line, cell, value, self.formats[style])

    def _is_unknown(self, value: str) -> bool:
        return not value or (self.is_of_program and value == "0")


@frozen
class _Format:
    """A number format."""

    shows: Callable[[str], bool]
    """Returns whether it shows the number that a cell holds."""
    is_plain: bool = False
    """Whether it shows a whole number by its digits, and nothing else."""


_BUILT_IN: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "0",
        **dict.fromkeys((3, 37, 38, 41, 42), "#,##0"),
        **dict.fromkeys((2, 4, 39, 40, 43, 44), "0.00"),
        **dict.fromkeys((9, 10), "0%"),
        **dict.fromkeys((11, 48), "0.00E+00"),
        **dict.fromkeys((12, 13), "# ?/?"),
    }
)
"""The number formats that a workbook uses by their number, as far as their decimals matter."""
_LITERAL: Final = re.compile(r'"([^"]*)"|\\(.)|[_*].|\[(?![hms]+\])[^\]<>=]*\]')
_DATE: Final = re.compile("[ymdhsYMDHS]")
_OF_NUMBER: Final = re.compile(r"[^#0?.,%Ee/(-]*[#0?](?:[#0?, ]*[#0?])?(?:\.([#0?]*))?[^#0?.,%/]*")


def _number_formats(archive: zipfile.ZipFile) -> tuple[_Format, ...]:
    """Return the number formats of the styles that cells name by their position."""
    codes, formats = dict(_BUILT_IN), list[_Format]()
    with archive.open("xl/styles.xml") as part:
        for _, node in _elements(part):
            name = _local(node.tag)
            if name == "numFmt":
                codes[int(node.get("numFmtId") or 0)] = node.get("formatCode") or ""
            elif name == "cellXfs":
                for style in node:
                    code = codes.get(int(style.get("numFmtId") or 0), "General")
                    formats.append(_format(code))
    return tuple(formats)


def _format(code: str) -> _Format:
    section = _first_section(code)
    plain = _LITERAL.sub("", section)
    if "General" in plain or "@" in plain or _DATE.search(plain):
        # A date is no number for calamine, either.
        return _Format(_shows_all, is_plain=plain in {"General", "@"})
    texts = "".join("".join(found) for found in _LITERAL.findall(section))
    number = _OF_NUMBER.fullmatch(plain)
    if number is None or any(char.isdigit() or char == "%" for char in texts):
        # Percent, thousands, an exponent, a fraction, or nothing at all.
        return _Format(_shows_another)
    decimals = len(number[1] or "")
    return _Format(lambda value: _decimals(value) <= decimals, is_plain=section == "0")


def _first_section(code: str) -> str:
    """Return the format of numbers above zero."""
    at = 0
    while at < len(code) and code[at] != ";":
        found = _LITERAL.match(code, at)
        at = found.end() if found else at + 1
    return code[:at]


def _shows_all(_value: str) -> bool:
    return True


def _shows_another(_value: str) -> bool:
    return False


def _number(value: str) -> Decimal:
    """Return a number of a cell with the 15 digits that a spreadsheet shows."""
    try:
        return Decimal(f"{float(value):.15g}")
    except (ValueError, OverflowError, InvalidOperation):
        return Decimal(0)


def _decimals(value: str) -> int:
    number = _number(value)
    return max(0, -int(number.normalize().as_tuple().exponent)) if number.is_finite() else 0


def _of_open_document(archive: zipfile.ZipFile, sheet: str) -> SheetMarks:
    marks, line, is_wanted = SheetMarks(), 0, False
    with archive.open("content.xml") as part:
        for event, node in _elements(part, "start", "end"):
            name = _local(node.tag)
            if name == "table":
                is_wanted = event == "start" and _attribute(node, "name") == sheet
                line = 0
            elif name == "table-row" and event == "end":
                count = int(_attribute(node, "number-rows-repeated") or 1)
                if is_wanted:
                    _add_row(range(line + 1, line + count + 1), node, marks)
                line += count
                node.clear()
    return marks


def _add_row(lines: range, row: Element, marks: SheetMarks) -> None:
    if _attribute(row, "visibility") in {"collapse", "filter"}:
        marks.hide(lines[0], lines[-1])
    cell = 0
    for node in row:
        name = _local(node.tag)
        if name not in {"table-cell", "covered-table-cell"}:
            continue
        held = {_local(key): value for key, value in node.attrib.items()}
        cells = range(cell, cell + int(held.get("number-columns-repeated") or 1))
        cell = cells[-1] + 1
        words = _flaw(node, held)
        if words is not None:
            for place in _places(lines, cells):
                marks.add_flaw(*place, words)
        elif name == "covered-table-cell":
            marks.cover(lines, cells)
        elif (alike := _numbers_like(node, held, marks)) is not None:
            alike.update(_places(lines, cells))


def _places(lines: range, cells: range) -> Iterator[tuple[int, int]]:
    if len(lines) * len(cells) > _MAX_MARKS:
        raise UnreadableFile.because(_TOO_MANY)
    return ((line, cell) for line in lines for cell in cells)


def _flaw(node: Element, held: Mapping[str, str]) -> str | None:
    """Return why a cell of a formula has no value; None if it has one."""
    if "formula" not in held:
        return None
    # Both the office and the calcext namespace have a value-type; calcext alone knows errors.
    if any(key.endswith("}value-type") and value == "error" for key, value in node.attrib.items()):
        return HAS_ERROR
    if "value-type" not in held:
        return NOT_CALCULATED
    is_text = held["value-type"] == "string"
    return HAS_ERROR if is_text and _ERROR_WORD.fullmatch(_text_of(node)) else None


def _text_of(node: Element) -> str:
    """Return the text that a cell shows, without its comment."""
    return "".join("".join(one.itertext()) for one in node if _local(one.tag) == "p")


def _numbers_like(
    node: Element, held: Mapping[str, str], marks: SheetMarks
) -> set[tuple[int, int]] | None:
    """Return the marks that a number belongs to; None if it is shown as it is."""
    if not _shows_its_number(node, held):
        return marks.shown_otherwise
    is_plain = "value" not in held or _text_of(node) == f"{_number(held['value']):f}"
    return None if is_plain else marks.formatted


def _shows_its_number(node: Element, held: Mapping[str, str]) -> bool:
    if held.get("value-type") == "percentage":
        return False
    shown = "".join(char for char in _text_of(node) if "0" <= char <= "9")
    if not shown or "value" not in held or "date-value" in held:
        return True
    number = _number(held["value"])
    if not number.is_finite():
        return True
    whole, _, fraction = f"{abs(number):f}".partition(".")
    has_all = len(shown.lstrip("0")) >= len(whole.lstrip("0"))
    return has_all and shown.strip("0") == f"{whole}{fraction}".strip("0")


_FORMULA: Final = 0x0006
_BOUND_SHEET: Final = 0x0085
_END: Final = 0x000A
_WORKSHEET: Final = 0
_NO_NUMBER: Final = b"\xff\xff"
"""The last two bytes of a result that isn't a number; its first byte is its kind."""
_EMPTY_TEXT: Final = 3


def _of_records(content: bytes, sheet: str) -> SheetMarks:
    """Return the marks of a sheet of an Excel 97 workbook."""
    try:
        import xlrd  # noqa: PLC0415
    except ImportError:
        raise UnreadableFile.because(_NEEDS.format("xlrd")) from None
    try:
        # The library writes its warnings to standard output, unless it is given a file.
        book = xlrd.open_workbook(
            file_contents=content, logfile=io.StringIO(), formatting_info=True, on_demand=True
        )
        return _marks_in(book, book.sheet_names().index(sheet))
    except UnreadableFile:
        raise
    except Exception:  # noqa: BLE001 - the library has no error of its own for most damages
        raise UnreadableFile.because(DAMAGED) from None


def _marks_in(book: Any, index: int) -> SheetMarks:  # noqa: ANN401 - a library imported above
    marks, sheet = SheetMarks(), book.sheet_by_index(index)
    for top, below, left, behind in sheet.merged_cells:
        marks.cover(range(top + 1, top + 2), range(left + 1, behind))
        marks.cover(range(top + 2, below + 1), range(left, behind))
    for row in sorted(row for row, its in sheet.rowinfo_map.items() if its.hidden):
        marks.hide(row + 1, row + 1)
    styles = (book.format_map[style.format_key] for style in book.xf_list)
    _mark_values(sheet, [_format(str(style.format_str)) for style in styles], marks)
    for line, cell in _without_result(book.mem, book.base, index):
        marks.add_flaw(line, cell, NO_RESULT)
    return marks


def _mark_values(sheet: Any, formats: Sequence[_Format], marks: SheetMarks) -> None:  # noqa: ANN401
    from xlrd.biffh import XL_CELL_ERROR, XL_CELL_NUMBER  # noqa: PLC0415

    for row in range(sheet.nrows):
        for cell, kind in enumerate(sheet.row_types(row)):
            if kind == XL_CELL_ERROR:
                marks.add_flaw(row + 1, cell, HAS_ERROR)
            elif kind == XL_CELL_NUMBER:
                used = formats[int(sheet.cell_xf_index(row, cell))]
                marks.compare(row + 1, cell, str(sheet.cell_value(row, cell)), used)


def _without_result(content: bytes, start: int, index: int) -> Iterator[tuple[int, int]]:
    """Yield the formulas of a sheet that may have no result: programs then write 0, or nothing."""
    sheets = [
        int.from_bytes(data[:4], "little")
        for code, data in _records(content, start)
        if code == _BOUND_SHEET and data[5] == _WORKSHEET
    ]
    for code, data in _records(content, start + sheets[index]):
        if code == _FORMULA:
            row, cell, number = struct.unpack_from("<HH2xd", data)
            if number == 0 or (data[12:14] == _NO_NUMBER and data[6] == _EMPTY_TEXT):
                yield row + 1, cell


def _records(content: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield the records of a stream of [MS-XLS]: their numbers, and their contents."""
    code = 0
    while code != _END:
        code, size = struct.unpack_from("<HH", content, at)
        at += 4 + size
        yield code, content[at - size : at]
