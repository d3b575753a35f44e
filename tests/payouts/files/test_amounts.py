"""Texts of amounts: what each means, and what is never guessed."""

import itertools
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import xlsxwriter
from hypothesis import example, given
from hypothesis import strategies as st

import smartglocal_async as sg
from smartglocal_async.models.money import EXPONENTS
from smartglocal_async.payouts.files.amounts import AmountReader

NBSP, NARROW = "\u00a0", "\u202f"


@pytest.mark.parametrize(
    ("text", "currency", "minor", "sign"),
    [
        ("100", "eur", 10_000, None),
        ("100.00", "eur", 10_000, "."),
        ("100,00", "eur", 10_000, ","),
        ("1,5", "eur", 150, ","),
        ("1.234,56", "eur", 123_456, ","),
        ("1,234.56", "eur", 123_456, "."),
        ("1.234.567", "eur", 123_456_700, ","),
        ("1,234,567", "vnd", 1_234_567, "."),
        ("1.234.567,8", "eur", 123_456_780, ","),
        ("1 234,56", "eur", 123_456, ","),
        (f"1{NBSP}234{NBSP}567,00", "eur", 123_456_700, ","),
        (f"1{NARROW}234", "eur", 123_400, None),
        ("1'234.50", "chf", 123_450, "."),
        ("1\u2019234", "chf", 123_400, None),
        ("1.234", "kwd", 1_234, None),
        ("1,234.567", "kwd", 1_234_567, "."),
        ("1.234,567", "kwd", 1_234_567, ","),
        ("0.0001", "clf", 1, "."),
        ("100.0000", "eur", 10_000, "."),
        ("0,000001", "eur", None, ","),
    ],
)
def test_an_amount_that_leaves_no_doubt(text, currency, minor, sign) -> None:
    """Its decimal sign is that of the whole file from then on."""
    reader = AmountReader()
    if minor is None:
        with pytest.raises(sg.InvalidRequest, match="no finer amounts"):
            reader.read(text, currency)
    else:
        assert reader.read(text, currency) == sg.AmountDetails(minor, currency)
    assert reader.sign == sign


@pytest.mark.parametrize(
    ("text", "currency", "advice"),
    [
        ("500.000", "vnd", "write 500000 or 500"),
        ("1.500", "eur", "write 1500 or 1.50"),
        ("1,500", "eur", "write 1500 or 1.50"),
        ("12.000", "huf", "write 12000 or 12.00"),
        ("45.000", "clp", "write 45000 or 45"),
        ("12345.000", "eur", "write 12345000 or 12345.00"),
        ("0.500", "eur", "others; write 0.50"),
        ("0.999", "usd", "usd has 2 decimals, and no finer amounts"),
        ("1.005", "eur", "eur has 2 decimals, and no finer amounts; write 1005 if"),
        ("1,234", "kwd", "write 1234 or 1.234"),
        ("1,234.500", "eur", "write 1234500 or 1234.50"),
    ],
)
def test_an_amount_that_two_countries_read_differently(text, currency, advice) -> None:
    """Nothing is guessed, whatever the amounts before it look like."""
    reader = AmountReader()
    with pytest.raises(sg.InvalidRequest) as caught:
        reader.read(text, currency)
    assert advice in caught.value.problem
    assert reader.sign == ("." if "," in text and "." in text else None)


@pytest.mark.parametrize(
    ("sign", "text", "minor"),
    [(",", "1.500", 150_000), (".", "1,500", 150_000), (",", "1.500,00", 150_000)],
)
def test_a_given_sign_makes_the_other_one_a_separator(sign, text, minor) -> None:
    """The caller says what the file can't."""
    assert AmountReader(sign, is_given=True).read(text, "eur") == sg.AmountDetails(minor, "eur")
    decimals = AmountReader(sign, is_given=True).read(f"1{sign}500", "eur")
    assert decimals == sg.AmountDetails(150, "eur")


