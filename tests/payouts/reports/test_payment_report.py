"""The provider's payments report: both forms of its page, as CSV and as a workbook."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import xlsxwriter
from paying import order

import smartglocal_async as sg
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.reports.provider_report import is_payment_report

K: Final = sg.payouts.ReportKind
D: Final = sg.payouts.DiscrepancyKind
NEWER: Final = (
    *("ID", "paymentSessionId", "Project name", "Type of payment", "Amount", "Currency amount"),
    *("Fee", "Currency fee", "Settlement", "Currency settlement", "Transaction date and time"),
    *("Card number", "paymentSessionMerchantMetadata", "RRN"),
)
OLDER: Final = (
    *("ID", "paymentSessionId", "Contract", "Project name", "Type of payment", "Amount"),
    *("Settlement", "Fee", "Transaction date and time", "Card number", "RRN"),
    "paymentSessionMerchantMetadata",
)
TITLE: Final = "Payment register 7-K, (Shop) from 02.01.2025 to 02.01.2025"
CARD: Final = "553691******0123"
FIRST: Final = (
    *("pm_103", "ps_104", "shop", "Advice", "110", "USD", "-2", "USD", "108", "USD"),
    *("2025-01-02 03:04:05", CARD, '{"idempotency_key": "o-1"}', "000000000103"),
)
OLD: Final = (
    *("pm_103", "ps_104", "7-K", "shop", "Advice", "110", "108", "-2", "02.01.2025 03:04:05"),
    *(CARD, "000000000103", '{"idempotency_key": "o-1"}'),
)


def written(folder: Path, columns: Any, *rows: Any, title: str = "", **options: Any) -> Path:
    """Return a report as a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, **options)
    writer.writerows(([title], []) if title else ())
    writer.writerows((columns, *rows))
    path = folder / "report.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def workbook(folder: Path, *rows: Any, sheets: tuple[str, ...] = ()) -> Path:
    """Return a workbook with these cells in its last sheet, numbers and dates as such."""
    path = folder / "report.xlsx"
    book = xlsxwriter.Workbook(path, {"default_date_format": "dd.mm.yyyy hh:mm"})
    for name in sheets:
        book.add_worksheet(name)
    sheet = book.add_worksheet("Register")
    for line, row in enumerate(rows):
        for cell, value in enumerate(row):
            sheet.write(line, cell, value)
    book.close()
    return path


def row(kind: str, payment: str = "pm_103", session: str = "ps_104", **changes: str) -> list[str]:
    """Return a row of the newer form."""
    cells = dict(zip(NEWER, FIRST, strict=True))
    cells |= {"Type of payment": kind, "ID": payment, "paymentSessionId": session}
    return list((cells | changes).values())


def test_the_newer_form(tmp_path) -> None:
    """Each documented column, with amounts in major units."""
    (read,) = sg.payouts.PaymentReport(path=written(tmp_path, NEWER, FIRST))
    assert read == sg.payouts.PaymentReportRow(
        line=2,
        kind=K.ADVICE,
        payment_id="pm_103",
        session_id="ps_104",
        project="shop",
        amount=Decimal(110),
        currency="USD",
        fee=Decimal(-2),
        fee_currency="USD",
        settlement=Decimal(108),
        settlement_currency="USD",
        time=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        card_number=CARD,
        metadata={"idempotency_key": "o-1"},
        rrn="000000000103",
    )
    assert CARD not in repr(read)
    assert "o-1" not in repr(read)


@pytest.mark.parametrize("title", ["", TITLE], ids=["no heading", "heading"])
def test_the_older_form(tmp_path, title) -> None:
    """A heading, a contract, dates with points, and no currencies."""
    (read,) = sg.payouts.PaymentReport(path=written(tmp_path, OLDER, OLD, title=title))
    assert (read.line, read.contract, read.currency) == (4 if title else 2, "7-K", None)
    assert (read.amount, read.fee, read.settlement) == (110, -2, 108)
    assert read.time == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_how_a_csv_is_written_is_recognised(tmp_path, delimiter, encoding) -> None:
    """No page says it. Numbers may have a decimal comma."""
    path = written(
        tmp_path, NEWER, row("Advice", Amount="110,50"), title=TITLE, delimiter=delimiter
    )
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    for given in (None, delimiter):
        (read,) = sg.payouts.PaymentReport(path=path, delimiter=given)
        assert (read.amount, read.metadata) == (Decimal("110.5"), {"idempotency_key": "o-1"})
    assert is_payment_report(path)


