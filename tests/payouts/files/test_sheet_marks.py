"""What a sheet has besides values: errors, formulas without results, hidden rows, formats."""

import io
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import pytest
import xlsxwriter
from places import SAMPLES

import smartglocal_async as sg
from smartglocal_async.payouts.files.sheet_marks import (
    HAS_ERROR,
    IS_MERGED,
    NO_RESULT,
    NOT_CALCULATED,
    SHOWN_FORMATTED,
    SHOWN_OTHERWISE,
)

IBAN: Final = "DE89370400440532013000"
HEADER: Final = ("key", "amount", "currency", "iban", "description", "swift", "metadata.n")
ROW: Final = ("p-1", 12.5, "eur", IBAN, "Salary", "", "")
SPREADSHEET: Final = "urn:oasis:names:tc:opendocument:xmlns:"
ERRORS: Final = ("#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!")


def excel(tmp_path: Path, write: Any, edit: dict[str, str] | None = None) -> sg.PayoutFile:
    """Return a workbook of one sheet below a header, with texts of its XML replaced."""
    path = tmp_path / "p.xlsx"
    book: Any = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet("Pay")
    sheet.write_row(0, 0, HEADER)
    write(book, sheet)
    book.close()
    if edit:
        _rewrite(path, edit)
    return sg.PayoutFile(path)


def _rewrite(path: Path, edit: dict[str, str]) -> None:
    parts = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            text = archive.read(name)
            for old, new in edit.items():
                text = text.replace(old.encode(), new.encode())
            parts[name] = text
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)


def open_document(tmp_path: Path, *rows: str) -> sg.PayoutFile:
    """Return an OpenDocument spreadsheet of rows in XML, below a header."""
    header = "".join(f"<table:table-cell {text_cell(name)}" for name in HEADER)
    names = " ".join(
        f'xmlns:{name}="{SPREADSHEET}{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f'<office:document-content {names} xmlns:calcext="urn:org:documentfoundation:names:'
        'experimental:calc:xmlns:calcext:1.0"><office:body><office:spreadsheet>'
        f'<table:table table:name="Pay"><table:table-row>{header}</table:table-row>'
        f"{''.join(rows)}</table:table></office:spreadsheet></office:body>"
        "</office:document-content>"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", _MANIFEST)
        archive.writestr("content.xml", content)
    path = tmp_path / "p.ods"
    path.write_bytes(buffer.getvalue())
    return sg.PayoutFile(path)


_MANIFEST: Final = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    '<manifest:file-entry manifest:full-path="/" manifest:media-type='
    '"application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>'
)


def text_cell(text: str, more: str = "") -> str:
    """Return a cell of text after its first word."""
    return f'{more} office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'


def cells(*held: str) -> str:
    """Return the cells of a row: texts, and XML that begins with a bracket."""
    return "".join(
        one if one.startswith("<") else f"<table:table-cell {text_cell(one)}" for one in held
    )


def number_cell(value: str, shown: str, kind: str = "float") -> str:
    """Return a cell of a number."""
    return (
        f'<table:table-cell office:value-type="{kind}" office:value="{value}">'
        f"<text:p>{shown}</text:p></table:table-cell>"
    )


def found(file: sg.PayoutFile) -> list[tuple[int, str | None, str]]:
    """Return what forbids to pay."""
    return [
        (problem.line, problem.column, problem.problem)
        for row in file.rows()
        for problem in row.problems
        if not problem.is_advice
    ]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("column", range(len(HEADER)))
def test_a_cell_with_an_error(tmp_path, error, column) -> None:
    """For the library it is empty; for a payout it isn't."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write_formula(1, column, "=A9", None, error)

    assert (2, HEADER[column], HAS_ERROR) in found(excel(tmp_path, write))


def test_a_row_of_errors_is_a_row(tmp_path) -> None:
    """It isn't skipped, between others and as the last one; a truly empty row is."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        for line in (2, 5):
            for column in range(5):
                sheet.write_formula(line, column, "=A9", None, "#REF!")
        sheet.write_row(4, 0, ("p-2", *ROW[1:]))

    file = excel(tmp_path, write)
    assert [(row.line, row.order and row.order.key) for row in file.rows()] == [
        (2, "p-1"),
        (3, None),
        (5, "p-2"),
        (6, None),
    ]
    assert found(file) == [(line, name, HAS_ERROR) for line in (3, 6) for name in HEADER[:5]]