@pytest.mark.parametrize(
    ("text", "minor", "sign"),
    [
        ("0.500", 500, "."),
        ("0,500", 500, ","),
        ("1234.500", 1_234_500, "."),
        ("1234,500", 1_234_500, ","),
        ("1.234,567", 1_234_567, ","),
        ("250.0000", 250_000, "."),
        ("250.000", None, None),
        ("250,000", None, None),
        ("1.234", None, None),
    ],
)
def test_a_group_of_thousands_or_three_decimals(text, minor, sign) -> None:
    """With three decimals and no decimal sign in the file, only its own digits can tell."""
    reader = AmountReader(assumed=None)
    if minor is None:
        with pytest.raises(sg.InvalidRequest, match="no amount of the file shows") as caught:
            reader.read(text, "iqd")
        digits = text.replace(",", "").replace(".", "")
        assert f"write {digits} or {text}0, or give the decimal sign" in caught.value.problem
    else:
        assert reader.read(text, "iqd") == sg.AmountDetails(minor, "iqd")
    assert reader.sign == sign


@pytest.mark.parametrize(
    ("first", "then"), [("1.50", "1,50"), ("1,50", "1.50"), ("1.234,00", "1,234.00")]
)
def test_one_file_has_one_decimal_sign(first, then) -> None:
    """Two of them are a mixture, which a person has to look at."""
    reader = AmountReader()
    _ = reader.read(first, "eur")
    with pytest.raises(sg.InvalidRequest, match="and the file a decimal"):
        reader.read(then, "eur")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "one",
            "1e3",
            "1.2.3",
            "1,2,3",
            "1.23.456",
            "1,23,456.00",
            "12.345.6",
            ".5",
            "5.",
        ),
        *(
            "1.234.567.89",
            "1..5",
            "1,.5",
            "--1",
            "\u0661",
            "1 23",
            "1 2345",
            "$1",
            "1%",
            "(1)",
            "=1",
        ),
        *("012.345.678", "1.234 567", "1 234.567.890", "'1", "1\n", "1\0"),
    ],
)
def test_what_is_no_amount(text) -> None:
    """Groups of another size, and anything but digits and separators."""
    with pytest.raises(sg.InvalidRequest):
        AmountReader().read(text, "eur")


@pytest.mark.parametrize("text", ["0", "0.00", "-1.00", "-1.234,00"])
def test_amounts_are_above_zero(text) -> None:
    """The provider takes no amount of nothing or less."""
    with pytest.raises(sg.InvalidRequest, match="must be greater than zero"):
        AmountReader().read(text, "eur")


@pytest.mark.parametrize("text", ["92233720368547758.08", "9.007.199.254.740.992,00"])
def test_amounts_have_an_upper_bound(text) -> None:
    """As those of the API have."""
    with pytest.raises(sg.InvalidRequest, match="minor units, which no payment can be"):
        AmountReader().read(text, "eur")


def readings(text: str) -> set[Decimal]:
    """Return every number that people in some country read a text as."""
    found = set[Decimal]()
    for sign, group in (".,", ",.", (".", " "), (",", " "), (".", "'"), (",", "'")):
        whole, _, fraction = text.partition(sign)
        digits = re.fullmatch(rf"[0-9]+|[0-9]{{1,3}}(?:{re.escape(group)}[0-9]{{3}})+", whole)
        if digits and (fraction.isdigit() or not text.endswith(sign)):
            plain = whole.replace(group, "")
            if fraction == "" or fraction.isdigit():
                found.add(Decimal(f"{plain}.{fraction or 0}"))
    return found


@given(
    st.text("0123456789.,' ", min_size=1, max_size=12),
    st.sampled_from([code for code, decimals in EXPONENTS.items() if decimals is not None]),
)
@example("1.500", "eur")
@example("1,500", "kwd")
@example("1.500", "kwd")
def test_no_text_becomes_another_amount(text, currency) -> None:
    """Where a text is read at all, no country reads another number; three decimals are ISO's."""
    try:
        amount = AmountReader().read(text, currency)
    except sg.InvalidRequest:
        return
    numbers = readings(text)
    assert amount.decimal in numbers, numbers
    if EXPONENTS[currency] != 3:
        assert numbers == {amount.decimal}


