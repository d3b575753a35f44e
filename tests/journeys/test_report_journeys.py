"""The provider's daily reports, from the emulator to the findings, in both versions."""

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
import xlsxwriter
from python_calamine import load_workbook
from till import rows

import smartglocal_async as sg
from smartglocal_async.emulator import Rules

versions: Final = pytest.mark.parametrize("version", ["v1", "v2"])
CARD: Final = "4242424242424242"
AMOUNT: Final = re.compile(r"-?[0-9]+\.[0-9]{2}|0")


async def pay_and_return() -> list[str]:
    """Pay four times by card, and pay the second and a part of the third back; return sessions."""
    ids = list[str]()
    async with sg.SmartGlocal.from_env() as api:
        for number in range(1, 5):
            made = await api.session.init_payment(
                sg.InitPayment(
                    payment_details=sg.EncryptedCard(number_hash=f"hash-{CARD}"),
                    amount_details=sg.AmountDetails(1_000 * number, "usd"),
                    customer=sg.Customer(reference="payer-5"),
                ),
                key=f"o-{number}",
            )
            ref = sg.SessionRef(made.id)
            _ = await api.session.wait(ref, until=lambda session: session.next_action == "confirm")
            _ = await api.session.confirm(ref)
            _ = await api.session.wait(ref, until=lambda session: session.status == "accepted")
            ids.append(made.id)
        _ = await api.session.refund(sg.RefundPayment(session_id=ids[1]))
        part = sg.AmountDetails(500, "usd")
        _ = await api.session.refund(sg.RefundPayment(session_id=ids[2], amount_details=part))
    return ids


def saved(url: str, path: Path) -> Path:
    """Load a report, as a CSV or as a workbook with amounts as numbers, by the suffix."""
    with urlopen(url) as answer:  # noqa: S310 - the emulator's
        content = answer.read()
    if path.suffix == ".csv":
        path.write_bytes(content)
        return path
    book = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet()
    for line, cells in enumerate(csv.reader(io.StringIO(content.decode()))):
        for number, cell in enumerate(cells):
            if AMOUNT.fullmatch(cell):
                sheet.write_number(line, number, float(cell))
            else:
                sheet.write_string(line, number, cell)
    book.close()
    return path


WORDS: Final = {
    "newer": Rules(chargeback_rows=True),
    "older": Rules(older_report=True),
}


@versions
@pytest.mark.parametrize("form", WORDS)
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_payments_are_reconciled(till, monkeypatch, version, form, suffix) -> None:
    """Four payments; three of them are paid back, each in another way."""
    older = form == "older"
    provider = till.opens(rules=WORDS[form])
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", version)
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    ids = asyncio.run(pay_and_return())
    provider.chargeback(ids[3])

    report = saved(f"{provider.url}/emulator/payments-report", till.folder / f"r.{suffix}")
    found = till.json("reconcile", report.name, "--output", "found.xlsx", exits=1)
    assert found["report"] == "payments"
    assert found["counts"] == {"refunded": 1, "cancelled in part": 1, "charged back": 1}
    assert [(one["kind"], one["key"], one["session_id"]) for one in found["findings"]] == [
        ("refunded", "o-2", ids[1]),
        ("cancelled in part", "o-3", ids[2]),
        ("charged back", "o-4", ids[3]),
    ]
    currency = None if older else "USD"
    assert found["sums"][0] == {
        "type": "Advice",
        "currency": currency,
        "rows": 4,
        "amount": "100" if suffix == "xlsx" else "100.00",
        "fee": "0",
        "settlement": "100" if suffix == "xlsx" else "100.00",
    }
    settled = [float(one["settlement"]) for one in found["sums"]]
    assert settled == [100, -20, -5, -40]

    shown = till("reconcile", report.name, exits=1).stdout
    assert "Chargeback" in shown
    assert "3 differences to review" in shown
    listed = sheets_of(till.folder / "found.xlsx")["Findings"][1:]
    assert [[cells[0], cells[1], *cells[3:5]] for cells in listed] == [
        [float(one["line"]), one["key"], one["session_id"], one["kind"]]
        for one in found["findings"]
    ]
    assert [cells[0] for cells in sheets_of(till.folder / "found.xlsx")["Sums"]] == [
        *("Type", "Advice", "Refund", "Adjustment", "Chargeback")
    ]
    assert (till.folder / "found.xlsx").stat().st_mode & 0o777 == 0o600
    assert (
        "--output: exists"
        in till("reconcile", report.name, "--output", "found.xlsx", exits=2).stderr
    )


