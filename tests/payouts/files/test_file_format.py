"""How a file is read: given, recognised, and named where it has no payouts."""

import gzip
import io
import os
import threading
import zipfile
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import smartglocal_async as sg
from smartglocal_async.payouts import FileFormat

IBAN: Final = "DE89370400440532013000"
HEADER: Final = "key,amount,currency,iban,description"
GOOD: Final = f"{HEADER}\np-1,1.50,eur,{IBAN},Salary\n"
ORDER: Final = sg.PayoutOrder(
    key="p-1",
    payment_method=sg.GlobalAccount(iban=IBAN, description="Salary"),
    amount_details=sg.AmountDetails(150, "eur"),
)


def file_of(tmp_path: Path, content: str | bytes, name: str = "p.csv", **given: Any) -> Any:
    """Write a file, and return it."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return sg.PayoutFile(path, format=FileFormat(**given))


def bad(file: sg.PayoutFile) -> list[tuple[int, str | None, str]]:
    """Return what forbids to pay."""
    return [
        (problem.line, problem.column, problem.problem)
        for row in file.rows()
        for problem in row.problems
        if not problem.is_advice
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("sign", [".", ","])
def test_a_csv_of_any_form(tmp_path, encoding, delimiter, sign) -> None:
    """Each is recognised, and reads as the same payouts."""
    cells = [line.split(",") for line in GOOD.splitlines()]
    cells[1][1] = f'"1{sign}50"'
    text = "\r\n".join(delimiter.join(row) for row in cells)
    file = file_of(tmp_path, text.encode(encoding))
    assert list(file) == [ORDER]
    found = file.recognise()
    assert (found.kind, found.delimiter, found.decimal) == ("csv", delimiter, sign)
    assert (found.encoding or "").startswith(encoding[:5])


@pytest.mark.parametrize(
    "header",
    [
        "KEY,Amount,CURRENCY,IBAN,Description",
        " key , amount ,currency , Iban, description ",
        "Key,amount,currency,payment_method.bank_account.global.IBAN,DESCRIPTION",
    ],
)
def test_headers_in_any_case(tmp_path, header) -> None:
    """And with spaces around them."""
    assert list(file_of(tmp_path, GOOD.replace(HEADER, header))) == [ORDER]


def test_headers_with_spaces_in_them(tmp_path) -> None:
    """As a person writes them."""
    text = (
        "Key;Amount;Currency;Bank Account Number;First-name;Last  Name;metadata.Our Ref\n"
        "p-1;1,50;EUR;0012345678;Jane;Roe;7\n"
    )
    (row,) = file_of(tmp_path, text).rows()
    assert row.order is not None
    assert row.order.payment_method == sg.GlobalAccount(bank_account_number="0012345678")
    assert row.order.metadata == {"Our Ref": "7"}


def test_columns_are_mapped_and_ignored(tmp_path) -> None:
    """By their names in the file, in any case."""
    text = f"Nr;Betrag;WKZ;Konto;Zweck;Notiz\np-1;1,50;EUR;{IBAN};Salary;x\n"
    columns = {
        "nr": "key",
        "Betrag": "amount",
        "WKZ": "currency",
        "KONTO": "payment_method.bank_account.global.iban",
        "Zweck": "Description",
    }
    file = file_of(tmp_path, text, columns=columns, ignored=["NOTIZ"])
    assert list(file) == [ORDER]
    assert bad(file_of(tmp_path, text, columns=columns))


@pytest.mark.parametrize(
    ("columns", "line", "column", "words"),
    [
        ({"Betrag": "amount"}, 1, "betrag", "isn't there, and you map it"),
        ({"key": "amount"}, 1, "key", "is missing"),
        ({"description": "iban"}, 1, "description", "is there twice"),
    ],
)
def test_a_mapping_that_does_not_fit(tmp_path, columns, line, column, words) -> None:
    """A problem of the header."""
    found = bad(file_of(tmp_path, GOOD, columns=columns))
    assert [one for one in found if one[:2] == (line, column) and words in one[2]], found


def test_an_unknown_column_says_what_to_do(tmp_path) -> None:
    """Map it, or ignore it; a near miss is named."""
    found = bad(file_of(tmp_path, GOOD.replace("description", "Verwendungszweck")))
    assert found == [
        (1, "Verwendungszweck", "is no column of payouts; map it to one, or ignore it")
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "xml"}, "expected one of csv, jsonl, xlsx, xls, ods, pain.001"),
        ({"encoding": "latin-9000"}, "expected the name of an encoding"),
        ({"encoding": "rot13"}, "expected the name of an encoding"),
        ({"encoding": "cp037"}, "expected the name of an encoding"),
        ({"encoding": 1252}, "expected the name of an encoding"),
        ({"delimiter": "#"}, "expected a comma, semicolon, tab or bar"),
        ({"decimal": "'"}, "expected a point or a comma"),
        ({"columns": {"a": "ibna"}}, "'ibna' is no column of payouts; did you mean iban"),
        ({"columns": {"a": "zzzzz"}}, "'zzzzz' is no column of payouts"),
        ({"columns": {"a": 1}}, "expected names of columns"),
        ({"columns": ["a"]}, "expected names of columns"),
        ({"ignored": "note"}, "expected names of columns"),
        ({"ignored": [1]}, "expected names of columns"),
    ],
)
def test_what_can_not_be_given(given, words) -> None:
    """An invalid field is refused when the format is created."""
    with pytest.raises(sg.InvalidRequest, match=r"^FileFormat\.") as caught:
        FileFormat(**given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "known"), [("Latin-1", "iso8859-1"), ("windows-1252", "cp1252"), ("UTF8", "utf-8")]
)
def test_names_of_encodings(name, known) -> None:
    """As Python knows them."""
    assert FileFormat(encoding=name).encoding == known


def test_a_format_in_a_file(tmp_path) -> None:
    """In TOML, with the same names."""
    path = tmp_path / "bank.toml"
    path.write_text(
        'encoding = "cp1252"\ndecimal = ","\nignored = ["Notiz"]\n[columns]\n"Betrag" = "amount"\n'
    )
    assert sg.payouts.read_format(path) == FileFormat(
        encoding="cp1252", decimal=",", ignored=["Notiz"], columns={"Betrag": "amount"}
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("decimal = ", "isn't TOML"),
        ('version = "1"', "version is no field; use kind, encoding"),
        ('decimal = "x"', "expected a point or a comma"),
    ],
)
def test_a_format_file_that_is_none(tmp_path, text, words) -> None:
    """The error lists the valid fields."""
    path = tmp_path / "bank.toml"
    path.write_text(text)
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.payouts.read_format(path)
    assert words in str(caught.value)


def test_what_is_recognised_is_shown(tmp_path) -> None:
    """In words, and as a record that can be given again."""
    file = file_of(tmp_path, f"sep=;\n{GOOD.replace(',', ';').replace('1.50', '1.234,50')}")
    found = file.recognise()
    assert str(found) == (
        "CSV, utf-8, semicolons between the cells, decimal comma, column names in line 2"
    )
    assert FileFormat().words == "not recognised"
    again = sg.PayoutFile(file.path, format=found)
    assert list(again) == list(file)


def test_recognising_raises_what_reading_reports(tmp_path) -> None:
    """With the file, the line, and what to do."""
    file = file_of(tmp_path, "key;amount\n1;Mu\xf1oz".encode("cp1252"))
    with pytest.raises(sg.InvalidRequest) as caught:
        file.recognise()
    assert str(caught.value).startswith(f"{file.path}, line 2: isn't UTF-8 text; save the file")
    assert "cp1252 (Western Europe)" in str(caught.value)


def test_no_amount_needs_a_sign(tmp_path) -> None:
    """Whole amounts are read without one."""
    file = file_of(tmp_path, GOOD.replace("1.50", "150"))
    assert file.recognise().decimal is None
    assert [order.amount_details.amount for order in file] == [15_000]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("1.500", "2.00", "write 1500 or 1.50"),
        ("1.50", "1.500", "write 1500 or 1.50"),
        ('"1,50"', "1.50", "has a decimal point, and the file a decimal comma"),
        ('"1,50"', '"1,500"', "write 1500 or 1,50"),
    ],
)
def test_nothing_is_guessed(tmp_path, first, second, words) -> None:
    """An amount with two readings is refused in any company."""
    text = "\n".join(f"p-{key},{one},eur,{IBAN},S" for key, one in enumerate((first, second)))
    found = bad(file_of(tmp_path, f"{HEADER}\n{text}\n"))
    assert [one for one in found if one[1] == "amount" and words in one[2]], found


@pytest.mark.parametrize("name", ["p.csv", "p"])
def test_carriage_returns_as_line_ends(tmp_path, name) -> None:
    """Old programs for the Macintosh write them; the error names them."""
    (problem,) = bad(file_of(tmp_path, GOOD.replace("\n", "\r"), name))
    assert "has a carriage return in it; lines end in LF or CRLF" in problem


def test_a_given_decimal_sign(tmp_path) -> None:
    """Then the other one separates thousands."""
    text = GOOD.replace("1.50", "1.500")
    assert bad(file_of(tmp_path, text))
    (order,) = file_of(tmp_path, text, decimal=",")
    assert order.amount_details == sg.AmountDetails(150_000, "eur")


def zipped(name: str) -> bytes:
    """Return an archive with one file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    return content.getvalue()


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7\n", "is a PDF; give a CSV, JSON Lines, a workbook"),
        (gzip.compress(GOOD.encode(), mtime=0), "is compressed with gzip: unpack it"),
        (b"BZh9", "is compressed with bzip2"),
        (b"\xfd7zXZ\x00", "is compressed with xz"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
        (b"{\\rtf1}", "is a rich text document"),
        (b"SQLite format 3\x00", "is an SQLite database"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"GIF89a", "is a picture"),
        ("<table><tr><td>key", "is a table of a web page"),
        (
            '<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>',
            "is an XML spreadsheet of Excel 2003; save it as .xlsx",
        ),
        (b"-----BEGIN PRIVATE KEY-----", "is a PEM file of keys or certificates"),
        (b"PK\x03\x04broken", "is a damaged workbook or ZIP archive"),
        (zipped("payouts.csv"), "is a ZIP archive: unpack it"),
        (zipped("word/document.xml"), "is a text document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a document of an old Office program"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "is a workbook with a password",
        ),
        ("<!DOCTYPE html><html>", "is a web page, most likely the login page"),
        ("\ufeff\n<HTML>", "is a web page"),
        ("<html>".encode("utf-16"), "is a web page"),
        ("<note/>", "is XML of another kind; give one of pain.001.001.03"),
        ('[{"key": "p"}]', "write each payout as one object in a line of its own"),
    ],
    ids=lambda value: value if isinstance(value, str) and "<" not in value else "",
)
def test_a_wrong_kind_of_file_is_named(tmp_path, content, words, name) -> None:
    """By its first bytes, whatever its name; one problem, which says what to do."""
    found = bad(file_of(tmp_path, content, name))
    assert len(found) == 1
    assert words in found[0][2]