@pytest.mark.parametrize("saved", ["<v>0</v>", "<v></v>", "<v/>", ""])
@pytest.mark.parametrize("column", range(len(HEADER)))
def test_a_formula_that_was_never_calculated(tmp_path, saved, column) -> None:
    """XlsxWriter saves a zero for each, and asks for a calculation; others save nothing."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write_formula(1, column, "=A9")

    file = excel(tmp_path, write, {"</f><v>0</v>": f"</f>{saved}"})
    assert (2, HEADER[column], NOT_CALCULATED) in found(file)


def test_rows_that_were_never_calculated(tmp_path) -> None:
    """The last rows of a sheet are then outside of what the library reads."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        for column in range(5):
            sheet.write_formula(3, column, "=A9", None, 7)

    file = excel(tmp_path, write, {"</f><v>7</v>": "</f>"})
    assert found(file) == [(4, name, NOT_CALCULATED) for name in HEADER[:5]]


def test_a_formula_with_a_result(tmp_path) -> None:
    """Text, an empty text and a number are what the spreadsheet calculated."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write_formula(1, 0, '="p-"&1', None, "p-1")
        sheet.write_formula(1, 1, "=25/2", None, 12.5)
        sheet.write_formula(1, 5, '=""', None, "result")

    (order,) = excel(tmp_path, write, {"<v>result</v>": "<v></v>"})
    assert (order.key, order.amount_details.amount) == ("p-1", 1250)
    assert order.payment_method == sg.GlobalAccount(iban=IBAN, description="Salary")


def test_an_error_in_an_ignored_column(tmp_path) -> None:
    """It isn't read."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write(0, 7, "Note")
        sheet.write_formula(1, 7, "=A9", None, "#REF!")

    path = excel(tmp_path, write).path
    (order,) = sg.PayoutFile(path, format=sg.payouts.FileFormat(ignored=["note"]))
    assert order.key == "p-1"


def test_hidden_rows_are_counted(tmp_path) -> None:
    """Those with payouts: the words that are shown before a payment name them."""

    def write(_book: Any, sheet: Any) -> None:
        for line in range(1, 6):
            sheet.write_row(line, 0, (f"p-{line}", *ROW[1:]))
        for line in (2, 3, 5, 8):
            sheet.set_row(line, None, None, {"hidden": True})

    file = excel(tmp_path, write)
    assert len(list(file)) == 5
    assert file.recognise().hidden_rows == 3
    assert "3 hidden rows are included" in file.recognise().words


FORMATS: Final = (
    ("General", 12.5, True),
    ("@", 12.5, True),
    ("0.00", 12.5, True),
    ("0.0", 12.5, True),
    ("0", 12.5, False),
    ("0", 12, True),
    ("#,##0", 1234.5, False),
    ("#,##0.00", 1234.5, True),
    ("#,##0.0", 1234.56, False),
    ("#,##0.00;[Red]-#,##0.00", 1234.5, True),
    ('#,##0.00 "EUR"', 1234.5, True),
    ("#,##0.00 [$€-407]", 1234.5, True),
    ("_-* #,##0.00 €_-;-* #,##0.00 €_-", 1234.5, True),
    ("_-* #,##0 €_-", 1234.5, False),
    ("#,##0,", 1_234_000, False),
    ("0.00,,", 1_234_000, False),
    ("0%", 0.5, False),
    ("0.00E+00", 1234.5, False),
    ("# ?/?", 0.5, False),
    ('0"000"', 12, False),
    ("-0.00", 12.5, False),
    ("(0.00)", 12.5, False),
    ("[>100]0;0.00", 12.5, False),
    (";;;", 12.5, False),
)


