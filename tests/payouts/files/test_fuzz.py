"""Any input to each reader: no crash, and no amount that a person would read differently.

``SMARTGLOCAL_FUZZ`` sets the number of inputs of all readers together.
"""

import io
import os
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import TESTS

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.models.money import EXPONENTS

pytestmark = pytest.mark.slow

INPUTS: Final = int(os.environ.get("SMARTGLOCAL_FUZZ", "2000"))
IBAN: Final = "DE89370400440532013000"
HEADER: Final = ("key", "amount", "currency", "iban", "description", "full_name")
SAMPLES: Final = TESTS / "samples/files"
# The two ways in which people write numbers. Thousands are in groups of three, and the first group
# has no zero in front.
POINT: Final = re.compile(
    r"[+-]?(?:[1-9][0-9]{0,2}(?P<mark>[ ,'\u2019\u00a0\u202f])[0-9]{3}(?:(?P=mark)[0-9]{3})*"
    r"|[0-9]+)(?:\.[0-9]+)?"
)
COMMA: Final = re.compile(
    r"[+-]?(?:[1-9][0-9]{0,2}(?P<mark>[ .'\u2019\u00a0\u202f])[0-9]{3}(?:(?P=mark)[0-9]{3})*"
    r"|[0-9]+)(?:,[0-9]+)?"
)


def share(part: float) -> Any:
    """Return the settings of a test that has a part of all inputs."""
    return settings(
        max_examples=max(50, int(INPUTS * part)),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def as_people_read(text: str, sign: str) -> Decimal | None:
    """Return the number that a text is where this is the decimal sign; None if it is none."""
    text = text.strip()
    if (POINT if sign == "." else COMMA).fullmatch(text) is None:
        return None
    other = "," if sign == "." else "."
    return Decimal(re.sub(f"[ {other}'\u2019\u00a0\u202f]", "", text).replace(",", "."))


amounts: Final = st.one_of(
    st.text("0123456789.,' -+eE\u00a0\u202f\u2019", max_size=12),
    st.from_regex(r"[1-9][0-9]{0,2}([.,' ][0-9]{3}){0,2}([.,][0-9]{0,4})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,6}[.,][0-9]{1,4}", fullmatch=True),
    st.text(max_size=6),
)
currencies: Final = st.sampled_from(["eur", "USD", "jpy", "vnd", "kwd", "clf", "xxx", ""])
cells: Final = st.one_of(
    st.just(IBAN), st.text(max_size=8), st.sampled_from(["=1+1", "4.1E+15", '"', "\u202e", "\x00"])
)
rows_: Final = st.lists(st.tuples(amounts, currencies, cells), min_size=1, max_size=4)
edits: Final = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=4)), max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the files of this module."""
    return tmp_path_factory.mktemp("fuzz")


def read(path: Path, content: bytes, **given: Any) -> list[sg.payouts.FileRow]:
    """Read a file; each of its rows is an order or has problems."""
    path.write_bytes(content)
    file = sg.PayoutFile(path, format=sg.payouts.FileFormat(**given))
    rows = list(file.rows())
    assert rows
    for row in rows:
        assert row.line > 0
        assert row.order is not None or [one for one in row.problems if not one.is_advice]
    orders = [row.order for row in rows if row.order is not None]
    again = b"\n".join(codec("v1").encode(order) for order in orders)
    if orders:
        copy = path.with_name("again.jsonl")
        copy.write_bytes(again)
        read_again = sg.PayoutFile(copy, rules=sg.RuleUse.OFF).rows()
        assert [row.order for row in read_again] == orders
    return rows


def damaged(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Return bytes of which some were changed."""
    found = bytearray(content)
    for place, length, written in changes:
        at = int(place * len(found))
        found[at : at + length] = written
    return bytes(found)