@pytest.mark.parametrize("content", ['[{"key": 1}]', '[\n{"key": 1}\n]', '{\n"key": 1\n}'])
def test_json_over_several_lines(tmp_path, content) -> None:
    """One problem, which says how each payout is written."""
    found = bad(file_of(tmp_path, content, "p.json"))
    assert len(found) == 1
    assert "write each payout as one object in a line of its own" in found[0][2]


def test_a_pipe(tmp_path) -> None:
    """It can be read only once: `<(process)` of a shell."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: None)
    writer.start()
    found = bad(sg.PayoutFile(path))
    assert found == [
        (1, None, "is a pipe or a device, which can be read only once; save it to a file first")
    ]


def test_a_copy_of_a_pipe(tmp_path) -> None:
    """Neither copied nor digested, or the read would never end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = sg.PayoutFile(path)
    with pytest.raises(sg.InvalidRequest, match="is a pipe"):
        _ = file.digest()
    with pytest.raises(sg.InvalidRequest, match="is a pipe"), file.copied():
        pass


def test_a_copy_of_a_file(tmp_path) -> None:
    """It may be read twice at once, and keeps what the file was; after its end it can't be read."""
    path = tmp_path / "p.csv"
    path.write_text(GOOD, encoding="utf-8")
    file = sg.PayoutFile(path, key_prefix="p-")
    expected, digest = list(file), file.digest()
    with file.copied() as copy:
        path.write_text("", encoding="utf-8")
        assert copy.path == path
        for one, other, order in zip(copy, copy, expected, strict=True):
            assert one == other == order
        assert (copy.digest(), copy.recognise().kind) == (digest, "csv")
        unread = iter(copy)
    with pytest.raises(ValueError, match="closed file"):
        _ = next(unread)