@pytest.mark.parametrize(
    ("word", "kind"),
    [(kind.value, kind) for kind in K if kind is not K.OTHER]
    + [(" REFUND ", K.REFUND), ("Payout", K.OTHER)],
)
def test_types_of_rows(tmp_path, word, kind) -> None:
    """Each documented word; another one is never taken for a payment."""
    (read,) = sg.payouts.PaymentReport(path=written(tmp_path, NEWER, row(word)))
    assert read.kind is kind


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"Amount": "1,234"}, "line 2: Amount: expected a number"),
        ({"Amount": "1.234", "Currency amount": "JPY"}, "line 2: Amount: expected a number"),
        ({"Fee": "two"}, "line 2: Fee: expected a number"),
        ({"Settlement": "1 000.00"}, "line 2: Settlement: expected a number"),
        ({"Type of payment": ""}, "line 2: Type of payment is empty"),
    ],
)
def test_what_can_not_be_read(tmp_path, changes, problem) -> None:
    """The row has the error, with line and column; the amounts are left out."""
    cells = dict(zip(NEWER, FIRST, strict=True)) | changes
    (read,) = sg.payouts.PaymentReport(path=written(tmp_path, NEWER, cells.values()))
    assert problem in str(read.error)
    assert (read.amount, read.fee, read.settlement, read.session_id) == (None, None, None, "ps_104")


def test_three_decimals(tmp_path) -> None:
    """They are decimals in a currency that has three."""
    path = written(tmp_path, NEWER, row("Advice", Amount="1.234", **{"Currency amount": "KWD"}))
    (read,) = sg.payouts.PaymentReport(path=path)
    assert read.amount == Decimal("1.234")


@pytest.mark.parametrize(("other", "amount"), [("2,50", Decimal("1.234")), ("2.50", None)])
def test_the_decimal_sign_of_the_whole_report(tmp_path, other, amount) -> None:
    """A comma is decimal only if a number that leaves no doubt has one."""
    first = row("Advice", Amount="1,234", **{"Currency amount": "KWD"})
    path = written(tmp_path, NEWER, first, row("Refund", Fee=other))
    found = list(sg.payouts.PaymentReport(path=path))
    assert found[0].amount == amount
    assert (found[0].error is None, found[1].error) == (amount is not None, None)


def test_another_file_is_refused(tmp_path) -> None:
    """The error names file, line and column."""
    path = written(tmp_path, ("operationId", "paymentSessionId"), ("po_1", "ps_1"))
    assert not is_payment_report(path)
    with pytest.raises(sg.InvalidRequest, match=r"report.csv, line 1: has no column 'ID'; is it"):
        _ = list(sg.payouts.PaymentReport(path=path))
    path = written(tmp_path, [name for name in NEWER if name != "Settlement"], title=TITLE)
    with pytest.raises(sg.InvalidRequest, match=r"line 3: has no column 'Settlement'"):
        _ = list(sg.payouts.PaymentReport(path=path))
    path.write_bytes(b"")
    with pytest.raises(sg.InvalidRequest, match=r"line 1: has no column 'ID'"):
        _ = list(sg.payouts.PaymentReport(path=path))


# --- Workbooks


def test_a_workbook_of_payments(tmp_path) -> None:
    """The sheet is found, and numbers and dates are read as they are shown."""
    cells = list(FIRST)
    cells[4], cells[6], cells[8] = 110.25, -2, 108.25
    cells[10] = datetime(2025, 1, 2, 3, 4, 5)  # noqa: DTZ001 - a spreadsheet's date
    path = workbook(tmp_path, [TITLE], [], NEWER, cells, sheets=("Notes",))
    assert is_payment_report(path)
    (read,) = sg.payouts.PaymentReport(path=path)
    assert (read.line, read.payment_id, read.amount) == (4, "pm_103", Decimal("110.25"))
    assert (read.fee, read.settlement) == (-2, Decimal("108.25"))
    assert read.time == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_workbook_of_payouts(tmp_path) -> None:
    """The same rows as in a CSV."""
    names = [
        *("operationId", "finishedAt", "typeOfPayment", "paymentSessionId"),
        *("paymentSessionMerchantMetadata", "paymentLocalAmount", "Currency amount"),
    ]
    first = ["po_1", "2025-01-02 03:04:05", "Advice", 3230, '{"payout_key": "k-1"}', 430.5, "USD"]
    refund = [*first[:2], "Refund", *first[3:]]
    path = workbook(tmp_path, names, first, [], refund)
    assert not is_payment_report(path)
    paid, back = sg.payouts.PayoutReport(path=path)
    assert (paid.line, paid.session_id, paid.amount) == (2, "3230", sg.AmountDetails(43_050, "usd"))
    assert (back.line, back.kind, back.metadata) == (4, K.REFUND, {"payout_key": "k-1"})
    assert paid.finished_at == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_workbook_that_lost_digits(tmp_path) -> None:
    """A spreadsheet has cut the long ids of the older form: they can't be compared."""
    path = workbook(tmp_path, OLDER, [1234567890123456789, *OLD[1:]])
    report = sg.payouts.PaymentReport(path=path)
    with pytest.raises(sg.InvalidRequest, match=r"report.xlsx, line 2: has a number of which"):
        _ = list(report)


@pytest.mark.parametrize("content", [b"PK\x03\x04 no workbook", b"\xd0\xcf\x11\xe0 nor this"])
def test_a_damaged_workbook(tmp_path, content) -> None:
    """It is named, and no foreign error is raised."""
    path = tmp_path / "report.xlsx"
    path.write_bytes(content)
    with pytest.raises(sg.InvalidRequest, match=r"report.xlsx, line 1: is a damaged workbook"):
        _ = list(sg.payouts.PaymentReport(path=path))