@pytest.mark.parametrize(("code", "amount", "is_shown"), FORMATS)
def test_a_number_format(tmp_path, code, amount, is_shown) -> None:
    """An amount that the sheet shows differently isn't paid."""

    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write_number(1, 1, amount, book.add_format({"num_format": code}))

    expected = [] if is_shown else [(2, "amount", SHOWN_OTHERWISE)]
    assert found(excel(tmp_path, write)) == expected


@pytest.mark.parametrize(
    ("code", "key", "is_shown"),
    [
        ("General", 7, True),
        ("0", 7, True),
        ("@", 7, True),
        ("00000", 7, False),
        ("#,##0", 1234, False),
        ("#,##0 €", 1234, False),
        ("0.00", 7, False),
        ('"INV-"0', 7, False),
        ("0%", 7, False),
    ],
)
def test_the_number_format_of_a_key(tmp_path, code, key, is_shown) -> None:
    """A CSV of the same sheet has what the sheet shows: under another key it is paid twice."""

    def write(book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write_number(1, 0, key, book.add_format({"num_format": code}))

    expected = [] if is_shown else [(2, "key", SHOWN_FORMATTED)]
    assert found(excel(tmp_path, write)) == expected


@pytest.mark.parametrize("place", ["B2:B3", "F2:F3", "E2:F2"])
def test_merged_cells(tmp_path, place) -> None:
    """A value that is shown beside several rows belongs to the first of them only."""

    def write(_book: Any, sheet: Any) -> None:
        sheet.write_row(1, 0, ROW)
        sheet.write_row(2, 0, ("p-2", *ROW[1:]))
        column = ord(place[0]) - ord("A")
        sheet.merge_range(place, None)
        sheet.write(1, column, "DEUTDEFF" if column == 5 else ROW[column])

    line, column = (2, 5) if place == "E2:F2" else (3, ord(place[0]) - ord("A"))
    assert (line, HEADER[column], IS_MERGED) in found(excel(tmp_path, write))


REST: Final = ("eur", IBAN, "Salary")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (cells("p-1", number_cell("12.5", "12,50"), *REST), []),
        (cells("p-1", number_cell("1234.5", "$1,234.50", "currency"), *REST), []),
        (cells("p-1", number_cell("12.5", "13"), *REST), ["amount", SHOWN_OTHERWISE]),
        (cells("p-1", number_cell("12345", "12"), *REST), ["amount", SHOWN_OTHERWISE]),
        (cells("p-1", number_cell("1000", "1"), *REST), ["amount", SHOWN_OTHERWISE]),
        (
            cells("p-1", number_cell("0.5", "50%", "percentage"), *REST),
            ["amount", SHOWN_OTHERWISE],
        ),
        (
            cells("p-1", '<table:table-cell table:formula="of:=[.A9]"/>', *REST),
            ["amount", NOT_CALCULATED],
        ),
        (
            cells(
                "p-1",
                "12.50",
                *REST,
                '<table:table-cell table:formula="of:=[.A9]" '
                + text_cell("#N/A", 'calcext:value-type="error" office:string-value=""'),
            ),
            ["swift", HAS_ERROR],
        ),
        (
            cells(
                "p-1",
                "12.50",
                *REST,
                "",
                f'<table:table-cell table:formula="of:=1" {text_cell("Err:502")}',
            ),
            ["metadata.n", HAS_ERROR],
        ),
        (cells("p-1", "12.50", *REST, "<table:covered-table-cell/>"), ["swift", IS_MERGED]),
    ],
)
def test_an_open_document(tmp_path, row, expected) -> None:
    """LibreOffice writes errors, results and shown texts in its own way."""
    file = open_document(tmp_path, f"<table:table-row>{row}</table:table-row>")
    assert found(file) == ([(2, *expected)] if expected else [])


@pytest.mark.parametrize("hidden", ["collapse", "filter"])
def test_hidden_rows_of_an_open_document(tmp_path, hidden) -> None:
    """By hand or by a filter; repeated ones count as often as they are read."""
    row = cells("p-1", number_cell("12.5", "12.50"), *REST)
    file = open_document(
        tmp_path,
        f'<table:table-row table:number-rows-repeated="2">{row}</table:table-row>',
        f'<table:table-row table:visibility="{hidden}">{row}</table:table-row>',
        f'<table:table-row table:visibility="{hidden}" table:number-rows-repeated="2">'
        f"{row}</table:table-row>",
        '<table:table-row table:visibility="collapse" table:number-rows-repeated="1048000"/>',
    )
    assert "3 hidden rows are included" in file.recognise().words