@pytest.mark.parametrize(("kind", "is_read"), [("csv", True), ("xlsx", False), ("pain.001", False)])
def test_a_given_kind_against_the_first_bytes(tmp_path, kind, is_read) -> None:
    """What the bytes surely are isn't read as something else."""
    found = bad(file_of(tmp_path, GOOD, "p.txt", kind=kind))
    assert (found == []) is is_read
    if not is_read:
        assert found[0][2] == f"is to be read as {kind}, and its first bytes are those of csv"


IDENTIFIERS: Final = [
    ("iban", "DE89 3704 0044 0532 0130 00", IBAN),
    ("iban", "de89\u00a03704-0044-0532-0130-00", IBAN),
    ("swift", " cobadeff xxx ", "COBADEFFXXX"),
    ("account_number", "31 92 68-19", "31926819"),
    ("sort_code", "601613", "60-16-13"),
    ("sort_code", "60 16 13", "60-16-13"),
    ("bsb_number", "062-000", "062000"),
    ("routing_code", "0210-0002-1", "021000021"),
    ("card_number", "4000 0566 5566 5556", "4000056655665556"),
    ("ru_bik", "044 525 225", "044525225"),
    ("fps_phone", "+7 (900) 000-00-00", "+79000000000"),
    # What is no identifier stays as it is, and is a problem.
    ("account_number", '="0012345678"', '="0012345678"'),
    ("iban", "DE89/3704", "DE89/3704"),
]