@given(st.integers(1, 2**53 - 1), st.sampled_from([",.", ".,", " ,", "' .".replace(" ", "")]))
def test_each_countrys_own_writing_is_read(minor, signs) -> None:
    """With its separator of thousands and its decimal sign."""
    group, sign = signs
    text = f"{Decimal(minor).scaleb(-2):,.2f}"
    text = text.replace(",", "G").replace(".", sign).replace("G", group)
    assert AmountReader().read(text, "eur") == sg.AmountDetails(minor, "eur")


HEADER: Final = ("key", "amount", "currency", "card_token", "full_name")
DELIMITERS: Final = {"comma.csv": ",", "semicolon.csv": ";", "tab.csv": "\t"}


def written(path: Path, amounts: list[tuple[str, str]]) -> sg.PayoutFile:
    """Write a file of amounts with their currencies as text."""
    rows = [
        (f"k-{amount}", amount, code, f"tok-{n}", "A B") for n, (amount, code) in enumerate(amounts)
    ]
    if path.suffix == ".xlsx":
        book: Any = xlsxwriter.Workbook(path)
        sheet = book.add_worksheet()
        for line, row in enumerate([HEADER, *rows]):
            sheet.write_row(line, 0, row)
        book.close()
    else:
        delimiter = DELIMITERS[path.name]
        text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in (HEADER, *rows))
        path.write_text(text, encoding="utf-8")
    return sg.PayoutFile(path)


def paid(file: sg.PayoutFile) -> dict[str, int]:
    """Return the amounts of the rows that can be paid, by key."""
    orders = (row.order for row in file.rows())
    return {order.key: order.amount_details.amount for order in orders if order is not None}


@pytest.mark.parametrize("name", ["p.xlsx", *DELIMITERS])
@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        ([("1.500", "kwd"), ("12,50", "eur"), ("7", "eur")], {"12,50": 1250, "7": 700}),
        ([("1.500", "kwd"), ("12.50", "eur")], {"1.500": 1500, "12.50": 1250}),
        ([("1,500", "kwd"), ("2.345,678", "kwd")], {"1,500": 1500, "2.345,678": 2_345_678}),
        ([("1.500", "kwd"), ("0.250", "kwd")], {"1.500": 1500, "0.250": 250}),
        ([("1,500", "kwd"), ("2,500", "iqd"), ("9", "eur")], {"9": 900}),
    ],
)
def test_the_order_of_rows_changes_nothing(tmp_path, name, amounts, expected) -> None:
    """One decimal sign for the whole file, wherever the amount is that shows it."""
    for order in itertools.permutations(amounts):
        found = paid(written(tmp_path / name, list(order)))
        assert found == {f"k-{amount}": minor for amount, minor in expected.items()}


@pytest.mark.parametrize(("name", "is_read"), [("p.xlsx", False), ("comma.csv", True)])
def test_three_decimals_where_no_amount_shows_the_sign(tmp_path, name, is_read) -> None:
    """A comma between the cells leaves the point for the decimals; others leave both."""
    file = written(tmp_path / name, [("250.000", "iqd"), ("7", "eur")])
    assert paid(file) == {"k-7": 700, **({"k-250.000": 250_000} if is_read else {})}


def test_the_sign_is_searched_to_the_end(tmp_path) -> None:
    """However many rows leave it open."""
    amounts = [*[("1.500", "kwd")] * 10_050, ("12,50", "eur")]
    file = written(tmp_path / "comma.csv", amounts)
    assert file.recognise().decimal == ","
    found = sg.payouts.check(file)
    assert (found.totals, found.bad_rows) == ({"eur": 1250}, 10_050)