@pytest.mark.parametrize("name", ["libreoffice.xlsx", "libreoffice.ods", "xlsxwriter.xlsx"])
def test_workbooks_of_programs(name) -> None:
    """Those without any of this have no marks."""
    file = sg.PayoutFile(SAMPLES / "files" / name, format=sg.payouts.FileFormat(ignored=["note"]))
    assert file.recognise().hidden_rows == 0
    assert all(row.order for row in file.rows())


MARKED: Final = SAMPLES / "files" / "libreoffice-marks.xls"
FLAWS: Final = [
    (3, "amount", HAS_ERROR),
    (4, "description", HAS_ERROR),
    (7, "description", IS_MERGED),
    (8, "amount", SHOWN_OTHERWISE),
    (10, "key", SHOWN_FORMATTED),
    (12, "key", HAS_ERROR),
    (12, "amount", HAS_ERROR),
    (12, "currency", "is empty"),
]


@pytest.mark.parametrize("kind", ["xlsx", "ods", "xls"])
def test_every_kind_of_workbook_has_the_same_marks(kind) -> None:
    """Those of a sheet that LibreOffice saved in each; a hidden sheet isn't read.

    In an .xls it doesn't save the text that a formula results in.
    """
    file = sg.PayoutFile(MARKED.with_suffix(f".{kind}"))
    unsaved = [(9, "description", NO_RESULT)] if kind == "xls" else []
    assert found(file) == sorted([*FLAWS, *unsaved], key=lambda one: one[0])
    assert "sheet 'Payouts', 1 hidden row is included" in file.recognise().words


@pytest.mark.parametrize(
    ("result", "is_known"),
    [
        (struct.pack("<d", 0), False),  # LibreOffice and many libraries, for a text.
        (struct.pack("<d", -0.0), False),
        (struct.pack("<B5xH", 3, 0xFFFF), False),  # Excel, for an empty text; xlwt, for any.
        (struct.pack("<d", 7), True),
        (struct.pack("<BxB3xH", 1, 1, 0xFFFF), True),
    ],
)
def test_the_result_of_a_formula_in_an_xls(tmp_path, result, is_known) -> None:
    """A result that a program writes where it has none is not read as the value."""
    path = tmp_path / "p.xls"
    # The record of a formula, of any length, in row 8 and cell 4, with any style.
    formula, content = b"(\x06\x00..\x08\x00\x04\x00..)" + bytes(8), MARKED.read_bytes()
    path.write_bytes(re.sub(formula, lambda it: it[1] + result, content, count=1, flags=re.DOTALL))
    words = {words for line, _, words in found(sg.PayoutFile(path)) if line == 9}
    assert words == (set() if is_known else {NO_RESULT})


def test_a_binary_workbook(tmp_path) -> None:
    """Its errors can't be seen, so it isn't read."""
    path = excel(tmp_path, lambda _book, sheet: sheet.write_row(1, 0, ROW)).path
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/workbook.bin", b"")
    ((_, _, words),) = found(sg.PayoutFile(path))
    assert "save it as .xlsx" in words


@pytest.mark.parametrize(
    "edit",
    [
        {'r="B2"': 'r="?"'},
        {'<row r="2"': '<row r="x"'},
        {"<sheetData>": "<sheetData"},
        {'ref="A1:G2"': "", "</worksheet>": '<mergeCell ref="A1:XFD1048576"/></worksheet>'},
    ],
)
def test_damaged_xml(tmp_path, edit) -> None:
    """It is a problem of the file, and no other exception."""
    file = excel(tmp_path, lambda _book, sheet: sheet.write_row(1, 0, ROW), edit)
    ((_, _, words),) = found(file)
    assert words.startswith(("is a damaged workbook", "has more than"))