def sheets_of(path: Path) -> dict[str, list[list[Any]]]:
    """Return the cells of each sheet."""
    book = load_workbook(path)
    return {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}


@pytest.mark.parametrize(("fee", "total"), [(0, "0"), (150, "-6.00")])
def test_a_report_without_a_word_for_chargebacks(till, fee, total) -> None:
    """It has a refund instead, which needs review as well; fees are summed."""
    provider = till.opens(rules=Rules(merchant_fee=fee))
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    ids = asyncio.run(pay_and_return())
    provider.chargeback(ids[3])
    report = saved(f"{provider.url}/emulator/payments-report", till.folder / "r.csv")
    found = till.json("reconcile", report.name, exits=1)
    assert found["counts"] == {"refunded": 2, "cancelled in part": 1}
    assert found["sums"][0]["fee"] == total


BARE: Final = Rules(older_report=True, bare_ids=True, merchant_fee=150, whole_identities=True)


def test_payouts_with_fees_and_bare_numbers_are_reconciled(till) -> None:
    """The amount without the fee counts, and the metadata shows which payout a row is about."""
    provider = till.opens(rules=BARE)
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--concurrency", "1")
    provider.return_payout("ps_2")
    _ = saved(f"{provider.url}/emulator/payouts-report", till.folder / "r.csv")
    assert ",1.50," in (till.folder / "r.csv").read_text()
    found = till.json("reconcile", "r.csv", exits=1)
    assert (found["report"], found["agreed"]) == ("payouts", 3)
    assert found["counts"] == {"returned by the bank": 1}


@versions
def test_a_workbook_of_payouts_is_reconciled(till, monkeypatch, version) -> None:
    """The report of payouts as a workbook finds what its CSV does."""
    provider = till.opens()
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", version)
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--concurrency", "1")
    provider.return_payout("ps_2")
    _ = saved(f"{provider.url}/emulator/payouts-report", till.folder / "r.xlsx")
    found = till.json("reconcile", "r.xlsx", "--output", "found.xlsx", exits=1)
    assert (found["report"], found["agreed"]) == ("payouts", 3)
    assert found["counts"] == {"returned by the bank": 1}
    sheets = sheets_of(till.folder / "found.xlsx")
    head, first = sheets["Findings"]
    assert head[5:9] == ["In the report", "Currency", "In the journal", "Currency"]
    assert first[:5] == [5.0, "k1", "", "ps_2", "returned by the bank"]
    assert first[5:9] == [101.0, "USD", 101.0, "USD"]
    assert ["same as in the journal", 3.0] in sheets["Summary"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--adopt",), "--adopt: goes with the payouts report, and r.csv is the payments report"),
        (("--since", "2026-01-01T00:00Z"), "--since: goes with the payouts report"),
        (("--kind-column", ""), "--kind-column: goes with the payouts report"),
        (("--output", "found.csv"), "--output: expected the path of an Excel workbook"),
        (("--output", "no/found.xlsx"), "--output: exists, or its folder doesn't"),
        (("--delimiter", "|"), "r.csv, line 1: has no column 'paymentSessionId'"),
    ],
)
def test_options_of_the_other_report(till, words, problem) -> None:
    """They are refused before anything is compared; nothing is written."""
    provider = till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    _ = saved(f"{provider.url}/emulator/payments-report", till.folder / "r.csv")
    before = set(till.folder.iterdir())
    assert problem in till("reconcile", "r.csv", *words, exits=2).stderr
    assert set(till.folder.iterdir()) == before
    assert json.loads(till("reconcile", "r.csv", "--json").stdout)["rows"] == 0