# --- Compared


async def test_what_needs_review(payouts, tmp_path) -> None:
    """Each way in which a payment was paid back, a key that was paid twice, and an odd row."""
    paid = await payouts.pay(order())
    again = {"paymentSessionMerchantMetadata": '{"idempotency_key": "o-1"}'}
    other = {"paymentSessionMerchantMetadata": "order1"}
    path = written(
        tmp_path,
        NEWER,
        FIRST,
        row("Recurrent", "pm_1", "ps_901", **other),
        row("Refund", "pm_2", "ps_902", Settlement="-110", Fee="", **other),
        row("Adjustment", "pm_3", "ps_903", Settlement="-10", **other),
        row("Chargeback", "pm_4", "ps_904", Settlement="-110", **other),
        row("Compensation", "", "", Settlement="-124", **other),
        row("Advice", "pm_5", "ps_905", **again),
        row("Advice", **again),
        row("Payout", "pm_6", "ps_906", **other),
        row("Advice", "pm_7", paid.session_id, **other),
        row("Advice", "pm_8", "ps_908", Amount="1,234", **other),
        ["Total"],
    )
    found = await payouts.reconcile_payments(sg.payouts.PaymentReport(path=path))
    assert [(one.line, one.kind, one.key, one.session_id) for one in found.discrepancies] == [
        (4, D.REFUNDED, None, "ps_902"),
        (5, D.ADJUSTED, None, "ps_903"),
        (6, D.CHARGED_BACK, None, "ps_904"),
        (8, D.PAID_TWICE, "o-1", "ps_905"),
        (10, D.OTHER_KIND, None, "ps_906"),
        (11, D.PAYMENT, None, paid.session_id),
        (12, D.UNREADABLE, None, "ps_908"),
    ]
    assert (found.rows, found.unreadable_count, found.is_clean) == (12, 2, False)
    sums = found.sums[K.ADVICE, "USD"]
    assert (sums.rows, sums.amount, sums.fee, sums.settlement) == (4, 440, -8, 432)
    assert found.sums[K.REFUND, "USD"].settlement == -110
    assert found.sums[K.REFUND, "USD"].fee == 0
    assert found.sums[K.COMPENSATION, "USD"].settlement == -124
    assert {one.reported for one in found.discrepancies[:-1]} == {Amount(11_000, "usd")}
    assert [one.problem for one in found.discrepancies[:-1]] == [None] * 6
    last = found.discrepancies[-1]
    assert (last.reported, str(found.unreadable[0])) == (None, last.problem)
    assert "line 12: Amount: expected a number" in (last.problem or "")


@pytest.mark.parametrize(
    ("amount", "currency", "reported"),
    [
        ("12.34", "USD", Amount(1_234, "usd")),
        ("12", "JPY", Amount(12, "jpy")),
        ("1.500", "KWD", Amount(1_500, "kwd")),
        ("0.5", "JPY", None),
        ("12.34", "ZZZ", None),
        ("12.34", "XAU", None),
        ("12.34", "", None),
        ("", "USD", None),
    ],
)
async def test_the_amount_of_a_finding(payouts, tmp_path, amount, currency, reported) -> None:
    """It is in minor units if the currency has them, and else it is left out."""
    cells = row("Chargeback", Amount=amount, Settlement="", **{"Currency amount": currency})
    report = sg.payouts.PaymentReport(path=written(tmp_path, NEWER, cells))
    result = await payouts.reconcile_payments(report)
    (found,) = result.discrepancies
    assert (found.kind, found.reported, found.problem) == (D.CHARGED_BACK, reported, None)
    sums = result.sums[K.CHARGEBACK, currency]
    assert (sums.amount, sums.fee, sums.settlement) == (Decimal(amount or 0), -2, 0)


async def test_two_payments_without_ids(payouts, tmp_path) -> None:
    """Their sessions tell them apart; the keys of different payments don't collide."""
    rows = [
        row("Advice", "", session, paymentSessionMerchantMetadata=f'{{"idempotency_key": "{key}"}}')
        for key, session in (("a", "ps_1"), ("b", "ps_2"), ("a", "ps_1"), ("b", "ps_3"))
    ]
    report = sg.payouts.PaymentReport(path=written(tmp_path, NEWER, *rows))
    found = (await payouts.reconcile_payments(report)).discrepancies
    assert [(one.line, one.kind, one.key) for one in found] == [(5, D.PAID_TWICE, "b")]


async def test_a_report_without_findings(payouts, tmp_path) -> None:
    """The older form has no currencies; its sums are kept beside an empty one."""
    found = await payouts.reconcile_payments(
        sg.payouts.PaymentReport(path=written(tmp_path, OLDER, OLD, title=TITLE))
    )
    assert found.is_clean
    assert list(found.sums) == [(K.ADVICE, "")]
