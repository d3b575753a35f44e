"""Workbooks: sheets, headers, and what a spreadsheet makes of numbers."""

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SAMPLES

import smartglocal_async as sg

IBAN: Final = "DE89370400440532013000"
HEADER: Final = ("key", "amount", "currency", "iban", "description")
ROW: Final = ("p-1", 12.5, "eur", IBAN, "Salary")


def book_of(tmp_path: Path, *sheets: Any, **given: Any) -> sg.PayoutFile:
    """Write a workbook of sheets, each a name and rows, and return it as payouts."""
    path = tmp_path / "p.xlsx"
    book: Any = xlsxwriter.Workbook(path)
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    for name, rows in sheets or [("Pay", [HEADER, ROW])]:
        sheet = book.add_worksheet(name.removeprefix("-"))
        if name.startswith("-"):
            sheet.hide()
        for line, row in enumerate(rows):
            for column, value in enumerate(row):
                if isinstance(value, dt.date):
                    sheet.write_datetime(line, column, value, day)
                elif isinstance(value, str) and not value.startswith("="):
                    sheet.write_string(line, column, value)
                else:
                    sheet.write(line, column, value)
    book.close()
    return sg.PayoutFile(path, format=sg.payouts.FileFormat(**given))


def bad(file: sg.PayoutFile) -> list[tuple[int, str | None, str]]:
    """Return what forbids to pay."""
    return [
        (problem.line, problem.column, problem.problem)
        for row in file.rows()
        for problem in row.problems
        if not problem.is_advice
    ]


def test_a_row_becomes_an_order(tmp_path) -> None:
    """Text as text, a number of an amount as money."""
    (order,) = book_of(tmp_path)
    assert order == sg.PayoutOrder(
        key="p-1",
        payment_method=sg.GlobalAccount(iban=IBAN, description="Salary"),
        amount_details=sg.AmountDetails(1250, "eur"),
    )


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (12.5, "eur", 1250),
        (12, "eur", 1200),
        (0.1 + 0.2, "eur", 30),
        (1.1 * 3, "eur", 330),
        (999_999_999_999.99, "eur", 99_999_999_999_999),
        (1500, "vnd", 1500),
        (1.234, "kwd", 1234),
        (1.5, "kwd", 1500),
        ("12,50", "eur", 1250),
        ("1.234,50", "eur", 123_450),
        ("=ROUND(10/3,2)", "eur", None),
    ],
)
def test_an_amount(tmp_path, amount, currency, minor) -> None:
    """A number as the 15 digits that are shown; text as in a CSV."""
    file = book_of(tmp_path, ("Pay", [HEADER, ("p-1", amount, currency, IBAN, "S")]))
    if minor is None:  # XlsxWriter writes no results: a formula's is zero until it is opened.
        assert bad(file)
    else:
        assert [order.amount_details for order in file] == [sg.AmountDetails(minor, currency)]


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        (12.345, "eur", "no finer amounts"),
        (10 / 3, "eur", "no finer amounts"),
        (1.5, "jpy", "no finer amounts"),
        (
            1.7976931348623155e308,
            "eur",
            "more digits than a spreadsheet keeps",
        ),  # Written as infinity
        (1e15, "eur", "more digits than a spreadsheet keeps"),
        (12_345_678_901_234.56, "eur", "more digits than a spreadsheet keeps"),
        (1_234_567_890_123.456, "kwd", "more digits than a spreadsheet keeps"),
        (0, "eur", "greater than zero"),
        (-5, "eur", "greater than zero"),
        ("", "eur", "is empty"),
        ("1.500", "eur", "write 1500 or 1.50"),
        (True, "eur", "is true or false"),
        (dt.date(2026, 5, 1), "eur", "is a date"),
    ],
)
def test_what_is_no_amount(tmp_path, amount, currency, words) -> None:
    """Nothing is rounded, but for what no spreadsheet shows."""
    file = book_of(tmp_path, ("Pay", [HEADER, ("p-1", amount, currency, IBAN, "S")]))
    found = bad(file)
    assert [one for one in found if one[:2] == (2, "amount") and words in one[2]], found