@pytest.mark.parametrize(("column", "text", "expected"), IDENTIFIERS)
def test_identifiers_are_written_in_one_form(tmp_path, column, text, expected) -> None:
    """Without the spaces and dashes that people read them by."""
    text = text.replace('"', '""')
    more = ",ru_account" if column == "ru_bik" else ",fps_bank_id" if column == "fps_phone" else ""
    content = f'key,amount,currency,{column}{more}\np-1,1,eur,"{text}"{",1" if more else ""}\n'
    path = tmp_path / "p.csv"
    path.write_text(content, encoding="utf-8")
    (order,) = sg.PayoutFile(path, rules=sg.RuleUse.OFF)
    method: Any = order.payment_method
    assert expected in [getattr(method, name, None) for name in method.__slots__]


@pytest.mark.parametrize(
    ("country", "expected"),
    [("CZE", "19-2000145399"), ("SK", "19-2000145399"), ("DE", "192000145399")],
)
def test_a_dash_that_has_a_meaning_stays(tmp_path, country, expected) -> None:
    """In Czechia and Slovakia it follows the prefix of an account."""
    text = f"key,amount,currency,bank_account_number,country\np-1,1,eur,19-2000145399,{country}\n"
    path = tmp_path / "p.csv"
    path.write_text(text)
    (order,) = sg.PayoutFile(path, rules=sg.RuleUse.OFF)
    assert order.payment_method == sg.GlobalAccount(bank_account_number=expected)


@pytest.mark.parametrize(
    "text", ["4.10025E+15", "4,10025E+15", "12345678.0", "'0012345678", '"=""0012345678"""']
)
@pytest.mark.parametrize("column", ["bank_account_number", "account_number", "iban", "sort_code"])
def test_an_identifier_that_a_spreadsheet_ruined(tmp_path, column, text) -> None:
    """Nothing that a bank issues looks so."""
    content = f"key;amount;currency;{column};country\np-1;1;eur;{text};JPN\n"
    found = bad(file_of(tmp_path, content))
    assert [one for one in found if one[:2] == (2, column)], found


