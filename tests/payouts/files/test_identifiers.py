"""Identifiers and names: what programs make of them, and what people write."""

import csv
import io
from pathlib import Path
from typing import Final

import pytest

import smartglocal_async as sg


def file_of(tmp_path: Path, text: str) -> sg.PayoutFile:
    """Write a CSV and return it as payouts."""
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    return sg.PayoutFile(path)


def problems_of(file: sg.PayoutFile) -> list[tuple[str | None, str]]:
    """Return the problems that forbid to pay, by column."""
    rows = file.rows()
    return [(one.column, one.problem) for row in rows for one in row.problems if not one.is_advice]


RUINED: Final = (
    *("4.10025E+15", "4,10025E+15", "1.0E-5", "4.10025 E+15", "1.234E+09USD", "12345678.0"),
    *("12345678.000000", "'0012345678", '="0012345678"', "`001", "\u2019001", "#N/A", "#REF!"),
    *(
        "#WERT!",
        "#BEZUG!",
        "#NV",
        "#\u00a1VALOR!",
        "#\u00bfNOMBRE?",
        "#\u0417\u041d\u0410\u0427!",
        "#DIV/0!",
    ),
    *("#CALC!", "#SPILL!", "#N/D", "Err:502", "Fehler:508", "#####", "n/a", "NULL", "(null)"),
    *("None", "nil", "nan", "inf", "-Infinity", "TRUE", "false", "WAHR", "-", "?", "--", "\u200b"),
    *("-12345678", "{{account}}", "[object Object]", "{}"),
)
DATES: Final = (
    *(
        "2026-05-12",
        "12.05.2026",
        "05/12/2026",
        "12-May",
        "May-20",
        "1. Mai 2026",
        "2026-05-12T00:00",
    ),
    *("12345678.50", "12345678.", ".12345678", "1 234 567.00", "12,345,678"),
)
WRITTEN: Final = ("customer_reference", "sender_registration_number", "sender_code", "wallet_name")
NUMBERS: Final = (
    *("bank_account_number", "account_number", "branch_number", "routing_code", "bsb_number"),
    *("card_token", "recurrent_token", "tokenized_card", "qiwi_account", "yoomoney_account"),
    *("moneta_account", "steam_account", "wallet_phone", "phone", "postal_code", "id_number"),
    *("fps_phone", "fps_bank_id", "ru_account", "ru_inn", "iban", "swift"),
)
BESIDE: Final = {
    "wallet_name": {"wallet_phone": "639171234567"},
    "wallet_phone": {"wallet_name": "gcash"},
    "fps_phone": {"fps_bank_id": "100000000004"},
    "fps_bank_id": {"fps_phone": "79161234567"},
    "ru_account": {"ru_bik": "044525225", "ru_full_name": "Ivan Petrov", "ru_description": "S"},
    "ru_inn": {
        "ru_bik": "044525225",
        "ru_account": "40817810938160925982",
        "ru_full_name": "Ivan Petrov",
        "ru_description": "S",
    },
    **{
        column: {"bank_account_number": "1234567"}
        for column in ("branch_number", "routing_code", "bsb_number", "swift")
    },
}
NO_INSTRUMENTS: Final = frozenset(
    {
        *("key", "customer_reference", "phone", "postal_code", "id_number", "sender_code"),
        "sender_registration_number",
    }
)


def row_with(column: str, text: str) -> str:
    """Return a CSV of one payout with a text in a column."""
    row = {"key": "p-1", "amount": "1.00", "currency": "rub", "full_name": "Jane Roe"}
    row |= {"card_token": "tok-1"} if column in NO_INSTRUMENTS else {}
    out = io.StringIO()
    row |= {**BESIDE.get(column, {}), column: text}
    csv.writer(out).writerows([row.keys(), row.values()])
    return out.getvalue()


@pytest.mark.parametrize("column", ["key", *WRITTEN, *NUMBERS])
def test_an_identifier_that_a_program_ruined(tmp_path, column):
    """No field has what a spreadsheet or a program writes instead of it."""
    texts = (*RUINED, *(DATES if column in NUMBERS else ()))
    missed = [
        text
        for text in texts
        if column not in {one[0] for one in problems_of(file_of(tmp_path, row_with(column, text)))}
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("card_token", "8f14e45f-ceea-467f-9b2d"),
        ("card_token", " 4E15 "),
        ("card_token", "tok_12.5/=="),
        ("bank_account_number", "19-2000145399/0800"),
        ("bank_account_number", "1234 5678"),
        ("bank_account_number", "12-345-678"),
        ("qiwi_account", "79161234567"),
        ("qiwi_account", "+79161234567"),
        ("yoomoney_account", "4100175017397"),
        ("wallet_phone", "+63 (917) 123-45-67"),
        ("phone", "01.23.45.67.89"),
        ("postal_code", "SW1A 1AA"),
        ("postal_code", "12345-678"),
        ("id_number", "12.345.678-5"),
        ("sender_registration_number", "HRB 12345"),
        ("customer_reference", "2026-05-12"),
        ("customer_reference", "#4711"),
        ("key", "row.1"),
        ("key", "2026-05-12/7"),
        ("wallet_name", "Null Bank"),
    ],
)
def test_an_identifier_as_it_is_written(tmp_path, column, text):
    """What banks, shops and people write is no problem."""
    assert problems_of(file_of(tmp_path, row_with(column, text))) == []


@pytest.mark.parametrize(
    ("column", "text", "is_advice"),
    [
        ("full_name", "#REF!", False),
        ("full_name", "J\ufffdrg", False),
        ("full_name", "J\u202erg", False),
        ("full_name", "J\u00c3\u00b6rg", True),
        ("city", "M\u00c3\u00bcnchen", True),
        ("bank_name", "#NAME?", False),
        ("bank_name", '=VLOOKUP("a")', False),
        ("address_line", "{{address}}", False),
        ("full_name", "J\u00f6rg \u00c3lvares", None),
        ("full_name", "\u0418\u0432\u0430\u043d", None),
        ("full_name", "Err", None),
    ],
)
def test_a_name_that_is_not_readable(tmp_path, column, text, is_advice):
    """The error of a formula, and a name that was read in another encoding."""
    content = row_with(column, text).splitlines()
    names = f"{content[0]},card_token"
    (row,) = file_of(tmp_path, f"{names}\n{content[1]},tok-1\n").rows()
    found = [one.is_advice for one in row.problems if one.column == column]
    assert found == ([] if is_advice is None else [is_advice])


def test_a_key_with_separate_accents(tmp_path) -> None:
    """It looks like the composed one, under which another program pays the same payout."""
    header = "key,amount,currency,iban,description\n"
    rows = "".join(f"{key},1,eur,DE89370400440532013000,x\n" for key in ("\u00e1", "a\u0301"))
    ((column, words),) = problems_of(file_of(tmp_path, header + rows))
    assert column == "key"
    assert "composed form (NFC)" in words
