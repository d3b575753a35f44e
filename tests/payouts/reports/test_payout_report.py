"""The provider's payouts report: each column of both forms of its page."""

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

import smartglocal_async as sg

NEWER: Final = (
    *("operationId", "transactionDate", "finishedAt", "typeOfPayment", "paymentFast"),
    *("paymentSessionId", "paymentSessionMerchantMetadata", "paymentMethodIdentity", "product"),
    *("grossLocalAmount", "paymentLocalAmount", "feesLocalAmount"),
    *("Currency amount", "Currency fee", "RRN"),
)
OLDER: Final = (*NEWER[:6], "contract", *NEWER[6:12], "currency", "RRN")
ACCOUNT: Final = "4200 0000 0000 0000"
CELLS: Final = {
    "operationId": "po_101",
    "transactionDate": "2025-01-02 03:04:05",
    "finishedAt": "2025-01-02 03:05:00",
    "typeOfPayment": "Advice",
    "paymentFast": "0",
    "paymentSessionId": "ps_102",
    "contract": "100-C-000000",
    "paymentSessionMerchantMetadata": '{"a": "b"}',
    "paymentMethodIdentity": ACCOUNT,
    "product": "payouts",
    "grossLocalAmount": "436",
    "paymentLocalAmount": "430",
    "feesLocalAmount": "6",
    "Currency amount": "USD",
    "Currency fee": "eur",
    "currency": "USD",
    "RRN": "000000000103",
}


def read(folder: Path, columns: tuple[str, ...] = NEWER, **changes: str) -> Any:
    """Return the row of a report with these cells."""
    path = folder / "report.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerow(CELLS | changes)
    (row,) = sg.payouts.PayoutReport(path)
    return row


@pytest.mark.parametrize(
    ("columns", "fee_currency"), [(NEWER, "EUR"), (OLDER, "USD")], ids=["newer", "older"]
)
def test_each_column(tmp_path, columns, fee_currency) -> None:
    """What has no field of its own is in `columns`, which can't be changed."""
    row = read(tmp_path, columns)
    further = ("transactionDate", "paymentFast", "contract", "paymentMethodIdentity", "product")
    assert row == sg.payouts.ReportRow(
        line=2,
        payout_id="po_101",
        session_id="ps_102",
        metadata={"a": "b"},
        amount=sg.AmountDetails(43_000, "usd"),
        fee=Decimal(6),
        fee_currency=fee_currency,
        rrn="000000000103",
        finished_at=datetime(2025, 1, 2, 3, 5, tzinfo=UTC),
        columns={name: CELLS[name] for name in (*further, "grossLocalAmount") if name in columns},
    )
    with pytest.raises(TypeError):
        row.columns["product"] = "other"
    assert ACCOUNT not in repr(row)


@pytest.mark.parametrize(
    ("cell", "metadata"),
    [
        ('"order123"', "order123"),
        ("330", 330),
        ('"330"', "330"),
        ("[1, 2]", [1, 2]),
        ("true", True),
        ("order123", "order123"),
        ("{cut", "{cut"),
        ("", None),
        (" ", None),
    ],
)
def test_metadata_of_any_form(tmp_path, cell, metadata) -> None:
    """As it was sent: the page's examples are JSON text, in which a string keeps its quotes."""
    row = read(tmp_path, paymentSessionMerchantMetadata=cell)
    assert row.metadata == metadata
    assert type(row.metadata) is type(metadata)


@pytest.mark.parametrize("word", ["Refund", "Adjustment"])
@pytest.mark.parametrize(
    ("cell", "amount"),
    [("430.5", 43_050), ("-430.5", 43_050), ("-1,234", None), ("?", None)],
)
def test_the_amount_of_what_came_back(tmp_path, word, cell, amount) -> None:
    """Without its sign, which no page shows; what can't be read is left out."""
    row = read(tmp_path, typeOfPayment=word, paymentLocalAmount=cell)
    assert row.amount == (None if amount is None else sg.AmountDetails(amount, "usd"))
    assert row.error is None


@pytest.mark.parametrize("cell", ["", "two", "1,234"])
def test_a_fee_that_can_not_be_read(tmp_path, cell) -> None:
    """It is left out: nothing is compared with it."""
    row = read(tmp_path, feesLocalAmount=cell)
    assert (row.fee, row.error, row.amount) == (None, None, sg.AmountDetails(43_000, "usd"))


def of_rows(folder: Path, *rows: tuple[str, str]) -> list[tuple[int | None, str]]:
    """Return the amounts of a report with these amounts and currencies, or what is wrong."""
    path = folder / "report.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, NEWER, extrasaction="ignore", delimiter=";")
        writer.writeheader()
        for amount, currency in rows:
            changes = {"paymentLocalAmount": amount, "Currency amount": currency}
            writer.writerow({**CELLS, **changes, "feesLocalAmount": "0"})
    return [
        (row.amount and row.amount.amount, "" if row.error is None else row.error.problem)
        for row in sg.payouts.PayoutReport(path)
    ]


@pytest.mark.parametrize("comma_first", [True, False])
def test_the_decimal_sign_of_the_whole_report(tmp_path, comma_first) -> None:
    """Three digits behind a comma are decimals if another row shows that commas are decimal."""
    found = [("1,234", "KWD"), ("12,50", "EUR")]
    read = of_rows(tmp_path, *(reversed(found) if comma_first else found))
    assert {amount for amount, _ in read} == {1_234, 1_250}


@pytest.mark.parametrize(
    ("rows", "amounts"),
    [
        ([("1,234", "KWD"), ("7", "EUR")], [None, 700]),
        ([("1,234", "EUR"), ("12,50", "EUR")], [None, 1_250]),
        ([("12.50", "EUR"), ("1,234", "KWD")], [1_250, None]),
        ([("12,50", "EUR"), ("12.50", "EUR")], [1_250, None]),
        ([("12.50", "EUR"), ("1,234.50", "EUR"), ("1.234", "KWD")], [1_250, 123_450, 1_234]),
        ([("1.234", "KWD"), ("1.234,50", "EUR")], [None, 123_450]),
    ],
    ids=["undecided", "thousands", "other sign", "mixed", "points", "grouped"],
)
def test_an_amount_with_two_readings_is_never_guessed(tmp_path, rows, amounts) -> None:
    """It is an error of its row, and the other rows are read."""
    read = of_rows(tmp_path, *rows)
    assert [amount for amount, _ in read] == amounts
    assert all(bool(problem) is (amount is None) for amount, problem in read)