NUMBERS: Final = (12345678, 4.10025e15, 601613.0, dt.date(2026, 5, 1), True)
IDENTIFIERS: Final = (
    *("iban", "swift", "bank_account_number", "account_number", "branch_number", "sort_code"),
    *("routing_code", "bsb_number", "card_number", "card_token", "ru_bik", "ru_account", "ru_inn"),
    *("fps_phone", "fps_bank_id", "wallet_phone", "phone", "postal_code", "id_number", "country"),
    *("recurrent_token", "sender_registration_number", "sender_code", "currency"),
    "customer_reference",
)


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("column", IDENTIFIERS)
def test_a_number_is_no_identifier(tmp_path, column, value) -> None:
    """A spreadsheet has dropped its zeros already: the problem states the reason."""
    header = [*HEADER[:3], column]
    row = ["p-1", 1, "eur", value]
    if column == "currency":
        header, row = ["key", "amount", "iban", "currency"], ["p-1", 1, IBAN, value]
    found = bad(book_of(tmp_path, ("Pay", [header, row])))
    reasons = ("is a number: a spreadsheet drops", "is a date;", "is true or false;")
    assert [one for one in found if one[:2] == (2, column) and one[2].startswith(reasons)], found


def test_a_text_keeps_its_zeros(tmp_path) -> None:
    """Every character of it."""
    header = ("key", "amount", "currency", "bank_account_number", "description")
    rows = [header, ("0001", 1, "eur", "0012345678", "00")]
    (order,) = book_of(tmp_path, ("Pay", rows))
    assert order.key == "0001"
    assert order.payment_method == sg.GlobalAccount(
        bank_account_number="0012345678", description="00"
    )


@pytest.mark.parametrize(
    ("key", "expected"), [(4711, "4711"), (1.5, None), (123456789012345678, None), (True, None)]
)
def test_a_number_as_a_key(tmp_path, key, expected) -> None:
    """A whole number that a spreadsheet keeps is a key."""
    (row,) = book_of(tmp_path, ("Pay", [HEADER, (key, *ROW[1:])])).rows()
    assert (row.order and row.order.key) == expected


def test_numbers_and_days_in_other_columns(tmp_path) -> None:
    """As they are shown: house numbers, days of birth."""
    path = "participant_details.recipient"
    header = [*HEADER, "metadata.n", "metadata.d", f"{path}.building", f"{path}.date_of_birth"]
    row = [*ROW, 7, 1.25, 12, dt.date(1990, 5, 1)]
    (order,) = book_of(tmp_path, ("Pay", [header, row]))
    assert order.metadata == {"n": "7", "d": "1.25"}
    people = order.participant_details
    assert people is not None
    assert people.recipient == sg.Participant(building="12", date_of_birth="1990-05-01")


@pytest.mark.parametrize("column", ["metadata.n", "description", "full_name", "city"])
def test_a_long_number_in_another_column(tmp_path, column) -> None:
    """Its last digits aren't those that were written."""
    header = [*HEADER[:4], column]
    found = bad(book_of(tmp_path, ("Pay", [header, (*ROW[:4], 4100251234567890123)])))
    assert [one for one in found if one[:2] == (2, column) and "more digits than" in one[2]], found


def test_the_header_may_be_lower_and_further_right(tmp_path) -> None:
    """Titles above it aren't read, and rows keep their numbers."""
    rows = [("Salaries of May",), (), ("", "", *HEADER), (), ("", "", *ROW), ("", "", "p-2")]
    file = book_of(tmp_path, ("Pay", rows))
    assert file.recognise().header_line == 3
    assert "column names in line 3" in file.recognise().words
    assert [(row.line, row.order and row.order.key) for row in file.rows()] == [
        (5, "p-1"),
        (6, None),
    ]


def test_a_value_beside_the_table(tmp_path) -> None:
    """A note without a column's name could be anything."""
    found = bad(book_of(tmp_path, ("Pay", [HEADER, (*ROW, "", "late")])))
    assert found == [(2, "G", "is in a column that has no name in the header")]


def test_the_one_sheet_with_payouts(tmp_path) -> None:
    """Other sheets and hidden ones aren't asked for."""
    hidden = ("-Old", [HEADER, ("old", *ROW[1:])])
    file = book_of(tmp_path, ("Notes", [("a", "b")]), ("Pay", [HEADER, ROW]), hidden)
    assert file.recognise().sheet == "Pay"
    assert [order.key for order in file] == ["p-1"]