ROW: Final = "k-1;12,50;eur;tok-1;Jane Roe"


@pytest.mark.parametrize(
    ("above", "line"),
    [
        ("Payouts of May;;;;\n", 2),
        ("Payouts of May\n\n;;;;\nSum;12,50\n", 5),
        ('"Payouts, May"\n', 2),
        ("sep=;\nPayouts of May\n", 3),
        ("\n" * 3, 4),
    ],
)
def test_lines_above_the_header(tmp_path, above, line) -> None:
    """A title isn't read, as in a workbook; the line of the header is shown."""
    path = tmp_path / "p.csv"
    path.write_text(f"{above}Key;Amount;Currency;Card token;Full name\n{ROW}\n", encoding="utf-8")
    file = sg.PayoutFile(path)
    assert [order.amount_details.amount for order in file] == [1250]
    assert [row.line for row in file.rows()] == [line + 1]
    assert f"column names in line {line}" in file.recognise().words


@pytest.mark.parametrize("above", ["Title\n" * 21, '"Title\n'])
def test_too_much_above_the_header(tmp_path, above) -> None:
    """It is searched in the first rows; a quote that isn't closed hides it."""
    path = tmp_path / "p.csv"
    path.write_text(f"{above}key;amount;currency;card_token;full_name\n{ROW}\n", encoding="utf-8")
    (row, *_) = sg.PayoutFile(path).rows()
    assert row.order is None


SHIFTED: Final = "is a whole number in every row, with what looks like the rest of it"


@pytest.mark.parametrize(
    ("column", "rows", "is_read"),
    [
        ("metadata.note", ["1,50", "20,75"], False),
        ("Note", ["1,50"], False),
        ("description", ["1,234.50"], False),
        ("metadata.note", ["1,234"], False),
        ("metadata.note", ["1,50", "20,x"], True),
        ("metadata.note", ["1,50", "20.00,75"], True),
        ("metadata.note", ["1,5"], True),
        ("metadata.note", ['"1,50",50'], True),
    ],
)
def test_a_decimal_comma_without_quotes(tmp_path, column, rows, is_read) -> None:
    """The cells behind it move by one; the last one was left out."""
    path = tmp_path / "p.csv"
    account = "iban" if column == "description" else "card_token"
    value = "DE89370400440532013000" if column == "description" else "tok-1"
    lines = [f"k-{n},eur,{value},{cells}" for n, cells in enumerate(rows)]
    path.write_text(
        "\n".join([f"key,currency,{account},amount,{column}", *lines]), encoding="utf-8"
    )
    file = sg.PayoutFile(path, format=sg.payouts.FileFormat(ignored=["note"]), rules=sg.RuleUse.OFF)
    assert all(row.order for row in file.rows()) is is_read
    if not is_read:
        (row,) = file.rows()
        assert row.problems[0].problem.startswith(SHIFTED)
        given = sg.payouts.FileFormat(ignored=["note"], decimal=".")
        assert all(row.order for row in attrs.evolve(file, format=given).rows())


@pytest.mark.parametrize("ignored", ["Notitz", "note", "notiz"])
def test_a_column_to_ignore_that_is_misspelt(tmp_path, ignored) -> None:
    """It is named with the column that was meant; others may be absent."""
    path = tmp_path / "p.csv"
    path.write_text(
        "key;amount;currency;card_token;full_name;Notiz\n" + f"{ROW};x\n", encoding="utf-8"
    )
    file = sg.PayoutFile(path, format=sg.payouts.FileFormat(ignored=[ignored, "Konto"]))
    problems = [problem for row in file.rows() for problem in row.problems]
    words = [one.problem for one in problems if one.column == ignored.casefold()]
    expected = "isn't there, and you ignore it; did you mean notiz?"
    assert words == ([expected] if ignored == "Notitz" else [])