@share(0.45)
@given(rows_, st.sampled_from(",;\t|"), st.sampled_from([None, ".", ","]))
def test_amounts_of_a_csv(folder: Path, written: list[Any], delimiter: str, sign: Any) -> None:
    """Each one that is read is what it is under one decimal sign, and under no other."""
    header = delimiter.join(HEADER)
    lines = [
        delimiter.join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in (f"k{number}", *row))
        for number, row in enumerate((*row[:2], IBAN, row[2], "Jane") for row in written)
    ]
    content = "\n".join([header, *lines]).encode("utf-8", "replace")
    orders = {
        row.order.key: row.order
        for row in read(folder / "p.csv", content, decimal=sign, encoding="utf-8")
        if row.order is not None
    }
    readings: list[tuple[Decimal, dict[str, Decimal | None]]] = []
    for number, (text, currency, _) in enumerate(written):
        order = orders.get(f"k{number}")
        if order is None or "\n" in text or "\r" in text:
            continue
        paid = order.amount_details.decimal
        assert order.amount_details.currency == currency.strip().lower()
        meant = {one: as_people_read(text, one) for one in (sign or ".,")}
        assert paid in meant.values(), text
        is_exact = EXPONENTS[order.amount_details.currency] == 3
        is_lonely = len(written) == 1 and sign is None and not is_exact
        if is_lonely:
            assert {one for one in meant.values() if one is not None} == {paid}, text
        readings.append((paid, meant))
    assert any(all(meant.get(one) == paid for paid, meant in readings) for one in ".,")


@share(0.2)
@given(st.sampled_from(sorted(SAMPLES.glob("*.csv"))), edits)
def test_a_damaged_csv(folder: Path, sample: Path, changes: list[Any]) -> None:
    """Samples of other programs, with bytes changed."""
    _ = read(folder / "p.csv", damaged(sample.read_bytes(), changes))


WIRE: Final = (
    '{"key": "k1", "amount_details": {"amount": 150, "currency": "eur"}, "payment_method": {"type":'
    ' "bank_account", "bank_account": {"system_type": "global", "global": {"iban": "%s",'
    ' "description": "x"}}}, "participant_details": {"recipient": {"country_iso3": "DEU"}}}\n'
).replace("%s", IBAN)


@share(0.2)
@given(edits)
def test_damaged_json_lines(folder: Path, changes: list[Any]) -> None:
    """An amount is as many minor units as the digits say."""
    content = damaged((WIRE * 2).encode(), changes)
    for row in read(folder / "p.jsonl", content):
        if row.order is not None:
            assert str(row.order.amount_details.amount).encode() in content


@share(0.1)
@given(st.sampled_from(sorted(SAMPLES.glob("*.xml"))), edits)
def test_a_damaged_message(folder: Path, sample: Path, changes: list[Any]) -> None:
    """Messages of another library, with bytes changed."""
    _ = read(folder / "p.xml", damaged(sample.read_bytes(), changes))


@share(0.03)
@given(st.lists(st.tuples(amounts | st.floats(), currencies, cells), min_size=1, max_size=3))
def test_cells_of_a_workbook(folder: Path, written: list[Any]) -> None:
    """A number is what the spreadsheet shows, and a text is read as in a CSV."""
    content = io.BytesIO()
    given = {"in_memory": True, "strings_to_formulas": False, "nan_inf_to_errors": True}
    book: Any = xlsxwriter.Workbook(content, given)
    sheet = book.add_worksheet()
    for column, name in enumerate(HEADER):
        sheet.write_string(0, column, name)
    for line, (amount, currency, cell) in enumerate(written, 1):
        write = sheet.write_number if isinstance(amount, float) else sheet.write_string
        write(line, 1, amount)
        texts = {0: f"k{line}", 2: currency, 3: IBAN, 4: cell, 5: "Jane"}
        for column, text in texts.items():
            sheet.write_string(line, column, text)
    book.close()
    for row in read(folder / "p.xlsx", content.getvalue()):
        if row.order is not None:
            amount = written[int(row.order.key.removeprefix("k")) - 1][0]
            paid = row.order.amount_details.decimal
            if isinstance(amount, float):
                assert paid == Decimal(f"{amount:.15g}")
            else:
                assert paid in {as_people_read(amount, sign) for sign in ".,"}


@share(0.02)
@given(st.sampled_from(sorted(SAMPLES.glob("libreoffice*.[ox]*"))), st.integers(0, 2**32))
def test_a_damaged_workbook(folder: Path, sample: Path, seed: int) -> None:
    """Workbooks of another program, with a byte changed."""
    content = bytearray(sample.read_bytes())
    chosen = random.Random(seed)  # noqa: S311 - no secret
    content[chosen.randrange(len(content))] = chosen.randrange(256)
    _ = read(folder / f"p{sample.suffix}", bytes(content))