@pytest.mark.parametrize(
    ("sheets", "given", "words"),
    [
        (
            [("May", [HEADER, ROW]), ("June", [HEADER, ROW])],
            {},
            "has payouts in several sheets: 'May', 'June'; give the one to read",
        ),
        (
            [("A", [("a",)]), ("B", [("b",)])],
            {},
            "no sheet has the columns key, amount, currency: 'A', 'B'; give the one to read",
        ),
        ([("Pay", [HEADER, ROW])], {"sheet": "Pya"}, "has no sheet 'Pya'; it has 'Pay'"),
        ([("Pay", [])], {}, "the workbook is empty"),
        ([("Pay", [HEADER])], {}, "the sheet has a header, and no rows"),
        ([("Pay", [("key", "amount"), ("p-1", 1)])], {}, "is missing"),
    ],
)
def test_a_sheet_that_is_not_certain(tmp_path, sheets, given, words) -> None:
    """Nothing is guessed: the sheets are named."""
    assert [one for one in bad(book_of(tmp_path, *sheets, **given)) if words in one[2]]


def test_a_given_sheet(tmp_path) -> None:
    """Hidden ones may be given, too."""
    sheets = [("May", [HEADER, ROW]), ("-June", [HEADER, ("p-9", *ROW[1:])])]
    assert [order.key for order in book_of(tmp_path, *sheets, sheet="June")] == ["p-9"]


def test_a_digest_covers_the_given_sheet(tmp_path) -> None:
    """Another sheet of the same bytes is another batch."""
    sheets = [("May", [HEADER, ROW]), ("June", [HEADER, ("p-9", *ROW[1:])])]
    digests = {book_of(tmp_path, *sheets, sheet=sheet).digest() for sheet in ("May", "June", None)}
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["p.csv", "p.xlsx", "p.txt", "p"])
def test_a_workbook_under_any_name(tmp_path, name) -> None:
    """Its first bytes say what it is."""
    path = book_of(tmp_path).path.rename(tmp_path / name)
    assert [order.key for order in sg.PayoutFile(path)] == ["p-1"]


def test_a_bomb(tmp_path) -> None:
    """A workbook that is small on the disk and huge in memory isn't unpacked."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("xl/workbook.xml", "w") as part,
    ):
        for _ in range(1 + (1 << 30) // (1 << 24)):
            part.write(b"\0" * (1 << 24))
    path = tmp_path / "p.xlsx"
    path.write_bytes(content.getvalue())
    assert [one for one in bad(sg.PayoutFile(path)) if "1024 MiB unpacked" in one[2]]


WORKBOOKS: Final = {
    name: (SAMPLES / "files" / name).read_bytes()
    for name in ("libreoffice.xlsx", "libreoffice.ods", "libreoffice.xls", "libreoffice-marks.xls")
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(WORKBOOKS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9)), max_size=3),
)
def test_damage_is_told(tmp_path_factory, name, edits) -> None:
    """No damaged workbook fails otherwise, or pays another sum than the whole one."""
    content = bytearray(WORKBOOKS[name])
    for place, length, written in edits:
        at = int(place * len(content))
        content[at : at + length] = written
    path = tmp_path_factory.mktemp("damage") / name
    path.write_bytes(bytes(content))
    file_format = sg.payouts.FileFormat(ignored=["note"])
    rows = list(sg.PayoutFile(path, format=file_format).rows())
    assert all(row.order is not None or row.problems for row in rows)


@pytest.mark.parametrize("kept", [583, 777, 5142])
def test_a_workbook_that_ends_early(tmp_path, capfd, kept) -> None:
    """The reader's own code fails on these otherwise than by an exception, and writes about it."""
    path = tmp_path / "p.xls"
    path.write_bytes(WORKBOOKS["libreoffice.xls"][:kept])
    with pytest.raises(sg.InvalidRequest, match="line 1: is a damaged workbook"):
        list(sg.payouts.PayoutReport(path=path))
    assert capfd.readouterr().err == ""
